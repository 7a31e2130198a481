package core

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Broker is the engine: it owns the vhosts, and the memory and disk budgets that they share.
type Broker struct {
	opt           Options
	store         Store
	vhosts        atomic.Pointer[pmap[*VHost]]
	lastQueue     atomic.Uint32 // of the ids made in this epoch
	lastSub       atomic.Uint32 // of the serials of subscribers
	unroutable    atomic.Uint64 // messages that reached nobody, of exchanges that are gone
	retainedBytes atomic.Int64  // of retained messages in memory: see retainedCache
	lapsed        atomic.Uint64 // subscribers that did not come back in time
	churn         churn
	duplicates    atomic.Uint64 // messages that an exchange or a queue passed over
	dropped       atomic.Uint64 // messages that nobody keeps, for subscribers that were away or slow
	stirs         stirs
	consumers     atomic.Int64 // of all queues
	subscriptions atomic.Int64 // of all subscribers, their parts in shares included
	loads         todo[*Queue]
	shows         shows
	deaths        todo[*Queue] // with dead letters
	replays       todo[*Subscriber]
	watched       todo[*Subscriber] // whose replays the minder has go on
	resumes       todo[*Session]
	dues          todo[*delays]
	expiries      expiries
	draining      chan struct{}
	drainOnce     sync.Once

	held      atomic.Int64  // bytes of messages in memory, give or take a few KiB per queue
	openBytes atomic.Int64  // of deliveries outstanding with consumers without a prefetch limit
	openStall stall         // those of them that wait for the others
	stops     atomic.Uint32 // why publishers wait; 0: they need not
	gate      gate
	doubt     doubt
	waiting   *QueueSettings // of subscribers' queues without a policy; nil: none
	arriving  arriving
	replies   replies

	access   Access
	global   atomic.Pointer[parameters] // changes under Access.mu
	sessions sessions

	maintenance maintenance
	events      events
	trouble     trouble

	life    sync.RWMutex // held for reading by what a timer runs
	closed  bool
	stop    context.CancelFunc
	work    sync.WaitGroup
	failMu  sync.Mutex
	failErr error
	failed  chan struct{}
}

// Open recovers what the store holds and starts the engine. The store stays the caller's to close, after Close.
func Open(ctx context.Context, store Store, opt Options) (*Broker, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	b := &Broker{opt: opt, store: store, draining: make(chan struct{}), failed: make(chan struct{})}
	b.stirs.turn.Store(firstTurn)
	b.waiting = settingsOf(governArgs(nil, b.opt.Waiting.terms()))
	b.vhosts.Store(&pmap[*VHost]{})
	b.global.Store(&parameters{})
	b.loads.signal = make(chan struct{}, 1)
	b.shows.todo.signal = make(chan struct{}, 1)
	b.replays.signal = make(chan struct{}, 1)
	b.resumes.signal = make(chan struct{}, 1)
	b.dues.signal = make(chan struct{}, 1)
	b.expiries.signal = make(chan struct{}, 1)
	b.deaths.signal = make(chan struct{}, 1)
	b.gate.opened, b.gate.news = make(chan struct{}), make(chan struct{}, 1)
	b.arriving.limit = opt.ArrivingBytes
	b.access.broker = b
	b.trouble.opened = time.Now()
	if opt.Events != "" {
		b.events.waiting = make(chan event, eventsWaiting)
	}
	b.access.accounts.Store(&accounts{generation: 1})
	if err := b.recover(ctx); err != nil {
		return nil, err
	}
	b.provideVHost()
	b.mind() // publishers that must wait must not begin
	ctx, b.stop = context.WithCancel(context.WithoutCancel(ctx))
	b.work.Go(func() { b.loader(ctx) })
	b.work.Go(func() { b.replayer(ctx) })
	b.work.Go(func() { b.minder(ctx) })
	b.work.Go(func() { b.delayer(ctx) })
	b.work.Go(func() { b.expirer(ctx) })
	b.work.Go(func() { b.deadLetterer(ctx) })
	b.work.Go(func() { b.lookAtFronts(ctx) })
	if b.events.waiting != nil {
		b.work.Go(func() { b.teller(ctx) })
	}
	return b, nil
}

// Draining is closed when the broker begins to shut down.
func (b *Broker) Draining() <-chan struct{} { return b.draining }

