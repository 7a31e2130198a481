package main

import (
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// A heap is memory whose garbage goes with a collection.
type heap struct {
	live, garbage atomic.Int64
	took          atomic.Int64 // of a collection, a time.Duration
	collections   atomic.Int64
}

const (
	testLimit = 1000
	testMark  = 600
)

// watching runs the script beside a watch of the heap, from a moment that is not one of those at which it looks.
func watching(t *testing.T, script func(h *heap, w *memoryWatch, heard func() string, log *strings.Builder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		h, log, begun := new(heap), new(strings.Builder), time.Now()
		w := &memoryWatch{
			limit: testLimit, log: slog.New(slog.NewTextHandler(log, nil)),
			measure: func() int64 { return h.live.Load() + h.garbage.Load() },
			collect: func() {
				time.Sleep(time.Duration(h.took.Load()))
				h.garbage.Store(0)
				h.collections.Add(1)
			},
		}
		w.configured.Store(testMark)
		w.ordered.Store(-1)
		told := make(chan string, 10)
		stop := w.start(func(on bool) { told <- fmt.Sprintf("%v %t", time.Since(begun), on) })
		time.Sleep(memoryPoll / 2)
		script(h, w, func() string {
			synctest.Wait()
			var all []string
			for len(told) > 0 {
				all = append(all, <-told)
			}
			return strings.Join(all, ", ")
		}, log)
		stop()
		if w.alarm.Load() {
			t.Error("the alarm outlives the watch")
		}
	})
}

func TestMemoryWatch_RaisesAboveTheWatermarkAndClearsBelowNineTenths(t *testing.T) {
	watching(t, func(h *heap, w *memoryWatch, heard func() string, log *strings.Builder) {
		h.live.Store(testMark)
		time.Sleep(time.Minute)
		if got := heard(); got != "" {
			t.Errorf("at the watermark: %s", got)
		}
		h.live.Add(1)
		time.Sleep(memoryPoll)
		if got, want := heard(), "1m0.25s true"; got != want || !w.alarm.Load() || w.used.Load() != testMark+1 {
			t.Errorf("above it: %q, want %q; used %d", got, want, w.used.Load())
		}
		h.live.Store(testMark/10*9 + 1)
		time.Sleep(time.Minute)
		if got := heard(); got != "" {
			t.Errorf("a little below it: %s", got)
		}
		h.live.Add(-1)
		time.Sleep(memoryPoll)
		if got, want := heard(), "2m0.5s false"; got != want || w.alarm.Load() {
			t.Errorf("at nine tenths: %q, want %q", got, want)
		}
		if text := log.String(); strings.Count(text, "\n") != 2 ||
			!strings.Contains(text, `level=WARN msg="memory alarm: publishers wait until memory is free, consumers go on" used=601 watermark=600`) ||
			!strings.Contains(text, `level=INFO msg="memory alarm cleared: publishers go on" used=540 watermark=600`) {
			t.Errorf("logged:\n%s", text)
		}
	})
}

func TestMemoryWatch_GarbageDoesNotCount(t *testing.T) {
	watching(t, func(h *heap, _ *memoryWatch, heard func() string, _ *strings.Builder) {
		h.live.Store(testMark - 50)
		for range 20 { // it comes back between collections
			h.garbage.Store(100)
			time.Sleep(time.Second)
		}
		if got := heard(); got != "" {
			t.Errorf("told %s", got)
		}
		if n := h.collections.Load(); n < 5 || n > 8 {
			t.Errorf("%d collections in 20 s", n)
		}
	})
}

func TestMemoryWatch_DoesNotWaitForACollectionNearTheLimit(t *testing.T) {
	watching(t, func(h *heap, _ *memoryWatch, heard func() string, _ *strings.Builder) {
		h.live.Store(testMark - 100)
		h.garbage.Store(101)
		time.Sleep(memoryPoll) // a collection, and none for a while after it
		h.garbage.Store((testMark+testLimit)/2 - h.live.Load())
		time.Sleep(memoryPoll)
		if got := heard(); got != "" {
			t.Errorf("half way to the limit: %s", got)
		}
		h.garbage.Add(1)
		time.Sleep(memoryPoll)
		if got, want := heard(), "750ms true"; got != want {
			t.Errorf("beyond that: %q, want %q", got, want)
		}
		time.Sleep(5 * time.Second) // then it shows what it was
		if got, want := heard(), "3.25s false"; got != want {
			t.Errorf("after the next collection: %q, want %q", got, want)
		}
	})
}

// While the alarm holds hardly anything is allocated, so that no collection comes about by itself.
func TestMemoryWatch_ClearsByItselfWhenWhatWasHeldIsGarbage(t *testing.T) {
	watching(t, func(h *heap, _ *memoryWatch, heard func() string, _ *strings.Builder) {
		h.live.Store(testMark + 100)
		time.Sleep(memoryPoll)
		h.live.Store(100)
		h.garbage.Store(testMark)
		time.Sleep(collectEvery + memoryPoll)
		if got, want := heard(), "250ms true, 3.25s false"; got != want {
			t.Errorf("told %q, want %q", got, want)
		}
	})
}

