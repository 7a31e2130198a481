package api

import (
	"net/http"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

func TestPolicies(t *testing.T) {
	f := newFixture(t)
	invalid := func(why string) string { return badBody + `Validation failed\n\n` + why + `\n"}` }
	const body = `{"pattern":"^a","definition":{"max-length":5}}`
	f.play(t, []step{
		{"GET", "/api/policies", "", 200, "=[]"},
		{"PUT", "/api/policies/v1/p", body, 201, "="},
		{"PUT", "/api/policies/v1/p", body, 204, "="},
		{"GET", "/api/policies/v1/p", "", 200, `={"vhost":"v1","name":"p","pattern":"^a","apply-to":"all","definition":{"max-length":5},"priority":0}`},
		// What is put is read back as it was, numbers and all; other keys of the body are nobody's.
		{
			"PUT", "/api/policies/%2F/a%2Fb",
			`{"pattern":"","apply-to":"queues","priority":-3,"vhost":"v2","name":"z","definition":{"overflow":"drop-head","message-ttl":9007199254740993,"ha-params":["n1",{"k":true}]}}`, 201, "=",
		},
		{
			"GET", "/api/policies/%2F/a%2Fb", "", 200,
			`={"vhost":"/","name":"a/b","pattern":"","apply-to":"queues","definition":{"ha-params":["n1",{"k":true}],"message-ttl":9007199254740993,"overflow":"drop-head"},"priority":-3}`,
		},
		// In the order of their priorities.
		{"GET", "/api/policies?columns=name", "", 200, `=[{"name":"a/b"},{"name":"p"}]`},
		{"GET", "/api/policies/v1?columns=name", "", 200, `=[{"name":"p"}]`},
		{"GET", "/api/policies/v2", "", 200, `=[]`},
		{"GET", "/api/policies/nope", "", 404, gone},
		{"GET", "/api/policies/v2/p", "", 404, gone},
		{"GET", "/api/policies/nope/p", "", 404, gone},
		{"DELETE", "/api/policies/nope/p", "", 404, gone},
		{"DELETE", "/api/policies/v2/p", "", 404, gone},
		{"PUT", "/api/policies/nope/p", body, 404, `={"error":"not_found","reason":"vhost_not_found"}`},
		{"PUT", "/api/policies/v1/x", `{}`, 400, badBody + `key_missing: pattern"}`},
		{"PUT", "/api/policies/v1/x", `{"pattern":"a"}`, 400, badBody + `key_missing: definition"}`},
		{"PUT", "/api/policies/v1/x", `{"pattern":"a","definition":{}}`, 400, invalid(`no policy provided`)},
		{"PUT", "/api/policies/v1/x", `{"pattern":"a","definition":[]}`, 400, badBody + `definition should be an object"}`},
		{"PUT", "/api/policies/v1/x", `{"pattern":1,"definition":{}}`, 400, badBody + `pattern should be a string, actually was a number"}`},
		{"PUT", "/api/policies/v1/x", `{"pattern":"a","definition":{"foo":1}}`, 400, invalid(`[{<<\"foo\">>,1}] are not recognised policy settings`)},
		{"PUT", "/api/policies/v1/x", `{"pattern":"a","definition":{"max-length":1.5}}`, 400, invalid(`1.5 is not a valid maximum length`)},
		{"PUT", "/api/policies/v1/x", `{"pattern":"a","definition":{"max-length":true}}`, 400, invalid(`true is not a valid maximum length`)},
		{"PUT", "/api/policies/v1/x", `{"pattern":"a","priority":1.5,"definition":{"max-length":1}}`, 400, badBody + `priority should be a whole number, actually was 1.5"}`},
		{"PUT", "/api/policies/v1/x", `{"pattern":"a","priority":"1","definition":{"max-length":1}}`, 400, badBody + `priority should be a number, actually was a string"}`},
		{"DELETE", "/api/policies/v1/p", "", 204, "="},
		{"GET", "/api/policies/v1/p", "", 404, gone},
		// Operators' are kept apart.
		{"PUT", "/api/operator-policies/v1/p", body, 201, "="},
		{"GET", "/api/operator-policies/v1/p", "", 200, `={"vhost":"v1","name":"p","pattern":"^a","apply-to":"all","definition":{"max-length":5},"priority":0}`},
		{"GET", "/api/operator-policies?columns=name", "", 200, `=[{"name":"p"}]`},
		{"PUT", "/api/operator-policies/v1/x", `{"pattern":"a","definition":{"dead-letter-exchange":"x"}}`, 400, invalid(`[{<<\"dead-letter-exchange\">>,<<\"x\">>}] are not recognised policy settings`)},
		{"GET", "/api/policies/v1", "", 200, `=[]`},
		{"DELETE", "/api/operator-policies/v1/p", "", 204, "="},
		{"DELETE", "/api/operator-policies/v1/p", "", 404, gone},
	})
	if log := f.log.String(); !strings.Contains(log, `action="set policy" object="policy 'p', vhost 'v1'" result=created pattern=^a definition=map[max-length:5]`) {
		t.Errorf("the audit does not tell who set what:\n%s", log)
	}
}

// Who has the tag policymaker may make policies where it may enter, and no operator policies.
func TestPolicies_PolicymakersWhereTheyMayEnter(t *testing.T) {
	f := newFixture(t)
	must(t)(f.broker.Access().SetPermission(t.Context(), core.Permission{VHost: "v2", User: "pol"}))
	for _, tt := range []struct {
		method, path string
		code         int
		want         string
	}{
		{"PUT", "/api/policies/v1/p", 401, `{"error":"not_authorised","reason":"User not authorised to access object"}`},
		{"PUT", "/api/policies/v2/p", 201, ""},
		{"GET", "/api/policies/v2/p?columns=name", 200, `{"name":"p"}`},
		{"GET", "/api/policies?columns=name", 200, `[{"name":"p"}]`},
		{"DELETE", "/api/policies/v2/p", 204, ""},
		{"GET", "/api/policies/nope/p", 401, `{"error":"not_authorised","reason":"User not authorised to access object"}`},
		{"PUT", "/api/operator-policies/v2/p", 401, `{"error":"not_authorised","reason":"Not administrator user"}`},
	} {
		body := ""
		if tt.method == http.MethodPut {
			body = `{"pattern":"","definition":{"max-length":1}}`
		}
		if w := f.as(t, "pol", tt.method, tt.path, body); w.Code != tt.code || w.Body.String() != tt.want {
			t.Errorf("%s %s: %d %s, want %d %s", tt.method, tt.path, w.Code, w.Body, tt.code, tt.want)
		}
	}
	if w := f.as(t, "mgt", http.MethodGet, "/api/policies?columns=name", ""); w.Body.String() != "[]" {
		t.Errorf("who may not enter a vhost sees policies of it: %s", w.Body)
	}
}
