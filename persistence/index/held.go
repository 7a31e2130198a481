package index

import (
	badger "github.com/dgraph-io/badger/v4"
)

// heldValue is how long a value may be to be held. Those of definitions, queues and of chunks that a few messages are in are shorter; a
// chunk of a thousand entries that are all different is not, and there may be thousands of those.
const heldValue = 4 << 10

// heldBlock is how much memory the data of values is taken from.
const heldBlock = 256 << 10

// value is one value that the root accounts for, as it was read when the index was opened.
type value struct {
	id   id
	ver  version
	data []byte // verified; nil: it is too long, or damaged
}

// held is the values of each kind, in the order of their keys. Whoever opens an index reads most of it next: so the one pass over the keys
// takes the values along, and hands them to the first who asks for a kind. A checkpoint ends it.
type held map[kind][]value

// block is memory for many pieces of data, which is given back when none of them is used any more.
type block []byte

// keep returns a copy of data. It is no array of its own: nothing may be appended to it.
func (b *block) keep(data []byte) []byte {
	if cap(*b)-len(*b) < len(data) {
		*b = make([]byte, 0, heldBlock)
	}
	at := len(*b)
	*b = append(*b, data...)
	return (*b)[at:len(*b):len(*b)]
}

// read returns item's data, verified, or nil when it is not to be held. key is item's.
func (b *block) read(item *badger.Item, key []byte, v version) []byte {
	if item.ValueSize() > heldValue {
		return nil
	}
	var data []byte
	err := item.Value(func(found []byte) error {
		if checksum(key[:len(key)-4], found) == v.crc {
			data = b.keep(found)
		}
		return nil
	})
	if err != nil {
		return nil // whoever reads it again will learn why
	}
	return data
}

// without returns list without what the catalogue does not have.
func (c *catalogue) without(list []value) []value {
	kept := list[:0]
	for i := range list {
		if v, found := c.get(list[i].id); found && v == list[i].ver {
			kept = append(kept, list[i])
		}
	}
	clear(list[len(kept):])
	return kept
}

// takeHeld returns the held values of a kind to their first reader.
func (x *Index) takeHeld(k kind) (list []value, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	list, ok = x.held[k]
	delete(x.held, k)
	return list, ok
}

// eachHeld calls f with every value of list until it returns false.
func (x *Index) eachHeld(list []value, f func(d id, data []byte) (bool, error)) error {
	for i := range list {
		v := &list[i]
		data, found := v.data, v.data != nil
		if !found {
			var err error
			if data, found, err = x.get(v.id); err != nil {
				return err
			}
		}
		if !found {
			continue // the reader counts
		}
		if goOn, err := f(v.id, data); err != nil || !goOn {
			return err
		}
	}
	return nil
}
