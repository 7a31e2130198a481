package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// Reasons for the end of a connection that are not the far broker's.
var (
	errStopping = errors.New("the broker is stopping")
	errCut      = errors.New("the connection was cut by the broker")
	errStore    = errors.New("the store has failed")
	errTryAgain = errors.New("the far broker does not know bridges")
	errSilent   = errors.New("the far broker is silent")
)

const (
	// connectTimeout is how long the far broker may take from the first byte of the
	// connection to its CONNACK.
	connectTimeout = 30 * time.Second

	// drainTimeout is how long a goodbye may take.
	drainTimeout = time.Second

	// prepareTimeout is how long Start waits until the rules are on record.
	prepareTimeout = 10 * time.Second

	queuePrefix = "mqtt-bridge-"

	// namePrefix begins the names of the bridges' subscribers. No client identifier
	// has a NUL (section 1.5.4).
	namePrefix = "bridge\x00"
)

// What is said at Options.Notify.
const (
	connected    = "1"
	disconnected = "0"
)

// A Bridge carries messages to a far broker and back, until Stop or Cut.
type Bridge struct {
	opt    Options
	log    *slog.Logger
	cancel context.CancelCauseFunc
	done   chan struct{} // closed when run has ended
	noBit  bool          // the far broker does not know the bridge's bit; owned by run
	asked  bool          // the far broker has had the subscriptions of this life; owned by run
	fresh  []fresh

	mu   sync.Mutex
	conn *conn // nil: there is none

	count counters
}

// fresh is a subscription for which what is retained is still to be sent: up to a place,
// from which on it collects what is published. Zero is all there is.
type fresh struct {
	core.SubscriptionSpec
	upto core.Seq
}

// isFresh reports whether what is retained is still to be sent for a subscription.
func (b *Bridge) isFresh(spec core.SubscriptionSpec) bool {
	return slices.ContainsFunc(b.fresh, func(f fresh) bool { return f.Key == spec.Key })
}

// Start lets the bridge's rules collect, and connects. ctx is for the former alone: the
// bridge ends with Stop or Cut.
func Start(ctx context.Context, opt Options) (*Bridge, error) {
	opt.setDefaults()
	if err := opt.Validate(); err != nil {
		return nil, fmt.Errorf("bridge %s: %w", opt.Name, err)
	}
	b := &Bridge{opt: opt, log: opt.Log.With(slog.String("bridge", opt.Name)), done: make(chan struct{})}
	prepare, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	if err := b.prepare(prepare); err != nil { // as on a full disk: each connection tries it again
		b.log.Error("the bridge's rules are not on record yet", slog.Any("err", err))
	}
	run, stop := context.WithCancelCause(context.WithoutCancel(ctx))
	b.cancel = stop
	go func() { // Stop waits for it
		defer close(b.done)
		b.run(run)
	}()
	return b, nil
}

// Stop ends the bridge in order, and returns when it has ended or ctx has: then it was
// cut.
func (b *Bridge) Stop(ctx context.Context) {
	b.cancel(errStopping)
	select {
	case <-b.done:
	case <-ctx.Done():
		b.Cut()
		<-b.done
	}
}

// Cut ends the bridge at once, and waits for nothing.
func (b *Bridge) Cut() {
	b.cancel(errCut)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.conn != nil {
		_ = b.conn.nc.Close()
	}
}

// prepare has the rules on record, so that what they carry out is collected from now on.
func (b *Bridge) prepare(ctx context.Context) error {
	session, err := b.attach(core.SessionOptions{})
	if err != nil {
		return err
	}
	defer session.Close()
	_, err = b.link(ctx, session, nil, 0)
	return err
}

func (b *Bridge) attach(opt core.SessionOptions) (*core.Session, error) {
	opt.Conn = "bridge " + b.opt.Name
	return b.opt.Broker.Attach(b.opt.VHost, opt)
}

// nobody is the receiver of a link that is not started.
type nobody struct{}

func (nobody) Ready() bool                                   { return false }
func (nobody) Push(*core.Message, *core.Match)               {}
func (nobody) Send(*core.Message, uint16, *core.Match, bool) {}
func (nobody) Release(uint16)                                {}
func (nobody) TakenOver()                                    {}

// link links the session to the bridge's subscriber, and brings its subscriptions in line
// with the rules. New ones are added to b.fresh: what is retained is still to be sent for
// them.
func (b *Bridge) link(ctx context.Context, session *core.Session, r core.SubscriberReceiver, window int) (*core.Link, error) {
	if r == nil {
		r = nobody{}
	}
	link, _, err := session.Subscriber(ctx, core.SubscriberSpec{
		Name: namePrefix + b.opt.Name, Queue: queuePrefix + b.opt.Name, Expiry: core.Forever, Window: window, Receiver: r,
	})
	if err != nil {
		return nil, err
	}
	want := map[string]core.SubscriptionSpec{}
	for i := range b.opt.Topics {
		if t := &b.opt.Topics[i]; t.Direction&Out != 0 {
			spec := subscription(t)
			spec.Level = max(spec.Level, want[spec.Key].Level)
			want[spec.Key] = spec
		}
	}
	var gone []core.Filter
	for _, has := range link.Subscriptions() {
		switch spec, ok := want[has.Key]; {
		case !ok:
			gone = append(gone, core.Filter{Key: has.Key})
		case spec.Level == has.Level:
			delete(want, has.Key)
		}
	}
	if len(gone) > 0 {
		if _, err := link.Unsubscribe(ctx, gone); err != nil {
			return nil, err
		}
	}
	if len(want) == 0 {
		return link, nil
	}
	var specs []core.SubscriptionSpec
	for _, spec := range want {
		specs = append(specs, spec)
	}
	results, err := link.Subscribe(ctx, specs)
	for i := range results { // also where it has failed: some are there, and no later link finds them to be new
		if results[i].Err == nil {
			b.fresh = append(b.fresh, fresh{specs[i], results[i].Retained})
			continue
		}
		err = errors.Join(err, fmt.Errorf("collect what a rule carries out: %w", results[i].Err))
	}
	if err != nil {
		return nil, err
	}
	return link, nil
}

