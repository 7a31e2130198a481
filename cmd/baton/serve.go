package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/persistence"
	"github.com/batonmq/baton/persistence/failpoint"
	"github.com/batonmq/baton/protocols/auth"
	admin "github.com/batonmq/baton/protocols/http"
	"github.com/batonmq/baton/protocols/http/api"
	"github.com/batonmq/baton/protocols/listen"
)

// storeStopTimeout is how long the store may take to close once clients are gone.
const storeStopTimeout = 10 * time.Second

// adminStopTimeout is how long requests on the admin port may go on once the
// broker is down: they are short, or nobody waits for them any more.
const adminStopTimeout = time.Second

// node is one process that serves, or waits to.
type node struct {
	boot   *Config // as the process was started
	reload *reloader
	next   atomic.Pointer[Config]     // as a standby has read it last: in force from the takeover on
	cfg    *Config                    // in force while this node is the primary; active's alone
	hashed atomic.Pointer[configHash] // nil: it was not asked for

	log      *slog.Logger
	above    *supervisor
	doors    *doors
	memory   *memoryWatch
	selfKill bool
	started  time.Time // the process
	begin    time.Time
	health   admin.Health
	live     liveStats
	warm     following
	took     atomic.Pointer[takeover] // nil: this node has not taken over
	held     atomic.Pointer[holding]  // nil: this node is not the primary
	handed   uint64                   // the epoch that it was asked to hand over, and did; 0: none
}

// serve runs a node until ctx ends, and returns nil for an orderly end.
func serve(ctx context.Context, cfg *Config, r *reloader, selfKill bool, log *slog.Logger) error {
	shared := r.doors
	n := &node{boot: cfg, reload: r, cfg: cfg, log: log, doors: shared, above: r.above, selfKill: selfKill, started: time.Now(), begin: time.Now()}
	log.Info("starting", slog.String("version", version()), slog.String("node", cfg.Node), slog.String("data", cfg.Data))
	for _, name := range cfg.ignored {
		log.Warn("environment variable names no setting", slog.String("variable", name))
	}
	if err := cfg.checkFiles(); err != nil { // before an epoch is claimed for nothing
		return &exitError{exitUsage, err}
	}
	n.memory = newMemoryWatch(cfg, log)
	r.watches(n.memory)
	defer shared.watch(context.WithoutCancel(ctx))()
	if err := openDataDir(cfg.Data, func() error { return n.checkSpace(cfg) }); err != nil {
		return &exitError{exitData, err}
	}
	server, err := admin.Start(ctx, admin.Options{
		Admin: cfg.Admin.Listen, AdminTLS: cfg.Admin.TLSListen, TLS: shared.tls, Socket: cfg.socket(), SocketOptional: cfg.Admin.Socket == auto, Metrics: cfg.Metrics.Listen,
		MaxConns: cfg.Admin.MaxConnections, Rate: shared.rate, Proxy: cfg.Proxy.of, Reload: r.reload,
		Health: &n.health, Primary: n.primary, Facts: n.facts, Peers: n.peers(), About: n.about(), Stats: n.stats, Failover: n.failover, Node: cfg.Node, Cluster: cfg.ClusterName, Version: version(), Compatible: cfg.AMQP.Version, Log: log,
	})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), adminStopTimeout)
		defer cancel()
		if err := server.Close(ctx); err != nil {
			log.Debug("admin requests were cut", slog.Any("err", err))
		}
	}()
	if err := n.probeAddresses(ctx); err != nil {
		return err
	}
	n.health.Observe(n.observe)
	defer n.above.watch(n.health.State, n.proof)()
	defer context.AfterFunc(ctx, n.above.stopping)()
	if err := n.takePart(ctx); err != nil {
		return dirError(cfg.Data, err)
	}
	log.Info("stopped")
	return nil
}

