package persistence

import (
	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/journal"
)

// op is a core.Op as it waits in a batch, or one of the store's own records.
type op struct {
	kind   opKind
	queue  core.QueueID
	seq    core.Seq
	msg    *core.Message
	more   []core.Pair
	ranges []core.Range // in batch.ranges
	key    string
	value  []byte
	own    *ownRecords
	done   core.Completion
	tag    uint64
}

type opKind uint8

const (
	opNone    = opKind(core.OpNone)
	opPublish = opKind(core.OpPublish)
	opSettle  = opKind(core.OpSettle)
	opMark    = opKind(core.OpMark)
	opDefine  = opKind(core.OpDefine)
	opRemove  = opKind(core.OpRemove)
	opOwn     = opKind(255) // records of the store itself
)

// ownRecords are what the store writes on its own account.
type ownRecords struct {
	reclaimed  []journal.SegmentRange
	places     []core.Pair // queue and next free place
	settled    []core.Pair // places of messages that are lost
	carry      *carryStep
	checkpoint journal.Position
	closed     bool
}

// batch is the units that wait for the committer. Two of them take turns: one gathers while the other is being written, and both keep
// their arrays.
type batch struct {
	ops    []op
	ranges []core.Range
	units  []unit
}

// unit is one call of Commit.
type unit struct {
	end   int // behind its last op
	bytes int64
}

// opOverhead is what a record costs beyond its variable parts, rounded up.
const opOverhead = 48

// add copies one op and returns what it counts for.
func (b *batch) add(o *core.Op) int64 {
	size := int64(opOverhead + len(o.Key) + len(o.Value) + 16*len(o.Ranges) + 16*len(o.More))
	if o.Kind == core.OpPublish {
		size += int64(o.Msg.Size())
	}
	from := len(b.ranges)
	for _, r := range o.Ranges {
		if r.First <= r.Last {
			b.ranges = append(b.ranges, r)
		}
	}
	b.ops = append(b.ops, op{
		kind: opKind(o.Kind), queue: o.Queue, seq: o.Seq, msg: o.Msg, more: o.More,
		ranges: b.ranges[from:len(b.ranges):len(b.ranges)],
		key:    o.Key, value: o.Value, done: o.Done, tag: o.Tag,
	})
	return size
}

// keepArrays bounds the arrays that a batch keeps after a burst.
const keepArrays = 1 << 16

// reset empties the batch and lets go of what it held.
func (b *batch) reset() {
	if cap(b.ops) > keepArrays || cap(b.ranges) > keepArrays {
		*b = batch{}
		return
	}
	clear(b.ops)
	b.ops, b.ranges, b.units = b.ops[:0], b.ranges[:0], b.units[:0]
}
