package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	badger "github.com/dgraph-io/badger/v4"

	"github.com/batonmq/baton/persistence/failpoint"
)

// Definition is one keyed record.
type Definition struct {
	Key   string
	Value []byte
	Queue uint64 // the queue that it defines; 0: none
	Order uint64 // as the caller numbers definitions
}

// Queue is what is known of one queue besides its chunks.
type Queue struct {
	ID, Next     uint64
	Count, Bytes int64
}

// ChunkID names a chunk: a run of a queue's places.
type ChunkID struct{ Queue, Number uint64 }

// Chunk is the entries of one run of places, in the caller's encoding.
type Chunk struct {
	ChunkID
	Data []byte
}

// Segment is what the caller knows of one segment of the journal, in its encoding.
type Segment struct {
	Number uint64
	Data   []byte
}

// Checkpoint is the difference between two positions. No id may be in it twice, except in removals. Removals of what is not there are
// passed over; removing a queue removes its chunks. A chunk's queue must be there or be put. Its slices are not kept.
type Checkpoint struct {
	Position          Position // not before the last one's
	Meta              []byte   // the caller's own, at most MaxValue
	PutDefinitions    []Definition
	RemoveDefinitions []string
	PutQueues         []Queue
	RemoveQueues      []uint64
	PutChunks         []Chunk
	RemoveChunks      []ChunkID
	PutSegments       []Segment
	RemoveSegments    []uint64
}

// plan is a checkpoint as keys and values.
type plan struct {
	root    rootRecord
	puts    []put
	ends    []id // what a removal is written for
	old     []stale
	changed map[id]bool
	bytes   int64
	key     []byte // scratch
}

type put struct {
	id   id
	ver  version
	data []byte
}

// stale is a value that the new root no longer accounts for: replaced by another of the same id, or removed.
type stale struct {
	id       id
	ver      version
	replaced bool
}

// Apply makes cp the last finished checkpoint and returns when that is durable. One call at a time. After an error other than
// ErrSpace and ErrClosed the index is dead.
func (x *Index) Apply(cp *Checkpoint) error {
	x.writing.Lock()
	defer x.writing.Unlock()
	if err := x.usable(); err != nil {
		return err
	}
	err := x.apply(cp)
	if err != nil {
		err = fmt.Errorf("checkpoint at %v into index slot %s: %w", cp.Position, x.slot.dir, err)
		if !errors.Is(err, ErrSpace) {
			x.fail(err)
		}
	}
	return err
}

func (x *Index) apply(cp *Checkpoint) error {
	p, err := x.plan(cp)
	if err != nil {
		return err
	}
	if err := x.checkSpace(p.bytes); err != nil {
		return err
	}
	if err := x.slot.checkOwner(); err != nil {
		return err
	}
	x.steps = 0
	if err := failpoint.At(failpoint.CheckpointBegun); err != nil {
		return err
	}
	if err := x.writeValues(p); err != nil {
		return err
	}
	if err := failpoint.At(failpoint.CheckpointWritten); err != nil {
		return err
	}
	if err := x.writeRoot(&p.root); err != nil {
		return err
	}
	x.install(p)
	if err := x.deleteStale(p); err != nil {
		return err
	}
	if err := x.slot.finished(p.root.position); err != nil {
		x.log.Warn("index slot's state is not written: another slot may be taken for the more advanced",
			slog.String("slot", x.slot.name), slog.Any("err", err))
	}
	return nil
}

// plan turns cp into keys and values, under a generation that no key on disk has.
func (x *Index) plan(cp *Checkpoint) (*plan, error) {
	p := &plan{changed: make(map[id]bool)}
	if x.root != nil {
		p.root.tallies = x.root.tallies
		if cp.Position.Compare(x.root.position) < 0 {
			return nil, fmt.Errorf("position lies before that of the last checkpoint, %v", x.root.position)
		}
	}
	x.gen++
	p.root.gen, p.root.position, p.root.store, p.root.meta = x.gen, cp.Position, x.opt.StoreID, slices.Clone(cp.Meta)
	if len(cp.Meta) > MaxValue {
		return nil, fmt.Errorf("meta of %d bytes is larger than %d", len(cp.Meta), MaxValue)
	}
	x.planRemovals(p, cp)
	return p, x.planPuts(p, cp)
}

