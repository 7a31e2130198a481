package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// mqttWindow is how many messages above QoS 0 a publisher has under way.
	mqttWindow = 1000
	// mqttMany are the subscribers of the fan-out rows, and the publishers of the
	// fan-in row.
	mqttMany = 200
	// fanOutBacklog bounds the deliveries under way to many subscribers.
	fanOutBacklog = 100_000
	// fanInTurn is how many messages each of many publishers writes at once, and
	// has under way on the average.
	fanInTurn = 20
	// dropWait is how long nothing must arrive before messages of QoS 0 that are
	// under way count as dropped.
	dropWait = 200 * time.Millisecond
)

// mqttLoad is a stream over MQTT.
type mqttLoad struct {
	qos         byte
	size        int
	publishers  int
	subscribers int
	persistent  bool // the subscribers' sessions
}

func mqttRows(o Options) []row {
	size := cmp.Or(o.Size, 64)
	one := func(qos byte) mqttLoad { return mqttLoad{qos: qos, size: size, publishers: 1, subscribers: 1} }
	session := func(l mqttLoad) mqttLoad {
		l.persistent = true
		return l
	}
	fanOut := func(qos byte) mqttLoad { return mqttLoad{qos: qos, size: size, publishers: 1, subscribers: mqttMany} }
	return []row{
		one(0).row("m1", "QoS 0, 1 to 1"),
		one(1).row("m2-clean", "QoS 1, window 1000, clean session"),
		session(one(1)).row("m2-session", "QoS 1, window 1000, persistent session"),
		one(2).row("m3-clean", "QoS 2, window 1000, clean session"),
		session(one(2)).row("m3-session", "QoS 2, window 1000, persistent session"),
		fanOut(0).row("m4-qos0", "QoS 0, 1 to 200, per delivery"),
		fanOut(1).row("m4-qos1", "QoS 1, 1 to 200, per delivery"),
		session(fanOut(1)).row("m4-session", "QoS 1, 1 to 200 persistent sessions, per delivery"),
		mqttLoad{qos: 1, size: size, publishers: mqttMany, subscribers: 1}.row("m5", "QoS 1, 200 to 1, clean session"),
		offlineRow(o.Offline, size),
		silentRow(o.Connections),
		pacedRow(o.PerSecond, size),
	}
}

func (l mqttLoad) row(name, about string) row {
	ln := line{name: name, about: about, size: l.size}
	if l.subscribers > 1 {
		ln.count = countDeliveries
	}
	return single(ln, overMQTT, l.run)
}

func (l mqttLoad) run(ctx context.Context, r *run) (fig Figures, err error) {
	name := unique()
	if l.persistent {
		defer func() {
			for i := range l.subscribers {
				// Also after ctx has ended.
				err = errors.Join(err, r.on.mqtt.forget(context.WithoutCancel(ctx), clientID(name, i)))
			}
		}()
	}
	ln, err := l.lane(ctx, r, name)
	if err != nil {
		return Figures{}, errors.Join(err, ln.close())
	}
	if l.qos == 0 {
		defer giveUpWhenStuck(ln.flow)()
	}
	return r.stream(ctx, []lane{ln})
}

// lane connects the load's clients; it is to be closed also after an error.
func (l mqttLoad) lane(ctx context.Context, r *run, name string) (lane, error) {
	m := mqttMessage{topic: name + "/load", qos: l.qos, body: randomBody(l.size)}
	ln := lane{flow: newFlow(bounds{}), batch: batchOf(l.size)}
	for i := range l.subscribers {
		sub, err := r.on.mqtt.subscriber(ctx, clientID(name, i), m.topic, l.qos, l.persistent, bufferAmong(l.subscribers))
		if err != nil {
			return ln, err
		}
		ln.consumers = append(ln.consumers, sub)
	}
	b := bounds{backlog: min(backlog, fanOutBacklog/l.subscribers), copies: l.subscribers, total: r.MaxMessages}
	if l.qos > 0 {
		b.window = mqttWindow
	}
	if l.publishers > 1 {
		ln.batch, b.window = fanInTurn, fanInTurn*l.publishers
	}
	for i := range l.publishers {
		pub, err := r.on.mqtt.publisher(ctx, fmt.Sprintf("%s-p%d", name, i), m, bufferAmong(l.publishers))
		if err != nil {
			return ln, err
		}
		// Publishers share the window, so that it may be in the hands of one.
		b.window = min(b.window, pub.receiveMaximum)
		ln.producers = append(ln.producers, pub)
	}
	ln.flow = newFlow(b)
	return ln, nil
}

