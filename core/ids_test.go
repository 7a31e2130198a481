package core_test

import (
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// A broker that takes over begins half the ring away from the ids that a long link had come to, not from those it began with.
func TestIDsOfALongLinkAreAvoidedByTheNextBroker(t *testing.T) {
	const batches, batch = 25, 1000
	synctest.Test(t, func(t *testing.T) {
		store := memstore.Open(memstore.Options{})
		b, client := engineOn(t, store, 1), &quiet{}
		_, l := linked(t, b, core.SubscriberSpec{Expiry: core.Forever, Receiver: client})
		var ids []uint16
		for range batches {
			for _, id := range ids { // the last ones stay in the client's hands
				l.Ack(id)
			}
			send(t, b, batch, 1, &core.Message{Persistent: true})
			ids = client.take()
		}
		last := ids[len(ids)-1]
		store.Crash()

		client = &quiet{}
		next := engineOn(t, memstore.Open(memstore.Options{Disk: store.Disk()}), 2)
		linked(t, next, core.SubscriberSpec{Expiry: core.Forever, Receiver: client})
		synctest.Wait()
		if ids = client.take(); len(ids) != batch {
			t.Fatalf("%d messages came again, want %d", len(ids), batch)
		}
		// Half the ring from the beginning of the quarter that is on record.
		if away := ids[0] - last; away < 1<<14 || away > 1<<15 {
			t.Errorf("the last id of the one was %d, the first one of the next is %d: %d away", last, ids[0], away)
		}
	})
}
