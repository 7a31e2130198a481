package interop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"
)

const (
	crashMessages = 10_000
	crashKills    = 3
	// publishWindow bounds the publishes without a confirm, so that a kill costs
	// the histories few messages.
	publishWindow = 300
	// markEvery is how many acknowledgements share one proof that they passed.
	markEvery = 20
)

// seed is BATON_INTEROP_SEED, or a new one; it is logged.
func seed(t *testing.T) uint64 {
	t.Helper()
	n := rand.Uint64()
	if s := os.Getenv("BATON_INTEROP_SEED"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("BATON_INTEROP_SEED: %v", err)
		}
	}
	t.Logf("BATON_INTEROP_SEED=%d", n)
	return n
}

// A broker that is killed three times while persistent messages pass through it
// keeps every promise it made.
func TestKilledBrokerKeepsItsPromises(t *testing.T) {
	needOwn(t)
	t.Parallel()
	b, log := ownBroker(t)
	rng := rand.New(rand.NewPCG(seed(t), 0))
	r := &crashRun{url: b.URL(), messages: crashMessages, queue: "crash", marks: "crash.marks"}

	for kill := range crashKills + 1 {
		start(t, b, log)
		r.rec.Add(Event{Kind: Started})
		if kill < crashKills {
			// A message makes about five events; the kills are spread over the first
			// three quarters of them, so that each life has work when it ends.
			const perLife = 5 * crashMessages / (crashKills + 1)
			at := len(r.rec.Snapshot()) + perLife/10 + rng.IntN(perLife)
			r.rec.At(at, func() {
				if err := b.Kill(); err != nil {
					t.Error(err)
				}
				t.Logf("life %d was killed at event %d", kill+1, at)
			})
		}
		done, err := r.live()
		if err != nil {
			t.Fatalf("life %d: %v\nthe broker's log:\n%s", kill+1, err, log.text())
		}
		if done != (kill == crashKills) {
			t.Fatalf("life %d: the queue's end was seen: %v\nthe broker's log:\n%s", kill+1, done, log.text())
		}
		if kill < crashKills {
			if _, err := b.life.wait(patience); err != nil {
				t.Fatalf("life %d: the clients' connections ended, not the broker: %v\nits log:\n%s", kill+1, err, log.text())
			}
		}
	}
	expectEmpty(t, b.URL(), r.queue)
	if code, err := b.Terminate(); err != nil || code != 0 {
		t.Fatalf("terminate: exit code %d, %v", code, err)
	}
	// What was acknowledged stays away also after a clean restart.
	start(t, b, log)
	expectEmpty(t, b.URL(), r.queue)
	r.verdict(t)
}

// The same clients and the same check in a single life: what is found above is the
// broker's doing and not the test's.
func TestUndisturbedBrokerKeepsItsPromises(t *testing.T) {
	t.Parallel()
	r := &crashRun{url: sharedURL(t), messages: 2000, queue: unique(t), marks: unique(t)}
	t.Cleanup(func() {
		ch := channel(t, r.url)
		for _, queue := range []string{r.queue, r.marks} {
			if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
				t.Error(err)
			}
		}
	})
	r.rec.Add(Event{Kind: Started})
	if done, err := r.live(); err != nil || !done {
		t.Fatalf("the queue's end was seen: %v, %v", done, err)
	}
	expectEmpty(t, r.url, r.queue)
	if n := r.rec.Snapshot().Count(Passed); n != r.messages {
		t.Errorf("%d acknowledgements passed, want %d", n, r.messages)
	}
	r.verdict(t)
}

// verdict fails the test for everything that is wrong with the history.
func (r *crashRun) verdict(t *testing.T) {
	t.Helper()
	h := r.rec.Snapshot()
	t.Logf("%d published, %d confirmed, %d delivered, %d acked, %d of them surely",
		h.Count(Published), h.Count(Confirmed), h.Count(Delivered), h.Count(Acked), h.Count(Passed))
	for i, v := range h.Check() {
		if i == 20 {
			t.Error("… and more")
			break
		}
		t.Error(v)
	}
	// A run in which next to nothing was promised would prove nothing.
	if c, p := h.Count(Confirmed), h.Count(Passed); c < r.messages*8/10 || p < r.messages*8/10 {
		t.Errorf("of %d messages only %d were confirmed and %d acknowledged for good", r.messages, c, p)
	}
}

