package ha

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"
)

// look sees the highest claim, which is at least from. A directory listing may
// be stale, so the numbers above it are tried until one is not there.
func (n *node) look(from uint64) (sighting, error) {
	var err error
	if from == 0 {
		if from, err = n.highestIn(n.haDir()); err != nil {
			return sighting{}, err
		}
	}
	highest := from
	var page []byte
	for e := max(from, 1); ; e++ {
		p, err := n.readPage(n.path(e, "lease"))
		if errors.Is(err, fs.ErrNotExist) && e > from {
			break
		}
		if err != nil {
			return sighting{}, n.missing(err)
		}
		highest, page = e, p
	}
	if highest == 0 {
		return sighting{}, nil
	}
	s := sighting{epoch: highest, print: fingerprint(page), lock: n.lockHint(highest)}
	if s.lease, s.readable, err = decodeLease(page, n.id, highest); err != nil {
		return sighting{}, fmt.Errorf("read %s: %w", n.path(highest, "lease"), err)
	}
	return s, nil
}

// fingerprint tells one content of a lease page from another. The records' own
// checksum would not do: over data that ends with it, it is the same for all data.
func fingerprint(page []byte) uint64 {
	h := fnv.New64a()
	_, _ = h.Write(page) // never fails
	return h.Sum64()
}

// lockHint asks the lock of e's claim. That it cannot be asked tells nothing.
func (n *node) lockHint(e uint64) lockHint {
	f, err := n.files.Open(n.path(e, "lock"), false)
	if err != nil {
		return lockUnknown
	}
	defer closeRead(f)
	switch locked, err := f.Locked(); {
	case err != nil:
		return lockUnknown
	case locked:
		return lockHeld
	default:
		return lockFree
	}
}

// missing turns the absence of a file that is part of every claim into damage.
func (n *node) missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: %w; claims in %s are never removed: restore it from a copy", ErrDamage, err, n.haDir())
	}
	return err
}

// survey reads what contest wants to know before a claim. seals is the length of
// the newest lineage, by which the claim's own active file is measured.
func (n *node) survey(highest uint64) (s survey, seals int, err error) {
	if s.journal, err = n.highestIn(n.journalDir()); err != nil {
		return s, 0, err
	}
	if n.opt.Above != nil {
		if s.above, err = n.opt.Above(); err != nil {
			return s, 0, fmt.Errorf("find epochs outside %s: %w", n.opt.Dir, err)
		}
	}
	if s.floor, err = n.floor(); err != nil {
		return s, 0, err
	}
	for e := highest; e >= max(s.floor, 1) && !s.active; e-- {
		var lineage []Seal
		if lineage, s.active, err = n.probe(e); err != nil {
			return s, 0, err
		}
		seals = len(lineage)
	}
	return s, seals, nil
}

func (n *node) floor() (uint64, error) {
	page, err := n.readPage(n.floorPath())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	floor, err := decodeFloor(page, n.id)
	if err == nil && floor == 0 { // torn: below the origin there is nothing to read
		floor, err = n.origin()
	}
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", n.floorPath(), err)
	}
	return floor, nil
}

// probe reads whether epoch e was active, and its lineage.
func (n *node) probe(e uint64) (lineage []Seal, active bool, err error) {
	path := n.path(e, "active")
	b, err := n.readAll(path)
	if err != nil {
		return nil, false, n.missing(err)
	}
	if lineage, active, err = decodeActive(b, n.id, e); err != nil {
		return nil, false, fmt.Errorf("read %s: %w; restore it from a copy of the directory", path, err)
	}
	return lineage, active, nil
}

// spareSeals is how much longer than the newest lineage the next may be.
const spareSeals = 64

// filled is a claim that lies under a temporary name.
type filled struct {
	temp  string
	lease lease
	pages int  // of a copy of the active file
	lock  File // taken; nil where locks do not exist
}

func (f *filled) unlock() error {
	if f.lock == nil {
		return nil
	}
	return f.lock.Close()
}

// take tries to claim epoch e and returns nil if another was faster. The lock is
// taken before the claim appears, so that no claim is ever seen with its holder
// alive and its lock free. A claim in store is used if it can be, and spent.
func (n *node) take(ctx context.Context, e uint64, seals int, store *filled) (*Tenure, error) {
	f := store
	if f != nil && !n.fits(f, e, seals) {
		if err := f.unlock(); err != nil {
			return nil, err
		}
		f = nil
	}
	if f == nil {
		var err error
		if f, err = n.fill(n.newLease(e), seals); err != nil {
			return nil, err
		}
	}
	t, err := n.place(ctx, f)
	if t == nil {
		return nil, errors.Join(err, f.unlock())
	}
	t.lock = f.lock
	return t, err
}

// fits gives a claim in store its number, unless it has it, if it is there still
// and can hold the lineage.
func (n *node) fits(f *filled, e uint64, seals int) bool {
	if activeCapacity(f.pages) <= seals {
		return false
	}
	hash := n.configHash()
	if f.lease.epoch == e && f.lease.configHash == hash {
		page, err := n.readPage(filepath.Join(f.temp, "lease"))
		_, ok, err2 := decodeLease(page, n.id, e)
		return err == nil && ok && err2 == nil
	}
	f.lease.epoch, f.lease.configHash = e, hash
	page := alignedPages(1)
	f.lease.encodeInto(page, n.id)
	return n.overwrite(filepath.Join(f.temp, "lease"), page) == nil
}

