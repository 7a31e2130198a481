package api

import (
	"sync"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/http/history"
)

// SampleEvery is the distance of samples: rates are over the last one, as in
// RabbitMQ.
const SampleEvery = 5 * time.Second

// totalsKept are RabbitMQ's retentions of what concerns the whole broker.
func totalsKept() []history.Retention {
	const minute, hour = time.Minute, time.Hour
	return []history.Retention{{Every: SampleEvery, For: 10 * minute}, {Every: minute, For: hour}, {Every: 10 * minute, For: 8 * hour}, {Every: 30 * minute, For: 24 * hour}}
}

// A Sampler looks at the broker's numbers now and then, so that the API can say
// how fast they change. Nil knows of no change.
type Sampler struct {
	broker *core.Broker
	totals func() Totals
	node   func() NodeFacts

	connections *history.Class[*core.Session]
	queues      *history.Class[*core.Queue]

	mu    sync.Mutex
	sums  *history.Series // of figures
	gauge *history.Series // of nodeFigures
}

// NewSampler returns one for a broker. Sample has to be called, SampleEvery.
func NewSampler(broker *core.Broker, totals func() Totals, node func() NodeFacts) *Sampler {
	return &Sampler{
		broker: broker, totals: totals, node: node,
		connections: history.NewClass(2, SampleEvery, (*core.Session).Over),
		queues:      history.NewClass(queueNumbers, SampleEvery, (*core.Queue).Gone),
		sums:        history.NewSeries(len(figures), totalsKept()...),
		gauge:       history.NewSeries(len(nodeFigures), totalsKept()...),
	}
}

// Sample looks once. It is called by one goroutine.
func (s *Sampler) Sample(now time.Time) {
	totals, node := s.totals(), s.node()
	sums, gauge := make([]int64, len(figures)), make([]int64, len(nodeFigures))
	for i := range figures {
		sums[i] = figures[i].value(&totals)
	}
	for i := range nodeFigures {
		gauge[i] = nodeFigures[i].value(&node)
	}
	s.mu.Lock()
	s.sums.Add(now, sums)
	s.gauge.Add(now, gauge)
	s.mu.Unlock()
	s.sampleObjects(now)
}

// sampleObjects notes the numbers of the queues and the connections that have moved.
func (s *Sampler) sampleObjects(now time.Time) {
	s.queues.Sample(now, func(queue func(*core.Queue, []int64, []int64)) {
		s.connections.Sample(now, func(connection func(*core.Session, []int64, []int64)) {
			s.broker.Look(now, core.Look{
				Queue: func(q *core.Queue, was, is core.QueueStats) {
					before, after := numbersOf(&was), numbersOf(&is)
					queue(q, before[:], after[:])
				},
				Session: func(session *core.Session, was, is core.Traffic) {
					var before, after [2]int64
					trafficOf(was, &before)
					trafficOf(is, &after)
					connection(session, before[:], after[:])
				},
			})
		})
	})
}

// figure returns how one of the figures changes.
func (s *Sampler) figure(i int, w history.Window) history.Detail {
	if s == nil {
		return history.Detail{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sums.Detail(i, w)
}

// nodeFigure returns how one of the node's changes.
func (s *Sampler) nodeFigure(i int, w history.Window) history.Detail {
	if s == nil {
		return history.Detail{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.gauge.Detail(i, w)
}

// connection returns how the numbers of a connection change.
func (s *Sampler) connection(of *core.Session, w history.Window, values []int64) []history.Detail {
	if s == nil {
		return make([]history.Detail, len(values))
	}
	return s.connections.Look(of, []history.Window{w, w}, values)
}
