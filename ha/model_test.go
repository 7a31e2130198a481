package ha

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// This file checks the protocol exhaustively: a breadth-first search over every
// interleaving of up to three brokers and four epochs, with a crash possible
// before every step, and every pause, since a broker that is not scheduled is
// paused. What decides is the production code: contest says which step comes next
// up to the source, passage from there to each promise. The model carries steps
// out on a disk that is a few numbers.
//
// A power cut may come before every step, too. It ends every broker, and takes any
// of what was shown and not synced: a claim (of several the last ones), marks, an
// active file, the floor, a group.
//
// Two things are more hostile than the world: everybody always believes that the
// holder is gone, and a group that was not synced may vanish at any time after its
// writer has, also after it was read.
//
// The journal belongs to package persistence, which this one does not know. Its
// part is modelled in the order that its start has (seal at the start of the last
// group, adopt that group into the own journal, sync, activate) and that its
// committer has (write, sync, Guard, promise).

var modelBig = flag.Bool("ha.model.big", false, "search tens of millions of states, which takes minutes and gigabytes")

const (
	modelBrokers = 3
	modelEpochs  = 4
	modelGroups  = 2 // that an epoch writes, at most
)

// group numbers a group of the model: 0 is none.
type group uint8

// durable tells which of an epoch's parts a power cut cannot take any more.
type durable struct{ claimed, marked, active bool }

// modelEpoch is what lies on the disk of one epoch.
type modelEpoch struct {
	claimed, marked, active bool
	kept                    durable    // of these
	lease                   leaseState // written by the holder at any time
	source, seal            uint8      // in the active file; the seal counts groups
	n, synced               uint8
	journal                 [modelGroups + 1]group
}

type modelPhase uint8

const (
	phaseContest   modelPhase = iota // as the contest says
	phaseSettle                      // sync the claims and our marks
	phaseSeal                        // read the source's journal; write its last group to our own, synced
	phasePassage                     // as the passage says
	phaseFloor                       // raise the floor
	phaseFloorSync                   // sync it
	phaseServe                       // write a group
	phaseSync                        // sync it
	phasePromise                     // it has passed: promise it
)

// modelBroker is what one process knows. It is a copy, as small as it can be, of a
// contest and a passage, which are made from it for each step.
type modelBroker struct {
	phase              modelPhase
	step, stepEpoch    uint8 // of the contest
	holder, floor, own uint8
	source, seal       uint8
	pass               uint8 // passageStep

	// Only with shortcuts.
	looked, early bool  // the fence was read too early, and what it said
	marksLeft     uint8 // marked too late
}

// world is one state. It is all numbers, so that its bytes tell it from others.
type world struct {
	epochs   [modelEpochs + 1]modelEpoch // from 1
	brokers  [modelBrokers]modelBroker
	floor    uint8
	kept     uint8  // the floor that a power cut leaves at least
	cuts     uint8  // power cuts so far
	dark     bool   // there is no power: more of what was not synced may go
	promised uint16 // bits of groups
}

// shortcut is a way to break the protocol that looks harmless.
type shortcut int

const (
	shortcutNone shortcut = iota
	shortcutNoFenceRead
	shortcutFenceReadBeforeWrite
	shortcutMarkAfterSource
	shortcutMarkOnlyPrevious
	shortcutRemoveClaims
	shortcutReuseClaims
	shortcutSourceFromLease
	shortcutSealAfterLastGroup
	shortcutActivateWithoutCheck
	shortcutCheckBeforeActive
	shortcutJournalBeforeClaim
	shortcutActiveNotSynced
	shortcutActiveBeforeJournal
)

// model is one search.
type model struct {
	brokers, epochs, groups int // groups: that each epoch writes
	cuts                    uint8
	shortcut                shortcut

	seed     maphash.Seed
	seen     map[uint64]struct{} // hashes of states
	promises [modelEpochs + 1]int
	next     []world
	why      string // the first broken invariant
}

func (w *world) hash(seed maphash.Seed) uint64 {
	return maphash.Bytes(seed, unsafe.Slice((*byte)(unsafe.Pointer(w)), unsafe.Sizeof(*w)))
}

