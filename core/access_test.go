package core_test

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// accessModel is who may use a broker, as plain maps.
type accessModel struct {
	users  map[string]core.User
	perms  map[[2]string]core.Permission      // vhost, user
	topics map[[3]string]core.TopicPermission // vhost, user, exchange
	vhosts map[string]core.VHostInfo
	seeded bool
}

func newAccessModel() *accessModel {
	return &accessModel{
		users: map[string]core.User{}, perms: map[[2]string]core.Permission{}, topics: map[[3]string]core.TopicPermission{},
		vhosts: map[string]core.VHostInfo{"/": {Name: "/", MaxConnections: -1, MaxQueues: -1}},
	}
}

func (m *accessModel) deleteUser(name string) {
	delete(m.users, name)
	maps.DeleteFunc(m.perms, func(k [2]string, _ core.Permission) bool { return k[1] == name })
	maps.DeleteFunc(m.topics, func(k [3]string, _ core.TopicPermission) bool { return k[1] == name })
}

func (m *accessModel) deleteVHost(name string) {
	delete(m.vhosts, name)
	maps.DeleteFunc(m.perms, func(k [2]string, _ core.Permission) bool { return k[0] == name })
	maps.DeleteFunc(m.topics, func(k [3]string, _ core.TopicPermission) bool { return k[0] == name })
}

// inOrder are a map's in the order of a list of Access.
func inOrder[K comparable, V any](m map[K]V, key func(V) string) []V {
	return slices.SortedFunc(maps.Values(m), func(a, b V) int { return cmp.Compare(key(a), key(b)) })
}

// check compares all that can be read.
func (m *accessModel) check(t *rapid.T, a *core.Access) {
	same := func(what string, got, want any) {
		if reflect.ValueOf(got).Len() != reflect.ValueOf(want).Len() || reflect.ValueOf(got).Len() > 0 && !reflect.DeepEqual(got, want) {
			t.Fatalf("%s are\n%+v, want\n%+v", what, got, want)
		}
	}
	same("users", a.Users(), inOrder(m.users, func(u core.User) string { return u.Name }))
	same("permissions", a.Permissions(), inOrder(m.perms, func(p core.Permission) string { return p.User + "\x00" + p.VHost }))
	same("topic permissions", a.TopicPermissions(), inOrder(m.topics, func(p core.TopicPermission) string {
		return p.User + "\x00" + p.VHost + "\x00" + p.Exchange
	}))
	same("vhosts", a.VHosts(), inOrder(m.vhosts, func(v core.VHostInfo) string { return v.Name }))
	for _, vhost := range modelVHosts {
		if _, ok := a.VHost(vhost); ok != (m.vhosts[vhost].Name == vhost) {
			t.Fatalf("vhost %s exists: %t", vhost, ok)
		}
	}
	for _, user := range modelUsers {
		u, ok := a.User(user)
		if want, known := m.users[user]; ok != known || !reflect.DeepEqual(u, want) {
			t.Fatalf("user %s is %+v, want %+v", user, u, want)
		}
		for _, vhost := range modelVHosts {
			p, ok := a.Permission(vhost, user)
			if want, known := m.perms[[2]string{vhost, user}]; ok != known || p != want {
				t.Fatalf("permission is %+v, want %+v", p, want)
			}
			has := false
			for _, exchange := range modelExchanges {
				p, ok := a.TopicPermission(vhost, user, exchange)
				want, known := m.topics[[3]string{vhost, user, exchange}]
				if ok != known || p != want {
					t.Fatalf("topic permission is %+v, want %+v", p, want)
				}
				has = has || known
			}
			if got := a.HasTopicPermissions(vhost, user); got != has {
				t.Fatalf("%s has topic permissions in %s: %t, want %t", user, vhost, got, has)
			}
		}
	}
}

// The names that the model test picks from: few, so that they meet.
var (
	modelUsers     = []string{"alice", "bob", "carol"}
	modelVHosts    = []string{"/", "v", "w"}
	modelExchanges = []string{"amq.topic", "x"}
)

