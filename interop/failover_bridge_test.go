package interop

import (
	"sync"
	"testing"
)

const bridgeFailovers = 3

// The bridge of a pair fails over with it: messages go on in both directions when the primary is killed, none that was confirmed is lost, and
// none of QoS 2 comes twice. The other broker, which is not part of the pair, sees the same client come back to the same session.
func TestFailoverOfABridge(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"5", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			far, farLog := ownBroker(t)
			c := newCluster(t, 2, *failoverTTL)
			for _, n := range c.nodes {
				bridgeTo(t, n.Broker, far, version)
			}
			start(t, far, farLog)
			seenBy(t, far, "site.out.#")
			c.form()
			seenBy(t, c.primary().Broker, "here.down.#")
			c.bridged()

			var publishing sync.WaitGroup
			out, in := &remotePublisher{url: c.primaryURL, key: "out.x"}, &remotePublisher{url: far.URL, key: "there.down.x"}
			in.may = func(i int) bool { return i < out.at()+remoteMessages/20 } // so that some are on their way at each failover
			for _, p := range []*remotePublisher{out, in} {
				publishing.Go(func() { p.run(t) })
			}
			for i := range bridgeFailovers {
				part := (i + 1) * remoteMessages / (bridgeFailovers + 1)
				c.until(t.Context(), "messages in both directions", func() bool { return min(out.at(), in.at()) >= part })
				_, epoch := kill(t, c)
				c.awaitEpoch(epoch)
				c.form()
				c.bridged()
			}
			publishing.Wait()
			c.settled()
			out.check(t, far)
			in.check(t, c.primary().Broker)
		})
	}
}

// bridged waits until the primary's bridge is connected.
func (c *cluster) bridged() {
	c.t.Helper()
	c.until(c.t.Context(), "the bridge to the other broker", func() bool {
		p := c.primary()
		return p != nil && p.running() && metric(c.t, p.Broker, `baton_bridge_connected\{bridge="far"\}`) == 1
	})
}

// primaryURL is where the primary takes AMQP clients, or did.
func (c *cluster) primaryURL() string {
	if p := c.primary(); p != nil {
		return p.URL()
	}
	return c.nodes[0].URL()
}
