package ha

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/persistence/failpoint"
)

// Tenure is one epoch's life in the process that holds it. Its methods may be
// called from any goroutine.
//
// It is lost, once and for good, at the first sign that it might be another's
// turn: a fence that is marked, missing or another file, an error of a lease
// write or a fence read and, with Options.Standby, a lease not renewed for its
// TTL. It also ends when Run returns, so that no Guard succeeds after that.
type Tenure struct {
	node      *node
	epoch     uint64
	source    Source
	hasSource bool
	pages     int  // of a copy of the active file
	lock      File // nil where locks do not exist

	promised atomic.Uint64
	clock    atomic.Int64 // what the broker clock showed at born, in nanoseconds since 1970; 0: unknown

	timing Takeover // of the turn that led here; completed by Activate
	lap    time.Time

	standby  *Standby // nil without Options.Standby
	kill     *SelfKill
	handover chan struct{} // closed once somebody asks
	ask      sync.Once

	born    time.Time
	checked atomic.Int64 // when the last good read of the fence began, in nanoseconds since born
	renewed atomic.Int64 // when the last renewal began, in nanoseconds since born
	watch   *time.Timer  // ends the tenure if that is too long ago; nil without Standby

	stopRenewer context.CancelFunc
	renewer     chan struct{} // closed when it has ended

	over      atomic.Bool // given back: see Release
	settling  sync.Once
	settleErr error

	loss sync.Once
	lost chan struct{}
	err  error // set before lost is closed

	fenceMu   sync.Mutex
	fence     File
	fencePage []byte

	leaseMu   sync.Mutex // held while the lease is written: one write at a time
	leaseFile File
	leasePage []byte // as it is in the file
	lease     lease
	activated bool
	proof     []byte // a copy of the active file; nil before Activate
}

// newTenure opens what the claim of l.epoch, which is ours, holds.
func newTenure(n *node, l lease, leasePage []byte, pages int) (*Tenure, error) {
	leaseFile, err := n.files.Open(n.path(l.epoch, "lease"), false)
	if err != nil {
		return nil, err
	}
	fence, err := n.files.Open(n.path(l.epoch, "fence"), false)
	if err != nil {
		return nil, errors.Join(err, leaseFile.Close())
	}
	return &Tenure{
		node: n, epoch: l.epoch, pages: pages, born: time.Now(), lost: make(chan struct{}), handover: make(chan struct{}),
		fence: fence, fencePage: alignedPages(1),
		leaseFile: leaseFile, leasePage: leasePage, lease: l,
	}, nil
}

// Epoch is the number claimed.
func (t *Tenure) Epoch() uint64 { return t.epoch }

// StoreID is the directory's identity, the same for every epoch.
func (t *Tenure) StoreID() [16]byte { return t.node.id }

// Shared tells whether other hosts' kernels may write to the directory: see
// [Standby.Shared].
func (t *Tenure) Shared() bool { return t.node.shared() }

// Takeover is how this epoch came to be. Its last two parts are known once
// Activate has returned.
func (t *Tenure) Takeover() Takeover { return t.timing }

// Source is what this epoch continues; false: the store is empty. The lineage
// belongs to the tenure and must not be changed.
func (t *Tenure) Source() (Source, bool) { return t.source, t.hasSource }

// Lost is closed when the tenure was lost. The caller must stop promising and
// delivering, cut its sockets without goodbyes and exit.
func (t *Tenure) Lost() <-chan struct{} { return t.lost }

// Err is why the tenure was lost, nil while it is held.
func (t *Tenure) Err() error {
	select {
	case <-t.lost:
		return t.err
	default:
		return nil
	}
}

// held is why nothing may be promised any more, nil while it may.
func (t *Tenure) held() error {
	if err := t.Err(); err != nil {
		return err
	}
	if t.over.Load() {
		return fmt.Errorf("%w: epoch %d was given back", ErrLost, t.epoch)
	}
	return nil
}

