package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// failoverQueue is one queue with a publisher and a consumer that follow the
// primary from node to node.
type failoverQueue struct {
	cluster *cluster
	name    string
	window  int           // publishes without a confirm
	every   time.Duration // between publishes; 0: as fast as confirms come
	size    int           // of a body
	rec     Recorder
	ended   chan struct{} // closed when the consumer has seen the queue's end

	// The publisher's.
	last   int            // the last message published
	left   sync.WaitGroup // connections that were left and are still listened to
	linger []net.Conn     // of them, until the run ends
}

func newFailoverQueue(c *cluster, name string, window int, every time.Duration) *failoverQueue {
	return &failoverQueue{cluster: c, name: name, window: window, every: every, size: 128, ended: make(chan struct{})}
}

func (q *failoverQueue) marks() string { return q.name + ".marks" }

// failoverSide is one connection to whichever node took it.
type failoverSide struct {
	side
	raw   net.Conn
	epoch uint64
}

// open connects, and declares what is there already.
func (q *failoverQueue) open(ctx context.Context) (*failoverSide, error) {
	var s *failoverSide
	epoch, err := q.cluster.anyNode(ctx, func(n *clusterNode) (err error) {
		s, err = q.openAt(ctx, n)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect for queue %s: %w", q.name, err)
	}
	s.epoch = epoch
	return s, nil
}

func (q *failoverQueue) openAt(ctx context.Context, n *clusterNode) (*failoverSide, error) {
	s := new(failoverSide)
	dial := func(network, addr string) (net.Conn, error) {
		nc, err := (&net.Dialer{Timeout: failoverAnswer}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		s.raw = nc
		return nc, nc.SetDeadline(time.Now().Add(failoverAnswer)) // the library clears it when the connection is open
	}
	conn, err := amqp.DialConfig(n.URL(), amqp.Config{Dial: dial, Heartbeat: 30 * time.Second})
	if err != nil {
		return nil, err
	}
	// A broker that is stopped now must not keep the client: its socket is cut.
	limit := time.AfterFunc(4*failoverAnswer, func() { _ = s.raw.Close() })
	defer limit.Stop()
	if err := s.declare(conn, q.name, q.marks(), q.window); err != nil {
		_ = s.raw.Close() // the error tells
		return nil, err
	}
	return s, nil
}

func (s *failoverSide) declare(conn *amqp.Connection, queue, marks string, window int) error {
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	s.side = side{
		conn: conn, ch: ch,
		confirms: ch.NotifyPublish(make(chan amqp.Confirmation, max(window, publishWindow))),
		closed:   ch.NotifyClose(make(chan *amqp.Error, 1)),
	}
	for _, q := range []string{queue, marks} {
		if _, err := ch.QueueDeclare(q, true, false, false, false, nil); err != nil {
			return err
		}
	}
	return ch.Confirm(false)
}

// refused keeps what a takeover explains apart from what nothing does: a broker
// that ends says 320, one that may not promise any more cuts the connection.
func refused(err error) error {
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Server && e.Code != amqp.ConnectionForced {
		return fmt.Errorf("%w: %w", errProtocol, err)
	}
	if errors.Is(err, errProtocol) {
		return err
	}
	return nil
}

// publish publishes until finish is closed, and then the queue's end.
func (q *failoverQueue) publish(ctx context.Context, finish <-chan struct{}) error {
	defer q.silence()
	for {
		s, err := q.open(ctx)
		if err != nil {
			return err
		}
		q.rec.Add(Event{Kind: Started})
		p := publishing{q: q, s: s, first: q.last + 1}
		done, err := p.run(ctx, finish)
		if done || refused(err) != nil {
			s.close()
			return refused(err)
		}
		q.leave(&p)
	}
}

// leave goes on listening to a connection from which nothing is expected any more:
// a broker that was stopped and resumes must not promise on it what is lost.
func (q *failoverQueue) leave(p *publishing) {
	q.linger = append(q.linger, p.s.raw)
	q.left.Go(func() {
		for c := range p.s.confirms {
			if p.confirm(c) != nil {
				return
			}
		}
	})
}

func (q *failoverQueue) silence() {
	for _, nc := range q.linger {
		_ = nc.Close() // most have ended
	}
	q.left.Wait()
}

// publishing is one connection of a publisher. Delivery tag t is message first+t-1,
// beyond last the queue's end.
type publishing struct {
	q               *failoverQueue
	s               *failoverSide
	first           int
	sent, confirmed int
}

func (p *publishing) confirm(c amqp.Confirmation) error {
	if !c.Ack || int(c.DeliveryTag) != p.confirmed+1 {
		return fmt.Errorf("%w: confirm %d of queue %s, ack %v, want %d", errProtocol, c.DeliveryTag, p.q.name, c.Ack, p.confirmed+1)
	}
	p.q.rec.Add(Event{Kind: Confirmed, Message: p.first + p.confirmed, Epoch: p.s.epoch})
	p.confirmed++
	return nil
}

var errNoAnswer = errors.New("no answer in time")

// await waits until no more than open publishes are without a confirm.
func (p *publishing) await(ctx context.Context, open int) error {
	limit := time.NewTimer(failoverAnswer)
	defer limit.Stop()
	for p.sent-p.confirmed > open {
		select {
		case c, ok := <-p.s.confirms:
			if !ok {
				return p.s.ended()
			}
			if err := p.confirm(c); err != nil {
				return err
			}
			limit.Reset(failoverAnswer)
		case <-limit.C:
			return errNoAnswer
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (p *publishing) run(ctx context.Context, finish <-chan struct{}) (done bool, err error) {
	q := p.q
	var pace <-chan time.Time
	if q.every > 0 {
		ticker := time.NewTicker(q.every)
		defer ticker.Stop()
		pace = ticker.C
	}
	for {
		select {
		case <-finish:
			return p.end(ctx)
		default:
		}
		if pace != nil {
			select {
			case <-pace:
			case <-ctx.Done():
				return false, context.Cause(ctx)
			}
		}
		if err := p.one(); err != nil {
			return false, err
		}
		if err := p.await(ctx, q.window-1); err != nil {
			return false, err
		}
	}
}

func (p *publishing) one() error {
	p.q.last++
	p.sent++
	p.q.rec.Add(Event{Kind: Published, Message: p.q.last})
	text := binary.BigEndian.AppendUint64(make([]byte, 0, p.q.size), uint64(p.q.last))
	_ = p.s.raw.SetWriteDeadline(time.Now().Add(failoverAnswer)) // a stopped broker reads nothing
	return p.s.publish(p.q.name, text[:p.q.size])
}

// end publishes the queue's end once everything before it is confirmed, and waits
// for its confirm, which is no promise of a message.
func (p *publishing) end(ctx context.Context) (bool, error) {
	if err := p.await(ctx, 0); err != nil {
		return false, err
	}
	if err := p.s.publish(p.q.name, make([]byte, p.q.size)); err != nil {
		return false, err
	}
	select {
	case c, ok := <-p.s.confirms:
		return ok && c.Ack, nil
	case <-time.After(failoverPatience):
		return false, errNoAnswer
	}
}

// consume acknowledges until it has seen the queue's end and all acknowledgements
// have passed.
func (q *failoverQueue) consume(ctx context.Context) error {
	for {
		s, err := q.open(ctx)
		if err != nil {
			return err
		}
		q.rec.Add(Event{Kind: Started, Consumer: true})
		session, cancel := context.WithCancel(ctx)
		go func() { // ends with the session
			select {
			case <-q.cluster.superseded(session, s.epoch):
				_ = s.raw.Close() // nobody is there, or somebody who must not be
			case <-session.Done():
			}
		}()
		done, err := q.consumeOn(ctx, s)
		cancel()
		_ = s.raw.Close() // after the last answer
		if err = refused(err); err != nil || done {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
}

func (q *failoverQueue) consumeOn(ctx context.Context, s *failoverSide) (bool, error) {
	if err := s.ch.Qos(100, 0, false); err != nil {
		return false, err
	}
	in, err := s.ch.ConsumeWithContext(ctx, q.name, "", false, false, false, false, nil)
	if err != nil {
		return false, err
	}
	c := consuming{q: q, s: s}
	for {
		select {
		case confirm, ok := <-s.confirms:
			if !ok {
				return false, s.ended()
			}
			c.passed(confirm)
		case d, ok := <-in:
			if !ok {
				err := s.ended()
				c.drain(false)
				return false, err
			}
			end, err := c.delivery(d)
			if err != nil {
				c.drain(false)
				return false, err
			}
			if end {
				return c.drain(true), nil
			}
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
	}
}

// consuming is one connection of a consumer, with the acknowledgements that wait for
// the proof that they passed: see crashRun.consume.
type consuming struct {
	q    *failoverQueue
	s    *failoverSide
	open [][]int
	last []int
}

func (c *consuming) delivery(d amqp.Delivery) (end bool, err error) {
	if len(d.Body) < 8 {
		return false, fmt.Errorf("%w: a body of %d bytes", errProtocol, len(d.Body))
	}
	message := int(binary.BigEndian.Uint64(d.Body))
	if message > 0 {
		c.q.rec.Add(Event{Kind: Delivered, Message: message, Redelivered: d.Redelivered})
	}
	if err := d.Ack(false); err != nil {
		return false, err
	}
	if message > 0 {
		c.q.rec.Add(Event{Kind: Acked, Message: message})
		c.last = append(c.last, message)
	}
	if message > 0 && len(c.last) < markEvery {
		return false, nil
	}
	c.open, c.last = append(c.open, c.last), nil
	return message == 0, c.s.publish(c.q.marks(), nil)
}

func (c *consuming) passed(confirm amqp.Confirmation) {
	if !confirm.Ack || len(c.open) == 0 {
		return // a mark that was refused proves nothing
	}
	for _, message := range c.open[0] {
		c.q.rec.Add(Event{Kind: Passed, Message: message})
	}
	c.open = c.open[1:]
}

// drain takes the confirms that are still to come: those that had arrived when the
// connection ended, or those of all marks. It returns whether none is missing.
func (c *consuming) drain(all bool) bool {
	for !all || len(c.open) > 0 {
		confirm, ok := <-c.s.confirms
		if !ok {
			return false
		}
		c.passed(confirm)
	}
	return true
}

// rest takes what the queue still holds once everybody is done, as a consumer on one
// more connection.
func (q *failoverQueue) rest(ctx context.Context) error {
	s, err := q.open(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	q.rec.Add(Event{Kind: Started, Consumer: true})
	for {
		d, ok, err := s.ch.Get(q.name, true)
		if err != nil || !ok {
			return err
		}
		if message := int(binary.BigEndian.Uint64(d.Body)); message > 0 {
			q.rec.Add(Event{Kind: Delivered, Message: message, Redelivered: d.Redelivered})
		}
	}
}
