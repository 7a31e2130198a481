package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/persistence"
	admin "github.com/batonmq/baton/protocols/http"
	"github.com/batonmq/baton/protocols/listen"
)

// storeStopTimeout is how long the store may take to close once clients are gone.
const storeStopTimeout = 10 * time.Second

// adminStopTimeout is how long requests on the admin port may go on once the
// broker is down: they are short, or nobody waits for them any more.
const adminStopTimeout = time.Second

// node is one process that serves, or waits to.
type node struct {
	cfg    *Config
	log    *slog.Logger
	begin  time.Time
	health admin.Health
	live   liveStats
}

// serve runs a node until ctx ends, and returns nil for an orderly end.
func serve(ctx context.Context, cfg *Config, log *slog.Logger) error {
	n := &node{cfg: cfg, log: log, begin: time.Now()}
	log.Info("starting", slog.String("version", version()), slog.String("node", cfg.Node), slog.String("data", cfg.Data))
	for _, name := range cfg.ignored {
		log.Warn("environment variable names no setting", slog.String("variable", name))
	}
	if err := openDataDir(cfg.Data, n.checkSpace); err != nil {
		return &exitError{exitData, err}
	}
	server, err := admin.Start(ctx, admin.Options{
		Admin: cfg.Admin.Listen, Metrics: cfg.Metrics.Listen,
		Health: &n.health, Stats: n.stats, Node: cfg.Node, Version: version(), Log: log,
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
	err = ha.Run(ctx, ha.Options{
		Dir: cfg.Data, Node: cfg.Node, Standby: cfg.HA.Enabled, TTL: cfg.HA.TTL, Logger: log,
	}, n.follow, n.active)
	if stopped(ctx, err) {
		err = nil // asked to stop before there was anything to stop
	}
	if err == nil {
		log.Info("stopped")
	}
	return dirError(cfg.Data, err)
}

// probeAddresses opens the clients' addresses and closes them again: an address
// that cannot be opened is found before an epoch is claimed for nothing, as it
// would be at each try of a supervisor. A node that may stand by does not: its
// addresses stay dark, and may be the primary's own until that has ended.
func (n *node) probeAddresses(ctx context.Context) error {
	if n.cfg.HA.Enabled {
		return nil
	}
	for _, l := range n.cfg.clientAddresses() {
		open, err := listen.Open(ctx, l.Name, l.Addresses)
		for _, ln := range open {
			_ = ln.Close() // nothing was accepted on it
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// stopped reports an error that says no more than that ctx has ended.
func stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

// follow is this node's life as a standby: dark, until ctx ends.
func (n *node) follow(ctx context.Context, _ *ha.Standby) error {
	n.log.Info("standing by: another broker is the primary")
	n.health.Set(admin.State{Role: admin.RoleStandby, Reason: "another broker is the primary"})
	<-ctx.Done()
	if errors.Is(context.Cause(ctx), errSignal) {
		return nil
	}
	return n.checkSpace() // it is our turn, and an epoch would be spent for nothing
}

// checkSpace refuses what openStore would refuse, before an epoch is claimed for it.
func (n *node) checkSpace() error {
	if _, err := n.cfg.watermarks(); err != nil {
		return &exitError{exitData, err}
	}
	err := persistence.CheckSpace(persistence.Options{Dir: n.cfg.Data, SegmentSize: n.cfg.Store.SegmentSize, Logger: n.log})
	if err != nil {
		return &exitError{exitData, err}
	}
	return nil
}

// active is this node's life as primary: it ends with an orderly stop, or with
// the error that ended it.
func (n *node) active(ctx context.Context, t *ha.Tenure) error {
	n.health.Set(admin.State{Role: admin.RoleStarting, Epoch: t.Epoch(), Reason: "the store is being opened"})
	store, err := n.openStore(ctx, t)
	if err != nil {
		return err
	}
	broker, err := n.openBroker(ctx, t, store)
	if err != nil {
		return errors.Join(err, store.Close())
	}
	clients, err := n.openFrontEnds(ctx, broker)
	if err != nil {
		broker.Close()
		return errors.Join(err, store.Close())
	}
	n.live.set(broker, store, clients)
	n.health.Doubt(func() string { return stalled(store) })
	n.health.Set(admin.State{Role: admin.RolePrimary, Epoch: t.Epoch()})
	n.log.Info("Server startup complete", slog.Uint64("epoch", t.Epoch()), slog.Duration("took", time.Since(n.begin)))

	select {
	case <-ctx.Done():
		// An end of the tenure ends ctx too, and forbids goodbyes.
		if err := t.Err(); err != nil {
			return n.cut(clients, t.Epoch(), "the lease was lost", err)
		}
		return n.stop(ctx, t, clients, broker, store)
	case <-t.Lost():
		return n.cut(clients, t.Epoch(), "the lease was lost", t.Err())
	case <-broker.Failed():
		return n.cut(clients, t.Epoch(), "the store failed", broker.Err())
	case err = <-clients.amqp.failed():
	case err = <-clients.mqttTCP.failed():
	case err = <-clients.webSocket.failed():
	}
	n.log.Error("stopping", slog.Any("err", err))
	return errors.Join(err, n.stop(ctx, t, clients, broker, store))
}

// openStore opens the store under the tenure's epoch. Its errors are about the
// data directory.
func (n *node) openStore(ctx context.Context, t *ha.Tenure) (*persistence.Store, error) {
	cfg := &n.cfg.Store
	free, err := n.cfg.watermarks()
	if err != nil {
		return nil, storeError(ctx, err)
	}
	opt := persistence.Options{
		Dir: n.cfg.Data, Node: n.cfg.Node, StoreID: t.StoreID(), Epoch: t.Epoch(),
		Guard: t.Guard, NameSegment: t.NameSegment, Promised: t.Promised,
		Logger: n.log, Salvage: cfg.Salvage,
		FreeLow: free.low, FreeHigh: free.high, FreeFull: free.full, SegmentSize: cfg.SegmentSize,
		CheckpointEvery: cfg.CheckpointEvery, CheckpointBytes: cfg.CheckpointBytes,
	}
	if src, ok := t.Source(); ok {
		history := sourceOf(src)
		opt.Source = &history
	}
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

// openBroker opens the engine and makes the epoch primary. From then on this
// node's journal is history.
func (n *node) openBroker(ctx context.Context, t *ha.Tenure, store *persistence.Store) (*core.Broker, error) {
	broker, err := core.Open(ctx, store, core.Options{
		Epoch: uint32(t.Epoch()), MemoryBudget: n.cfg.Memory.Budget, Subscriptions: n.cfg.MQTT.MaxSubscriptions, Logger: n.log,
	})
	if err != nil {
		return nil, storeError(ctx, err)
	}
	if err := t.Activate(convertSeals[ha.Seal](store.Lineage())); err != nil {
		broker.Close()
		return nil, fmt.Errorf("become the primary: %w", err)
	}
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
	n.health.Set(admin.State{Role: admin.RoleStopping, Epoch: epoch, Reason: reason})
	return &exitError{exitLost, err}
}

// stop ends the service in order: no further connection, goodbyes, and the store
// closed behind the last record. ha.Run releases the lease after it.
func (n *node) stop(ctx context.Context, t *ha.Tenure, clients *frontEnds, broker *core.Broker, store *persistence.Store) error {
	n.health.Set(admin.State{Role: admin.RoleStopping, Epoch: t.Epoch(), Reason: "the broker is stopping"})
	n.log.Info("stopping")
	late := fmt.Errorf("the stop took longer than stop_timeout (%v)", n.cfg.StopTimeout)
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), n.cfg.StopTimeout, late)
	defer cancel()
	hung := time.NewTimer(n.cfg.StopTimeout + storeStopTimeout)
	defer hung.Stop()

	done := make(chan error, 1)
	go func() { done <- stopOrderly(ctx, clients, broker, store) }()
	select {
	case err := <-done:
		return err
	case <-hung.C: // the disk hangs: the process ends under it
		return fmt.Errorf("%w, and the store is still not closed", late)
	case <-t.Lost():
		return n.cut(clients, t.Epoch(), "the lease was lost", t.Err())
	}
}

// stopOrderly closes the store also behind clients that had to be cut.
func stopOrderly(ctx context.Context, clients *frontEnds, broker *core.Broker, store *persistence.Store) error {
	broker.Drain()
	late := clients.stop(ctx)
	broker.Close()
	if err := store.Close(); err != nil {
		return &exitError{exitLost, fmt.Errorf("close the store: %w", err)}
	}
	return late
}
