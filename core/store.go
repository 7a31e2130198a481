package core

import (
	"context"
	"iter"
	"time"
)

// QueueID names a durable queue in the store. The upper 32 bits are the epoch that made the queue, so an id is never used twice,
// also by a broker that took over. 0 names no queue.
type QueueID uint64

// keyedQueue is the bit of a QueueID that says Keyed.
const keyedQueue QueueID = 1 << 31

// Keyed reports whether the store knows the routing keys of what lives in the queue, without reading it: see Store.Keys. The id itself says
// so, so that records of a queue can be told apart before its definition is known.
func (id QueueID) Keyed() bool { return id&keyedQueue != 0 }

// KeyedID is the id of a queue that is Keyed.
func KeyedID(id QueueID) QueueID { return id | keyedQueue }

// Seq is a message's place in one queue. The first is 1; they only grow, and a place is never used twice.
type Seq uint64

// Range is the places First to Last, both included.
type Range struct{ First, Last Seq }

// Pair is one place in one queue.
type Pair struct {
	Queue QueueID
	Seq   Seq
}

// OpKind tells what an Op records.
type OpKind uint8

// The kinds of Op.
const (
	// OpNone records nothing: its promise passes after everything committed before it.
	OpNone OpKind = iota
	// OpPublish puts Msg at Queue/Seq and at every pair of More. The body is stored once.
	OpPublish
	// OpSettle ends the entries of Queue in Ranges: acknowledged, expired, dropped or purged, which is all one to the store. It is
	// idempotent. Places that were never published (a transient message's), that are settled already, or whose queue is gone are
	// passed over.
	OpSettle
	// OpMark adds one to the delivery count of the entries of Queue in Ranges.
	OpMark
	// OpDefine keeps Value under Key, replacing what was there. With a Queue the key defines that queue: its entries may follow. A key
	// has at most MaxKey bytes, of which the first is not zero, a value at most MaxValue.
	OpDefine
	// OpRemove ends Key. With a Queue it ends that queue and all its entries.
	OpRemove
)

// The longest key and value that a Store must take.
const (
	MaxKey   = 1 << 10
	MaxValue = 256 << 10
)

// Op is one record of a commit. The store copies what it needs of the slices before Commit returns, except Msg (immutable), Value
// and More, which belong to the store from then on.
type Op struct {
	Kind   OpKind
	Queue  QueueID
	Seq    Seq      // OpPublish
	Msg    *Message // OpPublish
	More   []Pair   // OpPublish: further places of the same message
	Ranges []Range  // OpSettle, OpMark; copied
	Key    string   // OpDefine, OpRemove
	Value  []byte   // OpDefine

	// Done, when not nil, is the promise that waits for this record; Tag is handed back to it.
	Done Completion
	Tag  uint64
}

// Completion is what waits for a record to pass. Complete is called by the store's committer, one call at a time, in the order of
// the commits; it must return at once, may take no queue or vhost lock, and may not call the store. err is nil when the record has
// passed; any other value is final for the store, and every later Completion gets it too.
type Completion interface {
	Complete(tag uint64, err error)
}

// Definition is one keyed record that is alive at recovery. For a queue, Next, Count and Bytes tell what it holds.
type Definition struct {
	Key   string
	Value []byte
	Queue QueueID // 0: not a queue
	Next  Seq     // the place the next publish takes: above every place that lives or that a record may speak of, also if settled long ago
	Count int64   // live entries
	Bytes int64   // the sum of the sizes of their bodies
}

// KeyedPlace is a live place of a queue that is Keyed, and what is known of its message.
type KeyedPlace struct {
	Seq     Seq
	Key     string
	Expires int64 // as Message.Expires
}

// Entry is one live place of a queue, loaded from the store.
type Entry struct {
	Seq       Seq
	Delivered uint32 // how often it was marked
	Msg       *Message
}

// SpaceLevel says how the store stands for space.
type SpaceLevel uint8

// The levels of space.
const (
	SpaceOK   SpaceLevel = iota
	SpaceLow             // below the watermark: publishers wait
	SpaceFull            // new durable objects are refused too; the store itself refuses nothing
)

// Space is a store's own view of its disk.
type Space struct {
	Level SpaceLevel
	Free  int64 // bytes free on the store's file system; 0 when unknown

	// Behind: publishers wait, whatever the disk says, because a start would take too long now: the store must first put what was
	// written lately where a start finds it. It is so for as long as that takes, and not while the store keeps up.
	Behind bool
}

// Lacking reports whether publishers must wait.
func (s Space) Lacking() bool { return s.Level != SpaceOK || s.Behind }

// Store keeps what must survive the process. There is one per broker, used by many goroutines at once.
//
// A group of records has passed when it is on stable storage and the store's guard was read unbroken after that. The store calls
// each Completion when its record has passed, in the order of the Commit calls; the first error sticks, and nothing passes after it.
//
//nolint:interfacebloat // the whole seam between engine and disk, and nothing else
type Store interface {
	// Recover yields every definition that is alive, those of no queue first, each kind in the order in which they were made. It is
	// called once, before the first Commit. A yielded error ends the sequence.
	Recover(ctx context.Context) iter.Seq2[Definition, error]

	// Keys yields the live places of a queue that is Keyed, in order, but for those of messages whose keys are longer than MaxKey. It is
	// called once for a queue, when all of Recover has been read. A yielded error ends the sequence.
	Keys(ctx context.Context, queue QueueID) iter.Seq2[KeyedPlace, error]

	// Commit hands over ops as one unit: all of them pass together or none does. It never blocks on the disk and is called with
	// queue locks held; it may not call back into the engine. The order of Commit calls is the order of the records.
	Commit(ops []Op)

	// Pending is the number of bytes committed that have not passed. It is cheap: publishers read it to know when to wait.
	Pending() int64

	// Load returns live entries of queue with places from ≤ Seq ≤ to, in order, with their messages: at most maxEntries, and no
	// further entry once what is kept of them has maxBytes. Only entries that have passed are found. An empty result means that the range holds
	// nothing. It may block on the disk, and is never called with a lock held.
	Load(queue QueueID, from, to Seq, maxEntries, maxBytes int) ([]Entry, error)

	// Space returns the state of the disk: as last measured, less what was written since. It is cheap.
	Space() Space

	// Failed is closed when the store has met its final error, which Err then returns.
	Failed() <-chan struct{}
	Err() error

	// Now is the broker's clock: it goes on across restarts and hosts and never steps back.
	Now() time.Time

	// Close passes what was committed, marks the store as cleanly closed and releases it. Without that mark, Recover's store counts
	// every recovered entry as delivered once (Entry.Delivered ≥ 1), because it may have been.
	Close() error
}
