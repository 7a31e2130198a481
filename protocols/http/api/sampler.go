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

	connections *history.Class[uint64] // by the session's ID
	queues      *history.Class[*core.Queue]

	mu    sync.Mutex
	sums  *history.Series // of figures
	gauge *history.Series // of nodeFigures
}

// NewSampler returns one for a broker. Sample has to be called, SampleEvery.
func NewSampler(broker *core.Broker, totals func() Totals, node func() NodeFacts) *Sampler {
	return &Sampler{
		broker: broker, totals: totals, node: node,
		connections: history.NewClass[uint64](2, SampleEvery),
		queues:      history.NewClass[*core.Queue](queueNumbers, SampleEvery),
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
	s.sampleQueues(now)
	s.connections.Sample(now, func(note func(uint64, []int64)) {
		var values [2]int64
		for _, session := range s.broker.Sessions() {
			trafficOf(session.Traffic(), &values)
			note(session.ID(), values[:])
		}
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
func (s *Sampler) connection(id uint64, w history.Window, values []int64) []history.Detail {
	if s == nil {
		return make([]history.Detail, len(values))
	}
	return s.connections.Look(id, []history.Window{w, w}, values)
}
