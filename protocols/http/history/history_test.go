package history

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const step = 5 * time.Second

func at(n int) time.Time { return time.UnixMilli(1_800_000_000_000).Add(time.Duration(n) * step) }

// values are the samples of a detail.
func values(d Detail) (v []int64) {
	for _, s := range d.Samples {
		v = append(v, s.Value)
	}
	return v
}

func TestSeries_RateOfTheLastTwoSamples(t *testing.T) {
	s := NewSeries(2, Retention{step, time.Minute})
	if d := s.Detail(0, Window{}); d.Rate != 0 {
		t.Errorf("of no sample: %+v", d)
	}
	s.Add(at(0), []int64{10, 5})
	if d := s.Detail(0, Window{}); d.Rate != 0 {
		t.Errorf("of one sample: %+v", d)
	}
	s.Add(at(1), []int64{20, 0})
	s.Add(at(3), []int64{40, -5}) // a tick was lost
	if d := s.Detail(0, Window{}); d.Rate != 2 || d.Samples != nil || d.Average != nil {
		t.Errorf("Detail() = %+v", d)
	}
	if d := s.Detail(1, Window{}); d.Rate != -0.5 {
		t.Errorf("of what falls: %+v", d)
	}
}

func TestSeries_Windows(t *testing.T) {
	s := NewSeries(1, Retention{step, time.Minute}, Retention{time.Minute, 5 * time.Minute})
	for i := range 121 { // ten minutes
		s.Add(at(i).Add(time.Duration(i%3)*100*time.Millisecond), []int64{int64(i)}) // ticks are late by a little
	}
	for _, tt := range []struct {
		age, every time.Duration
		want       []int64
		rate       float64
	}{
		{20 * time.Second, step, []int64{120, 119, 118, 117, 116}, 0.2},
		{time.Minute, 20 * time.Second, []int64{120, 116, 112, 108}, 0.2},
		{5 * time.Minute, time.Minute, []int64{120, 108, 96, 84, 72, 60}, 0.2},
		{8 * time.Minute, 2 * time.Minute, []int64{120, 96, 72}, 0.2}, // no more is kept
	} {
		d := s.Detail(0, Window{tt.age, tt.every})
		if !slices.Equal(values(d), tt.want) || d.Rate != tt.rate || *d.AverageRate != tt.rate {
			t.Errorf("%v in steps of %v: %v, rate %v, average rate %v, want %v", tt.age, tt.every, values(d), d.Rate, *d.AverageRate, tt.want)
		}
	}
	d := s.Detail(0, Window{10 * time.Second, step})
	if *d.Average != 119 || d.Samples[1].Time != d.Samples[0].Time-5000 {
		t.Errorf("Detail() = %+v, average %v", d, *d.Average)
	}
}

func TestWindow_Valid(t *testing.T) {
	for w, want := range map[Window]bool{
		{}:                   false,
		{time.Minute, step}:  true,
		{500 * step, step}:   true,
		{501 * step, step}:   false,
		{time.Minute, 0}:     false,
		{-time.Minute, step}: false,
		{step, time.Minute}:  true,
	} {
		if w.Valid() != want {
			t.Errorf("%+v is valid: %t", w, !want)
		}
	}
}

// objects are what a test samples: what they are, and were at the last sample.
type objects struct{ is, was map[string][]int64 }

func newObjects(is map[string][]int64) *objects {
	return &objects{is: is, was: map[string][]int64{}}
}

func (o *objects) class(width int) *Class[string] {
	return NewClass(width, step, func(key string) bool { return o.is[key] == nil })
}

// sample tells of what has changed.
func (o *objects) sample(c *Class[string], n int) {
	c.Sample(at(n), func(note func(string, []int64, []int64)) {
		for k, v := range o.is {
			was := o.was[k]
			if was == nil {
				was = make([]int64, len(v))
			}
			if !slices.Equal(was, v) {
				note(k, was, v)
			}
			o.was[k] = v
		}
	})
}

func (o *objects) rates(c *Class[string], key string) (r []float64) {
	for _, d := range c.Look(key, nil, o.is[key]) {
		r = append(r, d.Rate)
	}
	return r
}

