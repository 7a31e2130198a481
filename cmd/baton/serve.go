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
	"github.com/batonmq/baton/protocols/amqp091"
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
	if err := openDataDir(cfg.Data); err != nil {
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
	open, err := listen.Open(ctx, "amqp", n.cfg.AMQP.Listen)
	for _, ln := range open {
		_ = ln.Close() // nothing was accepted on it
	}
	return err
}

// stopped reports an error that says no more than that ctx has ended.
func stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, context.Cause(ctx)))
}

// follow is this node's life as a standby: dark, until ctx ends.
func (n *node) follow(ctx context.Context) error {
	n.log.Info("standing by: another broker is the primary")
	n.health.Set(admin.State{Role: admin.RoleStandby, Reason: "another broker is the primary"})
	<-ctx.Done()
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
	amqp, err := n.openAMQP(ctx, broker)
	if err != nil {
		broker.Close()
		return errors.Join(err, store.Close())
	}
	n.live.set(broker, amqp)
	n.health.Set(admin.State{Role: admin.RolePrimary, Epoch: t.Epoch()})
	n.log.Info("Server startup complete", slog.Uint64("epoch", t.Epoch()), slog.Duration("took", time.Since(n.begin)))

	select {
	case <-ctx.Done():
		// An end of the tenure ends ctx too, and forbids goodbyes.
		if err := t.Err(); err != nil {
			return n.cut(amqp, t.Epoch(), "the lease was lost", err)
		}
		return n.stop(ctx, t, amqp, broker, store)
	case <-t.Lost():
		return n.cut(amqp, t.Epoch(), "the lease was lost", t.Err())
	case <-broker.Failed():
		return n.cut(amqp, t.Epoch(), "the store failed", broker.Err())
	case err := <-amqp.failed():
		n.log.Error("stopping", slog.Any("err", err))
		return errors.Join(err, n.stop(ctx, t, amqp, broker, store))
	}
}

// openStore opens the store under the tenure's epoch. Its errors are about the
// data directory.
func (n *node) openStore(ctx context.Context, t *ha.Tenure) (*persistence.Store, error) {
	cfg := &n.cfg.Store
	opt := persistence.Options{
		Dir: n.cfg.Data, Node: n.cfg.Node, StoreID: t.StoreID(), Epoch: t.Epoch(),
		Guard: t.Guard, NameSegment: t.NameSegment, Promised: t.Promised,
		Logger:   n.log,
		LowSpace: cfg.LowSpace, FullSpace: cfg.FullSpace, SegmentSize: cfg.SegmentSize,
		CheckpointEvery: cfg.CheckpointEvery, CheckpointBytes: cfg.CheckpointBytes,
	}
	if src, ok := t.Source(); ok {
		opt.Source = &persistence.Source{
			Epoch: src.Epoch, Lineage: convertSeals[persistence.Seal](src.Lineage),
			Segment: src.HighestSegment, Promised: src.Promised, Time: src.BrokerTime,
		}
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
		Epoch: uint32(t.Epoch()), MemoryBudget: n.cfg.Memory.Budget, Logger: n.log,
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

// amqpService is the AMQP server and its listener; both are nil where it is off.
type amqpService struct {
	server   *amqp091.Server
	listener *listen.Listener
}

func (n *node) openAMQP(ctx context.Context, broker *core.Broker) (amqpService, error) {
	cfg := &n.cfg.AMQP
	if len(cfg.Listen) == 0 {
		return amqpService{}, nil
	}
	users, err := n.cfg.authenticator()
	if err != nil {
		return amqpService{}, err
	}
	heartbeat := cfg.Heartbeat
	if heartbeat == 0 {
		heartbeat = -1 // none; its zero is the default
	}
	server, err := amqp091.New(amqp091.Options{
		Broker: broker, Auth: users, Log: n.log,
		FrameMax: cfg.FrameMax, ChannelMax: cfg.ChannelMax, MaxMessageSize: cfg.MaxMessageSize,
		Heartbeat: heartbeat, HandshakeTimeout: cfg.HandshakeTimeout,
	})
	if err != nil {
		return amqpService{}, &exitError{exitUsage, err}
	}
	listener, err := listen.Start(ctx, listen.Options{
		Name: "amqp", Addresses: cfg.Listen, Handler: server.Serve,
		MaxConns: cfg.MaxConnections, HandshakeTimeout: cfg.HandshakeTimeout, Log: n.log,
	})
	if err != nil {
		return amqpService{}, err
	}
	return amqpService{server, listener}, nil
}

// failed is never ready where the front-end is off.
func (s amqpService) failed() <-chan error {
	if s.listener == nil {
		return nil
	}
	return s.listener.Failed()
}

// cut ends the service without goodbyes: this node may not speak for the store
// any more. It waits for nobody, since the process ends. The error, which says
// itself what failed, ends the process; reason is what /readyz answers until then.
func (n *node) cut(amqp amqpService, epoch uint64, reason string, err error) error {
	if amqp.listener != nil {
		amqp.listener.CloseAll()
	}
	n.health.Set(admin.State{Role: admin.RoleStopping, Epoch: epoch, Reason: reason})
	return &exitError{exitLost, err}
}

// stop ends the service in order: no further connection, goodbyes, and the store
// closed behind the last record. ha.Run releases the lease after it.
func (n *node) stop(ctx context.Context, t *ha.Tenure, amqp amqpService, broker *core.Broker, store *persistence.Store) error {
	n.health.Set(admin.State{Role: admin.RoleStopping, Epoch: t.Epoch(), Reason: "the broker is stopping"})
	n.log.Info("stopping")
	late := fmt.Errorf("the stop took longer than stop_timeout (%v)", n.cfg.StopTimeout)
	ctx, cancel := context.WithTimeoutCause(context.WithoutCancel(ctx), n.cfg.StopTimeout, late)
	defer cancel()
	hung := time.NewTimer(n.cfg.StopTimeout + storeStopTimeout)
	defer hung.Stop()

	done := make(chan error, 1)
	go func() { done <- stopOrderly(ctx, amqp, broker, store) }()
	select {
	case err := <-done:
		return err
	case <-hung.C: // the disk hangs: the process ends under it
		return fmt.Errorf("%w, and the store is still not closed", late)
	case <-t.Lost():
		return n.cut(amqp, t.Epoch(), "the lease was lost", t.Err())
	}
}

// stopOrderly closes the store also behind clients that had to be cut.
func stopOrderly(ctx context.Context, amqp amqpService, broker *core.Broker, store *persistence.Store) error {
	broker.Drain()
	late := amqp.stop(ctx)
	broker.Close()
	if err := store.Close(); err != nil {
		return &exitError{exitLost, fmt.Errorf("close the store: %w", err)}
	}
	return late
}

// stop lets clients leave until ctx ends, then cuts them and returns an error.
func (s amqpService) stop(ctx context.Context) error {
	if s.listener == nil {
		return nil
	}
	err := s.listener.Stop(ctx)
	if err == nil {
		return nil
	}
	s.listener.CloseAll()
	// A handler whose connection was cut has nothing left to wait for.
	return errors.Join(err, s.listener.Stop(context.WithoutCancel(ctx)))
}
