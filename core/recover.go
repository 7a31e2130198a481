package core

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/batonmq/baton/core/field"
)

// recover rebuilds the vhosts from the store's definitions. They come in the order of their making, queues last. What belongs to a
// queue or a subscriber is kept back until those exist. Messages stay where they are: each queue begins with its whole backlog cold.
//
// Nobody sees anything of it before Open returns, so that maps and routing tables are built in place; from then on every change is a
// new version. What many definitions name alike they share.
func (b *Broker) recover(ctx context.Context) error {
	rc := recovery{Broker: b}
	for d, err := range b.store.Recover(ctx) {
		if err != nil {
			return fmt.Errorf("recover definitions: %w", err)
		}
		if err := rc.definition(&d); err != nil {
			return fmt.Errorf("recover definition %q: %w", d.Key, err)
		}
	}
	if err := rc.lateDefinitions(); err != nil {
		return err
	}
	if err := b.readRetained(ctx); err != nil {
		return err
	}
	rc.dropShares()
	b.governAll()
	if err := b.readIDs(); err != nil {
		return err
	}
	b.access.goOnDeleting()
	b.resumeSubscribers()
	b.resumeQueues()
	return nil
}

// recovery is the broker while it recovers, and what it has read last.
type recovery struct {
	*Broker
	late  keptBack // those that need others
	edges *edges   // while these are acted on

	vhostName, userName, subName string
	lastVHost                    *VHost
	lastSub                      *Subscriber
}

func (rc *recovery) definition(d *Definition) error {
	r := readDefinition(d)
	var kind byte
	if d.Key != "" {
		kind = d.Key[0]
	}
	switch kind {
	case keyVHost:
		rc.vhostRecord(&r)
	case keyUser:
		rc.user(&r)
	case keyMarker:
		rc.marker(&r)
	case keyExchange:
		rc.exchange(&r)
	case keyPolicy:
		rc.policy(&r)
	case keyParameter:
		rc.parameter(&r)
	case keyQueue:
		rc.queue(&r, d)
	case keySubscriber:
		rc.subscriber(&r, d)
	case keyShare:
		rc.share(&r, d)
	case keyHeld, keyKept:
		rc.kept(&r, d)
	case keyDedup:
		rc.dedup(&r, d)
	case keyDelayed:
		rc.delayed(&r, d)
	case keyRetained:
		rc.retained(&r, d)
	case keyLane, keyBinding, keySubscription, keyOutgoing, keyReceived, keyWill, keyPermission, keyTopicPermission:
		rc.late.add(d)
	default:
		r.err = fmt.Errorf("definition is of an unknown kind: a newer version of the broker wrote it")
	}
	return r.err
}

// errOrphan is what is wrong with a record of a subscriber that is gone: a connection that was being taken over made it last.
var errOrphan = errors.New("it belongs to no subscriber")

// dropOrphan removes a record that has lost its subscriber, which nothing else would do.
func (b *Broker) dropOrphan(key string, why error) {
	b.opt.Logger.Warn("removing a record of a subscriber that is gone", slog.String("key", fmt.Sprintf("%q", key)), slog.Any("reason", why))
	b.store.Commit([]Op{{Kind: OpRemove, Key: key}})
}

func (rc *recovery) lateDefinitions() error {
	rc.edges = newEdges()
	defer rc.edges.close()
	for d := range rc.late.all {
		err := rc.lateDefinition(d)
		if errors.Is(err, errOrphan) {
			rc.dropOrphan(d.Key, err)
			continue
		}
		if err != nil {
			return fmt.Errorf("recover definition %q: %w", d.Key, err)
		}
	}
	return nil
}

// lateDefinition acts on a definition that needs others.
func (rc *recovery) lateDefinition(d *Definition) error {
	r := readDefinition(d)
	switch d.Key[0] {
	case keyLane:
		rc.lane(&r, d)
	case keyBinding:
		return rc.binding(&r)
	case keySubscription:
		rc.subscription(&r)
	case keyOutgoing:
		rc.outgoing(&r)
	case keyReceived:
		if sub, id := rc.owningSubscriber(&r), read[uint16](&r, "id"); r.err == nil {
			sub.receive(id)
		}
	case keyWill:
		rc.will(&r)
	case keyPermission:
		rc.permission(&r)
	case keyTopicPermission:
		rc.topicPermission(&r)
	}
	return r.err
}

// owner returns the vhost that a definition names.
func (rc *recovery) owner(r *reader) *VHost {
	return rc.named(r, readShared(r, "vhost", &rc.vhostName))
}

