package persistence

import (
	"math/bits"

	"github.com/batonmq/baton/core"
)

// elision finds the places that one group both publishes and settles. Neither record is written, and no body. All of a group happens or
// nothing, so that it is the same as if neither had been. It is decided when the group is taken, because only there is it known what one
// group holds: with the publish in one group and the settle in the next, a crash between them could lose what the settle's own unit did
// with the message.
//
// What remains to be said is that the places are used: one must not be used twice by anything that can tell the two apart. That is said
// behind the records of the next group that has any, this one or a later one; a group that consists of nothing else writes nothing. It is
// soon enough. Whatever could tell the two apart after a crash is a record: connections end with the process, and with them all
// delivery tags and packet ids that are not on record. A record that speaks of a place is committed after the place was given out, so
// that it is in the same group or in a later one, and is readable only together with what that group says of the places used. With no such
// group, nobody remembers the place, and it is as if it had never been given out.
type elision struct {
	keys  []core.Pair // open addressing; a queue of 0 is a free slot
	ended []bool
	shift int
	any   bool
}

// maxElided is the longest range that is looked up place by place; a purge is written as it is.
const maxElided = 64

// find looks at a group's ops.
func (t *elision) find(ops []op) {
	t.any = false
	publishes, settles := 0, false
	for i := range ops {
		switch ops[i].kind { //nolint:exhaustive // the others have no places
		case opPublish:
			publishes += 1 + len(ops[i].more)
		case opSettle:
			settles = settles || publishes > 0
		}
	}
	if !settles {
		return
	}
	t.reset(publishes)
	for i := range ops {
		o := &ops[i]
		switch o.kind { //nolint:exhaustive // the others have no places
		case opPublish:
			t.insert(core.Pair{Queue: o.queue, Seq: o.seq})
			for _, p := range o.more {
				t.insert(p)
			}
		case opSettle:
			for _, r := range o.ranges {
				for n := core.Seq(0); r.Last-r.First < maxElided && n <= r.Last-r.First; n++ {
					if at, ok := t.slot(core.Pair{Queue: o.queue, Seq: r.First + n}); ok {
						t.ended[at], t.any = true, true
					}
				}
			}
		}
	}
}

func (t *elision) reset(places int) {
	size := 1 << bits.Len(uint(places*2))
	if len(t.keys) < size || len(t.keys) > 16*size {
		t.keys, t.ended = make([]core.Pair, size), make([]bool, size)
	} else {
		clear(t.keys)
		clear(t.ended)
	}
	t.shift = 64 - bits.Len(uint(len(t.keys)-1))
}

func (t *elision) slot(p core.Pair) (int, bool) {
	const mix = 0x9e3779b97f4a7c15
	hash := (uint64(p.Seq) + uint64(p.Queue)*mix) * mix
	for at := int(hash >> t.shift); ; at = (at + 1) & (len(t.keys) - 1) {
		switch t.keys[at] {
		case p:
			return at, true
		case core.Pair{}:
			return at, false
		}
	}
}

func (t *elision) insert(p core.Pair) {
	at, _ := t.slot(p)
	t.keys[at] = p
}

// elided reports whether the group publishes and settles p.
func (t *elision) elided(p core.Pair) bool {
	if !t.any {
		return false
	}
	at, ok := t.slot(p)
	return ok && t.ended[at]
}

// all reports whether every place of ranges is elided, so that a settle of them has nothing left to say.
func (t *elision) all(queue core.QueueID, ranges []core.Range) bool {
	if !t.any {
		return false
	}
	for _, r := range ranges {
		if r.Last-r.First >= maxElided {
			return false
		}
		for n := core.Seq(0); n <= r.Last-r.First; n++ {
			if !t.elided(core.Pair{Queue: queue, Seq: r.First + n}) {
				return false
			}
		}
	}
	return true
}