func expectEmpty(t *testing.T, url, queue string) {
	t.Helper()
	q, err := channel(t, url).QueueDeclarePassive(queue, true, false, false, false, nil)
	if err != nil || q.Messages != 0 {
		t.Errorf("%d messages are left, want 0 (%v)", q.Messages, err) // and the history tells which
	}
}

// crashRun is the clients of one history. They live as long as the broker's life
// does; live returns when both have ended, so that what a later life's clients
// record comes after everything of an earlier one.
type crashRun struct {
	url          string
	messages     int
	queue, marks string // names of durable queues
	rec          Recorder
	next         int // the last message published
}

// live publishes and consumes until the connections end (false) or the queue's end
// was seen (true).
func (r *crashRun) live() (bool, error) {
	pub, err := r.openSide()
	if err != nil {
		return false, lifeEnded(err)
	}
	defer pub.close()
	cons, err := r.openSide()
	if err != nil {
		return false, lifeEnded(err)
	}
	defer cons.close()

	var g errgroup.Group
	done := false
	g.Go(func() error { return lifeEnded(r.publish(pub)) })
	g.Go(func() error {
		var err error
		done, err = r.consume(cons)
		return lifeEnded(err)
	})
	return done, g.Wait()
}

// lifeEnded forgives what a client sees of a killed broker: an ended connection,
// unless the broker said why.
func lifeEnded(err error) error {
	if e, ok := errors.AsType[*amqp.Error](err); ok && e.Server {
		return err
	}
	if errors.Is(err, errProtocol) {
		return err
	}
	return nil
}

// errProtocol marks what no kill explains.
var errProtocol = errors.New("unexpected")

// side is one client: a connection and a channel in confirm mode.
type side struct {
	conn     *amqp.Connection
	ch       *amqp.Channel
	confirms chan amqp.Confirmation
	closed   chan *amqp.Error
}

