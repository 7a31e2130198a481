package mqtt

import (
	"hash/maphash"
	"sync"
	"sync/atomic"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
)

const (
	// plainBlock is the size up to which a property block says nothing but the
	// delivery mode.
	plainBlock = 3

	// sharedSlots is how many messages may be on their way to many receivers at
	// once without getting into each other's way.
	sharedSlots = 64

	// keepScratch is the capacity up to which room for sections is kept.
	keepScratch = 64 << 10
)

// sections keeps the property sections of the messages that go to many receivers
// just now, so that they are made once. What is shared is found by the message's
// identity. Nothing is kept for a message's first receiver, which for most is
// the only one: it leaves a mark, and the second makes what the others use.
//
// A slot keeps its message alive until another takes its place; large ones are
// not shared.
type sections struct {
	seed  maphash.Seed
	slots [sharedSlots]sharedSlot
	pool  sync.Pool // of *[]byte, for sections that are not shared
}

type sharedSlot struct {
	seen   atomic.Pointer[core.Message]
	shared atomic.Pointer[sharedSection]
}

type sharedSection struct {
	of      *core.Message
	section []byte
}

func newSections() *sections {
	return &sections{
		seed: maphash.MakeSeed(),
		pool: sync.Pool{New: func() any { return new([]byte) }},
	}
}

// scratch returns room for a section, to be released.
func (x *sections) scratch() *[]byte { return x.pool.Get().(*[]byte) }

// release takes scratch back; nil is none. One that has grown large is let go.
func (x *sections) release(scratch *[]byte) {
	if scratch != nil && cap(*scratch) <= keepScratch {
		x.pool.Put(scratch)
	}
}

// shared returns the section of m, or nil where its receiver has to make its own.
func (x *sections) shared(m *core.Message) *sharedSection {
	if len(m.Body) >= byReference {
		return nil
	}
	slot := &x.slots[maphash.Comparable(x.seed, m)%sharedSlots]
	if s := slot.shared.Load(); s != nil && s.of == m {
		return s
	}
	if slot.seen.Load() != m {
		slot.seen.Store(m)
		return nil
	}
	section, _, err := bridge.AppendProperties(nil, m.Props)
	if err != nil {
		return nil
	}
	s := &sharedSection{of: m, section: section}
	slot.shared.Store(s)
	return s
}
