package core

// A queue with x-expires goes when nobody has used it for that long: it has no consumer, nobody got a message from it and nobody declared
// it. What is in it goes with it. After a start the time begins anew. A subscriber's queue lasts as long as the subscriber.

// lease is how long a queue lasts. It is guarded by the queue's mu, but for the alarm.
type lease struct {
	alarm alarm
	used  int64 // when the queue was last used, in the broker's clock
	set   bool  // the alarm is
}

// touch notes that the queue is used.
func (q *Queue) touch() {
	if st := q.settings.Load(); st == nil || st.Expires == nil || q.isSubscribers() {
		return
	}
	if q.lease == nil {
		q.lease = new(lease)
		q.lease.alarm.ring = q.lapse
	}
	q.lease.used = q.vhost.broker.now()
	q.renew()
}

// renew has the expirer come when the lease ends.
func (q *Queue) renew() {
	st := q.settings.Load()
	if q.lease.set || q.deleted || st == nil || st.Expires == nil {
		return
	}
	q.lease.set = true
	q.vhost.broker.expiries.set(&q.lease.alarm, q.lease.used+*st.Expires)
}

// lapse deletes the queue if it was not used since the alarm was set.
func (q *Queue) lapse() {
	v := q.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.queue(q.spec.Name) != q || !q.lapsed() {
		return
	}
	if _, err := q.end(true, false); err != nil {
		return
	}
	d := deletion{vhost: v}
	d.queue(q)
	d.commit()
}

// lapsed reports whether the lease has ended. If not the alarm is set again.
func (q *Queue) lapsed() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.lease.set = false
	st, now := q.settings.Load(), q.vhost.broker.now()
	if st == nil || st.Expires == nil || q.vhost.broker.stopping() { // the next broker begins anew
		return false
	}
	if len(q.consumers) > 0 {
		q.lease.used = now
	}
	if now-q.lease.used >= *st.Expires {
		return true
	}
	q.renew()
	return false
}
