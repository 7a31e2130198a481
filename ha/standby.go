package ha

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// Standby is what a node with Options.Standby knows of the others, and tells
// them of itself. Its methods may be called from any goroutine.
type Standby struct {
	node *node
	path string
	file File

	stop context.CancelCauseFunc // ends Run, for a namesake
	quit context.CancelFunc
	wg   sync.WaitGroup
	kick chan struct{} // presence has news

	mu        sync.Mutex
	self      presence
	preflight error // why the last check failed
	spare     error // why there is no claim in store
	progress  Progress
	highest   sighting
	moved     time.Time // when highest was first seen as it is
	jitter    float64   // of this node, in [0, 1)
	peers     map[string]*peer
	tenure    *Tenure // nil while standing by
	told      string  // the reason logged last

	sourceMu sync.Mutex
	source   uint64 // the highest epoch known to have been active
	lineage  []Seal
}

// Progress is what follow reports.
type Progress struct {
	Position Position // up to which records are applied
	CaughtUp bool     // everything was read that is known to be promised
	// How far behind that it is: in bytes, and since when it is.
	BehindBytes uint64
	Behind      time.Duration
	Err         error // what keeps this node from taking over; nil: nothing
}

// Holder is who holds the highest epoch, as its lease says.
type Holder struct {
	Epoch      uint64
	State      string // claimed, serving, released or failed; empty when its lease is torn
	Node       string
	PID        uint32
	Advertise  []string
	ConfigHash string
}

// Peer is another node that runs with Standby, or once did.
type Peer struct {
	Node     string   `json:"node"`
	Role     Role     `json:"role"`
	Alive    bool     `json:"alive"` // its counter moved within its ttl
	Position Position `json:"position"`
	CaughtUp bool     `json:"caught_up"`

	BehindBytes uint64        `json:"behind_bytes"` // of the primary's journal, not read yet
	Behind      time.Duration `json:"behind_ns"`    // for how long it has not caught up

	Reason     string    `json:"reason,omitempty"` // why it is not eligible
	ConfigHash string    `json:"config_hash,omitempty"`
	Advertise  []string  `json:"advertise,omitempty"`
	Takeover   *Takeover `json:"takeover,omitempty"`
}

// Eligible tells whether the node would take over now.
func (p *Peer) Eligible() bool { return p.Alive && p.Role == RoleStandby && p.Reason == "" }

// peer is a presence file as it was seen.
type peer struct {
	presence
	changed time.Time // when the counter was seen to have moved; first seen counts
}

func (p *peer) alive(now time.Time) bool {
	return p.Role != RoleLeft && now.Sub(p.changed) <= time.Duration(p.TTL)+time.Duration(p.TTL)/10
}

func (p *peer) public(now time.Time) Peer {
	return Peer{
		Node: p.Node, Role: p.Role, Alive: p.alive(now), Position: p.Position, CaughtUp: p.CaughtUp, Reason: p.Reason,
		BehindBytes: p.BehindBytes, Behind: p.Behind, ConfigHash: p.ConfigHash, Advertise: p.Advertise, Takeover: p.Takeover,
	}
}

var errUnchecked = errors.New("its preflight has not ended yet")