// takePart is the life of a node among those on its directory. One that has
// handed over stands by again: its supervisor need not start it for that.
func (n *node) takePart(ctx context.Context) error {
	defer n.dropFollower()
	doubtLocks := false
	if n.boot.HA.Enabled {
		var err error
		if doubtLocks, err = checkStorage(ctx, n.boot, n.log); err != nil {
			return err
		}
	}
	opt := ha.Options{
		Dir: n.boot.Data, Node: n.boot.Node, Standby: n.boot.HA.Enabled, TTL: n.boot.HA.TTL,
		Advertise: n.boot.advertise(), ConfigHash: n.hash, Preflight: n.preflight,
		DoubtLocks: doubtLocks, SelfKill: n.selfKill, Logger: n.log,
	}
	for {
		n.handed = 0
		err := ha.Run(ctx, opt, n.follow, n.active)
		if stopped(ctx, err) {
			return nil // asked to stop before there was anything to stop
		}
		if err != nil || n.handed == 0 {
			return err
		}
		opt.GiveWay = n.handed
	}
}

// probeAddresses opens the clients' addresses and closes them again: an address
// that cannot be opened is found before an epoch is claimed for nothing, as it
// would be at each try of a supervisor. A node that may stand by does not: its
// addresses stay dark, and may be the primary's own until that has ended.
func (n *node) probeAddresses(ctx context.Context) error {
	if n.boot.HA.Enabled {
		return nil
	}
	for _, e := range n.boot.entrances() {
		if err := e.probe(ctx); err != nil {
			return err
		}
	}
	return nil
}

// stopped reports an error that says no more than that ctx has ended.
func stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

// checkSpace refuses what openStore would refuse, before an epoch is claimed for it.
func (n *node) checkSpace(c *Config) error {
	if _, err := c.watermarks(); err != nil {
		return &exitError{exitData, err}
	}
	err := persistence.CheckSpace(persistence.Options{Dir: c.Data, SegmentSize: c.Store.SegmentSize, Logger: n.log})
	if err != nil {
		return &exitError{exitData, err}
	}
	return nil
}

// active is this node's life as primary: it ends with an orderly stop, or with
// the error that ended it.
func (n *node) active(ctx context.Context, t *ha.Tenure) error {
	if c := n.next.Load(); c != nil {
		n.cfg = c
		if err := n.reload.take(c); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	n.enter(admin.State{Role: admin.RoleStarting, Epoch: t.Epoch(), Reason: "the store is being opened"})
	took := takeover{begin: time.Now()}
	gc := hurryGC()
	defer gc.settle()
	store, err := n.openStore(ctx, t)
	if err != nil {
		return err
	}
	took.lap(&took.seal)
	broker, err := n.openBroker(ctx, t, store)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	took.lap(&took.open)
	clients, err := n.openFrontEnds(ctx, broker, t)
	if err != nil {
		broker.Close()
		return errors.Join(err, store.Close())
	}
	defer clients.Close()
	defer n.memory.start(broker.SetMemoryAlarm)()
	defer watchLulls()()
	defer gc.watch()()
	took.lap(&took.listen)
	drain := newDrain(broker, func() bool { _, ok := t.Successor(); return n.boot.HA.Enabled && ok }, n.log)
	defer drain.Close()
	sampler := api.NewSampler(broker, n.totals, n.facts)
	n.live.set(&liveParts{n.cfg, broker, store, clients, t, sampler, drain})
	defer n.live.clear()
	defer n.sample(sampler)()
	defer n.watchDoubt(t, broker)()
	n.enter(admin.State{Role: admin.RolePrimary, Epoch: t.Epoch()})
	n.tookOver(t, &took)
	go func() { _ = t.Settle() }() // its error ends the tenure, whose own end waits for it
	n.log.Info("Server startup complete", slog.Uint64("epoch", t.Epoch()), slog.Duration("took", time.Since(n.begin)))
	settling := time.AfterFunc(settleAfter, gc.settle)
	defer settling.Stop()

	select {
	case <-ctx.Done():
		// An end of the tenure ends ctx too, and forbids goodbyes.
		if err := t.Err(); err != nil {
			return n.cut(clients, t.Epoch(), "the lease was lost", err)
		}
		return n.stop(ctx, t, clients, broker, store)
	case <-t.HandoverRequested():
		n.handed = t.Epoch()
		return n.stop(ctx, t, clients, broker, store)
	case <-t.Lost():
		return n.cut(clients, t.Epoch(), "the lease was lost", t.Err())
	case <-broker.Failed():
		return n.cut(clients, t.Epoch(), "the store failed", broker.Err())
	case err = <-clients.failed():
	}
	n.log.Error("stopping", slog.Any("err", err))
	return errors.Join(err, n.stop(ctx, t, clients, broker, store))
}

// doubtShare is how often, in a ttl, a primary looks whether it can still be sure
// to be the one.
const doubtShare = 50

// watchDoubt stops what no client acknowledges while the last proof that nobody
// has taken over is too old. It returns what ends it.
func (n *node) watchDoubt(t *ha.Tenure, broker *core.Broker) (stop func()) {
	if !n.boot.HA.Enabled {
		return func() {}
	}
	return every(n.boot.HA.TTL/doubtShare, func() { broker.Doubt(!t.Fresh()) })
}

// every calls f once in an interval, until stop is called, which waits for it.
func every(interval time.Duration, f func()) (stop func()) {
	done := make(chan struct{})
	var watch sync.WaitGroup
	watch.Go(func() {
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				f()
			}
		}
	})
	return func() {
		close(done)
		watch.Wait()
	}
}

