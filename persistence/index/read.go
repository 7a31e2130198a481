package index

import (
	"errors"
	"fmt"
	"iter"

	badger "github.com/dgraph-io/badger/v4"
)

// Chunk returns a chunk's data, which the caller owns, and false when there is no such chunk. It may be called from any goroutine, also
// during Apply. An error is final for the index.
func (x *Index) Chunk(c ChunkID) ([]byte, bool, error) {
	if err := x.usable(); err != nil {
		return nil, false, err
	}
	d := id{kind: kindChunk, queue: c.Queue, number: c.Number}
	data, found, err := x.get(d)
	if err != nil && !errors.Is(err, ErrClosed) {
		err = fmt.Errorf("read %v: %w", d, err)
		x.fail(err)
	}
	return data, found, err
}

// Definition returns a definition, and false when there is none of that key. Otherwise it is like Chunk.
func (x *Index) Definition(key string) (Definition, bool, error) {
	if err := x.usable(); err != nil {
		return Definition{}, false, err
	}
	d := id{kind: kindDefinition, key: key}
	data, found, err := x.get(d)
	if err != nil && !errors.Is(err, ErrClosed) {
		err = fmt.Errorf("read %v: %w", d, err)
		x.fail(err)
	}
	if err != nil || !found {
		return Definition{}, false, err
	}
	def, err := decodeDefinition(key, data)
	return def, err == nil, err
}

// get reads d's value. The lock is held until it is read: what a checkpoint replaces is deleted after it had the lock.
func (x *Index) get(d id) (data []byte, found bool, err error) {
	defer caught(&err, "read badger")
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.db == nil {
		return nil, false, ErrClosed
	}
	v, found := x.cat.get(d)
	if !found {
		return nil, false, nil
	}
	key := valueKey(d, v)
	err = x.db.View(func(txn *badger.Txn) error {
		item, err := txn.Get(key)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		data, err = verified(item, v)
		return err
	})
	return data, err == nil, err
}

// verified returns the value of item if it is the one that its key, which says v, was made for.
func verified(item *badger.Item, v version) ([]byte, error) {
	data, err := item.ValueCopy(nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	key := item.Key()
	if checksum(key[:len(key)-4], data) != v.crc {
		return nil, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	return data, nil
}

// Definitions yields every definition, by key. Apply and Reset wait for the end of the loop, whose body must not call them. A yielded
// error is final for the index and ends the sequence; so it is for Queues, Segments and
// Chunks.
func (x *Index) Definitions() iter.Seq2[Definition, error] {
	return values(x, kindDefinition, func(d id, b []byte) (Definition, error) { return decodeDefinition(d.key, b) })
}

// Queues yields every queue, by id.
func (x *Index) Queues() iter.Seq2[Queue, error] {
	return values(x, kindQueue, func(d id, b []byte) (Queue, error) { return decodeQueue(d.queue, b) })
}

// Segments yields every segment, by number.
func (x *Index) Segments() iter.Seq2[Segment, error] {
	return values(x, kindSegment, func(d id, b []byte) (Segment, error) { return Segment{Number: d.number, Data: b}, nil })
}

// Chunks yields every chunk, by queue and number.
func (x *Index) Chunks() iter.Seq2[Chunk, error] {
	return values(x, kindChunk, func(d id, b []byte) (Chunk, error) {
		return Chunk{ChunkID{d.queue, d.number}, b}, nil
	})
}

// values yields the values of one kind and holds their number against the catalogue's.
func values[T any](x *Index, k kind, decode func(id, []byte) (T, error)) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		x.writing.RLock()
		defer x.writing.RUnlock()
		var zero T
		if err := x.usable(); err != nil {
			yield(zero, err)
			return
		}
		if x.root == nil {
			return
		}
		n, stopped := uint64(0), false
		err := x.each(k, func(d id, data []byte) (bool, error) {
			value, err := decode(d, data)
			if err != nil {
				return false, fmt.Errorf("%w: %w", ErrDamaged, err)
			}
			n++
			stopped = !yield(value, nil)
			return !stopped, nil
		})
		if want := x.root.tally(k).count; err == nil && !stopped && n != want {
			err = fmt.Errorf("%w: the root accounts for %d values of kind %q and %d were found", ErrDamaged, want, byte(k), n)
		}
		if err != nil {
			x.fail(err)
			yield(zero, err)
		}
	}
}

// each calls f with every value of one kind until it returns false. x.writing is held, so that what is there is what the root accounts for.
func (x *Index) each(k kind, f func(d id, data []byte) (bool, error)) error {
	if list, ok := x.takeHeld(k); ok {
		return x.eachHeld(list, f)
	}
	txn := x.db.NewTransaction(false)
	defer txn.Discard()
	opt := badger.DefaultIteratorOptions
	opt.PrefetchValues = false // they are in the tree: there is nothing to fetch ahead
	opt.Prefix = []byte{byte(k)}
	it := txn.NewIterator(opt)
	defer it.Close()
	for more, err := next(it.Rewind, it); more || err != nil; more, err = next(it.Next, it) {
		if err != nil {
			return err
		}
		d, data, err := current(it)
		if err != nil {
			return err
		}
		if goOn, err := f(d, data); err != nil || !goOn {
			return err
		}
	}
	return nil
}

// next moves an iterator and says whether it stands on an item.
func next(move func(), it *badger.Iterator) (more bool, err error) {
	defer caught(&err, "iterate badger")
	move()
	return it.Valid(), nil
}

// current returns what an iterator stands on, verified.
func current(it *badger.Iterator) (d id, data []byte, err error) {
	defer caught(&err, "read badger")
	item := it.Item()
	d, v, _, err := parseKey(item.Key())
	if err != nil {
		return d, nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	data, err = verified(item, v)
	if err != nil {
		err = fmt.Errorf("read %v: %w", d, err)
	}
	return d, data, err
}
