package definitions

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// engine is an empty broker.
func engine(t *testing.T) (*core.Broker, *memstore.Store) {
	t.Helper()
	store := memstore.Open(memstore.Options{})
	return open(t, store, 1), store
}

// open opens the engine on a store.
func open(t *testing.T, store *memstore.Store, epoch uint32) *core.Broker {
	t.Helper()
	b, err := core.Open(t.Context(), store, core.Options{CompilePattern: auth.PolicyPatterns(slog.New(slog.DiscardHandler)), Epoch: epoch})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		_ = store.Close() // it may have crashed
	})
	return b
}

func file(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func load(t *testing.T, b *core.Broker, text string, opt Options) (*Report, error) {
	t.Helper()
	d, err := Parse([]byte(text))
	if err != nil {
		return nil, err
	}
	return Import(t.Context(), b, d, opt)
}

func mustLoad(t *testing.T, b *core.Broker, text string) *Report {
	t.Helper()
	r, err := load(t, b, text, Options{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func exported(t *testing.T, b *core.Broker) string {
	t.Helper()
	text, err := json.MarshalIndent(Export(b, Origin{Compatible: "3.13.7", Version: "1"}), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// objects are the lists of a document by what identifies an item, whatever its order.
func objects(t *testing.T, text []byte) map[string]map[string]any {
	t.Helper()
	var all map[string]any
	if err := json.Unmarshal(text, &all); err != nil {
		t.Fatal(err)
	}
	lists := map[string]map[string]any{}
	for name, v := range all {
		items, ok := v.([]any)
		if !ok {
			continue
		}
		lists[name] = map[string]any{}
		for _, item := range items {
			o := item.(map[string]any)
			var id []string
			for _, key := range []string{"vhost", "user", "exchange", "component", "name", "source", "destination_type", "destination", "routing_key"} {
				s, _ := o[key].(string)
				id = append(id, s)
			}
			if name == "bindings" {
				args, err := json.Marshal(o["arguments"])
				id = append(id, string(args), cmp.Or(map[bool]string{true: "bad"}[err != nil]))
			}
			lists[name][strings.Join(id, "|")] = item
		}
	}
	return lists
}

// What RabbitMQ 3.10 exported is all there after an import: each object, and each of its fields with its value. Beside that an export of it
// has what every broker has, and fields that RabbitMQ 3.10 does not write.
func TestRoundTripOfRabbitMQ_WithoutLoss(t *testing.T) {
	b, _ := engine(t)
	recorded := file(t, "rabbitmq-3.10.json")
	if r := mustLoad(t, b, string(recorded)); len(r.Notes) != 0 {
		t.Errorf("something was passed over: %q", r.Notes)
	}
	want, got := objects(t, recorded), objects(t, []byte(exported(t, b)))
	for name, list := range want {
		if len(got[name]) != len(list) {
			t.Errorf("%s: %d became %d: %v", name, len(list), len(got[name]), slices.Sorted(maps.Keys(got[name])))
		}
		for id, item := range list {
			is, ok := got[name][id].(map[string]any)
			if !ok {
				t.Errorf("%s: %s is lost", name, id)
				continue
			}
			for key, v := range item.(map[string]any) {
				if m, ok := v.(map[string]any); ok && name == "parameters" && key == "value" && m["apply-to"] == nil && m["pattern"] != nil {
					m["apply-to"] = "all" // what RabbitMQ means where an operator policy does not say it
				}
				if !reflect.DeepEqual(is[key], v) {
					t.Errorf("%s: %s: %s is %v, was %v", name, id, key, is[key], v)
				}
			}
		}
	}
}

// Who can log in after an import is who could before.
func TestImportedPasswordsAreTheOnesThatWere(t *testing.T) {
	b, _ := engine(t)
	mustLoad(t, b, string(file(t, "rabbitmq-3.10.json")))
	mustLoad(t, b, string(file(t, "rabbitmq-4.json")))
	for name, password := range map[string]string{"guest": "guest", "alice": "secret-a", "mgt": "pw", "carol": "pw", "plain": "pw"} {
		u, _ := b.Access().User(name)
		if ok, err := auth.VerifyPassword(u.Password, password); !ok || err != nil {
			t.Errorf("%s cannot log in: %v", name, err)
		}
	}
	if u, ok := b.Access().User("none"); !ok || u.Password != "" {
		t.Errorf("who has no password: %t, %q", ok, u.Password)
	}
}

// An export of an imported export is the same text, whatever order it came in, after a restart too; and importing what is there records nothing.
func TestExportIsStable(t *testing.T) {
	b, store := engine(t)
	d, err := Parse(file(t, "rabbitmq-3.10.json"))
	if err != nil {
		t.Fatal(err)
	}
	d.Queues = slices.DeleteFunc(d.Queues, func(q Queue) bool { return !*q.Durable }) // they end with the broker
	d.Exchanges = slices.DeleteFunc(d.Exchanges, func(x Exchange) bool { return !*x.Durable })
	if _, err := Import(t.Context(), b, d, Options{}); err != nil {
		t.Fatal(err)
	}
	mustLoad(t, b, string(file(t, "rabbitmq-4.json")))
	first := exported(t, b)
	if r := mustLoad(t, b, first); r.Changed != 0 {
		t.Errorf("an import of what is there changed %d objects", r.Changed)
	}
	if again := exported(t, b); again != first {
		t.Errorf("the export changed:\n%s", again)
	}
	store.Crash()
	b.Close()
	b = open(t, memstore.Open(memstore.Options{Disk: store.Disk()}), 2)
	var shuffled map[string]any
	if err := json.Unmarshal([]byte(first), &shuffled); err != nil {
		t.Fatal(err)
	}
	if again := exported(t, b); again != first {
		t.Errorf("the export changed after a crash:\n%s", again)
	}
	for _, list := range shuffled {
		if l, ok := list.([]any); ok {
			slices.Reverse(l)
		}
	}
	text, err := json.Marshal(shuffled)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := engine(t)
	mustLoad(t, other, string(text))
	if again := exported(t, other); again != first {
		t.Errorf("another broker exports\n%s\nwant\n%s", again, first)
	}
}

func TestImportOfRabbitMQ4(t *testing.T) {
	b, _ := engine(t)
	r := mustLoad(t, b, string(file(t, "rabbitmq-4.json")))
	if want := []string{
		"queue 'mqtt-subscription-me/1qos1' in vhost 'new': passed over: it is an MQTT session's, and comes with its client",
		"binding from 'x' to queue 'gone' in vhost 'new': passed over: one of them does not exist",
		"binding from 'amq.topic' to queue 'mqtt-subscription-me/1qos1' in vhost 'new': passed over: one of them does not exist",
	}; !slices.Equal(r.Notes, want) {
		t.Errorf("notes are %q", r.Notes)
	}
	v, _ := b.Access().VHost("new")
	if v.Description != "d" || !slices.Equal(v.Tags, []string{"a", "b"}) || v.DefaultQueueType != "quorum" || v.MaxQueues != 5 || v.MaxConnections != -1 {
		t.Errorf("vhost is %+v", v)
	}
	if p, ok := b.Policy("new", "o", true); !ok || p.Priority != 4 || p.ApplyTo != "queues" {
		t.Errorf("operator policy is %+v, %t", p, ok)
	}
	if u, _ := b.Access().User("plain"); !slices.Equal(u.Tags, []string{"management", "custom"}) {
		t.Errorf("tags are %q", u.Tags)
	}
	bindings := 0
	for s := range b.Bindings("new") {
		if s.Source != "" {
			bindings++
		}
	}
	if bindings != 2 || b.Queue("new", "amq.gen-own") == nil {
		t.Errorf("%d bindings", bindings)
	}
}

// A user's limits and a vhost's that are in the document replace those there were; others stay.
func TestWhatIsThereIsReplacedByWhatTheDocumentSays(t *testing.T) {
	b, _ := engine(t)
	mustLoad(t, b, `{"users":[{"name":"u","password":"a","tags":"x","limits":{"max-channels":1}}],
		"vhosts":[{"name":"v","description":"old","tags":["t"]}],
		"permissions":[{"user":"u","vhost":"v","configure":"a","write":"b","read":"c"}],
		"topic_permissions":[{"user":"u","vhost":"v","exchange":"e","write":"b","read":"c"}],
		"parameters":[{"vhost":"v","component":"c","name":"n","value":1},{"vhost":"v","component":"vhost-limits","name":"limits","value":{"max-queues":3}}],
		"global_parameters":[{"name":"g","value":1}],
		"policies":[{"vhost":"v","name":"p","pattern":"a","definition":{"max-length":1},"priority":1,"apply-to":"queues"}]}`)
	before, _ := b.Access().User("u")
	r := mustLoad(t, b, `{"users":[{"name":"u","password":"a","tags":[],"limits":{"max-connections":2}}],
		"vhosts":[{"name":"v","description":"new"}],
		"permissions":[{"user":"u","vhost":"v","configure":"","write":"","read":""}],
		"topic_permissions":[{"user":"u","vhost":"v","exchange":"e","write":"","read":""}],
		"parameters":[{"vhost":"v","component":"c","name":"n","value": 1.0},{"vhost":"v","component":"vhost-limits","name":"limits","value":{"max-connections":4}}],
		"global_parameters":[{"name":"g","value":{"a": "<b>"}}],
		"policies":[{"vhost":"v","name":"p","pattern":"a","definition":{"max-length":2}}]}`)
	if r.Changed != 7 {
		t.Errorf("%d objects changed, want each of seven", r.Changed)
	}
	u, _ := b.Access().User("u")
	if len(u.Tags) != 0 || u.MaxConnections != 2 || u.MaxChannels != -1 || u.Password != before.Password {
		t.Errorf("user is %+v, was %+v", u, before)
	}
	v, _ := b.Access().VHost("v")
	if v.Description != "new" || !slices.Equal(v.Tags, []string{"t"}) || v.MaxQueues != -1 || v.MaxConnections != 4 {
		t.Errorf("vhost is %+v", v)
	}
	if p, _ := b.Policy("v", "p", false); p.Priority != 0 || p.ApplyTo != "all" || !field.Equal(p.Definition, field.Table{{Key: "max-length", Value: int64(2)}}) {
		t.Errorf("policy is %+v", p)
	}
	if p, _ := b.Parameter("v", "c", "n"); string(p.Value) != "1.0" {
		t.Errorf("parameter is %s", p.Value)
	}
	if p, _ := b.Parameter("", "", "g"); string(p.Value) != `{"a":"<b>"}` {
		t.Errorf("global parameter is %s", p.Value)
	}
}

// Whatever is wrong with a document is told of with its object, and nothing of it is made.
func TestImportSaysWhatCannotBe(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"no JSON", "{\n\"users\": [\n}", "it is not JSON: line 3:"},
		{"no object", "[]", "it is not a JSON object"},
		{"null", "null", "it is not a JSON object"},
		{"no list", `{"queues":{}}`, "queues should be a list"},
		{"no object in a list", `{"queues":[1]}`, "queues[0]: it should be an object"},
		{"a wrong type", `{"queues":[{"name":"a"},{"name":"q","durable":"yes"}]}`, "queues[1] 'q': durable should not be a string"},
		{"wrong arguments", `{"queues":[{"name":"q","arguments":[]}]}`, "queues[0] 'q': it should be an object"},
		{"wrong tags", `{"users":[{"name":"u","tags":5}]}`, "users[0] 'u': tags should be a list of strings, or a string with commas"},
		{"no tags", `{"users":[{"name":"u"}]}`, "user 'u': it has no tags: write [] for none"},
		{"no name", `{"users":[{"tags":[]}]}`, "user '': a name may not be empty"},
		{"a bad hash", `{"users":[{"name":"u","tags":[],"password_hash":"!!"}]}`, "user 'u': password_hash:"},
		{"an unknown algorithm", `{"users":[{"name":"u","tags":[],"password_hash":"YWFhYWFhYWE=","hashing_algorithm":"own"}]}`, "user 'u': password_hash:"},
		{"a password and a hash", `{"users":[{"name":"u","tags":[],"password_hash":"a","password":"b"}]}`, "user 'u': it has both a password and a password_hash"},
		{"an unknown limit", `{"users":[{"name":"u","tags":[],"limits":{"own":1}}]}`, `user 'u': unrecognised limit "own"`},
		{"wrong limits", `{"users":[{"name":"u","tags":[],"limits":{"max-channels":"1"}}]}`, "users[0] 'u': limits should be an object of whole numbers"},
		{"a bad queue type", `{"vhosts":[{"name":"v","default_queue_type":"own"}]}`, "vhost 'v': default_queue_type 'own' is not one of classic, quorum and stream"},
		{"a vhost without a name", `{"vhosts":[{}]}`, "vhost '': a name may not be empty"},
		{"nobody's permission", `{"permissions":[{"user":"u","vhost":"/"}]}`, "permission of user 'u' in vhost '/': there is no user 'u', and none is in the definitions"},
		{"a permission nowhere", `{"users":[{"name":"u","tags":[]}],"permissions":[{"user":"u","vhost":"v"}]}`, "permission of user 'u' in vhost 'v': there is no vhost 'v', and none is in the definitions"},
		{"a bad pattern", `{"users":[{"name":"u","tags":[]}],"permissions":[{"user":"u","vhost":"/","read":"("}]}`, "permission of user 'u' in vhost '/': "},
		{"a bad topic pattern", `{"users":[{"name":"u","tags":[]}],"topic_permissions":[{"user":"u","vhost":"/","exchange":"e","read":"("}]}`, "topic permission of user 'u' at exchange 'e' in vhost '/': "},
		{"no vhost", `{"queues":[{"name":"q"}]}`, "queue 'q' in vhost '': it names no vhost"},
		{"no value", `{"parameters":[{"vhost":"/","component":"c","name":"n"}]}`, "parameter 'n' of component 'c' in vhost '/': it has no value"},
		{"no global value", `{"global_parameters":[{"name":"n"}]}`, "global parameter 'n': it has no value"},
		{"a policy as a parameter", `{"parameters":[{"vhost":"/","component":"policy","name":"n","value":1}]}`, "parameter 'n' of component 'policy' in vhost '/': policies are in a list of their own"},
		{"other limits", `{"parameters":[{"vhost":"/","component":"vhost-limits","name":"n","value":{}}]}`, "the limits of a vhost are one parameter called 'limits'"},
		{"unknown limits of a vhost", `{"parameters":[{"vhost":"/","component":"vhost-limits","name":"limits","value":{"own":1}}]}`, `unrecognised limit "own"`},
		{"a bad operator policy", `{"parameters":[{"vhost":"/","component":"operator_policy","name":"n","value":{"pattern":"a","definition":{"own":1}}}]}`, "parameter 'n' of component 'operator_policy' in vhost '/': [{<<\"own\">>,1}] are not recognised policy settings"},
		{"a policy without a pattern", `{"policies":[{"vhost":"/","name":"p","definition":{"max-length":1}}]}`, "policy 'p' in vhost '/': key_missing: pattern"},
		{"a policy with a bad pattern", `{"policies":[{"vhost":"/","name":"p","pattern":"(","definition":{"max-length":1}}]}`, "policy 'p' in vhost '/': "},
		{"an exchange without a type", `{"exchanges":[{"vhost":"/","name":"x"}]}`, "exchange 'x' in vhost '/': it has no type"},
		{"an exchange of no type", `{"exchanges":[{"vhost":"/","name":"x","type":"own"}]}`, "exchange 'x' in vhost '/': unknown exchange type 'own'"},
		{"a queue without a name", `{"queues":[{"vhost":"/"}]}`, "queue '' in vhost '/': it has no name"},
		{"a bad argument", `{"queues":[{"vhost":"/","name":"q","arguments":{"x-max-length":-1}}]}`, "queue 'q' in vhost '/': invalid arg 'x-max-length'"},
		{"a stream", `{"queues":[{"vhost":"/","name":"q","arguments":{"x-queue-type":"stream"}}]}`, "unsupported queue type 'stream'"},
		{"a queue that is two", `{"queues":[{"vhost":"/","name":"q"},{"vhost":"/","name":"q","arguments":{"x-max-length":1}}]}`, "queue 'q' in vhost '/': the definitions have it twice, and not the same"},
		{"an exchange that is two", `{"exchanges":[{"vhost":"/","name":"x","type":"topic"},{"vhost":"/","name":"x","type":"fanout"}]}`, "exchange 'x' in vhost '/': the definitions have it twice, and not the same"},
		{"another queue", `{"queues":[{"vhost":"/","name":"there","durable":false}]}`, "queue 'there' in vhost '/': inequivalent arg 'durable'"},
		{"another exchange", `{"exchanges":[{"vhost":"/","name":"there","type":"fanout"}]}`, "exchange 'there' in vhost '/': inequivalent arg 'type'"},
		{"a binding to what there is not", `{"bindings":[{"vhost":"/","source":"a","destination":"b","destination_type":"own"}]}`, "binding from 'a' to own 'b' in vhost '/': destination_type is not queue or exchange"},
		{
			"many", `{"permissions":[` + strings.Repeat(`{"user":"u","vhost":"/"},`, 11) + `{"user":"u","vhost":"/"}]}`,
			"and none is in the definitions; and 2 more",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, _ := engine(t)
			mustLoad(t, b, `{"queues":[{"vhost":"/","name":"there"}],"exchanges":[{"vhost":"/","name":"there","type":"topic"}]}`)
			before := exported(t, b)
			text := tt.text
			if strings.HasSuffix(text, "]}") { // what is fine with it is not made either
				text = strings.TrimSuffix(text, "}") + `,"global_parameters":[{"name":"fine","value":1}]}`
				if strings.Contains(tt.text, "global_parameters") {
					text = tt.text
				}
			}
			_, err := load(t, b, text, Options{})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v\nwant %s", err, tt.want)
			}
			if after := exported(t, b); after != before {
				t.Errorf("it changed the broker to %s", after)
			}
		})
	}
}

// Thousands of passwords would keep everybody else from making changes for minutes.
func TestImportOfPasswordsEndsWithItsTime(t *testing.T) {
	b, _ := engine(t)
	d, err := Parse([]byte(`{"users":[{"name":"u","tags":[],"password":"secret"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = Import(ctx, b, d, Options{})
	if e, ok := errors.AsType[*Error](err); !ok || e.Error() != "users: there was time for 0 of 1: write a password_hash in place of each password" {
		t.Errorf("error is %v", err)
	}
	if _, ok := b.Access().User("u"); ok {
		t.Error("the user was made")
	}
}

// RabbitMQ exports vhosts that had their queues before their limit, and takes them back.
func TestLimitsOfAVHostDoNotHoldItsOwnQueuesBack(t *testing.T) {
	const text = `{"vhosts":[{"name":"v"}],"parameters":[{"vhost":"v","component":"vhost-limits","name":"limits","value":{"max-queues":1}}],
		"queues":[{"vhost":"v","name":"a"},{"vhost":"v","name":"b"}]}`
	b, _ := engine(t)
	mustLoad(t, b, text)
	if b.Queue("v", "a") == nil || b.Queue("v", "b") == nil {
		t.Error("a queue is missing")
	}
	if v, _ := b.Access().VHost("v"); v.MaxQueues != 1 {
		t.Errorf("the limit is %d", v.MaxQueues)
	}
}

func TestKeepLeavesWhatIsDeclaredOtherwise(t *testing.T) {
	b, _ := engine(t)
	mustLoad(t, b, `{"queues":[{"vhost":"/","name":"q"}],"exchanges":[{"vhost":"/","name":"x","type":"topic"}]}`)
	const other = `{"queues":[{"vhost":"/","name":"q","durable":false},{"vhost":"/","name":"new"}],"exchanges":[{"vhost":"/","name":"x","type":"fanout"}],
		"bindings":[{"vhost":"/","source":"x","destination":"q","destination_type":"queue","routing_key":"k"}]}`
	r, err := load(t, b, other, Options{Keep: true})
	if err != nil || r.Changed != 2 || len(r.Notes) != 2 ||
		r.Notes[1] != "queue 'q' in vhost '/': stays as it is: inequivalent arg 'durable' for queue 'q' in vhost '/': received 'false' but current is 'true'" {
		t.Errorf("%+v, %v", r, err)
	}
	_, err = load(t, b, other, Options{})
	if e, ok := errors.AsType[*Error](err); !ok || len(e.Problems) != 2 {
		t.Errorf("%v", err)
	}
}

// What was exported of one vhost can be imported into another, and nothing beside it.
func TestVHostsComeApart(t *testing.T) {
	b, _ := engine(t)
	mustLoad(t, b, string(file(t, "rabbitmq-3.10.json")))
	text, err := json.Marshal(ExportVHost(b, "orders", Origin{Compatible: "3.13.7", Version: "1"}))
	if err != nil {
		t.Fatal(err)
	}
	for _, not := range []string{`"users"`, `"vhosts"`, `"permissions"`, `"global_parameters"`, `"a/b"`} {
		if strings.Contains(string(text), not) {
			t.Errorf("%s is in the export of a vhost", not)
		}
	}
	other, _ := engine(t)
	mustLoad(t, other, `{"vhosts":[{"name":"copy"}]}`)
	if _, err := load(t, other, string(text), Options{VHost: "nope"}); err == nil {
		t.Error("it was imported into a vhost that does not exist")
	}
	if _, err := load(t, other, string(text), Options{VHost: "copy"}); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(ExportVHost(other, "copy", Origin{Compatible: "3.13.7", Version: "1"}))
	if want := strings.ReplaceAll(string(text), `"orders"`, `"copy"`); err != nil || strings.ReplaceAll(string(again), `"orders"`, `"copy"`) != want {
		t.Errorf("%s, %v\nwant %s", again, err, want)
	}
	if n := len(other.Access().Users()); n != 0 {
		t.Errorf("%d users came along", n)
	}
	if _, err := load(t, other, `{"users":[{"name":"u","tags":[]}],"vhosts":[{"name":"w"}]}`, Options{VHost: "copy"}); err != nil || len(other.Access().Users()) != 0 || other.HasVHost("w") {
		t.Errorf("users and vhosts were made: %v", err)
	}
}

// Bindings that an export cannot tell apart are one: who imports its own export has no more of them.
func TestBindingsOfOtherNumberTypesAreTheSame(t *testing.T) {
	b, _ := engine(t)
	mustLoad(t, b, `{"queues":[{"vhost":"/","name":"q"}]}`)
	s, err := b.Attach("/", core.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	args := field.Table{{Key: "x-match", Value: "all"}, {Key: "n", Value: int32(7)}, {Key: "a", Value: true}}
	if err := s.Bind(t.Context(), core.BindingSpec{Source: "amq.headers", Dest: "q", Args: args}); err != nil {
		t.Fatal(err)
	}
	if r := mustLoad(t, b, exported(t, b)); r.Changed != 0 {
		t.Errorf("%d objects changed", r.Changed)
	}
}

// Who has exclusive queues and MQTT sessions finds nothing of them in an export.
func TestExportLeavesOutWhatBelongsToClients(t *testing.T) {
	b, _ := engine(t)
	before := exported(t, b)
	s, err := b.Attach("/", core.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: "own", Exclusive: true}); err != nil {
		t.Fatal(err)
	}
	if err := s.Bind(t.Context(), core.BindingSpec{Source: "amq.topic", Dest: "own", Key: "k"}); err != nil {
		t.Fatal(err)
	}
	l, _, err := s.Subscriber(t.Context(), core.SubscriberSpec{Name: "me", Queue: "mqtt-subscription-meqos1", Expiry: core.Forever, Receiver: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Subscribe(t.Context(), []core.SubscriptionSpec{{Key: "d"}, {Key: "e", Share: "g", Queue: "shared"}}); err != nil {
		t.Fatal(err)
	}
	if after := exported(t, b); after != before {
		t.Errorf("the export is\n%s", after)
	}
}

func TestExportKeepsWhatAnSCRAMLoginNeeds(t *testing.T) {
	b, _ := engine(t)
	u := core.User{Name: "u", MaxConnections: -1, MaxChannels: -1}
	if err := auth.SetPassword(&u, "pw"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Access().PutUser(t.Context(), u); err != nil {
		t.Fatal(err)
	}
	other, _ := engine(t)
	mustLoad(t, other, exported(t, b))
	if got, _ := other.Access().User("u"); got.SCRAM != u.SCRAM || got.Password != u.Password {
		t.Errorf("user is %+v, was %+v", got, u)
	}
}

// quiet is a client that takes whatever it is sent.
type quiet struct{}

func (quiet) Ready() bool                                   { return true }
func (quiet) Push(*core.Message, *core.Match)               {}
func (quiet) Send(*core.Message, uint16, *core.Match, bool) {}
func (quiet) Release(uint16)                                {}
func (quiet) TakenOver()                                    {}
