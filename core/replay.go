package core

import (
	"slices"
	"sync"
	"sync/atomic"
)

// A replay sends the retained messages that match a subscription, because it was made. It is a list of what is still to be sent; the
// messages are read a batch at a time, by the broker's replayer, and while a replay waits its list is all of it that is in memory.
//
// What nobody keeps goes straight to the link while that has room. The rest goes through the subscriber's queue: all of it, as
// publishers are admitted, where the queue is durable, and else a few small ones at a time, or a large one, as they leave the queue.
//
// A message that is replaced before its turn is passed over: its successor was sent to the subscriber when it was published. That holds
// because replays and publishers have one order, that of retained.mu; so the last that is seen of a key is what it holds.
//
// A replay ends with its link, but for what goes to a durable queue, and all of it with its subscription. It does not outlive the
// process.
type replay struct {
	spec    SubscriptionSpec
	link    *Link               // that subscribed
	upto    Seq                 // the first place of which the subscription was sent what was published there
	matched bool                // todo was looked up
	todo    []*retainedMessage  // by place
	later   []*retainedMessage  // for the link, which had no room; to be sent when the queue has the rest
	alone   bool                // what is left is for the link
	stuck   func() (still bool) // of one that waits: whether it must

	// guarded by replays.mu: what the subscription asks for now
	level Level
	id    uint32
}

const (
	replayBatch  = 64 // messages
	replayCauses = 64
	replayAhead  = 64 // messages that wait in a queue that is not durable, from which on none are put there

	// replayLarge is the size above which only one replayed message waits in a queue that is not durable: a client that does not read
	// must not fill the memory budget with what is kept anyway.
	replayLarge = 4 << 10
)

// replays are those of one subscriber. They run one after another, on the broker's replayer; all others only have it look.
type replays struct {
	state   atomic.Int32
	watched atomic.Bool // the minder has the replayer look

	mu   sync.Mutex // below vhost.mu and retained.mu, above queue.mu
	list []*replay  // each of another key; the first is under way

	// guarded by queue.mu
	causes []cause // by place, the last few
	large  Seq     // the last place that a message larger than replayLarge was put at
}

// The states of replays.
const (
	replayIdle   int32 = iota // there are none
	replayDue                 // the replayer has them
	replayParked              // the first one waits
)

// cause says which subscription's the replayed messages from first to last are.
type cause struct {
	first, last Seq
	id          uint32
}

// SendRetained sends the retained messages that match a subscription which Subscribe has made, behind those of other subscriptions: those
// there were when it was made, by Subscribed.Retained; with 0, those there are. If the subscription is still being sent some, it begins
// anew.
func (l *Link) SendRetained(spec SubscriptionSpec, upto Seq) {
	sub := l.sub
	next, n := sub.vhost.retained.end()
	if n == 0 {
		return
	}
	if upto == 0 {
		upto = next
	}
	rs := &sub.replays
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.remove(spec.Key)
	rs.list = append(rs.list, &replay{spec: spec, link: l, upto: upto, level: spec.Level, id: spec.ID})
	if rs.state.Swap(replayDue) != replayDue {
		sub.vhost.broker.replays.add(sub)
	}
}

// cancel ends the replay of a subscription: nothing of it is sent after that.
func (rs *replays) cancel(key string) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	rs.remove(key)
}

func (rs *replays) remove(key string) {
	for i, r := range rs.list {
		if r.spec.Key == key {
			rs.list = append(rs.list[:i:i], rs.list[i+1:]...)
			return
		}
	}
}

// adjust makes the replay of a subscription that was replaced follow the new one [MQTT-3.8.4-8].
func (rs *replays) adjust(spec *SubscriptionSpec) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	for _, r := range rs.list {
		if r.spec.Key == spec.Key {
			r.level, r.id = spec.Level, spec.ID
		}
	}
}

// resumeReplays has the replayer look whether a replay that waits can go on. Any lock may be held.
func (sub *Subscriber) resumeReplays() {
	if rs := &sub.replays; rs.state.Load() == replayParked && rs.state.CompareAndSwap(replayParked, replayDue) {
		sub.vhost.broker.replays.add(sub)
	}
}

// replay sends one batch and provides for the next. It is the replayer's work.
func (sub *Subscriber) replay() error {
	r := sub.firstReplay()
	switch {
	case r == nil:
		return nil
	case r.stuck != nil && r.stuck(): // it was woken for less than it needs
		sub.goOn(r)
		return nil
	case !r.alone && sub.durable && !sub.admitReplay():
		return nil
	}
	kept := &sub.vhost.retained
	if !r.matched {
		r.matched, r.todo = true, kept.match(&r.spec, r.upto)
	}
	messages, err := kept.read(r.todo[:min(len(r.todo), replayBatch)])
	if err != nil {
		return err
	}
	if r.stuck = nil; sub.sendBatch(r, messages) {
		sub.replays.done(r)
	}
	sub.goOn(r)
	return nil
}

