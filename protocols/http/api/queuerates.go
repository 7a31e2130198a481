package api

import (
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/http/history"
)

// queueNumbers are those of a queue that are sampled: three lengths, and then
// counters.
const (
	queueLengths = 3
	queueNumbers = queueLengths + 9
)

// numbersOf are in the order of queueRates.
func numbersOf(s *core.QueueStats) [queueNumbers]int64 {
	return [queueNumbers]int64{
		int64(s.Ready + s.Unsettled + s.Resting), int64(s.Ready), int64(s.Unsettled),
		int64(s.Published), int64(s.DeliveredManual()), int64(s.DeliveredAuto), int64(s.Got), int64(s.GotAuto), int64(s.GotNothing),
		int64(s.Delivered), int64(s.Redone), int64(s.Acknowledged()),
	}
}

// lengthRates and counterRates are embedded beside what they are about: no name
// is in both.

// lengthRates say how a queue's lengths change.
type lengthRates struct {
	MessagesRate history.Detail `json:"messages_details"`
	ReadyRate    history.Detail `json:"messages_ready_details"`
	UnackedRate  history.Detail `json:"messages_unacknowledged_details"`
}

// counterRates say how its counters do.
type counterRates struct {
	PublishRate      history.Detail `json:"publish_details"`
	DeliverRate      history.Detail `json:"deliver_details"`
	DeliverNoAckRate history.Detail `json:"deliver_no_ack_details"`
	GetRate          history.Detail `json:"get_details"`
	GetNoAckRate     history.Detail `json:"get_no_ack_details"`
	GetEmptyRate     history.Detail `json:"get_empty_details"`
	DeliverGetRate   history.Detail `json:"deliver_get_details"`
	RedeliverRate    history.Detail `json:"redeliver_details"`
	AckRate          history.Detail `json:"ack_details"`
}

// queueRates tells how fast a queue's numbers change, and since when none of them
// does; empty: they do, or it is not known.
func (c *call) queueRates(q *core.Queue, s *core.QueueStats) (l lengthRates, n counterRates, idle string) {
	sampler := c.primary.Sampler
	if sampler == nil {
		return l, n, ""
	}
	var windows []history.Window
	if c.windows.lengths != c.windows.messages || c.windows.lengths != (history.Window{}) {
		windows = make([]history.Window, queueNumbers)
		for i := range windows {
			if windows[i] = c.windows.messages; i < queueLengths {
				windows[i] = c.windows.lengths
			}
		}
	}
	now := numbersOf(s)
	d := sampler.queues.Look(q, windows, now[:])
	l = lengthRates{d[0], d[1], d[2]}
	n = counterRates{d[3], d[4], d[5], d[6], d[7], d[8], d[9], d[10], d[11]}
	if since := sampler.idle(q); !since.IsZero() {
		idle = since.UTC().Format(idleFormat)
	}
	return l, n, idle
}

// idleFormat is RabbitMQ's.
const idleFormat = "2006-01-02T15:04:05.000-07:00"

// idle is which sample has found the queue still after it had moved: zero if that is
// still to come. A queue that has not moved since it was made was found so by the first
// one behind that.
func (s *Sampler) idle(q *core.Queue) time.Time {
	now, stirred := s.queues.Now(), q.Stirred()
	if now.IsZero() || !stirred.Before(now) || s.queues.Moves(q) {
		return time.Time{}
	}
	if since := stirred.Add(SampleEvery); since.Before(now) {
		return since
	}
	return now
}
