package ha

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"
)

// Status is what a directory tells about who takes part. Nothing is written to
// find out.
type Status struct {
	Dir     string `json:"dir"`
	StoreID string `json:"store_id"`

	Epoch     uint64        `json:"epoch"`              // the highest claimed; 0: none
	State     string        `json:"state,omitempty"`    // of its lease: claimed, serving, released, failed; empty: torn
	Node      string        `json:"node,omitempty"`     // that holds it, or did
	PID       uint32        `json:"pid,omitempty"`      //
	Advertise []string      `json:"advertise,omitzero"` // where its clients reach it
	TTL       time.Duration `json:"ttl_ns"`
	// Alive tells that the lease was renewed while it was watched. It is false also
	// for a holder that has given the epoch up.
	Alive bool `json:"alive"`
	// LeaseAge is for how long, at the end of the watch, no renewal was seen: at
	// least so long when Alive is false.
	LeaseAge   time.Duration `json:"lease_age_ns"`
	Lock       string        `json:"lock"` // held, free or unknown
	ConfigHash string        `json:"config_hash,omitempty"`

	Active      uint64    `json:"active"` // the highest epoch that was ever active; 0: none
	Lineage     []Seal    `json:"lineage,omitzero"`
	Promised    uint64    `json:"promised"` // in Active's journal, as its lease says
	BrokerTime  time.Time `json:"broker_time,omitzero"`
	FenceMarked bool      `json:"fence_marked"` // of Epoch: its holder, if any, can promise nothing more

	Takeover *Takeover `json:"takeover,omitempty"` // that led to Epoch; nil: not known
	Nodes    []Peer    `json:"nodes"`              // every node that ever ran with Standby, by name
}

// Successor is the eligible node that would take over now.
func (s *Status) Successor() (Peer, bool) {
	i := slices.IndexFunc(s.Nodes, func(p Peer) bool { return p.Eligible() && p.CaughtUp })
	if i < 0 {
		i = slices.IndexFunc(s.Nodes, func(p Peer) bool { return p.Eligible() })
	}
	if i < 0 {
		return Peer{}, false
	}
	return s.Nodes[i], true
}

// observe opens a directory to look at, and refuses one that is no store.
func observe(opt Options) (*node, error) {
	n, err := newNode(opt)
	if err != nil {
		return nil, err
	}
	if n.fresh, err = n.files.Fresh(n.opt.Dir); err != nil {
		return nil, err
	}
	err = n.readStore()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s holds no store: %w", n.opt.Dir, err)
	}
	return n, err
}

// ReadStatus watches opt.Dir for as long as it takes to see the holder's lease and
// the standbys' presence renewed, a ttl and a tenth at most. Of opt only Dir, TTL
// (for want of a lease that tells) and Files count.
func ReadStatus(ctx context.Context, opt Options) (Status, error) {
	n, err := observe(opt)
	if err != nil {
		return Status{}, err
	}
	st := Status{Dir: opt.Dir, StoreID: n.id.String()}
	seen, err := n.look(0)
	if err != nil {
		return st, err
	}
	w := watch{node: n, standby: &Standby{node: n, path: n.standbyDir(), peers: map[string]*peer{}, highest: seen}, first: map[string]presence{}}
	if err := w.watch(ctx, &st); err != nil {
		return st, err
	}
	return st, w.describe(&st)
}

// watch is one observation of a directory.
type watch struct {
	node    *node
	standby *Standby // reads what standbys read; takes no part
	first   map[string]presence
}

// watch waits until everybody who says that he lives has shown it, or has not.
func (w *watch) watch(ctx context.Context, st *Status) error {
	if err := w.standby.readPeers(); err != nil {
		return err
	}
	ttl := w.node.opt.TTL
	if l := &w.standby.highest.lease; w.standby.highest.readable && l.ttl > 0 {
		ttl = l.ttl
	}
	for name, p := range w.standby.peers {
		w.first[name] = p.presence
		if p.Role != RoleLeft {
			ttl = max(ttl, time.Duration(p.TTL))
		}
	}
	begun := time.Now()
	changed := begun
	for {
		st.LeaseAge = time.Since(changed)
		if w.settled(st) || time.Since(begun) > ttl+ttl/10 {
			return nil
		}
		if err := pause(ctx, ttl/50); err != nil {
			return err
		}
		seen, err := w.node.look(w.standby.highest.epoch)
		if err != nil {
			return err
		}
		if seen.print != w.standby.highest.print {
			changed, st.Alive = time.Now(), true
		}
		w.standby.highest = seen
		if err := w.standby.readPeers(); err != nil {
			return err
		}
	}
}

