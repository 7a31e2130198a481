package core_test

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// terms is a definition, written as "max-length=5 overflow=reject-publish".
func terms(text string) (t field.Table) {
	for word := range strings.FieldsSeq(text) {
		key, value, _ := strings.Cut(word, "=")
		var n int64
		if _, err := fmt.Sscan(value, &n); err == nil {
			t = append(t, field.Field{Key: key, Value: n})
		} else {
			t = append(t, field.Field{Key: key, Value: value})
		}
	}
	return t
}

func termsText(t field.Table) string {
	words := make([]string, len(t))
	for i, f := range t {
		words[i] = fmt.Sprintf("%s=%v", f.Key, f.Value)
	}
	return strings.Join(words, " ")
}

func setPolicy(t *testing.T, b *core.Broker, p core.Policy) {
	t.Helper()
	if p.VHost == "" {
		p.VHost = "/"
	}
	if _, err := b.SetPolicy(t.Context(), p); err != nil {
		t.Fatalf("set %s: %v", p.Name, err)
	}
}

func effectText(e core.PolicyEffect) string {
	return fmt.Sprintf("%s|%s|%s", e.Policy, e.Operator, termsText(e.Definition))
}

func TestPolicy_WhichOneApplies(t *testing.T) {
	type rule struct {
		name, pattern, applyTo string
		priority               int
		operator               bool
		terms                  string
	}
	for _, tt := range []struct {
		name  string
		rules []rule
		want  map[string]string // of "queue", "quorum" and "exchange"
	}{
		{"none", nil, map[string]string{"queue": "||", "quorum": "||", "exchange": "||"}},
		{
			"one for all",
			[]rule{{name: "p", pattern: ".", terms: "max-length=5"}},
			map[string]string{"queue": "p||max-length=5", "quorum": "p||max-length=5", "exchange": "p||max-length=5"},
		},
		{
			"patterns are found anywhere in the name",
			[]rule{{name: "p", pattern: "ue", terms: "max-length=5"}},
			map[string]string{"queue": "p||max-length=5", "quorum": "||", "exchange": "||"},
		},
		{
			"what they apply to",
			[]rule{
				{name: "q", applyTo: "queues", terms: "max-length=1"},
				{name: "x", applyTo: "exchanges", terms: "max-length=2"},
			},
			map[string]string{"queue": "q||max-length=1", "quorum": "q||max-length=1", "exchange": "x||max-length=2"},
		},
		{
			"types of queue",
			[]rule{
				{name: "c", applyTo: "classic_queues", terms: "max-length=1"},
				{name: "r", applyTo: "quorum_queues", terms: "max-length=2"},
				{name: "s", applyTo: "streams", priority: 9, terms: "max-length=3"},
			},
			map[string]string{"queue": "c||max-length=1", "quorum": "r||max-length=2", "exchange": "||"},
		},
		{
			"the highest priority wins as a whole",
			[]rule{
				{name: "a", priority: 1, terms: "max-length=1 message-ttl=1"},
				{name: "b", priority: 2, terms: "max-length=2"},
				{name: "c", priority: -1, terms: "expires=3600000"},
			},
			map[string]string{"queue": "b||max-length=2"},
		},
		{
			"of equal priorities the first name",
			[]rule{{name: "b", terms: "max-length=2"}, {name: "a", terms: "max-length=1"}, {name: "c", terms: "max-length=3"}},
			map[string]string{"queue": "a||max-length=1"},
		},
		{
			"one with a setting that is not for the type of queue is passed over",
			[]rule{
				{name: "quorum", priority: 2, terms: "delivery-limit=3 max-length=7"},
				{name: "classic", priority: 1, terms: "queue-mode=lazy"},
			},
			map[string]string{"queue": "classic||queue-mode=lazy", "quorum": "quorum||delivery-limit=3 max-length=7", "exchange": "quorum||delivery-limit=3 max-length=7"},
		},
		{
			"an operator policy alone",
			[]rule{{name: "o", operator: true, terms: "max-length=5"}},
			map[string]string{"queue": "|o|max-length=5"},
		},
		{
			"the lower limit counts",
			[]rule{
				{name: "p", terms: "max-length=5 message-ttl=100 overflow=drop-head dead-letter-exchange=x"},
				{name: "o", operator: true, terms: "max-length=9 message-ttl=10 expires=1000 overflow=reject-publish"},
			},
			map[string]string{"queue": "p|o|dead-letter-exchange=x expires=1000 max-length=5 message-ttl=10 overflow=reject-publish"},
		},
		{
			"a negative delivery limit is none",
			[]rule{
				{name: "p", pattern: "quorum", terms: "delivery-limit=-1"},
				{name: "o", pattern: "quorum", operator: true, terms: "delivery-limit=7"},
			},
			map[string]string{"quorum": "p|o|delivery-limit=7"},
		},
		{
			"operator policies have priorities of their own",
			[]rule{
				{name: "p", priority: 100, terms: "max-length=5"},
				{name: "o1", operator: true, priority: 1, terms: "max-length=4"},
				{name: "o2", operator: true, priority: 2, terms: "max-length=6"},
			},
			map[string]string{"queue": "p|o2|max-length=5"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			store := memstore.Open(memstore.Options{})
			b, err := core.Open(t.Context(), store, core.Options{})
			if err != nil {
				t.Fatal(err)
			}
			s := attach(t, b)
			check := func(when string) {
				t.Helper()
				for name, want := range tt.want {
					e, ok := b.QueuePolicy("/", name)
					if name == "exchange" {
						e, ok = b.ExchangePolicy("/", name)
					}
					if got := effectText(e); !ok || got != want {
						t.Errorf("%s: %s has %s, want %s", when, name, got, want)
					}
				}
			}
			declareAll := func() {
				t.Helper()
				for name, args := range map[string]field.Table{"queue": nil, "quorum": {{Key: "x-queue-type", Value: "quorum"}}} {
					if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: name, Durable: true, Args: args}); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.DeclareExchange(t.Context(), core.ExchangeSpec{Name: "exchange", Kind: "fanout", Durable: true}); err != nil {
					t.Fatal(err)
				}
			}
			declareAll()
			for _, r := range tt.rules {
				setPolicy(t, b, core.Policy{
					Name: r.name, Pattern: r.pattern, ApplyTo: r.applyTo, Priority: r.priority, Operator: r.operator, Definition: terms(r.terms),
				})
			}
			check("at once")
			for _, name := range []string{"queue", "quorum"} {
				if _, err := s.DeleteQueue(t.Context(), name, false, false, false); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.DeleteExchange(t.Context(), "exchange", false, false); err != nil {
				t.Fatal(err)
			}
			declareAll()
			check("declared later")
			s.Close()
			b.Close()
			if b, err = core.Open(t.Context(), store, core.Options{Epoch: 2}); err != nil {
				t.Fatal(err)
			}
			defer b.Close()
			check("after a restart")
			for _, r := range tt.rules {
				if existed, err := b.ClearPolicy(t.Context(), "/", r.name, r.operator); err != nil || !existed {
					t.Errorf("clear %s: %t, %v", r.name, existed, err)
				}
			}
			for name := range tt.want {
				tt.want[name] = "||"
			}
			check("cleared")
		})
	}
}

