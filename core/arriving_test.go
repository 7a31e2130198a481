package core_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
)

// arrivals are sessions of a broker with room for ten MiB of incomplete messages, and who was ended.
type arrivals struct {
	sessions []*core.Session
	ended    []string
}

func openArrivals(t *testing.T, n int) *arrivals {
	t.Helper()
	store := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), store, core.Options{ArrivingBytes: 10 << 20})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	a := new(arrivals)
	for i := range n {
		s, err := b.Attach("/", core.SessionOptions{End: func(reason error) {
			a.ended = append(a.ended, fmt.Sprint(i, " ", core.KindOf(reason)))
		}})
		if err != nil {
			t.Fatal(err)
		}
		a.sessions = append(a.sessions, s)
	}
	return a
}

func (a *arrivals) expect(t *testing.T, ended ...string) {
	t.Helper()
	if !slices.Equal(a.ended, ended) {
		t.Errorf("ended %q, want %q", a.ended, ended)
	}
}

func TestIncompleteMessagesAreBounded(t *testing.T) {
	ended := func(i int) string { return fmt.Sprint(i, " ", core.Exhausted) }

	t.Run("the one under way for longest ends", func(t *testing.T) {
		a := openArrivals(t, 4)
		for _, s := range a.sessions[:3] {
			s.Arriving(3 << 20)
		}
		a.expect(t)
		a.sessions[3].Arriving(2 << 20)
		a.expect(t, ended(0))
		a.sessions[0].Arriving(4 << 20) // it has not gone yet, and counts no more
		a.expect(t, ended(0))
		a.sessions[3].Arriving(5 << 20)
		a.expect(t, ended(0), ended(1))
	})
	t.Run("not one that has little", func(t *testing.T) {
		a := openArrivals(t, 3)
		a.sessions[0].Arriving(1 << 20)
		a.sessions[1].Arriving(6 << 20)
		a.sessions[2].Arriving(6 << 20)
		a.expect(t, ended(1))
	})
	t.Run("nobody while messages are completed", func(t *testing.T) {
		a := openArrivals(t, 2)
		for range 10 {
			for _, s := range a.sessions {
				s.Arriving(9 << 20)
				s.Arriving(0)
			}
		}
		a.expect(t)
	})
	t.Run("a session that is closed counts no more", func(t *testing.T) {
		a := openArrivals(t, 2)
		a.sessions[0].Arriving(9 << 20)
		a.sessions[0].Close()
		a.sessions[1].Arriving(9 << 20)
		a.expect(t)
	})
	t.Run("one alone is its front-end's affair, until another comes", func(t *testing.T) {
		a := openArrivals(t, 2)
		a.sessions[0].Arriving(11 << 20)
		a.expect(t)
		a.sessions[1].Arriving(1 << 20)
		a.expect(t, ended(0))
	})
	t.Run("small ones are not counted", func(t *testing.T) {
		a := openArrivals(t, 200)
		for _, s := range a.sessions {
			s.Arriving(64 << 10)
		}
		a.expect(t)
	})
}
