package api

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
)

// step is a request by an administrator and what comes of it. A body that begins
// with "=" is compared as a whole, others by their beginning.
type step struct {
	method, path, body string
	code               int
	want               string
}

func (f *fixture) play(t *testing.T, steps []step) {
	t.Helper()
	for _, s := range steps {
		w := f.as(t, "adm", s.method, s.path, s.body)
		got := w.Body.String()
		want, whole := strings.CutPrefix(s.want, "=")
		if w.Code != s.code || !strings.HasPrefix(got, want) || whole && got != want {
			t.Errorf("%s %s %s = %d %s\nwant %d %s", s.method, s.path, s.body, w.Code, got, s.code, s.want)
		}
	}
}

const (
	gone    = `={"error":"Object Not Found","reason":"Not Found"}`
	badBody = `={"error":"bad_request","reason":"`
)

func TestUsers(t *testing.T) {
	f := newFixture(t)
	hash := rabbitHash("h")
	sha := `"hashing_algorithm":"rabbit_password_hashing_sha256"`
	f.play(t, []step{
		// What is put is read back: hashes as they are, tags as a list.
		{"PUT", "/api/users/u", `{"password_hash":"` + hash + `","tags":["a","b"]}`, 201, "="},
		{"GET", "/api/users/u", "", 200, `={"name":"u","password_hash":"` + hash + `",` + sha + `,"tags":["a","b"],"limits":{}}`},
		{"PUT", "/api/users/u", `{"password_hash":"` + hash + `","hashing_algorithm":"rabbit_password_hashing_sha256","tags":"administrator, management ,x,"}`, 204, "="},
		{"GET", "/api/users/u", "", 200, `={"name":"u","password_hash":"` + hash + `",` + sha + `,"tags":["administrator","management","x"],"limits":{}}`},
		// Limits stay, and are seen.
		{"PUT", "/api/user-limits/u/max-connections", `{"value":5}`, 204, "="},
		{"PUT", "/api/users/u", `{"password_hash":"` + hash + `","tags":""}`, 204, "="},
		{"GET", "/api/users/u", "", 200, `={"name":"u","password_hash":"` + hash + `",` + sha + `,"tags":[],"limits":{"max-connections":5}}`},
		// Who is given no password has none.
		{"PUT", "/api/users/u", `{"tags":[]}`, 204, "="},
		{"GET", "/api/users/u?columns=password_hash,tags", "", 200, `={"password_hash":"","tags":[]}`},
		{"PUT", "/api/users/u", `{"password_hash":"","tags":[]}`, 204, "="},
		{"PUT", "/api/users/u", `{"password":"","tags":[]}`, 204, "="},
		{"GET", "/api/users/u?columns=password_hash", "", 200, `={"password_hash":""}`},
		// Unknown keys are tolerated; others are not what they should be.
		{"PUT", "/api/users/w", `{"tags":"","name":"other","zzz":{"a":1}}`, 201, "="},
		{"GET", "/api/users/other", "", 404, gone},
		{"PUT", "/api/users/x", `{"password":"p"}`, 400, badBody + `tags_not_present"}`},
		{"PUT", "/api/users/x", ``, 400, badBody + `tags_not_present"}`},
		{"PUT", "/api/users/x", `{bad`, 400, badBody + `not_json"}`},
		{"PUT", "/api/users/x", `[]`, 400, badBody + `not_json"}`},
		{"PUT", "/api/users/x", `{"tags":"","password":1}`, 400, badBody + `password should be a string, actually was a number"}`},
		{"PUT", "/api/users/x", `{"tags":5}`, 400, badBody + `tags should be a list of strings, or a string with commas"}`},
		{"PUT", "/api/users/x", `{"tags":[1]}`, 400, badBody + `tags should be a list of strings, or a string with commas"}`},
		{"PUT", "/api/users/x", `{"tags":"","password":"x","password_hash":"` + hash + `"}`, 400, badBody + `both_password_and_password_hash_are_provided"}`},
		{"PUT", "/api/users/x", `{"tags":"","password_hash":"no"}`, 400, `{"error":"bad_request","reason":"password_hash: unusable password hash`},
		{"PUT", "/api/users/x", `{"tags":"","password_hash":"` + hash + `","hashing_algorithm":"bogus"}`, 400, `{"error":"bad_request","reason":"password_hash: unusable`},
		{"PUT", "/api/users/x%0Ay", `{"tags":""}`, 400, `{"error":"bad_request","reason":"a name may not contain`},
		{"PUT", "/api/users/x", `{"tags":"` + strings.Repeat("a", maxBody) + `"}`, 400, `{"error":"bad_request","reason":"the body is larger`},
		{"GET", "/api/users/x", "", 404, gone},
		// All or none.
		{"POST", "/api/users/bulk-delete", `{"users":["w","zz"]}`, 400, badBody + `no_such_user: zz"}`},
		{"GET", "/api/users/w?columns=name", "", 200, `={"name":"w"}`},
		{"POST", "/api/users/bulk-delete", `{"users":["w","u"]}`, 204, "="},
		{"POST", "/api/users/bulk-delete", `{}`, 400, badBody + `key_missing: users"}`},
		{"POST", "/api/users/bulk-delete", `{"users":"x"}`, 400, badBody + `users should be a list, actually was a string"}`},
		{"GET", "/api/users/w", "", 404, gone},
		{"DELETE", "/api/users/w", "", 404, gone},
		{"GET", "/api/users/without-permissions?columns=name", "", 200, `=[{"name":"adm"},{"name":"mon"},{"name":"non"},{"name":"pol"}]`},
		{"DELETE", "/api/users/pol", "", 204, "="},
		{"GET", "/api/users?columns=name", "", 200, `=[{"name":"adm"},{"name":"mgt"},{"name":"mon"},{"name":"non"}]`},
	})
}

