package core

import (
	"math"
	"time"
)

// A message may be given a time from which on nobody gets it any more. A queue looks at that of its next message only, as order demands:
// one that is over stays where it is, behind one that is not. Whoever touches the next message drops it (dispatch, get, declare, purge,
// delete), and where nobody does, the broker's expirer comes at the time that is due.

// expireBatch is how many messages one hold of a queue's lock drops at most.
const expireBatch = 256

// ExpiresAfter returns the Expires of a message that may wait for d from now on.
func (s *Session) ExpiresAfter(d time.Duration) int64 { return s.broker.now() + d.Milliseconds() }

// Left is how long a message that expires may wait further: 0 once its time is over.
func (s *Session) Left(m *Message) time.Duration {
	left := max(0, m.Expires-s.broker.now())
	return time.Duration(min(left, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

// now is the broker's clock in the unit of Message.Expires.
func (b *Broker) now() int64 { return b.store.Now().UnixMilli() }

// expiry returns from when on e is not to be handed out; 0: never. One that has gone out exactly once is past that: its client may have
// taken the id, which then has to be released. And one that has become visible this moment has not waited.
func (q *Queue) expiry(l *lane, e *entry) int64 {
	at := e.msg.Expires
	if e.msg.Arrived != 0 {
		if st := q.settings.Load(); st != nil && st.TTL != nil {
			if over := e.msg.Arrived + *st.TTL; at == 0 || over < at {
				at = over
			}
		}
	}
	if at == 0 || e.seq == l.fresh || q.subscriber != nil && q.subscriber.sentOnce(e.seq) {
		return 0
	}
	return at
}

// stamp notes when m arrived, if the queue has a time to live. Nobody else has m yet.
func (q *Queue) stamp(m *Message) {
	if st := q.settings.Load(); st != nil && st.TTL != nil && m.Arrived == 0 {
		m.Arrived = q.vhost.broker.now()
	}
}

// dropExpired drops the messages at the front of each lane whose time is over [MQTT-3.3.2-5], up to a batch of them, in one record. more
// says that there may be others behind them: the expirer goes on, or the dead-letterer.
func (q *Queue) dropExpired() (n int, more bool) {
	n, more = q.dropExpiredOf(&q.lane, expireBatch)
	if q.ladder != nil {
		for _, l := range q.ladder.above {
			if !more {
				var dropped int
				dropped, more = q.dropExpiredOf(l, expireBatch-n)
				n += dropped
			}
		}
	}
	if n > 0 {
		q.commitRanges(OpSettle)
	}
	return n, more
}

func (q *Queue) dropExpiredOf(l *lane, most int) (n int, more bool) {
	now := int64(0)
	for e := l.peek(); e != nil; e = l.peek() {
		at := q.expiry(l, e)
		if at == 0 {
			break
		}
		if now == 0 {
			now = q.vhost.broker.now()
		}
		if at > now {
			break
		}
		if n == most {
			q.alarmAt(at)
			return n, true
		}
		if !q.mayDrop() {
			return n, true // the dead-letterer goes on
		}
		q.discard(l, l.pop(), expired)
		n++
	}
	return n, false
}

// dropAllExpired drops all messages at the front whose time is over. The lock is let go between batches.
func (q *Queue) dropAllExpired() {
	for n, more := 1, true; more && n > 0; {
		q.mu.Lock()
		n, more = q.dropExpired()
		q.mu.Unlock()
	}
}

// watch has the expirer come when the time of a lane's next message is over.
func (q *Queue) watch() {
	q.watchLane(&q.lane)
	if q.ladder != nil {
		for _, l := range q.ladder.above {
			q.watchLane(l)
		}
	}
}

func (q *Queue) watchLane(l *lane) {
	e := l.peek()
	if e == nil || !e.msg.mayExpire() || !q.mayDrop() {
		return
	}
	if at := q.expiry(l, e); at != 0 && (q.alarmed == 0 || at < q.alarmed) {
		q.alarmAt(at)
	}
}

// watchBack is watch when messages have come back to the front, for who does not hold the lock.
func (q *Queue) watchBack() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.watch()
}

func (q *Queue) alarmAt(at int64) {
	if q.alarm.ring == nil {
		q.alarm.ring = q.ring
	}
	q.alarmed = at
	q.vhost.broker.expiries.set(&q.alarm, at)
}

// ring drops what is due. An alarm is not taken back when the message for which it was set goes another way, so it may ring in vain: that
// costs less than to follow every change.
func (q *Queue) ring() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.alarmed = 0
	if q.deleted {
		return
	}
	if !q.dropDue() {
		q.dispatch()
	}
}

// dropDue is dropExpired for who comes because messages are due. When a lane's next message is in the store alone then, it is brought back:
// its time may be over, too.
func (q *Queue) dropDue() (more bool) {
	if _, more := q.dropExpired(); more {
		return true
	}
	due := q.front().peek() == nil
	if q.ladder != nil {
		due = q.noteDue()
	}
	if due && q.wanting() {
		q.requestLoad()
	}
	return false
}

// dispatchFresh is dispatch when the message at a place has just become visible. It is handed out if that can be done at this moment,
// however short its time; if it cannot and its time is over, it goes.
func (q *Queue) dispatchFresh(at place) {
	at.lane.fresh = at.seq
	q.dispatch()
	at.lane.fresh = 0
	q.dropExpired()
	q.watch()
}

// watch has the expirer come when the time of a retained message is over. retained.mu is held, or nobody else has r yet.
func (r *retained) watch(at *retainedMessage) {
	if at.expires() == 0 {
		return
	}
	at.more.alarm = &alarm{ring: func() { r.expire(at) }}
	r.vhost.broker.expiries.set(at.more.alarm, at.more.expires)
}

// unwatch is called when at is replaced or cleared.
func (r *retained) unwatch(at *retainedMessage) {
	if at.more != nil && at.more.alarm != nil {
		r.vhost.broker.expiries.cancel(at.more.alarm)
	}
}

// expire clears a message whose time is over, unless another has taken its place.
func (r *retained) expire(at *retainedMessage) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if at.over {
		return
	}
	r.vhost.broker.store.Commit(r.remove(at))
}
