package persistence

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/index"
	"github.com/batonmq/baton/persistence/journal"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

var (
	crashRuns = flag.Int("crash.runs", 1000, "seeded crash runs")
	crashSeed = flag.Uint64("crash.seed", 1, "the first seed")
)

// TestCrash runs random commits against a store whose world stops at a random step: before or after a write, a sync, a change of
// names or a step of a checkpoint, also while it opens and closes. What is then found must be what some prefix of the commits amounts
// to, one that holds every commit that was promised; and the index, an older one, and a rebuild from the journal alone must tell the same
// story, and so must a standby that has followed now and then, and goes on in place of the node that stopped.
func TestCrash(t *testing.T) {
	nodes := 0
	for i := range *crashRuns {
		seed := *crashSeed + uint64(i)
		r := newCrashRun(seed)
		if err := r.run(); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		nodes += r.nodes
	}
	if nodes < *crashRuns/20 {
		t.Errorf("a standby took over %d times in %d runs", nodes, *crashRuns)
	}
}

// state is what a store holds, as its user sees it.
type state struct {
	defs    map[string]string
	queues  map[core.QueueID]map[core.Seq]held
	next    map[core.QueueID]core.Seq          // above every place given out
	said    map[core.QueueID]core.Seq          // above every place that must be known as used: see elision
	unclean map[core.QueueID]map[core.Seq]bool // entries that lived when a life ended uncleanly
}

type held struct {
	body    string
	marks   uint32
	key     string
	expires int64
}

func newState() *state {
	return &state{
		defs: make(map[string]string), queues: make(map[core.QueueID]map[core.Seq]held),
		next:    make(map[core.QueueID]core.Seq),
		said:    make(map[core.QueueID]core.Seq),
		unclean: make(map[core.QueueID]map[core.Seq]bool),
	}
}

func (s *state) clone() *state {
	c := newState()
	c.defs, c.next, c.said = maps.Clone(s.defs), maps.Clone(s.next), maps.Clone(s.said)
	for q, m := range s.queues {
		c.queues[q] = maps.Clone(m)
	}
	for q, m := range s.unclean {
		c.unclean[q] = maps.Clone(m)
	}
	return c
}

func (s *state) apply(ops []core.Op) {
	written := false // whatever else its group holds
	for _, o := range ops {
		written = written || o.Kind == core.OpDefine || o.Kind == core.OpRemove
		switch o.Kind {
		case core.OpPublish:
			for _, p := range append([]core.Pair{{Queue: o.Queue, Seq: o.Seq}}, o.More...) {
				if q := s.queues[p.Queue]; q != nil {
					q[p.Seq] = held{body: string(o.Msg.Body), key: o.Msg.Key, expires: o.Msg.Expires}
					s.next[p.Queue] = max(s.next[p.Queue], p.Seq+1)
				}
			}
		case core.OpSettle:
			for _, r := range o.Ranges {
				maps.DeleteFunc(s.queues[o.Queue], func(q core.Seq, _ held) bool { return r.First <= q && q <= r.Last })
			}
		case core.OpMark:
			for _, r := range o.Ranges {
				for q, h := range s.queues[o.Queue] {
					if r.First <= q && q <= r.Last {
						h.marks = s.delivered(o.Queue, q) + 1
						s.queues[o.Queue][q] = h
					}
				}
			}
		case core.OpDefine:
			s.defs[o.Key] = string(o.Value)
			if o.Queue != 0 && s.queues[o.Queue] == nil {
				s.queues[o.Queue] = make(map[core.Seq]held)
			}
		case core.OpRemove:
			delete(s.defs, o.Key)
			delete(s.queues, o.Queue)
		case core.OpNone:
		}
	}
	if written {
		s.said = maps.Clone(s.next)
	}
}