// named returns a vhost.
func (rc *recovery) named(r *reader, name string) *VHost {
	if rc.lastVHost == nil || rc.lastVHost.name != name {
		rc.lastVHost = rc.vhost(name)
	}
	if rc.lastVHost == nil && r.err == nil {
		r.err = fmt.Errorf("its vhost '%s' does not exist", name)
	}
	return rc.lastVHost
}

func (rc *recovery) exchange(r *reader) {
	v := rc.owner(r)
	spec := ExchangeSpec{
		Name: read[string](r, "name"), Kind: read[string](r, "kind"), Durable: true,
		AutoDelete: read[bool](r, "auto_delete"), Internal: read[bool](r, "internal"),
		Args: read[field.Table](r, "arguments"),
	}
	if r.err == nil && !isKind(spec.Kind) {
		r.err = fmt.Errorf("unknown exchange type '%s'", spec.Kind)
	}
	if r.err == nil {
		v.addExchange(newExchange(v, spec))
	}
}

func (rc *recovery) queue(r *reader, d *Definition) {
	v := rc.owner(r)
	q := &Queue{
		vhost: v, lane: lane{id: d.Queue}, inbound: map[string]*binding{},
		spec: QueueSpec{
			Name: read[string](r, "name"), Durable: true,
			AutoDelete: read[bool](r, "auto_delete"), Args: read[field.Table](r, "arguments"),
		},
	}
	q.used, _ = readOptional[bool](r, "used")
	if r.err != nil {
		return
	}
	settings, _ := parseQueueArgs(q.spec.Args, func(arg, problem string) error {
		// It had no meaning in the version of the broker in which the queue was declared.
		rc.opt.Logger.Warn("an argument of a queue has a value that it may not have: it has no effect",
			slog.String("vhost", v.name), slog.String("queue", q.spec.Name), slog.String("argument", arg), slog.String("problem", problem))
		return nil
	})
	q.settings.Store(settings)
	v.dedups.note(q.dedupLimits())
	q.ladder, q.single = newLadder(settings), settings.singleActive()
	q.restore(&q.lane, d)
	*v.queues.Load().at(q.spec.Name) = q
}

// restore gives a lane of the queue its places back.
func (q *Queue) restore(l *lane, d *Definition) {
	l.restore(d)
	q.ready(l.cold.n, l.cold.bytes)
}

// lane brings a queue's lane of a priority back.
func (rc *recovery) lane(r *reader, d *Definition) {
	v, name, priority := rc.owner(r), read[string](r, "queue"), read[uint8](r, "priority")
	if r.err != nil {
		return
	}
	q := v.queue(name)
	if q == nil || q.ladder == nil || priority == 0 {
		r.err = fmt.Errorf("its %s does not exist, or has no priorities", v.queueName(name))
		return
	}
	l := q.ladder.lane(priority)
	l.id = d.Queue
	q.restore(l, d)
}

func (rc *recovery) binding(r *reader) error {
	v := rc.owner(r)
	spec := BindingSpec{
		Source: read[string](r, "source"), Dest: read[string](r, "destination"),
		DestExchange: read[bool](r, "to_exchange"), Key: read[string](r, "key"),
		Args: read[field.Table](r, "arguments"),
	}
	if r.err != nil {
		return r.err
	}
	if spec.Source == EventExchange || spec.DestExchange && spec.Dest == EventExchange {
		v.provideEvents()
	}
	s := v.session()
	bound, id, err := s.newBinding("recover binding", spec)
	if err != nil {
		return err
	}
	bound.source.list(id, bound)
	rc.edges.add(bound)
	return nil
}

// subscriber brings a subscriber back with its queue. It is away now, since it was, or since the broker died.
func (rc *recovery) subscriber(r *reader, d *Definition) {
	v := rc.owner(r)
	sub := &Subscriber{
		vhost: v, name: read[string](r, "name"), durable: true, expiry: time.Duration(read[int64](r, "expiry_ns")),
	}
	queue, away := read[string](r, "queue"), read[int64](r, "away_ms")
	if _, known := r.find("user"); known { // versions before it was recorded let anyone have it
		sub.user = readShared(r, "user", &rc.userName)
	}
	quarter, _ := readOptional[uint8](r, "ids")
	sub.resumeIDs(quarter)
	lost, _ := readOptional[int64](r, "lost_at")
	sub.lostAt = Seq(lost)
	if r.err != nil {
		return
	}
	if sub.linked = away == 0; sub.linked {
		sub.away = rc.store.Now()
	} else {
		sub.away = time.UnixMilli(away)
	}
	q := v.queues.Load().at(queue)
	if *q != nil {
		r.err = fmt.Errorf("its %s exists and is not the subscriber's", v.queueName(queue))
		return
	}
	sub.giveQueue(queue, d.Queue)
	sub.queue.restore(&sub.queue.lane, d)
	*q = sub.queue
	*v.subscribers.Load().at(sub.name) = sub
}

