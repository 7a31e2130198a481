package amqp091

import "sync/atomic"

// Stats is a snapshot of what a Server does and did. Sums are since New.
type Stats struct {
	Connections int // open now, those in their handshake included
	Channels    int // open now
	Consumers   int // now
	Publishers  int // channels open now that have published

	ConnectionsOpened uint64
	ConnectionsClosed uint64
	ChannelsOpened    uint64
	ChannelsClosed    uint64
	LoginsAccepted    uint64
	LoginsRefused     uint64

	BytesRead    uint64
	BytesWritten uint64

	Received          uint64 // messages published
	ReceivedConfirm   uint64 // of Received, those on confirm channels
	Confirmed         uint64 // acks sent to publishers, one per message
	Returned          uint64 // unroutable and mandatory
	UnroutableDropped uint64 // unroutable and not mandatory

	DeliveredAck   uint64 // sent to consumers that acknowledge
	DeliveredNoAck uint64 // sent to consumers that do not
	GotAck         uint64 // the same for basic.get
	GotNoAck       uint64
	GetEmpty       uint64
	Redelivered    uint64 // of those four, marked redelivered
	Acknowledged   uint64
}

// counters count for one connection, so that connections do not share cache
// lines on the message path; Server.Stats adds them up.
type counters struct {
	received, confirmed, returned, dropped atomic.Uint64

	receivedConfirm atomic.Uint64 // on channels that are closed; those that are open count themselves

	deliveredAck, deliveredNoAck, gotAck, gotNoAck, getEmpty, redelivered, acknowledged atomic.Uint64

	channelsOpened, channelsClosed, loginsRefused atomic.Uint64

	bytesRead, reads atomic.Uint64
	consumers        atomic.Int64
	publishers       atomic.Int64
}

// addTo adds the connection's counts to s.
func (c *conn) addTo(s *Stats) {
	n := &c.count
	s.Channels += int(n.channelsOpened.Load() - n.channelsClosed.Load())
	s.Consumers += int(n.consumers.Load())
	s.Publishers += int(n.publishers.Load())
	s.ChannelsOpened += n.channelsOpened.Load()
	s.ChannelsClosed += n.channelsClosed.Load()
	s.LoginsRefused += n.loginsRefused.Load()
	s.BytesRead += n.bytesRead.Load()
	s.BytesWritten += c.out.Written()
	s.Received += n.received.Load()
	s.ReceivedConfirm += c.receivedConfirm()
	s.Confirmed += n.confirmed.Load()
	s.Returned += n.returned.Load()
	s.UnroutableDropped += n.dropped.Load()
	s.DeliveredAck += n.deliveredAck.Load()
	s.DeliveredNoAck += n.deliveredNoAck.Load()
	s.GotAck += n.gotAck.Load()
	s.GotNoAck += n.gotNoAck.Load()
	s.GetEmpty += n.getEmpty.Load()
	s.Redelivered += n.redelivered.Load()
	s.Acknowledged += n.acknowledged.Load()
}
