package core

import (
	"context"
	"log/slog"
	"math"
	"strconv"
	"sync"

	"github.com/batonmq/baton/core/field"
)

// Delayed messages. An exchange of the kind x-delayed-message keeps a message back that asks for it, and routes it when it is due, as an
// exchange of the kind that its argument names. Until then the message lives at a place of a queue that nobody consumes, as a retained
// message does, and that goes with the exchange. When it is due it goes to its queues and leaves that place in one unit.
//
// When a message is due follows from itself: from when it arrived and how long it is delayed, both of which are in its record. So a delay
// costs no record of its own, at the price that a start reads all delayed messages through before the first comes due, in the background.
//
// The topic exchange keeps back what its publisher wants it to, by Message.Delay and not by a property: how that is asked for is a
// protocol's.
//
// In memory are a time and a place for each, and the message itself as long as memory is not short.

// kindDelayed is the kind of exchanges that keep messages back.
const kindDelayed = "x-delayed-message"

// argDelayedType names the kind as which such an exchange routes.
const argDelayedType = "x-delayed-type"

// headerDelay asks for a delay, in milliseconds. Consumers see it negated: so another such exchange on the way does not delay again.
const headerDelay = "x-delay"

// routing is the kind as which an exchange routes.
func (spec *ExchangeSpec) routing() string {
	if spec.Kind == kindDelayed {
		kind, _ := stringArg(spec.Args, argDelayedType)
		return kind
	}
	return spec.Kind
}

// delayRetry is how long messages wait that are due while publishers must wait.
const delayRetry = 1000

// What comes due at once, at most.
const (
	dueEntries = 256
	dueBytes   = 1 << 20
)

// delays is the messages that one exchange keeps back.
type delays struct {
	exchange *Exchange
	ready    chan struct{} // closed when what was on record at the start has been read

	mu     sync.Mutex // below vhost.mu, above every queue.mu
	id     QueueID    // of the store's queue; 0 until the first durable message comes
	next   Seq
	heap   delayHeap
	bytes  int64 // of messages in memory
	paged  int64 // what was left of them when memory was short last
	unread Seq   // the place behind those that are still to be read; 0: all are
	ended  bool  // the exchange was deleted
	alarm  alarm
}

// delayed is one message that is kept back.
type delayed struct {
	due     int64 // Unix milliseconds of the broker's clock
	seq     Seq
	msg     *Message // nil: it is to be loaded
	size    int
	durable bool
}

// delayedCost is what an entry costs in memory beside its message.
const delayedCost = 40

func newDelays(x *Exchange) *delays {
	d := &delays{exchange: x, next: 1, ready: make(chan struct{})}
	d.alarm.ring = func() { x.vhost.broker.dues.add(d) }
	close(d.ready)
	return d
}

func (d *delays) broker() *Broker { return d.exchange.vhost.broker }

// delay returns for how many milliseconds a message asks to be kept back; 0 or less: not at all.
func (m *Message) delay() int64 {
	if m.Delay != 0 {
		return m.Delay
	}
	table, ok := field.FindProperty(m.Props, field.Headers)
	if !ok {
		return 0
	}
	value, _, ok := field.RawTable(table).Find(headerDelay)
	if !ok {
		return 0
	}
	return delayValue(value.Value())
}

// delayValue reads the header as RabbitMQ's plugin does: integers, and what can be made one.
func delayValue(v any) int64 {
	if n, ok := field.Int(v); ok {
		return n
	}
	switch v := v.(type) {
	case string:
		n, _ := strconv.ParseInt(v, 10, 64)
		return n
	case float32:
		return int64(max(math.MinInt32, min(float64(v), math.MaxInt32)))
	case float64:
		return int64(max(math.MinInt32, min(v, math.MaxInt32)))
	}
	return 0
}

// dueAt is when a message is due that was stamped and asks for a delay. The stamp is rounded down: a millisecond more is never too early.
func (m *Message) dueAt() int64 {
	return m.Arrived + min(m.Delay, math.MaxInt64-m.Arrived-1) + 1
}