// owningSubscriber returns the subscriber that a definition names.
func (rc *recovery) owningSubscriber(r *reader) *Subscriber {
	v, name := rc.owner(r), readShared(r, "subscriber", &rc.subName)
	if r.err != nil {
		return nil
	}
	if rc.lastSub == nil || rc.lastSub.vhost != v || rc.lastSub.name != name {
		rc.lastSub = v.subscriber(name)
	}
	if rc.lastSub == nil {
		r.err = fmt.Errorf("%w: '%s' does not exist", errOrphan, name)
	}
	return rc.lastSub
}

func (rc *recovery) subscription(r *reader) {
	sub := rc.owningSubscriber(r)
	spec := SubscriptionSpec{
		Key: read[string](r, "key"), Level: Level(read[uint8](r, "level")), NoLocal: read[bool](r, "no_local"),
		AsPublished: read[bool](r, "as_published"), NoSystem: read[bool](r, "no_system"), ID: read[uint32](r, "id"),
	}
	spec.Share, _ = readOptional[string](r, "share")
	switch {
	case r.err != nil:
	case spec.Share != "":
		rc.member(r, sub, &spec)
	default:
		rc.edges.add(sub.resubscribe(spec))
	}
}

// outgoing brings back an id that a message went out under.
func (rc *recovery) outgoing(r *reader) {
	sub, id, place := rc.owningSubscriber(r), read[uint16](r, "id"), Seq(read[int64](r, "place"))
	switch {
	case r.err != nil:
		return
	case place == 0:
		sub.keepReleased(id, true)
	default:
		sub.carry(place, carried{id: id, level: ExactlyOnce, recorded: true})
	}
}

// will brings a will back. That of a subscriber which did not outlive its link has an owner that ended with the broker: only
// the will is left of it.
func (rc *recovery) will(r *reader) {
	v, name := rc.owner(r), read[string](r, "subscriber")
	user, _ := readOptional[string](r, "user")
	level := Level(read[uint8](r, "level"))
	will := &Will{
		Delay: time.Duration(read[int64](r, "delay_ms")) * time.Millisecond,
		Message: &Message{
			Exchange: read[string](r, "exchange"), Key: read[string](r, "key"),
			Props: read[[]byte](r, "properties"), Body: read[[]byte](r, "body"),
			Persistent: level >= AtLeastOnce, Once: level >= ExactlyOnce, Retain: read[bool](r, "retain"),
		},
	}
	if ms, ok := readOptional[int64](r, "lifetime_ms"); ok {
		life := time.Duration(ms) * time.Millisecond
		will.Lifetime = &life
	}
	will.Message.Delay, _ = readOptional[int64](r, "kept_back_ms")
	if r.err != nil {
		return
	}
	sub := v.subscriber(name)
	if sub == nil {
		sub = &Subscriber{vhost: v, name: name, user: user, ended: true, linked: true}
		sub.table.Store(noSubscriptions)
		v.addOrphan(sub)
	}
	sub.will = will
}

func (rc *recovery) kept(r *reader, d *Definition) {
	if v := rc.owner(r); r.err == nil {
		v.retained.id, v.retained.next = d.Queue, max(1, d.Next)
	}
}

// readRetained brings back the retained messages of which the store knows the keys.
func (b *Broker) readRetained(ctx context.Context) error {
	for _, v := range b.vhosts.Load().all() {
		r := &v.retained
		if !r.id.Keyed() {
			continue
		}
		for p, err := range b.store.Keys(ctx, r.id) {
			if err != nil {
				return fmt.Errorf("recover the retained messages of vhost '%s': %w", v.name, err)
			}
			at := newRetained(p.Key, p.Seq, p.Expires)
			if was := r.tree.put(at); was != nil { // what has ended it is lost
				r.unwatch(was)
				b.store.Commit([]Op{r.settle(was)})
			}
			r.watch(at)
		}
	}
	return nil
}

// dedup gives an exchange or a queue back what it remembers, which readIDs reads.
func (rc *recovery) dedup(r *reader, d *Definition) {
	v, owner := rc.owner(r), dedupOwner{exchange: read[bool](r, "exchange"), name: read[string](r, "name")}
	if r.err != nil {
		return
	}
	m := v.dedups.of(owner, true)
	m.id, m.next, m.unread = d.Queue, max(1, d.Next), d.Count
}

// delayed gives an exchange back what it keeps. Exchanges belong to no queue, so that they came before.
func (rc *recovery) delayed(r *reader, d *Definition) {
	v, name := rc.owner(r), read[string](r, "exchange")
	if r.err != nil {
		return
	}
	if x := v.exchange(name); x != nil && x.delays != nil {
		x.delays.recovered(d)
		return
	}
	r.err = fmt.Errorf("its %s does not exist", v.exchangeName(name))
}

