package bench

import (
	"bytes"
	"errors"
	"io"
	"math"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

func (c *rawConsumer) closeWrite(t *testing.T) {
	t.Helper()
	if err := c.Conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
}

// The library is the reference for what a publish looks like on the wire.
func TestPreEncodedPublishEqualsTheLibrarys(t *testing.T) {
	for _, tt := range []struct {
		name       string
		size       int
		persistent bool
	}{
		{"12 B transient", 12, false},
		{"1 KiB persistent", 1024, true},
		{"exactly one body frame", maxFrame - frameOverhead, true},
		{"one byte more", maxFrame - frameOverhead + 1, true},
		{"several body frames", 3 * maxFrame, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := startFake(t)
			m := message{keys: []string{"some.queue"}, body: randomBody(tt.size), persistent: tt.persistent}
			p, err := libraryClient{url: b.url}.producer(t.Context(), m, confirmEach)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.roundTrip(); err != nil {
				t.Fatal(err)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			b.mu.Lock()
			defer b.mu.Unlock()
			if got := appendMessage(nil, rawChannel, m, m.keys[0], maxFrame); !bytes.Equal(got, b.wire) {
				t.Errorf("%d bytes, the library wrote %d:\n%x\n%x", len(got), len(b.wire), clip(got), clip(b.wire))
			}
		})
	}
}

func clip(b []byte) []byte { return b[:min(len(b), 120)] }

func TestAckFrameEqualsTheGenericEncoding(t *testing.T) {
	for _, multiple := range []bool{false, true} {
		args := []byte{1, 2, 3, 4, 5, 6, 7, 8, 0}
		if multiple {
			args[8] = 1
		}
		want := appendMethod(nil, 7, basicAck, args)
		if got := appendAck(nil, 7, 0x0102030405060708, multiple); !bytes.Equal(got, want) {
			t.Errorf("multiple %v: %x, want %x", multiple, got, want)
		}
	}
}

func TestFrameReaderCutsAnySplitAlike(t *testing.T) {
	m := message{exchange: "x", body: randomBody(300), persistent: true}
	stream := appendMessage(appendMessage(nil, 1, m, "q", maxFrame), 2, m, "r", maxFrame)
	for name, src := range map[string]io.Reader{
		"whole":      bytes.NewReader(stream),
		"one byte":   iotest.OneByteReader(bytes.NewReader(stream)),
		"half reads": iotest.HalfReader(bytes.NewReader(stream)),
	} {
		var again []byte
		r := newFrameReader(src, readBuffer)
		for {
			fr, err := r.next()
			if err != nil {
				if !errors.Is(err, io.EOF) {
					t.Errorf("%s: %v", name, err)
				}
				break
			}
			again = appendFrame(again, fr.typ, fr.channel, fr.payload)
		}
		if !bytes.Equal(again, stream) {
			t.Errorf("%s: frames read differ from those written", name)
		}
	}
}

func TestFrameReaderRefuses(t *testing.T) {
	wrongEnd := appendFrame(nil, frameBody, 1, []byte("x"))
	wrongEnd[len(wrongEnd)-1] = 0
	for _, tt := range []struct {
		name, want string
		stream     []byte
	}{
		{"a wrong frame end", "ends with", wrongEnd},
		{"a frame that cannot fit", "larger than", []byte{3, 0, 1, 0xff, 0xff, 0xff, 0xff}},
	} {
		if _, err := newFrameReader(bytes.NewReader(tt.stream), readBuffer).next(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one that says %q", tt.name, err, tt.want)
		}
	}
}

func TestConfirmsCountEachMessageOnce(t *testing.T) {
	ack := func(tag uint64, multiple bool) frame {
		return frame{typ: frameMethod, payload: appendAck(nil, 1, tag, multiple)[frameHeaderSize : frameHeaderSize+13]}
	}
	for _, tt := range []struct {
		name   string
		frames []frame
		want   int
	}{
		{"singles", []frame{ack(1, false), ack(2, false)}, 2},
		{"a multiple", []frame{ack(7, true)}, 7},
		{"singles, then a multiple over them", []frame{ack(1, false), ack(2, false), ack(5, true)}, 5},
		{"a multiple twice", []frame{ack(5, true), ack(5, true)}, 5},
		{"a later single before the multiple", []frame{ack(5, false), ack(4, true), ack(9, true)}, 9},
	} {
		p, got := &rawProducer{}, 0
		for _, fr := range tt.frames {
			n, err := p.confirm(fr)
			if err != nil {
				t.Fatal(err)
			}
			got += n
		}
		if got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestFlowKeepsItsBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlow(bounds{window: 100, backlog: 200, total: 1000})
		if n := f.reserve(500); n != 100 {
			t.Errorf("%d, want the window's 100", n)
		}
		got := make(chan int, 1)
		reserve := func() { got <- f.reserve(500) }
		waits := func(why string) {
			t.Helper()
			synctest.Wait()
			if len(got) != 0 {
				t.Errorf("%s: the producer did not wait", why)
			}
		}
		go reserve()
		waits("window full")
		f.confirmed(9)
		waits("less than a tenth free")
		f.confirmed(1)
		if n := <-got; n != 10 {
			t.Errorf("%d, want the 10 that were confirmed", n)
		}
		f.confirmed(100)
		if n := f.reserve(500); n != 90 {
			t.Errorf("%d, want the 90 that the backlog leaves", n)
		}
		go reserve()
		waits("backlog full")
		f.close()
		if n := <-got; n != 0 {
			t.Errorf("%d after close, want 0", n)
		}
	})
}