// Drain announces the shutdown to whoever watches Draining.
func (b *Broker) Drain() { b.drainOnce.Do(func() { close(b.draining) }) }

// Failed is closed when the broker cannot go on: its store has failed. Err says why. There is no way back: the process ends.
func (b *Broker) Failed() <-chan struct{} { return b.failed }

// Err is the failure, nil while there is none.
func (b *Broker) Err() error {
	b.failMu.Lock()
	defer b.failMu.Unlock()
	return b.failErr
}

func (b *Broker) fail(err error) {
	b.failMu.Lock()
	defer b.failMu.Unlock()
	if b.failErr == nil {
		b.failErr = err
		close(b.failed)
	}
}

// Close stops the engine. Sessions are closed before.
func (b *Broker) Close() {
	b.Drain()
	b.life.Lock()
	b.closed = true
	b.life.Unlock()
	b.stop()
	b.work.Wait()
}

func (b *Broker) vhost(name string) *VHost {
	v, _ := b.vhosts.Load().get(name)
	return v
}

// addVHost has a vhost found. From then on its event exchange is the one, if it is to have it.
func (b *Broker) addVHost(v *VHost) {
	if v.name == b.opt.Events {
		b.events.exchange.Store(v.exchange(EventExchange))
	}
	next := b.vhosts.Load().with(v.name, v)
	b.vhosts.Store(&next)
}

// newQueueID makes an id that no queue ever had: the epoch is new to this broker.
func (b *Broker) newQueueID() QueueID {
	return QueueID(b.opt.Epoch)<<32 | QueueID(b.lastQueue.Add(1))
}

// GeneratedName makes a name that no one else has, as RabbitMQ makes them: a prefix and 22 characters.
func GeneratedName(prefix string) string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand aborts the process instead
	return prefix + base64.RawURLEncoding.EncodeToString(b[:])
}

// hold adds to the bytes that messages take in memory. Reaching the budget makes publishers wait, until a sixteenth of it is free again.
func (b *Broker) hold(n int64) {
	now := b.held.Add(n)
	b.limit(stopLong, n, now, b.opt.MemoryBudget)
	b.limit(stopBudget, n, now, b.mostHeld())
}

// limit stops publishers for a reason where the n bytes that were added make it most or more, and lets them go where they make it a
// sixteenth of the budget less.
func (b *Broker) limit(reason uint32, n, now, most int64) {
	stopped := b.stops.Load()&reason != 0
	over := func() bool { return b.held.Load() >= most-b.opt.MemoryBudget/16 }
	switch {
	case n > 0 && now >= most && !stopped:
		b.stopFor(reason, true)
		if !over() { // what was freed before that was said woke nobody
			b.stopFor(reason, false)
		}
	case n < 0 && stopped && !over():
		b.stopFor(reason, false)
	}
}

// full reports whether messages fill the memory budget.
func (b *Broker) full() bool { return b.stops.Load()&stopLong != 0 }

// crowded reports whether messages that the store can read back should leave memory.
func (b *Broker) crowded() bool { return b.held.Load() > b.opt.PageAt }

// gate is where publishers wait; wake lets all of them look again, because the reasons have changed. Its lock is a leaf.
type gate struct {
	mu     sync.Mutex
	opened chan struct{}
	news   chan struct{} // one token: publishers were stopped or let go
}

func (g *gate) ch() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.opened
}

func (g *gate) wake() {
	g.mu.Lock()
	close(g.opened)
	g.opened = make(chan struct{})
	g.mu.Unlock()
	select {
	case g.news <- struct{}{}:
	default: // the minder is told already
	}
}

// minder looks after what no client's action would: disk space, and memory held by queues that nobody publishes to any more. It also
// says when publishers are stopped and let go, which those who notice cannot do under their locks.
func (b *Broker) minder(ctx context.Context) {
	tick, space := time.NewTicker(time.Second), time.NewTicker(mindSpaceEvery)
	defer tick.Stop()
	defer space.Stop()
	var said fullSaid
	for {
		ticked := false
		select {
		case <-tick.C:
			b.mind()
			b.trouble.tick(b)
			ticked = true
		case <-space.C:
			b.mindSpace()
		case <-b.gate.news:
		case <-b.store.Failed():
			b.fail(b.store.Err())
			return
		case <-ctx.Done():
			return
		}
		b.resumeWatched()
		b.tellAlarms()
		if said.changed(b.full(), ticked) {
			b.sayFull(said.full)
		}
	}
}