// endUncleanly notes that everything alive may have been delivered.
func (s *state) endUncleanly() {
	for q, m := range s.queues {
		if s.unclean[q] == nil {
			s.unclean[q] = make(map[core.Seq]bool)
		}
		for seq := range m {
			s.unclean[q][seq] = true
		}
	}
}

// delivered is what the store must say of an entry.
func (s *state) delivered(q core.QueueID, seq core.Seq) uint32 {
	if n := s.queues[q][seq].marks; n > 0 || !s.unclean[q][seq] {
		return n
	}
	return 1
}

// difference returns what a store tells other than s, "" when nothing.
func (s *state) difference(st *Store) (string, error) {
	defs := maps.Clone(s.defs)
	for d, err := range st.Recover(backgroundContext()) {
		if err != nil {
			return "", err
		}
		if v, ok := defs[d.Key]; !ok || v != string(d.Value) {
			return fmt.Sprintf("definition %q is %q", d.Key, d.Value), nil
		}
		delete(defs, d.Key)
		if d.Queue == 0 {
			continue
		}
		entries, err := st.Load(d.Queue, 0, ^core.Seq(0), 1<<20, 1<<30)
		if err != nil {
			return "", err
		}
		want := s.queues[d.Queue]
		if len(entries) != len(want) || d.Count != int64(len(want)) {
			return fmt.Sprintf("queue %x has %d entries (count %d), want %d", d.Queue, len(entries), d.Count, len(want)), nil
		}
		for _, e := range entries {
			h, ok := want[e.Seq]
			if !ok || h.body != string(e.Msg.Body) || !e.Msg.Stored() {
				return fmt.Sprintf("queue %x place %d: %q, want %q", d.Queue, e.Seq, e.Msg.Body, h.body), nil
			}
			if n := s.delivered(d.Queue, e.Seq); e.Delivered != n {
				return fmt.Sprintf("queue %x place %d: delivered %d, want %d", d.Queue, e.Seq, e.Delivered, n), nil
			}
		}
		if diff, err := s.keysDiffer(st, d.Queue); diff != "" || err != nil {
			return diff, err
		}
		least, most := max(s.said[d.Queue], 1), max(s.next[d.Queue], 1)
		for seq := range want {
			least = max(least, seq+1)
		}
		if d.Next < least || d.Next > most {
			return fmt.Sprintf("queue %x: next %d, want %d to %d", d.Queue, d.Next, least, most), nil
		}
	}
	if len(defs) > 0 {
		return fmt.Sprintf("definitions are missing: %v", defs), nil
	}
	return "", nil
}

// keysDiffer is difference for the keys of a keyed queue.
func (s *state) keysDiffer(st *Store, queue core.QueueID) (string, error) {
	if !queue.Keyed() {
		return "", nil
	}
	var want, got []core.KeyedPlace
	for _, seq := range slices.Sorted(maps.Keys(s.queues[queue])) {
		if h := s.queues[queue][seq]; len(h.key) <= core.MaxKey {
			want = append(want, core.KeyedPlace{Seq: seq, Key: h.key, Expires: h.expires})
		}
	}
	for p, err := range st.Keys(backgroundContext(), queue) {
		if err != nil {
			return "", err
		}
		got = append(got, p)
	}
	if !slices.Equal(got, want) {
		return fmt.Sprintf("queue %x has keys %v, want %v", queue, got, want), nil
	}
	return "", nil
}

// crashRun is a sequence of lives of one store, each ended by a crash or orderly.
type crashRun struct {
	rng   *rand.Rand
	fs    *crashfs.FS
	index *memIndexDisk
	older *memIndexDisk // another node's, which has not followed

	// What the outside knows of the lives so far, as a lease directory would.
	epoch  uint64
	source *Source

	standby *Follower     // another node, that follows; nil: none does
	own     *memIndexDisk // its index
	nodes   int           // so many took over

	base  *state // what is certain
	clean bool   // the last life ended orderly

	mu       sync.Mutex
	units    [][]core.Op
	promised int // so many units have passed
	late     error

	named    atomic.Uint64
	told     atomic.Uint64
	nextSeq  map[core.QueueID]core.Seq
	nextID   uint64
	messages int
	slack    int64
	segment  int64
}