func (r *crashRun) openSide() (*side, error) {
	conn, err := amqp.Dial(r.url)
	if err != nil {
		return nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	s := &side{
		conn: conn, ch: ch,
		confirms: ch.NotifyPublish(make(chan amqp.Confirmation, publishWindow)),
		closed:   ch.NotifyClose(make(chan *amqp.Error, 1)),
	}
	for _, queue := range []string{r.queue, r.marks} {
		if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	if err := ch.Confirm(false); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return s, nil
}

func (s *side) close() { _ = s.conn.Close() } // an ended connection is no news

// ended returns why the connection ended.
func (s *side) ended() error {
	if err := <-s.closed; err != nil {
		return err
	}
	return amqp.ErrClosed
}

func (s *side) publish(queue string, body []byte) error {
	return s.ch.Publish("", queue, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body})
}

// body names its message in eight octets; the rest makes a group of them worth a
// write of several pages. Message 0 is the queue's end.
func body(message int) []byte {
	return binary.BigEndian.AppendUint64(make([]byte, 0, 128), uint64(message))[:128]
}

// publish publishes each message once, in order, whatever became of the ones
// before, and the queue's end once all are confirmed.
func (r *crashRun) publish(s *side) error {
	first, confirmed := r.next+1, 0 // delivery tag t is message first+t-1
	await := func(until int) error {
		for confirmed < until {
			c, ok := <-s.confirms
			if !ok {
				return s.ended()
			}
			if !c.Ack || int(c.DeliveryTag) != confirmed+1 {
				return fmt.Errorf("%w: confirm %d, ack %v, want %d", errProtocol, c.DeliveryTag, c.Ack, confirmed+1)
			}
			r.rec.Add(Event{Kind: Confirmed, Message: first + confirmed})
			confirmed++
		}
		return nil
	}
	for r.next < r.messages {
		r.next++
		r.rec.Add(Event{Kind: Published, Message: r.next})
		if err := s.publish(r.queue, body(r.next)); err != nil {
			return errors.Join(err, r.rest(s, first, confirmed))
		}
		if err := await(r.next - first + 1 - publishWindow); err != nil {
			return err
		}
	}
	if err := await(r.next - first + 1); err != nil {
		return err
	}
	return s.publish(r.queue, body(0))
}

// rest records the confirms that had arrived before the connection ended: the
// broker promised them, whether or not anybody waited.
func (r *crashRun) rest(s *side, first, confirmed int) error {
	for c := range s.confirms {
		if !c.Ack || int(c.DeliveryTag) != confirmed+1 {
			return fmt.Errorf("%w: confirm %d, ack %v, want %d", errProtocol, c.DeliveryTag, c.Ack, confirmed+1)
		}
		r.rec.Add(Event{Kind: Confirmed, Message: first + confirmed})
		confirmed++
	}
	return nil
}

// marks are acknowledgements that wait for the proof that they passed.
type marks struct {
	open [][]int // per mark under way, the messages acknowledged before it
	last []int   // acknowledged since the last mark
}

// consume acknowledges each message, until the queue's end.
//
// An acknowledgement has no answer of its own. The rule that makes one out of a
// publish: a connection's frames take effect in the order in which they were sent,
// and a promise leaves only after everything that was recorded before it has
// passed. So a persistent message (a mark) is published on the channel right after
// some acknowledgements, and when the mark is confirmed they have all passed.
func (r *crashRun) consume(s *side) (bool, error) {
	if err := s.ch.Qos(100, 0, false); err != nil {
		return false, err
	}
	in, err := s.ch.Consume(r.queue, "", false, false, false, false, nil)
	if err != nil {
		return false, err
	}
	var m marks
	for {
		select {
		case c, ok := <-s.confirms:
			if !ok {
				return false, s.ended()
			}
			m.passed(r, c)
		case d, ok := <-in:
			if !ok {
				return false, errors.Join(s.ended(), m.drain(r, s, false))
			}
			end, err := r.delivery(s, &m, d)
			if err != nil {
				return false, errors.Join(err, m.drain(r, s, false))
			}
			if end {
				return true, m.drain(r, s, true)
			}
		}
	}
}

// delivery records and acknowledges one message, and marks when it is time. It
// returns true for the queue's end.
func (r *crashRun) delivery(s *side, m *marks, d amqp.Delivery) (bool, error) {
	if len(d.Body) != len(body(0)) {
		return false, fmt.Errorf("%w: a body of %d bytes", errProtocol, len(d.Body))
	}
	message := int(binary.BigEndian.Uint64(d.Body))
	if message > 0 {
		r.rec.Add(Event{Kind: Delivered, Message: message, Redelivered: d.Redelivered})
	}
	if err := d.Ack(false); err != nil {
		return false, err
	}
	if message > 0 {
		r.rec.Add(Event{Kind: Acked, Message: message})
		m.last = append(m.last, message)
	}
	if message > 0 && len(m.last) < markEvery {
		return false, nil
	}
	m.open, m.last = append(m.open, m.last), nil
	return message == 0, s.publish(r.marks, nil)
}

// passed records what a confirmed mark proves. Confirms come in the marks' order.
func (m *marks) passed(r *crashRun, c amqp.Confirmation) {
	if !c.Ack || len(m.open) == 0 {
		return // a mark that was refused proves nothing
	}
	for _, message := range m.open[0] {
		r.rec.Add(Event{Kind: Passed, Message: message})
	}
	m.open = m.open[1:]
}

// drain takes the confirms that are still to come: those that had arrived when the
// connection ended, or, when all waits, those of all marks.
func (m *marks) drain(r *crashRun, s *side, all bool) error {
	for !all || len(m.open) > 0 {
		c, ok := <-s.confirms
		if !ok {
			if all {
				return fmt.Errorf("%w end of the connection: %w", errProtocol, s.ended())
			}
			return nil
		}
		m.passed(r, c)
	}
	return nil
}
