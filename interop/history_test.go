package interop

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
)

// parseHistory reads "start p1 c1 d1 a1 ok1 r1": published, confirmed, delivered,
// acked, passed, and delivered with redelivered set.
func parseHistory(t *testing.T, script string) History {
	t.Helper()
	kinds := map[string]Event{
		"p": {Kind: Published}, "c": {Kind: Confirmed}, "d": {Kind: Delivered},
		"r": {Kind: Delivered, Redelivered: true}, "a": {Kind: Acked}, "ok": {Kind: Passed},
	}
	var h History
	for word := range strings.FieldsSeq(script) {
		if word == "start" {
			h = append(h, Event{Kind: Started})
			continue
		}
		kind := strings.TrimRight(word, "0123456789")
		e, known := kinds[kind]
		n, err := strconv.Atoi(word[len(kind):])
		if !known || err != nil {
			t.Fatalf("bad word %q in %q", word, script)
		}
		e.Message = n
		h = append(h, e)
	}
	return h
}

func TestCheckAcceptsWhatAnHonestBrokerMayDo(t *testing.T) {
	for name, script := range map[string]string{
		"nothing happens":                        "start",
		"one message":                            "start p1 c1 d1 a1 ok1",
		"delivered before it is confirmed":       "start p1 d1 c1 a1 ok1",
		"unconfirmed and lost in a crash":        "start p1 p2 c1 d1 a1 start",
		"unconfirmed and yet delivered":          "start p1 start d1 a1 ok1",
		"delivered, not acked, comes back":       "start p1 c1 d1 start r1 a1 ok1",
		"acked, not passed, comes back":          "start p1 c1 d1 a1 start r1 a1 ok1",
		"comes back in every life":               "start p1 c1 d1 start r1 start r1 a1 ok1",
		"marked though never seen before":        "start p1 c1 start r1 a1 ok1",
		"old ones come back before new ones":     "start p1 p2 p3 c1 c2 c3 d1 d2 a1 ok1 start r2 d3",
		"a gap where an unconfirmed one was":     "start p1 p2 c1 d1 start p3 c3 r1 d3",
		"confirmed after it was acked":           "start p1 d1 a1 c1 ok1",
		"an unconfirmed one delivered and again": "start p1 d1 start r1",
	} {
		if v := parseHistory(t, script).Check(); len(v) != 0 {
			t.Errorf("%s: %q is refused: %v", name, script, v)
		}
	}
}

func TestCheckFindsEachBrokenPromise(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"loss", "start p1 c1 start", "message 1 was confirmed and never delivered"},
		{"loss of one among others", "start p1 p2 p3 c1 c2 c3 d1 d3", "message 2 was confirmed and never delivered"},
		{"order", "start p1 p2 c1 c2 d2 d1", "message 1 was delivered for the first time after message 2"},
		{"order after a crash", "start p1 p2 p3 c1 c2 c3 d1 a1 start d3 d2", "message 2 was delivered for the first time after message 3"},
		{"unmarked repetition", "start p1 c1 d1 start d1", "message 1 was delivered again without redelivered"},
		{"unmarked repetition, acked", "start p1 c1 d1 a1 start d1", "message 1 was delivered again without redelivered"},
		{"twice in a life", "start p1 c1 d1 r1", "message 1 was delivered twice in one life"},
		{"resurrection", "start p1 c1 d1 a1 ok1 start r1", "message 1 came back though its acknowledgement had passed"},
		{"resurrection two lives later", "start p1 c1 d1 a1 ok1 start start r1", "message 1 came back though its acknowledgement had passed"},
		{"invention", "start d7", "message 7 was delivered and never published"},
	} {
		v := parseHistory(t, tt.script).Check()
		if len(v) != 1 || !strings.HasSuffix(v[0], tt.want) {
			t.Errorf("%s: %q gives %q, want one that says %q", tt.name, tt.script, v, tt.want)
		}
	}
}

func TestRecorderCallsOnceAtItsLength(t *testing.T) {
	var (
		r     Recorder
		calls []string
	)
	for i := range 3 {
		r.At(len(r.Snapshot())+2, func() { calls = append(calls, fmt.Sprint(i, " at ", len(r.Snapshot()))) })
		for m := range 5 {
			r.Add(Event{Kind: Published, Message: m})
		}
	}
	if got, want := strings.Join(calls, ", "), "0 at 2, 1 at 7, 2 at 12"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// A test that watches a log must see the line also when it comes in two pieces.
func TestLineWatchSeesASplitLine(t *testing.T) {
	whole := "level=INFO msg=\"" + readyLine + "\"\n"
	for cut := range len(whole) {
		var log strings.Builder
		w := &lineWatch{dst: &log, want: []byte(readyLine), seen: make(chan struct{})}
		for _, part := range []string{whole[:cut], whole[cut:]} {
			if _, err := w.Write([]byte(part)); err != nil {
				t.Fatal(err)
			}
		}
		select {
		case <-w.seen:
		default:
			t.Errorf("not seen when cut at %d", cut)
		}
		if log.String() != whole {
			t.Errorf("cut at %d: passed on %q", cut, log.String())
		}
	}
}