// fill makes a claim under a temporary name, or leaves nothing behind if it can.
func (n *node) fill(l lease, seals int) (*filled, error) {
	n.attempt++
	f := &filled{temp: filepath.Join(n.haDir(), fmt.Sprintf("claim-%x-%d", n.nonce, n.attempt)), lease: l, pages: activePages(seals + spareSeals)}
	err := n.fillIn(f)
	if err == nil {
		return f, nil
	}
	err = fmt.Errorf("prepare a claim: %w", errors.Join(err, f.unlock()))
	_ = n.files.Remove(f.temp) // what stays is harmless; the error is what counts
	return nil, err
}

// fillIn closes everything again but the lock, as some systems do not rename a
// directory with open files in it.
func (n *node) fillIn(f *filled) error {
	if err := n.files.Mkdir(f.temp); err != nil {
		return err
	}
	first := alignedPages(1)
	f.lease.encodeInto(first, n.id)
	for _, file := range []struct {
		name    string
		content []byte
	}{
		{"lease", first},
		{"fence", alignedPages(1)},
		{"active", alignedPages(2 * f.pages)},
		{"request", alignedPages(1)},
	} {
		if err := n.create(filepath.Join(f.temp, file.name), file.content); err != nil {
			return err
		}
	}
	lock, err := n.files.Open(filepath.Join(f.temp, "lock"), true)
	if err != nil {
		return err
	}
	f.lock = lock
	err = lock.Lock()
	if errors.Is(err, errors.ErrUnsupported) {
		f.lock = nil
		err = lock.Close()
	}
	if err != nil {
		return err
	}
	return n.files.Sync(f.temp)
}

// place gives the filled claim its number. Whose it is, is told by the nonce found
// there afterwards. One that is ours in spite of an error may not be durable, or
// a file server's answer was lost: it is left behind, and the start fails.
func (n *node) place(ctx context.Context, f *filled) (*Tenure, error) {
	l := f.lease
	placeErr := n.files.Place(f.temp, n.claim(l.epoch))
	if placeErr == nil && n.fresh != Cached {
		placeErr = n.files.Sync(n.haDir())
	}
	var page []byte
	err := n.await(ctx, placeErr == nil || errors.Is(placeErr, fs.ErrExist), func() (err error) {
		page, err = n.readPage(n.path(l.epoch, "lease"))
		return err
	})
	if errors.Is(err, fs.ErrNotExist) && placeErr != nil {
		err = placeErr
	}
	if err != nil {
		return nil, fmt.Errorf("claim epoch %d: %w", l.epoch, err)
	}
	got, ok, err := decodeLease(page, n.id, l.epoch)
	if err != nil {
		return nil, fmt.Errorf("claim epoch %d: %w", l.epoch, err)
	}
	if !ok || got.nonce != l.nonce {
		return nil, nil
	}
	if placeErr != nil {
		return nil, fmt.Errorf("claim epoch %d: %w", l.epoch, placeErr)
	}
	return newTenure(n, l, page, f.pages)
}

// mark ends epoch f, for good, as soon as it can be read. A fence that is not
// marked is a zombie that promises: none is skipped.
func (n *node) mark(ctx context.Context, f, successor uint64) error {
	page := encodeFence(n.id, f, successor)
	return n.missing(n.await(ctx, true, func() error {
		return n.show(n.path(f, "fence"), page, 0)
	}))
}

// await calls open again and again for up to a TTL while it finds no file, if
// there must be one: on a network file system a name may be late to appear.
func (n *node) await(ctx context.Context, must bool, open func() error) error {
	deadline := time.Now().Add(n.opt.TTL)
	for {
		err := open()
		if !must || n.fresh == Cached || !errors.Is(err, fs.ErrNotExist) || time.Now().After(deadline) {
			return err
		}
		if err := pause(ctx, lookEvery); err != nil {
			return err
		}
	}
}

// sourceOf gathers what the source left, after its fence was marked. Its lease is
// progress, not history: without a sound record the journal's reader has to find
// the last segment itself, which is never fatal. That it cannot be read at all
// is, as it may be sound.
func (n *node) sourceOf(e uint64, lineage []Seal) (Source, error) {
	s := Source{Epoch: e, Lineage: lineage}
	path := n.path(e, "lease")
	page, err := n.readPage(path)
	if err != nil {
		return s, n.missing(err)
	}
	l, ok, err := decodeLease(page, n.id, e)
	if err != nil {
		return s, fmt.Errorf("read %s: %w", path, err)
	}
	if !ok {
		n.log.Warn("lease of the source is unreadable", slog.Uint64("epoch", e))
		return s, nil
	}
	s.HighestSegment, s.Promised, s.Released = l.segment, l.promised, l.state == stateReleased
	if l.brokerTime != 0 {
		s.BrokerTime = time.Unix(0, l.brokerTime)
		s.Silence, _ = n.boot().since(l.boot)
	}
	return s, nil
}