func (x *Index) planRemovals(p *plan, cp *Checkpoint) {
	for _, key := range cp.RemoveDefinitions {
		x.planRemoval(p, id{kind: kindDefinition, key: key}, true)
	}
	for _, number := range cp.RemoveSegments {
		x.planRemoval(p, id{kind: kindSegment, number: number}, true)
	}
	for _, queue := range cp.RemoveQueues {
		if q := x.cat.queues[queue]; q != nil {
			for _, c := range q.chunks {
				x.planRemoval(p, id{kind: kindChunk, queue: queue, number: c.number}, false)
			}
		}
		x.planRemoval(p, id{kind: kindQueue, queue: queue}, true)
	}
	for _, c := range cp.RemoveChunks {
		x.planRemoval(p, id{kind: kindChunk, queue: c.Queue, number: c.Number}, true)
	}
}

// planRemoval ends d. Without a record of its own it ends with its queue.
func (x *Index) planRemoval(p *plan, d id, record bool) {
	if p.changed[d] {
		return
	}
	p.changed[d] = true
	v, found := x.cat.get(d)
	if !found {
		return
	}
	p.root.tally(d.kind).drop(d, v)
	p.old = append(p.old, stale{id: d, ver: v})
	if record {
		p.ends = append(p.ends, d)
	}
}

func (x *Index) planPuts(p *plan, cp *Checkpoint) error {
	n := len(cp.PutDefinitions) + len(cp.PutQueues) + len(cp.PutChunks) + len(cp.PutSegments)
	p.puts = make([]put, 0, n)
	p.old = slices.Grow(p.old, n) // nearly all of them, where there are many: the queues that are in use
	var err error
	add := func(d id, data []byte) {
		if err == nil {
			err = x.planPut(p, d, data)
		}
	}
	for i := range cp.PutDefinitions {
		d := &cp.PutDefinitions[i]
		add(id{kind: kindDefinition, key: d.Key}, d.encode())
	}
	for i := range cp.PutQueues {
		q := &cp.PutQueues[i]
		add(id{kind: kindQueue, queue: q.ID}, q.encode())
	}
	for i := range cp.PutChunks {
		c := &cp.PutChunks[i]
		queue := id{kind: kindQueue, queue: c.Queue}
		if _, found := x.cat.get(queue); !found && !p.changed[queue] {
			return fmt.Errorf("chunk %d belongs to queue %d, which is not there", c.Number, c.Queue)
		}
		add(id{kind: kindChunk, queue: c.Queue, number: c.Number}, c.Data)
	}
	for i := range cp.PutSegments {
		s := &cp.PutSegments[i]
		add(id{kind: kindSegment, number: s.Number}, s.Data)
	}
	return err
}

func (x *Index) planPut(p *plan, d id, data []byte) error {
	switch {
	case p.changed[d]:
		return fmt.Errorf("%v is put twice, or put and removed", d)
	case len(data) > MaxValue:
		return fmt.Errorf("%v has %d bytes, more than %d", d, len(data), MaxValue)
	case len(d.key) > MaxKey:
		return fmt.Errorf("a definition's key has %d bytes, more than %d", len(d.key), MaxKey)
	}
	p.changed[d] = true
	t := p.root.tally(d.kind)
	if v, found := x.cat.get(d); found {
		t.drop(d, v)
		p.old = append(p.old, stale{id: d, ver: v, replaced: true})
	}
	p.key = d.appendID(p.key[:0])
	v := newVersion(p.key, p.root.gen, data)
	p.key = t.add(p.key, d, v)
	p.puts = append(p.puts, put{d, v, data})
	p.bytes += int64(len(p.key) + len(data))
	return nil
}

// writeValues makes the new values and the removals durable. No root accounts for them yet.
func (x *Index) writeValues(p *plan) error {
	b := x.batch(StepValues)
	for i := range p.puts {
		if err := b.set(valueKey(p.puts[i].id, p.puts[i].ver), p.puts[i].data); err != nil {
			return err
		}
	}
	for _, d := range p.ends {
		if err := b.set(removalKey(d, p.root.gen), nil); err != nil {
			return err
		}
	}
	return b.commit()
}

func (x *Index) writeRoot(r *rootRecord) error {
	b := x.batch(StepRoot)
	if err := b.set(rootKey(), r.encode()); err != nil {
		return err
	}
	return b.commit()
}

// install shows the checkpoint to readers. Those that hold the lock still read the old values, which are there until they let go.
func (x *Index) install(p *plan) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, s := range p.old {
		if !s.replaced {
			x.cat.drop(s.id)
		}
	}
	for i := range p.puts {
		x.cat.set(p.puts[i].id, p.puts[i].ver)
	}
	root := p.root // alone: the plan must not stay for its sake
	x.root, x.held = &root, nil
}