// Several producers share what room there is, those first that waited longest, and none
// is forgotten.
func TestFlowGrantsToSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFlow(bounds{window: 100, total: 1000})
		if n := f.reserve(100); n != 100 {
			t.Fatalf("%d, want the window's 100", n)
		}
		got := make(chan int, 4)
		for range 4 {
			go func() { got <- f.reserve(20) }()
			synctest.Wait()
		}
		f.confirmed(50)
		synctest.Wait()
		sum := 0
		for range 3 {
			sum += <-got
		}
		if len(got) != 0 || sum != 50 {
			t.Errorf("%d were granted, and %d more producers went on; want 50 to three", sum, len(got))
		}
		f.confirmed(10)
		if n := <-got; n != 10 {
			t.Errorf("%d, want the 10 that were confirmed", n)
		}
	})
}

func TestFlowReachesWhatItIsFor(t *testing.T) {
	f := newFlow(bounds{total: 10, until: func(c counts) bool { return c.delivered >= 3 }})
	f.reserve(10)
	f.delivered(2)
	select {
	case <-f.reached:
		t.Fatal("reached after 2 of 3")
	default:
	}
	f.delivered(2)
	f.delivered(1)
	<-f.reached
}

func TestFlowStopsAtItsTotal(t *testing.T) {
	f := newFlow(bounds{total: 30})
	if n := f.reserve(20); n != 20 {
		t.Fatalf("%d, want 20", n)
	}
	if n := f.reserve(20); n != 10 {
		t.Fatalf("%d, want the last 10", n)
	}
	if n := f.reserve(20); n != 0 {
		t.Fatalf("%d beyond the total, want 0", n)
	}
	<-f.spent
}