func TestPolicy_Refused(t *testing.T) {
	b := engine(t, core.Options{})
	for _, tt := range []struct {
		name string
		p    core.Policy
		kind core.Kind
		text string
	}{
		{"no name", core.Policy{Definition: terms("max-length=1")}, core.Invalid, "a name may not be empty"},
		{"no settings", core.Policy{Name: "p"}, core.Invalid, "no policy provided"},
		{"unknown settings", core.Policy{Name: "p", Definition: terms("foo=1 bar=x")}, core.Invalid, `[{<<"bar">>,<<"x">>},{<<"foo">>,1}] are not recognised policy settings`},
		{"wrong before unknown", core.Policy{Name: "p", Definition: terms("foo=1 max-length=-1")}, core.Invalid, "-1 is not a valid maximum length"},
		{"a text for a number", core.Policy{Name: "p", Definition: terms("max-length=x")}, core.Invalid, `<<"x">> is not a valid maximum length`},
		{"no time", core.Policy{Name: "p", Definition: terms("expires=0")}, core.Invalid, "0 is not a valid queue expiry"},
		{"TTL", core.Policy{Name: "p", Definition: terms("message-ttl=-1")}, core.Invalid, "-1 is not a valid message TTL"},
		{"overflow", core.Policy{Name: "p", Definition: terms("overflow=x")}, core.Invalid, `<<"x">> is not a valid overflow value`},
		{"a list", core.Policy{Name: "p", Definition: field.Table{{Key: "max-length", Value: []any{int64(1), "a"}}}}, core.Invalid, `[1,<<"a">>] is not a valid maximum length`},
		{"an object", core.Policy{Name: "p", Definition: field.Table{{Key: "max-length", Value: field.Table{{Key: "a", Value: int64(1)}}}}}, core.Invalid, `#{<<"a">> => 1} is not a valid maximum length`},
		{"nothing", core.Policy{Name: "p", Definition: field.Table{{Key: "max-length", Value: nil}}}, core.Invalid, `null is not a valid maximum length`},
		{"a number for a text", core.Policy{Name: "p", Definition: terms("dead-letter-exchange=1")}, core.Invalid, "1 is not a valid dead letter exchange name"},
		{"operators limit", core.Policy{Name: "p", Operator: true, Definition: terms("dead-letter-exchange=x")}, core.Invalid, `[{<<"dead-letter-exchange">>,<<"x">>}] are not recognised policy settings`},
		{
			"apply-to",
			core.Policy{Name: "p", ApplyTo: "foo", Definition: terms("max-length=-1")},
			core.Invalid,
			"-1 is not a valid maximum length\napply-to 'foo' unrecognised; should be one of: 'queues', 'classic_queues',  'quorum_queues', 'streams', 'exchanges', or 'all'",
		},
		{"no vhost", core.Policy{VHost: "v", Name: "p", Definition: terms("max-length=1")}, core.NotFound, "vhost v not found"},
		{"too much", core.Policy{Name: "p", Definition: field.Table{{Key: "ha-params", Value: strings.Repeat("x", 64<<10)}}}, core.Invalid, "policy 'p' in vhost '/' cannot be kept: it takes 65653 bytes, more than 65536"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.p.VHost == "" {
				tt.p.VHost = "/"
			}
			_, err := b.SetPolicy(t.Context(), tt.p)
			if e, ok := errors.AsType[*core.Error](err); !ok || e.Kind != tt.kind || e.Text != tt.text {
				t.Errorf("%v\nwant %s", err, tt.text)
			}
		})
	}
	_, err := b.SetPolicy(t.Context(), core.Policy{VHost: "/", Name: "p", Pattern: "(", Definition: terms("max-length=1")})
	if core.KindOf(err) != core.Invalid || !strings.Contains(err.Error(), "pattern should be regular expression but is invalid: ") {
		t.Errorf("a pattern that is none: %v", err)
	}
	if all := b.Policies(false); len(all) != 0 {
		t.Errorf("what was refused is there: %v", all)
	}
}

