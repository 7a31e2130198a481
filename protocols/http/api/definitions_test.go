package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

func TestDefinitions(t *testing.T) {
	f := newFixture(t)
	f.play(t, []step{
		{"POST", "/api/definitions", `{"vhosts":[{"name":"new"}],"queues":[{"vhost":"new","name":"q"}]}`, 204, "="},
		{"POST", "/api/definitions", `{"vhosts":[{"name":"new"}],"queues":[{"vhost":"new","name":"q"}]}`, 204, "="},
		{"POST", "/api/definitions", "", 204, "="},
		{"POST", "/api/definitions", "{nope", 400, strings.TrimPrefix(badBody, "=") + `it is not JSON`},
		{"POST", "/api/definitions", `{"queues":[{"vhost":"nope","name":"q"}]}`, 400, badBody + `queue 'q' in vhost 'nope': there is no vhost 'nope', and none is in the definitions"}`},
		{"POST", "/api/definitions/nope", `{}`, 404, `={"error":"not_found","reason":"vhost_not_found"}`},
		{"POST", "/api/definitions/new", `{"queues":[{"name":"p","arguments":{"x-max-length":7}}],"bindings":[{"source":"amq.topic","destination":"p","destination_type":"queue","routing_key":"k"}]}`, 204, "="},
		{
			"GET", "/api/definitions/new", "", 200,
			`={"rabbit_version":"3.13.7","rabbitmq_version":"3.13.7","product_name":"Baton","product_version":"1.2.3","rabbitmq_definition_format":"single_virtual_host","original_vhost_name":"new",` +
				`"parameters":[],"policies":[],"queues":[{"name":"p","durable":true,"auto_delete":false,"arguments":{"x-max-length":7}},{"name":"q","durable":true,"auto_delete":false,"arguments":{}}],` +
				`"exchanges":[],"bindings":[{"source":"amq.topic","destination":"p","destination_type":"queue","routing_key":"k","arguments":{}}]}`,
		},
		{"GET", "/api/definitions/nope", "", 400, badBody + `vhost_not_found"}`},
		{"GET", "/api/definitions?columns=rabbit_version,product_name", "", 200, `={"product_name":"Baton","rabbit_version":"3.13.7"}`},
	})
	w := f.as(t, "adm", http.MethodGet, "/api/definitions?download=a/b.json", "")
	if got := w.Header().Get("Content-Disposition"); got != "attachment; filename=b.json" {
		t.Errorf("a download is called %q", got)
	}
	if log := f.log.String(); !strings.Contains(log, `action="import definitions" object="" result=done changed=2`) ||
		!strings.Contains(log, `action="import definitions" object="vhost 'new'" result=done changed=2`) {
		t.Errorf("the audit does not tell what was imported:\n%s", log)
	}
}

// A browser's form has the document in a field.
func TestDefinitions_UploadedByAForm(t *testing.T) {
	f := newFixture(t)
	form := func(fields ...string) string {
		var s strings.Builder
		for i := 0; i < len(fields); i += 2 {
			s.WriteString("--B\r\nContent-Disposition: form-data; name=\"" + fields[i] + "\"; filename=\"f\"\r\n\r\n" + fields[i+1] + "\r\n")
		}
		return s.String() + "--B--\r\n"
	}
	for _, tt := range []struct {
		name, body, vhost, location string
		code                        int
	}{
		{"a file", form("file", `{"vhosts":[{"name":"f1"}]}`), "f1", "", 204},
		{"and where to go on", form("file", `{"vhosts":[{"name":"f2"}]}`, "redirect", "../#/import-succeeded"), "f2", "../#/import-succeeded", 303},
		{"elsewhere", form("redirect", "//example.com/", "file", `{"vhosts":[{"name":"f3"}]}`), "f3", "", 204},
		{"no file", form("redirect", "a"), "", "", 400},
		{"cut", "--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n{}", "", "", 400},
	} {
		w := f.send(t, request{
			user: "adm", password: "pw", method: http.MethodPost, path: "/api/definitions", body: tt.body,
			header: map[string]string{"Content-Type": "multipart/form-data; boundary=B"},
		})
		if w.Code != tt.code || w.Header().Get("Location") != tt.location || tt.vhost != "" && !f.broker.HasVHost(tt.vhost) {
			t.Errorf("%s: %d %s, to %q", tt.name, w.Code, w.Body, w.Header().Get("Location"))
		}
	}
}

// Definitions may be larger than other bodies, and are bounded, too.
func TestDefinitions_AreBounded(t *testing.T) {
	f := newFixture(t)
	large := `{"global_parameters":[]` + strings.Repeat(" ", maxBody) + `}`
	f.play(t, []step{
		{"POST", "/api/definitions", large, 204, "="},
		{"POST", "/api/definitions", strings.Repeat(" ", maxDefinitions+1), 400, badBody + `the body is larger than 33554432 bytes"}`},
		{"PUT", "/api/global-parameters/p", large, 400, badBody + `the body is larger than 1048576 bytes"}`},
	})
}

// No password and no hash reaches the log.
func TestDefinitions_AuditHasNoSecrets(t *testing.T) {
	f := newFixture(t)
	f.play(t, []step{
		{"POST", "/api/definitions", `{"users":[{"name":"u","tags":[],"password":"s3cret"},{"name":"w","tags":[],"password_hash":"` + rabbitHash("x") + `"}]}`, 204, "="},
		{"POST", "/api/definitions", `{"users":[{"name":"u","tags":[],"password_hash":"s3cret"}]}`, 400, strings.TrimPrefix(badBody, "=")},
	})
	if log := f.log.String(); strings.Contains(log, "s3cret") || strings.Contains(log, rabbitHash("x")) {
		t.Errorf("the log has a secret in it:\n%s", log)
	}
	if _, ok := f.broker.Access().User("u"); !ok {
		t.Error("the user was not made")
	}
	if p, ok := f.broker.Access().Permission("v1", "mgt"); !ok || p != (core.Permission{VHost: "v1", User: "mgt", Configure: "^c", Read: ".*"}) {
		t.Errorf("what the document does not name has changed: %+v", p)
	}
}
