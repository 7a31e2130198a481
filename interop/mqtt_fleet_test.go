package interop

import (
	"bufio"
	"bytes"
	"context"
	"flag"
	"fmt"
	"math"
	"net"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

var (
	fleetSessions = flag.Int("fleet.sessions", 2000, "persistent sessions of TestFleetThatIsAway; 100000 take some minutes and 4 GB")
	fleetSettle   = flag.Duration("fleet.settle", 0, "how long TestFleetThatIsAway waits before it measures what a publication has left behind")
)

const (
	fleetTopic    = "fleet/all"
	fleetGrowth   = 64 << 20        // of the resident set, for one publication to everybody
	fleetPatience = 2 * time.Second // for its PUBACK
)

// One publication of QoS 1 to a topic that a whole fleet has subscribed to, while all of it is away, is accepted soon, stored once and
// takes little memory. It is durable then: the broker is killed, and all come back and get it.
func TestFleetThatIsAway(t *testing.T) {
	needOwnMQTT(t)
	n := *fleetSessions
	b, log := ownBroker(t)
	start(t, b, log)
	began := time.Now()
	must(t, eachOfFleet(n, func(i int) error { return joinFleet(t.Context(), b, i) }))
	t.Logf("%d sessions made in %v", n, time.Since(began).Round(time.Millisecond))

	p := peer(t, b.MQTTURL(), 5)
	_, err := p.connect("publisher", true)
	must(t, err)
	body := bytes.Repeat([]byte("to all of you. "), 1000)
	before, disk := settle(t, b, footprint{goroutines: math.MaxInt, heap: math.MaxInt}), diskUse(t, b.Dir)
	began = time.Now()
	must(t, p.SetDeadline(began.Add(time.Minute)))
	must(t, p.send(mqttPUBLISH|2, p.publishBody(fleetTopic, 1, body)...))
	_, err = p.expect(mqttPUBACK)
	must(t, err)
	took, after := time.Since(began), residentSet(t, b.PID())
	must(t, pause(t.Context(), *fleetSettle))
	later, peak := residentSet(t, b.PID()), peakResident(t, b.PID())
	grown := diskUse(t, b.Dir) - disk
	t.Logf("PUBACK after %v; resident %.0f MiB, and %+.1f MiB then, %+.1f MiB %v later, %.0f at most; disk %+.1f MiB",
		took, mebi(before.rss), mebi(after-before.rss), mebi(later-before.rss), *fleetSettle, mebi(peak), mebi(int(grown)))
	left := measure(t, b)
	t.Logf("heap in use %.1f MiB, and %+.1f MiB with the message", mebi(before.heap), mebi(left.heap-before.heap))
	if max(after, later)-before.rss > fleetGrowth {
		t.Errorf("%.1f MiB more are resident, want at most %.0f", mebi(max(after, later)-before.rss), mebi(fleetGrowth))
	}
	if took > fleetPatience {
		t.Errorf("PUBACK came after %v, want at most %v", took, fleetPatience)
	}
	if most := int64(8<<20 + 512*n); grown > most { // a segment of the store, and a place for each
		t.Errorf("the message takes %d bytes of disk, want at most %d: is its body stored once?", grown, most)
	}

	must(t, b.Kill())
	began = time.Now()
	start(t, b, log)
	t.Logf("started again in %v", time.Since(began).Round(time.Millisecond))
	began = time.Now()
	must(t, eachOfFleet(n, func(i int) error { return rejoinFleet(t.Context(), b, i, body) }))
	t.Logf("all have it after %v", time.Since(began).Round(time.Millisecond))
}

// eachOfFleet calls f for all devices, some at a time.
func eachOfFleet(n int, f func(i int) error) error {
	var g errgroup.Group
	g.SetLimit(128)
	for i := range n {
		g.Go(func() error {
			if err := f(i); err != nil {
				return fmt.Errorf("device %d: %w", i, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// fleetDevice connects a device with its session. Each has an address of its own where the system lets it: one has not ports enough.
func fleetDevice(ctx context.Context, b *Broker, i int) (p *mqttPeer, present bool, err error) {
	d := net.Dialer{Timeout: patience}
	if runtime.GOOS == "linux" {
		d.LocalAddr = &net.TCPAddr{IP: net.IPv4(127, 1+byte(i>>16), byte(i>>8), byte(i))}
	}
	nc, err := d.DialContext(ctx, "tcp", b.MQTT)
	if err != nil {
		return nil, false, err
	}
	if err := nc.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, false, err
	}
	p = &mqttPeer{Conn: nc, in: bufio.NewReaderSize(nc, 512), version: 5}
	present, err = p.connect(fmt.Sprint("device-", i), false)
	return p, present, err
}

// joinFleet makes a device's session.
func joinFleet(ctx context.Context, b *Broker, i int) error {
	p, _, err := fleetDevice(ctx, b, i)
	if err != nil {
		return err
	}
	defer p.Close() // it says goodbye before
	if err := p.subscribe(fleetTopic, 1); err != nil {
		return err
	}
	return p.send(mqttDISCONNECT, 0)
}

// rejoinFleet has a device come back and receive what waits for it: one message.
func rejoinFleet(ctx context.Context, b *Broker, i int, body []byte) error {
	p, present, err := fleetDevice(ctx, b, i)
	if err != nil {
		return err
	}
	defer p.Close() // it says goodbye before
	if !present {
		return fmt.Errorf("%w: its session is gone", errProtocol)
	}
	m, err := p.next()
	if err != nil {
		return err
	}
	if m.head&^8 != mqttPUBLISH|2 || !bytes.HasSuffix(m.body, body) { // with DUP: the broker has died, and cannot know
		return fmt.Errorf("%w: packet %x of %d bytes", errProtocol, m.head, len(m.body))
	}
	id := m.body[2+len(fleetTopic):]
	if err := p.send(mqttPUBACK, id[0], id[1]); err != nil {
		return err
	}
	return p.send(mqttDISCONNECT, 0)
}
