package index

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	badger "github.com/dgraph-io/badger/v4"
)

// Errors that a caller tells apart.
var (
	// ErrDamaged says that a value which the root accounts for is missing or is not what it was. The index is dead and condemned.
	ErrDamaged = errors.New("index is damaged and will be rebuilt from the journal at the next start")
	// ErrSpace says that there is not enough room for what was asked. Nothing was written and the index lives.
	ErrSpace = errors.New("not enough space for the index")
	// ErrClosed says that the index is closed.
	ErrClosed = errors.New("index is closed")
)

// Limits of what a checkpoint may carry. Larger values would leave the tree for Badger's value log, whose sync errors are swallowed.
const (
	MaxValue = 512 << 10 // bytes of one value
	MaxKey   = 32 << 10  // bytes of a definition's key
)

// StartSpace is what must be free for Open.
const StartSpace = 2 * memTableSize

// Position is a place in the journal, as the journal's own Position.
type Position struct {
	Epoch  uint32
	Offset uint64
}

// Compare orders positions: by epoch, then by offset.
func (p Position) Compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Epoch, q.Epoch), cmp.Compare(p.Offset, q.Offset))
}

// String returns the position as logs print it.
func (p Position) String() string { return fmt.Sprintf("%d:%d", p.Epoch, p.Offset) }

// Options say where an index is and whose it is. Dir, Node and StoreID must be set.
type Options struct {
	Dir     string       // the directory of all slots; made when absent
	Node    string       // this node's name, which names the slot it makes
	StoreID string       // the identity of the journal's store: a slot of another store is not used
	Logger  *slog.Logger // nil: none

	// Free measures the bytes free for Dir. With it, what would not fit is refused with ErrSpace; without, a full disk ends the
	// process with SIGBUS inside Badger.
	Free func() (int64, error)
	// Step is told each time Apply has synced something, with the number of syncs since it began. It is for tests that
	// look at what is on disk just then. Nil: nobody is told.
	Step func(step Step, n int)
}

// Step is a stage of Apply.
type Step string

// The steps of Apply, in order. A step of many values takes several syncs.
const (
	StepValues  Step = "values"  // new values are synced, under keys that no root accounts for
	StepRoot    Step = "root"    // the new root is synced: the checkpoint is there
	StepDeletes Step = "deletes" // values that the new root has replaced are gone
)

func (o *Options) validate() error {
	switch {
	case o.Dir == "":
		return errors.New("open index: no directory given")
	case o.Node == "":
		return errors.New("open index: no node name given")
	case o.StoreID == "":
		return errors.New("open index: no store id given")
	}
	return nil
}

// Root is the last finished checkpoint.
type Root struct {
	Position    Position
	Meta        []byte // as it was given to Apply
	Definitions int
	Queues      int
	Chunks      int
	Segments    int
}

// Index is one process's index, in one slot.
type Index struct {
	opt    Options
	log    *slog.Logger
	slot   *slot
	events *events // Badger's Logger
	steps  int     // syncs of the current Apply
	gen    uint64  // the highest generation that any key on disk may have

	txnBytes int // see the constant; smaller in tests

	// writing is held by Apply, Reset and Close, one of them at a time, and for reading by running iterators.
	writing sync.RWMutex

	mu     sync.RWMutex
	db     *badger.DB
	cat    *catalogue // what the root accounts for
	root   *rootRecord
	held   held   // the values that were there at Open, until they are read
	reason string // why there was no root at Open
	closed bool

	failing sync.Once
	failed  chan struct{}
	err     error // why, once failed is closed
}

// Open takes the most advanced slot of this store that no live process holds, or makes one named after the node, and verifies what is
// in it. When nothing usable is in it the slot is empty and Root returns false. An error means that no index can be had here at all.
func Open(ctx context.Context, o Options) (*Index, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if err := os.MkdirAll(o.Dir, 0o750); err != nil {
		return nil, fmt.Errorf("open index: %w", err)
	}
	s, err := claim(&o)
	if err != nil {
		return nil, fmt.Errorf("open index %s: %w", o.Dir, err)
	}
	x := &Index{opt: o, log: o.Logger, slot: s, failed: make(chan struct{}), txnBytes: txnBytes}
	if err := x.start(ctx); err != nil {
		s.release()
		return nil, fmt.Errorf("open index slot %s: %w", s.dir, err)
	}
	return x, nil
}

