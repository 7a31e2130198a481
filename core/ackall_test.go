package core_test

import (
	"slices"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
)

// TestAckAllIsAckForEach answers for the same ids one by one and all at once, and compares what there is afterwards, and what the next
// link is sent.
func TestAckAllIsAckForEach(t *testing.T) {
	for _, c := range []struct {
		name string
		ids  []uint16 // of those that are out: 1 to 20, or to 12
	}{
		{"the first", []uint16{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}},
		{"some, in another order", []uint16{7, 3, 11, 1, 12}},
		{"some twice, and some that are not out", []uint16{2, 2, 99, 3, 65_535, 3, 4}},
		{"none that is out", []uint16{21, 22}},
		{"none", nil},
	} {
		for _, spec := range []core.SubscriberSpec{{}, {Expiry: core.Forever}, {Window: 12, Expiry: core.Forever}} {
			t.Run(c.name, func(t *testing.T) {
				type outcome struct {
					known, held, open, unsettled, ready int
					sent, again                         []uint16
				}
				run := func(ack func(l *core.Link) int) (o outcome) {
					inGate(t, core.Options{}, func(g gated) {
						t, b := g.t, g.broker
						client := &quiet{}
						spec.Receiver = client
						s, l := linked(t, b, spec)
						send(t, b, 20, 100, &core.Message{Persistent: true})
						client.take()
						o.known = ack(l)
						synctest.Wait()
						o.sent = client.take()
						st := b.Stats()
						o.held, o.open, o.unsettled, o.ready = int(st.HeldBytes), int(st.OpenBytes), st.Unsettled, st.Ready
						s.Close()
						client = &quiet{}
						spec.Receiver = client
						linked(t, b, spec)
						synctest.Wait()
						o.again = client.take()
					})
					return o
				}
				one := run(func(l *core.Link) (known int) {
					for _, id := range c.ids {
						if l.Ack(id) {
							known++
						}
					}
					return known
				})
				all := run(func(l *core.Link) int { return l.AckAll(c.ids) })
				if one.known != all.known || one.held != all.held || one.open != all.open || one.unsettled != all.unsettled ||
					one.ready != all.ready || !slices.Equal(one.sent, all.sent) || !slices.Equal(one.again, all.again) {
					t.Errorf("all at once: %+v\none by one:  %+v", all, one)
				}
			})
		}
	}
}

// After a takeover the old link answers for nothing.
func TestAckAllOfALinkThatWasTakenOver(t *testing.T) {
	inGate(t, core.Options{}, func(g gated) {
		t, b := g.t, g.broker
		_, old := linked(t, b, core.SubscriberSpec{Expiry: core.Forever})
		send(t, b, 3, 100, &core.Message{Persistent: true})
		linked(t, b, core.SubscriberSpec{Expiry: core.Forever})
		synctest.Wait()
		if n := old.AckAll([]uint16{1, 2, 3}); n != 0 {
			t.Errorf("%d ids were out", n)
		}
		if st := b.Stats(); st.Unsettled != 3 {
			t.Errorf("%d unsettled, want 3", st.Unsettled)
		}
	})
}