// Whatever is changed, in whatever order, and however often the broker ends in between, can be read as it was changed.
func TestAccessHoldsWhatWasPut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := memstore.Open(memstore.Options{})
		epoch := uint32(1)
		ctx := context.Background()
		open := func() *core.Broker {
			b, err := core.Open(ctx, store, core.Options{Epoch: epoch})
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		b, m := open(), newAccessModel()
		defer func() {
			b.Close()
			_ = store.Close()
		}()
		pick := func(from []string) string { return rapid.SampledFrom(from).Draw(t, "name") }
		text := func() string { return rapid.StringN(0, 8, -1).Draw(t, "text") }
		changed := func(was, is bool, err error) {
			if err != nil || was != is {
				t.Fatalf("%t, %v; want %t", is, err, was)
			}
		}
		user := func() core.User {
			return core.User{
				Name: pick(modelUsers), Password: text(), SCRAM: text(), Tags: rapid.SliceOfN(rapid.String(), 1, 3).Draw(t, "tags"),
				MaxConnections: rapid.IntRange(-1, 5).Draw(t, "connections"), MaxChannels: rapid.IntRange(-1, 5).Draw(t, "channels"),
			}
		}
		known := func(vhost, user string) bool {
			_, u := m.users[user]
			_, v := m.vhosts[vhost]
			return u && v
		}
		t.Repeat(map[string]func(*rapid.T){
			"put user": func(*rapid.T) {
				u := user()
				_, was := m.users[u.Name]
				created, err := b.Access().PutUser(ctx, u)
				changed(!was, created, err)
				m.users[u.Name] = u
			},
			"delete user": func(*rapid.T) {
				name := pick(modelUsers)
				_, was := m.users[name]
				existed, err := b.Access().DeleteUser(ctx, name)
				changed(was, existed, err)
				m.deleteUser(name)
			},
			"set permission": func(*rapid.T) {
				p := core.Permission{VHost: pick(modelVHosts), User: pick(modelUsers), Configure: text(), Write: text(), Read: text()}
				created, err := b.Access().SetPermission(ctx, p)
				if !known(p.VHost, p.User) {
					if core.KindOf(err) != core.NotFound {
						t.Fatalf("permission for what is unknown: %v", err)
					}
					return
				}
				k := [2]string{p.VHost, p.User}
				_, was := m.perms[k]
				changed(!was, created, err)
				m.perms[k] = p
			},
			"clear permission": func(*rapid.T) {
				k := [2]string{pick(modelVHosts), pick(modelUsers)}
				_, was := m.perms[k]
				existed, err := b.Access().ClearPermission(ctx, k[0], k[1])
				changed(was, existed, err)
				delete(m.perms, k)
			},
			"set topic permission": func(*rapid.T) {
				p := core.TopicPermission{
					VHost: pick(modelVHosts), User: pick(modelUsers), Exchange: pick(modelExchanges), Write: text(), Read: text(),
				}
				created, err := b.Access().SetTopicPermission(ctx, p)
				if !known(p.VHost, p.User) {
					if core.KindOf(err) != core.NotFound {
						t.Fatalf("topic permission for what is unknown: %v", err)
					}
					return
				}
				k := [3]string{p.VHost, p.User, p.Exchange}
				_, was := m.topics[k]
				changed(!was, created, err)
				m.topics[k] = p
			},
			"clear topic permission": func(*rapid.T) {
				vhost, user, exchange := pick(modelVHosts), pick(modelUsers), pick(append(modelExchanges, ""))
				before := len(m.topics)
				maps.DeleteFunc(m.topics, func(k [3]string, _ core.TopicPermission) bool {
					return k[0] == vhost && k[1] == user && (exchange == "" || k[2] == exchange)
				})
				existed, err := b.Access().ClearTopicPermission(ctx, vhost, user, exchange)
				changed(len(m.topics) < before, existed, err)
			},
			"put vhost": func(*rapid.T) {
				v := core.VHostInfo{
					Name: pick(modelVHosts), Description: text(), Tags: []string{text()}, DefaultQueueType: text(),
					MaxConnections: rapid.IntRange(-1, 5).Draw(t, "connections"), MaxQueues: rapid.IntRange(-1, 5).Draw(t, "queues"),
				}
				_, was := m.vhosts[v.Name]
				created, err := b.Access().PutVHost(ctx, v)
				changed(!was, created, err)
				m.vhosts[v.Name] = v
			},
			"delete vhost": func(*rapid.T) {
				name := pick(modelVHosts)
				_, was := m.vhosts[name]
				existed, err := b.Access().DeleteVHost(ctx, name)
				changed(was, existed, err)
				m.deleteVHost(name)
			},
			"seed": func(*rapid.T) {
				u := user()
				perm := core.Permission{VHost: pick(modelVHosts), User: u.Name, Read: text()}
				done, err := b.Access().Seed(ctx, u, []core.Permission{perm})
				if _, known := m.vhosts[perm.VHost]; !known && !m.seeded && len(m.users) == 0 {
					if core.KindOf(err) != core.NotFound {
						t.Fatalf("seed with an unknown vhost: %v", err)
					}
					return
				}
				changed(!m.seeded && len(m.users) == 0, done, err)
				m.seeded = true
				if done {
					m.users[u.Name], m.perms[[2]string{perm.VHost, u.Name}] = u, perm
				}
			},
			"restart": func(*rapid.T) {
				b.Close()
				disk := store.Disk()
				if rapid.Bool().Draw(t, "crash") {
					store.Crash()
				} else if err := store.Close(); err != nil {
					t.Fatal(err)
				}
				store, epoch = memstore.Open(memstore.Options{Disk: disk}), epoch+1
				b = open()
			},
			"": func(t *rapid.T) { m.check(t, b.Access()) },
		})
	})
}

