package auth

import (
	"errors"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

func permissionsOf(t *testing.T, u *users, name string, v Variables) core.Authorizer {
	t.Helper()
	p, err := newAccounts(t, u).Principal(name, tcpAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	return p.Access(v)
}

func TestPermissions_Enter(t *testing.T) {
	u := &users{
		all: map[string]core.User{"u": {Name: "u"}, "admin": {Name: "admin", Tags: []string{"administrator"}}},
		permissions: []core.Permission{
			{VHost: "all", User: "u", Configure: ".*", Write: ".*", Read: ".*"},
			{VHost: "nothing", User: "u"},
			{VHost: "other", User: "admin"},
		},
	}
	for _, tt := range []struct {
		user, vhost string
		want        bool
	}{
		{"u", "all", true},
		{"u", "nothing", true},
		{"u", "other", false},
		{"u", "", false},
		{"admin", "other", true},
		{"admin", "all", false}, // being an administrator is no permission
	} {
		err := permissionsOf(t, u, tt.user, Variables{}).Enter(tt.vhost)
		if (err == nil) != tt.want || (err != nil && !errors.Is(err, core.ErrDenied)) {
			t.Errorf("%s enters %q: %v, want %v", tt.user, tt.vhost, err, tt.want)
		}
	}
}

func TestPermissions_Allow(t *testing.T) {
	u := &users{
		all: map[string]core.User{"u": {Name: "u"}},
		permissions: []core.Permission{
			{VHost: "/", User: "u", Configure: "^conf", Write: "^(amq\\.default|w)", Read: "^(?!secret)"},
			{VHost: "broken", User: "u", Configure: "(", Write: "", Read: ".*"},
		},
		topics: []core.TopicPermission{
			{VHost: "/", User: "u", Exchange: "amq.topic", Write: "^dev\\.{client_id}\\.", Read: "^({username}|{vhost})\\."},
			{VHost: "/", User: "u", Exchange: "closed"},
			{VHost: "/", User: "u", Exchange: "wild", Write: "^{client_id}", Read: "^{client_id}$"},
		},
	}
	type request struct {
		class       core.Class
		right       core.Right
		vhost, name string
		key, client string
		want        bool
		because     string
	}
	for _, tt := range []request{
		{class: core.QueueClass, right: core.Configure, vhost: "/", name: "conf.q", want: true},
		{class: core.QueueClass, right: core.Configure, vhost: "/", name: "my.conf", because: "it is anchored"},
		{class: core.QueueClass, right: core.Write, vhost: "/", name: "conf.q", because: "each right has its pattern"},
		{class: core.ExchangeClass, right: core.Write, vhost: "/", name: "w", want: true},
		{class: core.ExchangeClass, right: core.Write, vhost: "/", name: "amq.default", want: true},
		{class: core.ExchangeClass, right: core.Write, vhost: "/", name: "", want: true, because: "the default exchange is asked by its name"},
		{class: core.QueueClass, right: core.Write, vhost: "/", name: "", because: "no queue is amq.default"},
		{class: core.QueueClass, right: core.Read, vhost: "/", name: "anything", want: true},
		{class: core.QueueClass, right: core.Read, vhost: "/", name: "secret.q", because: "a lookahead forbids it"},
		{class: core.QueueClass, right: core.Read, vhost: "other", name: "q", because: "there is no permission in the vhost"},
		{class: core.QueueClass, right: core.Write, vhost: "broken", name: "q", because: "an empty pattern is no name"},
		{class: core.QueueClass, right: core.Configure, vhost: "broken", name: "(", because: "a broken pattern denies"},
		{class: core.QueueClass, right: core.Read, vhost: "broken", name: "q", want: true},
		{class: core.QueueClass, right: 77, vhost: "/", name: "conf", because: "there is no such right"},

		{class: core.TopicClass, right: core.Write, vhost: "/", name: "amq.topic", key: "dev.c1.t", client: "c1", want: true},
		{class: core.TopicClass, right: core.Write, vhost: "/", name: "amq.topic", key: "dev.c2.t", client: "c1", because: "it is another's"},
		{class: core.TopicClass, right: core.Write, vhost: "/", name: "amq.topic", key: "dev.c2.t", client: ".*", because: "a client id is literal"},
		{class: core.TopicClass, right: core.Write, vhost: "/", name: "amq.topic", key: "dev..t", because: "a variable without a value is nothing"},
		{class: core.TopicClass, right: core.Write, vhost: "/", name: "wild", key: "anything", because: "a variable without a value is not the empty text"},
		{class: core.TopicClass, right: core.Read, vhost: "/", name: "wild", key: "anything", client: "any", because: "it is not the whole"},
		{class: core.TopicClass, right: core.Read, vhost: "/", name: "amq.topic", key: "u.x", want: true},
		{class: core.TopicClass, right: core.Read, vhost: "/", name: "amq.topic", key: "/.x", want: true},
		{class: core.TopicClass, right: core.Read, vhost: "/", name: "amq.topic", key: "v.x"},
		{class: core.TopicClass, right: core.Write, vhost: "/", name: "closed", key: "x", because: "an empty pattern is no key"},
		{class: core.TopicClass, right: core.Write, vhost: "/", name: "open", key: "x", want: true, because: "no rule is no limit"},
		{class: core.TopicClass, right: core.Write, vhost: "other", name: "amq.topic", key: "x", want: true, because: "no rule is no limit"},
	} {
		err := permissionsOf(t, u, "u", Variables{ClientID: tt.client}).Allow(core.Request{Class: tt.class, Right: tt.right, VHost: tt.vhost, Name: tt.name, Key: tt.key})
		if (err == nil) != tt.want || (err != nil && !errors.Is(err, core.ErrDenied)) {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

// A front-end whose topics are translated has names translated alike, and may have
// one stand for nothing.
func TestPermissions_NamesAsWordsOfAKey(t *testing.T) {
	u := &users{
		all:    map[string]core.User{"u.x": {Name: "u.x"}},
		topics: []core.TopicPermission{{VHost: "/", User: "u.x", Exchange: "x", Write: "^{username}[.]{client_id}$", Read: "^{username}$"}},
	}
	word := func(s string) string {
		if s == "none" {
			return ""
		}
		return strings.ReplaceAll(s, ".", "/")
	}
	for _, tt := range []struct {
		client, key string
		right       core.Right
		want        bool
	}{
		{"c.1", "u/x.c/1", core.Write, true},
		{"c.1", "u.x.c.1", core.Write, false},
		{"none", "u/x.none", core.Write, false},
		{"none", "u/x.", core.Write, false},
		{"none", "u/x", core.Read, true},
	} {
		err := permissionsOf(t, u, "u.x", Variables{ClientID: tt.client, Word: word}).
			Allow(core.Request{Class: core.TopicClass, Right: tt.right, VHost: "/", Name: "x", Key: tt.key})
		if (err == nil) != tt.want {
			t.Errorf("%+v: %v", tt, err)
		}
	}
}

func TestPermissions_AreOfTheRecordsAsTheyAre(t *testing.T) {
	u := &users{all: map[string]core.User{"u": {Name: "u"}}, generation: 1}
	p := permissionsOf(t, u, "u", Variables{})
	if g := p.Generation(); g != 1 {
		t.Errorf("generation is %d", g)
	}
	read := core.Request{Class: core.QueueClass, Right: core.Read, VHost: "/", Name: "q"}
	if err := errors.Join(p.Enter("/"), p.Allow(read)); err == nil {
		t.Error("allowed without a permission")
	}
	if p.Topics("/", "amq.topic") {
		t.Error("a topic rule without a topic permission")
	}
	u.mu.Lock()
	u.permissions = []core.Permission{{VHost: "/", User: "u", Read: "q"}}
	u.topics = []core.TopicPermission{{VHost: "/", User: "u", Exchange: "amq.topic", Read: "x"}}
	u.generation = 2
	u.mu.Unlock()
	if err := errors.Join(p.Enter("/"), p.Allow(read)); err != nil || p.Generation() != 2 {
		t.Errorf("after the change: %v, generation %d", err, p.Generation())
	}
	for exchange, want := range map[string]bool{"amq.topic": true, "other": false} {
		if got := p.Topics("/", exchange); got != want {
			t.Errorf("topic rule at %s: %v, want %v", exchange, got, want)
		}
	}
}

// A session that goes from one rule to another is judged by each.
func TestPermissions_TopicRulesDoNotMix(t *testing.T) {
	u := &users{all: map[string]core.User{"u": {Name: "u"}}, topics: []core.TopicPermission{
		{VHost: "a", User: "u", Exchange: "x", Write: "^{vhost}$", Read: "^r$"},
		{VHost: "b", User: "u", Exchange: "x", Write: "^{vhost}$", Read: "^r$"},
		{VHost: "a", User: "u", Exchange: "y", Write: "^y$", Read: "^{client_id}$"},
	}}
	p := permissionsOf(t, u, "u", Variables{ClientID: "c"})
	check := func(vhost, exchange string, right core.Right, key string) {
		t.Helper()
		for _, k := range []string{"a", "b", "r", "y", "c", "new"} {
			err := p.Allow(core.Request{Class: core.TopicClass, Right: right, VHost: vhost, Name: exchange, Key: k})
			if (err == nil) != (k == key) {
				t.Errorf("%s of %s at %s in %s: %v; %s is allowed", right, k, exchange, vhost, err, key)
			}
		}
	}
	for range 2 {
		check("a", "x", core.Write, "a")
		check("b", "x", core.Write, "b")
		check("a", "y", core.Write, "y")
		check("a", "x", core.Read, "r")
		check("a", "y", core.Read, "c")
	}
	u.mu.Lock()
	u.topics[2].Read = "^new$"
	u.mu.Unlock()
	check("a", "y", core.Read, "new")
}

func BenchmarkPermissions_Allow(b *testing.B) {
	u := &users{
		all:         map[string]core.User{"u": {Name: "u"}},
		permissions: []core.Permission{{VHost: "/", User: "u", Write: "^app\\."}},
		topics:      []core.TopicPermission{{VHost: "/", User: "u", Exchange: "amq.topic", Write: "^dev\\.{client_id}\\."}},
	}
	a := newAccounts(b, u)
	p, err := a.Principal("u", nil)
	if err != nil {
		b.Fatal(err)
	}
	access := p.Access(Variables{ClientID: "sensor-17"})
	for _, r := range []core.Request{
		{Class: core.ExchangeClass, Right: core.Write, VHost: "/", Name: "app.orders"},
		{Class: core.TopicClass, Right: core.Write, VHost: "/", Name: "amq.topic", Key: "dev.sensor-17.t"},
	} {
		b.Run(r.Name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := access.Allow(r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
