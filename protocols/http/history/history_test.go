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

// objects are what a test samples.
type objects map[string][]int64

func (o objects) sample(c *Class[string], n int) {
	c.Sample(at(n), func(note func(string, []int64)) {
		for k, v := range o {
			note(k, v)
		}
	})
}

func (o objects) rates(c *Class[string], key string) (r []float64) {
	for _, d := range c.Look(key, nil, o[key]) {
		r = append(r, d.Rate)
	}
	return r
}

func TestClass_Rates(t *testing.T) {
	c, o := NewClass[string](2, step), objects{"old": {10, 20}}
	o.sample(c, 0)
	o["new"] = []int64{5, 0}
	o.sample(c, 1)
	if r := o.rates(c, "new"); !slices.Equal(r, []float64{1, 0}) {
		t.Errorf("what has come since the last sample began with nothing: %v", r)
	}
	o["old"] = []int64{15, 10}
	o.sample(c, 2)
	if r := o.rates(c, "old"); !slices.Equal(r, []float64{0, 0}) {
		t.Errorf("what it was before is not known: %v", r)
	}
	o["old"] = []int64{20, 0}
	o.sample(c, 3)
	if r := o.rates(c, "old"); !slices.Equal(r, []float64{1, -2}) {
		t.Errorf("of what moves: %v", r)
	}
	if r := o.rates(c, "unknown"); !slices.Equal(r, []float64{0, 0}) {
		t.Errorf("of what there is not: %v", r)
	}
	o.sample(c, 4)
	if r := o.rates(c, "old"); !slices.Equal(r, []float64{0, 0}) {
		t.Errorf("of what has stopped: %v", r)
	}
}

func TestClass_Idle(t *testing.T) {
	c, o := NewClass[string](1, step), objects{"a": {1}}
	want := func(when string, n int) {
		t.Helper()
		idle := c.Idle("a")
		if n < 0 && !idle.IsZero() || n >= 0 && !idle.Equal(at(n)) {
			t.Errorf("%s: idle since %v", when, idle)
		}
	}
	want("not seen yet", -1)
	o.sample(c, 0)
	o.sample(c, 1)
	want("since the first sample", 0)
	o["a"] = []int64{2}
	o.sample(c, 2)
	want("it has moved", -1)
	for n := 3; n < 4+Rest; n++ {
		o.sample(c, n)
		want("since it has moved", 2)
	}
	c.remembered["a"].series = nil // as if others had been asked for
	o.sample(c, 4+Rest)
	if len(c.still) != 1 {
		t.Fatal("it is not still")
	}
	want("and once it is still", 2)
	c.Look("a", []Window{{step, step}}, o["a"])
	want("and once it was asked for", 2)
}

func TestClass_ForgetsWhatIsGone(t *testing.T) {
	c, o := NewClass[string](1, step), objects{"still": {1}, "moving": {1}}
	o.sample(c, 0)
	o["moving"] = []int64{2}
	o.sample(c, 1)
	if len(c.still) != 1 || len(c.moving) != 1 || len(c.remembered) != 1 {
		t.Fatalf("%d still, %d move, %d have a history", len(c.still), len(c.moving), len(c.remembered))
	}
	clear(o)
	o["other"] = []int64{1}
	o.sample(c, 2)
	if len(c.still)+len(c.moving) != 1 || c.moving["other"] == nil || len(c.remembered) != 1 {
		t.Errorf("%d still, %d move, %d have a history", len(c.still), len(c.moving), len(c.remembered))
	}
}

// TestClass_HistoriesAreBounded: those that move get one while there is room, and
// then who is asked for in the place of who was not for longest.
func TestClass_HistoriesAreBounded(t *testing.T) {
	const extra = 40
	c, o := NewClass[string](1, step), objects{}
	name := func(i int) string { return fmt.Sprint(i) }
	set := func(v int64) {
		for i := range MaxHistories + extra {
			o[name(i)] = []int64{v}
		}
	}
	set(1)
	o.sample(c, 0)
	set(2)
	o.sample(c, 1)
	if len(c.moving) != MaxHistories+extra || len(c.remembered) != MaxHistories {
		t.Fatalf("%d move, %d have a history", len(c.moving), len(c.remembered))
	}
	for n := 2; n < 3+Rest; n++ {
		o.sample(c, n)
	}
	if len(c.moving) != MaxHistories || len(c.still) != extra {
		t.Fatalf("when all are still, %d move, and %d are still", len(c.moving), len(c.still))
	}
	window := []Window{{time.Minute, step}}
	for i := range MaxHistories + extra {
		c.Look(name(i), window, o[name(i)])
	}
	if len(c.remembered) != MaxHistories || c.remembered[name(0)] != nil || c.remembered[name(MaxHistories+extra-1)] == nil {
		t.Errorf("%d have a history, the first %t, the last %t", len(c.remembered), c.remembered[name(0)] != nil, c.remembered[name(MaxHistories+extra-1)] != nil)
	}
	last := name(MaxHistories + extra - 1)
	o[last] = []int64{12}
	o.sample(c, 3+Rest)
	d := c.Look(last, window, o[last])[0]
	if got := values(d); !slices.Equal(got, []int64{12, 2}) || d.Rate != 2 {
		t.Errorf("since it was asked for: %v, rate %v", got, d.Rate)
	}
}

// benchmarkClass samples 50,000 objects of 12 numbers.
func benchmarkClass(b *testing.B, move int64) {
	b.Helper()
	const n, width = 50_000, 12
	c := NewClass[int](width, step)
	var v [width]int64
	turn := 0
	for b.Loop() {
		turn++
		c.Sample(at(turn), func(note func(int, []int64)) {
			for i := range n {
				v[0] = move * int64(turn)
				note(i, v[:])
			}
		})
	}
}

func BenchmarkSample_Still(b *testing.B)  { benchmarkClass(b, 0) }
func BenchmarkSample_Moving(b *testing.B) { benchmarkClass(b, 1) }
