package main

import (
	"sync/atomic"

	"github.com/batonmq/baton/core"
	admin "github.com/batonmq/baton/protocols/http"
)

// liveStats holds what counts while this node is the primary.
type liveStats struct {
	parts atomic.Pointer[liveParts]
}

type liveParts struct {
	broker *core.Broker
	amqp   amqpService
}

func (l *liveStats) set(broker *core.Broker, amqp amqpService) {
	l.parts.Store(&liveParts{broker, amqp})
}

// stats is the admin port's view of engine and front-ends.
func (n *node) stats() (admin.Stats, bool) {
	parts := n.live.parts.Load()
	if parts == nil {
		return admin.Stats{}, false
	}
	b := parts.broker.Stats()
	s := admin.Stats{
		VHosts: b.VHosts, Exchanges: b.Exchanges, Queues: b.Queues, Consumers: b.Consumers,
		Ready: int64(b.Ready), Unacked: int64(b.Unsettled),
		RoutedTotal: b.Published, SettledTotal: b.Settled,
		PublishersBlocked: b.Blocked, DiskLow: b.Space.Level != core.SpaceOK,
		MemoryBytes: b.HeldBytes, MemoryLimitBytes: n.cfg.Memory.Budget,
		PendingBytes:  b.Pending,
		DiskFreeBytes: b.Space.Free, DiskLimitBytes: n.cfg.Store.LowSpace,
	}
	if parts.amqp.listener != nil {
		addAMQP(&s, parts.amqp)
	}
	return s, true
}

func addAMQP(s *admin.Stats, f amqpService) {
	a := f.server.Stats()
	s.Connections, s.Channels = a.Connections, a.Channels
	s.ConnectionsOpenedTotal, s.ConnectionsClosedTotal = a.ConnectionsOpened, a.ConnectionsClosed
	s.ConnectionsRefusedTotal = f.listener.Stats().Refused
	s.LoginsRefusedTotal = a.LoginsRefused
	s.ChannelsOpenedTotal, s.ChannelsClosedTotal = a.ChannelsOpened, a.ChannelsClosed
	s.BytesReadTotal, s.BytesWrittenTotal = a.BytesRead, a.BytesWritten
	s.ReceivedTotal, s.ReceivedConfirmTotal, s.ConfirmedTotal = a.Received, a.ReceivedConfirm, a.Confirmed
	s.UnroutableDroppedTotal, s.UnroutableReturnedTotal = a.UnroutableDropped, a.Returned
	s.DeliveredConsumeAutoTotal, s.DeliveredConsumeManualTotal = a.DeliveredNoAck, a.DeliveredAck
	s.DeliveredGetAutoTotal, s.DeliveredGetManualTotal = a.GotNoAck, a.GotAck
	s.DeliveredTotal = a.DeliveredNoAck + a.DeliveredAck + a.GotNoAck + a.GotAck
	s.GetEmptyTotal, s.RedeliveredTotal, s.AcknowledgedTotal = a.GetEmpty, a.Redelivered, a.Acknowledged
}