// subscription is what a rule asks the engine for.
func subscription(t *Topic) core.SubscriptionSpec {
	key, _ := bridge.Pattern(t.local()) // was looked at when the rule was
	return core.SubscriptionSpec{
		Key: key, Level: core.Level(t.QoS), NoLocal: true, AsPublished: true, NoSystem: bridge.LeadingWildcard(t.local()),
	}
}

// run is the bridge's life: one connection after another.
func (b *Bridge) run(ctx context.Context) {
	if !wait(ctx, b.opt.StartDelay) {
		return
	}
	retry := b.opt.RetryMin
	for {
		begin := time.Now()
		up, err := b.connect(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errTryAgain):
			continue
		case up && time.Since(begin) >= b.opt.RetryMax: // one that ends at once, as for a message that is not taken, does not count
			retry = b.opt.RetryMin
		}
		pause := retry/2 + rand.N(retry/2+1) // so that many bridges do not come back at once
		b.log.Warn("bridge disconnected", slog.Any("err", err), slog.Duration("retry", pause))
		if !wait(ctx, pause) {
			return
		}
		retry = min(2*retry, b.opt.RetryMax)
	}
}

// wait waits, and reports false if ctx has ended first.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// connect tries the addresses in turn and serves the first that answers. up says that
// there was a connection.
func (b *Bridge) connect(ctx context.Context) (up bool, err error) {
	var errs []error
	for _, address := range b.opt.Addresses {
		nc, err := b.dial(ctx, address)
		if err == nil {
			up, err = b.serve(ctx, nc, address)
			if up || errors.Is(err, errTryAgain) || ctx.Err() != nil {
				return up, err
			}
		}
		errs = append(errs, fmt.Errorf("%s: %w", address, err))
	}
	return false, errors.Join(errs...)
}

func (b *Bridge) dial(ctx context.Context, address string) (net.Conn, error) {
	hostPort, secure, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	nc, err := b.opt.Dial(ctx, "tcp", hostPort)
	if err != nil || !secure {
		return nc, err
	}
	cfg := &tls.Config{MinVersion: tls.VersionTLS12}
	if b.opt.TLS != nil {
		cfg = b.opt.TLS.Clone()
	}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(hostPort)
	}
	over := tls.Client(nc, cfg)
	if err := over.HandshakeContext(ctx); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return over, nil
}

// serve is the life of a connection.
func (b *Bridge) serve(ctx context.Context, nc net.Conn, address string) (up bool, err error) {
	c := newConn(b, nc, address)
	b.mu.Lock()
	b.conn = c
	b.mu.Unlock()
	defer func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.conn = nil
	}()
	return c.serve(ctx)
}

// Retire ends the subscribers of bridges that are not configured any more, given by vhost
// and name, and says what they leave behind.
func Retire(ctx context.Context, broker *core.Broker, vhosts []string, configured func(vhost, name string) bool, log *slog.Logger) error {
	for _, vhost := range vhosts {
		for s := range broker.Subscribers(vhost) {
			name, ok := strings.CutPrefix(s, namePrefix)
			if !ok || configured(vhost, name) {
				continue
			}
			info, _ := broker.SubscriberInfo(vhost, s)
			log.Warn("the bridge is not configured any more: what waited for it is dropped",
				slog.String("bridge", name), slog.String("vhost", vhost), slog.Int("messages", info.Waiting))
			session, err := broker.Attach(vhost, core.SessionOptions{Conn: "bridge " + name})
			if err != nil {
				return err
			}
			_, _, err = session.Subscriber(ctx, core.SubscriberSpec{Name: s, Queue: queuePrefix + name, Fresh: true, Receiver: nobody{}})
			session.Close() // which ends it: it does not outlive its link
			if err != nil {
				return fmt.Errorf("end what bridge %s has left: %w", name, err)
			}
		}
	}
	return nil
}

// Stats is a snapshot of what a Bridge does and did. Sums are since Start.
type Stats struct {
	Name      string
	Connected bool
	Waiting   int // messages to be carried out, those on their way included

	Connects uint64    // connections that were accepted
	Sent     [3]uint64 // by QoS, those sent again included
	Received [3]uint64
	Dropped  uint64 // refused by a broker, too large, or without a place in the rules
}

type counters struct {
	connects, dropped atomic.Uint64
	sent, received    [3]atomic.Uint64
	up                atomic.Bool
}

// Stats counts.
func (b *Bridge) Stats() Stats {
	info, _ := b.opt.Broker.SubscriberInfo(b.opt.VHost, namePrefix+b.opt.Name)
	s := Stats{Name: b.opt.Name, Connected: b.count.up.Load(), Waiting: info.Waiting, Connects: b.count.connects.Load(), Dropped: b.count.dropped.Load()}
	for qos := range s.Sent {
		s.Sent[qos], s.Received[qos] = b.count.sent[qos].Load(), b.count.received[qos].Load()
	}
	return s
}

// protocol names what the bridge speaks, as "MQTT 3-1-1".
func protocol(v wire.Version) string { return "MQTT " + strings.ReplaceAll(v.String(), ".", "-") }
