package admin

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// StoreStats is a snapshot of the store's counters.
type StoreStats struct {
	GroupsTotal, GroupBytesTotal, CarriedBytesTotal uint64
	ElidedTotal                                     uint64 // messages that were never written, being settled at once
	CheckpointsTotal, ReclaimedTotal, DamagedTotal  uint64

	Segments                  int
	JournalBytes, LiveBytes   int64
	PendingBytes              int64 // committed, not yet on stable storage
	FreeHighBytes, FullBytes  int64 // watermarks; the lower one is Stats.DiskLimitBytes
	SpaceLevel                int   // 0: enough, 1: low, 2: full
	CheckpointTook            time.Duration
	CheckpointAge, StalledFor time.Duration

	Write, GroupSize Histogram
}

// Histogram is how values are spread.
type Histogram struct {
	Count   uint64
	Sum     float64
	Buckets map[float64]uint64 // upper bound → values not above it
}

// storeMetrics are rendered beside brokerMetrics.
func storeMetrics() []metric {
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	return []metric{
		{"baton_store_pending_bytes", "Bytes committed and not yet on stable storage", gauge, func(s *Stats) float64 { return float64(s.Store.PendingBytes) }},
		{"baton_store_stalled_seconds", "How long the group that is being written has been: nothing is confirmed meanwhile", gauge, func(s *Stats) float64 { return s.Store.StalledFor.Seconds() }},
		{"baton_store_groups_total", "Groups written: one write and one flush each", counter, func(s *Stats) float64 { return float64(s.Store.GroupsTotal) }},
		{"baton_store_bytes_total", "Bytes of groups written", counter, func(s *Stats) float64 { return float64(s.Store.GroupBytesTotal) }},
		{"baton_store_carried_bytes_total", "About how many of the bytes written were old messages written again", counter, func(s *Stats) float64 { return float64(s.Store.CarriedBytesTotal) }},
		{"baton_store_elided_total", "Messages that were never written because they were settled before", counter, func(s *Stats) float64 { return float64(s.Store.ElidedTotal) }},
		{"baton_store_damaged_total", "Messages given up because their bytes are not what was written", counter, func(s *Stats) float64 { return float64(s.Store.DamagedTotal) }},
		{"baton_store_segments", "Journal files that are part of the history", gauge, func(s *Stats) float64 { return float64(s.Store.Segments) }},
		{"baton_store_journal_bytes", "Bytes of those files", gauge, func(s *Stats) float64 { return float64(s.Store.JournalBytes) }},
		{"baton_store_live_bytes", "Bytes of the journal that are alive, a message once for each queue it is in", gauge, func(s *Stats) float64 { return float64(s.Store.LiveBytes) }},
		{"baton_store_reclaimed_total", "Journal files removed", counter, func(s *Stats) float64 { return float64(s.Store.ReclaimedTotal) }},
		{"baton_store_checkpoints_total", "Checkpoints of the index", counter, func(s *Stats) float64 { return float64(s.Store.CheckpointsTotal) }},
		{"baton_store_checkpoint_seconds", "How long writing the last checkpoint took", gauge, func(s *Stats) float64 { return s.Store.CheckpointTook.Seconds() }},
		{"baton_store_checkpoint_age_seconds", "How long ago the last checkpoint, or the start, was", gauge, func(s *Stats) float64 { return s.Store.CheckpointAge.Seconds() }},
		{"baton_store_space_level", "Disk space: 0 enough, 1 publishers wait, 2 nothing durable can be declared either", gauge, func(s *Stats) float64 { return float64(s.Store.SpaceLevel) }},
		{"baton_store_free_high_bytes", "Free disk space at which publishers that wait go on", gauge, func(s *Stats) float64 { return float64(s.Store.FreeHighBytes) }},
		{"baton_store_free_full_bytes", "Free disk space below which nothing durable can be declared", gauge, func(s *Stats) float64 { return float64(s.Store.FullBytes) }},
	}
}

// A spread renders one histogram of a snapshot.
type spread struct {
	name, help string
	value      func(*Stats) *Histogram
}

func storeHistograms() []spread {
	return []spread{
		{"baton_store_write_seconds", "Time to write and flush one group", func(s *Stats) *Histogram { return &s.Store.Write }},
		{"baton_store_group_bytes", "Bytes of one group", func(s *Stats) *Histogram { return &s.Store.GroupSize }},
	}
}
