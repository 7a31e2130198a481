package core

import (
	"fmt"
	"testing"

	"github.com/batonmq/baton/core/field"
)

func TestPolicyKeys_AreWhatArgumentsMake(t *testing.T) {
	ofPolicies := map[string]bool{}
	for i := range policyKeys {
		ofPolicies[policyKeys[i].argument()] = true
	}
	never := map[string]bool{"x-max-priority": true, "x-single-active-consumer": true, argQueueType: true} // as in RabbitMQ: they cannot change
	for i := range queueSettings {
		if arg := queueSettings[i].arg; ofPolicies[arg] == never[arg] {
			t.Errorf("%s: policies have it: %t", arg, ofPolicies[arg])
		}
	}
}

// The lower of two limits counts, and else what the queue's own argument says.
func TestPolicyAndArguments(t *testing.T) {
	row := func(args, definition field.Table, want string) {
		t.Helper()
		st, _ := parseQueueArgs(governArgs(args, definition), func(string, string) error { return nil })
		if got := settingsText(st); got != want {
			t.Errorf("%v under %v: %s, want %s", args, definition, got, want)
		}
	}
	table := func(pairs ...any) (t field.Table) {
		for i := 0; i < len(pairs); i += 2 {
			t = append(t, field.Field{Key: pairs[i].(string), Value: pairs[i+1]})
		}
		return t
	}
	row(nil, nil, "none")
	row(nil, table("max-length", int64(5)), "length=5")
	row(table("x-max-length", int32(3)), table("max-length", int64(5)), "length=3")
	row(table("x-max-length", int32(7)), table("max-length", int64(5)), "length=5")
	row(table("x-message-ttl", uint16(7)), table("message-ttl", int64(5), "expires", int64(9)), "ttl=5 expires=9")
	row(table("x-expires", int8(3)), table("expires", int64(9)), "expires=3")
	row(table("x-max-length-bytes", int64(3)), table("max-length-bytes", int64(0)), "bytes=0")
	row(table("x-delivery-limit", int64(3)), table("delivery-limit", int64(-1)), "limit=3")
	row(table("x-delivery-limit", int64(-1)), table("delivery-limit", int64(4)), "limit=4")
	row(table("x-overflow", "reject-publish"), table("overflow", "drop-head"), "overflow=1")
	row(table("x-dead-letter-exchange", "mine"), table("dead-letter-exchange", "policy's", "dead-letter-routing-key", "k"), "dlx=mine key=k")
	row(nil, table("dead-letter-exchange", "x"), "dlx=x")
	row(nil, table("dead-letter-routing-key", "x"), "none")
	row(nil, table("message-ttl", int64(999_999_999_999_999)), "ttl=315360000000")
	row(nil, table("alternate-exchange", "x", "ha-mode", "all", "something", "newer"), "none")
	row(table("x-max-priority", int64(9)), table("max-length", int64(1)), "length=1 priorities=9")
}

// A policy is for the types of queue that it names, and that know all its settings.
func TestPolicy_TypesOfQueue(t *testing.T) {
	b := &Broker{opt: Options{CompilePattern: compileGo}}
	for _, c := range []struct {
		applyTo, terms          string
		classic, quorum, others bool
	}{
		{"all", "max-length", true, true, true},
		{"queues", "max-length", true, true, false},
		{"exchanges", "max-length", false, false, true},
		{"classic_queues", "max-length", true, false, false},
		{"quorum_queues", "max-length", false, true, false},
		{"streams", "max-length", false, false, false},
		{"all", "delivery-limit", false, true, true},
		{"queues", "ha-sync-batch-size", true, false, false},
		{"all", "stream-max-segment-size-bytes", false, false, true},
	} {
		v := newVHost(b, VHostInfo{Name: "/"})
		p, err := b.newPolicy(Policy{VHost: "/", Name: "p", ApplyTo: c.applyTo, Definition: field.Table{{Key: c.terms, Value: int64(9)}}})
		if err != nil {
			t.Fatal(err)
		}
		v.govern(v.policies.Load().with(p))
		for kind, want := range map[string]bool{ClassicType: c.classic, QuorumType: c.quorum} {
			q := &Queue{vhost: v, spec: QueueSpec{Name: "q", Args: field.Table{{Key: argQueueType, Value: kind}}}}
			if q.govern(); (q.governed.Load() != nil) != want {
				t.Errorf("%s for %s: a %s queue has it: %t", c.terms, c.applyTo, kind, !want)
			}
		}
		if x := v.exchange("amq.direct"); (x.governed.Load() != nil) != c.others {
			t.Errorf("%s for %s: an exchange has it: %t", c.terms, c.applyTo, !c.others)
		}
	}
}

func settingsText(st *QueueSettings) (text string) {
	if st == nil {
		return "none"
	}
	add := func(name string, v any, has bool) {
		if has {
			if text != "" {
				text += " "
			}
			text += fmt.Sprintf("%s=%v", name, v)
		}
	}
	number := func(name string, n *int64) {
		if n != nil {
			add(name, *n, true)
		}
	}
	number("length", st.MaxLength)
	number("bytes", st.MaxBytes)
	number("ttl", st.TTL)
	number("expires", st.Expires)
	number("limit", st.DeliveryLimit)
	add("overflow", st.Overflow, st.Overflow != DropHead)
	if st.DeadLetterExchange != nil {
		add("dlx", *st.DeadLetterExchange, true)
	}
	if st.DeadLetterKey != nil {
		add("key", *st.DeadLetterKey, true)
	}
	add("priorities", st.MaxPriority, st.MaxPriority != 0)
	return text
}
