package core

import (
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// What is published to an exchange and reaches nobody is counted there. One of such messages is noted, by the publisher that is the first
// to have one since the minder has looked: for all others it is one addition to a counter, and nothing for messages that reach somebody.

// Unrouted says what of an exchange's messages reached nobody, wills and messages that were delayed included. One that went to its
// alternate exchange, and no further, counts where it was published.
type Unrouted struct {
	Messages uint64
	Key      string // that one of the last of them was published with, or the beginning of it
	User     string // who published that one; empty: the broker itself, as it does with wills
	Conn     string // by which connection
	At       time.Time
}

// unrouted counts for one exchange.
type unrouted struct {
	exchange *Exchange
	count    atomic.Uint64
	noted    atomic.Bool // last is of one since the minder has looked

	mu     sync.Mutex
	last   Unrouted // but for Messages
	normal bool     // last is of a client of which it is nothing unusual

	// the minder's alone
	said uint64 // of count, those that the log tells of
	nag  nag
}

// longestKey is how much is noted of a key.
const longestKey = 256

// unrouted counts m, which has reached nobody.
func (s *Session) unrouted(m *Message) {
	x := s.entered(m)
	if x == nil || x.gone.Load() {
		s.broker.unroutable.Add(1)
		return
	}
	u := x.unrouted.Load()
	if u == nil {
		x.unrouted.CompareAndSwap(nil, &unrouted{exchange: x})
		u = x.unrouted.Load()
	}
	u.count.Add(1)
	if u.noted.Load() || u.noted.Swap(true) {
		return
	}
	last := Unrouted{Key: strings.Clone(m.Key[:min(len(m.Key), longestKey)]), User: s.opt.User, Conn: s.Info().Name, At: time.Now()}
	u.mu.Lock()
	u.last, u.normal = last, s.link != nil || last.Conn == ""
	u.mu.Unlock()
	s.broker.trouble.unrouted.add(u)
}

// entered is the exchange to which m was published, which has been routed.
func (s *Session) entered(m *Message) *Exchange {
	if len(s.visited) > 0 && s.visited[0].spec.Name == m.Exchange {
		return s.visited[0]
	}
	return s.vhost.exchange(m.Exchange)
}

// Unrouted tells what was published to the exchange and reached nobody.
func (x *Exchange) Unrouted() Unrouted {
	u := x.unrouted.Load()
	if u == nil {
		return Unrouted{}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	all := u.last
	all.Messages = u.count.Load()
	return all
}

// end notes that the exchange is deleted. vhost.mu is held.
func (x *Exchange) end() {
	x.gone.Store(true)
	if u := x.unrouted.Load(); u != nil {
		x.vhost.broker.unroutable.Add(u.count.Load())
	}
}

// unroutableTotal counts what reached nobody, deleted exchanges included.
func (b *Broker) unroutableTotal() uint64 {
	n := b.unroutable.Load()
	for _, v := range b.vhosts.Load().all() {
		for _, x := range v.exchanges.Load().all() {
			if u := x.unrouted.Load(); u != nil {
				n += u.count.Load()
			}
		}
	}
	return n
}

// tell says in the log what has reached nobody since it did so last, unless that is nothing unusual: that an MQTT client publishes what
// nobody has subscribed to, or a will.
func (u *unrouted) tell(b *Broker, now uint32) (told bool) {
	u.mu.Lock()
	last, normal := u.last, u.normal
	u.mu.Unlock()
	if normal || !u.nag.due(now) {
		return false
	}
	n := u.count.Load()
	b.opt.Logger.Warn("messages were published and reached nobody: nothing is bound for them", slog.String("vhost", u.exchange.vhost.name),
		slog.String("exchange", u.exchange.spec.Name), slog.Uint64("messages", n-u.said),
		slog.String("key", last.Key), slog.String("user", last.User), slog.String("conn", last.Conn))
	u.said = n
	return true
}
