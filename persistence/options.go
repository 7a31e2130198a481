package persistence

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/batonmq/baton/persistence/journal"
)

// Seal says that an epoch's journal is history up to Offset, and not beyond.
type Seal = journal.Seal

// Source is the epoch that a new one continues, as the wiring learned it.
type Source struct {
	Epoch    uint64
	Lineage  []Seal    // the history before Epoch
	Segment  uint64    // the highest journal segment its lease names; 0: not known
	Promised uint64    // the offset up to which it is known to have made promises
	Time     time.Time // the broker clock goes on from here, or from the last group if that is later
}

// Options say where the store is and what it may rely on. Only Dir, StoreID and Epoch must be set.
type Options struct {
	// Dir is the store's directory; journal/ and index/ live in it and are made when absent.
	Dir string
	// Node is this node's name; it tells its index directory from another node's. Default "baton".
	Node string
	// StoreID is the directory's identity. A file of another store is refused.
	StoreID [16]byte
	// Epoch is the number this process writes under. No other process, before or after, writes under it.
	Epoch uint64
	// Source is what this epoch continues. Nil: the store is empty.
	Source *Source

	// Follower has followed Source or what came before it. Open takes it over, also when it fails: the caller uses it no more. Nil: this
	// node did not stand by.
	Follower *Follower

	// Guard is called after a group's sync has returned; nil means that the group has passed. Any error is final. Nil: always passed.
	Guard func() error
	// NameSegment durably names segment n as one to be read by a successor. It returns before the first promise whose records lie in
	// n. Any error is final. Nil: nobody needs to know.
	NameSegment func(n uint64) error
	// Promised is told, after each group, up to which offset this epoch has made promises, and the broker clock then. It must return
	// at once. Nil: nobody needs to know.
	Promised func(offset uint64, t time.Time)

	// Salvage goes on without what is damaged where a start would be refused, and says what that was. Messages that were settled may
	// come back, and what was defined may be missing.
	Salvage bool

	// Logger gets start-up, rebuilds, reclaimed files and damage. Nil: none.
	Logger *slog.Logger
	// Files is the I/O seam. Nil: the operating system's files, read through this host's cache: a directory that other hosts write to needs
	// FreshFiles.
	Files journal.Files

	// CheckpointEvery is how long a change may wait to reach the index. Default 5 s.
	CheckpointEvery time.Duration
	// CheckpointBytes is how many bytes of groups may wait to reach the index. Default 32 MiB.
	CheckpointBytes int64
	// TailBytes is how many bytes of groups may lie behind the last checkpoint, which a start has to read again: beyond it publishers
	// wait. Default eight times CheckpointBytes.
	TailBytes int64
	// SegmentSize is the size at which a new segment is begun. Default 64 MiB; at least 4 KiB.
	SegmentSize int64
	// FreeLow is the free disk space below which publishers wait. Default 512 MiB; at least FreeFull, two segments and 64 MiB, because
	// what is under way then is still written.
	FreeLow int64
	// FreeHigh is the free disk space at which publishers that wait go on. Default a quarter above FreeLow; at least FreeLow.
	FreeHigh int64
	// FreeFull is the free disk space below which Space says that the disk is full. The store refuses nothing itself. Default 128 MiB.
	FreeFull int64

	slack     int64                             // what the journal may take beside twice what lives; a test's, a quarter of a segment otherwise
	openIndex func(o *Options) (indexer, error) // a test's index in memory
	wall      func() time.Time                  // a test's clock on the wall of this host
}

func (o Options) validate() error {
	switch {
	case o.Dir == "":
		return errors.New("store: no directory given")
	case o.Epoch == 0 || o.Epoch > math.MaxUint32:
		return fmt.Errorf("store %s: epoch %d is out of range", o.Dir, o.Epoch)
	case o.Source != nil && o.Source.Epoch >= o.Epoch:
		return fmt.Errorf("store %s: epoch %d cannot continue epoch %d", o.Dir, o.Epoch, o.Source.Epoch)
	case o.SegmentSize != 0 && (o.SegmentSize < 4096 || o.SegmentSize > math.MaxInt32):
		return fmt.Errorf("store %s: segment size %d is not between 4 KiB and 2 GiB", o.Dir, o.SegmentSize)
	}
	return nil
}

// withDefaults returns a copy in which every field that has a default is set.
func (o Options) withDefaults() Options {
	setDefault(&o.Node, "baton")
	setDefault(&o.CheckpointEvery, 5*time.Second)
	setDefault(&o.CheckpointBytes, 32<<20)
	setDefault(&o.TailBytes, 8*o.CheckpointBytes)
	setDefault(&o.SegmentSize, 64<<20)
	setDefault(&o.slack, o.SegmentSize/4)
	if o.wall == nil {
		o.wall = time.Now
	}
	o = o.withWatermarks()
	if o.Guard == nil {
		o.Guard = func() error { return nil }
	}
	if o.NameSegment == nil {
		o.NameSegment = func(uint64) error { return nil }
	}
	if o.Promised == nil {
		o.Promised = func(uint64, time.Time) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Files == nil {
		o.Files = journal.OSFiles()
	}
	return o
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}
