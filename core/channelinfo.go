package core

// ChannelInfo describes a channel of a connection whose protocol has them.
type ChannelInfo struct {
	Number                 uint16
	Confirm, Transactional bool
	Prefetch               int // of consumers to come; 0: no limit
	GlobalPrefetch         int // of all its consumers together; 0: no limit
	Consumers              int
	Unacked                int // deliveries that the client has not answered for
	Unconfirmed            int // publishes that it was not told the end of
	Uncommitted            int // publishes of the transaction that is open
	UncommittedAcks        int // and deliveries answered for in it
	Closing                bool
}

// Channels describes the channels of the session's connection, in the order of their numbers; none where its protocol has none.
func (s *Session) Channels() []ChannelInfo {
	if s.opt.Channels == nil {
		return nil
	}
	return s.opt.Channels()
}
