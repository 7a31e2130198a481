package core

import (
	"context"
	"errors"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// Subscriber is what outlives a connection of a client that comes back: its subscriptions, the messages that wait for it, what is on
// its way in both directions, and its will. A Link is one connection's hold on a Subscriber; there is at most one at a time.
//
// Messages that are kept for a subscriber wait in a queue of its own, with all that queues can do: order, paging, durability. What is
// on its way has an id that both sides know it by. Messages that nobody keeps never enter the queue: they go straight to the link.
//
// A subscriber whose expiry is zero ends with its link, and records nothing but its will.
type Subscriber struct {
	vhost   *VHost
	name    string
	queue   *Queue
	durable bool // outlives its links

	// guarded by vhost.mu
	expiry        time.Duration
	away          time.Time // since when there is no link; zero while there is one
	timer         *time.Timer
	subscriptions map[string]*binding // by key
	will          *Will
	willTimer     *time.Timer
	ended         bool
	linked        bool // at recovery: had a link when the broker died

	table atomic.Pointer[subscriptionTable] // of subscriptions, for deliveries
	link  atomic.Pointer[Link]

	// guarded by mu, which comes below queue.mu and above the outbox
	mu       sync.Mutex
	out      map[uint16]*outgoing
	order    []uint16       // of out, as they came; names also ids that are gone
	carried  map[Seq]uint16 // the ids that places had before a restart
	lastID   uint16
	received map[uint16]struct{}
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
	Window   int           // messages on their way at most; 0: 65,535
	Will     *Will
	Receiver SubscriberReceiver
}

// Match says how a message reaches a subscriber, by all its subscriptions that match, taken together.
type Match struct {
	Level  Level
	Retain bool   // show the message as a retained one
	ID     uint32 // of a matching subscription that has one; 0: none
	More   []uint32
}

// SubscriberReceiver is where a front-end takes what a subscriber is given. Its methods may be called by any goroutine, with locks
// held: they append to the outbox, never block and never call the engine.
type SubscriberReceiver interface {
	// Ready reports whether the outbox has room; see Receiver.
	Ready() bool
	// Push hands over a message that nobody keeps.
	Push(m *Message, match *Match)
	// Send hands over a message that is kept until the client has answered for id. again: it may have been handed over before.
	Send(m *Message, id uint16, match *Match, again bool)
	// Release asks the client to forget an id under which it has a message exactly once.
	Release(id uint16)
	// TakenOver tells that another connection has the subscriber now. No method is called after it.
	TakenOver()
}

// Link is one connection's hold on a subscriber. Its methods are called by the connection's reader. Once another connection has taken
// the subscriber over they do nothing, or answer ErrTakenOver.
type Link struct {
	sub      *Subscriber
	session  *Session
	receiver SubscriberReceiver
	consumer *Consumer
	window   *Window
	started  atomic.Bool // the front-end has answered its client
}

// ErrTakenOver is what a link answers that is no longer its subscriber's.
var ErrTakenOver = errors.New("another connection has taken the subscriber over")

// Subscriber links the session to a subscriber and tells whether that was there already. Deliveries begin with Link.Start, so that
// the front-end can answer its client first. ctx bounds the wait until the link is on record.
func (s *Session) Subscriber(ctx context.Context, spec SubscriberSpec) (l *Link, present bool, err error) {
	v := s.vhost
	if err := checkWill(spec.Will); err != nil {
		return nil, false, err
	}
	v.mu.Lock()
	l, present, ops, err := s.newLink(spec)
	if err != nil {
		v.mu.Unlock()
		return nil, false, err
	}
	p := v.commit(false, ops...)
	v.mu.Unlock()
	return l, present, p.wait(ctx)
}

// newLink takes the subscriber over or makes it. vhost.mu is held.
func (s *Session) newLink(spec SubscriberSpec) (l *Link, present bool, ops []Op, err error) {
	v := s.vhost
	sub := v.subscriber(spec.Name)
	if sub != nil {
		if old := sub.link.Load(); old != nil {
			old.receiver.TakenOver()
			ops = append(ops, sub.detach(old, false)...)
		}
		if spec.Fresh && !sub.ended {
			ops = append(ops, sub.end()...)
		}
		if sub.ended {
			sub = nil
		}
	}
	if o := v.orphans[spec.Name]; o != nil { // its client has come back
		delete(v.orphans, spec.Name)
		ops = append(ops, o.setWill(nil)...)
	}
	if present = sub != nil; !present {
		if sub, err = v.newSubscriber(spec); err != nil {
			return nil, false, nil, err
		}
	}
	window := spec.Window
	if window == 0 {
		window = math.MaxUint16
	}
	l = &Link{sub: sub, session: s, receiver: spec.Receiver, window: NewWindow(window)}
	s.link = l
	ops = append(ops, sub.attach(l, spec)...)
	return l, present, append(ops, Op{Kind: OpNone}), nil
}

func (v *VHost) subscriber(name string) *Subscriber {
	sub, _ := v.subscribers.Load().get(name)
	return sub
}

func (v *VHost) newSubscriber(spec SubscriberSpec) (*Subscriber, error) {
	sub := &Subscriber{vhost: v, name: spec.Name, durable: spec.Expiry > 0}
	var id QueueID
	if sub.durable {
		id = v.broker.newQueueID()
	}
	if err := v.addSubscriber(sub, spec.Queue, id); err != nil {
		return nil, err
	}
	return sub, nil
}

// addSubscriber gives a subscriber its queue and its place in the vhost.
func (v *VHost) addSubscriber(sub *Subscriber, queue string, id QueueID) error {
	if v.queue(queue) != nil {
		object := v.queueName(queue)
		return &Error{Kind: Locked, Op: "link subscriber", Name: object, Text: object + " exists and is not the subscriber's"}
	}
	sub.queue = &Queue{
		vhost: v, id: id, next: 1, subscriber: sub,
		spec: QueueSpec{Name: queue, Durable: sub.durable, Exclusive: true},
	}
	sub.table.Store(&subscriptionTable{})
	v.addQueue(sub.queue)
	next := v.subscribers.Load().with(sub.name, sub)
	v.subscribers.Store(&next)
	return nil
}

// attach makes l the subscriber's link and returns what is to be recorded of it. vhost.mu is held.
func (sub *Subscriber) attach(l *Link, spec SubscriberSpec) (ops []Op) {
	stopTimer(&sub.timer)
	sub.expiry, sub.away = spec.Expiry, time.Time{}
	sub.link.Store(l)
	if sub.durable {
		ops = append(ops, sub.definition())
	}
	return append(ops, sub.setWill(spec.Will)...)
}

// Start hands over what was on its way when the last link ended, in the order in which it first went out, and then what waits.
func (l *Link) Start() {
	sub, q := l.sub, l.sub.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if sub.link.Load() != l || q.deleted {
		return
	}
	c := &Consumer{session: l.session, queue: q, listed: true, spec: ConsumerSpec{Queue: q.spec.Name, Receiver: l, Window: l.window}}
	l.consumer = c
	l.started.Store(true)
	l.session.consumers[c] = struct{}{}
	sub.sendAgain(l)
	q.consumers = append(q.consumers, c)
	q.listed = append(q.listed, c)
	q.dispatch()
}

// Detach ends the link. goodbye says that the client left in good order, so that its will is forgotten; without it the will is
// published. expiry, when not nil, replaces the subscriber's; one that ends with its link cannot be given one.
func (l *Link) Detach(goodbye bool, expiry *time.Duration) {
	sub := l.sub
	v := sub.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	if sub.link.Load() != l {
		return
	}
	if expiry != nil && sub.durable {
		sub.expiry = *expiry
	}
	v.commit(true, sub.detach(l, goodbye)...)
}

// detach ends the link l. vhost.mu is held.
func (sub *Subscriber) detach(l *Link, goodbye bool) (ops []Op) {
	sub.link.Store(nil)
	sub.queue.mu.Lock()
	c := l.consumer // made by Start, which does nothing once the link is taken away
	sub.queue.mu.Unlock()
	if c != nil {
		sub.queue.drop(c)
	}
	sub.away = sub.vhost.broker.store.Now()
	if goodbye {
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

// end deletes the subscriber with all that is its own, but for a will that is still to come. vhost.mu is held, and there is no link.
func (sub *Subscriber) end() (ops []Op) {
	v := sub.vhost
	sub.ended = true
	stopTimer(&sub.timer)
	for key := range sub.subscriptions {
		ops = append(ops, sub.unsubscribe(key)...)
	}
	if sub.willTimer != nil { // the owner does not come back any more: the delay is over [MQTT-3.1.3-9]
		stopTimer(&sub.willTimer)
		sub.publishWill()
	}
	next := v.subscribers.Load().without(sub.name)
	v.subscribers.Store(&next)
	queues := v.queues.Load().without(sub.queue.spec.Name)
	v.queues.Store(&queues)
	_, _ = sub.queue.end(false, false) // without conditions it never refuses
	if !sub.durable {
		return ops
	}
	sub.mu.Lock()
	defer sub.mu.Unlock()
	for id, o := range sub.out {
		if o.recorded {
			ops = append(ops, Op{Kind: OpRemove, Key: sub.idKey(keyOutgoing, id)})
		}
	}
	for _, id := range sub.carried {
		ops = append(ops, Op{Kind: OpRemove, Key: sub.idKey(keyOutgoing, id)})
	}
	for id := range sub.received {
		ops = append(ops, Op{Kind: OpRemove, Key: sub.idKey(keyReceived, id)})
	}
	return append(ops, removeOp(sub.definition()))
}

// armExpiry ends the subscriber after d without a link.
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