func newCrashRun(seed uint64) *crashRun {
	r := &crashRun{
		rng: rand.New(rand.NewPCG(seed, 7)), fs: crashfs.New(), index: newMemIndexDisk(), older: newMemIndexDisk(), own: newMemIndexDisk(),
		base: newState(), nextSeq: make(map[core.QueueID]core.Seq),
	}
	r.segment = 4096
	if seed%2 == 0 { // zeros are written ahead of the groups, a few pages at a time
		r.fs.InPlace, r.segment = true, 64<<10
	}
	r.slack = []int64{1, 4096, 1 << 40}[r.rng.IntN(3)] // much is carried forward, or some, or nothing
	return r
}

func (r *crashRun) run() error {
	for range 2 + r.rng.IntN(4) {
		if err := r.life(); err != nil {
			return err
		}
		if err := r.verify(); err != nil {
			return err
		}
	}
	return nil
}

func (r *crashRun) options(fs *crashfs.FS, disk *memIndexDisk, epoch uint64) Options {
	return Options{
		Dir: "/store", Node: "n", StoreID: [16]byte{1, 2, 3}, Epoch: epoch, Source: r.source, Files: fs,
		CheckpointEvery: time.Hour, CheckpointBytes: 1 << 40, SegmentSize: r.segment, slack: r.slack,
		openIndex: func(*Options) (indexer, error) { return newMemIndex(fs, disk), nil },
	}
}

// life opens the store, commits at random, and ends by a crash at a random step or orderly.
func (r *crashRun) life() error {
	r.epoch++
	stopAt, after := r.rng.IntN(200), r.rng.IntN(2) == 0
	if r.rng.IntN(5) == 0 {
		stopAt = 1 << 30
	}
	r.fs.Decide = func(op crashfs.Op) crashfs.Verdict {
		return crashfs.Verdict{Crash: op.Step > stopAt, After: after && op.Step == stopAt+1}
	}
	r.units, r.promised = nil, 0
	r.named.Store(0)
	r.told.Store(0)
	followed := r.takesOver()
	opt := r.options(r.fs, r.index, r.epoch)
	opt.Follower = followed
	opt.NameSegment = func(n uint64) error {
		r.named.Store(n)
		return r.fs.Step("name", "lease")
	}
	opt.Promised = func(offset uint64, _ time.Time) { r.told.Store(offset) }
	s, err := Open(backgroundContext(), opt)
	if err != nil {
		if errors.Is(err, crashfs.ErrCrashed) {
			return r.crashed(false)
		}
		return fmt.Errorf("open epoch %d: %w", r.epoch, err)
	}
	if err := r.fs.Step("activate", "lease"); err != nil {
		_ = s.Close() // it has crashed
		return r.crashed(false)
	}
	if followed != nil {
		if err := r.sameAs(s); err != nil {
			_ = s.Close() // it tells something else
			return fmt.Errorf("epoch %d goes on from what was followed: %w", r.epoch, err)
		}
	}
	r.units = [][]core.Op{}
	r.source = &Source{Epoch: r.epoch, Lineage: s.Lineage()}
	s.Activated()
	r.work(s)
	err = s.Finish()
	if cerr := s.Close(); err != nil || !errors.Is(cerr, crashfs.ErrCrashed) {
		err = errors.Join(err, cerr)
	} // else the node has released its epoch, and what it lost is its own index
	r.source.Segment, r.source.Promised, r.source.Time = r.named.Load(), uint64(r.rng.Int64N(int64(r.told.Load())+1)), s.Now()
	switch {
	case err == nil:
		return r.crashed(true)
	case errors.Is(err, crashfs.ErrCrashed):
		return r.crashed(false)
	}
	return fmt.Errorf("close: %w", err)
}

