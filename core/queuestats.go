package core

import "sync/atomic"

// churn counts queues that come and go. A queue of before the start was not created since.
type churn struct {
	declared, created, deleted atomic.Uint64
}

// QueueStats counts what passed through a queue.
type QueueStats struct {
	Ready      int   // waiting for a consumer
	ReadyBytes int64 // the sum of their bodies' sizes
	Unsettled  int   // with a consumer
	Resting    int   // back from a consumer and not ready yet
	Published  uint64
	Delivered  uint64 // redeliveries included
	Redone     uint64 // of Delivered, those that may have been delivered before
	Settled    uint64
	Expired    uint64 // of Settled, those whose time was over
	Overflowed uint64 // that went, or were refused, because the queue was full
	Discarded  uint64 // of Settled, those that ended without their consumer's word: purged, expired, rejected and the like

	DeliveredAuto uint64 // of Delivered, to consumers that do not acknowledge
	Got           uint64 // of Delivered, by a get that is acknowledged
	GotAuto       uint64 // and by one that is not
	GotNothing    uint64 // gets of an empty queue
}

// DeliveredManual counts deliveries to consumers that acknowledge.
func (s *QueueStats) DeliveredManual() uint64 {
	return s.Delivered - s.DeliveredAuto - s.Got - s.GotAuto
}

// Acknowledged counts what consumers have said to be done with.
func (s *QueueStats) Acknowledged() uint64 {
	return s.Settled - s.Discarded - s.DeliveredAuto - s.GotAuto
}

// got notes that the message just handed out went to a get.
func (q *Queue) got(noAck bool) {
	if noAck {
		q.stats.GotAuto++
	} else {
		q.stats.Got++
	}
}

// gotNothing notes a get of an empty queue.
func (q *Queue) gotNothing() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stir()
	q.stats.GotNothing++
}

func (s *QueueStats) add(o QueueStats) {
	s.Ready += o.Ready
	s.ReadyBytes += o.ReadyBytes
	s.Unsettled += o.Unsettled
	s.Resting += o.Resting
	s.Published += o.Published
	s.Delivered += o.Delivered
	s.Redone += o.Redone
	s.Settled += o.Settled
	s.Expired += o.Expired
	s.Overflowed += o.Overflowed
	s.Discarded += o.Discarded
	s.DeliveredAuto += o.DeliveredAuto
	s.Got += o.Got
	s.GotAuto += o.GotAuto
	s.GotNothing += o.GotNothing
}

// take subtracts.
func (s *QueueStats) take(o QueueStats) {
	s.Ready -= o.Ready
	s.ReadyBytes -= o.ReadyBytes
	s.Unsettled -= o.Unsettled
	s.Resting -= o.Resting
	s.Published -= o.Published
	s.Delivered -= o.Delivered
	s.Redone -= o.Redone
	s.Settled -= o.Settled
	s.Expired -= o.Expired
	s.Overflowed -= o.Overflowed
	s.Discarded -= o.Discarded
	s.DeliveredAuto -= o.DeliveredAuto
	s.Got -= o.Got
	s.GotAuto -= o.GotAuto
	s.GotNothing -= o.GotNothing
}
