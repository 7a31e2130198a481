package core

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Subscriber is what outlives a connection of a client that comes back: its subscriptions, the messages that wait for it, what is on
// its way in both directions, and its will. A Link is one connection's hold on a Subscriber; there is at most one at a time.
//
// Messages that are kept for a subscriber wait in a queue of its own [MQTT-4.5.0-1], with all that queues can do: order
// [MQTT-4.6.0-5] [MQTT-4.6.0-6], paging, durability. What is on its way has an id that both sides know it by. Messages that nobody keeps never enter the queue: they go straight to the link.
//
// A subscriber belongs to the user who made it. One whose expiry is zero ends with its link, and records nothing but its will.
//
// Each message that is kept for a subscriber is in one of these states, and its id, once it has one, stays with it:
//
//	waiting    in the queue, without an id
//	out        with the link, under an id: the client has not answered for it
//	carried    in the queue again, since its link has ended; its id waits for it
//	released   the client has it; only the id is left, until the client has forgotten it
//	gone
//
// When a link ends all that is out is carried. The next link is handed it by the ordinary dispatch: in order, within its window, under
// the same id.
type Subscriber struct {
	vhost   *VHost
	name    string
	queue   *Queue
	serial  uint32 // that no other has while the process lives
	durable bool   // outlives its links

	// guarded by vhost.mu
	user      string // whose it is; "": the first comer's
	expiry    time.Duration
	away      time.Time // since when there is no link; zero while there is one
	timer     *time.Timer
	will      *Will
	willTimer *time.Timer
	willDue   bool // it waits for publishers to go on, and for nothing else
	ended     bool
	linked    bool // at recovery: had a link when the broker died

	table  atomic.Pointer[subscriptionTable] // changes under vhost.mu
	shares atomic.Pointer[[]*member]         // likewise; nil: none
	link   atomic.Pointer[Link]              // changes under vhost.mu, gate and mu
	missed atomic.Pointer[missed]            // what it did not get because it was slow; nil: it never was

	// lostAt is the place before which messages that match no subscription any more are dropped: rights to what they were for were taken
	// away. It changes under vhost.mu and queue.mu; 0: they are handed over.
	lostAt Seq

	// gate makes one step of a link's verb: that the link is the subscriber's still, and what the verb records. What the next link, or
	// none, records comes after it. It is below vhost.mu and above retained.mu and every queue.mu.
	gate     sync.Mutex
	received map[uint16]struct{} // ids under which messages came in exactly once, until they are released

	replays replays

	// mu is below queue.mu and above the outbox.
	mu       sync.Mutex
	out      *inflight // what is out or released; nil: nothing
	carried  map[Seq]carried
	reserved map[uint16]struct{} // the ids of carried
	lastID   uint16
	quarter  uint8  // of lastID, as recorded or about to be
	releases uint64 // counts what was released
}

// Level says how surely a message is to be handed over.
type Level uint8

// The levels. A message has one, a subscription has one, and a delivery has the lower of the two.
const (
	AtMostOnce Level = iota
	AtLeastOnce
	ExactlyOnce
)

// Forever is the expiry of a subscriber that never expires.
const Forever = time.Duration(math.MaxInt64)

// SubscriberSpec asks for a link to a subscriber, which is made if there is none of its name.
type SubscriberSpec struct {
	Name     string        // the client's
	Queue    string        // the name of its queue
	Fresh    bool          // forget what there was
	Expiry   time.Duration // how long it outlives the link
	Window   int           // messages on their way at most [MQTT-3.3.4-9]; 0: 65,535
	Will     *Will
	Receiver SubscriberReceiver

	// Outside reports that a subscription of that key is not for this link: one that there is ends, as one does that its user may not
	// have any more. Nil: none is.
	Outside func(key string) bool
}

// Match says how a message reaches a subscriber, by all its subscriptions that match, taken together.
type Match struct {
	Level  Level
	Retain bool     // show the message as a retained one
	ID     uint32   // of a matching subscription that has one; 0: none
	More   []uint32 // those of the others: an identifier as often as subscriptions that match have it
}

// SubscriberReceiver is where a front-end takes what a subscriber is given. Its methods may be called by any goroutine, with locks
// held: they append to the outbox, never block and never call the engine.
type SubscriberReceiver interface {
	// Ready reports whether the outbox has room; see Receiver.
	Ready() bool
	// Push hands over a message that nobody keeps. One that is under way may come after TakenOver.
	Push(m *Message, match *Match)
	// Send hands over a message that is kept until the client has answered for id. again: it may have been handed over before.
	Send(m *Message, id uint16, match *Match, again bool)
	// Release asks the client to forget an id under which it has a message exactly once.
	Release(id uint16)
	// TakenOver tells that another connection has the subscriber now.
	TakenOver()
}