// retained brings a retained message back. Its vhost was made before it. Versions before repeated in the value what the key says.
func (rc *recovery) retained(r *reader, d *Definition) {
	vhost, key, short := retainedNames(d.Key)
	if _, whole := r.find("key"); whole {
		vhost, key = readShared(r, "vhost", &rc.vhostName), read[string](r, "key")
	} else if !short {
		r.err = errors.New("neither its key nor its value says what it is about")
	}
	v, place := rc.named(r, vhost), Seq(read[int64](r, "place"))
	expires, _ := readOptional[int64](r, "expires_ms")
	if r.err == nil {
		at := newRetained(key, place, expires)
		v.retained.tree.put(at)
		v.retained.watch(at)
	}
}

// resumeSubscribers starts the clocks of the subscribers that are away. Those that had a link when the broker died, and their wills,
// get a grace to come back.
func (b *Broker) resumeSubscribers() {
	now := b.store.Now()
	resume := func(sub *Subscriber) {
		gone := now.Sub(sub.away)
		if sub.will != nil {
			if sub.linked {
				sub.armWill(max(willGrace, sub.will.Delay))
			} else {
				sub.armWill(min(sub.will.Delay, sub.expiry) - gone)
			}
		}
		if !sub.ended && sub.expiry != Forever {
			sub.armExpiry(max(time.Second, sub.expiry-gone))
		}
		sub.linked = false
	}
	for _, v := range b.vhosts.Load().all() {
		v.mu.Lock()
		for _, sub := range v.subscribers.Load().all() {
			resume(sub)
		}
		for _, sub := range v.orphans {
			resume(sub)
		}
		v.mu.Unlock()
	}
}

// allQueues yields every queue of every vhost.
func (b *Broker) allQueues() func(yield func(*Queue) bool) {
	return func(yield func(*Queue) bool) {
		for _, v := range b.vhosts.Load().all() {
			for _, q := range v.queues.Load().all() {
				if !yield(q) {
					return
				}
			}
		}
	}
}

// Stats is a snapshot of the engine's counters.
type Stats struct {
	VHosts, Exchanges, Queues, Consumers int
	Subscribers, Subscriptions, Retained int
	Delayed                              int   // messages that exchanges keep back
	RetainedBytes                        int64 // of retained messages in memory; HeldBytes is without them

	QueueStats        // sums over all queues; the counters include queues that are gone
	Unroutable uint64 // messages that reached nobody
	Lapsed     uint64 // subscribers that did not come back before their expiry
	Dropped    uint64 // messages that nobody keeps, for subscribers that were away or slow
	Missed     uint64 // of Dropped, those for subscribers that were there
	SlowQueues int    // those of SlowQueues
	Duplicates uint64 // messages that an exchange or a queue passed over, as it has had their ids

	QueuesDeclared uint64 // those that were there already included
	QueuesCreated  uint64
	QueuesDeleted  uint64

	HeldBytes int64 // of messages that wait in memory
	OpenBytes int64 // of messages outstanding with consumers without a prefetch limit
	Blocked   bool  // publishers must wait
	Pending   int64 // bytes that are not durable yet
	Space     Space
}

// Stats counts. Its cost grows with the number of queues that have moved since the last Look.
func (b *Broker) Stats() Stats {
	st := Stats{
		Unroutable: b.unroutableTotal(), Lapsed: b.lapsed.Load(), Dropped: b.dropped.Load(), Missed: b.trouble.missed.Load(), SlowQueues: int(b.trouble.slow.Load()), Duplicates: b.duplicates.Load(), HeldBytes: b.held.Load(), OpenBytes: b.openBytes.Load(), Blocked: !b.open(),
		Pending: b.store.Pending(), Space: b.store.Space(), RetainedBytes: b.retainedBytes.Load(),
	}
	st.QueuesDeclared, st.QueuesCreated, st.QueuesDeleted = b.churn.declared.Load(), b.churn.created.Load(), b.churn.deleted.Load()
	st.QueueStats = b.stirs.total()
	st.Consumers, st.Subscriptions = int(b.consumers.Load()), int(b.subscriptions.Load())
	for _, v := range b.vhosts.Load().all() {
		st.VHosts++
		st.Exchanges += v.exchanges.Load().len()
		st.Queues += v.queues.Load().len()
		st.Subscribers += v.subscribers.Load().len()
		st.Retained += v.retained.len()
	}
	for d := range b.allDelays() {
		st.Delayed += d.len()
	}
	return st
}