func (w *watch) settled(st *Status) bool {
	h := &w.standby.highest
	if h.epoch > 0 && !st.Alive && (!h.readable || !h.lease.state.over()) {
		return false
	}
	for name, p := range w.standby.peers {
		if p.Role == RoleStandby && w.first[name].Counter == p.Counter && w.first[name].Nonce == p.Nonce {
			return false
		}
	}
	return true
}

func (w *watch) describe(st *Status) error {
	h := &w.standby.highest
	holder := h.holder()
	st.Epoch, st.State, st.Node, st.PID = h.epoch, holder.State, holder.Node, holder.PID
	st.Advertise, st.ConfigHash = holder.Advertise, holder.ConfigHash
	st.TTL = h.lease.ttl
	st.Lock = [...]string{lockUnknown: "unknown", lockHeld: "held", lockFree: "free"}[h.lock]
	if h.lease.state.over() {
		st.Alive = false
	}
	for _, p := range w.standby.Peers() {
		first := w.first[filepath.Base(w.node.presencePath(p.Node))]
		now := w.standby.peers[filepath.Base(w.node.presencePath(p.Node))]
		p.Alive = p.Role != RoleLeft && (now.Counter != first.Counter || now.Nonce != first.Nonce)
		if p.Role == RolePrimary && now.Epoch == st.Epoch {
			p.Alive = st.Alive
			st.Takeover = p.Takeover
		}
		st.Nodes = append(st.Nodes, p)
	}
	if h.epoch == 0 {
		return nil
	}
	page, err := w.node.readPage(w.node.path(h.epoch, "fence"))
	if err != nil {
		return w.node.missing(err)
	}
	st.FenceMarked = !isZero(page)
	src, ok, err := w.standby.Source()
	if err != nil || !ok {
		return err
	}
	st.Active, st.Lineage, st.Promised, st.BrokerTime = src.Epoch, src.Lineage, src.Promised, src.BrokerTime
	return nil
}

// ErrNoSuccessor tells that nobody could take over what is to be handed over.
var ErrNoSuccessor = errors.New("no standby is eligible")

// Handover asks the primary of opt.Dir to hand over, and waits until another epoch
// is active or ctx ends. It asks only when a standby is eligible. The status is
// that before.
func Handover(ctx context.Context, opt Options) (before, after Status, err error) {
	if before, err = ReadStatus(ctx, opt); err != nil {
		return before, after, err
	}
	if !before.Alive || before.State != stateServing.String() {
		return before, after, fmt.Errorf("hand over: no primary serves in %s: epoch %d of node %q is %s", opt.Dir, before.Epoch, before.Node, before.State)
	}
	if _, ok := before.Successor(); !ok {
		return before, after, fmt.Errorf("hand over epoch %d of node %q: %w%s", before.Epoch, before.Node, ErrNoSuccessor, before.reasons())
	}
	n, err := observe(opt)
	if err != nil {
		return before, after, err
	}
	err = n.overwrite(n.path(before.Epoch, "request"), encodeAsk(n.id, before.Epoch))
	if err != nil {
		return before, after, fmt.Errorf("ask epoch %d to hand over: %w", before.Epoch, err)
	}
	for {
		if err := pause(ctx, lookEvery); err != nil {
			return before, after, fmt.Errorf("wait for the successor of epoch %d: %w", before.Epoch, err)
		}
		seen, err := n.look(before.Epoch)
		if err != nil {
			return before, after, err
		}
		if seen.epoch > before.Epoch && seen.readable && seen.lease.state == stateServing {
			after, err = ReadStatus(ctx, opt)
			return before, after, err
		}
	}
}

// reasons says why nobody is eligible.
func (s *Status) reasons() (why string) {
	for _, p := range s.Nodes {
		switch {
		case p.Role != RoleStandby:
		case !p.Alive:
			why += fmt.Sprintf("; node %q is dead", p.Node)
		default:
			why += fmt.Sprintf("; node %q: %s", p.Node, p.Reason)
		}
	}
	if why == "" {
		return ": start another broker on the directory with --ha"
	}
	return why
}