// goOn has the replayer come again, when what r is stuck at is over.
func (sub *Subscriber) goOn(r *replay) {
	if r.stuck == nil || sub.park(r.stuck) {
		sub.vhost.broker.replays.add(sub)
	}
}

// firstReplay returns the replay that is under way, and forgets those that have ended with their links: their clients, however many have
// gone, must not keep others waiting. It returns nil when there are none any more.
func (sub *Subscriber) firstReplay() *replay {
	rs := &sub.replays
	rs.mu.Lock()
	defer rs.mu.Unlock()
	link := sub.link.Load() // under the lock: a newer one's replay is not in the list yet
	for i, r := range rs.list {
		if r.link == link || r.outlives() {
			rs.list = slices.Delete(rs.list, 0, i)
			return r
		}
	}
	rs.list = nil
	rs.state.Store(replayIdle)
	return nil
}

// outlives reports whether r goes on without its link. replays.mu is held.
func (r *replay) outlives() bool { return r.link.sub.durable && r.level >= AtLeastOnce && !r.alone }

func (rs *replays) done(r *replay) {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.list) > 0 && rs.list[0] == r {
		rs.list = append(rs.list[:0:0], rs.list[1:]...)
	}
}

// park has replays wait for resumeReplays, unless what they wait for has come already: then it reports true.
func (sub *Subscriber) park(stuck func() bool) (again bool) {
	sub.replays.state.Store(replayParked)
	return !stuck() && sub.replays.state.CompareAndSwap(replayParked, replayDue)
}

// watch has the minder look after a replay that nobody might wake.
func (sub *Subscriber) watch() {
	if sub.replays.watched.CompareAndSwap(false, true) {
		sub.vhost.broker.watched.add(sub)
	}
}

// admitReplay is Session.Admit for somebody who may not wait.
func (sub *Subscriber) admitReplay() bool {
	b := sub.vhost.broker
	switch {
	case !b.open():
		sub.watch()
		return sub.park(func() bool { return !b.open() })
	case b.store.Pending() >= b.opt.PendingLimit:
		sub.replays.state.Store(replayParked)
		b.store.Commit([]Op{{Kind: OpNone, Done: resumption{sub}}}) // what is pending now has passed when this has
		return false
	}
	return true
}

// resumption resumes a subscriber's replays when something has passed.
type resumption struct{ sub *Subscriber }

// Complete implements Completion.
func (r resumption) Complete(uint64, error) { r.sub.resumeReplays() }

// sendBatch sends the first messages of todo, which were read, and reports whether that was all. It sets stuck when it cannot go on.
func (sub *Subscriber) sendBatch(r *replay, messages []*Message) (over bool) {
	kept, rs := &sub.vhost.retained, &sub.replays
	kept.mu.Lock()
	defer kept.mu.Unlock()
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.list) == 0 || rs.list[0] != r {
		return false // it was cancelled
	}
	b := batch{sub: sub, replay: r, link: sub.link.Load(), now: sub.vhost.broker.store.Now().UnixMilli()}
	if b.link != r.link {
		if b.link = nil; !b.outlives() {
			return true
		}
	}
	n := 0
	for n < len(messages) {
		at := r.todo[n]
		if at.over {
			if next := kept.successor(at); next != nil && next.missing(r.level) {
				r.todo[n] = next
				break
			}
		} else if m := messages[n]; m != nil && !b.send(at, m) {
			break
		}
		n++
	}
	r.todo = r.todo[n:]
	if len(b.queued) > 0 && !sub.queueReplayed(b.queued, r.id) {
		return true
	}
	if len(r.todo) == 0 {
		r.todo, r.later, r.alone = r.later, nil, true
	}
	return len(r.todo) == 0
}

// batch is one step of a replay, under retained.mu and replays.mu.
type batch struct {
	*replay
	sub    *Subscriber
	link   *Link // nil: it is gone
	now    int64
	queued []*Message
	large  bool // queued has one larger than replayLarge
}