// check runs the preflight again and again while this node stands by.
func (s *Standby) check(ctx context.Context) {
	tick := time.NewTicker(s.node.opt.TTL / 5)
	defer tick.Stop()
	for {
		s.mu.Lock()
		standing := s.tenure == nil
		s.mu.Unlock()
		if standing {
			_ = s.runPreflight(ctx) // what it found is kept in s
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

func (s *Standby) runPreflight(ctx context.Context) error {
	if s.node.opt.Preflight == nil {
		return nil
	}
	err := s.node.opt.Preflight(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.mu.Lock()
	s.preflight = err
	s.mu.Unlock()
	s.tell()
	return err
}

// tell logs that this node became eligible, or why it is not any more, and lets
// the others know.
func (s *Standby) tell() {
	s.mu.Lock()
	reason := ""
	err := s.ineligibleLocked()
	if err != nil {
		reason = err.Error()
	}
	before := s.told
	s.told = reason
	s.mu.Unlock()
	if before == reason {
		return
	}
	s.nudge()
	switch {
	case errors.Is(err, errUnchecked):
	case err != nil:
		s.node.log.Warn("this node cannot take over until that is mended", slog.Any("err", err))
	default:
		s.node.log.Info("this node can take over")
	}
}

func (s *Standby) nudge() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Report tells how far follow has come.
func (s *Standby) Report(p Progress) {
	s.mu.Lock()
	news := p.CaughtUp != s.progress.CaughtUp
	s.progress = p
	s.mu.Unlock()
	s.tell()
	if news {
		s.nudge()
	}
}

// Ineligible is why this node cannot take over; nil: it can. A node that has not
// caught up can; it only lets those go first that have.
func (s *Standby) Ineligible() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ineligibleLocked()
}

func (s *Standby) ineligibleLocked() error {
	switch {
	case s.preflight != nil:
		return s.preflight
	case s.progress.Err != nil:
		return fmt.Errorf("follow the primary: %w", s.progress.Err)
	case s.spare != nil:
		return s.spare
	}
	return nil
}

// Holder is who holds the highest epoch, in whatever state, as seen last; false
// when nobody ever did.
func (s *Standby) Holder() (Holder, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.highest.holder(), s.highest.epoch > 0
}

// LeaseAge is for how long the lease of the highest epoch was not seen to be
// renewed; false when nobody ever held one. It counts from the first look on.
func (s *Standby) LeaseAge() (time.Duration, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.moved), s.highest.epoch > 0
}

func (s *sighting) holder() Holder {
	h := Holder{Epoch: s.epoch}
	if l := &s.lease; s.readable {
		h.State, h.Node, h.PID, h.Advertise, h.ConfigHash = l.state.String(), l.node, l.pid, l.advertise, l.configHash
	}
	return h
}

// Peers are the other nodes that run with Standby, or once did, by name.
func (s *Standby) Peers() []Peer {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	var all []Peer
	for _, name := range slices.Sorted(maps.Keys(s.peers)) {
		all = append(all, s.peers[name].public(now))
	}
	return all
}

// StoreID is the directory's identity, the same for every epoch.
func (s *Standby) StoreID() [16]byte { return s.node.id }

// Shared tells whether other hosts' kernels may write to the directory. What they
// write, the journal included, must then be read past this host's cache.
func (s *Standby) Shared() bool { return s.node.shared() }

// Source is what is to be followed: the highest epoch that was active, its
// lineage, and what its lease says now, freshly read; false while nobody was ever
// active. When its epoch grows, a successor has sealed the one before: the
// lineage then says how far that is history.
func (s *Standby) Source() (Source, bool, error) {
	s.mu.Lock()
	highest := s.highest.epoch
	s.mu.Unlock()
	s.sourceMu.Lock()
	defer s.sourceMu.Unlock()
	floor, err := s.node.floor()
	if err != nil {
		return Source{}, false, err
	}
	for e := highest; e > s.source && e >= max(floor, 1); e-- {
		lineage, active, err := s.node.probe(e)
		if err != nil {
			return Source{}, false, err
		}
		if active {
			s.source, s.lineage = e, lineage
			break
		}
	}
	if s.source == 0 {
		return Source{}, false, nil
	}
	src, err := s.node.sourceOf(s.source, s.lineage)
	return src, true, err
}

// Standbys move one after the other, so that two do not get into each other's
// way, which would be safe and slow: the first at once, each further one a bit
// later, by which time it sees the first one's claim.
const staggerShare = 15 // of a ttl

// look notes the highest claim and tells whether this node may contend. Without
// Standby there is nobody to give way to.
func (s *Standby) look(seen sighting) readiness {
	if s == nil {
		return readiness{fit: true}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now, rank := time.Now(), 0
	if seen.epoch != s.highest.epoch || seen.print != s.highest.print {
		s.moved = now
	}
	s.highest = seen
	for _, p := range s.peers {
		first := p.CaughtUp
		if p.CaughtUp == s.progress.CaughtUp {
			first = p.Node < s.self.Node
		}
		gone := seen.readable && p.Node == seen.lease.node // it may just have become what it ceased to be
		if first && !gone && p.alive(now) && p.Role == RoleStandby && p.Reason == "" {
			rank++
		}
	}
	r := readiness{fit: s.ineligibleLocked() == nil}
	if rank > 0 {
		r.delay = time.Duration((float64(rank) + s.jitter/2) * float64(s.node.opt.TTL) / staggerShare)
	}
	return r
}

// setSpare notes whether a claim lies in store.
func (s *Standby) setSpare(err error) {
	s.mu.Lock()
	s.spare = err
	s.mu.Unlock()
	s.tell()
}

// othersEligible tells whether another node could take over.
func (s *Standby) othersEligible() bool {
	return slices.ContainsFunc(s.Peers(), func(p Peer) bool { return p.Eligible() })
}

// became notes that this node has claimed an epoch, or, with nil, has lost it.
func (s *Standby) became(t *Tenure) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.tenure = t
	s.self.Role, s.self.Epoch, s.self.Takeover = RoleStandby, 0, nil
	if t != nil {
		s.self.Role, s.self.Epoch = RolePrimary, t.epoch
	}
	s.mu.Unlock()
	s.nudge()
}

// took publishes how long the takeover took.
func (s *Standby) took(t Takeover) {
	if s == nil {
		return
	}
	s.mu.Lock()
	s.self.Takeover = &t
	s.mu.Unlock()
	s.nudge()
}
