package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/persistence"
	"github.com/batonmq/baton/protocols/amqp091"
	admin "github.com/batonmq/baton/protocols/http"
	"github.com/batonmq/baton/protocols/http/api"
	"github.com/batonmq/baton/protocols/mqtt"
)

// liveStats holds what counts while this node is the primary.
type liveStats struct {
	parts atomic.Pointer[liveParts]
}

type liveParts struct {
	cfg     *Config
	broker  *core.Broker
	store   *persistence.Store
	clients *frontEnds
	tenure  *ha.Tenure
	sampler *api.Sampler
	drain   *drain
}

func (l *liveStats) set(parts *liveParts) { l.parts.Store(parts) }

func (l *liveStats) clear() { l.parts.Store(nil) }

// stalledAfter is how long a group may be under way before the node calls itself not ready: far longer than a disk takes that works,
// and than one takes that is only busy.
const stalledAfter = 5 * time.Second

// stalled tells an operator that the disk does not answer. Publishers wait for it, for as long as it takes; nothing is lost by that.
func stalled(store *persistence.Store) string {
	if t := store.Stalled(); t >= stalledAfter {
		return fmt.Sprintf("the disk has not answered a write for %v; publishers wait", t.Round(time.Second))
	}
	return ""
}

// busy says why clients should not be sent here although this node serves; empty: they may be.
func (p *liveParts) busy() string {
	if reason := stalled(p.store); reason != "" || !p.broker.InMaintenance() {
		return reason
	}
	return "maintenance: no connections are taken until `baton maintenance off`"
}

// stats is the admin port's view of engine and front-ends.
func (n *node) stats() (admin.Stats, bool) {
	parts := n.live.parts.Load()
	if parts == nil {
		return admin.Stats{}, false
	}
	b, store := parts.broker.Stats(), parts.store.Stats()
	s := admin.Stats{
		VHosts: b.VHosts, Exchanges: b.Exchanges, Queues: b.Queues, Consumers: b.Consumers,
		Ready: int64(b.Ready), ReadyBytes: b.ReadyBytes, Unacked: int64(b.Unsettled), Resting: int64(b.Resting), Delayed: int64(b.Delayed),
		Subscribers: b.Subscribers, Subscriptions: b.Subscriptions, Retained: b.Retained, RetainedBytes: b.RetainedBytes,
		QueuesDeclaredTotal: b.QueuesDeclared, QueuesCreatedTotal: b.QueuesCreated, QueuesDeletedTotal: b.QueuesDeleted,
		RoutedTotal: b.Published, SettledTotal: b.Settled, ExpiredTotal: b.Expired, OverflowedTotal: b.Overflowed, DuplicatesTotal: b.Duplicates, DroppedTotal: b.Dropped, MissedTotal: b.Missed, SlowQueues: b.SlowQueues,
		Maintenance:       parts.broker.InMaintenance(),
		EventsLostTotal:   parts.broker.EventsLost(),
		PublishersBlocked: b.Blocked, MemoryAlarm: parts.broker.Alarms().Memory, DiskLow: b.Space.Level != core.SpaceOK,
		MemoryBytes: b.HeldBytes, MemoryLimitBytes: parts.cfg.Memory.Budget,
		ProcessBytes: n.memory.used.Load(), ProcessWatermarkBytes: n.memory.watermark(), ProcessLimitBytes: n.memory.limit,
		DiskFreeBytes: b.Space.Free, DiskLimitBytes: store.FreeLow,
		Store: storeStats(&store),
	}
	s.Bridges = parts.clients.bridgeStats()
	s.ConnectionsRefusedTotal = parts.clients.refused()
	line := n.doors.rate.Stats()
	s.ConnectionsWaiting, s.ConnectionsDelayedTotal = line.Waiting, line.Waited
	others := b.Consumers
	if server := parts.clients.amqp091; server != nil {
		a := server.Stats()
		others -= a.Consumers
		addAMQP(&s, &a)
	}
	if server := parts.clients.mqtt; server != nil {
		m := server.Stats()
		addMQTT(&s, &m, max(others, 0)) // the counts are not of one moment
	}
	return s, true
}