func TestUsers_PasswordIsKeptAsAStrongHash(t *testing.T) {
	f := newFixture(t)
	f.play(t, []step{{"PUT", "/api/users/u", `{"password":"pw","tags":"management"}`, 201, "="}})
	u, _ := f.broker.Access().User("u")
	if !strings.HasPrefix(u.Password, "$argon2id$") || u.SCRAM == "" {
		t.Errorf("kept are %q and %q", u.Password, u.SCRAM)
	}
	if w := f.as(t, "u", "GET", "/api/whoami", ""); w.Code != 200 {
		t.Errorf("its login: %d %s", w.Code, w.Body)
	}
	// What is read can be put again, here or elsewhere, and leaves the SCRAM verifier; another hash does not.
	w := f.as(t, "adm", "GET", "/api/users/u", "")
	f.play(t, []step{{"PUT", "/api/users/u", w.Body.String(), 204, "="}, {"PUT", "/api/users/copy", w.Body.String(), 201, "="}})
	if again, _ := f.broker.Access().User("u"); again.Password != u.Password || again.SCRAM != u.SCRAM {
		t.Errorf("after putting what was read, kept are %q and %q", again.Password, again.SCRAM)
	}
	if w := f.as(t, "copy", "GET", "/api/whoami", ""); w.Code != 200 {
		t.Errorf("the copy's login: %d %s", w.Code, w.Body)
	}
	f.play(t, []step{{"PUT", "/api/users/u", `{"password_hash":"` + rabbitHash("x") + `","tags":""}`, 204, "="}})
	if again, _ := f.broker.Access().User("u"); again.SCRAM != "" {
		t.Error("a verifier of the old password was left")
	}
}

func TestHashPassword(t *testing.T) {
	f := newFixture(t)
	w := f.as(t, "adm", "POST", "/api/auth/hash_password", `{"password":"pw"}`)
	var answer struct{ OK string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Fatal(err)
	}
	if ok, err := auth.VerifyPassword(answer.OK, "pw"); !ok || err != nil {
		t.Errorf("%s: %t, %v", w.Body, ok, err)
	}
	f.play(t, []step{{"POST", "/api/auth/hash_password", `{}`, 400, badBody + `key_missing: password"}`}})
}

