package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

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
	s, err := readKeys(ctx, db, root)
	if err != nil {
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
	x.cat, x.root, x.names = s.cat, root, names{s.names}
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

// scan is a reading of keys, of all or of some.
type scan struct {
	root *rootRecord
	cat  *catalogue
	gen  uint64 // the highest generation met

	names    []string  // of definitions, as they were met
	stale    []stale   // values that the root does not account for
	removals []removal // removals, finished or not
}

type removal struct {
	id  id
	gen uint64
}

// readKeys reads the keys, not the values: those of definitions, the most where there are many, beside the others.
func readKeys(ctx context.Context, db *badger.DB, root *rootRecord) (*scan, error) {
	s := &scan{root: root, cat: newCatalogueFor(root), gen: root.gen}
	defs := &scan{root: root, cat: s.cat} // each fills its own maps
	defs.names = make([]string, 0, room(root, kindDefinition))
	var err, defsErr error
	var wg sync.WaitGroup
	wg.Go(func() { defsErr = defs.read(ctx, db, []byte{byte(kindDefinition)}, []byte{byte(kindDefinition) + 1}) })
	err = s.read(ctx, db, nil, []byte{byte(kindDefinition)})
	if err == nil {
		err = s.read(ctx, db, []byte{byte(kindDefinition) + 1}, nil)
	}
	wg.Wait()
	s.gen, s.names = max(s.gen, defs.gen), defs.names
	s.stale, s.removals = append(s.stale, defs.stale...), append(s.removals, defs.removals...)
	return s, errors.Join(err, defsErr)
}

// read reads the keys from from up to to; nil is the end.
func (s *scan) read(ctx context.Context, db *badger.DB, from, to []byte) (err error) {
	defer caught(&err, "read the keys")
	txn := db.NewTransaction(false)
	defer txn.Discard()
	opt := badger.DefaultIteratorOptions
	opt.PrefetchValues = false
	it := txn.NewIterator(opt)
	defer it.Close()
	n := 0
	for it.Seek(from); it.Valid(); it.Next() {
		key := it.Item().Key()
		if to != nil && bytes.Compare(key, to) >= 0 {
			return nil
		}
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.see(key); err != nil {
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
	d, v, isRemoval, err := parseKey(key, new(names))
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
		if d.kind == kindDefinition {
			s.names = append(s.names, d.key)
		}
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
	var wg sync.WaitGroup
	wg.Go(func() {
		var buf []byte
		for key, v := range s.cat.definitions {
			buf = found.tally(kindDefinition).add(buf, id{kind: kindDefinition, key: key}, v)
		}
	})
	err := s.count(&found)
	wg.Wait()
	if err != nil {
		return err
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

// count counts all but definitions.
func (s *scan) count(found *rootRecord) error {
	var buf []byte
	for number, v := range s.cat.segments {
		buf = found.tally(kindSegment).add(buf, id{kind: kindSegment, number: number}, v)
	}
	for queue, q := range s.cat.queues {
		if q.present {
			buf = found.tally(kindQueue).add(buf, id{kind: kindQueue, queue: queue}, q.self)
		} else if len(q.chunks) > 0 {
			return fmt.Errorf("queue %d has chunks and is not there", queue)
		}
		for _, c := range q.chunks {
			buf = found.tally(kindChunk).add(buf, id{kind: kindChunk, queue: queue, number: c.number}, c.version)
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