// normalize makes states the same that differ only in which broker is which or, where
// no power cut may come any more, in what one would take.
func (m *model) normalize(w *world) {
	if !m.mayCut(w) && !w.dark {
		w.kept = 0
		for e := range w.epochs {
			w.epochs[e].kept = durable{}
		}
		for i := range w.brokers {
			if b := &w.brokers[i]; b.phase == phaseSettle {
				b.phase, b.floor = phaseSeal, 0
			} else if b.phase == phaseFloorSync {
				b.phase = phaseServe
			}
		}
	}
	slices.SortFunc(w.brokers[:m.brokers], func(a, b modelBroker) int {
		return bytes.Compare(
			unsafe.Slice((*byte)(unsafe.Pointer(&a)), unsafe.Sizeof(a)), unsafe.Slice((*byte)(unsafe.Pointer(&b)), unsafe.Sizeof(b)))
	})
}

func bit(g group) uint16 { return 1 << g >> 1 } // group 0 is none

// history is the set of groups that epoch e continues or holds.
func (w *world) history(e uint8) (set uint16) {
	upTo := w.epochs[e].n
	for e != 0 {
		d := &w.epochs[e]
		for _, g := range d.journal[:min(upTo, d.n)] {
			set |= bit(g)
		}
		e, upTo = d.source, d.seal
	}
	return set
}

func (w *world) highest(is func(*modelEpoch) bool) uint8 {
	for e := uint8(modelEpochs); e > 0; e-- {
		if is(&w.epochs[e]) {
			return e
		}
	}
	return 0
}

func claimedEpoch(d *modelEpoch) bool { return d.claimed }
func activeEpoch(d *modelEpoch) bool  { return d.active }

// holds checks the one invariant: what was promised is in the history of the
// highest active epoch, which is what everybody will continue.
func (w *world) holds() error {
	top := w.highest(activeEpoch)
	if lost := w.promised &^ w.history(top); lost != 0 {
		return fmt.Errorf("groups %b were promised and are not in the history of epoch %d, %b", lost, top, w.history(top))
	}
	return nil
}

// contestOf makes the production state machine out of a broker's numbers.
func (b *modelBroker) contestOf() contest {
	return contest{
		standby: true, step: step{stepKind(b.step), uint64(b.stepEpoch)},
		holder: sighting{epoch: uint64(b.holder), lock: lockFree},
		floor:  uint64(b.floor), epoch: uint64(b.own), source: uint64(b.source),
	}
}

func (b *modelBroker) keep(c *contest) {
	b.step, b.stepEpoch = uint8(c.step.kind), uint8(c.step.epoch)
	b.holder, b.floor, b.own, b.source = uint8(c.holder.epoch), uint8(c.floor), uint8(c.epoch), uint8(c.source)
}

// advance carries out the next step of broker b, in w. False: there is none.
func (m *model) advance(w *world, b *modelBroker) (bool, error) {
	own := &w.epochs[b.own]
	switch b.phase {
	case phaseContest:
		return m.contend(w, b)
	case phaseSettle:
		m.settle(w, b)
	case phaseSeal:
		m.adopt(w, b)
	case phasePassage:
		m.pass(w, b)
	case phaseFloor:
		w.floor, b.phase = b.own, phaseFloorSync
		if m.shortcut == shortcutRemoveClaims {
			for e := uint8(1); e < b.own; e++ {
				w.epochs[e].claimed, w.epochs[e].marked = false, false
			}
		}
	case phaseFloorSync:
		w.kept, b.phase = w.floor, phaseServe
	case phaseServe:
		m.write(w, b)
	case phaseSync:
		own.synced = own.n
		p := passage{step: passServe}
		p.synced()
		b.pass, b.phase = uint8(p.step), phasePassage
	case phasePromise:
		m.promise(w, b)
	}
	return true, nil
}

// promise makes a promise of all that epoch has passed. Another group follows.
func (m *model) promise(w *world, b *modelBroker) {
	m.promises[b.own]++
	w.promised |= w.history(b.own)
	b.phase = phaseServe
}

// settle makes durable what the claim and the marks were made of. All claims are in
// one directory.
func (m *model) settle(w *world, b *modelBroker) {
	for e := range uint8(modelEpochs + 1) {
		d := &w.epochs[e]
		d.kept.claimed = d.claimed && m.shortcut != shortcutJournalBeforeClaim
		d.kept.marked = d.kept.marked || d.marked && e >= b.floor && e < b.own
	}
	b.phase, b.floor = phaseSeal, 0
}

