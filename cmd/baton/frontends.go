package main

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"strings"
	"sync"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/protocols/amqp091"
	"github.com/batonmq/baton/protocols/http/api"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt"
	"github.com/batonmq/baton/protocols/mqtt/remote"
)

// frontEnds are the protocol servers, their listeners, and who decides whom they
// let in. A server whose addresses are all off is nil.
type frontEnds struct {
	admission *admission
	amqp091   *amqp091.Server
	mqtt      *mqtt.Server

	compatible string // the version of RabbitMQ that clients are told

	announcing sync.WaitGroup     // of the $SYS tree
	hush       context.CancelFunc // ends that; nil: there is none

	listeners []*clientListener
	bridges   []*remote.Bridge
	first     chan error // receives the error of the first listener that cannot go on
	over      chan struct{}
}

// A clientListener is one that is open.
type clientListener struct {
	*listen.Listener
	entrance *entrance
}

// An entrance is a way in for clients: the addresses that speak one protocol,
// over one transport.
type entrance struct {
	scheme    string // of URLs; it is the listener's name
	protocol  string // as RabbitMQ's API calls it
	addresses []string
	alpn      string // empty: without TLS
	sockets   []string
	mode      fs.FileMode // of the sockets
}

// off reports that it leads nowhere.
func (e *entrance) off() bool { return len(e.addresses)+len(e.sockets) == 0 }

// probe opens what the entrance would, and closes it again.
func (e *entrance) probe(ctx context.Context) error {
	open, err := listen.Open(ctx, e.scheme, e.addresses)
	for i := 0; err == nil && i < len(e.sockets); i++ {
		var ln net.Listener
		if ln, err = listen.OpenSocket(ctx, e.scheme, e.sockets[i], e.mode); err == nil {
			open = append(open, ln)
		}
	}
	for _, ln := range open {
		_ = ln.Close() // nothing was accepted on it
	}
	return err
}

// entrances are all there are, those that are off included.
func (c *Config) entrances() []entrance {
	return []entrance{
		{scheme: "amqp", protocol: "amqp", addresses: c.AMQP.Listen, sockets: c.AMQP.Sockets, mode: c.AMQP.SocketMode},
		{scheme: "amqps", protocol: "amqp/ssl", addresses: c.AMQP.TLSListen, alpn: "amqp"},
		{scheme: "mqtt", protocol: "mqtt", addresses: c.MQTT.Listen, sockets: c.MQTT.Sockets, mode: c.MQTT.SocketMode},
		{scheme: "mqtts", protocol: "mqtt/ssl", addresses: c.MQTT.TLSListen, alpn: "mqtt"},
		{scheme: "ws", protocol: "http/web-mqtt", addresses: c.MQTT.WebSocket},
		{scheme: "wss", protocol: "https/web-mqtt", addresses: c.MQTT.WebSocketTLS, alpn: "http/1.1"},
	}
}

