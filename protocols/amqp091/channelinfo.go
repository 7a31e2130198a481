package amqp091

import (
	"cmp"
	"slices"

	"github.com/batonmq/baton/core"
)

// change has the reader change what describe tells others of.
func (ch *channel) change(f func()) {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	f()
}

// describe tells what the channel is, from any goroutine.
func (ch *channel) describe() core.ChannelInfo {
	ch.mu.Lock()
	defer ch.mu.Unlock()
	i := core.ChannelInfo{
		Number: ch.id, Confirm: ch.confirms.on, Transactional: ch.tx != nil, Closing: ch.closing,
		Prefetch: ch.prefetch, Consumers: len(ch.consumers), Unacked: ch.unsettled.len(),
		Uncommitted: int(ch.uncommitted.Load()), UncommittedAcks: int(ch.uncommittedAcks.Load()),
	}
	if ch.shared != nil {
		i.GlobalPrefetch = ch.shared.Limit()
	}
	passed := ch.confirms.passed.Load() // before issued, which it never passes
	i.Unconfirmed = int(ch.confirms.issued.Load() - passed)
	i.Unacked += i.UncommittedAcks
	return i
}

// channelInfos describes the connection's channels, from any goroutine.
func (c *conn) channelInfos() []core.ChannelInfo {
	c.channelsMu.Lock()
	list := make([]*channel, 0, len(c.channels))
	for _, ch := range c.channels {
		list = append(list, ch)
	}
	c.channelsMu.Unlock()
	slices.SortFunc(list, func(a, b *channel) int { return cmp.Compare(a.id, b.id) })
	infos := make([]core.ChannelInfo, len(list))
	for i, ch := range list {
		infos[i] = ch.describe()
	}
	return infos
}

// receivedConfirm counts the publishes on confirm channels.
func (c *conn) receivedConfirm() uint64 {
	c.channelsMu.Lock()
	defer c.channelsMu.Unlock()
	n := c.count.receivedConfirm.Load()
	for _, ch := range c.channels {
		n += ch.confirms.issued.Load()
	}
	return n
}