func TestVHosts(t *testing.T) {
	f := newFixture(t)
	state := `"tracing":false,"cluster_state":{"node-a":"running"}}`
	f.play(t, []step{
		{"PUT", "/api/vhosts/a%2Fb", `{"description":"d","tags":["x","y"],"default_queue_type":"quorum","tracing":false,"zzz":1}`, 201, "="},
		{"GET", "/api/vhosts/a%2Fb", "", 200, `={"name":"a/b","description":"d","tags":["x","y"],"default_queue_type":"quorum",` +
			`"metadata":{"description":"d","tags":["x","y"],"default_queue_type":"quorum"},` + state},
		// Who makes one may use it; what a change does not name stays.
		{"GET", "/api/permissions/a%2Fb/adm", "", 200, `={"user":"adm","vhost":"a/b","configure":".*","write":".*","read":".*"}`},
		{"PUT", "/api/vhosts/a%2Fb", `{"tags":"x"}`, 204, "="},
		{"GET", "/api/vhosts/a%2Fb?columns=description,tags,metadata.tags", "", 200, `={"description":"d","metadata":{"tags":["x"]},"tags":["x"]}`},
		{"PUT", "/api/vhosts/plain", "", 201, "="},
		{"GET", "/api/vhosts/plain", "", 200, `={"name":"plain","description":"","tags":[],"default_queue_type":"classic","metadata":{"description":"","tags":[]},` + state},
		{"PUT", "/api/vhosts/x", `{"description":1}`, 400, badBody + `description should be a string, actually was a number"}`},
		{"PUT", "/api/vhosts/x", `{"tags":1}`, 400, badBody + `tags should be a list of strings, or a string with commas"}`},
		{"PUT", "/api/vhosts/x", `{"default_queue_type":"bogus"}`, 400, `{"error":"bad_request","reason":"default_queue_type \"bogus\" is not one of`},
		{"PUT", "/api/vhosts/x", `{"tracing":true}`, 400, badBody + `tracing is not supported"}`},
		{"PUT", "/api/vhosts/x", `{"tracing":"true"}`, 400, badBody + `tracing is not supported"}`},
		{"PUT", "/api/vhosts/" + strings.Repeat("n", 256), "", 400, `{"error":"bad_request","reason":"the name of a vhost`},
		{"GET", "/api/vhosts/x", "", 404, gone},
		{"GET", "/api/vhosts?columns=name", "", 200, `=[{"name":"/"},{"name":"a/b"},{"name":"plain"},{"name":"v1"},{"name":"v2"}]`},
		{"DELETE", "/api/vhosts/a%2Fb", "", 204, "="},
		{"DELETE", "/api/vhosts/a%2Fb", "", 404, gone},
		{"GET", "/api/permissions/a%2Fb/adm", "", 404, gone},
		{"GET", "/api/vhosts/a%2Fb/permissions", "", 404, gone},
		{"GET", "/api/vhosts/a%2Fb/topic-permissions", "", 404, gone},
		{"GET", "/api/vhosts/a%2Fb/connections", "", 404, gone},
	})
	if w := f.as(t, "mgt", "GET", "/api/vhosts?columns=name", ""); w.Body.String() != `[{"name":"v1"}]` {
		t.Errorf("mgt sees %s", w.Body)
	}
	f.as(t, "adm", "PUT", "/api/user-limits/pol/max-channels", `{"value":7}`)
	for user, want := range map[string]string{"mgt": "[]", "pol": `[{"user":"pol","value":{"max-channels":7}}]`, "mon": `[{"user":"pol","value":{"max-channels":7}}]`} {
		if w := f.as(t, user, "GET", "/api/user-limits", ""); w.Body.String() != want {
			t.Errorf("%s sees the limits of users %s, want %s", user, w.Body, want)
		}
	}
	if w := f.as(t, "mgt", "GET", "/api/vhost-limits", ""); w.Body.String() != `[{"vhost":"v1","value":{"max-connections":7}}]` {
		t.Errorf("mgt sees the limits %s", w.Body)
	}
}