func TestMemoryWatch_CollectionsTakeATwentiethOfTheTime(t *testing.T) {
	watching(t, func(h *heap, _ *memoryWatch, _ func() string, _ *strings.Builder) {
		h.live.Store(testMark + 1)
		h.took.Store(int64(time.Second))
		time.Sleep(10 * time.Minute)
		if n := h.collections.Load(); n < 20 || n > 30 {
			t.Errorf("%d collections of a second in ten minutes", n)
		}
	})
}

func TestMemoryWatch_AnotherWatermarkHoldsUntilItIsTakenBack(t *testing.T) {
	watching(t, func(h *heap, w *memoryWatch, heard func() string, _ *strings.Builder) {
		h.live.Store(100)
		for _, step := range []struct {
			order int64
			want  string
		}{
			{50, "125ms true"},
			{-7, "375ms false"},
			{0, "625ms true"},
			{-1, "875ms false"},
		} {
			if err := w.order(step.order); err != nil {
				t.Fatal(err)
			}
			if got := heard(); got != step.want {
				t.Errorf("with %d: %q, want %q", step.order, got, step.want)
			}
			time.Sleep(memoryPoll)
			if got := heard(); got != "" {
				t.Errorf("after %d: %q", step.order, got)
			}
		}
	})
}

func TestMemoryWatch_EndsAnAlarmWhenTheWatermarkIsTakenAway(t *testing.T) {
	watching(t, func(h *heap, w *memoryWatch, heard func() string, _ *strings.Builder) {
		synctest.Wait() // for the first look
		w.configured.Store(0)
		h.live.Store(testLimit)
		for _, order := range []int64{testMark, -1} {
			if err := w.order(order); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(time.Minute)
		if got, want := heard(), "125ms true, 125ms false"; got != want || w.used.Load() != testLimit {
			t.Errorf("told %q, want %q; used %d", got, want, w.used.Load())
		}
	})
}

// What is measured follows what is held. Only the order of magnitude is certain.
func TestMemoryInUse(t *testing.T) {
	const size = 256 << 20
	before := memoryInUse()
	held := make([]byte, size)
	for i := 0; i < size; i += 4096 {
		held[i] = 255 // or the system gives no page to it
	}
	with := memoryInUse()
	if grown := with - before; before <= 0 || grown < size/2 || grown > 4*size { // the race detector keeps notes
		t.Errorf("%d before, %d with %d more", before, with, size)
	}
	if !slices.Contains(held, 255) {
		t.Error("the bytes are gone")
	}
}

func TestNewMemoryWatch_TakesTheSettings(t *testing.T) {
	t.Setenv("GOMEMLIMIT", "off") // the test's own heap is left alone
	log := slog.New(slog.DiscardHandler)
	for _, tt := range []struct {
		limit     int64
		watermark amount
		want      int64
	}{
		{1 << 30, amount{percent: 60}, 1 << 30 / 100 * 60},
		{1 << 30, amount{bytes: 100 << 20}, 100 << 20},
	} {
		c := new(Config)
		c.Memory.Limit, c.Memory.Watermark = tt.limit, tt.watermark
		if w := newMemoryWatch(c, log); w.watermark() != tt.want || w.limit != tt.limit {
			t.Errorf("%+v: watermark %d of %d", tt, w.watermark(), w.limit)
		}
	}
}

func TestHeapLimit(t *testing.T) {
	for _, tt := range []struct {
		name               string
		mark, lives, limit int64
	}{
		{"no watermark", 0, 500, 900},
		{"little lives: below the watermark", testMark, 100, 540},
		{"as much as leaves room to collect", testMark, 360, 540},
		{"more: half as much again", testMark, 400, 600},
		{"so much that only the limit counts", testMark, 700, 900},
		{"a watermark of nothing", 1, 100, 150},
		{"above the limit", 2 * testLimit, 100, 900},
	} {
		if got := heapLimit(testLimit, tt.mark, tt.lives); got != tt.limit {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.limit)
		}
	}
}

func TestHeapBound_IsSetWhenItChangesByMoreThanALittle(t *testing.T) {
	var lives int64
	var set []int64
	h := &heapBound{limit: testLimit, lives: func() int64 { return lives }, set: func(n int64) int64 { set = append(set, n); return 0 }}
	for _, lives = range []int64{100, 200, 365, 400, 405, 300} {
		h.keep(testMark)
	}
	if want := []int64{540, 600, 540}; !slices.Equal(set, want) {
		t.Errorf("set to %v, want %v", set, want)
	}
}

// What lives follows what is held, and not what was.
func TestMemoryLiving(t *testing.T) {
	const size = 64 << 20
	runtime.GC()
	before := memoryLiving()
	held := make([]byte, size)
	runtime.GC()
	with := memoryLiving()
	runtime.KeepAlive(held)
	runtime.GC()
	after := memoryLiving()
	if before <= 0 || with-before < size/2 || after-before > size/2 {
		t.Errorf("%d before, %d with %d more, %d after it", before, with, size, after)
	}
}