// crashedAfter opens a store that passes records only when told to, runs changes on it without waiting for them, passes n units and crashes.
// It returns the broker that finds what is left, and whether there were more units.
func crashedAfter(t *testing.T, disk *memstore.Disk, n int, changes func(*core.Broker, context.Context)) (b *core.Broker, store *memstore.Store, more bool) {
	t.Helper()
	store = memstore.Open(memstore.Options{Disk: disk, Manual: true})
	b, err := core.Open(t.Context(), store, core.Options{Epoch: 2})
	if err != nil {
		t.Fatal(err)
	}
	store.Flush()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	changes(b, ctx)
	for range n {
		store.FlushOne()
	}
	more = store.Pending() > 0
	store.Crash()
	b.Close()
	store = memstore.Open(memstore.Options{Disk: disk})
	if b, err = core.Open(t.Context(), store, core.Options{Epoch: 3}); err != nil {
		t.Fatalf("after %d units: %v", n, err)
	}
	t.Cleanup(func() {
		b.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return b, store, more
}

// recorded is every record that mentions a name.
func recorded(t *testing.T, store *memstore.Store, name string) (keys []string) {
	t.Helper()
	for d, err := range store.Recover(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(d.Value), name) {
			keys = append(keys, fmt.Sprintf("%q", d.Key))
		}
	}
	return keys
}

// A user and its permissions go together, and so do the first user and its permissions come, whenever the broker ends.
func TestAccountsChangeAsOne(t *testing.T) {
	for more, n := true, 0; more; n++ {
		disk := memstore.NewDisk()
		var b *core.Broker
		b, _, more = crashedAfter(t, disk, n, func(b *core.Broker, ctx context.Context) {
			_, _ = b.Access().Seed(ctx, core.User{Name: "guest"}, []core.Permission{{VHost: "/", Configure: ".*"}})
		})
		_, user := b.Access().User("guest")
		if _, permitted := b.Access().Permission("/", "guest"); user != permitted || user == more {
			t.Errorf("after %d units there is the user: %t, its permission: %t", n, user, permitted)
		}
	}
	for more, n := true, 0; more; n++ {
		disk := prepared(t, func(b *core.Broker) error {
			return cmp.Or(
				second(b.Access().PutUser(t.Context(), core.User{Name: "alice"})),
				second(b.Access().SetPermission(t.Context(), core.Permission{VHost: "/", User: "alice"})),
				second(b.Access().SetTopicPermission(t.Context(), core.TopicPermission{VHost: "/", User: "alice", Exchange: "x"})),
			)
		})
		var b *core.Broker
		var store *memstore.Store
		b, store, more = crashedAfter(t, disk, n, func(b *core.Broker, ctx context.Context) {
			_, _ = b.Access().DeleteUser(ctx, "alice")
		})
		_, user := b.Access().User("alice")
		if left := len(recorded(t, store, "alice")); user != more || left != 0 && left != 3 {
			t.Errorf("after %d units there is the user: %t, with %d records", n, user, left)
		}
	}
}

// prepared returns what a broker that was used leaves behind.
func prepared(t *testing.T, use func(*core.Broker) error) *memstore.Disk {
	t.Helper()
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := use(b); err != nil {
		t.Fatal(err)
	}
	b.Close()
	disk := store.Disk()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	return disk
}

func second[T any](_ T, err error) error { return err }

func TestGenerationGrowsWithRights(t *testing.T) {
	b := engine(t, core.Options{})
	a, ctx := b.Access(), t.Context()
	if g := a.Generation(); g != 1 {
		t.Errorf("it starts at %d", g)
	}
	for i, change := range []func() error{
		func() error { return second(a.PutUser(ctx, core.User{Name: "u"})) },
		func() error { return second(a.PutVHost(ctx, core.VHostInfo{Name: "v"})) },
		func() error { return second(a.SetPermission(ctx, core.Permission{VHost: "v", User: "u"})) },
		func() error {
			return second(a.SetTopicPermission(ctx, core.TopicPermission{VHost: "v", User: "u", Exchange: "x"}))
		},
		func() error { return second(a.ClearTopicPermission(ctx, "v", "u", "")) },
		func() error { return second(a.DeleteVHost(ctx, "v")) },
		func() error { return second(a.DeleteUser(ctx, "u")) },
	} {
		before := a.Generation()
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if grew := a.Generation() > before; grew != (i != 1) {
			t.Errorf("change %d: the generation grew: %t", i, grew)
		}
	}
}

func TestAccountsThatCannotBeKeptAreRefused(t *testing.T) {
	b := engine(t, core.Options{})
	a, ctx := b.Access(), t.Context()
	if _, err := a.PutUser(ctx, core.User{Name: "u"}); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 70_000)
	for name, err := range map[string]error{
		"user without a name":        second(a.PutUser(ctx, core.User{})),
		"user with a line break":     second(a.PutUser(ctx, core.User{Name: "a\nb"})),
		"user with a long hash":      second(a.PutUser(ctx, core.User{Name: "v", Password: long})),
		"seed without a name":        second(a.Seed(ctx, core.User{}, nil)),
		"permission of long pattern": second(a.SetPermission(ctx, core.Permission{VHost: "/", User: "u", Read: long})),
		"vhost without a name":       second(a.PutVHost(ctx, core.VHostInfo{})),
		"vhost of a long name":       second(a.PutVHost(ctx, core.VHostInfo{Name: strings.Repeat("v", 256)})),
		"vhost of a long text":       second(a.PutVHost(ctx, core.VHostInfo{Name: "v", Description: long})),
	} {
		if core.KindOf(err) != core.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(a.Users()) + len(a.Permissions()) + len(a.VHosts()); n != 2 {
		t.Errorf("there are %d users, permissions and vhosts, want 2", n)
	}
}

// A full disk takes no new accounts, and lets rights be changed and taken away.
func TestFullDiskLetsRightsBeTakenAway(t *testing.T) {
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	a, ctx := b.Access(), t.Context()
	for _, err := range []error{
		second(a.PutUser(ctx, core.User{Name: "u"})), second(a.SetPermission(ctx, core.Permission{VHost: "/", User: "u"})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	store.SetSpace(core.Space{Level: core.SpaceFull})
	for name, err := range map[string]error{
		"user":             second(a.PutUser(ctx, core.User{Name: "v"})),
		"vhost":            second(a.PutVHost(ctx, core.VHostInfo{Name: "v"})),
		"topic permission": second(a.SetTopicPermission(ctx, core.TopicPermission{VHost: "/", User: "u", Exchange: "x"})),
	} {
		if core.KindOf(err) != core.Exhausted {
			t.Errorf("new %s: %v", name, err)
		}
	}
	for name, err := range map[string]error{
		"other password":   second(a.PutUser(ctx, core.User{Name: "u", Password: "p"})),
		"fewer rights":     second(a.SetPermission(ctx, core.Permission{VHost: "/", User: "u", Read: "^$"})),
		"no rights":        second(a.ClearPermission(ctx, "/", "u")),
		"no user any more": second(a.DeleteUser(ctx, "u")),
	} {
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
