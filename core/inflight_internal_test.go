package core

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

// ids are those of a table, sorted.
func (t *inflight) ids() (ids []uint16) {
	for o := range t.all {
		ids = append(ids, o.id)
	}
	slices.Sort(ids)
	return ids
}

// modelled checks what t finds, and does not find, against a map.
func checkInflight(t *testing.T, table *inflight, model map[uint16]uint64) {
	t.Helper()
	if table.len() != len(model) {
		t.Fatalf("%d entries, want %d", table.len(), len(model))
	}
	if got, want := table.ids(), slices.Sorted(maps.Keys(model)); !slices.Equal(got, want) {
		t.Fatalf("ids %v, want %v", got, want)
	}
	for id, turn := range model {
		if o := table.get(id); o == nil || o.id != id || o.turn != turn {
			t.Fatalf("get(%d) = %+v, want turn %d", id, o, turn)
		}
	}
}

func TestInflight_IsAMap(t *testing.T) {
	for _, c := range []struct {
		name string
		next func(r *rand.Rand, last uint16) uint16
	}{
		{"ids one after the other, over the end of the ring", func(_ *rand.Rand, last uint16) uint16 { return last + 1 }},
		{"ids with gaps", func(r *rand.Rand, last uint16) uint16 { return last + 1 + uint16(r.IntN(40)) }},
		{"ids of one place", func(_ *rand.Rand, last uint16) uint16 { return last + 256 }},
		{"any ids", func(r *rand.Rand, _ uint16) uint16 { return uint16(r.Uint32()) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 2))
			table, model := new(inflight), map[uint16]uint64{}
			last := uint16(65_000)
			for step := range uint64(3000) {
				last = c.next(r, last)
				if _, taken := model[last]; last != 0 && !taken {
					if o := table.add(outgoing{id: last, turn: step}); o.id != last || o.turn != step {
						t.Fatalf("add(%d) returned %+v", last, o)
					}
					model[last] = step
				}
				if r.IntN(100) < 45 || len(model) > 600 {
					for id := range model {
						table.remove(id)
						delete(model, id)
						break
					}
				}
				if table.get(last+1) != nil != (model[last+1] != 0) {
					t.Fatalf("get(%d) is wrong", last+1)
				}
				if step%50 == 0 {
					checkInflight(t, table, model)
				}
			}
			for id := range model {
				table.remove(id)
				delete(model, id)
				checkInflight(t, table, model)
			}
		})
	}
}

func TestInflight_NoneIsEmpty(t *testing.T) {
	var none *inflight
	if none.len() != 0 || none.get(1) != nil || none.ids() != nil {
		t.Error("a table that is nil has something")
	}
}

// BenchmarkInflight is one id given out and one answered for, with so many between them, the oldest of which never is.
func BenchmarkInflight(b *testing.B) {
	for _, c := range []struct {
		name  string
		out   uint16
		stuck bool
	}{{"out=10", 10, false}, {"out=1000", 1000, false}, {"out=1000, one for ever", 1000, true}} {
		b.Run(c.name, func(b *testing.B) {
			table := new(inflight)
			oldest, next := uint16(1), uint16(1)
			if c.stuck {
				table.add(outgoing{id: 65_535})
			}
			step := func(n *uint16) uint16 {
				id := *n
				if *n++; *n == 65_535 {
					*n = 1
				}
				return id
			}
			for range c.out {
				table.add(outgoing{id: step(&next)})
			}
			b.ReportAllocs()
			for b.Loop() {
				table.remove(step(&oldest))
				table.add(outgoing{id: step(&next)})
			}
		})
	}
}