// bufferAmong is the read buffer of each of n connections.
func bufferAmong(n int) int {
	if n > 1 {
		return mqttSmallBuffer
	}
	return mqttBuffer
}

func clientID(name string, i int) string { return fmt.Sprintf("%s-%d", name, i) }

// giveUpWhenStuck lets the flow go on whenever messages were dropped, until stop.
func giveUpWhenStuck(f *flow) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(dropWait)
		defer tick.Stop()
		var last counts
		for {
			select {
			case <-tick.C:
				last = f.giveUp(last)
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}

// offlineRow publishes to a session that is offline, which then comes back.
func offlineRow(messages, size int) row {
	return row{
		name: "m6", needs: overMQTT, messages: 2 * messages,
		lines: []line{
			{name: "m6-queue", about: fmt.Sprintf("%d of QoS 1 for an offline session", messages), size: size},
			{name: "m6-replay", about: "the same, when it is back", size: size},
		},
		run: func(ctx context.Context, r *run) ([]Figures, error) { return offline(ctx, r, int64(messages), size) },
	}
}

func offline(ctx context.Context, r *run, n int64, size int) (figures []Figures, err error) {
	cl, name := r.on.mqtt, unique()
	m := mqttMessage{topic: name + "/load", qos: 1, body: randomBody(size)}
	id := clientID(name, 0)
	defer func() { err = errors.Join(err, cl.forget(context.WithoutCancel(ctx), id)) }()
	sub, err := cl.subscriber(ctx, id, m.topic, 1, true, mqttBuffer)
	if err != nil {
		return nil, err
	}
	if err := sub.disconnect(); err != nil {
		return nil, fmt.Errorf("disconnect session %s: %w", id, err)
	}
	pub, err := cl.publisher(ctx, name, m, mqttBuffer)
	if err != nil {
		return nil, err
	}
	queue := lane{
		flow: newFlow(bounds{
			window: min(mqttWindow, pub.receiveMaximum), total: n,
			until: func(c counts) bool { return c.confirmed >= n },
		}),
		producers: []streamProducer{pub}, batch: batchOf(size),
	}
	queued, err := r.exhaust(ctx, queue, func(c counts) int64 { return c.confirmed }, false)
	if err != nil {
		return nil, err
	}
	back, err := cl.dial(ctx, id, false, true, mqttBuffer)
	if err != nil {
		return nil, err
	}
	replay := lane{
		flow:      newFlow(bounds{until: func(c counts) bool { return c.delivered >= n }}),
		consumers: []consumer{&mqttSubscriber{mqttConn: back}},
	}
	replayed, err := r.exhaust(ctx, replay, func(c counts) int64 { return c.delivered }, true)
	replayed.Dropped = n - replay.flow.snapshot().delivered
	return []Figures{queued, replayed}, err
}

// silentRow opens connections that stay silent: what one costs, and what its CONNECT does.
func silentRow(connections int) row {
	l := line{name: "m7", about: "silent connections", count: countConnections}
	w := single(l, overMQTT, func(ctx context.Context, r *run) (Figures, error) {
		return silent(ctx, r, connections)
	})
	w.messages = 10 * connections // brokers take their time for a CONNECT
	return w
}

// silentSettle is how long after their CONNECTs the memory of silent connections is read
// at most.
const silentSettle = 2 * time.Second

func silent(ctx context.Context, r *run, connections int) (Figures, error) {
	if err := allowFiles(connections); err != nil {
		return Figures{}, err
	}
	f := &fleet{client: r.on.mqtt, name: unique(), conns: make([]*mqttConn, connections)}
	f.client.keepAlive = 300
	defer f.close()
	before := residentOf(r.on.PID)
	p, start := startProbe(r.on.PID), time.Now()
	err := f.each(ctx, f.open)
	fig := newFigures(int64(connections), time.Since(start), p.stop())
	if err == nil {
		err = pause(ctx, min(silentSettle, r.Duration), nil)
	}
	fig.Resident = residentOf(r.on.PID).per(before, connections)
	return fig, err
}
