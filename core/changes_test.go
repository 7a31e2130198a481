package core_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// What is made by Changes is there after a crash once Wait has returned, and no change waits for the disk itself.
func TestChangesPassTogether(t *testing.T) {
	store := memstore.Open(memstore.Options{Manual: true})
	b, err := core.Open(t.Context(), store, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := b.Changes()
	for _, err := range []error{
		c.PutVHost(core.VHostInfo{Name: "v", MaxConnections: -1, MaxQueues: 1}),
		c.PutUser(core.User{Name: "u", MaxConnections: -1, MaxChannels: -1}),
		c.SetPermission(core.Permission{VHost: "v", User: "u", Read: ".*"}),
		c.SetTopicPermission(core.TopicPermission{VHost: "v", User: "u", Exchange: "x"}),
		second(c.SetPolicy(core.Policy{VHost: "v", Name: "p", Pattern: "^q", Definition: terms("max-length=5")})),
		second(c.SetParameter(core.Parameter{VHost: "v", Component: "c", Name: "n", Value: []byte("1")})),
		c.DeclareExchange("v", core.ExchangeSpec{Name: "x", Kind: "topic", Durable: true}),
		c.DeclareQueue("v", core.QueueSpec{Name: "amq.gen-q", Durable: true}),
		c.Bind("v", core.BindingSpec{Source: "x", Dest: "amq.gen-q", Key: "k"}),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	waited := make(chan error, 1)
	go func() { waited <- c.Wait(t.Context()) }()
	for done := false; !done; {
		store.Flush()
		select {
		case err := <-waited:
			if err != nil {
				t.Fatal(err)
			}
			done = true
		default:
		}
	}
	store.Crash()
	b.Close()
	store = memstore.Open(memstore.Options{Disk: store.Disk()})
	if b, err = core.Open(t.Context(), store, core.Options{Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s, err := b.Attach("v", core.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if routed, err := s.Publish(&core.Message{Exchange: "x", Key: "k"}, nil, 0); routed != 1 || err != nil {
		t.Errorf("the topology is not there: %d, %v", routed, err)
	}
	if e, _ := b.QueuePolicy("v", "amq.gen-q"); e.Policy != "" {
		t.Errorf("policy %q applies to a name that it is not for", e.Policy)
	}
	_, ok := b.Policy("v", "p", false)
	if n := len(b.Access().Permissions()) + len(b.Access().TopicPermissions()) + len(b.Parameters()); n != 3 || !ok {
		t.Errorf("%d permissions and parameters are there, the policy: %t", n, ok)
	}
}

// Checks tell what a change would say, and change nothing.
func TestChecksOfChanges(t *testing.T) {
	b := engine(t, core.Options{})
	c := b.Changes()
	for _, err := range []error{
		c.PutVHost(core.VHostInfo{Name: "v", MaxConnections: -1, MaxQueues: 1}),
		c.DeclareExchange("v", core.ExchangeSpec{Name: "x", Kind: "topic", Durable: true}),
		c.DeclareQueue("v", core.QueueSpec{Name: "q", Durable: true}),
		c.Wait(t.Context()),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	before := fmt.Sprintf("%+v", b.Stats())
	for _, tt := range []struct {
		name string
		err  error
		want string // empty: no error
	}{
		{"an equal queue", c.CheckQueue("v", core.QueueSpec{Name: "q", Durable: true}), ""},
		{"another queue", c.CheckQueue("v", core.QueueSpec{Name: "q"}), "inequivalent arg 'durable' for queue 'q' in vhost 'v': received 'false' but current is 'true'"},
		{"more than clients may make", c.CheckQueue("v", core.QueueSpec{Name: "q2"}), ""},
		{"a queue of a vhost to come", c.CheckQueue("new", core.QueueSpec{Name: "q"}), ""},
		{"a queue that cannot be", c.CheckQueue("new", core.QueueSpec{Name: "q", Args: terms("x-max-length=-1")}), "invalid arg 'x-max-length' for queue 'q' in vhost 'new'"},
		{"an equal exchange", c.CheckExchange("v", core.ExchangeSpec{Name: "x", Kind: "topic", Durable: true}), ""},
		{"another exchange", c.CheckExchange("v", core.ExchangeSpec{Name: "x", Kind: "direct", Durable: true}), "inequivalent arg 'type' for exchange 'x'"},
		{"an exchange of a vhost to come", c.CheckExchange("new", core.ExchangeSpec{Name: "x", Kind: "direct"}), ""},
		{"an exchange of no kind", c.CheckExchange("v", core.ExchangeSpec{Name: "y", Kind: "own"}), "unknown exchange type 'own'"},
		{"a system exchange", c.CheckExchange("v", core.ExchangeSpec{Name: "amq.own", Kind: "direct"}), "contains reserved prefix"},
		{"the default exchange", c.CheckExchange("v", core.ExchangeSpec{Kind: "direct"}), "operation not permitted on the default exchange"},
		{"a policy", c.CheckPolicy(core.Policy{VHost: "new", Name: "p", Pattern: ".", Definition: terms("max-length=1")}), ""},
		{"a policy that cannot be", c.CheckPolicy(core.Policy{VHost: "v", Name: "p", Pattern: "(", Definition: terms("max-length=1")}), "missing closing )"},
		{"no vhost", c.DeclareQueue("nope", core.QueueSpec{Name: "q"}), "vhost nope not found"},
		{"no vhost for an exchange", c.DeclareExchange("nope", core.ExchangeSpec{Name: "x", Kind: "direct"}), "vhost nope not found"},
		{"no vhost for a binding", c.Bind("nope", core.BindingSpec{Source: "x", Dest: "q"}), "vhost nope not found"},
		{"a binding of nothing", c.Bind("v", core.BindingSpec{Source: "x", Dest: "nope"}), "no queue 'nope' in vhost 'v'"},
	} {
		if tt.want == "" && tt.err != nil || tt.want != "" && !strings.Contains(fmt.Sprint(tt.err), tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, tt.err, tt.want)
		}
	}
	if after := fmt.Sprintf("%+v", b.Stats()); after != before {
		t.Errorf("the checks changed\n%s to\n%s", before, after)
	}
}

// A vhost that is to be made is thought of once, whatever is checked in it.
func TestChecksInAPlannedVHostDoNotMakeItEachTime(t *testing.T) {
	b := engine(t, core.Options{})
	c := b.Changes()
	allocs := testing.AllocsPerRun(100, func() {
		if err := c.CheckExchange("planned", core.ExchangeSpec{Name: "x", Kind: "direct", Durable: true}); err != nil {
			t.Fatal(err)
		}
		if c.HasExchange("planned", "x") || !c.HasExchange("planned", "amq.topic") {
			t.Fatal("not the exchanges that it will have")
		}
	})
	if allocs > 10 {
		t.Errorf("a check takes %v allocations", allocs)
	}
	if b.HasVHost("planned") {
		t.Error("a check has made the vhost")
	}
}
