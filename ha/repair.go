package ha

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"time"
)

// RepairOptions say what to repair, and where to find what is lost.
type RepairOptions struct {
	Dir string
	// Apply carries out what is found; otherwise it is only told.
	Apply bool
	// Journal tells the store and the lineage that the journal of an epoch names:
	// the lineage with the seal of the epoch it continues, as its active file had
	// it. It fails when no segment of the epoch can be read, or when the epoch
	// continues another and holds no valid group, since then it died before it had
	// adopted that one's last. Nil: the journal is not asked.
	Journal func(epoch uint64) (store [16]byte, lineage []Seal, err error)
	// Logger gets what is carried out. Default: none.
	Logger *slog.Logger
	// Files is the I/O seam. Nil: the operating system's files.
	Files Files
}

// Finding is one thing that keeps a directory from being served, or would later.
type Finding struct {
	Path    string `json:"path"`
	Problem string `json:"problem"`
	Repair  string `json:"repair"`             // empty: it cannot be repaired here
	GivesUp string `json:"gives_up,omitempty"` // what is lost for good by that
}

// RepairReport is what was found.
type RepairReport struct {
	Findings []Finding `json:"findings"`
	Applied  bool      `json:"applied"`
}

// Repairable tells whether all that was found can be repaired.
func (r *RepairReport) Repairable() bool {
	for _, f := range r.Findings {
		if f.Repair == "" {
			return false
		}
	}
	return true
}

// Repair finds what is missing or broken in ha/ and makes it anew, from the
// journal where that tells, so that the directory can be served again. It removes
// nothing, makes no epoch unmarked and refuses a directory with a living holder
// (ErrHeld). A directory that holds what cannot be repaired is left as it is.
//
// A copy of the directory is always the better way back: what is given up, the
// findings say.
func Repair(ctx context.Context, opt RepairOptions) (RepairReport, error) {
	n, err := newNode(Options{Dir: opt.Dir, Node: "repair", Files: opt.Files, Logger: opt.Logger})
	if err != nil {
		return RepairReport{}, err
	}
	if n.fresh, err = n.files.Fresh(opt.Dir); err != nil {
		return RepairReport{}, err
	}
	r := repair{node: n, opt: opt}
	if err := r.find(ctx); err != nil {
		return r.report, fmt.Errorf("look for what to repair in %s: %w", opt.Dir, err)
	}
	if !opt.Apply || len(r.actions) == 0 || !r.report.Repairable() {
		return r.report, nil
	}
	for i, act := range r.actions {
		f := r.report.Findings[i]
		if err := act(); err != nil {
			return r.report, fmt.Errorf("repair %s: %w", f.Path, err)
		}
		n.log.Info("repaired", slog.String("path", f.Path), slog.String("problem", f.Problem), slog.String("gives_up", f.GivesUp))
	}
	r.report.Applied = true
	return r.report, nil
}

// repair is one search for damage. Each finding has its action, in an order in
// which a crash between two leaves a directory that is still refused.
type repair struct {
	node    *node
	opt     RepairOptions
	report  RepairReport
	actions []func() error

	floor   uint64
	highest uint64 // number named anywhere
	sourced bool   // an active epoch was found, or is being made
}

func (r *repair) found(f Finding, act func() error) {
	r.report.Findings = append(r.report.Findings, f)
	r.actions = append(r.actions, act)
}

func (r *repair) find(ctx context.Context) error {
	claims, err := r.node.highestIn(r.node.haDir())
	if err != nil {
		return err
	}
	segments, err := r.node.highestIn(r.node.journalDir())
	if err != nil {
		return err
	}
	if known, err := r.identity(max(claims, segments)); err != nil || !known {
		return err
	}
	if err := r.refuseHeld(ctx, claims); err != nil {
		return err
	}
	if r.floor, err = r.node.floor(); err != nil {
		return err
	}
	r.highest = max(claims, segments, r.floor)
	for e := r.highest; e >= max(r.floor, 1); e-- {
		if err := r.epoch(e); err != nil {
			return err
		}
	}
	if segments > 0 && !r.sourced {
		r.found(Finding{
			Path:    r.node.journalDir(),
			Problem: "no epoch is known to have been active, and the journal does not tell of one either",
		}, nil)
	}
	return nil
}