// send sends m, which is kept at at, and reports false when that must wait.
func (b *batch) send(at *retainedMessage, m *Message) bool {
	if m.Expires != 0 && m.Expires <= b.now {
		return true
	}
	level, large := min(b.level, m.Level()), m.Size() > replayLarge && !b.sub.durable
	switch {
	case level >= AtLeastOnce && (!large || !b.large) && b.sub.takesReplayed(large, len(b.queued)):
		b.queued = append(b.queued, m.replayed(level))
		b.large = b.large || large
	case level >= AtLeastOnce:
		sub, link := b.sub, b.replay.link
		b.stuck = func() bool {
			if sub.link.Load() != link || sub.takesReplayed(large, 0) {
				return false
			}
			sub.watch() // messages may also leave the queue because they expire, and memory becomes free
			return true
		}
		return false
	case b.link == nil:
	case b.link.receiver.Ready():
		b.link.receiver.Push(m, &Match{Retain: true, ID: b.id})
	case b.outlives():
		b.later = append(b.later, at)
	default:
		sub, link := b.sub, b.replay.link
		b.stuck = func() bool { return sub.link.Load() == link && !link.receiver.Ready() }
		return false
	}
	return true
}

// replayed returns m as it is sent to a new subscription: shown as retained [MQTT-3.1.1 3.3.1-8].
func (m *Message) replayed(level Level) *Message {
	return &Message{
		Exchange: m.Exchange, Key: m.Key, Props: m.Props, Body: m.Body, Priority: m.Priority, Expires: m.Expires,
		Persistent: level >= AtLeastOnce, Once: level >= ExactlyOnce,
		Retain: true, Replayed: true,
	}
}

// takesReplayed reports whether a replayed message may be put into the queue, behind more that are about to be.
func (sub *Subscriber) takesReplayed(large bool, more int) bool {
	if sub.durable { // admitReplay has seen to it
		return true
	}
	if !sub.vhost.broker.open() {
		return false
	}
	q := sub.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if large && q.lane.tail.len() > 0 && q.lane.tail.at(0).seq <= sub.replays.large { // what is not durable waits in the tail
		return false
	}
	return q.stats.Ready+more < replayAhead
}

// queueReplayed puts messages into the subscriber's queue, as one unit. It reports false when the queue is gone.
func (sub *Subscriber) queueReplayed(messages []*Message, id uint32) bool {
	q := sub.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.deleted {
		return false
	}
	first := q.lane.next
	q.ops = q.ops[:0]
	for _, m := range messages {
		q.stamp(m)
		seq := q.push(m, sub.durable, false).seq
		if m.Size() > replayLarge {
			sub.replays.large = seq
		}
		if sub.durable {
			q.ops = append(q.ops, Op{Kind: OpPublish, Msg: m, Queue: q.lane.id, Seq: seq})
		}
	}
	if len(q.ops) > 0 {
		q.vhost.broker.store.Commit(q.ops)
		clear(q.ops) // they hold messages
	}
	sub.noteCause(cause{first: first, last: q.lane.next - 1, id: id})
	q.afterPush(place{lane: &q.lane, seq: first}, false)
	return true
}

// matchNext says how the message that the queue hands out reaches the subscriber, whether it may, and notes that it has left the queue.
// The queue's lock is held.
func (sub *Subscriber) matchNext(d *Delivery) (match Match, may bool) {
	match, wanted := sub.table.Load().match(d.Message)
	if !wanted {
		if m := sub.sharedBy(d.Message); m != nil {
			match, wanted = m.match(d.Message), true
		}
	}
	if d.Message.Replayed {
		// ![MQTT-3.3.4-3]: whose replay it is is not on record. After a restart a message that was replayed before carries the identifiers
		// of all subscriptions that match.
		if id, ok := sub.causeOf(d.Seq); ok {
			match.ID, match.More = id, nil
		}
	}
	if !sub.durable && sub.queue.stats.Ready <= replayAhead/2 {
		sub.resumeReplays()
	}
	return match, wanted || d.Seq >= sub.lostAt
}

// noteCause notes for which subscription messages were replayed. queue.mu is held.
func (sub *Subscriber) noteCause(c cause) {
	list := sub.replays.causes
	if n := len(list); n > 0 && list[n-1].id == c.id { // what was published in between is not asked for
		list[n-1].last = c.last
		return
	}
	if len(list) == replayCauses {
		list = slices.Delete(list, 0, 1)
	}
	sub.replays.causes = append(list, c)
}

// causeOf tells for which subscription the message at a place was replayed, if it is known. queue.mu is held.
func (sub *Subscriber) causeOf(place Seq) (id uint32, ok bool) {
	for _, c := range slices.Backward(sub.replays.causes) {
		if c.first <= place && place <= c.last {
			return c.id, true
		}
	}
	return 0, false
}