// adopt reads the source's journal and writes its last group again. Nobody reads
// ours before it is active, so this is one step.
func (m *model) adopt(w *world, b *modelBroker) {
	b.phase = phasePassage
	if m.shortcut == shortcutMarkAfterSource {
		b.marksLeft = b.own - 1
	}
	src, own := &w.epochs[b.source], &w.epochs[b.own]
	if src.n == 0 {
		return
	}
	if m.shortcut == shortcutSealAfterLastGroup {
		b.seal = src.n
		return
	}
	b.seal = src.n - 1
	own.journal[own.n] = src.journal[b.seal]
	own.n++
	if m.shortcut != shortcutActiveBeforeJournal {
		own.synced = own.n
	}
}

// write writes the next group of our own. One that has written all it may ends.
func (m *model) write(w *world, b *modelBroker) {
	own := &w.epochs[b.own]
	first, wrote := group((int(b.own)-1)*modelGroups+1), group(0)
	for _, g := range own.journal[:own.n] {
		if g >= first && g < first+modelGroups {
			wrote++
		}
	}
	switch {
	case int(wrote) == m.groups:
		own.lease = stateReleased
		*b = modelBroker{}
	case m.shortcut == shortcutFenceReadBeforeWrite && !b.looked:
		b.looked, b.early = true, !own.marked
	default:
		own.journal[own.n] = first + wrote
		own.n++
		b.phase = phaseSync
	}
}

// pass carries out a step of the passage.
func (m *model) pass(w *world, b *modelBroker) {
	own := &w.epochs[b.own]
	serving := own.lease == stateServing // a group is checked, not the activation
	p := passage{step: passageStep(b.pass)}
	switch {
	case b.marksLeft > 0:
		w.epochs[b.marksLeft].marked = true
		b.marksLeft--
		return
	case p.step == passActivate && m.shortcut == shortcutCheckBeforeActive && !b.looked:
		b.looked, b.early = true, !own.marked
		return
	case p.step == passActivate && !own.active:
		own.active, own.source, own.seal = true, b.source, b.seal
		b.source, b.seal = 0, 0
		if !m.mayCut(w) {
			p.activated()
			b.pass = uint8(p.step)
		}
		return
	case p.step == passActivate:
		own.kept.active = m.shortcut != shortcutActiveNotSynced
		p.activated()
	default:
		unmarked := !own.marked
		switch {
		case b.looked:
			unmarked = b.early
		case m.shortcut == shortcutNoFenceRead && serving, m.shortcut == shortcutActivateWithoutCheck && !serving:
			unmarked = true
		}
		b.looked, b.early = false, false
		p.checked(unmarked)
	}
	b.pass = uint8(p.step)
	switch {
	case p.step == passDie:
		*b = modelBroker{}
	case p.step == passServe && serving:
		b.phase = phasePromise
	case p.step == passServe:
		// Clients are shown the whole history from here on.
		own.lease = stateServing
		m.promise(w, b)
		b.phase = phaseFloor
	}
}

// contend carries out a step of the contest.
func (m *model) contend(w *world, b *modelBroker) (bool, error) {
	c := b.contestOf()
	var err error
	switch s := c.next(); s.kind {
	case stepLook:
		top := w.highest(claimedEpoch)
		c.looked(time.Time{}, sighting{epoch: uint64(top), lock: lockFree}, readiness{fit: true})
	case stepSurvey:
		found := survey{floor: uint64(w.floor)}
		found.journal = uint64(w.highest(func(d *modelEpoch) bool { return d.n > 0 }))
		found.active = w.highest(activeEpoch) >= max(w.floor, 1)
		if err = c.surveyed(found); err != nil && uint64(w.highest(claimedEpoch)) > c.holder.epoch {
			c.overtaken()
			err = nil
		}
	case stepClaim:
		if s.epoch > uint64(m.epochs) {
			return false, nil
		}
		m.claim(w, &c, uint8(s.epoch))
	case stepMark:
		d := &w.epochs[s.epoch]
		if err = m.missing(d); err != nil {
			return false, err
		}
		skip := m.shortcut == shortcutMarkAfterSource || m.shortcut == shortcutMarkOnlyPrevious && s.epoch != c.epoch-1
		if !skip {
			d.marked = true
		}
		c.marked()
	case stepProbe:
		d := &w.epochs[s.epoch]
		if err = m.missing(d); err != nil {
			return false, err
		}
		active := d.active
		if m.shortcut == shortcutSourceFromLease {
			active = d.active && d.lease == stateServing
		}
		err = c.probed(active)
	default:
		err = fmt.Errorf("step %d", s.kind)
	}
	b.keep(&c)
	if c.step.kind == stepOpen {
		*b = modelBroker{phase: phaseSettle, own: b.own, source: b.source, floor: max(b.floor, 1)}
	}
	return true, err
}