func storeStats(s *persistence.Stats) admin.StoreStats {
	return admin.StoreStats{
		GroupsTotal: s.Groups, GroupBytesTotal: s.Bytes, CarriedBytesTotal: s.Carried, ElidedTotal: s.Elided,
		CheckpointsTotal: s.Checkpoints, ReclaimedTotal: s.Reclaimed, DamagedTotal: s.Damaged,
		Segments: s.Segments, JournalBytes: s.Journal, LiveBytes: s.Live, PendingBytes: s.Pending,
		FreeHighBytes: s.FreeHigh, FullBytes: s.FreeFull, SpaceLevel: int(s.Space.Level),
		CheckpointTook: s.CheckpointTook, CheckpointAge: s.CheckpointAge, StalledFor: s.Stalled,
		Write: admin.Histogram(s.Write), GroupSize: admin.Histogram(s.GroupSize),
	}
}

func addAMQP(s *admin.Stats, a *amqp091.Stats) {
	s.Connections += a.Connections
	s.Channels += a.Channels
	s.ConnectionsOpenedTotal += a.ConnectionsOpened
	s.ConnectionsClosedTotal += a.ConnectionsClosed
	s.ChannelsOpenedTotal += a.ChannelsOpened
	s.ChannelsClosedTotal += a.ChannelsClosed
	s.BytesReadTotal += a.BytesRead
	s.BytesWrittenTotal += a.BytesWritten
	s.Add(&admin.Protocol{Name: "amqp091", Publishers: a.Publishers, Consumers: a.Consumers, Traffic: admin.Traffic{
		LoginsAcceptedTotal: a.LoginsAccepted, LoginsRefusedTotal: a.LoginsRefused,
		ReceivedTotal: a.Received, ReceivedConfirmTotal: a.ReceivedConfirm, ConfirmedTotal: a.Confirmed,
		UnroutableDroppedTotal: a.UnroutableDropped, UnroutableReturnedTotal: a.Returned,
		DeliveredConsumeAutoTotal: a.DeliveredNoAck, DeliveredConsumeManualTotal: a.DeliveredAck,
		DeliveredGetAutoTotal: a.GotNoAck, DeliveredGetManualTotal: a.GotAck,
		DeliveredTotal: a.DeliveredNoAck + a.DeliveredAck + a.GotNoAck + a.GotAck,
		GetEmptyTotal:  a.GetEmpty, RedeliveredTotal: a.Redelivered, AcknowledgedTotal: a.Acknowledged,
	}})
}

// addMQTT counts a QoS 0 delivery as one with automatic acknowledgement, and a
// publication with a QoS as one that asks for a confirm.
func addMQTT(s *admin.Stats, m *mqtt.Stats, consumers int) {
	s.Connections += m.Connections
	s.ConnectionsOpenedTotal += m.ConnectionsOpened
	s.ConnectionsClosedTotal += m.ConnectionsClosed
	s.BytesReadTotal += m.BytesRead
	s.BytesWrittenTotal += m.BytesWritten
	s.Add(&admin.Protocol{Name: "mqtt", Publishers: m.Publishers, Consumers: consumers, Traffic: admin.Traffic{
		LoginsAcceptedTotal: m.LoginsAccepted, LoginsRefusedTotal: m.LoginsRefused,
		ReceivedTotal: m.Received[0] + m.Received[1] + m.Received[2], ReceivedConfirmTotal: m.Received[1] + m.Received[2],
		ConfirmedTotal: m.Confirmed, UnroutableDroppedTotal: m.UnroutableDropped,
		DeliveredConsumeAutoTotal: m.Delivered[0], DeliveredConsumeManualTotal: m.Delivered[1] + m.Delivered[2],
		DeliveredTotal:   m.Delivered[0] + m.Delivered[1] + m.Delivered[2],
		RedeliveredTotal: m.Redelivered, AcknowledgedTotal: m.Acknowledged,
	}})
}