// start opens Badger and finds the root; in doubt it empties the slot and opens again.
func (x *Index) start(ctx context.Context) error {
	if err := x.checkSpace(0); err != nil {
		return err
	}
	reason := x.slot.doubt
	if reason == "" {
		if err := x.slot.beginOpen(); err != nil {
			return err
		}
		switch err := x.load(ctx); {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return errors.Join(context.Cause(ctx), x.closeDB())
		default:
			reason = err.Error()
		}
	}
	if x.slot.fresh {
		x.log.Info("made an index slot", slog.String("slot", x.slot.name))
	} else {
		x.log.Warn("index is not usable and will be rebuilt", slog.String("slot", x.slot.name), slog.String("reason", reason))
	}
	x.reason = reason
	return x.empty()
}

// empty removes what is in the slot and opens Badger on nothing.
func (x *Index) empty() error {
	if x.events != nil {
		x.events.mute()
	}
	_ = x.closeDB() // what is thrown away may fail to close
	if err := x.slot.clear(); err != nil {
		return err
	}
	if err := x.slot.beginOpen(); err != nil {
		return err
	}
	db, err := x.openDB()
	if err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.db, x.cat, x.root, x.gen, x.held = db, newCatalogue(), nil, 0, nil
	return nil
}

func (x *Index) closeDB() error {
	x.mu.Lock()
	db := x.db
	x.db = nil
	x.mu.Unlock()
	if db == nil {
		return nil
	}
	if err := db.Close(); err != nil {
		return fmt.Errorf("close badger in %s: %w", x.slot.dir, err)
	}
	return nil
}

// Root returns the last finished checkpoint, or false when there is none: the index is empty then, and Reason says why.
func (x *Index) Root() (Root, bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.root == nil {
		return Root{}, false
	}
	return Root{
		Position:    x.root.position,
		Meta:        x.root.meta,
		Definitions: x.cat.definitions.Len(),
		Queues:      len(x.cat.queues),
		Chunks:      x.cat.chunks,
		Segments:    len(x.cat.segments),
	}, true
}

// Reason says why Open found no root; "" when it found one.
func (x *Index) Reason() string { return x.reason }

// Slot returns the name of the slot.
func (x *Index) Slot() string { return x.slot.name }

// Reset empties the index, for a caller that found it at odds with the journal.
func (x *Index) Reset() error {
	x.writing.Lock()
	defer x.writing.Unlock()
	if err := x.usable(); err != nil {
		return err
	}
	if x.root == nil && x.gen == 0 {
		return nil // nothing was ever written
	}
	if err := x.empty(); err != nil {
		err = fmt.Errorf("reset index slot %s: %w", x.slot.dir, err)
		x.fail(err)
		return err
	}
	return nil
}

// Failed is closed when the index can no longer be used: Badger reported an error, a value was found damaged, or Apply failed. Err
// then says why.
func (x *Index) Failed() <-chan struct{} { return x.failed }

// Err returns why the index failed, or nil.
func (x *Index) Err() error {
	select {
	case <-x.failed:
		return x.err
	default:
		return nil
	}
}

// fail ends the index and condemns its slot: what caused this would be there again at the next start.
func (x *Index) fail(err error) {
	x.failing.Do(func() {
		x.err = err
		x.slot.condemn(err.Error())
		close(x.failed)
		x.log.Error("index failed", slog.String("slot", x.slot.name), slog.Any("err", err))
	})
}

// usable returns why the index can not be used, or nil.
func (x *Index) usable() error {
	x.mu.RLock()
	closed := x.closed
	x.mu.RUnlock()
	if closed {
		return ErrClosed
	}
	return x.Err()
}

// RemoveIdle removes the other slots that nobody holds and in which no checkpoint was finished for longer than age. It returns their
// names. Where file locks do not work it removes nothing, because nobody can tell whether a slot is held.
func (x *Index) RemoveIdle(age time.Duration) ([]string, error) {
	x.writing.Lock()
	defer x.writing.Unlock()
	if err := x.usable(); err != nil {
		return nil, err
	}
	return removeIdle(&x.opt, x.slot, age)
}

// Abandon leaves everything as it is, for a process that is about to end: Badger's Close may take seconds, and nothing waits for it.
// Only the end of the process releases the slot.
func (x *Index) Abandon() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
}

// Close closes Badger, which may take seconds, and releases the slot. It may be called again. When the disk has failed Badger
// may try for ever to write what it has in memory: after Failed, a process that is about to end calls Abandon.
func (x *Index) Close() error {
	x.writing.Lock()
	defer x.writing.Unlock()
	x.mu.Lock()
	closed := x.closed
	x.closed = true
	x.mu.Unlock()
	if closed {
		return nil
	}
	err := x.closeDB()
	if err == nil {
		x.slot.endOpen()
		err = x.slot.writeState() // it was used until now
	}
	x.slot.release()
	return err
}

// dbDir is where Badger's files are.
func (x *Index) dbDir() string { return filepath.Join(x.slot.dir, "db") }