func TestPermissions(t *testing.T) {
	f := newFixture(t)
	f.play(t, []step{
		{"GET", "/api/permissions", "", 200, `=[{"user":"mgt","vhost":"v1","configure":"^c","write":"","read":".*"}]`},
		{"PUT", "/api/permissions/v2/non", `{"configure":".*","write":"w","read":"^(?=r)"}`, 201, "="},
		{"PUT", "/api/permissions/v2/non", `{"configure":".*","write":"","read":"^(?=r)"}`, 204, "="},
		{"GET", "/api/permissions/v2/non", "", 200, `={"user":"non","vhost":"v2","configure":".*","write":"","read":"^(?=r)"}`},
		{"GET", "/api/vhosts/v2/permissions", "", 200, `=[{"user":"non","vhost":"v2","configure":".*","write":"","read":"^(?=r)"}]`},
		{"GET", "/api/users/mgt/permissions?columns=vhost", "", 200, `=[{"vhost":"v1"}]`},
		{"GET", "/api/users/nope/permissions", "", 404, gone},
		{"GET", "/api/users/adm/permissions", "", 200, `=[]`},
		{"PUT", "/api/permissions/v2/non", `{"configure":".*","write":""}`, 400, badBody + `key_missing: read"}`},
		{"PUT", "/api/permissions/v2/non", `{"configure":"(","write":"","read":""}`, 400, `{"error":"bad_request","reason":"invalid_regexp: configure: invalid pattern`},
		{"PUT", "/api/permissions/v2/non", `{"configure":1,"write":"","read":""}`, 400, badBody + `configure should be a string, actually was a number"}`},
		{"PUT", "/api/permissions/v2/nope", `{"configure":"","write":"","read":""}`, 400, badBody + `vhost_or_user_not_found"}`},
		{"PUT", "/api/permissions/nope/non", `{"configure":"","write":"","read":""}`, 400, badBody + `vhost_or_user_not_found"}`},
		{"GET", "/api/permissions/v1/non", "", 404, gone},
		{"DELETE", "/api/permissions/v1/non", "", 404, gone},
		{"DELETE", "/api/permissions/nope/nope", "", 404, gone},
		{"DELETE", "/api/permissions/v2/non", "", 204, "="},
		{"GET", "/api/vhosts/v2/permissions", "", 200, `=[]`},

		{"GET", "/api/topic-permissions", "", 200, `=[{"user":"mgt","vhost":"v1","exchange":"amq.topic","write":"w","read":"r"}]`},
		{"PUT", "/api/topic-permissions/v1/mgt", `{"exchange":"x","write":"{client_id}","read":""}`, 201, "="},
		{"PUT", "/api/topic-permissions/v1/mgt", `{"exchange":"x","write":"","read":""}`, 204, "="},
		{"GET", "/api/topic-permissions/v1/mgt?columns=exchange,write", "", 200, `=[{"exchange":"amq.topic","write":"w"},{"exchange":"x","write":""}]`},
		{"GET", "/api/users/mgt/topic-permissions?columns=exchange", "", 200, `=[{"exchange":"amq.topic"},{"exchange":"x"}]`},
		{"GET", "/api/vhosts/v2/topic-permissions", "", 200, `=[]`},
		{"PUT", "/api/topic-permissions/v1/mgt", `{"write":"","read":""}`, 400, badBody + `key_missing: exchange"}`},
		{"PUT", "/api/topic-permissions/v1/mgt", `{"exchange":"x","write":"(","read":""}`, 400, `{"error":"bad_request","reason":"invalid_regexp: write:`},
		{"PUT", "/api/topic-permissions/nope/mgt", `{"exchange":"x","write":"","read":""}`, 400, badBody + `vhost_or_user_not_found"}`},
		{"DELETE", "/api/topic-permissions/v1/mgt/x", "", 204, "="},
		{"DELETE", "/api/topic-permissions/v1/mgt/x", "", 404, gone},
		{"DELETE", "/api/topic-permissions/v1/mgt", "", 204, "="},
		{"DELETE", "/api/topic-permissions/v1/mgt", "", 404, gone},
		{"GET", "/api/topic-permissions/v1/mgt", "", 404, gone},
	})
}

