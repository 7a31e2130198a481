package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	probeQueue = "baton.drill"
	// probeRetry is how often a probe tries to connect.
	probeRetry = 20 * time.Millisecond
	// probeEvery is how often it publishes.
	probeEvery = time.Millisecond
)

// probe is a client that publishes with confirms, one message at a time, to
// whichever of its addresses lets it in.
type probe struct {
	addrs  []string
	cancel context.CancelFunc
	done   chan struct{}

	mu       sync.Mutex
	promises []promise
	conns    int           // connections made
	kick     chan struct{} // closed, and made anew, at each promise
}

// promise is one confirm.
type promise struct {
	seq  uint64
	at   time.Time
	conn int
}

func newProbe(ctx context.Context, addrs ...string) (*probe, error) {
	ctx, cancel := context.WithCancel(ctx)
	p := &probe{addrs: addrs, cancel: cancel, done: make(chan struct{}), kick: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.run(ctx)
	}()
	if _, err := p.mark(ctx); err != nil {
		p.stop()
		return nil, err
	}
	return p, nil
}

func (p *probe) stop() {
	p.cancel()
	<-p.done
}

// run publishes until ctx ends.
func (p *probe) run(ctx context.Context) {
	seq := uint64(0)
	for ctx.Err() == nil {
		conn, ch, err := p.connect(ctx)
		if err != nil {
			return
		}
		for err == nil && ctx.Err() == nil {
			seq++
			err = p.publish(ctx, ch, seq)
		}
		_ = conn.Close() // broken, or not needed any more
	}
}

// connect tries the addresses in turn.
func (p *probe) connect(ctx context.Context) (*amqp.Connection, *amqp.Channel, error) {
	tick := time.NewTicker(probeRetry)
	defer tick.Stop()
	for {
		for _, addr := range p.addrs {
			conn, ch, err := dialProbe(addr)
			if err == nil {
				p.mu.Lock()
				p.conns++
				p.mu.Unlock()
				return conn, ch, nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// dialProbe opens a channel with confirms, and the queue.
func dialProbe(addr string) (*amqp.Connection, *amqp.Channel, error) {
	conn, err := amqp.DialConfig("amqp://guest:guest@"+addr+"/", amqp.Config{Dial: amqp.DefaultDial(time.Second)})
	if err != nil {
		return nil, nil, err
	}
	ch, err := conn.Channel()
	if err == nil {
		err = ch.Confirm(false)
	}
	if err == nil {
		_, err = ch.QueueDeclare(probeQueue, true, false, false, false, nil)
	}
	if err != nil {
		_ = conn.Close() // what counts is the first error
		return nil, nil, err
	}
	return conn, ch, nil
}

func (p *probe) publish(ctx context.Context, ch *amqp.Channel, seq uint64) error {
	body := binary.BigEndian.AppendUint64(nil, seq)
	confirm, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", probeQueue, true, false,
		amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body})
	if err != nil {
		return err
	}
	acked, err := confirm.WaitContext(ctx)
	if err != nil || !acked {
		return fmt.Errorf("message %d is not confirmed: %w", seq, err)
	}
	p.mu.Lock()
	p.promises = append(p.promises, promise{seq, time.Now(), p.conns})
	close(p.kick)
	p.kick = make(chan struct{})
	p.mu.Unlock()
	select {
	case <-time.After(probeEvery):
	case <-ctx.Done():
	}
	return nil
}

// mark waits for the next promise, and returns its place.
func (p *probe) mark(ctx context.Context) (int, error) {
	p.mu.Lock()
	n := len(p.promises)
	p.mu.Unlock()
	return n, p.await(ctx, func() bool { return len(p.promises) > n })
}

// gap waits for a promise on another connection than that of the promise at, and
// returns how long there was none before.
func (p *probe) gap(ctx context.Context, at int) (gap time.Duration, err error) {
	next := at
	err = p.await(ctx, func() bool {
		for next < len(p.promises) && p.promises[next].conn == p.promises[at].conn {
			next++
		}
		return next < len(p.promises)
	})
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.promises[next].at.Sub(p.promises[next-1].at), nil
}

// await waits until wanted, which is asked with mu held after every promise.
func (p *probe) await(ctx context.Context, wanted func() bool) error {
	late := fmt.Errorf("no broker has confirmed a message for %v", drillWait)
	ctx, cancel := context.WithTimeoutCause(ctx, drillWait, late)
	defer cancel()
	for {
		p.mu.Lock()
		ok, kick := wanted(), p.kick
		p.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-kick:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// end stops publishing, takes what is in the queue, removes it, and tells how many
// of the promises were broken.
func (p *probe) end(ctx context.Context) (promised, lost int, err error) {
	p.stop()
	conn, ch, err := p.connect(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer func() { _ = conn.Close() }() // what was asked is answered
	found, err := takeAll(ctx, ch)
	if err != nil {
		return 0, 0, err
	}
	for _, kept := range p.promises {
		if !found[kept.seq] {
			lost++
		}
	}
	_, err = ch.QueueDelete(probeQueue, false, false, false)
	return len(p.promises), lost, err
}

// takeAll returns the numbers of the messages in the queue.
func takeAll(ctx context.Context, ch *amqp.Channel) (map[uint64]bool, error) {
	found := make(map[uint64]bool)
	for ctx.Err() == nil {
		m, ok, err := ch.Get(probeQueue, true)
		if err != nil {
			return nil, err
		}
		if !ok {
			return found, nil
		}
		if len(m.Body) == 8 {
			found[binary.BigEndian.Uint64(m.Body)] = true
		}
	}
	return nil, context.Cause(ctx)
}
