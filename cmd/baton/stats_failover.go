package main

import (
	"math/bits"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/ha"
	admin "github.com/batonmq/baton/protocols/http"
)

// holding is an epoch that this node holds, and how long its fence takes to read.
type holding struct {
	tenure *ha.Tenure
	reads  latencies
}

// fenced is the tenure's guard, timed: a group waits for it.
func (n *node) fenced(t *ha.Tenure) func() error {
	h := &holding{tenure: t}
	n.held.Store(h)
	return func() error {
		begun := time.Now()
		err := t.Guard()
		h.reads.add(time.Since(begun))
		return err
	}
}

// failover is the admin port's view of this node's part in failover. Nothing here
// waits for a file.
func (n *node) failover() admin.Failover {
	f := admin.Failover{Enabled: n.boot.HA.Enabled, TTL: n.boot.HA.TTL, Phases: n.took.Load().phases()}
	v, h := n.warm.view.Load(), n.held.Load()
	switch {
	case v != nil && n.health.State().Role == admin.RoleStandby:
		if age, ok := v.standby.LeaseAge(); ok {
			f.LeaseAge = &age
		}
	case h != nil:
		f.FenceRead = h.reads.snapshot()
		if f.Enabled { // else nobody waits for a lease
			age := h.tenure.LeaseAge()
			f.LeaseAge, f.Standbys = &age, countStandbys(h.tenure.Peers())
		}
	}
	return f
}

func countStandbys(peers []ha.Peer) *admin.Standbys {
	s := &admin.Standbys{}
	for _, p := range peers {
		if p.Alive && p.Role == ha.RoleStandby {
			s.Alive++
		}
		if p.Eligible() {
			s.Eligible++
		}
	}
	return s
}

// latencies is how durations are spread, in buckets whose bounds double.
type latencies struct {
	sum     atomic.Int64 // nanoseconds
	buckets [latencyBuckets + 1]atomic.Uint64
}

const (
	latencyUnit    = 14 // the first bucket reaches to 2^14 ns = 16 µs
	latencyBuckets = 21 // and the last to 17 s
)

func (l *latencies) add(d time.Duration) {
	i := 0
	if d > 0 {
		i = min(bits.Len64(uint64(d-1)>>latencyUnit), latencyBuckets)
	}
	l.buckets[i].Add(1)
	l.sum.Add(int64(d))
}

func (l *latencies) snapshot() *admin.Histogram {
	h := &admin.Histogram{Sum: time.Duration(l.sum.Load()).Seconds(), Buckets: make(map[float64]uint64, latencyBuckets)}
	for i := range l.buckets {
		h.Count += l.buckets[i].Load()
		if i < latencyBuckets {
			h.Buckets[time.Duration(1<<(latencyUnit+i)).Seconds()] = h.Count
		}
	}
	return h
}
