package mqtt

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// The $SYS tree: what the broker tells about itself, under Mosquitto's names. It
// is no part of what is published. A value goes to those who have subscribed to
// it when they do, as if it were retained, and when it has changed, every
// Options.SystemInterval; it waits for nobody and is nowhere on record.

const (
	systemWord   = "$SYS"
	systemPrefix = systemWord + "/broker/"

	// freshValues is how old values may be that a new subscriber is told.
	freshValues = time.Second
)

// errSystemTopic is why a publication is dropped.
var errSystemTopic = errors.New("topics that begin with $SYS are the broker's own")

// isSystem reports that the routing key is one of the broker's own.
func isSystem(key string) bool {
	rest, ok := strings.CutPrefix(key, systemWord)
	return ok && (rest == "" || rest[0] == '.')
}

// loadAverages are over so many minutes, each.
var loadAverages = [...]float64{1, 5, 15}

// system is what is told, and what it is made of.
type system struct {
	mu      sync.Mutex
	values  map[string]string // by topic, behind systemPrefix; never changed once it is complete
	told    map[string]string // those that were announced last
	sampled time.Time
	last    map[string]uint64                      // what loads are counted from
	loads   map[string]*[len(loadAverages)]float64 // a minute
	maximum int                                    // of connections at once
}

// Announce tells the $SYS tree until ctx ends. Where nobody has subscribed to it
// nothing is counted.
func (s *Server) Announce(ctx context.Context) {
	if s.opt.SystemInterval == 0 {
		return
	}
	tick := time.NewTicker(s.opt.SystemInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.announce()
		}
	}
}

// announce tells what has changed.
func (s *Server) announce() {
	s.system.note(s.conns.Counts().Open)
	vhosts := s.opt.Broker.Awaits(systemWord)
	if len(vhosts) == 0 {
		return
	}
	now := s.sample(0)
	told := s.system.tell(now)
	for name, value := range now {
		if told[name] == value {
			continue
		}
		m := systemMessage(name, value)
		for _, vhost := range vhosts {
			s.opt.Broker.Tell(vhost, m)
		}
	}
}

// note keeps the highest number of connections.
func (y *system) note(open int) {
	y.mu.Lock()
	defer y.mu.Unlock()
	y.maximum = max(y.maximum, open)
}

// greet tells a client that has subscribed what matches.
func (c *conn) greet(filter string, spec *core.SubscriptionSpec) {
	if c.srv.opt.SystemInterval == 0 || !isSystem(spec.Key) {
		return
	}
	for name, value := range c.srv.sample(freshValues) {
		if bridge.Match(filter, systemPrefix+name) {
			c.Push(systemMessage(name, value), &core.Match{Retain: true, ID: spec.ID})
		}
	}
}

func systemMessage(name, value string) *core.Message {
	return &core.Message{
		Exchange: core.TopicExchange, Key: bridge.Key(systemPrefix + name),
		Props: bridge.Block(0, false, &wire.PublishProperties{}), Body: []byte(value),
	}
}

// tell notes the values that are told to all, and returns those that were before.
func (y *system) tell(now map[string]string) (before map[string]string) {
	y.mu.Lock()
	defer y.mu.Unlock()
	before, y.told = y.told, now
	return before
}

// sample returns the values as they are now or were a short time ago. Nobody
// changes them.
func (s *Server) sample(fresh time.Duration) map[string]string {
	y := &s.system
	y.mu.Lock()
	defer y.mu.Unlock()
	at := time.Now()
	passed := at.Sub(y.sampled)
	if y.values != nil && passed < fresh {
		return y.values
	}
	y.values = map[string]string{
		"version": "baton version " + s.opt.Version,
		"uptime":  fmt.Sprintf("%d seconds", int64(at.Sub(s.start)/time.Second)),
	}
	counts := s.totals(y)
	if y.last != nil {
		y.average(counts, passed)
	}
	y.last, y.sampled = counts, at
	for name, loads := range y.loads {
		for i, minutes := range loadAverages {
			y.values[fmt.Sprintf("load/%s/%.0fmin", name, minutes)] = strconv.FormatFloat(loads[i], 'f', 2, 64)
		}
	}
	return y.values
}

// totals puts what is counted into the values, and returns what loads are made
// of. y.mu is held.
func (s *Server) totals(y *system) map[string]uint64 {
	own, broker := s.Stats(), s.opt.Broker.Stats()
	y.maximum = max(y.maximum, own.Connections)
	away := max(0, broker.Subscribers-own.Connections)
	for name, n := range map[string]int{
		"clients/connected":       own.Connections,
		"clients/disconnected":    away,
		"clients/total":           own.Connections + away,
		"clients/maximum":         y.maximum,
		"clients/expired":         int(broker.Lapsed),
		"subscriptions/count":     broker.Subscriptions,
		"retained messages/count": broker.Retained,
		"messages/stored":         broker.Ready + broker.Unsettled + broker.Retained + broker.Delayed,
		"store/messages/count":    broker.Ready + broker.Unsettled + broker.Retained + broker.Delayed,
	} {
		y.values[name] = strconv.Itoa(n)
	}
	received, sent := sum(own.Received), sum(own.Delivered)
	dropped := broker.Dropped + own.TooLarge
	for name, n := range map[string]uint64{
		"messages/received":         received,
		"messages/sent":             sent,
		"publish/messages/received": received,
		"publish/messages/sent":     sent,
		"publish/messages/dropped":  dropped,
		"bytes/received":            own.BytesRead,
		"bytes/sent":                own.BytesWritten,
	} {
		y.values[name] = strconv.FormatUint(n, 10)
	}
	return map[string]uint64{
		"messages/received": received, "messages/sent": sent,
		"publish/received": received, "publish/sent": sent, "publish/dropped": dropped,
		"bytes/received": own.BytesRead, "bytes/sent": own.BytesWritten,
		"connections": own.ConnectionsOpened, "sockets": own.ConnectionsOpened,
	}
}

// average brings the loads up to date: exponentially weighted, as Mosquitto's
// and those of a Unix system are. mu is held.
func (y *system) average(counts map[string]uint64, passed time.Duration) {
	if y.loads == nil {
		y.loads = make(map[string]*[len(loadAverages)]float64, len(counts))
		for name := range counts {
			y.loads[name] = new([len(loadAverages)]float64)
		}
	}
	minutes := passed.Minutes()
	for name, n := range counts {
		rate := float64(n-min(n, y.last[name])) / minutes
		for i, over := range loadAverages {
			weight := math.Exp(-minutes / over)
			y.loads[name][i] = weight*y.loads[name][i] + (1-weight)*rate
		}
	}
}

func sum(by [3]uint64) uint64 { return by[0] + by[1] + by[2] }