func TestLimits(t *testing.T) {
	f := newFixture(t)
	f.play(t, []step{
		{"GET", "/api/vhost-limits", "", 200, `=[{"vhost":"v1","value":{"max-connections":7}},{"vhost":"v2","value":{"max-queues":9}}]`},
		{"PUT", "/api/vhost-limits/v1/max-queues", `{"value":0}`, 204, "="},
		{"GET", "/api/vhost-limits/v1", "", 200, `=[{"vhost":"v1","value":{"max-connections":7,"max-queues":0}}]`},
		{"PUT", "/api/vhost-limits/v1/max-queues", `{"value":-5}`, 204, "="},
		{"DELETE", "/api/vhost-limits/v1/max-connections", "", 204, "="},
		{"DELETE", "/api/vhost-limits/v1/max-connections", "", 204, "="},
		{"DELETE", "/api/vhost-limits/v1/bogus", "", 204, "="},
		{"GET", "/api/vhost-limits/v1", "", 200, `=[]`},
		{"GET", "/api/vhost-limits/nope", "", 404, gone},
		{"PUT", "/api/vhosts/a%FF", "", 400, badBody + `the name of the vhost is not UTF-8"}`},
		{"PUT", "/api/queues/v1/a%FF", "{}", 400, badBody + `the name of the queue is not UTF-8"}`},
		{"GET", "/api/vhost-limits/v1/max-queues", "", 405, `{"error":"method_not_allowed"`},
		{"PUT", "/api/vhost-limits/v1/bogus", `{"value":5}`, 400, `{"error":"bad_request","reason":"Unrecognised limit`},
		{"PUT", "/api/vhost-limits/v1/max-queues", `{"value":"x"}`, 400, badBody + `max-queues should be a number, actually was a string"}`},
		{"PUT", "/api/vhost-limits/v1/max-queues", `{"value":1.5}`, 400, `{"error":"bad_request","reason":"max-queues should be a whole number`},
		{"PUT", "/api/vhost-limits/v1/max-queues", `{"value":1e300}`, 400, `{"error":"bad_request","reason":"max-queues should be a whole number`},
		{"PUT", "/api/vhost-limits/v1/max-queues", `{}`, 400, badBody + `key_missing: value"}`},
		{"PUT", "/api/vhost-limits/nope/max-queues", `{"value":1}`, 404, `={"error":"not_found","reason":"vhost_not_found"}`},

		{"PUT", "/api/user-limits/mgt/max-connections", `{"value":5}`, 204, "="},
		{"PUT", "/api/user-limits/mgt/max-channels", `{"value":7}`, 204, "="},
		{"GET", "/api/user-limits", "", 200, `=[{"user":"mgt","value":{"max-channels":7,"max-connections":5}}]`},
		{"DELETE", "/api/user-limits/mgt/max-channels", "", 204, "="},
		{"GET", "/api/user-limits/mgt", "", 200, `=[{"user":"mgt","value":{"max-connections":5}}]`},
		{"GET", "/api/user-limits/non", "", 200, `=[]`},
		{"GET", "/api/user-limits/nope", "", 404, gone},
		{"PUT", "/api/user-limits/nope/max-channels", `{"value":7}`, 400, badBody + `no_such_user: nope"}`},
		{"DELETE", "/api/user-limits/nope/max-channels", "", 404, gone},
		{"PUT", "/api/user-limits/mgt/bogus", `{"value":7}`, 400, `{"error":"bad_request","reason":"Unrecognised limit`},
	})
	if u, _ := f.broker.Access().User("mgt"); u.Password == "" || len(u.Tags) != 1 {
		t.Errorf("a limit changed its user to %+v", u)
	}
}

