package compact

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

type numbered struct {
	Key
	number uint64
}

func TestMapMatchesAGoMap(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var m Map[numbered, *numbered]
	model := map[string]uint64{}
	for round := range 8 {
		for i := range 10_000 {
			key := strings.Repeat("k", rnd.IntN(90)) + fmt.Sprint(rnd.IntN(300))
			e := m.Get(key)
			want, there := model[key]
			switch {
			case (e != nil) != there || e != nil && (e.number != want || !e.Alive() || m.Key(e) != key):
				t.Fatalf("%q: entry %v, wanted %d %t", key, e, want, there)
			case there && rnd.IntN(8) > round:
				e.number = uint64(i)
				model[key] = uint64(i)
			case there:
				m.Remove(key)
				delete(model, key)
				if m.Get(key) != nil || e.Alive() || e.number != want {
					t.Fatalf("%q was removed: entry %v", key, e)
				}
			default:
				m.Add(key).number = uint64(i)
				model[key] = uint64(i)
			}
		}
		m.Reuse()
		n := 0
		for e := range m.All() {
			if n++; model[m.Key(e)] != e.number {
				t.Fatalf("%q is %d", m.Key(e), e.number)
			}
		}
		if n != len(model) || m.Len() != n || len(m.free)+n != m.made {
			t.Fatalf("%d entries, %d said, %d wanted; %d of %d free", n, m.Len(), len(model), len(m.free), m.made)
		}
		if m.keys.size > 2*m.keys.live+lostBytes+blockBytes {
			t.Fatalf("%d bytes for keys of %d", m.keys.size, m.keys.live)
		}
	}
	for key := range model {
		m.Remove(key)
	}
	if m.Reuse(); len(m.entries) != 0 || m.keys.size != 0 {
		t.Errorf("an empty map has %d blocks of entries and %d bytes of keys", len(m.entries), m.keys.size)
	}
}

func TestMapGivesBackWhatManyTook(t *testing.T) {
	const n, stay = 60_000, 1000
	key := func(i int) string { return fmt.Sprintf("t/fleet.d%07d.state", i) }
	for round := range 3 {
		var m Map[numbered, *numbered]
		for i := range n {
			e := m.Add(key(i))
			e.number, e.Flags = uint64(i), uint8(i)
		}
		for i := range n - stay {
			m.Remove(key(i))
			if round == 1 || round == 2 && i%100 == 0 {
				m.Reuse()
			}
		}
		m.Reuse()
		if len(m.entries)*entryBlock > 8*stay+65*entryBlock {
			t.Errorf("round %d: %d entries have %d blocks", round, m.n, len(m.entries))
		}
		for i := range n {
			e := m.Get(key(i))
			if (e != nil) != (i >= n-stay) || e != nil && (e.number != uint64(i) || e.Flags != uint8(i) || !e.Alive() || m.Key(e) != key(i)) {
				t.Fatalf("round %d: entry %d is %v", round, i, e)
			}
		}
		for i := range n { // they come again
			if m.Get(key(i)) == nil {
				m.Add(key(i)).number = uint64(i)
			}
		}
		if m.Len() != n {
			t.Errorf("round %d: %d entries, want %d", round, m.Len(), n)
		}
	}
}

func TestBytesGoWithTheirBlocks(t *testing.T) {
	var s Bytes
	type piece struct {
		at   Place
		data string
	}
	var kept []piece
	for i := range 4000 {
		data := strings.Repeat(string(rune('a'+i%26)), i*31%200)
		if i%500 == 0 {
			data = strings.Repeat("x", blockBytes+i)
		}
		kept = append(kept, piece{s.PutString(data), data})
	}
	for i, p := range kept {
		if p.at == 0 || string(s.Get(p.at, len(p.data))) != p.data {
			t.Fatalf("piece %d at %d is not what was put", i, p.at)
		}
	}
	for _, p := range kept[:3990] {
		s.Drop(p.at, len(p.data))
	}
	if s.size > 2*blockBytes {
		t.Errorf("%d bytes are held for ten pieces", s.size)
	}
	first := s.Put([]byte("again"))
	if string(s.Get(first, 5)) != "again" {
		t.Error("what was put into a block that was free is not there")
	}
}

func BenchmarkMap(b *testing.B) {
	const n = 1_000_000
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("t/fleet.d%07d.state", i)
	}
	b.ReportAllocs()
	for b.Loop() {
		var m Map[numbered, *numbered]
		for i, key := range keys {
			m.Add(key).number = uint64(i)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/key")
}
