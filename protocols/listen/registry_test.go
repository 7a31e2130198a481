package listen

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// add enters connections that the registry must take.
func add(t *testing.T, g *Registry[string], conns ...string) (regs []*Registration[string]) {
	t.Helper()
	for _, c := range conns {
		r, err := g.Add(c)
		if err != nil {
			t.Fatalf("Add(%s): %v", c, err)
		}
		regs = append(regs, r)
	}
	return regs
}

// names are the open connections, sorted.
func names(g *Registry[string]) (names []string) {
	for r := range g.All() {
		names = append(names, r.Conn)
	}
	slices.Sort(names)
	return names
}

func TestRegistry_KnowsWhoIsOpenAndHowManyHaveBeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, begin := new(Registry[string]), time.Now()
		first := add(t, g, "a", "b")
		time.Sleep(time.Minute)
		g.Remove(first[0])
		second := add(t, g, "c")
		for i, r := range append(first, second...) {
			opened := begin
			if i == 2 {
				opened = begin.Add(time.Minute)
			}
			if r.ID != uint64(i+1) || !r.Opened.Equal(opened) {
				t.Errorf("%s is number %d, opened %v later", r.Conn, r.ID, r.Opened.Sub(begin))
			}
		}
		if got := names(g); !slices.Equal(got, []string{"b", "c"}) {
			t.Errorf("open: %q", got)
		}
		if n := g.Counts(); n != (Counts{Open: 2, Opened: 3, Closed: 1}) {
			t.Errorf("%+v", n)
		}
	})
}

func TestRegistry_RefusesBeyondItsLimitAndOnceClosed(t *testing.T) {
	g := &Registry[string]{Limit: 2}
	regs := add(t, g, "a", "b")
	if r, err := g.Add("c"); r != nil || !errors.Is(err, ErrFull) {
		t.Errorf("beyond the limit: %v, %v", r, err)
	}
	g.Remove(regs[1])
	add(t, g, "d") // in the place that has become free
	g.Close()
	g.Remove(regs[0])
	if r, err := g.Add("e"); r != nil || !errors.Is(err, ErrClosed) {
		t.Errorf("after Close: %v, %v", r, err)
	}
	if got := names(g); !slices.Equal(got, []string{"d"}) {
		t.Errorf("open: %q", got)
	}
	if n := g.Counts(); n != (Counts{Open: 1, Opened: 3, Closed: 2}) {
		t.Errorf("%+v: the refused count", n)
	}
}

func TestRegistry_TheLoopOverAllMayChangeIt(t *testing.T) {
	g := new(Registry[string])
	add(t, g, "a", "b", "c")
	met := 0
	for r := range g.All() {
		met++
		g.Remove(r)
		add(t, g, "late")
	}
	if n := g.Counts(); met != 3 || n.Closed != 3 || n.Open != 3 {
		t.Errorf("met %d, %+v", met, n)
	}
	for range g.All() {
		met++
		break
	}
	if met != 4 {
		t.Errorf("a loop that was left met %d", met-3)
	}
}

func TestRegistry_DrainWaitsForTheLast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := new(Registry[string])
		if err := g.Drain(t.Context()); err != nil {
			t.Errorf("of an empty registry: %v", err)
		}
		regs := add(t, g, "a", "b")
		g.Close()
		drained := make(chan error, 2)
		for range cap(drained) {
			go func() { drained <- g.Drain(t.Context()) }()
		}
		late := errors.New("no more time")
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(late)
		if err := g.Drain(ctx); !errors.Is(err, late) {
			t.Errorf("with no time left: %v", err)
		}
		g.Remove(regs[0])
		synctest.Wait()
		if len(drained) != 0 {
			t.Fatal("did not wait for the last connection")
		}
		g.Remove(regs[1])
		for range cap(drained) {
			if err := <-drained; err != nil {
				t.Error(err)
			}
		}
	})
}
