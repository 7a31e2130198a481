package index

import (
	"context"
	"errors"
	"fmt"

	badger "github.com/dgraph-io/badger/v4"
)

// load opens Badger and reads every key that is there: what the root accounts for becomes the catalogue, the rest is what a checkpoint
// that was cut short has left, and is deleted. An error is a doubt, and the slot must be emptied.
func (x *Index) load(ctx context.Context) error {
	db, err := x.openDB()
	if err != nil {
		return err
	}
	x.db = db
	root, err := x.readRoot()
	if err != nil {
		return err
	}
	s := &scan{root: root, cat: newCatalogueFor(root), gen: root.gen}
	if err := s.readKeys(ctx, db); err != nil {
		return err
	}
	s.endRemoved()
	if err := s.verify(); err != nil {
		return err
	}
	x.gen = s.gen
	if err := x.sweep(s); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.cat, x.root = s.cat, root
	return nil
}

func (x *Index) readRoot() (r *rootRecord, err error) {
	defer caught(&err, "read the root")
	err = x.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(rootKey())
		if errors.Is(err, badger.ErrKeyNotFound) {
			return errors.New("no checkpoint was ever finished")
		}
		if err != nil {
			return fmt.Errorf("read the root: %w", err)
		}
		b, err := item.ValueCopy(nil)
		if err != nil {
			return fmt.Errorf("read the root: %w", err)
		}
		r, err = decodeRoot(b)
		return err
	})
	if err == nil && r.store != x.opt.StoreID {
		err = fmt.Errorf("it belongs to store %q, not %q", r.store, x.opt.StoreID)
	}
	return r, err
}

// scan is one reading of all keys.
type scan struct {
	root *rootRecord
	cat  *catalogue
	gen  uint64 // the highest generation met

	stale    []stale   // values that the root does not account for
	removals []removal // removals, finished or not
}

type removal struct {
	id  id
	gen uint64
}

// readKeys reads the keys, not the values.
func (s *scan) readKeys(ctx context.Context, db *badger.DB) (err error) {
	defer caught(&err, "read the keys")
	txn := db.NewTransaction(false)
	defer txn.Discard()
	opt := badger.DefaultIteratorOptions
	opt.PrefetchValues = false
	it := txn.NewIterator(opt)
	defer it.Close()
	n := 0
	for it.Rewind(); it.Valid(); it.Next() {
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.see(it.Item().Key()); err != nil {
			return err
		}
	}
	return nil
}

// see takes one key into account.
func (s *scan) see(key []byte) error {
	if len(key) == 1 && key[0] == prefixRoot {
		return nil
	}
	d, v, isRemoval, err := parseKey(key)
	if err != nil {
		return fmt.Errorf("key %x: %w", key, err)
	}
	s.gen = max(s.gen, v.gen)
	if isRemoval {
		s.removals = append(s.removals, removal{d, v.gen})
		return nil
	}
	known, found := s.cat.get(d)
	switch {
	case v.gen > s.root.gen: // of a checkpoint that was not finished
		s.stale = append(s.stale, stale{id: d, ver: v})
	case found && known.gen > v.gen: // replaced
		s.stale = append(s.stale, stale{id: d, ver: v})
	case found:
		s.stale = append(s.stale, stale{id: d, ver: known})
		s.cat.set(d, v)
	default:
		s.cat.set(d, v)
	}
	return nil
}

// endRemoved takes out of the catalogue what a finished checkpoint has removed without coming to delete it.
func (s *scan) endRemoved() {
	for _, r := range s.removals {
		if r.gen > s.root.gen {
			continue
		}
		if r.id.kind == kindQueue {
			if q := s.cat.queues[r.id.queue]; q != nil {
				for _, c := range append([]chunkVersion(nil), q.chunks...) {
					s.end(id{kind: kindChunk, queue: r.id.queue, number: c.number}, r.gen)
				}
			}
		}
		s.end(r.id, r.gen)
	}
}

func (s *scan) end(d id, gen uint64) {
	if v, found := s.cat.get(d); found && v.gen < gen {
		s.stale = append(s.stale, stale{id: d, ver: v})
		s.cat.drop(d)
	}
}

// verify compares what is there with what the root accounts for.
func (s *scan) verify() error {
	var found rootRecord
	for key, v := range s.cat.definitions {
		found.tally(kindDefinition).add(id{kind: kindDefinition, key: key}, v)
	}
	for number, v := range s.cat.segments {
		found.tally(kindSegment).add(id{kind: kindSegment, number: number}, v)
	}
	for queue, q := range s.cat.queues {
		if q.present {
			found.tally(kindQueue).add(id{kind: kindQueue, queue: queue}, q.self)
		} else if len(q.chunks) > 0 {
			return fmt.Errorf("queue %d has chunks and is not there", queue)
		}
		for _, c := range q.chunks {
			found.tally(kindChunk).add(id{kind: kindChunk, queue: queue, number: c.number}, c.version)
		}
	}
	names := [...]string{"definitions", "queues", "chunks", "segments"}
	for i := range kinds {
		if want, got := s.root.tallies[i], found.tallies[i]; want != got {
			return fmt.Errorf("the root of %v accounts for %d %s; %d are there, with sums %x and %x",
				s.root.position, want.count, names[i], got.count, want.sum, got.sum)
		}
	}
	return nil
}

// sweep deletes what the scan found to be stale, removals last.
func (x *Index) sweep(s *scan) (err error) {
	defer caught(&err, "delete what an unfinished checkpoint has left")
	b := x.batch("")
	for _, v := range s.stale {
		if err := b.delete(valueKey(v.id, v.ver)); err != nil {
			return err
		}
	}
	if err := b.commit(); err != nil {
		return err
	}
	for _, r := range s.removals {
		if err := b.delete(removalKey(r.id, r.gen)); err != nil {
			return err
		}
	}
	return b.commit()
}