// identity finds out the store's id.
func (r *repair) identity(highest uint64) (known bool, err error) {
	n := r.node
	err = n.readStore()
	missing := errors.Is(err, fs.ErrNotExist)
	if err == nil || !missing && !errors.Is(err, ErrDamage) {
		return err == nil, err
	}
	problem := "it is missing"
	if !missing {
		problem = "it is unreadable"
	}
	for e := highest; e > 0 && !known; e-- {
		n.id, known = r.identityOf(e)
	}
	if !known {
		if highest > 0 {
			r.found(Finding{Path: n.storePath(), Problem: problem + ", and no claim or segment tells the store's identity"}, nil)
		}
		return false, nil
	}
	page := encodeStore(n.id)
	r.found(Finding{Path: n.storePath(), Problem: problem, Repair: fmt.Sprintf("make it anew with the identity %v, which its other files name", n.id)}, func() error {
		if missing {
			return n.install(n.storePath(), page)
		}
		return n.overwrite(n.storePath(), page)
	})
	return true, nil
}

// identityOf asks a claim's lease, and then the journal.
func (r *repair) identityOf(e uint64) (storeID, bool) {
	if page, err := r.node.readPage(r.node.path(e, "lease")); err == nil {
		for at := 0; at < pageSize; at += leaseSlotSize {
			id := storeID(page[at+8 : at+24])
			if s, err := examine(page[at:at+leaseSlotSize], magicLease, id); s == sound && err == nil {
				return id, true
			}
		}
	}
	if r.opt.Journal != nil {
		if id, _, err := r.opt.Journal(e); err == nil {
			return id, true
		}
	}
	return storeID{}, false
}

// refuseHeld fails if the highest claim's holder lives.
func (r *repair) refuseHeld(ctx context.Context, highest uint64) error {
	c := contest{standby: false, patience: r.node.opt.TTL + r.node.opt.TTL/10}
	for highest > 0 {
		seen, err := r.node.look(highest)
		if errors.Is(err, ErrDamage) {
			return nil // its lease is gone, and so is a holder whose fence is
		}
		if err != nil {
			return err
		}
		c.looked(time.Now(), seen, readiness{fit: true})
		switch c.next().kind {
		case stepHeld:
			return fmt.Errorf("%w: epoch %d; stop it first", ErrHeld, seen.epoch)
		case stepWait:
			if err := pause(ctx, r.node.opt.TTL/10); err != nil {
				return err
			}
		default:
			return nil
		}
	}
	return nil
}

