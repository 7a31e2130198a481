package index

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
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
	s, err := scanAll(ctx, db, root)
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
	x.cat, x.root, x.held = s.cat, root, s.held
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

// scan is a reading of keys and values, of all or of some.
type scan struct {
	root    *rootRecord
	cat     *catalogue
	gen     uint64            // the highest generation met
	tallies [len(kinds)]tally // of what is in the catalogue
	held    held
	block   block

	stale    []stale   // values that the root does not account for
	removals []removal // removals, finished or not
}

type removal struct {
	id  id
	gen uint64
}

// scanAll reads what is there: definitions, the most where there are many, beside the rest.
func scanAll(ctx context.Context, db *badger.DB, root *rootRecord) (*scan, error) {
	s := &scan{root: root, cat: newCatalogueFor(root), gen: root.gen, held: held{}}
	defs := &scan{root: root, cat: s.cat, held: held{}} // each fills its own maps
	var err, defsErr error
	var wg sync.WaitGroup
	wg.Go(func() { defsErr = defs.read(ctx, db, []byte{byte(kindDefinition)}, []byte{byte(kindDefinition) + 1}) })
	err = s.read(ctx, db, nil, []byte{byte(kindDefinition)})
	if err == nil {
		err = s.read(ctx, db, []byte{byte(kindDefinition) + 1}, nil)
	}
	wg.Wait()
	s.add(defs)
	return s, errors.Join(err, defsErr)
}

// add adds what another scan on the same catalogue has read.
func (s *scan) add(o *scan) {
	s.gen = max(s.gen, o.gen)
	for i, t := range o.tallies {
		s.tallies[i].count += t.count
		s.tallies[i].sum += t.sum
	}
	maps.Copy(s.held, o.held)
	s.stale, s.removals = append(s.stale, o.stale...), append(s.removals, o.removals...)
}

// read reads the keys from from up to to; nil is the end.
func (s *scan) read(ctx context.Context, db *badger.DB, from, to []byte) (err error) {
	defer caught(&err, "read the keys")
	txn := db.NewTransaction(false)
	defer txn.Discard()
	opt := badger.DefaultIteratorOptions
	opt.PrefetchValues = false // they are in the tree: there is nothing to fetch ahead
	it := txn.NewIterator(opt)
	defer it.Close()
	n := 0
	for it.Seek(from); it.Valid(); it.Next() {
		item := it.Item()
		if to != nil && bytes.Compare(item.Key(), to) >= 0 {
			return nil
		}
		if n++; n%4096 == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := s.see(item); err != nil {
			return err
		}
	}
	return nil
}

// see takes one key and its value into account.
func (s *scan) see(item *badger.Item) error {
	key := item.Key()
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
	if v.gen > s.root.gen || // of a checkpoint that was not finished
		found && known.gen > v.gen { // replaced
		s.stale = append(s.stale, stale{id: d, ver: v})
		return nil
	}
	if found {
		s.stale = append(s.stale, stale{id: d, ver: known})
		s.tally(d.kind).drop(d, known)
	}
	s.cat.set(d, v)
	s.tally(d.kind).addKey(key)
	list := s.held[d.kind]
	if list == nil {
		list = make([]value, 0, room(s.root, d.kind))
	}
	s.held[d.kind] = append(list, value{d, v, s.block.read(item, key, v)})
	return nil
}

func (s *scan) tally(k kind) *tally { return &s.tallies[k.place()] }

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

// end takes out of the catalogue what ended with a generation, if it is older.
func (s *scan) end(d id, gen uint64) {
	if v, found := s.cat.get(d); found && v.gen < gen {
		s.stale = append(s.stale, stale{id: d, ver: v})
		s.cat.drop(d)
		s.tally(d.kind).drop(d, v)
	}
}

// verify compares what is there with what the root accounts for, and lets go of the values that it does not.
func (s *scan) verify() error {
	for queue, q := range s.cat.queues {
		if !q.present && len(q.chunks) > 0 {
			return fmt.Errorf("queue %d has chunks and is not there", queue)
		}
	}
	names := [...]string{"definitions", "queues", "chunks", "segments"}
	for i := range kinds {
		if want, got := s.root.tallies[i], s.tallies[i]; want != got {
			return fmt.Errorf("the root of %v accounts for %d %s; %d are there, with sums %x and %x",
				s.root.position, want.count, names[i], got.count, want.sum, got.sum)
		}
	}
	for k, list := range s.held {
		if uint64(len(list)) != s.root.tally(k).count {
			s.held[k] = s.cat.without(list)
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