// deleteStale deletes what the root no longer accounts for, and after all of it the removals, which say until then that it is dead.
func (x *Index) deleteStale(p *plan) error {
	b := x.batch(StepDeletes)
	for _, s := range p.old {
		if err := b.delete(valueKey(s.id, s.ver)); err != nil {
			return err
		}
	}
	if err := b.commit(); err != nil {
		return err
	}
	for _, d := range p.ends {
		if err := b.delete(removalKey(d, p.root.gen)); err != nil {
			return err
		}
	}
	return b.commit()
}

// batch gathers writes into transactions of about txnBytes. They are not atomic together: the order of Apply's steps is what counts.
type batch struct {
	x    *Index
	step Step
	txn  *badger.Txn
	size int
}

func (x *Index) batch(step Step) *batch { return &batch{x: x, step: step} }

func (b *batch) set(key, data []byte) error {
	if err := b.room(len(key) + len(data)); err != nil {
		return err
	}
	if err := b.txn.Set(key, data); err != nil {
		return fmt.Errorf("set a value of %d bytes: %w", len(data), err)
	}
	return nil
}

func (b *batch) delete(key []byte) error {
	if err := b.room(len(key)); err != nil {
		return err
	}
	if err := b.txn.Delete(key); err != nil {
		return fmt.Errorf("delete a key: %w", err)
	}
	return nil
}

// entryOverhead is what an entry counts for besides its bytes, so that many small ones stay within Badger's limit on their number.
const entryOverhead = 128

func (b *batch) room(n int) error {
	if b.size > 0 && b.size+n > b.x.txnBytes {
		if err := b.commit(); err != nil {
			return err
		}
	}
	if b.txn == nil {
		b.txn = b.x.db.NewTransaction(true)
	}
	b.size += n + entryOverhead
	return nil
}

// commit makes what was gathered durable.
func (b *batch) commit() error {
	if b.txn == nil {
		return nil
	}
	err := b.txn.Commit()
	b.txn, b.size = nil, 0
	if err != nil {
		return fmt.Errorf("commit to badger: %w", err)
	}
	if b.step != "" && b.x.opt.Step != nil {
		b.x.steps++
		b.x.opt.Step(b.step, b.x.steps)
	}
	return nil
}

// checkSpace returns ErrSpace when n more bytes might not fit: twice, for the log and the table, beside the logs Badger makes as
// holes in the file system and fills through a map.
func (x *Index) checkSpace(n int64) error {
	if x.opt.Free == nil {
		return nil
	}
	free, err := x.opt.Free()
	if err != nil {
		return fmt.Errorf("measure free space for the index: %w", err)
	}
	if need := 2*n + StartSpace; free < need {
		return fmt.Errorf("%w: %d bytes are free and %d may be needed", ErrSpace, free, need)
	}
	return nil
}

// encode lays a definition out as queue u64 | order u64 | value.
func (d *Definition) encode() []byte {
	b := make([]byte, 0, 16+len(d.Value))
	b = binary.BigEndian.AppendUint64(b, d.Queue)
	b = binary.BigEndian.AppendUint64(b, d.Order)
	return append(b, d.Value...)
}

func decodeDefinition(key string, b []byte) (Definition, error) {
	if len(b) < 16 {
		return Definition{}, fmt.Errorf("definition %q has %d bytes", key, len(b))
	}
	return Definition{
		Key: key, Value: b[16:],
		Queue: binary.BigEndian.Uint64(b), Order: binary.BigEndian.Uint64(b[8:]),
	}, nil
}

// encode lays a queue out as next u64 | count u64 | bytes u64.
func (q *Queue) encode() []byte {
	b := make([]byte, 0, 24)
	b = binary.BigEndian.AppendUint64(b, q.Next)
	b = binary.BigEndian.AppendUint64(b, uint64(q.Count))
	return binary.BigEndian.AppendUint64(b, uint64(q.Bytes))
}

func decodeQueue(queue uint64, b []byte) (Queue, error) {
	if len(b) != 24 {
		return Queue{}, fmt.Errorf("queue %d has %d bytes", queue, len(b))
	}
	return Queue{
		ID: queue, Next: binary.BigEndian.Uint64(b),
		Count: int64(binary.BigEndian.Uint64(b[8:])), Bytes: int64(binary.BigEndian.Uint64(b[16:])),
	}, nil
}
