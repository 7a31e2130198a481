package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/ha"
	admin "github.com/batonmq/baton/protocols/http"
	"github.com/batonmq/baton/protocols/mqtt/remote"
)

// startBridges starts those that are configured, and ends what others have left. It comes
// before clients: what they publish is collected from the first message on.
func (f *frontEnds) startBridges(ctx context.Context, n *node, broker *core.Broker, t *ha.Tenure) error {
	var vhosts []string
	for _, v := range broker.Access().VHosts() {
		vhosts = append(vhosts, v.Name)
	}
	configured := func(vhost, name string) bool { return n.cfg.bridge(name).VHost == vhost }
	if err := remote.Retire(ctx, broker, vhosts, configured, n.log); err != nil {
		n.log.Error("what a bridge has left could not be ended", slog.Any("err", err))
	}
	for _, b := range n.cfg.Bridges {
		opt, err := b.options()
		if err != nil {
			return &exitError{exitUsage, fmt.Errorf("%s.%s: %w", bridgesKey, b.name, err)}
		}
		opt.Broker, opt.Log, opt.MaxPacketSize = broker, n.log, uint32(n.cfg.MQTT.MaxPacketSize)
		if opt.ClientID == "" {
			opt.ClientID = clientIDOf(t.StoreID(), b.name)
		}
		if b.plainly() {
			n.log.Warn("the bridge's password can be read on its way: its address is without TLS", slog.String("bridge", b.name))
		}
		bridge, err := remote.Start(ctx, opt)
		if err != nil {
			return &exitError{exitUsage, err}
		}
		f.bridges = append(f.bridges, bridge)
	}
	return nil
}

// cutBridges ends them without a word.
func (f *frontEnds) cutBridges() {
	for _, b := range f.bridges {
		b.Cut()
	}
}

// stopBridges ends them in order, or when ctx ends at once.
func (f *frontEnds) stopBridges(ctx context.Context) {
	var leaving sync.WaitGroup
	for _, b := range f.bridges {
		leaving.Go(func() { b.Stop(ctx) })
	}
	leaving.Wait()
}

// bridgeStats are for the metrics.
func (f *frontEnds) bridgeStats() (all []admin.BridgeStats) {
	for _, b := range f.bridges {
		s := b.Stats()
		all = append(all, admin.BridgeStats{
			Name: s.Name, Connected: s.Connected, Waiting: s.Waiting, ConnectsTotal: s.Connects,
			SentTotal: s.Sent[0] + s.Sent[1] + s.Sent[2], ReceivedTotal: s.Received[0] + s.Received[1] + s.Received[2], DroppedTotal: s.Dropped,
		})
	}
	return all
}
