package core

import "sync/atomic"

// maintenance is whether clients are kept out. It is not on record: a broker that starts lets them in.
type maintenance struct{ on atomic.Bool }

// SetMaintenance keeps clients out, or lets them in again. Whoever attaches meanwhile is told what one is told whose broker shuts
// down; who is attached stays, and what the broker does by itself goes on, its bridges included. When it returns, everyone who got in before
// is in Clients.
func (b *Broker) SetMaintenance(on bool) {
	b.sessions.mu.Lock()
	defer b.sessions.mu.Unlock()
	b.maintenance.on.Store(on)
}

// InMaintenance reports whether clients are kept out.
func (b *Broker) InMaintenance() bool { return b.maintenance.on.Load() }

// keepsOut is why s is not let in; nil if it is. sessions.mu is held.
func (b *Broker) keepsOut(s *Session) error {
	if !b.maintenance.on.Load() || s.opt.Outgoing {
		return nil
	}
	return &Error{Kind: Closing, Op: "open vhost", Name: s.vhost.name, Text: "the broker is in maintenance and takes no connections"}
}
