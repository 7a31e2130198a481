package wire_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// wholeFrames are messages as a publisher sends them, each with the frames it takes.
func wholeFrames(tb testing.TB, body []byte) (frames []byte, parts [3][]byte) {
	tb.Helper()
	m := &wire.BasicPublish{Exchange: "e", RoutingKey: "k.1", Mandatory: true}
	frames, err := wire.AppendPublish(nil, 7, m, wire.Content{Properties: usualProperties, Body: body}, wire.MinFrameMax)
	if err != nil {
		tb.Fatal(err)
	}
	rest := frames
	for i := 0; len(rest) > 0; i++ {
		n := wire.FrameSize(rest)
		parts[i], rest = rest[:n], rest[n:]
	}
	return frames, parts
}

func TestParseWholeTakesAMessage(t *testing.T) {
	for _, body := range [][]byte{nil, []byte("x"), bytes.Repeat([]byte("0123456789abcdef"), 200)} {
		frames, _ := wholeFrames(t, body)
		stream := slices.Concat(frames, []byte("what follows"))
		var w wire.Whole
		n := wire.ParseWhole(&w, stream, wire.MinFrameMax)
		if n != len(frames) {
			t.Fatalf("body of %d: ParseWhole = %d, want %d", len(body), n, len(frames))
		}
		if w.Channel != 7 || string(w.Exchange) != "e" || string(w.RoutingKey) != "k.1" || !w.Mandatory ||
			!bytes.Equal(w.Properties, usualProperties) || !bytes.Equal(w.Body, body) {
			t.Errorf("body of %d: ParseWhole made %+v of it", len(body), w)
		}
		properties, copied := w.Clone()
		clear(stream)
		if !bytes.Equal(properties, usualProperties) || !bytes.Equal(copied, body) {
			t.Errorf("body of %d: Clone = % x and %q", len(body), properties, copied)
		}
		if _ = append(properties, '!'); !bytes.Equal(copied, body) {
			t.Errorf("body of %d: properties can grow into the body", len(body))
		}
	}
}

// TestParseWholeLeavesTheRest: what is not as usual is for those to take who say what
// is wrong with it.
func TestParseWholeLeavesTheRest(t *testing.T) {
	frames, parts := wholeFrames(t, []byte("body"))
	change := func(at int, b byte) []byte {
		changed := slices.Clone(frames)
		changed[at] = b
		return changed
	}
	method, header := len(parts[0]), len(parts[0])+len(parts[1])
	for name, stream := range map[string][]byte{
		"nothing":                    nil,
		"another method first":       wire.AppendAck(nil, 7, 1, false),
		"heartbeat in between":       slices.Concat(parts[0], wire.AppendHeartbeat(nil), parts[1], parts[2]),
		"header on another channel":  change(method+2, 8),
		"body on another channel":    change(header+2, 8),
		"end of the method frame":    change(method-1, 0),
		"end of the header frame":    change(header-1, 0),
		"end of the body frame":      change(len(frames)-1, 0),
		"immediate":                  change(method-2, 2),
		"another class":              change(method+8, 61),
		"weight":                     change(method+10, 1),
		"body longer than announced": change(method+18, 3),
		"body in several frames":     change(method+18, 5),
		"method twice":               slices.Concat(parts[0], parts[0], parts[1], parts[2]),
		"body twice":                 slices.Concat(parts[0], parts[2], parts[2]),
	} {
		var w wire.Whole
		if n := wire.ParseWhole(&w, stream, wire.MinFrameMax); n != 0 {
			t.Errorf("%s: ParseWhole = %d, want 0", name, n)
		}
	}
	for cut := range frames {
		var w wire.Whole
		if n := wire.ParseWhole(&w, frames[:cut], wire.MinFrameMax); n != 0 {
			t.Errorf("the first %d of %d bytes: ParseWhole = %d, want 0", cut, len(frames), n)
		}
	}
	long, _ := wholeFrames(t, make([]byte, wire.MinFrameMax-wire.FrameOverhead))
	var w wire.Whole
	if n := wire.ParseWhole(&w, long, wire.MinFrameMax-1); n != 0 {
		t.Errorf("a frame above the limit: ParseWhole = %d, want 0", n)
	}
}

// FuzzParseWhole: what is taken as a whole is what its frames say.
func FuzzParseWhole(f *testing.F) {
	frames, parts := wholeFrames(f, []byte("body"))
	f.Add(frames)
	f.Add(slices.Concat(parts[0], parts[1]))
	empty, _ := wholeFrames(f, nil)
	f.Add(empty)
	f.Fuzz(func(t *testing.T, b []byte) {
		var w wire.Whole
		n := wire.ParseWhole(&w, b, wire.MinFrameMax)
		if n == 0 {
			return
		}
		var took int
		next := func(want wire.FrameType) []byte {
			frame, n, err := wire.ParseFrame(b[took:], wire.MinFrameMax)
			if err != nil || n == 0 || frame.Type != want || frame.Channel != w.Channel {
				t.Fatalf("frame at %d is %+v, %v", took, frame, err)
			}
			took += n
			return frame.Payload
		}
		id, args, err := wire.ParseMethod(next(wire.FrameMethod))
		if err != nil || id != wire.BasicPublishID {
			t.Fatalf("method %v, %v", id, err)
		}
		m, err := wire.ParsePublish(args)
		if err != nil || m.Immediate || string(m.Exchange) != string(w.Exchange) || string(m.RoutingKey) != string(w.RoutingKey) || m.Mandatory != w.Mandatory {
			t.Fatalf("%+v of %+v, %v", w.Publish, m, err)
		}
		h, err := wire.ParseContentHeader(next(wire.FrameHeader))
		if err != nil || h.Class != wire.ClassBasic || h.BodySize != uint64(len(w.Body)) || !bytes.Equal(h.Properties, w.Properties) {
			t.Fatalf("%+v of %+v, %v", w, h, err)
		}
		if h.BodySize > 0 && !bytes.Equal(next(wire.FrameBody), w.Body) {
			t.Fatal("another body")
		}
		properties, body := w.Clone()
		if took != n || !bytes.Equal(properties, w.Properties) || !bytes.Equal(body, w.Body) {
			t.Fatalf("took %d of %d; copied % x and % x of %+v", n, took, properties, body, w)
		}
	})
}

// BenchmarkParseWhole is BenchmarkReadMessage in one step, with what is kept of it.
func BenchmarkParseWhole(b *testing.B) {
	frames, _ := wholeFrames(b, make([]byte, 12))
	var w wire.Whole
	b.ReportAllocs()
	for b.Loop() {
		if wire.ParseWhole(&w, frames, 131072) == 0 {
			b.Fatal("not taken")
		}
	}
}