// lose ends the tenure for the first reason given, and returns that.
func (t *Tenure) lose(reason error) error {
	t.loss.Do(func() {
		t.err = fmt.Errorf("%w: epoch %d: %w", ErrLost, t.epoch, reason)
		close(t.lost)
	})
	return t.Err()
}

// LeaseAge is how long ago the last renewal of the lease began.
func (t *Tenure) LeaseAge() time.Duration { return t.sinceRenewal() }

// Fresh tells whether deliveries may go out that no client acknowledges: the
// last good check of the fence began no longer than half a TTL ago. A delivery
// that is acknowledged does no harm when another has taken over meanwhile; one that
// is not may be made twice. Without Options.Standby nobody takes over by the clock,
// and it is true while the tenure is held. It costs a look at the clock.
func (t *Tenure) Fresh() bool {
	if t.held() != nil {
		return false
	}
	return !t.node.opt.Standby || time.Since(t.born)-time.Duration(t.checked.Load()) <= t.node.opt.TTL/2
}

// HandoverRequested is closed when somebody asks this primary to hand over (see
// [Handover]). It then ends in order, as for an end of its context.
func (t *Tenure) HandoverRequested() <-chan struct{} { return t.handover }

func (t *Tenure) askHandover() {
	t.ask.Do(func() {
		t.node.log.Info("asked to hand over", slog.Uint64("epoch", t.epoch))
		close(t.handover)
	})
}

// Peers are the other nodes, as they were seen last. Nil without Options.Standby.
func (t *Tenure) Peers() []Peer {
	if t.standby == nil {
		return nil
	}
	return t.standby.Peers()
}

// Successor is the node that would take over now; false: nobody could.
func (t *Tenure) Successor() (Peer, bool) {
	var best Peer
	found := false
	for _, p := range t.Peers() {
		if p.Eligible() && (!found || p.CaughtUp && !best.CaughtUp) {
			best, found = p, true
		}
	}
	return best, found
}

// Guard is called after a group's fdatasync has returned and before any of its
// promises is made; nil means the group has passed. One Guard serves every group
// synced before it began. Any error is final.
//
// It reads the fence, freshly, through a descriptor kept open: a fence replaced
// by another file is found by the renewer.
func (t *Tenure) Guard() error {
	if err := t.held(); err != nil {
		return err
	}
	p := passage{step: passServe}
	p.synced()
	begun := time.Since(t.born)
	t.fenceMu.Lock()
	err := t.readFence(t.fence, t.fencePage)
	t.fenceMu.Unlock()
	if p.checked(err == nil); p.step != passServe {
		return t.lose(err)
	}
	t.checked.Store(int64(begun))
	if t.node.opt.Standby {
		if late := t.sinceRenewal(); late > t.node.opt.TTL {
			return t.lose(errLate)
		}
	}
	return t.Err()
}

var errLate = errors.New("the lease was not renewed within its ttl")

// readFence returns an error unless the fence is a whole page of zeros.
func (t *Tenure) readFence(f File, page []byte) error {
	if _, err := f.ReadAt(page, 0); err != nil {
		return err
	}
	if isZero(page) {
		return nil
	}
	if by := successorOf(page, t.node.id); by != 0 {
		return fmt.Errorf("superseded by epoch %d", by)
	}
	return errors.New("the fence is marked")
}

// reopenFence reads the fence by its path and makes sure that it is the file
// Guard reads.
func (t *Tenure) reopenFence() error {
	begun := time.Since(t.born)
	f, err := t.node.files.Open(t.node.path(t.epoch, "fence"), false)
	if err != nil {
		return err
	}
	defer closeRead(f)
	same, err := f.Same(t.fence)
	if err != nil {
		return err
	}
	if !same {
		return errors.New("our fence was replaced by another file")
	}
	if err := t.readFence(f, alignedPages(1)); err != nil {
		return err
	}
	t.checked.Store(int64(begun))
	return nil
}