func TestLists(t *testing.T) {
	f := newFixture(t)
	for _, name := range []string{"App1", "app2", "other"} {
		must(t)(f.broker.Access().PutUser(t.Context(), core.User{Name: name, MaxConnections: len(name), MaxChannels: -1}))
	}
	page := func(filtered, items int, list string, number, pages, size int) string {
		b, err := json.Marshal(map[string]any{
			"filtered_count": filtered, "item_count": items, "items": json.RawMessage(list),
			"page": number, "page_count": pages, "page_size": size, "total_count": 8,
		})
		if err != nil {
			t.Fatal(err)
		}
		return "=" + string(b)
	}
	f.play(t, []step{
		{"GET", "/api/users?columns=name&page=1&page_size=2", "", 200, page(8, 2, `[{"name":"App1"},{"name":"adm"}]`, 1, 4, 2)},
		{"GET", "/api/users?columns=name&page=4&page_size=2", "", 200, page(8, 2, `[{"name":"other"},{"name":"pol"}]`, 4, 4, 2)},
		{"GET", "/api/users?columns=name&page=3&page_size=3&pagination=false", "", 200, page(8, 2, `[{"name":"other"},{"name":"pol"}]`, 3, 3, 3)},
		{"GET", "/api/users?columns=name&page=1&name=APP", "", 200, page(2, 2, `[{"name":"App1"},{"name":"app2"}]`, 1, 1, 100)},
		{"GET", "/api/users?columns=name&page=1&name=%5Ea.*%5Cd%24&use_regex=true&sort=name&sort_reverse=true", "", 200, page(2, 2, `[{"name":"app2"},{"name":"App1"}]`, 1, 1, 100)},
		{"GET", "/api/users?columns=name&page=1&name=nothing", "", 200, page(0, 0, `[]`, 1, 0, 100)},
		{"GET", "/api/users?columns=name&page=1&name=a.p", "", 200, page(0, 0, `[]`, 1, 0, 100)},
		{
			"GET", "/api/users?columns=name,limits.max-connections&sort=limits.max-connections&sort_reverse=true&page=1&page_size=2", "", 200,
			page(8, 2, `[{"limits":{"max-connections":5},"name":"other"},{"limits":{"max-connections":4},"name":"App1"}]`, 1, 4, 2),
		},
		// Without a page nothing is filtered, as in RabbitMQ.
		{"GET", "/api/users?columns=name&name=adm&page_size=1&sort=bogus", "", 200, `[{"name":"App1"},{"name":"adm"},`},
		{"GET", "/api/vhosts?columns=name&sort=name&sort_reverse=true", "", 200, `=[{"name":"v2"},{"name":"v1"},{"name":"/"}]`},
		{"GET", "/api/users?page=9&page_size=2", "", 400, `={"error":"page_out_of_range","reason":"Page out of range, page: 9 page size: 2, len: 8"}`},
		{"GET", "/api/users?page=1&page_size=501", "", 400, `={"error":"invalid_pagination_parameters","reason":"Invalid pagination parameters: page number 1, page size 501"}`},
		{"GET", "/api/users?page=0", "", 400, `{"error":"invalid_pagination_parameters"`},
		{"GET", "/api/users?page=9223372036854775807", "", 400, `{"error":"page_out_of_range"`},
		{"GET", "/api/users?page=x", "", 400, badBody + `Pagination parameters are invalid"}`},
		{"GET", "/api/users?page=1&page_size=x", "", 400, badBody + `Pagination parameters are invalid"}`},
		{"GET", "/api/users?page=1&name=%28&use_regex=true", "", 400, `{"error":"bad_request","reason":"the name is not a regular expression`},
		{"GET", "/api/users?page=1&name=" + strings.Repeat("a", 2000), "", 400, `{"error":"bad_request","reason":"the name is longer`},
	})
	if w := f.as(t, "adm", http.MethodGet, "/api/users?columns=,name..x,tags.y", ""); w.Code != 200 || !strings.HasPrefix(w.Body.String(), `[{},{}`) {
		t.Errorf("odd columns: %d %s", w.Code, w.Body)
	}
}