// keepBack notes that m, which reaches x, is to be kept back there, if it asks for it.
func (s *Session) keepBack(x *Exchange, m *Message) bool {
	ms := m.delay()
	if ms <= 0 {
		return false
	}
	m.Delay, m.Arrived = ms, s.broker.now()
	s.keepers = append(s.keepers, x.delays)
	return true
}

// withheld is a message that is kept back from when its record has been handed over.
type withheld struct {
	delays *delays
	delayed
}

// keepBack has exchanges keep m back, and returns how many do.
func (u *unit) keepBack(keepers []*delays, m *Message) (n int) {
	for _, d := range keepers {
		e, ok := d.reserve(m)
		if !ok {
			continue
		}
		n++
		if e.durable {
			u.add(Op{Kind: OpPublish, Msg: m, Queue: d.id, Seq: e.seq})
		}
		u.kept = append(u.kept, withheld{delays: d, delayed: e})
	}
	return n
}

// reserve takes a place for m, unless the exchange is gone.
func (d *delays) reserve(m *Message) (e delayed, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return e, false
	}
	e = delayed{due: m.dueAt(), msg: m, size: m.Size(), durable: m.Persistent && d.exchange.spec.Durable}
	if e.durable && d.id == 0 {
		b := d.broker()
		d.id = b.newQueueID()
		b.store.Commit([]Op{d.definition()}) // before any that uses it
	}
	e.seq = d.next
	d.next++
	return e, true
}

// show has the message come due when its time has come. If the exchange was deleted meanwhile its record went nowhere.
func (k *withheld) show() {
	d := k.delays
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ended {
		return
	}
	d.put(k.delayed)
	d.watch()
	const slack = 4 << 20
	if d.bytes > 2*d.paged+slack && d.broker().crowded() {
		d.pageOutLocked()
	}
}

// put and taken account for an entry that comes and goes.
func (d *delays) put(e delayed) {
	n := int64(0)
	if e.msg != nil {
		n = e.msg.held()
	}
	d.bytes += n
	d.broker().hold(n + delayedCost)
	d.heap.push(e)
}

func (d *delays) taken(e *delayed) {
	n := int64(0)
	if e.msg != nil {
		n = e.msg.let()
	}
	d.bytes -= n
	d.broker().hold(-n - delayedCost)
}

// watch has the alarm ring when the first message is due.
func (d *delays) watch() {
	if len(d.heap) > 0 && d.unread == 0 {
		d.broker().expiries.set(&d.alarm, d.heap[0].due)
	}
}

// pageOut lets messages go that the store can read back.
func (d *delays) pageOut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.pageOutLocked()
}

func (d *delays) pageOutLocked() {
	freed := int64(0)
	for i := range d.heap {
		if e := &d.heap[i]; e.durable && e.msg != nil && e.msg.Stored() {
			freed += e.msg.let()
			e.msg = nil
		}
	}
	d.bytes -= freed
	d.paged = d.bytes
	d.broker().hold(-freed)
}

// end drops all, and returns what is to be recorded. vhost.mu is held.
func (d *delays) end() []Op {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	for i := range d.heap {
		d.taken(&d.heap[i])
	}
	d.heap = nil
	d.broker().expiries.cancel(&d.alarm)
	if d.id == 0 {
		return nil
	}
	return []Op{removeOp(d.definition())}
}

func (d *delays) len() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.heap)
}