// NameSegment durably names journal segment n in the lease. It must return
// before the first promise whose records lie in n, so that a successor knows how
// far to read where a directory listing may be stale. Segments number from 1;
// naming one again, or a lower one, does nothing. Activate makes durable what was
// named before it: no promise comes earlier.
func (t *Tenure) NameSegment(n uint64) error {
	active := false
	written, err := t.putLease(func(l *lease) bool {
		named := n <= l.segment
		l.segment = max(n, l.segment)
		active = t.activated // if not yet, Activate's sync comes after this write
		return !named
	})
	if err != nil || !written || !active {
		return err
	}
	return t.syncLease()
}

// Promised notes how far promises were made and the broker clock then; the next
// renewal carries it. It costs two atomic stores and a look at the clock.
func (t *Tenure) Promised(offset uint64, brokerTime time.Time) {
	t.promised.Store(offset)
	t.Clock(brokerTime)
}

// Clock notes what the broker clock shows now, zero for unknown. It goes at the
// pace of this host's monotonic clock, so that every renewal can carry it.
func (t *Tenure) Clock(now time.Time) {
	if !now.IsZero() {
		t.clock.Store(now.UnixNano() - int64(time.Since(t.born)))
	}
}

// tell fills in what a renewal that begins now carries beside the state.
func (t *Tenure) tell(l *lease, begun time.Duration) {
	l.counter++
	l.promised, l.boot = t.promised.Load(), t.node.boot()
	if at := t.clock.Load(); at != 0 {
		l.brokerTime = at + int64(begun)
	}
}

// writeLease writes the lease: change edits the record and tells whether it need be
// written. A durable write is on stable storage when it returns.
func (t *Tenure) writeLease(durable bool, change func(*lease) bool) error {
	written, err := t.putLease(change)
	if err != nil || !written || !durable {
		return err
	}
	return t.syncLease()
}

// syncLease makes durable what putLease wrote.
func (t *Tenure) syncLease() error {
	if t.node.fresh != Cached {
		return nil // it is
	}
	if err := t.leaseFile.Sync(); err != nil {
		return t.lose(err)
	}
	return nil
}

// putLease is the one way the lease is written, for all who read it freshly. On a
// file system of one kernel its cache shows what was written, so signs of life stay
// out of the data's way to the disk, and do not wait for a durable write either.
// change is called with leaseMu held.
func (t *Tenure) putLease(change func(*lease) bool) (written bool, err error) {
	t.leaseMu.Lock()
	defer t.leaseMu.Unlock()
	if err := t.held(); err != nil {
		return false, err
	}
	next := t.lease
	if !change(&next) {
		return false, nil
	}
	begun := time.Since(t.born)
	if err := t.notice(begun); err != nil {
		return false, err
	}
	t.tell(&next, begun)
	next.encodeInto(t.leasePage, t.node.id)
	err = failpoint.At(failpoint.LeaseRenewing)
	if err == nil {
		err = t.leaseFile.Write(t.leasePage, 0, t.node.fresh != Cached)
	}
	if err == nil {
		err = failpoint.At(failpoint.LeaseRenewed)
	}
	if err != nil {
		return false, t.lose(err)
	}
	t.lease = next
	t.renewed.Store(int64(begun))
	left := t.node.opt.TTL - (time.Since(t.born) - begun)
	if t.watch != nil {
		t.watch.Reset(left)
	}
	return true, t.rearm(left)
}

// notice deals with a renewal that comes too late: the end where others wait for
// their turn, a line in the log where they do not.
func (t *Tenure) notice(begun time.Duration) error {
	late := begun - time.Duration(t.renewed.Load())
	if late <= t.node.opt.TTL {
		return nil
	}
	if t.node.opt.Standby {
		return t.lose(errLate)
	}
	t.node.log.Warn("lease renewed late",
		slog.Uint64("epoch", t.epoch), slog.Duration("after", late), slog.Duration("ttl", t.node.opt.TTL))
	return nil
}

func (t *Tenure) sinceRenewal() time.Duration {
	return time.Since(t.born) - time.Duration(t.renewed.Load())
}

// killMargin is how long after the tenure is lost for want of a renewal the kernel
// ends the process: it has that long to end by itself, with its own exit code.
const killMargin = 400 * time.Millisecond

