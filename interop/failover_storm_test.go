package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

var failoverStorm = flag.Int("failover.storm", 300, "clients of TestFailoverReconnectStorm; needs a limit on open files above it")

// stormClient is one of many MQTT clients with a durable session, subscribed at QoS 1
// to a topic of its own.
type stormClient struct {
	c        *cluster
	number   int
	answers  bool      // the first message; who does not gets it again
	back     time.Time // when it was connected again
	again    int       // deliveries of the first message after the failover
	second   int       // deliveries of the second
	unmarked int       // deliveries of a message for a second time without DUP
}

func (s *stormClient) id() string    { return fmt.Sprintf("storm-%d", s.number) }
func (s *stormClient) topic() string { return fmt.Sprintf("storm/%d", s.number) }

// connect tries one node after the other. Between rounds it waits as libraries do, for
// up to half a second: ten thousand that ask every 20 ms keep a machine from anything else.
func (s *stormClient) connect(ctx context.Context) (p *mqttPeer, present bool, err error) {
	for {
		for _, n := range s.c.nodes {
			if p, err = openPeer(ctx, n.MQTTURL(), 5); err != nil {
				continue
			}
			_ = p.SetDeadline(time.Now().Add(patience)) // an open socket has one
			if present, err = p.connect(s.id(), false); err == nil {
				return p, present, nil
			}
			_ = p.Close() // the next one is tried
		}
		if ended := pause(ctx, 50*time.Millisecond+time.Duration(rand.Int64N(int64(450*time.Millisecond)))); ended != nil {
			return nil, false, errors.Join(ended, err)
		}
	}
}

// begin subscribes and takes the first message.
func (s *stormClient) begin(ctx context.Context, connected func()) (*mqttPeer, error) {
	p, _, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	_ = p.SetDeadline(time.Now().Add(2 * time.Minute)) // an open socket has one
	if err := p.subscribe(s.topic(), 1); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	connected()
	pk, err := p.next()
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	d, err := p.delivery(pk)
	if err == nil && s.answers {
		err = p.send(mqttPUBACK, d.id[:]...)
	}
	return p, err
}

// comeBack waits for the end of the connection and makes another, to the session that it had.
func (s *stormClient) comeBack(ctx context.Context, p *mqttPeer) (*mqttPeer, error) {
	for {
		if _, err := p.next(); err != nil {
			break
		}
	}
	_ = p.Close() // it has ended
	p, present, err := s.connect(ctx)
	if err == nil && !present {
		err = fmt.Errorf("%w: the session %s is gone", errProtocol, s.id())
	}
	s.back = time.Now()
	return p, err
}

// finish takes everything until the second message has come.
func (s *stormClient) finish(p *mqttPeer) error {
	defer p.Close()
	_ = p.SetDeadline(time.Now().Add(2 * time.Minute)) // an open socket has one
	for s.second == 0 {
		pk, err := p.next()
		if err != nil {
			return fmt.Errorf("%s: %w", s.id(), err)
		}
		if pk.head&0xf0 != mqttPUBLISH {
			return fmt.Errorf("%w packet %v for %s", errProtocol, pk, s.id())
		}
		d, err := p.delivery(pk)
		if err != nil {
			return err
		}
		switch string(d.payload) {
		case "first":
			s.again++
			if !d.dup {
				s.unmarked++
			}
		case "second":
			s.second++
		}
		if err := p.send(mqttPUBACK, d.id[:]...); err != nil {
			return err
		}
	}
	return nil
}

// publishStorm publishes one message to each client's topic at QoS 1, many at a time.
func publishStorm(ctx context.Context, c *cluster, n int, payload string) error {
	const window = 100
	s := &stormClient{c: c, number: -1}
	p, _, err := s.connect(ctx)
	if err != nil {
		return err
	}
	defer p.Close()
	_ = p.SetDeadline(time.Now().Add(2 * time.Minute)) // an open socket has one
	for sent, answered := 0, 0; answered < n; {
		for ; sent < n && sent-answered < window; sent++ {
			topic := (&stormClient{number: sent}).topic()
			if err := p.send(mqttPUBLISH|1<<1, p.publishBody(topic, uint16(sent%65535+1), []byte(payload))...); err != nil {
				return err
			}
		}
		ack, err := p.expect(mqttPUBACK)
		if err != nil {
			return err
		}
		if id := binary.BigEndian.Uint16(ack); int(id) != answered%65535+1 || len(ack) > 2 && ack[2] != 0 {
			return fmt.Errorf("%w PUBACK %x, want of %d", errProtocol, ack, answered%65535+1)
		}
		answered++
	}
	return nil
}

// All clients of a primary that is killed come at once to its successor: each finds its
// session, with what it had not acknowledged and what comes afterwards.
func TestFailoverReconnectStorm(t *testing.T) {
	n := *failoverStorm
	c := newCluster(t, 2, *failoverTTL)
	c.form()
	clients := make([]*stormClient, n)
	peers := make([]*mqttPeer, n)
	g, ctx := errgroup.WithContext(t.Context())
	connected := make(chan struct{}, n)
	setUp := make(chan struct{}, 100) // subscriptions at a time: this is not the storm yet
	for i := range clients {
		clients[i] = &stormClient{c: c, number: i, answers: i%2 == 0}
		g.Go(func() (err error) {
			select {
			case setUp <- struct{}{}:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
			done := sync.OnceFunc(func() { <-setUp })
			defer done()
			peers[i], err = clients[i].begin(ctx, func() { done(); connected <- struct{}{} })
			return err
		})
	}
	for range clients {
		select {
		case <-connected:
		case <-ctx.Done():
			t.Fatal(g.Wait())
		}
	}
	must(t, publishStorm(t.Context(), c, n, "first"))
	must(t, g.Wait())

	before := peakResident(t, c.primary().PID())
	_, epoch := kill(t, c)
	killed := time.Now()
	g, ctx = errgroup.WithContext(t.Context())
	for i, s := range clients {
		g.Go(func() (err error) { peers[i], err = s.comeBack(ctx, peers[i]); return err })
	}
	c.awaitEpoch(epoch)
	served := time.Since(killed)
	must(t, g.Wait())
	g, _ = errgroup.WithContext(t.Context())
	for i, s := range clients {
		g.Go(func() error { return s.finish(peers[i]) })
	}
	must(t, publishStorm(t.Context(), c, n, "second"))
	must(t, g.Wait())

	back := make([]time.Duration, n)
	repeated := 0
	for i, s := range clients {
		back[i] = s.back.Sub(killed)
		repeated += s.again
		if !s.answers && s.again != 1 {
			t.Errorf("%s got the message that it had not acknowledged %d times, want once", s.id(), s.again)
		}
		if s.again > 1 || s.unmarked > 0 {
			t.Errorf("%s got the first message %d times again, %d without DUP", s.id(), s.again, s.unmarked)
		}
	}
	t.Logf("%d clients; serving %v after the kill; clients are back after p50 %v, p99 %v, max %v; %d messages came again, all marked; resident at most %d MiB before, %d MiB after",
		n, served.Round(time.Millisecond), Percentile(back, 50).Round(time.Millisecond), Percentile(back, 99).Round(time.Millisecond), Percentile(back, 100).Round(time.Millisecond),
		repeated, before>>20, peakResident(t, c.primary().PID())>>20)
	c.verify()
}
