package main

import (
	"context"
	"errors"
	"strings"
	"sync"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/protocols/amqp091"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt"
)

// frontEnds are the protocol servers and their listeners. Those that are off are
// zero. MQTT has one server behind two listeners.
type frontEnds struct {
	amqp091 *amqp091.Server
	mqtt    *mqtt.Server

	amqp, mqttTCP, webSocket listener
}

// A listener is one that may be off.
type listener struct{ on *listen.Listener }

// openFrontEnds lets clients in, by all protocols or by none.
func (n *node) openFrontEnds(ctx context.Context, broker *core.Broker, t *ha.Tenure) (*frontEnds, error) {
	users, err := n.cfg.authenticator()
	if err != nil {
		return nil, err
	}
	f := new(frontEnds)
	err = f.openAMQP(ctx, n, broker, users)
	if err == nil {
		err = f.openMQTT(ctx, n, broker, users, t)
	}
	if err != nil {
		f.cut()
		return nil, err
	}
	return f, nil
}

func (f *frontEnds) openAMQP(ctx context.Context, n *node, broker *core.Broker, users auth.Authenticator) (err error) {
	cfg := &n.cfg.AMQP
	if len(cfg.Listen) == 0 {
		return nil
	}
	heartbeat := cfg.Heartbeat
	if heartbeat == 0 {
		heartbeat = -1 // none; its zero is the default
	}
	f.amqp091, err = amqp091.New(amqp091.Options{
		Broker: broker, Auth: users, Log: n.log,
		FrameMax: cfg.FrameMax, ChannelMax: cfg.ChannelMax, MaxMessageSize: cfg.MaxMessageSize,
		Heartbeat: heartbeat, HandshakeTimeout: cfg.HandshakeTimeout,
	})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	f.amqp, err = openListener(ctx, listen.Options{
		Name: "amqp", Addresses: cfg.Listen, Handler: f.amqp091.Serve,
		MaxConns: cfg.MaxConnections, HandshakeTimeout: cfg.HandshakeTimeout, Log: n.log,
	})
	return err
}

func (f *frontEnds) openMQTT(ctx context.Context, n *node, broker *core.Broker, users auth.Authenticator, t *ha.Tenure) (err error) {
	cfg := &n.cfg.MQTT
	if len(cfg.Listen) == 0 && len(cfg.WebSocket) == 0 {
		return nil
	}
	aliases := int(cfg.TopicAliasMaximum)
	if aliases == 0 {
		aliases = -1 // none; its zero is the default
	}
	f.mqtt, err = mqtt.New(mqtt.Options{
		Broker: broker, Auth: users, Log: n.log, Anonymous: cfg.Anonymous,
		MaxPacketSize: uint32(cfg.MaxPacketSize), ReceiveMaximum: cfg.ReceiveMaximum, TopicAliasMaximum: aliases,
		Elsewhere:    func(webSocket bool) string { return serverReference(t, webSocket) },
		MaxKeepAlive: cfg.MaxKeepAlive, MaxSessionExpiry: cfg.MaxSessionExpiry, HandshakeTimeout: cfg.HandshakeTimeout,
	})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	opt := listen.Options{MaxConns: cfg.MaxConnections, HandshakeTimeout: cfg.HandshakeTimeout, Log: n.log}
	opt.Name, opt.Addresses, opt.Handler = "mqtt", cfg.Listen, f.mqtt.Serve
	if f.mqttTCP, err = openListener(ctx, opt); err != nil {
		return err
	}
	opt.Name, opt.Addresses, opt.Handler = "ws", cfg.WebSocket, f.mqtt.ServeWebSocket
	f.webSocket, err = openListener(ctx, opt)
	return err
}

// serverReference is where MQTT clients find the node that would take over now.
func serverReference(t *ha.Tenure, webSocket bool) string {
	next, ok := t.Successor()
	if !ok {
		return ""
	}
	scheme := "mqtt"
	if webSocket {
		scheme = "ws"
	}
	return strings.Join(reachedBy(next.Advertise, scheme), " ")
}

// clientAddresses are those that openFrontEnds opens, and the names under which
// it does.
func (c *Config) clientAddresses() []listen.Options {
	return []listen.Options{
		{Name: "amqp", Addresses: c.AMQP.Listen}, {Name: "mqtt", Addresses: c.MQTT.Listen}, {Name: "ws", Addresses: c.MQTT.WebSocket},
	}
}

func (f *frontEnds) listeners() []listener { return []listener{f.amqp, f.mqttTCP, f.webSocket} }

// cut closes every connection without a word.
func (f *frontEnds) cut() {
	for _, l := range f.listeners() {
		if l.on != nil {
			l.on.CloseAll()
		}
	}
}

// stop lets clients leave until ctx ends, then cuts them and returns an error.
func (f *frontEnds) stop(ctx context.Context) error {
	listeners := f.listeners()
	errs := make([]error, len(listeners))
	var leaving sync.WaitGroup
	for i, l := range listeners {
		leaving.Go(func() { errs[i] = l.stop(ctx) })
	}
	leaving.Wait()
	return errors.Join(errs...)
}

// openListener leaves the listener off where there is no address.
func openListener(ctx context.Context, opt listen.Options) (l listener, err error) {
	if len(opt.Addresses) > 0 {
		l.on, err = listen.Start(ctx, opt)
	}
	return l, err
}

// failed is never ready where the listener is off.
func (l listener) failed() <-chan error {
	if l.on == nil {
		return nil
	}
	return l.on.Failed()
}

func (l listener) refused() uint64 {
	if l.on == nil {
		return 0
	}
	return l.on.Stats().Refused
}

func (l listener) stop(ctx context.Context) error {
	if l.on == nil {
		return nil
	}
	err := l.on.Stop(ctx)
	if err == nil {
		return nil
	}
	l.on.CloseAll()
	// A handler whose connection was cut has nothing left to wait for.
	return errors.Join(err, l.on.Stop(context.WithoutCancel(ctx)))
}
