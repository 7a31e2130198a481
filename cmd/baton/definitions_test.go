package main

import (
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

func TestDefinitionsCommand(t *testing.T) {
	b := startAdminBroker(t)
	env := []string{"BATON_ADMIN_SOCKET=" + b.socket}
	run := func(stdin string, args ...string) (exitCode, string, string) {
		t.Helper()
		return adminRun(t, env, stdin, append([]string{"definitions"}, args...)...)
	}
	in := writeFile(t, "in.json", `{"vhosts":[{"name":"v"}],"queues":[{"vhost":"v","name":"q"}],"parameters":[{"vhost":"v","component":"own","name":"n","value":1.50}]}`)
	if code, out, errs := run("", "import", in); code != exitOK || out != "definitions of "+in+" are imported\n" {
		t.Fatal(code, out, errs)
	}
	if b.Queue("v", "q") == nil {
		t.Error("the queue was not made")
	}
	out := filepath.Join(t.TempDir(), "out.json")
	if code, said, errs := run("", "export", out); code != exitOK || said != "definitions are in "+out+"\n" {
		t.Fatal(code, said, errs)
	}
	text, err := os.ReadFile(out)
	if err != nil || !strings.Contains(string(text), `"value": 1.50`) || !strings.Contains(string(text), "\n  \"queues\": [\n") {
		t.Errorf("%s, %v", text, err)
	}
	if _, said, _ := run("", "export"); said != string(text) {
		t.Errorf("to standard output it is\n%s", said)
	}
	if code, said, errs := run(string(text), "import", "-"); code != exitOK {
		t.Error(code, said, errs)
	}
	if _, said, _ := run("", "export", "--vhost", "v"); strings.Contains(said, `"users"`) || !strings.Contains(said, `"name": "q"`) {
		t.Errorf("of a vhost it is\n%s", said)
	}
	for _, tt := range []struct {
		name string
		args []string
		in   string
		want string
	}{
		{"no file", []string{"import", filepath.Join(t.TempDir(), "nope")}, "", "no such file"},
		{"nothing", []string{"import", "-"}, " \n", "- is empty"},
		{"no JSON", []string{"import", "-"}, "{\n,", "-: it is not JSON: line 2"},
		{"what cannot be", []string{"import", "-"}, `{"queues":[{"vhost":"v","name":"q","durable":false}]}`, "queue 'q' in vhost 'v': inequivalent arg 'durable'"},
		{"no vhost", []string{"import", "-", "--vhost", "nope"}, `{}`, "vhost 'nope' does not exist"},
		{"no vhost to export", []string{"export", "--vhost", "nope"}, "", "vhost_not_found"},
		{"no directory", []string{"export", filepath.Join(t.TempDir(), "a", "b")}, "", "no such file"},
	} {
		if code, said, errs := run(tt.in, tt.args...); code == exitOK || !strings.Contains(errs, tt.want) {
			t.Errorf("%s: %d %s %s", tt.name, code, said, errs)
		}
	}
}

// A file is loaded before anybody can connect, once, and again when it has changed; what was changed since stays, whatever it says.
func TestServe_LoadsDefinitions(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "definitions.json")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	data := filepath.Join(dir, "data")
	serve := func() *running {
		t.Helper()
		r := startServe(t, data, "--load-definitions", file)
		r.ready(t)
		return r
	}
	end := func(r *running) {
		t.Helper()
		r.stop()
		if code := r.exit(t); code != exitOK {
			t.Fatal(code, r.log)
		}
	}
	write(`{"vhosts":[{"name":"/"}],"users":[{"name":"guest","password":"guest","tags":"administrator"}],
		"permissions":[{"user":"guest","vhost":"/","configure":".*","write":".*","read":".*"}],
		"queues":[{"vhost":"/","name":"q"},{"vhost":"/","name":"mqtt-subscription-aqos1"}]}`)
	r := serve()
	r.log.await(t, `part of the definitions is not loaded.*mqtt-subscription-aqos1`)
	r.log.await(t, `definitions loaded.*changed=3 passed_over=1`)
	if log := r.log.String(); strings.Index(log, "definitions loaded") > strings.Index(log, "listening listener=amqp") {
		t.Errorf("clients could connect before:\n%s", log)
	}
	ch, err := r.dial(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDelete("q", false, false, false); err != nil {
		t.Fatal(err)
	}
	end(r)

	r = serve()
	r.log.await(t, `definitions are loaded already`)
	if ch, err = r.dial(t).Channel(); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("q", false, false, false, false, nil); err != nil { // it is not there, or this would be refused
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("other", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	end(r)

	write(`{"queues":[{"vhost":"/","name":"other","durable":true,"arguments":{"x-max-length":1}},{"vhost":"/","name":"more"}]}`)
	r = serve()
	r.log.await(t, `part of the definitions is not loaded.*queue 'other' in vhost '/': stays as it is: inequivalent arg 'x-max-length'`)
	r.log.await(t, `definitions loaded.*changed=1 passed_over=1`)
	if code, body := r.get(t, "/api/definitions"); code == 200 || strings.Contains(body, "loaded") {
		t.Errorf("%d %s", code, body)
	}
	end(r)
}

// A file that cannot be loaded ends the start, and says why with the object's name.
func TestServe_RefusesBadDefinitions(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no JSON", "{", "it is not JSON"},
		{"a wrong type", `{"queues":[{"name":"q","durable":1}]}`, "queues[0] 'q': durable should not be a number"},
		{"what cannot be", `{"queues":[{"vhost":"nope","name":"q"}]}`, "queue 'q' in vhost 'nope': there is no vhost 'nope'"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			file := writeFile(t, "definitions.json", tt.text)
			r := startServe(t, t.TempDir(), "--load-definitions", file)
			if code := r.exit(t); code != exitUsage || !strings.Contains(r.log.String(), "load_definitions: "+file+": "+tt.want) {
				t.Errorf("%d\n%s", code, r.log)
			}
			if strings.Contains(r.log.String(), "listening listener=amqp") {
				t.Error("clients could connect")
			}
		})
	}
	r := startServe(t, t.TempDir(), "--load-definitions", filepath.Join(t.TempDir(), "nope"))
	if code := r.exit(t); code != exitUsage || !strings.Contains(r.log.String(), "load_definitions: open ") {
		t.Errorf("%d\n%s", code, r.log)
	}
}

// A standby takes over with what was loaded, also if it cannot load its file; before anything was loaded that ends its start.
func TestLoadDefinitions_DoesNotKeepAStandbyFromTakingOver(t *testing.T) {
	b := startAdminBroker(t)
	log := new(strings.Builder)
	c := &Config{LoadDefinitions: writeFile(t, "d.json", `{"queues":[{"vhost":"nope","name":"q"}]}`)}
	c.HA.Enabled = true
	if err := c.loadDefinitions(t.Context(), b.Broker, textLog(log)); codeOf(err) != exitUsage {
		t.Errorf("%v", err)
	}
	good := &Config{LoadDefinitions: writeFile(t, "d.json", `{"queues":[{"vhost":"/","name":"q"}]}`)}
	if err := good.loadDefinitions(t.Context(), b.Broker, textLog(log)); err != nil {
		t.Fatal(err)
	}
	if err := c.loadDefinitions(t.Context(), b.Broker, textLog(log)); err != nil || !strings.Contains(log.String(), "what was loaded before is in force") {
		t.Errorf("%v\n%s", err, log)
	}
	c.HA.Enabled = false
	if err := c.loadDefinitions(t.Context(), b.Broker, textLog(log)); codeOf(err) != exitUsage {
		t.Errorf("%v", err)
	}
	if p := b.GlobalParameters(); len(p) != 0 {
		t.Errorf("the note is listed: %v", p)
	}
	if _, ok := b.Parameter("", loadedNote("").Component, loadedNote("").Name); !ok || b.Queue(core.DefaultVHost, "q") == nil {
		t.Error("nothing was loaded")
	}
}

func textLog(w io.Writer) *slog.Logger { return slog.New(slog.NewTextHandler(w, nil)) }