// epoch looks at the claim of e, from the highest down.
func (r *repair) epoch(e uint64) error {
	n := r.node
	present := 0
	for _, name := range []string{"lease", "fence", "active"} {
		f, err := n.files.Open(n.path(e, name), false)
		switch {
		case err == nil:
			present++
			closeRead(f)
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
	}
	if present == 0 {
		r.claimGone(e)
		return nil
	}
	return errors.Join(
		r.file(e, "lease", r.lease(e)),
		r.file(e, "fence", encodeFence(n.id, e, r.highest+1)),
		r.active(e),
	)
}

func (r *repair) file(e uint64, name string, content []byte) error {
	path := r.node.path(e, name)
	_, err := r.node.readPage(path)
	if errors.Is(err, fs.ErrNotExist) {
		r.found(Finding{Path: path, Problem: "it is missing", Repair: "make it anew, as that of an epoch that has ended"}, func() error {
			return r.create(path, content)
		})
		return nil
	}
	return err
}

// lease is that of an epoch that ended long ago. It names no segment, so that a
// successor looks for all there are.
func (r *repair) lease(e uint64) []byte {
	l := r.node.newLease(e)
	l.state = stateFailed
	page := alignedPages(1)
	l.encodeInto(page, r.node.id)
	return page
}

// lineage finds what e's active file held, if e is to be the source: the highest
// epoch that tells is.
func (r *repair) lineage(e uint64) (lineage []Seal, gives string, ok bool) {
	if r.sourced {
		return nil, "", false // a later epoch continues its history
	}
	why := errors.New("the journal is not asked")
	if r.opt.Journal != nil {
		var store storeID
		store, lineage, why = r.opt.Journal(e)
		if why == nil && store != r.node.id {
			why = fmt.Errorf("its journal is of store %v", store)
		}
	}
	if why != nil {
		return nil, fmt.Sprintf("whatever was promised in epoch %d, if it was active (%v)", e, why), false
	}
	r.sourced = true
	return lineage, "", true
}

func (r *repair) claimGone(e uint64) {
	n := r.node
	lineage, gives, ok := r.lineage(e)
	what := "make it anew, as that of an epoch that was never active"
	if ok {
		what = fmt.Sprintf("make it anew, active, with the lineage of %d epochs that its journal names", len(lineage))
	}
	problem := "the claim is missing"
	if !ok && !r.sourced && e == r.floor { // there is nothing below it to go on from
		problem += ", ha/floor says that the epoch was active, and its lineage is lost: " + gives
		what, gives = "", ""
	}
	r.found(Finding{Path: n.claim(e), Problem: problem, Repair: what, GivesUp: gives}, func() error {
		f, err := n.fill(n.newLease(e), len(lineage))
		if err != nil {
			return err
		}
		err = errors.Join(
			n.overwrite(filepath.Join(f.temp, "lease"), r.lease(e)),
			n.overwrite(filepath.Join(f.temp, "fence"), encodeFence(n.id, e, r.highest+1)),
		)
		if err == nil && ok {
			err = r.write(filepath.Join(f.temp, "active"), e, f.pages, lineage)
		}
		if err == nil {
			err = n.installDir(f.temp, n.claim(e))
		}
		return errors.Join(err, f.unlock())
	})
}

// active looks at e's active file.
func (r *repair) active(e uint64) error {
	n := r.node
	path := n.path(e, "active")
	b, err := n.readAll(path)
	missing := errors.Is(err, fs.ErrNotExist)
	if err != nil && !missing {
		return err
	}
	problem := "it is missing"
	if !missing {
		_, was, err := decodeActive(b, n.id, e)
		if err == nil && (was || e != r.floor) {
			r.sourced = r.sourced || was
			return nil
		}
		if err != nil && !errors.Is(err, ErrDamage) {
			return err
		}
		problem = "both copies of the lineage are bad"
		if err == nil {
			problem = "it is blank, though ha/floor says that the epoch was active"
		}
	}
	if r.sourced {
		r.found(Finding{Path: path, Problem: problem, Repair: "make it blank: a later epoch continues its history"}, func() error {
			return r.blank(path, len(b), missing)
		})
		return nil
	}
	lineage, gives, ok := r.lineage(e)
	f := Finding{Path: path, Problem: problem, GivesUp: gives, Repair: "make it blank, as if the epoch had never been active"}
	if ok {
		f.Repair = fmt.Sprintf("write the lineage of %d epochs that its journal names", len(lineage))
	} else if e == r.floor {
		f.Repair, f.GivesUp = "", "" // there is nothing below it to go on from
	}
	r.found(f, func() error {
		if !ok {
			return r.blank(path, len(b), missing)
		}
		pages := max(activePages(len(lineage)+spareSeals), len(b)/(2*pageSize))
		if missing {
			if err := r.create(path, alignedPages(2*pages)); err != nil {
				return err
			}
		}
		return r.write(path, e, pages, lineage)
	})
	return nil
}

func (r *repair) blank(path string, size int, missing bool) error {
	pages := max(2, (size+2*pageSize-1)/(2*pageSize)*2)
	if missing {
		return r.create(path, alignedPages(pages))
	}
	return r.node.overwrite(path, alignedPages(pages))
}

// create makes a file that a claim lacks, durably.
func (r *repair) create(path string, content []byte) error {
	if err := r.node.create(path, content); err != nil {
		return err
	}
	return r.node.files.Sync(filepath.Dir(path))
}

// write fills an active file of two copies of so many pages.
func (r *repair) write(path string, e uint64, pages int, lineage []Seal) error {
	record := encodeActive(pages, r.node.id, e, lineage)
	both := alignedPages(2 * pages)
	copy(both[copy(both, record):], record)
	return r.node.overwrite(path, both)
}