// openFrontEnds lets clients in, by all protocols or by none.
func (n *node) openFrontEnds(ctx context.Context, broker *core.Broker, t *ha.Tenure) (*frontEnds, error) {
	if err := n.cfg.loadDefinitions(ctx, broker, n.log); err != nil {
		return nil, err
	}
	if err := n.cfg.seed(ctx, broker.Access(), n.log); err != nil {
		return nil, err
	}
	f := &frontEnds{compatible: n.cfg.AMQP.Version, first: make(chan error, 1), over: make(chan struct{})}
	var err error
	if f.admission, err = n.cfg.openAdmission(broker, n.doors.rate, n.log); err != nil {
		return nil, &exitError{exitUsage, err}
	}
	err = f.serveAMQP(n, broker)
	if err == nil {
		err = f.serveMQTT(n, broker, t)
	}
	if err == nil {
		err = f.startBridges(ctx, n, broker, t)
	}
	if err == nil {
		err = f.open(ctx, n)
	}
	if err != nil {
		f.cut()
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *frontEnds) serveAMQP(n *node, broker *core.Broker) (err error) {
	cfg := &n.cfg.AMQP
	if len(cfg.Listen)+len(cfg.TLSListen)+len(cfg.Sockets) == 0 {
		return nil
	}
	heartbeat := cfg.Heartbeat
	if heartbeat == 0 {
		heartbeat = -1 // none; its zero is the default
	}
	f.amqp091, err = amqp091.New(amqp091.Options{
		Broker: broker, Auth: f.admission.auth, LoginFailed: n.doors.rate.RecordFailure, Log: n.log,
		FrameMax: cfg.FrameMax, ChannelMax: cfg.ChannelMax, MaxMessageSize: cfg.MaxMessageSize,
		Rates: n.doors.rates, Heartbeat: heartbeat, HandshakeTimeout: cfg.HandshakeTimeout,
		ConsumerTimeout: cfg.ConsumerTimeout, Product: cfg.Product, Version: cfg.Version, ClusterName: cmp.Or(n.boot.ClusterName, n.boot.Node),
	})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

func (f *frontEnds) serveMQTT(n *node, broker *core.Broker, t *ha.Tenure) (err error) {
	cfg := &n.cfg.MQTT
	if len(cfg.Listen)+len(cfg.TLSListen)+len(cfg.WebSocket)+len(cfg.WebSocketTLS)+len(cfg.Sockets) == 0 {
		return nil
	}
	aliases := int(cfg.TopicAliasMaximum)
	if aliases == 0 {
		aliases = -1 // none; its zero is the default
	}
	qos := cfg.MaxQoS
	if qos == 0 {
		qos = -1 // likewise
	}
	f.mqtt, err = mqtt.New(mqtt.Options{
		Broker: broker, Auth: f.admission.auth, LoginFailed: n.doors.rate.RecordFailure, Log: n.log,
		Anonymous: f.admission.anonymous, AnonymousAnywhere: cfg.Anonymous && cfg.AnonymousFrom == fromAnywhere,
		KeepUnauthorized: !cfg.DisconnectOnUnauthorized, Rates: n.doors.rates,
		MaxPacketSize: uint32(cfg.MaxPacketSize), ReceiveMaximum: cfg.ReceiveMaximum, TopicAliasMaximum: aliases,
		Elsewhere:   func(tls, webSocket bool) string { return serverReference(broker, t, tls, webSocket) },
		MaxClientID: cfg.MaxClientID, MaxKeepAlive: cfg.MaxKeepAlive, MaxSessionExpiry: cfg.MaxSessionExpiry, HandshakeTimeout: cfg.HandshakeTimeout,
		MaximumQoS: qos, NoRetain: !cfg.RetainAvailable, NoWildcards: !cfg.WildcardsAvailable, NoSubscriptionIDs: !cfg.SubscriptionIDsAvailable,
		NoShared:  !cfg.SharedAvailable,
		SCRAM:     f.admission.scram,
		NoDelayed: !cfg.Delayed, SystemInterval: cfg.SysInterval, Version: version(), CheckPayloadFormat: cfg.CheckPayloadFormat, ResponseInformation: cfg.ResponseInformation,
		Redirect: cfg.ServerReference, Moved: cfg.ServerMoved, MountPoint: mountPointOf(cfg.MountPoints),
	})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

// open opens the addresses, the servers being there.
func (f *frontEnds) open(ctx context.Context, n *node) error {
	var plain []string
	for _, e := range n.cfg.entrances() {
		if e.off() {
			continue
		}
		opt := listen.Options{
			Name: e.scheme, Addresses: e.addresses, Sockets: e.sockets, SocketMode: e.mode, Log: n.log, Budget: n.doors.budget, Rate: n.doors.rate,
			MaxConns: n.cfg.MQTT.MaxConnections, HandshakeTimeout: n.cfg.MQTT.HandshakeTimeout,
			Proxy: n.cfg.Proxy.of(e.scheme),
		}
		switch e.scheme {
		case "amqp", "amqps":
			opt.Handler, opt.MaxConns, opt.HandshakeTimeout = f.amqp091.Serve, n.cfg.AMQP.MaxConnections, n.cfg.AMQP.HandshakeTimeout
		case "mqtt", "mqtts":
			opt.Start = f.mqtt.Start
		default:
			opt.Start = f.mqtt.StartWebSocket
		}
		if e.alpn != "" {
			opt.TLS, opt.ALPN = n.doors.tls, []string{e.alpn}
		} else if !allLoopback(e.addresses) {
			plain = append(plain, e.scheme)
		}
		l, err := listen.Start(ctx, opt)
		if err != nil {
			return err
		}
		f.listeners = append(f.listeners, &clientListener{l, &e})
		go f.report(l)
	}
	if f.mqtt != nil {
		f.announce(ctx)
	}
	if len(plain) > 0 {
		n.log.Info("passwords can be read on the way to these listeners, which are without TLS", slog.Any("listeners", plain))
	}
	return nil
}

// announce has MQTT clients told about the broker until Close.
func (f *frontEnds) announce(ctx context.Context) {
	ctx, f.hush = context.WithCancel(context.WithoutCancel(ctx))
	f.announcing.Go(func() { f.mqtt.Announce(ctx) })
}

// report passes on that a listener cannot go on.
func (f *frontEnds) report(l *listen.Listener) {
	select {
	case err := <-l.Failed():
		select {
		case f.first <- err:
		default: // another one was first
		}
	case <-f.over:
	}
}

// failed receives the error of the first listener that cannot go on.
func (f *frontEnds) failed() <-chan error { return f.first }

// Close ends what was started for the listeners, but not these themselves: cut or
// stop come first.
func (f *frontEnds) Close() {
	close(f.over)
	if f.hush != nil {
		f.hush()
		f.announcing.Wait()
	}
	f.admission.Close()
}

// serverReference is where MQTT clients find the node that takes over. While this one goes on, as in maintenance, that is nowhere.
func serverReference(b *core.Broker, t *ha.Tenure, tls, webSocket bool) string {
	select {
	case <-b.Draining():
	default:
		return ""
	}
	next, ok := t.Successor()
	if !ok {
		return ""
	}
	scheme := "mqtt"
	if webSocket {
		scheme = "ws"
	}
	if tls {
		scheme += "s"
	}
	return strings.Join(reachedBy(next.Advertise, scheme), " ")
}

// addrs are the open addresses, for the management API.
func (f *frontEnds) addrs() []api.Listener {
	var all []api.Listener
	for _, l := range f.listeners {
		for _, a := range l.Addrs() {
			all = append(all, api.Listener{Protocol: l.entrance.protocol, Addr: a, TLS: l.entrance.alpn != ""})
		}
	}
	return all
}

// refused is how many connections the listeners have closed at once.
func (f *frontEnds) refused() (n uint64) {
	for _, l := range f.listeners {
		s := l.Stats()
		n += s.Refused + s.OverBudget + s.TooOften + s.Unnamed
	}
	return n
}

// cut closes every connection without a word.
func (f *frontEnds) cut() {
	f.cutBridges()
	for _, l := range f.listeners {
		l.CloseAll()
	}
}

// stop lets clients leave until ctx ends, then cuts them and returns an error.
func (f *frontEnds) stop(ctx context.Context) error {
	errs := make([]error, len(f.listeners))
	var leaving sync.WaitGroup
	leaving.Go(func() { f.stopBridges(ctx) })
	for i, l := range f.listeners {
		leaving.Go(func() { errs[i] = l.leave(ctx) })
	}
	leaving.Wait()
	return errors.Join(errs...)
}

func (l *clientListener) leave(ctx context.Context) error {
	err := l.Stop(ctx)
	if err == nil {
		return nil
	}
	l.CloseAll()
	// A handler whose connection was cut has nothing left to wait for.
	return errors.Join(err, l.Stop(context.WithoutCancel(ctx)))
}

// primary is what the management API is about: nil unless this node serves.
func (n *node) primary() *api.Primary {
	parts := n.live.parts.Load()
	if parts == nil {
		return nil
	}
	return &api.Primary{
		Broker: parts.broker, Auth: parts.clients.admission.auth, Listeners: parts.clients.addrs(),
		Compatible:         parts.clients.compatible,
		Account:            parts.clients.admission.account,
		SetMemoryWatermark: n.memory.order,
		Sampler:            parts.sampler,
		Maintain:           parts.drain.order,
		Maintenance:        parts.drain.state,
	}
}