// storeOptions are what follows from the configuration and the directory.
func (n *node) storeOptions(c *Config, id [16]byte, shared bool) persistence.Options {
	opt := persistence.Options{
		Dir: c.Data, Node: c.Node, StoreID: id, Logger: n.log,
		SegmentSize: c.Store.SegmentSize, CheckpointEvery: c.Store.CheckpointEvery, CheckpointBytes: c.Store.CheckpointBytes,
	}
	if shared {
		opt.Files = persistence.FreshFiles()
	}
	return opt
}

// openStore opens the store under the tenure's epoch, and goes on from what this
// node has followed. Its errors are about the data directory.
func (n *node) openStore(ctx context.Context, t *ha.Tenure) (*persistence.Store, error) {
	free, err := n.cfg.watermarks()
	if err != nil {
		return nil, storeError(ctx, err)
	}
	opt := n.storeOptions(n.cfg, t.StoreID(), t.Shared())
	opt.Epoch, opt.Guard, opt.NameSegment, opt.Promised = t.Epoch(), n.fenced(t), t.NameSegment, t.Promised
	opt.FreeLow, opt.FreeHigh, opt.FreeFull = free.low, free.high, free.full
	opt.Salvage = n.cfg.Store.Salvage
	if src, ok := t.Source(); ok {
		history := sourceOf(src)
		if !history.Time.IsZero() { // the broker's clock has gone on while nobody served
			history.Time = history.Time.Add(src.Silence)
		}
		opt.Source = &history
	}
	opt.Follower = n.takeFollower()
	store, err := persistence.Open(ctx, opt)
	if err != nil {
		return nil, storeError(ctx, err)
	}
	return store, nil
}

// storeError gives an error of opening the store its exit code, unless it has
// one or is about ctx.
func storeError(ctx context.Context, err error) error {
	if stopped(ctx, err) || codeOf(err) != exitFailure {
		return err
	}
	return &exitError{exitData, err} // serve adds what to do about a full disk
}

// waitingLimits are what may wait for an MQTT session.
func waitingLimits(cfg *Config) core.WaitingLimits {
	w := core.WaitingLimits{Messages: cfg.MQTT.SessionMaxMessages, Bytes: cfg.MQTT.SessionMaxBytes}
	if cfg.MQTT.SessionOverflow == refuseNew {
		w.Overflow = core.RejectPublish
	}
	return w
}