// delayer routes what has come due, and reads what was on record at the start.
func (b *Broker) delayer(ctx context.Context) {
	for {
		select {
		case <-b.dues.signal:
			for _, d := range b.dues.take() {
				if err := d.run(ctx); err != nil {
					b.fail(err)
					return
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// run does what is to be done now.
func (d *delays) run(ctx context.Context) error {
	if err := d.readAll(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		due := d.comeDue()
		if len(due) == 0 {
			return nil
		}
		missing, err := d.load(due)
		if err != nil {
			return err
		}
		if missing > 0 {
			d.broker().opt.Logger.Error("delayed messages are missing from the store: they will not be routed",
				slog.String("vhost", d.exchange.vhost.name), slog.String("exchange", d.exchange.spec.Name), slog.Int("missing", missing))
		}
		d.route(due)
	}
	return nil
}

// mayCome reports whether what is due may be routed now. While publishers must wait it may not: it would be what fills the broker up. But
// where they wait for memory alone, what has its message in memory takes no more of that elsewhere; and where they would not wait but for
// what is kept back here, nothing else makes room. mu is held.
func (d *delays) mayCome() bool {
	b := d.broker()
	if b.hasRoom() {
		return true
	}
	if b.stops.Load()&^(stopLong|stopBudget) != 0 || b.store.Pending() >= b.opt.PendingLimit {
		return false
	}
	return d.heap[0].msg != nil || b.held.Load()-d.bytes-delayedCost*int64(len(d.heap)) < b.opt.MemoryBudget-b.opt.MemoryBudget/16
}

// comeDue takes out what is due, up to a batch, in the order in which it came due. What may not be routed now is looked at again every
// delayRetry.
func (d *delays) comeDue() (due []delayed) {
	b := d.broker()
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.heap) == 0 {
		return nil
	}
	now := b.now()
	if d.heap[0].due <= now && !d.mayCome() {
		b.expiries.set(&d.alarm, now+delayRetry)
		return nil
	}
	for size := 0; len(d.heap) > 0 && d.heap[0].due <= now && len(due) < dueEntries && size < dueBytes; {
		e := d.heap.pop()
		d.taken(&e)
		due = append(due, e)
		size += e.size
	}
	if len(due) == 0 {
		d.watch()
	}
	return due
}

// route publishes messages that are due, in their order.
func (d *delays) route(due []delayed) {
	for len(due) > 0 {
		n := 0
		for n < len(due) && !due[n].retains() {
			n++
		}
		if n == 0 {
			d.routeRetained(&due[0])
			n = 1
		} else {
			d.routeAll(due[:n])
		}
		due = due[n:]
	}
}

// retains reports that the message is to be kept for its key.
func (e *delayed) retains() bool {
	return e.msg != nil && e.msg.Retain && e.msg.Exchange == TopicExchange
}

// routeRetained publishes one message that is to be kept for its key: see Session.publishRetained. Its place ends in the same unit.
func (d *delays) routeRetained(e *delayed) {
	x := d.exchange
	s := x.vhost.session()
	m := e.msg.undelayed(s.broker.now())
	x.vhost.retained.set(m, func(kept *Pair, ops []Op) (missed bool) {
		s.routeFrom(x, m)
		_, missed = s.push(m)
		u := unit{broker: s.broker}
		_, _ = s.put(&u, kept, m) // what a full queue refuses is dropped: there is nobody to be told
		u.add(ops...)
		if e.durable {
			u.once = true // see routeAll
			u.settle(d.id, Range{First: e.seq, Last: e.seq})
		}
		u.commit(nil, 0)
		return missed
	})
}

// routeAll publishes messages that are due, and ends their places, in one unit.
func (d *delays) routeAll(due []delayed) {
	x := d.exchange
	s := x.vhost.session()
	u := unit{broker: s.broker}
	x.vhost.dedups.mu.Lock()
	defer x.vhost.dedups.mu.Unlock()
	var places []Seq
	for i := range due {
		e := &due[i]
		if e.durable {
			places = append(places, e.seq)
		}
		if e.msg == nil {
			continue // damaged
		}
		m := e.msg.undelayed(s.broker.now())
		if id, ok := m.dedupID(); ok && x.vhost.dedups.on.Load() {
			_, _ = s.uniqueIn(&u, &unique{id: id, past: x}, m, func() error { s.routeFrom(x, m); return nil })
			continue
		}
		s.routeFrom(x, m)
		pushed, _ := s.push(m)
		// What a full queue refuses is dropped: there is nobody to be told.
		if n, full := s.put(&u, nil, m); n+pushed == 0 && full == nil {
			s.unrouted(m)
		}
	}
	// A crash must not have them come due again, unmarked, when a consumer has them already.
	u.once = u.once || len(places) > 0
	u.settle(d.id, ranges(places)...)
	u.commit(nil, 0)
}

// undelayed is a message that is due as it is routed. Its time to live begins now.
func (m *Message) undelayed(now int64) *Message {
	next := m.again()
	next.Props, next.Retain, next.origin = negateDelay(m.Props), m.Retain, m.origin
	if m.Expires != 0 {
		next.Expires = m.Expires + now - m.Arrived
	}
	return next
}

// negateDelay returns a property block in which the header with the delay is negated, if it is there.
func negateDelay(props []byte) []byte {
	p, err := field.ParseProperties(props)
	if err != nil {
		return props
	}
	for i := range p.Headers {
		h := &p.Headers[i]
		if h.Key != headerDelay {
			continue
		}
		if n := delayValue(h.Value); n <= math.MaxInt32 {
			h.Value = -int32(n)
		} else {
			h.Value = -n
		}
		if next, err := field.AppendProperties(nil, &p); err == nil {
			return next
		}
		break
	}
	return props
}

// load reads back the messages of entries that have none, and returns how many of them the store does not have.
func (d *delays) load(due []delayed) (lost int, err error) {
	missing := map[Seq]*delayed{}
	var places []Seq
	for i := range due {
		if e := &due[i]; e.msg == nil {
			missing[e.seq] = e
			places = append(places, e.seq)
		}
	}
	if len(missing) == 0 {
		return 0, nil
	}
	for _, r := range near(places) {
		for from := r.First; from <= r.Last; {
			entries, err := d.broker().store.Load(d.id, from, r.Last, loadEntries, loadBytes)
			if err != nil {
				return 0, err
			}
			if len(entries) == 0 {
				break
			}
			for i := range entries {
				if e := missing[entries[i].Seq]; e != nil {
					e.msg = entries[i].Msg
					delete(missing, e.seq)
				}
			}
			from = entries[len(entries)-1].Seq + 1
		}
	}
	return len(missing), nil
}

// readAll reads through what was on record at the start, once.
func (d *delays) readAll(ctx context.Context) error {
	d.mu.Lock()
	end, id := d.unread, d.id
	d.mu.Unlock()
	if end == 0 {
		return nil
	}
	for from := Seq(1); from < end; {
		if ctx.Err() != nil {
			return nil //nolint:nilerr // the broker ends, which is no failure of it
		}
		entries, err := d.broker().store.Load(id, from, end-1, loadEntries, loadBytes)
		if err != nil {
			return err
		}
		if len(entries) == 0 {
			break
		}
		from = entries[len(entries)-1].Seq + 1
		d.mu.Lock()
		for i := range entries {
			if m := entries[i].Msg; !d.ended {
				d.put(delayed{due: m.dueAt(), seq: entries[i].Seq, size: m.Size(), durable: true})
			}
		}
		d.mu.Unlock()
	}
	d.mu.Lock()
	d.unread = 0
	d.watch()
	d.mu.Unlock()
	close(d.ready)
	return nil
}

// recovered takes over what is on record for the exchange. The delayer reads it.
func (d *delays) recovered(def *Definition) {
	d.id, d.next = def.Queue, max(1, def.Next)
	if def.Count > 0 {
		d.unread, d.ready = d.next, make(chan struct{})
		d.broker().dues.add(d)
	}
}

// allDelays yields those of every exchange.
func (b *Broker) allDelays() func(yield func(*delays) bool) {
	return func(yield func(*delays) bool) {
		for _, v := range b.vhosts.Load().all() {
			for _, x := range v.exchanges.Load().all() {
				if x.delays != nil && !yield(x.delays) {
					return
				}
			}
		}
	}
}
