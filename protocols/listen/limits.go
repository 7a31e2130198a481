package listen

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"

	"golang.org/x/time/rate"
)

// Why a Listener closes a connection at once, beside ErrFull.
var (
	errOverBudget = errors.New("the connection budget is spent")
	errOverShare  = errors.New("the connection budget is nearly spent, and this address has its share")
	errTooOften   = errors.New("the address connects too often, or failed too often to log in")
)

// Parts of a Budget. Once three quarters are spent, an address that holds a
// quarter gets no more: whoever floods from one address leaves the last quarter
// to the others, and a proxy in front of all clients still gets three.
const (
	contestedQuarters = 3
	quarters          = 4
)

// A Budget bounds the connections of several listeners together, as file
// descriptors do. A nil Budget has no bound. Its methods may be called from any
// goroutine.
type Budget struct {
	mu      sync.Mutex // a leaf
	limit   int        // 0: none
	open    int
	held    map[netip.Prefix]int // by address; those with none are absent
	refused uint64
	crowded bool // a refusal has been reported since the limit was last left
}

// BudgetStats says how a Budget is spent.
type BudgetStats struct {
	Limit   int // 0: none
	Open    int
	Refused uint64
}

// NewBudget returns a budget of so many connections. Zero is as many as the
// process may open files, less those it needs for itself; where the system does
// not tell, there is no bound.
func NewBudget(limit int) *Budget {
	b := &Budget{held: make(map[netip.Prefix]int)}
	b.SetLimit(limit)
	return b
}

// SetLimit changes the limit, as NewBudget takes it. What is open above it stays
// open.
func (b *Budget) SetLimit(limit int) {
	if limit == 0 {
		if files, ok := descriptorLimit(); ok {
			limit = files - descriptorReserve(files)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.limit = limit
}

// descriptorReserve is what is left to the files of the store, the admin port
// and connections that are being refused.
func descriptorReserve(files int) int { return min(files/4, 1024) }

// Stats returns the counters as they are now.
func (b *Budget) Stats() BudgetStats {
	if b == nil {
		return BudgetStats{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return BudgetStats{Limit: b.limit, Open: b.open, Refused: b.refused}
}

// take spends one connection of the address, or says why not. first marks the
// refusal that begins a crowd, which is the one to be logged.
func (b *Budget) take(addr net.Addr) (first bool, err error) {
	if b == nil {
		return false, nil
	}
	ip, _ := addressOf(addr)
	key := addressKey(ip)
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.limit == 0:
	case b.open >= b.limit:
		err = errOverBudget
	case b.overShareLocked(key, b.open):
		err = errOverShare
	}
	if err != nil {
		b.refused++
		first, b.crowded = !b.crowded, true
		return first, err
	}
	b.open++
	b.held[key]++
	return false, nil
}

// roomy reports that less than half is spent: connections may wait for their turn.
func (b *Budget) roomy() bool {
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.limit == 0 || b.open < b.limit/2
}

// move has a connection count for another address, or says why not: then it
// counts for the first one still.
func (b *Budget) move(from, to net.Addr) error {
	if b == nil {
		return nil
	}
	fromIP, _ := addressOf(from)
	toIP, _ := addressOf(to)
	fromKey, toKey := addressKey(fromIP), addressKey(toIP)
	if fromKey == toKey {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.overShareLocked(toKey, b.open-1) {
		b.refused++
		return errOverShare
	}
	b.releaseLocked(fromKey)
	b.held[toKey]++
	return nil
}

// overShareLocked reports that the address has its share, the others having so
// many connections open with it.
func (b *Budget) overShareLocked(key netip.Prefix, open int) bool {
	return b.limit > 0 && open >= b.limit*contestedQuarters/quarters && b.held[key] >= max(b.limit/quarters, 1)
}

func (b *Budget) releaseLocked(key netip.Prefix) {
	if b.held[key]--; b.held[key] == 0 {
		delete(b.held, key)
	}
}

// give takes back what take has spent.
func (b *Budget) give(addr net.Addr) {
	if b == nil {
		return
	}
	ip, _ := addressOf(addr)
	key := addressKey(ip)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
	b.releaseLocked(key)
	// Some way below, or churn at the limit would log each refusal.
	if b.open <= b.limit*contestedQuarters/quarters*9/10 {
		b.crowded = false
	}
}

// addressOf returns the IP address of a TCP connection's peer.
func addressOf(addr net.Addr) (netip.Addr, bool) {
	tcp, ok := addr.(*net.TCPAddr)
	if !ok {
		return netip.Addr{}, false
	}
	ip, ok := netip.AddrFromSlice(tcp.IP)
	return ip.Unmap(), ok
}

// addressKey is what counts as one address: an IPv4 address, or the /64 that a
// single IPv6 host usually has to itself. What has neither counts together.
func addressKey(ip netip.Addr) netip.Prefix {
	bits := 64
	if ip.Is4() {
		bits = 32
	}
	key, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{} // no address at all
	}
	return key
}

// Lines about clients that are turned away: so many a second, and so many at
// once. The log must not grow with an attack.
const (
	complaintsPerSecond = 2
	complaintsAtOnce    = 20
)

// complaints are log lines of which an attacker decides how many there are.
type complaints struct {
	limit      *rate.Limiter
	suppressed atomic.Uint64 // since the last line
}

func newComplaints() *complaints {
	return &complaints{limit: rate.NewLimiter(complaintsPerSecond, complaintsAtOnce)}
}

// next reports whether a line of the level is to be written; if not it is
// counted, and the attribute tells the next one that is.
func (c *complaints) next(log *slog.Logger, level slog.Level) (suppressed slog.Attr, ok bool) {
	if !log.Enabled(context.Background(), level) {
		return suppressed, false
	}
	if !c.limit.Allow() {
		c.suppressed.Add(1)
		return suppressed, false
	}
	if n := c.suppressed.Swap(0); n > 0 {
		suppressed = slog.Uint64("suppressed_before", n)
	}
	return suppressed, true // an empty attribute is not written
}
