package core_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// What waits for a subscriber is limited by the broker's options, and by a policy: the lower number counts, and the policy's word on what
// happens then. What goes, or is refused, is counted. A broker that comes next finds no more than was left.
func TestWaitingLimits(t *testing.T) {
	for _, tt := range []struct {
		name    string
		limits  core.WaitingLimits
		policy  string
		refused int      // of five messages of two bytes
		left    []string // in the end
	}{
		{"none", core.WaitingLimits{}, "", 0, []string{"k=m1", "k=m2", "k=m3", "k=m4", "k=m5"}},
		{"messages", core.WaitingLimits{Messages: 3}, "", 0, []string{"k=m3", "k=m4", "k=m5"}},
		{"bytes", core.WaitingLimits{Bytes: 5}, "", 0, []string{"k=m4", "k=m5"}},
		{"both", core.WaitingLimits{Messages: 3, Bytes: 4}, "", 0, []string{"k=m4", "k=m5"}},
		{"refused", core.WaitingLimits{Messages: 3, Overflow: core.RejectPublish}, "", 2, []string{"k=m1", "k=m2", "k=m3"}},
		{"a lower policy", core.WaitingLimits{Messages: 3}, "max-length=2", 0, []string{"k=m4", "k=m5"}},
		{"a higher policy", core.WaitingLimits{Messages: 3}, "max-length=4", 0, []string{"k=m3", "k=m4", "k=m5"}},
		{"a policy for bytes", core.WaitingLimits{Messages: 3}, "max-length-bytes=2", 0, []string{"k=m5"}},
		{"a policy that refuses", core.WaitingLimits{Messages: 3}, "overflow=reject-publish", 2, []string{"k=m1", "k=m2", "k=m3"}},
		{"a policy alone", core.WaitingLimits{}, "max-length=2", 0, []string{"k=m4", "k=m5"}},
	} {
		for _, share := range []string{"", "g"} {
			t.Run(tt.name+share, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := memstore.Open(memstore.Options{})
					b, err := core.Open(t.Context(), store, core.Options{Waiting: tt.limits})
					if err != nil {
						t.Fatal(err)
					}
					if tt.policy != "" {
						setPolicy(t, b, core.Policy{Name: "p", Pattern: "^subscriber-", Definition: terms(tt.policy)})
					}
					c := linkClient(t, b, "c", core.SubscriberSpec{Expiry: core.Forever})
					c.subscribe(t, core.SubscriptionSpec{Key: "k", Share: share, Queue: "subscriber-share", Level: core.AtLeastOnce})
					c.session.Close()
					refused := 0
					s := attach(t, b)
					for i := range 5 {
						m := &core.Message{Exchange: core.TopicExchange, Key: "k", Persistent: true, Body: fmt.Appendf(nil, "m%d", i+1)}
						if _, err := s.Publish(m, nil, 0); core.KindOf(err) == core.Overflow {
							refused++
						} else if err != nil {
							t.Fatal(err)
						}
					}
					if refused != tt.refused {
						t.Errorf("%d messages were refused, want %d", refused, tt.refused)
					}
					if n := b.Stats().Overflowed; int(n) != 5-len(tt.left) {
						t.Errorf("%d messages are counted, want %d", n, 5-len(tt.left))
					}
					b.Close()
					_ = store.Close()
					store = memstore.Open(memstore.Options{Disk: store.Disk()})
					b = opened(t, &gatedStore{Store: store}, core.Options{Epoch: 2, Waiting: tt.limits})
					c = linkClient(t, b, "c", core.SubscriberSpec{Expiry: core.Forever})
					synctest.Wait()
					if got := c.taken(); !slices.Equal(got, tt.left) {
						t.Errorf("%v were left, want %v", got, tt.left)
					}
				})
			})
		}
	}
}

// A message that a full session refuses reaches the others all the same.
func TestWaitingLimitRefusesForOneAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{Waiting: core.WaitingLimits{Messages: 1, Overflow: core.RejectPublish}})
		for _, name := range []string{"away", "here"} {
			c := linkClient(t, b, name, core.SubscriberSpec{Expiry: core.Forever})
			c.subscribe(t, core.SubscriptionSpec{Key: "k", Level: core.AtLeastOnce})
			if name == "away" {
				c.session.Close()
				continue
			}
			s := attach(t, b)
			for i := range 3 {
				_, err := s.Publish(&core.Message{Exchange: core.TopicExchange, Key: "k", Persistent: true, Body: []byte("m")}, nil, 0)
				if refused := core.KindOf(err) == core.Overflow; refused != (i > 0) {
					t.Errorf("message %d: %v", i+1, err)
				}
			}
			c.expect(t, "k=m", "k=m", "k=m")
		}
	})
}
