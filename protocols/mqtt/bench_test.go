package mqtt_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/batonmq/baton/protocols/mqtt"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// source is a connection on which the client says what it is fed, and whose
// answers are counted and dropped.
type source struct {
	net.Conn
	feed    chan []byte
	rest    []byte
	written atomic.Int64
	answer  func(p []byte) // of each write; nil for none

	mu     sync.Mutex
	closed bool
}

func newSource() *source { return &source{feed: make(chan []byte, 16)} }

func (c *source) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		next, ok := <-c.feed
		if !ok {
			return 0, io.EOF
		}
		c.rest = next
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *source) Write(p []byte) (int, error) {
	c.written.Add(int64(len(p)))
	if c.answer != nil {
		c.answer(p)
	}
	return len(p), nil
}

func (c *source) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed = true
		close(c.feed)
	}
}

func (c *source) Close() error                     { return nil }
func (c *source) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "source"} }
func (c *source) SetReadDeadline(time.Time) error  { return nil }
func (c *source) SetWriteDeadline(time.Time) error { return nil }

// start serves a source that has connected, and subscribed if a filter is given.
func (b *bed) start(v wire.Version, id, filter string, qos byte) *source {
	c := newSource()
	subscriptions := b.broker.Stats().Subscriptions
	said := connect(v, id)
	if filter != "" {
		subscriptions++
		said = append(said, subscribePacket(v, 1, "", qos, filter)...)
	}
	c.feed <- said
	b.serving.Go(func() { b.server.Serve(context.Background(), c) })
	for c.written.Load() == 0 || b.broker.Stats().Subscriptions < subscriptions {
		runtime.Gosched()
	}
	b.t.Cleanup(c.end)
	return c
}

// BenchmarkRoute is the broker's work on a message, without system calls: read,
// routed, and delivered to some subscribers.
func BenchmarkRoute(b *testing.B) {
	for _, bb := range []struct {
		name      string
		v         wire.Version
		receivers int
		qos       byte
		props     string
	}{
		{"QoS0/1to1", wire.V311, 1, 0, ""},
		{"QoS0/1to200", wire.V311, 200, 0, ""},
		{"QoS0/5.0/1to1", wire.V5, 1, 0, ""},
		{"QoS0/5.0/1to1/properties", wire.V5, 1, 0, user("unit", "celsius") + str(wire.ContentType, "text/plain")},
		{"QoS0/5.0/1to200/properties", wire.V5, 200, 0, user("unit", "celsius") + str(wire.ContentType, "text/plain")},
	} {
		b.Run(bb.name, func(b *testing.B) {
			bed := newBed(b, func(s *setup) { s.server = mqtt.Options{} })
			receivers := make([]*source, bb.receivers)
			for i := range receivers {
				receivers[i] = bed.start(bb.v, fmt.Sprint("s", i), "dev/4711/#", bb.qos)
			}
			p := bed.start(bb.v, "p", "", 0)
			one := publishPacket(bb.v, bb.qos<<1, "dev/4711/kitchen/temp", "23.5 degrees", 1, bb.props)
			const batch = 100
			var many []byte
			for range batch {
				many = append(many, one...)
			}
			received := func() (n uint64) {
				s := bed.server.Stats()
				return s.Delivered[0] + bed.broker.Stats().Dropped
			}
			b.ReportAllocs()
			b.ResetTimer()
			sent := 0
			for ; sent < b.N; sent += batch {
				p.feed <- many
			}
			for received() < uint64(sent*bb.receivers) {
				time.Sleep(50 * time.Microsecond) // spinning would take the processor that is measured
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(sent*bb.receivers), "ns/delivery")
			b.ReportMetric(float64(bed.broker.Stats().Dropped), "dropped")
			p.end()
			for _, r := range receivers {
				r.end()
			}
		})
	}
}

// TestAllocations: a message costs its own memory and no more, however many
// receive it.
func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool drop buffers at random")
	}
	for _, tt := range []struct {
		name      string
		v         wire.Version
		receivers int
		props     string
		most      float64 // two for the message; six where a section is shared
	}{
		{"3.1.1", wire.V311, 1, "", 2},
		{"3.1.1, many receivers", wire.V311, 50, "", 2},
		{"5.0", wire.V5, 1, "", 2},
		{"5.0, properties", wire.V5, 1, user("unit", "celsius"), 2},
		{"5.0, properties, many receivers", wire.V5, 50, user("unit", "celsius"), 6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBed(t, func(s *setup) { s.server = mqtt.Options{} })
			for i := range tt.receivers {
				b.start(tt.v, fmt.Sprint("s", i), "dev/#", 0)
			}
			p := b.start(tt.v, "p", "", 0)
			const batch = 100
			many := bytes.Repeat(publishPacket(tt.v, 0, "dev/4711/kitchen/temp", "23.5 degrees", 0, tt.props), batch)
			sent := 0
			got := testing.AllocsPerRun(20, func() {
				p.feed <- many
				sent += batch * tt.receivers
				for b.server.Stats().Delivered[0]+b.broker.Stats().Dropped < uint64(sent) {
					runtime.Gosched()
				}
			}) / batch
			if got > tt.most+0.5 { // writers that start, and whatever else the process does
				t.Errorf("%v allocations a message, want %v", got, tt.most)
			}
		})
	}
}
