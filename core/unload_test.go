package core_test

import (
	"bytes"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// holding consumes queue q without a limit and never answers.
func holding(t *testing.T, s *core.Session) *hold {
	t.Helper()
	h := &hold{}
	if _, err := s.Consume(t.Context(), core.ConsumerSpec{Queue: "q", Receiver: h}); err != nil {
		t.Fatal(err)
	}
	synctest.Wait()
	return h
}

func unload(t *testing.T, ds []core.Delivery) {
	t.Helper()
	for i := range ds {
		size := ds[i].Size()
		if !ds[i].Unload() || ds[i].Message != nil || ds[i].Size() != size || size < 8<<10 {
			t.Fatalf("delivery %d has message %v and size %d after it was unloaded", i, ds[i].Message, ds[i].Size())
		}
	}
}

func TestUnloadedDeliveryComesBackWithItsBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s, consumer := attach(t, b), attach(t, b)
		declare(t, s, true)
		backlog(t, s, 100, always)
		h := holding(t, consumer)
		first := h.take()
		unload(t, first)
		if st := b.Stats(); st.HeldBytes > 8<<10 || st.OpenBytes != int64(100*first[0].Size()) || st.Unsettled != 100 {
			t.Errorf("held %d, open %d, unsettled %d", st.HeldBytes, st.OpenBytes, st.Unsettled)
		}
		consumer.Settle(first[:50], core.Requeue)
		synctest.Wait()
		again := h.take()
		if len(again) != 50 {
			t.Fatalf("%d of 50 messages came again", len(again))
		}
		for i := range again {
			if d := &again[i]; !bytes.Equal(d.Message.Body, bytes.Repeat([]byte{byte(i)}, 8<<10)) || !d.Redelivered || d.Delivered != 1 {
				t.Fatalf("message %d came again with %d bytes, delivered %d times before", i, len(d.Message.Body), d.Delivered)
			}
		}
		unload(t, again)
		consumer.Settle(again[:25], core.Reject)
		consumer.Settle(again[25:], core.Accept)
		consumer.Settle(first[50:], core.Accept)
		if st := b.Stats(); st.HeldBytes > 4<<10 || st.OpenBytes != 0 || st.Unsettled != 0 || st.Ready != 0 || st.Settled != 100 {
			t.Errorf("at the end: %+v", st)
		}
	})
}

func TestUnloadedDeliveriesReturnWithTheirSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := engine(t, core.Options{})
		s, consumer := attach(t, b), attach(t, b)
		declare(t, s, true)
		backlog(t, s, 10, always)
		held := holding(t, consumer).take()
		unload(t, held)
		consumer.Close(held...)
		for i := range 10 {
			d, _, ok, err := s.Get(t.Context(), "q", true)
			if err != nil || !ok || d.Message.Body[0] != byte(i) || !d.Redelivered {
				t.Fatalf("message %d: %t, %v", i, ok, err)
			}
		}
		if st := b.Stats(); st.HeldBytes > 4<<10 || st.OpenBytes != 0 || st.Unsettled != 0 {
			t.Errorf("at the end: %+v", st)
		}
	})
}

func TestOnlyWhatTheStoreHasIsUnloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.Open(memstore.Options{Manual: true})
		b, err := core.Open(t.Context(), store, core.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			b.Close()
			_ = store.Close()
		})
		s := attach(t, b)
		go func() {
			synctest.Wait()
			store.Flush()
		}()
		declare(t, s, true)
		publish(t, s, &core.Message{Key: "q", Body: []byte("durable"), Persistent: true})
		publish(t, s, &core.Message{Key: "q", Body: []byte("transient")})
		held := holding(t, s).take()
		if held[0].Unload() || held[0].Message == nil {
			t.Error("a message was unloaded before its record had passed")
		}
		store.Flush()
		if !held[0].Unload() || held[0].Message != nil {
			t.Error("a message was not unloaded although its record has passed")
		}
		if !held[1].Unload() || held[1].Message == nil {
			t.Error("a transient message was unloaded")
		}
	})
}