// missing is the damage of a claim that is not there.
func (m *model) missing(d *modelEpoch) error {
	if d.claimed || m.shortcut == shortcutRemoveClaims {
		return nil
	}
	return errors.New("a claim is missing")
}

// claim renames a filled directory to number e, which fails if it is there.
func (m *model) claim(w *world, c *contest, e uint8) {
	d := &w.epochs[e]
	before := &w.epochs[e-1]
	if m.shortcut == shortcutReuseClaims && before.claimed && !before.active && !before.marked && e > 1 {
		// The claim before was never active: its directory is filled anew.
		*before = modelEpoch{claimed: true, lease: stateClaimed}
		c.step.epoch = uint64(e - 1)
		c.claimed(true)
		return
	}
	ok := !d.claimed
	if ok {
		d.claimed, d.marked, d.lease, d.kept = true, false, stateClaimed, durable{}
	}
	c.claimed(ok)
}

// writing tells whether a living broker may still sync e's last group.
func (w *world) writing(e uint8) bool {
	return slices.ContainsFunc(w.brokers[:], func(b modelBroker) bool { return b.phase == phaseSync && b.own == e })
}

// mayCut tells whether a power cut may still come.
func (m *model) mayCut(w *world) bool { return w.cuts < m.cuts && !w.dark }

// expand visits every state that follows w.
func (m *model) expand(w *world) {
	if w.dark {
		m.fade(w)
		return
	}
	m.live(w)
	if m.mayCut(w) {
		next := *w
		next.brokers = [modelBrokers]modelBroker{}
		next.dark, next.cuts = true, w.cuts+1
		m.visit(&next)
	}
}

// fade visits what a power cut leaves: one thing less each time, or, when the power
// comes back, what is there.
func (m *model) fade(w *world) {
	m.vanish(w)
	on := *w
	on.dark, on.kept = false, w.floor
	last := true // the claims behind this one are durable, or gone
	for e := uint8(modelEpochs); e > 0; e-- {
		d := &w.epochs[e]
		on.epochs[e].kept = durable{d.claimed, d.marked, d.active}
		if d.claimed && !d.kept.claimed && last {
			next := *w
			next.epochs[e] = modelEpoch{n: d.n, synced: d.synced, journal: d.journal} // which is elsewhere
			m.visit(&next)
		}
		last = last && !d.claimed
		if d.marked && !d.kept.marked {
			next := *w
			next.epochs[e].marked = false
			m.visit(&next)
		}
		if d.active && !d.kept.active {
			next := *w
			l := &next.epochs[e]
			l.active, l.source, l.seal = false, 0, 0
			m.visit(&next)
		}
	}
	if w.floor != w.kept {
		for _, floor := range []uint8{w.kept, 0} { // 0: it is torn
			next := *w
			next.floor, next.kept = floor, floor
			m.visit(&next)
		}
	}
	m.visit(&on)
}

// live visits what the brokers do, and what becomes of them and of their last groups.
func (m *model) live(w *world) {
	for i := range m.brokers {
		next := *w
		ok, err := m.advance(&next, &next.brokers[i])
		if err != nil {
			m.fail(w, fmt.Errorf("a start is refused: %w", err))
		}
		if ok {
			m.visit(&next)
		}
		if w.brokers[i] != (modelBroker{}) {
			next := *w
			next.brokers[i] = modelBroker{}
			m.visit(&next)
		}
	}
	m.vanish(w)
}

// vanish takes a group that was not synced.
func (m *model) vanish(w *world) {
	for e := range uint8(m.epochs + 1) {
		if d := &w.epochs[e]; d.n > d.synced && !w.writing(e) {
			next := *w
			l := &next.epochs[e]
			l.n--
			l.journal[l.n] = 0
			m.visit(&next)
		}
	}
}

func (m *model) fail(w *world, err error) {
	if m.why == "" {
		m.why = fmt.Sprintf("%v, in\n%s", err, w)
	}
}

func (w *world) String() string {
	var s strings.Builder
	fmt.Fprintf(&s, "floor %d (durable %d), promised %b, power cuts %d, dark %v\n", w.floor, w.kept, w.promised, w.cuts, w.dark)
	for e, d := range w.epochs {
		if e > 0 {
			fmt.Fprintf(&s, "epoch %d: %+v\n", e, d)
		}
	}
	for i, b := range w.brokers {
		fmt.Fprintf(&s, "broker %d: %+v\n", i, b)
	}
	return s.String()
}