// crashed replaces the world by what survives of it.
func (r *crashRun) crashed(clean bool) error {
	if clean && r.promised != len(r.units) {
		return fmt.Errorf("closed cleanly, but %d of %d units have passed", r.promised, len(r.units))
	}
	r.fs = r.fs.Crash(r.rng)
	r.standbySurvives()
	r.clean = clean || r.clean && r.units == nil // a life that never began leaves the end before it
	return r.late
}

// takesOver returns the standby if it is the one to go on, which is then opened on its own index.
func (r *crashRun) takesOver() *Follower {
	f := r.standby
	if f == nil || r.source == nil || r.rng.IntN(2) == 0 {
		return nil
	}
	r.standby, r.index, r.own = nil, r.own, r.index
	r.nodes++
	return f
}

// sameAs compares what a store tells that goes on from what was followed with what its index and the journal were found to tell.
func (r *crashRun) sameAs(s *Store) error {
	diff, err := r.base.difference(s)
	if err == nil && diff != "" {
		err = errors.New(diff)
	}
	if err != nil {
		return err
	}
	next, err := places(s)
	if err == nil && !maps.Equal(next, r.base.next) {
		err = fmt.Errorf("next places %v, want %v", next, r.base.next)
	}
	return err
}

// follow has the standby do something: it comes, it goes, it catches up, it brings its index up to what it read.
func (r *crashRun) follow() error {
	if r.standby == nil {
		opt := r.options(r.fs, r.own, 0)
		opt.Source = nil
		f, err := NewFollower(backgroundContext(), opt)
		r.standby = f
		return err
	}
	if r.standby.index.Err() != nil {
		return nil //nolint:nilerr // it has ended, and is asked no more
	}
	src := *r.source
	src.Promised = r.told.Load()
	if r.rng.IntN(2) == 0 {
		src.Promised = uint64(r.rng.Int64N(int64(src.Promised) + 1)) // what its lease says is older
	}
	switch r.rng.IntN(12) {
	case 0:
		r.standby.stopReading()
		r.standby = nil
		return nil
	case 1:
		r.standby.opt.CheckpointBytes = 1 + r.rng.Int64N(20_000)
	case 2:
		r.standby.opt.CheckpointBytes = 1 << 40
	case 3:
		r.standby.index.(*memIndex).full = r.rng.IntN(2) == 0 //nolint:forcetypeassert // options made it
	case 4:
		if r.standby.live != nil && r.standby.live.err == nil {
			return r.followError(r.standby.checkpoint())
		}
	}
	return r.followError(r.standby.step(backgroundContext(), src))
}

// followError lets pass what may end a step.
func (r *crashRun) followError(err error) error {
	for _, may := range []error{crashfs.ErrCrashed, index.ErrSpace, journal.ErrGone, fs.ErrNotExist} {
		if errors.Is(err, may) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("epoch %d is followed: %w", r.epoch, err)
	}
	return nil
}

// standbySurvives gives the standby the world that a crash of the other node has left. If the crash came while it wrote its index, it
// has ended.
func (r *crashRun) standbySurvives() {
	if r.standby == nil {
		return
	}
	r.standby.stopReading()
	x := r.standby.index.(*memIndex) //nolint:forcetypeassert // options made it
	if x.Err() != nil {
		r.standby = nil
		return
	}
	x.fs, r.standby.opt.Files = r.fs, r.fs
}

// unitDone is the Completion of one commit.
type unitDone struct {
	r *crashRun
	n int
}

func (u unitDone) Complete(_ uint64, err error) {
	u.r.mu.Lock()
	defer u.r.mu.Unlock()
	if err != nil {
		return
	}
	if u.n != u.r.promised {
		u.r.late = fmt.Errorf("unit %d was promised after %d", u.n, u.r.promised)
	}
	u.r.promised = u.n + 1
}

