package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// stampSize is what a message at a fixed rate begins with: when it was due, in
	// nanoseconds since the load began.
	stampSize = 8
	// pacedWindow bounds the messages at a fixed rate that are unconfirmed: fewer
	// than there are packet identifiers.
	pacedWindow = 60_000
	// lastWait is how long the last messages at a fixed rate are waited for.
	lastWait = 5 * time.Second
)

// pacedRow publishes at a fixed rate, whatever the broker does, and measures from when
// each message was due until it is received: a broker that halts is charged with all
// that was due meanwhile, so that nothing is omitted because the generator waited, too.
func pacedRow(perSecond, size int) row {
	size = max(size, stampSize)
	l := line{name: "m8", about: fmt.Sprintf("latency of QoS 1 at %d/s, clean sessions", perSecond), size: size}
	return single(l, overMQTT, func(ctx context.Context, r *run) (Figures, error) { return paced(ctx, r, perSecond, size) })
}

func paced(ctx context.Context, r *run, perSecond, size int) (fig Figures, err error) {
	name := unique()
	m := mqttMessage{topic: name + "/load", qos: 1, body: randomBody(size)}
	sub, err := r.on.mqtt.subscriber(ctx, clientID(name, 0), m.topic, 1, false, mqttBuffer)
	if err != nil {
		return Figures{}, err
	}
	pub, err := r.on.mqtt.publisher(ctx, name, m, mqttBuffer)
	if err != nil {
		return Figures{}, errors.Join(err, sub.Close())
	}
	sub.pause, pub.pause = 0, 0
	p := &pace{
		start: time.Now(), interval: time.Second / time.Duration(perSecond), warmUp: r.warmUp(), last: r.warmUp() + r.Duration,
		publisher: pub, flow: newFlow(bounds{window: min(pacedWindow, pub.receiveMaximum), total: r.MaxMessages}),
		took: newLatencies(), late: newLatencies(), sent: make(chan struct{}), received: make(chan struct{}, 1),
	}
	sub.received, sub.size = p.receive, size
	r.watch(func() int64 { return p.flow.snapshot().delivered })
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return sub.deliveries(p.delivered) })
	g.Go(func() error { return pub.confirms(p.flow.confirmed) })
	g.Go(p.publish)
	g.Go(func() error {
		var err error
		if fig, err = r.during(gctx, p.flow.spent, func() int64 { return p.flow.snapshot().delivered }); err != nil {
			return err
		}
		return p.awaitLast(gctx)
	})
	g.Go(func() error {
		<-gctx.Done()
		p.flow.close()
		return errors.Join(pub.Close(), sub.Close())
	})
	if err := g.Wait(); !errors.Is(err, errMeasured) {
		return Figures{}, err
	}
	p.took.into(&fig)
	fig.Late = p.late.quantile(99)
	c := p.flow.snapshot()
	fig.Dropped = c.published - c.delivered
	return fig, nil
}

// pace is a load at a fixed rate. Its publisher's goroutine has late, its subscriber's
// has took; both are read when they have ended.
type pace struct {
	start     time.Time
	interval  time.Duration
	warmUp    time.Duration // messages that are due later are recorded
	last      time.Duration // when the last message is due
	publisher *mqttPublisher
	flow      *flow
	took      latencies
	late      latencies     // of the generator's timer
	sent      chan struct{} // closed when all are published
	received  chan struct{} // has a token when something was received since
}

// publish writes each message when it is due, and those together that became due
// meanwhile.
func (p *pace) publish() error {
	defer close(p.sent)
	runtime.LockOSThread() // for good: its timers are not what other goroutines expect
	tightenTimers()
	for due := time.Duration(0); due < p.last; {
		now := time.Since(p.start)
		if now < due {
			sleep(due - now)
			continue
		}
		if due >= p.warmUp {
			p.late.record(now - due)
		}
		n := min(int((now-due)/p.interval)+1, len(p.publisher.block)/p.publisher.one)
		if n = p.flow.reserve(n); n == 0 {
			return nil
		}
		for i := range n {
			stamp := p.publisher.block[(i+1)*p.publisher.one-p.publisher.size:]
			binary.BigEndian.PutUint64(stamp, uint64(due))
			due += p.interval
		}
		if err := p.publisher.publish(n); err != nil {
			return err
		}
	}
	return nil
}

// receive records how long after it was due a message is here.
func (p *pace) receive(body []byte) {
	if len(body) < stampSize {
		return
	}
	due := time.Duration(binary.BigEndian.Uint64(body))
	if due >= p.warmUp {
		p.took.record(time.Since(p.start) - due)
	}
}

func (p *pace) delivered(n int) {
	p.flow.delivered(n)
	select {
	case p.received <- struct{}{}:
	default:
	}
}

// awaitLast waits until all that was published is received, or has had its time.
func (p *pace) awaitLast(ctx context.Context) error {
	patience := time.NewTimer(lastWait)
	defer patience.Stop()
	sent := p.sent
	for {
		if c := p.flow.snapshot(); sent == nil && c.delivered >= c.published {
			return errMeasured
		}
		select {
		case <-sent:
			sent = nil
		case <-p.received:
		case <-patience.C:
			return errMeasured
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
