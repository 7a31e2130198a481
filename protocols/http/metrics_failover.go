package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Failover is what a node knows of its part in failover, beside its State. What
// it cannot know in its role is nil, or not there.
type Failover struct {
	Enabled bool          // another node may take over, or this one
	TTL     time.Duration // of the lease

	// LeaseAge is how long ago the lease was renewed: by this node where it is the
	// primary, as far as it has seen on a standby. Nil: there is none.
	LeaseAge *time.Duration

	// FenceRead is how long the reads of the fence took that follow each group, on
	// a primary.
	FenceRead *Histogram

	// Standbys are the other nodes as a primary sees them. Nil: this node is none.
	Standbys *Standbys

	Phases map[string]time.Duration // of this node's last takeover; none where it has made none
}

// Standbys are the nodes that stand by.
type Standbys struct {
	Alive, Eligible int // of those alive, they that would take over
}

// failoverCollector renders who is the primary and who could be. It does so on
// every node, and waits for nothing.
type failoverCollector struct {
	health   *Health
	failover func() Failover

	ready, epoch, role, enabled, ttl, age, fence *prometheus.Desc
	phase, alive, fit                            *prometheus.Desc
	eligible, caughtUp, behind, late             *prometheus.Desc
	configDiffers                                *prometheus.Desc
}

var _ prometheus.Collector = (*failoverCollector)(nil)

func newFailoverCollector(opt *Options) *failoverCollector {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("baton_"+name, help, labels, nil)
	}
	return &failoverCollector{
		health: opt.Health, failover: opt.Failover,
		ready:         desc("ready", "1 on the active primary, else 0"),
		epoch:         desc("epoch", "The epoch this node holds, 0 when none"),
		role:          desc("role", "1 for the role this node has, 0 for the others", "role"),
		enabled:       desc("ha_enabled", "1 where nodes stand by for each other, else 0"),
		ttl:           desc("lease_ttl_seconds", "For how long the lease may not be renewed before another node takes over"),
		age:           desc("lease_age_seconds", "How long ago the lease was renewed: by this node if it is the primary, as far as it has seen if it stands by"),
		fence:         desc("fence_read_seconds", "Time that the primary took after each group to make sure that nobody has taken over"),
		phase:         desc("takeover_seconds", "How long each part of this node's last takeover took", "phase"),
		alive:         desc("standbys_alive", "Nodes that stand by, as the primary sees them"),
		fit:           desc("standbys_eligible", "Those of them that would take over"),
		eligible:      desc("standby_eligible", "1 on a standby that would take over, else 0"),
		caughtUp:      desc("standby_caught_up", "1 on a standby that has read all that is known to be promised, else 0"),
		behind:        desc("standby_behind_bytes", "How much of the primary's journal a standby has not read yet"),
		late:          desc("standby_behind_seconds", "For how long a standby has not read all that is known to be promised"),
		configDiffers: desc("standby_config_differs", "1 on a standby whose configuration is not the primary's, else 0"),
	}
}

// Describe implements prometheus.Collector.
func (c *failoverCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		c.ready, c.epoch, c.role, c.enabled, c.ttl, c.age, c.fence, c.phase, c.alive, c.fit,
		c.eligible, c.caughtUp, c.behind, c.late, c.configDiffers,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *failoverCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	state, f := c.health.State(), c.failover()
	gauge(c.ready, one(state.Ready()))
	gauge(c.epoch, float64(state.Epoch))
	for _, r := range []Role{RoleStarting, RoleStandby, RolePrimary, RoleStopping} {
		gauge(c.role, one(r == state.Role), string(r))
	}
	gauge(c.enabled, one(f.Enabled))
	if f.Enabled {
		gauge(c.ttl, f.TTL.Seconds())
	}
	if f.LeaseAge != nil {
		gauge(c.age, f.LeaseAge.Seconds())
	}
	if h := f.FenceRead; h != nil {
		ch <- prometheus.MustNewConstHistogram(c.fence, h.Count, h.Sum, h.Buckets)
	}
	for phase, took := range f.Phases {
		gauge(c.phase, took.Seconds(), phase)
	}
	if s := f.Standbys; s != nil {
		gauge(c.alive, float64(s.Alive))
		gauge(c.fit, float64(s.Eligible))
	}
	if s := state.Standby; s != nil {
		gauge(c.eligible, one(s.Eligible))
		gauge(c.caughtUp, one(s.CaughtUp))
		gauge(c.behind, float64(s.BehindBytes))
		gauge(c.late, s.BehindSeconds)
		gauge(c.configDiffers, one(s.ConfigDiffers))
	}
}