func TestParseStat(t *testing.T) {
	// A command may hold spaces and parentheses; utime 1234, stime 66, rss 3000 pages.
	const text = "4711 (1_sched (x) y) S 1 4711 4711 0 -1 4194560 900 0 3 0 1234 66 5 5 20 0 31 0 8812 2300000 3000 184 1 1 0 0 0 0 0"
	got, err := parseStat(text, 4096)
	if err != nil {
		t.Fatal(err)
	}
	if want := (procStat{parent: 1, cpu: 13 * time.Second, ended: 100 * time.Millisecond, rss: 3000 * 4096}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	for _, bad := range []string{"", "4711 no command", "4711 (x) S 1 2", strings.Replace(text, "1234", "x", 1)} {
		if s, err := parseStat(bad, 4096); err == nil {
			t.Errorf("%q was read as %+v", bad, s)
		}
	}
}

func TestParseBusyLeavesIdleOut(t *testing.T) {
	got, err := parseBusy("cpu  100 1 20 99999 88888 3 4 72 50 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n")
	if err != nil || got != 2*time.Second {
		t.Errorf("%v, %v; want 2s", got, err)
	}
	for _, bad := range []string{"", "cpu 1 2", "intr 1 2 3 4 5 6 7 8 9"} {
		if d, err := parseBusy(bad); err == nil {
			t.Errorf("%q was read as %v", bad, d)
		}
	}
}

func TestAFamilyIsAProcessAndItsDescendants(t *testing.T) {
	parents := map[int]int{1: 0, 10: 1, 11: 10, 12: 10, 13: 12, 20: 1, 21: 20}
	got := members(10, parents)
	slices.Sort(got)
	if want := []int{10, 11, 12, 13}; !slices.Equal(got, want) {
		t.Errorf("%d, want %d", got, want)
	}
}

func TestParseWritten(t *testing.T) {
	if got := parseWritten("rchar: 1\nread_bytes: 2\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n"); got == nil || *got != 4096 {
		t.Errorf("%v, want 4096", got)
	}
	if got := parseWritten("rchar: 1\n"); got != nil {
		t.Errorf("%d without such a line", *got)
	}
}

func TestLatenciesKeepThreeDigits(t *testing.T) {
	l := newLatencies()
	if l.quantile(50) != nil {
		t.Error("a quantile of nothing")
	}
	for i := 1; i <= 100; i++ {
		l.record(time.Duration(i) * time.Millisecond)
	}
	l.record(time.Hour) // counts as the longest there is
	for percent, want := range map[float64]float64{50: 51e3, 99: 100e3, 100: float64(longestLatency.Microseconds())} {
		if got := *l.quantile(percent); math.Abs(got-want) > want/1000 {
			t.Errorf("%v %%: %v µs, want %v", percent, got, want)
		}
	}
}

func TestMedianIsOfEachFigureByItself(t *testing.T) {
	v := func(f float64) *float64 { return &f }
	got := medianFigures([]Figures{
		{Rate: 10, BrokerCPU: v(3)}, {Rate: 30, BrokerCPU: v(1)}, {Rate: 20, BrokerCPU: v(2), P50: v(9)},
	})
	if want := (Figures{Rate: 20, BrokerCPU: v(2), P50: v(9)}); !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if m := median([]float64{4, 1}); *m != 2.5 {
		t.Errorf("median of two: %v, want their mean", *m)
	}
}

func TestTable(t *testing.T) {
	v := func(f float64) *float64 { return &f }
	r := Report{
		Broker: "Fake 1", Copyright: "The authors", Client: "AMQP 0-9-1 (raw)", CPUs: 2, Duration: 3, Runs: 3,
		Notes: []string{"broker CPU was not measured"},
		Rows: []Row{
			{ID: "a1-12", Scenario: "transient", Size: 12, Median: Figures{Rate: 1234567, BrokerCPU: v(1.384), PeakRSS: v(29.84), OtherLoad: v(0.25)}},
			{ID: "a4-1", Scenario: "latency", Size: 1024, Median: Figures{Rate: 2391.4, P50: v(375.2), P99: v(16234), Bare: v(300)}},
		},
	}
	r.annotate()
	want := strings.TrimPrefix(`
broker says Fake 1 (The authors); AMQP 0-9-1 (raw), 2 CPUs, median of 3 × 3s

       load       size   per s  broker µs  generator µs  RSS MB  disk B  p50 µs  p99 µs  others
a1-12  transient  12 B   1.23M  1.38       -             29.8    -       -       -       25%
a4-1   latency    1 KiB  2391   -          -             -       -       375     16.2k   -

note: broker CPU was not measured

note: a1-12: other processes had 25% of the CPUs; rate, latency and CPU are those of a busy machine

note: a4-1: append, sync and read of bare files took 300 µs (p50) just before and after
`, "\n")
	var got bytes.Buffer
	if err := r.WriteTable(&got); err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

func TestSelectRows(t *testing.T) {
	for list, want := range map[string]string{
		"a1":             "a1-12 a1-1k",
		"a1-12":          "a1-12",
		"a2, a4-50":      "a2-written a2-elided a2-each a4-50",
		"a5-drain":       "a5",
		"m4,m4-qos1":     "m4-qos0 m4-qos1 m4-session",
		"x1,m8":          "m8 x1",
		"a1-12,nonsense": "",
		"":               "",
		"a":              "",
		"amqp,a1-12":     "a1-12 a1-1k a2-written a2-elided a2-each a3-written a3-elided a4-1 a4-50 a5 a6 a7",
		"mqtt":           "m1 m2-clean m2-session m3-clean m3-session m4-qos0 m4-qos1 m4-session m5 m6 m7 m8",
	} {
		o := defaultOptions()
		o.Rows = list
		rows, err := selectRows(o)
		var got []string
		for _, w := range rows {
			got = append(got, w.name)
		}
		if (err != nil) != (want == "") || strings.Join(got, " ") != want {
			t.Errorf("%q: %v, error %v; want %s", list, got, err, want)
		}
	}
}

func TestNamesOfRowsAreTheirOwn(t *testing.T) {
	seen := make(map[string]bool)
	for _, w := range allRows(defaultOptions()) {
		for _, l := range w.lines {
			if seen[l.name] || l.about == "" {
				t.Errorf("two lines are called %s, or it says nothing of itself", l.name)
			}
			seen[l.name] = true
		}
	}
}

func TestOptionsOutOfBoundsAreRefused(t *testing.T) {
	good := defaultOptions()
	if err := good.validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Options){
		"size": func(o *Options) { o.Size = -1 }, "duration": func(o *Options) { o.Duration = time.Hour },
		"runs": func(o *Options) { o.Runs = 0 }, "max-messages": func(o *Options) { o.MaxMessages = 0 },
		"backlog": func(o *Options) { o.Backlog = 0 }, "offline": func(o *Options) { o.Offline = -1 },
		"bindings": func(o *Options) { o.Bindings = 0 }, "rate": func(o *Options) { o.PerSecond = 0 },
		"connections": func(o *Options) { o.Connections = 0 },
	} {
		o := good
		change(&o)
		if err := o.validate(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
