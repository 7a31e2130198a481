package interop

import (
	"flag"
	"fmt"
	"math"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"
)

var idleConnections = flag.Int("mqtt.idle", 2000, "connections that TestIdleMQTTConnections opens; needs a limit on open files above it")

// Idle connections cost a goroutine and a few kilobytes each, and leave nothing
// behind when they go, half of them without a goodbye.
func TestIdleMQTTConnections(t *testing.T) {
	needOwnMQTT(t)
	b, log := ownBroker(t)
	start(t, b, log)
	n := *idleConnections
	closeIdle(t, openIdle(t, b.MQTTURL(), n/10)) // pools, buffers and code become warm
	before := settle(t, b, footprint{goroutines: math.MaxInt, heap: math.MaxInt})
	peers := openIdle(t, b.MQTTURL(), n)
	during := measure(t, b)
	if again := measure(t, b); again.heap < during.heap { // a buffer of the store may have been there
		during = again
	}
	closeIdle(t, peers)
	// The store's buffers and the index's come and go meanwhile; the allowance for them is small beside what 10,000 connections would leave.
	allowed := footprint{goroutines: before.goroutines + 5, heap: before.heap + n<<10 + 4<<20}
	after := settle(t, b, allowed)
	perConn := func(a, b int) float64 { return float64(a-b) / 1024 / float64(n) }
	t.Logf("%d idle connections: %.1f KiB RSS, %.1f KiB heap, %.2f goroutines each; before %+v, during %+v, after %+v", n,
		perConn(during.rss, before.rss), perConn(during.heap, before.heap), float64(during.goroutines-before.goroutines)/float64(n),
		before, during, after)
	if after.goroutines > allowed.goroutines || after.heap > allowed.heap {
		t.Errorf("%d connections left goroutines or memory behind", n)
	}
	// The runtime returns pages to the system late: what stays must be less than
	// what the connections took, or a fixed allowance where they took little.
	if after.rss > max(during.rss, before.rss+16<<20) {
		t.Errorf("%d connections left %d MiB resident", n, (after.rss-before.rss)>>20)
	}
	if during.goroutines > before.goroutines+n+32 {
		t.Errorf("%d connections have %d goroutines", n, during.goroutines-before.goroutines)
	}
	if kib := perConn(during.heap, before.heap); kib > 6 {
		t.Errorf("%.1f KiB of heap per idle connection, want at most 6", kib)
	}
}

func openIdle(t *testing.T, broker string, n int) []*mqttPeer {
	t.Helper()
	var (
		g     errgroup.Group
		mu    sync.Mutex
		peers = make([]*mqttPeer, 0, n)
	)
	t.Cleanup(func() {
		for _, p := range peers {
			_ = p.Close() // most are closed
		}
	})
	g.SetLimit(32)
	for i := range n {
		g.Go(func() error {
			p, err := openPeer(t.Context(), broker, 4+byte(i%2))
			if err != nil {
				return err
			}
			mu.Lock()
			peers = append(peers, p)
			mu.Unlock()
			if _, err := p.connect(fmt.Sprint("idle-", i), true); err != nil {
				return fmt.Errorf("connection %d: %w", i, err)
			}
			return nil
		})
	}
	must(t, g.Wait())
	return peers
}

func closeIdle(t *testing.T, peers []*mqttPeer) {
	t.Helper()
	for i, p := range peers {
		if i%2 == 0 {
			must(t, p.send(mqttDISCONNECT))
		}
		must(t, p.Close())
	}
}