func TestClass_Rates(t *testing.T) {
	o := newObjects(map[string][]int64{"old": {10, 20}})
	c := o.class(2)
	want := func(key string, rates []float64, moves bool, why string) {
		t.Helper()
		if r := o.rates(c, key); !slices.Equal(r, rates) || c.Moves(key) != moves {
			t.Errorf("%s: %v, moves: %t", why, r, c.Moves(key))
		}
	}
	o.sample(c, 0)
	want("old", []float64{0, 0}, false, "of what was there at the first sample it is not known since when")
	o.is["new"] = []int64{5, 0}
	o.sample(c, 1)
	want("new", []float64{1, 0}, true, "what has come since the last sample began with nothing")
	for n := 2; n < 40; n++ {
		o.sample(c, n)
	}
	o.is["old"] = []int64{15, 10}
	o.sample(c, 40)
	want("old", []float64{1, -2}, true, "of what moves after it was still")
	want("new", []float64{0, 0}, false, "of what has stopped")
	want("unknown", []float64{0, 0}, false, "of what there is not")
	o.sample(c, 42) // a tick was lost
	o.is["old"] = []int64{35, 10}
	o.sample(c, 44)
	want("old", []float64{2, 0}, true, "of a longer time")
	o.sample(c, 45)
	want("old", []float64{0, 0}, false, "of what has stopped")
}

func TestClass_ForgetsWhatIsGone(t *testing.T) {
	o := newObjects(map[string][]int64{"a": {1}, "b": {1}})
	c := o.class(1)
	o.sample(c, 0)
	o.is["a"], o.is["b"] = []int64{2}, []int64{2}
	o.sample(c, 1)
	if len(c.moving) != 2 || len(c.remembered) != 2 {
		t.Fatalf("%d move, %d have a history", len(c.moving), len(c.remembered))
	}
	delete(o.is, "a")
	o.sample(c, 2)
	if len(c.moving) != 1 || c.moving["b"] == nil || len(c.remembered) != 1 {
		t.Errorf("%d move, %d have a history", len(c.moving), len(c.remembered))
	}
}

// TestClass_HistoriesAreBounded: those that move get one while there is room, and
// then who is asked for in the place of who was not for longest. Who has none is held
// as long as it moves.
func TestClass_HistoriesAreBounded(t *testing.T) {
	const extra = 40
	o := newObjects(map[string][]int64{})
	c := o.class(1)
	name := func(i int) string { return fmt.Sprint(i) }
	set := func(v int64) {
		for i := range MaxHistories + extra {
			o.is[name(i)] = []int64{v}
		}
	}
	set(1)
	o.sample(c, 0)
	set(2)
	o.sample(c, 1)
	if len(c.moving) != MaxHistories+extra || len(c.remembered) != MaxHistories {
		t.Fatalf("%d move, %d have a history", len(c.moving), len(c.remembered))
	}
	o.sample(c, 2)
	if len(c.moving) != MaxHistories {
		t.Fatalf("when all are still, %d are held", len(c.moving))
	}
	window := []Window{{time.Minute, step}}
	for i := range MaxHistories + extra {
		c.Look(name(i), window, o.is[name(i)])
	}
	if len(c.remembered) != MaxHistories || c.remembered[name(0)] != nil || c.remembered[name(MaxHistories+extra-1)] == nil {
		t.Errorf("%d have a history, the first %t, the last %t", len(c.remembered), c.remembered[name(0)] != nil, c.remembered[name(MaxHistories+extra-1)] != nil)
	}
	last := name(MaxHistories + extra - 1)
	o.is[last] = []int64{12}
	o.sample(c, 3)
	d := c.Look(last, window, o.is[last])[0]
	if got := values(d); !slices.Equal(got, []int64{12, 2}) || d.Rate != 2 {
		t.Errorf("since it was asked for: %v, rate %v", got, d.Rate)
	}
	o.sample(c, 4)
	d = c.Look(last, window, o.is[last])[0]
	if got := values(d); !slices.Equal(got, []int64{12, 12, 2}) || d.Rate != 0 {
		t.Errorf("when it is still again: %v, rate %v", got, d.Rate)
	}
}

// BenchmarkSample samples 50,000 objects of 12 numbers that have all changed.
func BenchmarkSample(b *testing.B) {
	const n, width = 50_000, 12
	c := NewClass(width, step, func(int) bool { return false })
	var was, is [width]int64
	turn := 0
	for b.Loop() {
		turn++
		c.Sample(at(turn), func(note func(int, []int64, []int64)) {
			was[0], is[0] = is[0], int64(turn)
			for i := range n {
				note(i, was[:], is[:])
			}
		})
	}
}