// openBroker opens the engine and makes the epoch primary. From then on this
// node's journal is history.
func (n *node) openBroker(ctx context.Context, t *ha.Tenure, store *persistence.Store) (*core.Broker, error) {
	broker, err := core.Open(ctx, store, core.Options{
		Epoch: uint32(t.Epoch()), MemoryBudget: n.cfg.Memory.Budget, Subscriptions: n.cfg.MQTT.MaxSubscriptions, Logger: n.log,
		CompilePattern: auth.PolicyPatterns(n.log), Events: n.cfg.eventsVHost(), Node: n.cfg.Node, GiveWay: listen.GiveWay, Waiting: waitingLimits(n.cfg),
	})
	if err != nil {
		return nil, storeError(ctx, err)
	}
	err = failpoint.At(failpoint.TakeoverOpened)
	if err == nil {
		err = t.Activate(convertSeals[ha.Seal](store.Lineage()))
	}
	if err == nil {
		err = failpoint.At(failpoint.TakeoverActivated)
	}
	if err == nil {
		err = t.Guard() // this process may have been stopped since: then its addresses stay shut
	}
	if err != nil {
		broker.Close()
		return nil, fmt.Errorf("become the primary: %w", err)
	}
	t.Clock(store.Now())
	store.Activated()
	return broker, nil
}

// seal is what both ha and persistence know as an epoch's end; neither imports
// the other.
type seal interface {
	~struct{ Epoch, Offset uint64 }
}

func convertSeals[To, From seal](from []From) []To {
	to := make([]To, len(from))
	for i, s := range from {
		to[i] = To(s)
	}
	return to
}

// cut ends the service without goodbyes: this node may not speak for the store
// any more. It waits for nobody, since the process ends. The error, which says
// itself what failed, ends the process; reason is what /readyz answers until then.
func (n *node) cut(clients *frontEnds, epoch uint64, reason string, err error) error {
	clients.cut()
	n.enter(admin.State{Role: admin.RoleStopping, Epoch: epoch, Reason: reason})
	return &exitError{exitLost, err}
}

// stop ends the service in order: no further connection, goodbyes, the journal
// complete behind the last record, the lease released, and then the rest.
func (n *node) stop(ctx context.Context, t *ha.Tenure, clients *frontEnds, broker *core.Broker, store *persistence.Store) error {
	n.enter(admin.State{Role: admin.RoleStopping, Epoch: t.Epoch(), Reason: "the broker is stopping"})
	n.log.Info("stopping")
	late := fmt.Errorf("the stop took longer than stop_timeout (%v)", n.cfg.StopTimeout)
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), n.cfg.StopTimeout, late)
	defer cancel()
	hung := time.NewTimer(n.cfg.StopTimeout + storeStopTimeout)
	defer hung.Stop()

	done := make(chan error, 1)
	go func() { done <- n.stopOrderly(ctx, t, clients, broker, store) }()
	select {
	case err := <-done:
		return err
	case <-hung.C: // the disk hangs: the process ends under it
		return fmt.Errorf("%w, and the store is still not closed", late)
	case <-t.Lost():
		return n.cut(clients, t.Epoch(), "the lease was lost", t.Err())
	}
}

// stopOrderly closes the store also behind clients that had to be cut. The lease is
// released as soon as the journal is complete and nothing can follow in it: nobody
// else reads this node's index, so a successor does not wait for that.
func (n *node) stopOrderly(ctx context.Context, t *ha.Tenure, clients *frontEnds, broker *core.Broker, store *persistence.Store) error {
	begun := time.Now()
	broker.Drain()
	late := clients.stop(ctx)
	left := time.Now()
	broker.Close()
	if err := store.Finish(); err != nil {
		return &exitError{exitLost, fmt.Errorf("close the store: %w", err)}
	}
	finished := time.Now()
	if err := t.Release(); err != nil {
		return &exitError{exitLost, err}
	}
	released := time.Now()
	if err := store.Close(); err != nil { // the next start reads more of the journal, or all of it
		n.log.Warn("the index is not up to date", slog.Any("err", err))
	}
	n.log.Info("store closed", slog.Duration("clients", left.Sub(begun)), slog.Duration("journal", finished.Sub(left)),
		slog.Duration("release", released.Sub(finished)), slog.Duration("index", time.Since(released)))
	return late
}
