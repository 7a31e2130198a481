package api

import (
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

func TestParameters(t *testing.T) {
	f := newFixture(t)
	invalid := func(why string) string { return badBody + `Validation failed\n\n` + why + `\n"}` }
	f.play(t, []step{
		{"GET", "/api/parameters/shovel", "", 200, "=[]"},
		// The limits that a vhost has are a parameter.
		{
			"GET", "/api/parameters", "", 200,
			`=[{"value":{"max-connections":7},"vhost":"v1","component":"vhost-limits","name":"limits"},{"value":{"max-queues":9},"vhost":"v2","component":"vhost-limits","name":"limits"}]`,
		},
		// A value is any JSON, and stays as it was written.
		{"PUT", "/api/parameters/shovel/v1/a%2Fb", `{"value": {"z": 1.50, "a": [9007199254740993123, null, "<"]}}`, 201, "="},
		{"PUT", "/api/parameters/shovel/v1/a%2Fb", `{"value": {"z": 1.50, "a": [9007199254740993123, null, "<"]}}`, 204, "="},
		{
			"GET", "/api/parameters/shovel/v1/a%2Fb", "", 200,
			`={"value":{"z":1.50,"a":[9007199254740993123,null,"<"]},"vhost":"v1","component":"shovel","name":"a/b"}`,
		},
		{"PUT", "/api/parameters/own/v2/n", `{"value":null}`, 201, "="},
		{"GET", "/api/parameters/own/v2", "", 200, `=[{"value":null,"vhost":"v2","component":"own","name":"n"}]`},
		{"GET", "/api/parameters/shovel?columns=name,vhost", "", 200, `=[{"name":"a/b","vhost":"v1"}]`},
		{"GET", "/api/parameters/shovel/v2", "", 200, "=[]"},
		{"GET", "/api/parameters/shovel/nope", "", 404, gone},
		{"GET", "/api/parameters/shovel/v1/nope", "", 404, gone},
		{"PUT", "/api/parameters/shovel/nope/n", `{"value":1}`, 404, `={"error":"not_found","reason":"vhost_not_found"}`},
		{"PUT", "/api/parameters/shovel/v1/n", `{}`, 400, badBody + `key_missing: value"}`},
		{"PUT", "/api/parameters/shovel/v1/n", `[]`, 400, badBody + `not_json"}`},
		{"DELETE", "/api/parameters/shovel/v1/a%2Fb", "", 204, "="},
		{"DELETE", "/api/parameters/shovel/v1/a%2Fb", "", 404, gone},
		{"DELETE", "/api/parameters/shovel/nope/n", "", 404, gone},
		// Policies are parameters that are not set here; those of operators are.
		{"PUT", "/api/policies/v1/p", `{"pattern":"^a","definition":{"max-length":5}}`, 201, "="},
		{
			"GET", "/api/parameters/policy/v1/p", "", 200,
			`={"value":{"pattern":"^a","definition":{"max-length":5},"priority":0,"apply-to":"all"},"vhost":"v1","component":"policy","name":"p"}`,
		},
		{"PUT", "/api/parameters/policy/v1/p", `{"value":{}}`, 400, invalid("policies may not be set using this method")},
		{"DELETE", "/api/parameters/policy/v1/p", "", 400, invalid("policies may not be cleared using this method")},
		{"PUT", "/api/parameters/operator_policy/v1/o", `{"value":{"pattern":"^b","priority":2,"definition":{"max-length":6}}}`, 201, "="},
		{"GET", "/api/operator-policies/v1/o", "", 200, `={"vhost":"v1","name":"o","pattern":"^b","apply-to":"all","definition":{"max-length":6},"priority":2}`},
		{
			"GET", "/api/parameters/operator_policy", "", 200,
			`=[{"value":{"pattern":"^b","definition":{"max-length":6},"priority":2,"apply-to":"all"},"vhost":"v1","component":"operator_policy","name":"o"}]`,
		},
		{"PUT", "/api/parameters/operator_policy/v1/o", `{"value":{"definition":{"max-length":6}}}`, 400, invalid("key_missing: pattern")},
		{"PUT", "/api/parameters/operator_policy/v1/o", `{"value":{"pattern":"a"}}`, 400, invalid("key_missing: definition")},
		{"PUT", "/api/parameters/operator_policy/v1/o", `{"value":{"pattern":"a","priority":0.5,"definition":{}}}`, 400, invalid("priority should be a whole number, actually was 0.5")},
		{"PUT", "/api/parameters/operator_policy/v1/o", `{"value":[]}`, 400, invalid("an operator policy should be an object with a pattern and a definition")},
		{"PUT", "/api/parameters/operator_policy/v1/o", `{"value":{"pattern":"a","definition":{"foo":1}}}`, 400, invalid(`[{<<\"foo\">>,1}] are not recognised policy settings`)},
		{"DELETE", "/api/parameters/operator_policy/v1/o", "", 204, "="},
		{"GET", "/api/operator-policies/v1/o", "", 404, gone},
		// So are limits.
		{"PUT", "/api/parameters/vhost-limits/v1/limits", `{"value":{"max-queues":3}}`, 204, "="},
		{"GET", "/api/vhost-limits/v1", "", 200, `=[{"vhost":"v1","value":{"max-queues":3}}]`},
		{"PUT", "/api/parameters/vhost-limits/v1/limits", `{"value":{"foo":3}}`, 400, invalid(`unrecognised limit \"foo\"`)},
		{"PUT", "/api/parameters/vhost-limits/v1/limits", `{"value":{"max-queues":"3"}}`, 400, invalid("limits should be an object of whole numbers")},
		{"PUT", "/api/parameters/vhost-limits/v1/other", `{"value":{"max-queues":3}}`, 400, invalid(`the limits of a vhost are one parameter called \"limits\"`)},
		{"DELETE", "/api/parameters/vhost-limits/v1/other", "", 404, gone},
		{"DELETE", "/api/parameters/vhost-limits/v1/limits", "", 204, "="},
		{"DELETE", "/api/parameters/vhost-limits/v1/limits", "", 404, gone},
		{"GET", "/api/vhost-limits/v1", "", 200, `=[]`},
		{"PUT", "/api/parameters/vhost-limits/v1/limits", `{"value":{"max-queues":4}}`, 201, "="},
		// Global ones.
		{"GET", "/api/global-parameters", "", 200, "=[]"},
		{"PUT", "/api/global-parameters/n", `{"value": ["a", 1]}`, 201, "="},
		{"PUT", "/api/global-parameters/n", `{"value": "b"}`, 204, "="},
		{"PUT", "/api/global-parameters/m", `{}`, 400, badBody + `key_missing: value"}`},
		{"GET", "/api/global-parameters/n", "", 200, `={"name":"n","value":"b"}`},
		{"GET", "/api/global-parameters", "", 200, `=[{"name":"n","value":"b"}]`},
		{"GET", "/api/global-parameters/m", "", 404, gone},
		{"DELETE", "/api/global-parameters/n", "", 204, "="},
		{"DELETE", "/api/global-parameters/n", "", 404, gone},
	})
	if log := f.log.String(); !strings.Contains(log, `action="set parameter" object="parameter 'a/b', component 'shovel', vhost 'v1'" result=created value_bytes=50`) ||
		strings.Contains(log, "9007199254740993123") {
		t.Errorf("the audit does not tell who set what, or has the value in it:\n%s", log)
	}
}

// Who has the tag policymaker sees and sets parameters where it may enter, as in RabbitMQ.
func TestParameters_PolicymakersWhereTheyMayEnter(t *testing.T) {
	const notAdministrator = `{"error":"not_authorised","reason":"Not administrator user"}`
	f := newFixture(t)
	must(t)(f.broker.Access().SetPermission(t.Context(), core.Permission{VHost: "v2", User: "pol"}))
	for _, tt := range []struct {
		method, path string
		code         int
		want         string
	}{
		{"PUT", "/api/parameters/c/v1/p", 401, `{"error":"not_authorised","reason":"User not authorised to access object"}`},
		{"PUT", "/api/parameters/c/v2/p", 201, ""},
		{"PUT", "/api/parameters/c/nope/p", 404, `{"error":"not_found","reason":"vhost_not_found"}`},
		{"GET", "/api/parameters?columns=component,vhost", 200, `[{"component":"c","vhost":"v2"},{"component":"vhost-limits","vhost":"v2"}]`},
		{"GET", "/api/parameters/c/v2/p?columns=name", 200, `{"name":"p"}`},
		{"DELETE", "/api/parameters/c/v2/p", 204, ""},
		// What holds them back they do not lift on this way either.
		{"PUT", "/api/parameters/vhost-limits/v2/limits", 401, notAdministrator},
		{"DELETE", "/api/parameters/vhost-limits/v2/limits", 401, notAdministrator},
		{"PUT", "/api/parameters/operator_policy/v2/o", 401, notAdministrator},
		{"DELETE", "/api/parameters/operator_policy/v2/o", 401, notAdministrator},
	} {
		if w := f.as(t, "pol", tt.method, tt.path, `{"value":1}`); w.Code != tt.code || w.Body.String() != tt.want {
			t.Errorf("%s %s = %d %s, want %d %s", tt.method, tt.path, w.Code, w.Body, tt.code, tt.want)
		}
	}
}

func TestFeatureFlags(t *testing.T) {
	f := newFixture(t)
	f.play(t, []step{
		{"GET", "/api/feature-flags?columns=name,state&sort=name&sort_reverse=true&page=1&page_size=1", "", 200, `{"filtered_count":8,"item_count":1,"items":[{"name":"virtual_host_metadata","state":"enabled"}]`},
		{"PUT", "/api/feature-flags/virtual_host_metadata/enable", `{"name":"virtual_host_metadata"}`, 204, "="},
		{"PUT", "/api/feature-flags/nope/enable", "", 400, badBody + `unsupported"}`},
		{"GET", "/api/deprecated-features", "", 200, "=[]"},
		{"GET", "/api/deprecated-features/used", "", 200, "=[]"},
	})
}