func TestPolicy_ListsAndReplaces(t *testing.T) {
	b := engine(t, core.Options{})
	if _, err := b.Access().PutVHost(t.Context(), core.VHostInfo{Name: "a", MaxConnections: -1, MaxQueues: -1}); err != nil {
		t.Fatal(err)
	}
	put := func(p core.Policy, want bool) {
		t.Helper()
		if created, err := b.SetPolicy(t.Context(), p); err != nil || created != want {
			t.Errorf("%s: created %t, %v", p.Name, created, err)
		}
	}
	p := core.Policy{VHost: "/", Name: "z", Pattern: "^a", ApplyTo: "queues", Priority: 3, Definition: terms("max-length=1")}
	put(core.Policy{VHost: "a", Name: "n", Definition: terms("max-length=1")}, true)
	put(core.Policy{VHost: "/", Name: "b", Definition: terms("overflow=drop-head message-ttl=1")}, true)
	put(core.Policy{VHost: "/", Name: "z", Definition: terms("max-length=9")}, true)
	put(core.Policy{VHost: "/", Name: "z", Operator: true, Definition: terms("max-length=8")}, true)
	put(p, false)
	var names []string
	for _, p := range b.Policies(false) {
		names = append(names, p.VHost+p.Name)
	}
	if got := strings.Join(names, " "); got != "/b /z an" {
		t.Errorf("policies are %s", got)
	}
	if got, ok := b.Policy("/", "z", false); !ok || !reflect.DeepEqual(got, p) {
		t.Errorf("z is %+v, want %+v", got, p)
	}
	if got, ok := b.Policy("/", "z", true); !ok || termsText(got.Definition) != "max-length=8" || got.ApplyTo != "all" {
		t.Errorf("operator policy z is %+v", got)
	}
	if got, ok := b.Policy("/", "b", false); !ok || termsText(got.Definition) != "message-ttl=1 overflow=drop-head" {
		t.Errorf("b is %+v", got)
	}
	if existed, err := b.ClearPolicy(t.Context(), "/", "nope", false); err != nil || existed {
		t.Errorf("clear nothing: %t, %v", existed, err)
	}
	if _, ok := b.QueuePolicy("/", "nope"); ok {
		t.Error("a queue that does not exist has policies")
	}
	if _, err := b.Access().DeleteVHost(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Access().PutVHost(t.Context(), core.VHostInfo{Name: "a", MaxConnections: -1, MaxQueues: -1}); err != nil {
		t.Fatal(err)
	}
	if n := len(b.Policies(false)); n != 2 {
		t.Errorf("%d policies after the vhost of one was deleted, want 2", n)
	}
}

// An alternate exchange by policy catches at once what matches no binding; one by argument stays.
func TestPolicy_AlternateExchange(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	for _, name := range []string{"caught", "other"} {
		if err := s.DeclareExchange(t.Context(), core.ExchangeSpec{Name: name, Kind: "fanout"}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: name}); err != nil {
			t.Fatal(err)
		}
		if err := s.Bind(t.Context(), core.BindingSpec{Source: name, Dest: name}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.DeclareExchange(t.Context(), core.ExchangeSpec{
		Name: "argued", Kind: "direct", Args: field.Table{{Key: "alternate-exchange", Value: "other"}},
	}); err != nil {
		t.Fatal(err)
	}
	want := func(exchange, queue string) {
		t.Helper()
		n, err := s.Publish(&core.Message{Exchange: exchange, Key: "k"}, nil, 0)
		if err != nil || n != min(1, len(queue)) {
			t.Fatalf("publish to %s: %d, %v", exchange, n, err)
		}
		if queue == "" {
			return
		}
		if _, _, ok, err := s.Get(t.Context(), queue, true); !ok || err != nil {
			t.Errorf("nothing in %s: %v", queue, err)
		}
	}
	want("amq.direct", "")
	setPolicy(t, b, core.Policy{Name: "ae", ApplyTo: "exchanges", Definition: terms("alternate-exchange=caught")})
	want("amq.direct", "caught")
	want("argued", "other")
	if _, err := b.ClearPolicy(t.Context(), "/", "ae", false); err != nil {
		t.Fatal(err)
	}
	want("amq.direct", "")
}