// Link is one connection's hold on a subscriber. Its methods are called by the connection's reader; Ack and Refused by any goroutine.
// Once another connection has taken the subscriber over they do nothing, or answer ErrTakenOver.
type Link struct {
	sub      *Subscriber
	session  *Session
	receiver SubscriberReceiver
	window   Window
	own      Consumer    // in the queue
	consumer *Consumer   // own, from Start on; guarded by sub.gate
	sharings []*sharing  // in what shares it takes part; guarded by sub.gate
	accepted bool        // the link was on record while it held the subscriber; guarded by vhost.mu
	allowed  uint64      // the generation of the rights by which it has its will; guarded by vhost.mu
	started  atomic.Bool // the front-end has answered its client

	passing atomic.Int64 // bytes of messages that wait until the record of their id has passed
	stalled atomic.Bool  // Ready was false because of them

	shares   atomic.Bool // it took part in a share: several consumers want its window's credit
	declined atomic.Bool // what a share had for it: it is to be served when the subscriber's own queue has been
}

// ErrTakenOver is what a link answers that is no longer its subscriber's.
var ErrTakenOver = errors.New("another connection has taken the subscriber over")

// holds reports whether l is its subscriber's link. With sub.gate held it stays so.
func (l *Link) holds() bool { return l.sub.link.Load() == l }

// Subscriber links the session to a subscriber and tells whether that was there already. Deliveries begin with Link.Start, so that
// the front-end can answer its client first. ctx bounds the wait until the link is on record; if that is given up there is no link,
// and its will is forgotten: only a client whose connect was accepted has one [MQTT-3.1.2-7]
// [MQTT-3.1.1 3.1.2-8].
//
// A session of another user than the subscriber's is refused, and what would need space on a full disk; neither disturbs the link
// there is.
func (s *Session) Subscriber(ctx context.Context, spec SubscriberSpec) (l *Link, present bool, err error) {
	v, allowed := s.vhost, s.generation()
	if err := s.mayHaveSubscriber(&spec); err != nil {
		return nil, false, err
	}
	silenced, lost := v.silenced(spec.Name), s.lostSubscriptions(&spec)
	v.mu.Lock()
	if err := s.mayLink(&spec); err != nil {
		v.mu.Unlock()
		return nil, false, err
	}
	l, present, ops := s.newLink(&spec, silenced, lost)
	l.allowed = allowed
	p := v.commit(false, ops...)
	v.mu.Unlock()
	if err := p.wait(ctx); err != nil {
		l.Detach(false, nil)
		return nil, false, err
	}
	if !l.accept() {
		return nil, false, ErrTakenOver
	}
	return l, present, nil
}

// accept notes that the client is about to be answered, unless another connection was faster.
func (l *Link) accept() bool {
	v := l.sub.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	l.accepted = l.holds()
	return l.accepted
}

// mayLink refuses a link before anything has changed. vhost.mu is held.
func (s *Session) mayLink(spec *SubscriberSpec) error {
	const op = "link"
	v, sub := s.vhost, s.vhost.subscriber(spec.Name)
	object := v.subscriberName(spec.Name)
	if err := v.mayMake(op); err != nil {
		return err
	}
	if err := s.mayOutlive(op); err != nil {
		return err
	}
	if sub != nil && sub.user != "" && sub.user != s.opt.User {
		return &Error{Kind: Refused, Op: op, Name: object, Text: object + " belongs to another user"}
	}
	if q := v.queue(spec.Queue); q != nil && (sub == nil || q != sub.queue) {
		return &Error{Kind: Locked, Op: op, Name: object, Text: v.queueName(spec.Queue) + " exists and is not the subscriber's"}
	}
	if sub == nil {
		if err := v.mayAddQueue(op, spec.Queue); err != nil {
			return err
		}
	}
	if err := checkWill(spec.Will); err != nil {
		return err
	}
	if made := sub == nil || !sub.durable; spec.Will != nil || spec.Expiry > 0 && made {
		return v.broker.mayDefine(op, object)
	}
	return nil
}