// fullSaid is what the log has last been told about the memory budget. Publishers that are let go fill it again at once, many times a
// second: that it has room is said when it has had some for calm ticks.
type fullSaid struct {
	full  bool
	ticks int // since it was seen full
}

const calm = 3

func (f *fullSaid) changed(now, ticked bool) bool {
	was := f.full
	switch {
	case now:
		f.full, f.ticks = true, 0
	case f.full && ticked:
		f.ticks++
		f.full = f.ticks < calm
	}
	return f.full != was
}

func (b *Broker) sayFull(full bool) {
	held := slog.Int64("held_bytes", b.held.Load())
	if full {
		b.opt.Logger.Warn("waiting messages fill the memory budget: publishers wait", held, slog.Int64("budget_bytes", b.opt.MemoryBudget))
	} else {
		b.opt.Logger.Info("the memory budget has room again: publishers go on", held)
	}
}

// resumeWatched has those replays go on that nobody else might wake.
func (b *Broker) resumeWatched() {
	for _, sub := range b.watched.take() {
		sub.replays.watched.Store(false)
		sub.resumeReplays()
	}
}

// mindSpaceEvery is how soon publishers stop that fill the disk: a fast one takes a gigabyte in a second.
const mindSpaceEvery = 100 * time.Millisecond

func (b *Broker) mindSpace() {
	space := b.store.Space()
	if lack := space.Lacking(); b.stopFor(stopSpace, lack) {
		switch {
		case !lack:
			b.opt.Logger.Info("the store has room again: publishers go on", slog.Int64("free_bytes", space.Free))
		case space.Level != SpaceOK:
			b.opt.Logger.Warn("disk space is low: publishers wait", slog.Int64("free_bytes", space.Free))
		default:
			b.opt.Logger.Warn("checkpoints do not keep up, so that a restart would take long: publishers wait for the store",
				slog.Int64("free_bytes", space.Free))
		}
	}
}

func (b *Broker) mind() {
	b.mindSpace()
	if b.crowded() {
		for q := range b.allQueues() {
			q.mu.Lock()
			q.pageOutIdle()
			q.mu.Unlock()
		}
		for d := range b.allDelays() {
			d.pageOut()
		}
	}
}

// loader reads messages back from the store for queues that consumers are about to need, shows those that have passed, and serves those
// who waited for a record.
func (b *Broker) loader(ctx context.Context) {
	for {
		select {
		case <-b.shows.todo.signal:
			b.showPassed()
		case <-b.resumes.signal:
			for _, s := range b.resumes.take() {
				s.Resume()
			}
		case <-b.loads.signal:
			for _, q := range b.loads.take() {
				if err := q.load(); err != nil {
					b.fail(fmt.Errorf("read messages of %s back: %w", q.vhost.queueName(q.spec.Name), err))
					return
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// replayer runs replays. To look up what is kept may take long, and what the loader does must not wait for that.
func (b *Broker) replayer(ctx context.Context) {
	for {
		select {
		case <-b.replays.signal:
			for _, sub := range b.replays.take() {
				if ctx.Err() != nil {
					return
				}
				if err := sub.replay(); err != nil {
					b.fail(err)
					return
				}
			}
		case <-ctx.Done():
			return
		}
	}
}

// todo is a list of work for one goroutine. Its lock is a leaf.
type todo[T any] struct {
	signal chan struct{} // one token: something was added

	mu   sync.Mutex
	list []T
}

func (t *todo[T]) add(v T) {
	t.mu.Lock()
	t.list = append(t.list, v)
	t.mu.Unlock()
	select {
	case t.signal <- struct{}{}:
	default: // the goroutine is told already
	}
}

func (t *todo[T]) take() []T {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := t.list
	t.list = nil
	return list
}

// after runs f on a goroutine of its own after d, unless the engine is closed by then. Close waits for what has begun.
func (b *Broker) after(d time.Duration, f func()) *time.Timer {
	return time.AfterFunc(d, func() {
		b.life.RLock()
		defer b.life.RUnlock()
		if !b.closed {
			f()
		}
	})
}