// note keeps an error for the verdict.
func (r *crashRun) note(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.late = errors.Join(r.late, err)
}

func (r *crashRun) work(s *Store) {
	model := r.base.clone() // what the committing side believes
	for range 5 + r.rng.IntN(60) {
		ops := r.unit(model)
		r.mu.Lock()
		r.units = append(r.units, ops)
		n := len(r.units) - 1
		r.mu.Unlock()
		model.apply(ops)
		ops[len(ops)-1].Done = unitDone{r, n}
		s.Commit(ops)
		if r.rng.IntN(4) == 0 {
			if err := r.follow(); err != nil {
				r.note(err)
				return
			}
		}
		switch r.rng.IntN(8) {
		case 0:
			_ = s.commitOwn(nil) // let it all pass; an error shows in the verdict
		case 1:
			if s.checkpoint() != nil {
				return
			}
		}
	}
}

// unit makes the ops of one commit.
func (r *crashRun) unit(model *state) []core.Op {
	queues := slices.Sorted(maps.Keys(model.queues))
	if len(queues) == 0 || r.rng.IntN(20) == 0 {
		r.nextID++
		id := core.QueueID(r.epoch<<32 | r.nextID)
		if r.nextID%2 == 0 {
			id = core.KeyedID(id)
		}
		return []core.Op{{Kind: core.OpDefine, Key: queueKey(id), Queue: id, Value: []byte("queue")}}
	}
	q := queues[r.rng.IntN(len(queues))]
	var ops []core.Op
	if r.rng.IntN(6) == 0 {
		o := r.publish(q, queues)
		return []core.Op{o, {Kind: core.OpSettle, Queue: q, Ranges: []core.Range{{First: o.Seq, Last: o.Seq}}}}
	}
	for range 1 + r.rng.IntN(3) {
		switch n := r.rng.IntN(24); {
		case n < 12:
			ops = append(ops, r.publish(q, queues))
		case n < 19:
			ops = append(ops, core.Op{Kind: core.OpSettle, Queue: q, Ranges: r.ranges(q, model)})
		case n < 21:
			ops = append(ops, core.Op{Kind: core.OpMark, Queue: q, Ranges: r.ranges(q, model)})
		case n == 21:
			key := fmt.Sprintf("k%d", r.rng.IntN(4))
			ops = append(ops, core.Op{Kind: core.OpDefine, Key: key, Value: fmt.Appendf(nil, "v%d", r.rng.IntN(100))})
		case n == 22 && r.rng.IntN(3) == 0:
			ops = append(ops, core.Op{Kind: core.OpRemove, Key: fmt.Sprintf("k%d", r.rng.IntN(4))})
		case n == 23 && r.rng.IntN(4) == 0:
			return append(ops, core.Op{Kind: core.OpRemove, Key: queueKey(q), Queue: q})
		default:
			ops = append(ops, core.Op{Kind: core.OpNone})
		}
	}
	return ops
}

func (r *crashRun) publish(q core.QueueID, queues []core.QueueID) core.Op {
	r.messages++
	body := make([]byte, 1+r.rng.IntN(1200))
	for i := range body {
		body[i] = byte(r.messages + i)
	}
	o := core.Op{Kind: core.OpPublish, Queue: q, Seq: r.place(q), Msg: &core.Message{Body: body, Key: fmt.Sprintf("key.%d", r.messages), Persistent: true}}
	if r.messages%7 == 0 {
		o.Msg.Expires = 1 << 50
	}
	if other := queues[r.rng.IntN(len(queues))]; other != q && r.rng.IntN(3) == 0 {
		o.More = []core.Pair{{Queue: other, Seq: r.place(other)}}
	}
	return o
}

func (r *crashRun) place(q core.QueueID) core.Seq {
	r.nextSeq[q] = max(r.nextSeq[q], 1) + core.Seq(r.rng.IntN(2)*r.rng.IntN(700)) // far apart now and then, for more chunks
	r.nextSeq[q]++
	return r.nextSeq[q] - 1
}