// newLink takes the subscriber over [MQTT-3.1.2-5] or makes it [MQTT-3.1.2-4] [MQTT-3.1.2-6]. Nothing stands in the way. silenced is the link, if any, whose will is not published
// although it is broken off; lost is what the session may not have any more of the subscriptions there are. vhost.mu is held.
func (s *Session) newLink(spec *SubscriberSpec, silenced *Link, lost lost) (l *Link, present bool, ops []Op) {
	v := s.vhost
	sub := v.subscriber(spec.Name)
	if sub != nil {
		if old := sub.link.Load(); old != nil {
			ops = append(ops, sub.detach(old, old == silenced)...)
			old.receiver.TakenOver()
		}
		if spec.Fresh && !sub.ended {
			ops = append(ops, sub.end()...)
		}
		if sub.ended {
			sub = nil
		} else if sub.willDue {
			sub.publishWill()
		}
	}
	if o := v.orphans[spec.Name]; o != nil {
		ops = append(ops, o.settleWill(s.opt.User)...)
	}
	if present = sub != nil; !present {
		sub = v.newSubscriber(spec)
	} else {
		ops = append(ops, sub.lose(lost)...)
	}
	window := spec.Window
	if window == 0 {
		window = math.MaxUint16
	}
	l = &Link{sub: sub, session: s, receiver: spec.Receiver}
	l.window.limit.Store(int64(window))
	s.link = l
	ops = append(ops, sub.attach(l, spec)...)
	return l, present, append(ops, Op{Kind: OpNone})
}

func (v *VHost) subscriberName(name string) string {
	return fmt.Sprintf("subscriber '%s' in vhost '%s'", name, v.name)
}

func (v *VHost) subscriber(name string) *Subscriber {
	sub, _ := v.subscribers.Load().get(name)
	return sub
}

func (v *VHost) newSubscriber(spec *SubscriberSpec) *Subscriber {
	sub := &Subscriber{vhost: v, name: spec.Name, durable: spec.Expiry > 0}
	var id QueueID
	if sub.durable {
		id = v.broker.newQueueID()
	}
	sub.giveQueue(spec.Queue, id)
	v.addQueue(sub.queue)
	next := v.subscribers.Load().with(sub.name, sub)
	v.subscribers.Store(&next)
	return sub
}

// giveQueue gives a new subscriber its queue, whose name is free.
func (sub *Subscriber) giveQueue(queue string, id QueueID) {
	sub.queue = &Queue{
		vhost: sub.vhost, lane: lane{id: id, next: 1}, subscriber: sub,
		spec: QueueSpec{Name: queue, Durable: sub.durable, Exclusive: true},
	}
	sub.queue.settings.Store(sub.vhost.broker.waiting)
	sub.table.Store(noSubscriptions)
	sub.serial = sub.vhost.broker.lastSub.Add(1)
}

// attach makes l the subscriber's link and returns what is to be recorded of it: its will, too, in place of one that was still to
// come [MQTT-3.1.2-7] [MQTT-3.1.3-9]. vhost.mu is held.
func (sub *Subscriber) attach(l *Link, spec *SubscriberSpec) (ops []Op) {
	stopTimer(&sub.timer)
	sub.user, sub.expiry, sub.away = l.session.opt.User, spec.Expiry, time.Time{}
	sub.link.Store(l) // there is none whose verbs could care
	if sub.durable {
		ops = append(ops, sub.definition())
	}
	return append(ops, sub.setWill(spec.Will)...)
}

// Start asks the client to forget what it has, in the order in which it said so, and then hands over what waits.
func (l *Link) Start() {
	sub, q := l.sub, l.sub.queue
	sub.gate.Lock()
	defer sub.gate.Unlock()
	if !l.holds() {
		return
	}
	l.startOwn(q)
	for _, m := range sub.members() {
		l.share(m)
	}
}

// startOwn has the link consume from the subscriber's own queue. gate is held.
func (l *Link) startOwn(q *Queue) {
	q.mu.Lock()
	defer q.mu.Unlock()
	l.own = Consumer{session: l.session, queue: q, open: true, final: true, spec: ConsumerSpec{Receiver: l, Window: &l.window}}
	l.consumer = &l.own
	l.started.Store(true)
	l.sub.releaseAgain(l)
	q.consumers = append(q.consumers, l.consumer)
	q.vhost.broker.consumers.Add(1)
	q.list(l.consumer)
	q.dispatch()
}