func (t *Tenure) rearm(left time.Duration) error {
	if t.kill == nil {
		return nil
	}
	if err := t.kill.Arm(left + killMargin); err != nil {
		return t.lose(err)
	}
	return nil
}

// start begins the renewals.
func (t *Tenure) start(standby *Standby) {
	t.standby = standby
	standby.became(t)
	if t.node.opt.Standby {
		t.armKill()
		t.watch = time.AfterFunc(t.node.opt.TTL, func() { _ = t.lose(errLate) }) // Err tells it
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.stopRenewer, t.renewer = cancel, make(chan struct{})
	go func() {
		defer close(t.renewer)
		t.renew(ctx)
	}()
}

// armKill arms the kernel timer where there is one. Safety does not depend on it.
func (t *Tenure) armKill() {
	if !t.node.opt.SelfKill {
		return
	}
	kill, err := NewSelfKill()
	if err == nil {
		err = kill.Arm(t.node.opt.TTL + killMargin)
	}
	if err != nil {
		t.node.log.Warn("no kernel timer ends this process when it is frozen", slog.Any("err", err))
		return
	}
	t.kill = kill
}

// renew renews the lease, with the configuration hash of the moment, and looks at the
// fence by its path, until the tenure ends.
func (t *Tenure) renew(ctx context.Context) {
	tick := time.NewTicker(t.node.opt.TTL / 5)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		case <-t.lost:
			return
		}
		hash := t.node.configHash()
		err := t.writeLease(false, func(l *lease) bool {
			l.configHash = hash
			return true
		})
		if err != nil {
			return
		}
		if err := t.reopenFence(); err != nil {
			_ = t.lose(err) // Err tells it
			return
		}
	}
}

// Release gives the epoch back before active returns: to be called once nothing
// can be promised any more and the journal is complete, so that a successor need
// not wait for what else is to be closed. Guard fails from then on; Lost stays open.
func (t *Tenure) Release() error {
	if err := t.Err(); err != nil {
		return err
	}
	return t.giveBack(stateReleased)
}

// giveBack ends the renewals and writes the last state of the lease.
func (t *Tenure) giveBack(state leaseState) error {
	t.stopRenewer()
	<-t.renewer
	err := t.writeLease(true, func(l *lease) bool {
		l.state = state
		t.over.Store(true)
		return true
	})
	if t.watch != nil {
		t.watch.Stop() // nobody renews any more
	}
	if t.kill != nil {
		err = errors.Join(err, t.kill.Close())
	}
	t.node.log.Info("epoch given back", slog.Uint64("epoch", t.epoch), slog.String("state", state.String()))
	return err
}

// end gives the epoch back in the given state, unless it was. Guard fails from then
// on.
func (t *Tenure) end(state leaseState) (err error) {
	if t.proof != nil {
		err = t.Settle()
	}
	if !t.over.Load() {
		err = errors.Join(err, t.giveBack(state))
	}
	_ = t.lose(fmt.Errorf("it was given back as %v", state)) // it was asked for, so end need not fail
	return errors.Join(err, t.close())
}

// abandonGrace is how long a lost tenure waits for a renewal under way.
const abandonGrace = 100 * time.Millisecond

// abandon lets go of a tenure that was lost, writing nothing more. A renewal that
// hangs may hang for ever; then the files stay open until the process ends, which
// is about to happen: the kernel timer stays armed.
func (t *Tenure) abandon() error {
	t.stopRenewer()
	grace := time.NewTimer(abandonGrace)
	defer grace.Stop()
	select {
	case <-t.renewer:
		return t.close()
	case <-grace.C:
		return nil
	}
}

func (t *Tenure) close() error {
	if t.watch != nil {
		t.watch.Stop()
	}
	err := t.leaseFile.Close()
	t.fenceMu.Lock()
	err = errors.Join(err, t.fence.Close())
	t.fenceMu.Unlock()
	if t.lock != nil {
		err = errors.Join(err, t.lock.Close())
	}
	return err
}