// ranges picks live places of q, and some that never lived.
func (r *crashRun) ranges(q core.QueueID, model *state) []core.Range {
	live := slices.Sorted(maps.Keys(model.queues[q]))
	if len(live) == 0 || r.rng.IntN(10) == 0 {
		first := core.Seq(r.rng.IntN(2000))
		return []core.Range{{First: first, Last: first + core.Seq(r.rng.IntN(2000))}}
	}
	var list []core.Range
	for range 1 + r.rng.IntN(4) {
		seq := live[r.rng.IntN(len(live))]
		list = append(list, core.Range{First: seq, Last: seq})
	}
	return list
}

// verify opens copies of what survived, with the index and without, and finds the prefix of commits that they amount to.
func (r *crashRun) verify() error {
	if r.source == nil { // nothing was ever activated
		return nil
	}
	found, state := -1, (*state)(nil)
	var next map[core.QueueID]core.Seq
	for i, disk := range []*memIndexDisk{r.index.clone(), newMemIndexDisk(), r.older} {
		s, err := Open(backgroundContext(), r.options(r.fs.Clone(), disk.clone(), r.epoch+1))
		if err != nil {
			return fmt.Errorf("epoch %d does not open after a crash: %w", r.epoch, err)
		}
		at, after, why, err := r.prefix(s)
		told, nextErr := places(s)
		_ = s.Close() // never activated: nothing to write
		if err = errors.Join(err, nextErr); err != nil {
			return err
		}
		if at < 0 {
			return fmt.Errorf("epoch %d: with %s, no prefix from %d to %d of the commits matches: %s",
				r.epoch, []string{"its index", "no index", "an older index"}[i], r.promised, len(r.units), why)
		}
		if found >= 0 && at != found {
			return fmt.Errorf("epoch %d: one index tells prefix %d, another %d", r.epoch, found, at)
		}
		if next != nil && !maps.Equal(next, told) {
			return fmt.Errorf("epoch %d: one index tells next places %v, another %v", r.epoch, next, told)
		}
		found, state, next = at, after, told
	}
	r.base, r.units, r.promised = state, nil, 0
	r.base.next, r.base.said, r.nextSeq = maps.Clone(next), maps.Clone(next), next // places that nothing remembers are given out again
	if r.rng.IntN(2) == 0 {
		r.older = r.index.clone()
	}
	return nil
}

// places returns the next place of every queue.
func places(s *Store) (map[core.QueueID]core.Seq, error) {
	next := make(map[core.QueueID]core.Seq)
	for d, err := range s.Recover(backgroundContext()) {
		if err != nil {
			return nil, err
		}
		if d.Queue != 0 {
			next[d.Queue] = d.Next
		}
	}
	return next, nil
}

// prefix returns how many units s amounts to and the state that is, -1 and what differs when it is none that may be. A life that was
// stopped while it closed may have ended orderly all the same.
func (r *crashRun) prefix(s *Store) (int, *state, string, error) {
	model := r.base.clone()
	for _, ops := range r.units[:r.promised] {
		model.apply(ops)
	}
	why := ""
	for at := r.promised; at <= len(r.units); at++ {
		if at > r.promised {
			model.apply(r.units[at-1])
		}
		unclean := model.clone()
		unclean.endUncleanly()
		for _, m := range []*state{unclean, model} {
			if m == unclean && r.clean || m == model && !r.clean && (at < len(r.units) || r.units == nil) {
				continue
			}
			diff, err := m.difference(s)
			if err != nil || diff == "" {
				r.clean = m == model
				return at, m.clone(), "", err
			}
			if why == "" {
				why = diff
			}
		}
	}
	return -1, nil, why, nil
}

func backgroundContext() context.Context { return context.Background() }