// Detach ends the link. goodbye says that the client left in good order, so that its will is forgotten; without it the will is
// published, unless the client may not publish it any more. expiry, when not nil, replaces the subscriber's; one that ends with its link
// cannot be given one.
func (l *Link) Detach(goodbye bool, expiry *time.Duration) {
	sub := l.sub
	v := sub.vhost
	goodbye = goodbye || l.isSilenced()
	v.mu.Lock()
	defer v.mu.Unlock()
	if !l.holds() {
		return
	}
	if expiry != nil && sub.durable {
		sub.expiry = *expiry
	}
	v.commit(true, sub.detach(l, goodbye)...)
}

// Suspend ends the link because the broker stops. What is out goes back, marked as handed over, and nothing else changes: the broker
// that comes next finds the link broken off, and gives the client time to come back before its will is published.
func (l *Link) Suspend() {
	v := l.sub.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	if l.holds() {
		l.sub.unlink(l)
	}
}

// detach ends the link l: the subscriber lives on for as long as its expiry says [MQTT-3.1.2-23] [MQTT-4.1.0-1]. vhost.mu is held.
func (sub *Subscriber) detach(l *Link, goodbye bool) (ops []Op) {
	sub.unlink(l)
	sub.away = sub.vhost.broker.store.Now()
	if goodbye || !l.accepted {
		ops = append(ops, sub.setWill(nil)...)
	} else {
		sub.armWill(min(sub.willDelay(), sub.expiry))
	}
	if !sub.durable || sub.expiry <= 0 {
		return append(ops, sub.end()...)
	}
	sub.armExpiry(sub.expiry)
	return append(ops, sub.definition())
}

// unlink takes the link away, and with it what was out. No verb of l has an effect after it. vhost.mu is held.
func (sub *Subscriber) unlink(l *Link) {
	sub.gate.Lock()
	defer sub.gate.Unlock()
	c := l.consumer
	if c != nil {
		c.leave()
		l.unshareAll()
	}
	n, bytes, shared := sub.putBack()
	if n > 0 {
		c.grant(n, bytes)
		sub.queue.watchBack()
	}
	if len(shared) > 0 {
		l.giveBackShared(shared)
	}
}

// end deletes the subscriber with all that is its own, but for a will that is still to come. vhost.mu is held, and there is no link.
func (sub *Subscriber) end() (ops []Op) {
	v := sub.vhost
	sub.ended = true
	stopTimer(&sub.timer)
	ops = append(ops, sub.unsubscribeAll()...)
	if sub.willTimer != nil { // the owner does not come back any more: the delay is over [MQTT-3.1.2-8]
		stopTimer(&sub.willTimer)
		sub.comeDue()
	}
	if sub.will != nil {
		v.addOrphan(sub)
	}
	next := v.subscribers.Load().without(sub.name)
	v.subscribers.Store(&next)
	queues := v.queues.Load().without(sub.queue.spec.Name)
	v.queues.Store(&queues)
	_, _ = sub.queue.end(false, false) // without conditions it never refuses
	ops = append(ops, v.forgetIDs(dedupOwner{name: sub.queue.spec.Name})...)
	if !sub.durable {
		return ops
	}
	ops = append(ops, sub.forgetIDs()...)
	return append(ops, removeOp(sub.definition()))
}

// forgetIDs returns the removal of the records of all ids.
func (sub *Subscriber) forgetIDs() (ops []Op) {
	sub.gate.Lock()
	for id := range sub.received {
		ops = append(ops, Op{Kind: OpRemove, Key: sub.idKey(keyReceived, id)})
	}
	sub.gate.Unlock()
	sub.mu.Lock()
	defer sub.mu.Unlock()
	for o := range sub.out.all {
		if o.recorded {
			ops = append(ops, Op{Kind: OpRemove, Key: sub.idKey(keyOutgoing, o.id)})
		}
	}
	for _, c := range sub.carried {
		if c.recorded {
			ops = append(ops, Op{Kind: OpRemove, Key: sub.idKey(keyOutgoing, c.id)})
		}
	}
	return ops
}

// armExpiry ends the subscriber after d without a link [MQTT-4.1.0-2].
func (sub *Subscriber) armExpiry(d time.Duration) {
	stopTimer(&sub.timer)
	if d == Forever {
		return
	}
	var t *time.Timer
	t = sub.vhost.broker.after(max(0, d), func() {
		v := sub.vhost
		v.mu.Lock()
		defer v.mu.Unlock()
		if sub.timer == t && !sub.ended {
			v.broker.lapsed.Add(1)
			v.commit(true, sub.end()...)
		}
	})
	sub.timer = t
}

// stopTimer stops and forgets a timer. One that fires all the same sees that it is forgotten.
func stopTimer(t **time.Timer) {
	if *t != nil {
		(*t).Stop()
		*t = nil
	}
}