func (m *model) visit(w *world) {
	m.normalize(w)
	h := w.hash(m.seed)
	if _, ok := m.seen[h]; ok {
		return
	}
	m.seen[h] = struct{}{}
	if err := w.holds(); err != nil {
		m.fail(w, err)
	}
	m.next = append(m.next, *w)
}

// errLimit: a search of a shortcut that finds nothing has to end.
var errLimit = errors.New("no broken promise found")

// search visits every reachable state, or stops at the first broken invariant.
func (m *model) search(limit int) (depth int, err error) {
	m.seed, m.seen = maphash.MakeSeed(), map[uint64]struct{}{}
	m.visit(&world{})
	for len(m.next) > 0 && m.why == "" {
		level := m.next
		m.next = nil
		for i := range level {
			m.expand(&level[i])
			if m.why != "" {
				return depth, errors.New(m.why)
			}
		}
		if limit > 0 && len(m.seen) > limit {
			return depth, errLimit
		}
		depth++
	}
	return depth, nil
}

// TestModel_NoPromiseIsLost visits every state. Hashes of 64 bits stand for
// states: that two of some millions share one has a chance below one in a million.
func TestModel_NoPromiseIsLost(t *testing.T) {
	sizes := []model{
		{brokers: 2, epochs: 4, groups: 1},
		{brokers: 3, epochs: 3, groups: 1},
		{brokers: 2, epochs: 3, groups: 1, cuts: 1},
	}
	if raceDetector { // which slows one goroutine down tenfold, and finds nothing
		sizes = []model{{brokers: 2, epochs: 3, groups: 1}}
	}
	if *modelBig {
		sizes = []model{
			{brokers: 2, epochs: 4, groups: 2},
			{brokers: 3, epochs: 3, groups: 2},
			{brokers: 3, epochs: 4, groups: 1},
			{brokers: 2, epochs: 4, groups: 1, cuts: 1},
			{brokers: 2, epochs: 3, groups: 1, cuts: 2},
		}
	}
	for _, m := range sizes {
		t.Run(fmt.Sprintf("%d brokers %d epochs %d groups %d power cuts", m.brokers, m.epochs, m.groups, m.cuts), func(t *testing.T) {
			begun := time.Now()
			depth, err := m.search(0)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d states, %d steps deep, in %v", len(m.seen), depth, time.Since(begun).Round(time.Millisecond))
			for e, n := range m.promises[1 : m.epochs+1] {
				if n == 0 {
					t.Errorf("epoch %d never promised anything: the model misses something", e+1)
				}
			}
		})
	}
}

// TestModel_ShortcutsBreakPromises: the search would notice.
func TestModel_ShortcutsBreakPromises(t *testing.T) {
	for s, name := range map[shortcut]string{
		shortcutNoFenceRead:          "no fence read",
		shortcutFenceReadBeforeWrite: "the fence read before the write",
		shortcutMarkAfterSource:      "marking after the source was chosen",
		shortcutMarkOnlyPrevious:     "marking only the previous epoch",
		shortcutRemoveClaims:         "removing claim directories",
		shortcutReuseClaims:          "reusing claim directories",
		shortcutSourceFromLease:      "a source told by the lease",
		shortcutSealAfterLastGroup:   "sealing after an unsynced group",
		shortcutActivateWithoutCheck: "activating without a check",
		shortcutCheckBeforeActive:    "checking before the active file is written",
		shortcutJournalBeforeClaim:   "a journal before its claim is durable",
		shortcutActiveNotSynced:      "a promise before the active file is durable",
		shortcutActiveBeforeJournal:  "an active file before the journal's first group is durable",
	} {
		t.Run(name, func(t *testing.T) {
			m := model{brokers: 3, epochs: 4, groups: 2, shortcut: s}
			if s >= shortcutJournalBeforeClaim {
				m.brokers, m.cuts = 2, 1
			}
			limit := 3_000_000
			if raceDetector {
				limit = 100_000
			}
			depth, err := m.search(limit)
			if raceDetector && errors.Is(err, errLimit) {
				return // found without the detector
			}
			if err == nil || errors.Is(err, errLimit) {
				t.Fatalf("%d states: %v", len(m.seen), err)
			}
			t.Logf("found after %d states, %d steps deep: %.120s", len(m.seen), depth, err)
		})
	}
}
