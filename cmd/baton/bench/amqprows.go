package bench

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
)

const (
	// confirmWindow is how many messages a producer has unconfirmed, confirmPrefetch
	// how many a consumer has unacknowledged, and ackTogether how many of them it
	// acknowledges at once.
	confirmWindow   = 1000
	confirmPrefetch = 500
	ackTogether     = 50
	// manyPairs are the producers and consumers of the rows with several queues.
	manyPairs = 10
	// manyPublishers publish one message at a time.
	manyPublishers = 50
	// fanOutQueues are bound to one exchange in the fan-out row.
	fanOutQueues = 50
)

// amqpLoad is a stream over AMQP: producers, what they publish through, and consumers.
type amqpLoad struct {
	size     int
	durable  bool // queues, and messages are persistent
	confirm  confirmMode
	ackEvery int // see consumeSpec
	behind   int // see consumeSpec; needs confirms
	pairs    int // producers, each with a queue and a consumer of its own
	topology topology
}

func amqpRows(o Options) []row {
	small, kilo, hundred := cmp.Or(o.Size, 12), cmp.Or(o.Size, 1024), cmp.Or(o.Size, 100)
	durable := amqpLoad{size: kilo, durable: true, confirm: confirmStream, ackEvery: ackTogether, pairs: 1}
	written, each := durable, durable
	written.behind = confirmWindow
	each.ackEvery = 1
	many := func(l amqpLoad) amqpLoad {
		l.pairs = manyPairs
		return l
	}
	return []row{
		amqpLoad{size: small, pairs: 1}.row("a1-12", "transient, automatic acks"),
		amqpLoad{size: kilo, pairs: 1}.row("a1-1k", "transient, automatic acks"),
		written.row("a2-written", "durable, confirms, consumer a window behind"),
		durable.row("a2-elided", "durable, confirms, ack every 50"),
		each.row("a2-each", "durable, confirms, ack each"),
		many(written).row("a3-written", "as a2-written, 10 queues, 10 + 10 clients"),
		many(durable).row("a3-elided", "as a2-elided, 10 queues, 10 + 10 clients"),
		latencyRow("a4-1", 1, kilo),
		latencyRow("a4-50", manyPublishers, kilo),
		backlogRow(o.Backlog, kilo),
		amqpLoad{size: hundred, pairs: 1, topology: fanOutTo(fanOutQueues)}.row("a6", "fan-out to 50 queues, per delivery"),
		topicRow(o.Bindings, hundred),
	}
}

func (l amqpLoad) row(name, about string) row {
	ln := line{name: name, about: about, size: l.size}
	if l.topology != nil {
		ln.count = countDeliveries
	}
	return single(ln, overAMQP, l.run)
}

// run declares what the load goes through, runs it and deletes all of it again.
func (l amqpLoad) run(ctx context.Context, r *run) (fig Figures, err error) {
	routes, undo, err := l.declare(ctx, r)
	defer func() { err = errors.Join(firstCause(ctx, err), undo()) }()
	if err != nil {
		return Figures{}, err
	}
	return l.stream(ctx, r, routes)
}

// stream measures the load over routes that are there.
func (l amqpLoad) stream(ctx context.Context, r *run, routes []route) (Figures, error) {
	var lanes []lane
	for _, to := range routes {
		ln, err := l.lane(ctx, r, to, r.MaxMessages/int64(len(routes)))
		if err != nil {
			return Figures{}, closeLanes(lanes, err)
		}
		lanes = append(lanes, ln)
	}
	return r.stream(ctx, lanes)
}

// lane connects those who use a route.
func (l amqpLoad) lane(ctx context.Context, r *run, to route, total int64) (lane, error) {
	b := bounds{backlog: max(1, backlog/to.copies()), copies: to.copies(), total: total}
	if l.confirm == confirmStream {
		b.window = confirmWindow
	}
	ln := lane{flow: newFlow(b), batch: batchOf(l.size)}
	for _, queues := range to.queues {
		s := consumeSpec{queues: queues, ackEvery: l.ackEvery, behind: l.behind, bodySize: l.size, many: len(to.queues) > 1}
		if l.ackEvery > 0 {
			s.prefetch = confirmPrefetch
		}
		c, err := r.on.amqp.consumer(ctx, s)
		if err != nil {
			return lane{}, errors.Join(err, ln.close())
		}
		ln.consumers = append(ln.consumers, c)
		if l.behind > 0 {
			ln.confirmed = c.confirmed
		}
	}
	m := message{exchange: to.exchange, keys: to.keys, body: randomBody(l.size), persistent: l.durable}
	p, err := r.on.amqp.producer(ctx, m, l.confirm)
	if err != nil {
		return lane{}, errors.Join(err, ln.close())
	}
	ln.producers = []streamProducer{p}
	return ln, nil
}

// backlogRow fills a durable queue that nobody consumes, and drains it.
func backlogRow(messages, size int) row {
	l := amqpLoad{size: size, durable: true, confirm: confirmStream, ackEvery: ackTogether, pairs: 1}
	return row{
		name: "a5", needs: overAMQP, messages: 2 * messages,
		lines: []line{
			{name: "a5-fill", about: fmt.Sprintf("%d durable without consumer, confirms", messages), size: size},
			{name: "a5-drain", about: "the same, consumed, ack every 50", size: size},
		},
		run: func(ctx context.Context, r *run) ([]Figures, error) { return l.fillAndDrain(ctx, r, int64(messages)) },
	}
}

func (l amqpLoad) fillAndDrain(ctx context.Context, r *run, n int64) (figures []Figures, err error) {
	routes, undo, err := l.declare(ctx, r)
	defer func() { err = errors.Join(firstCause(ctx, err), undo()) }()
	if err != nil {
		return nil, err
	}
	to := routes[0]
	m := message{keys: to.keys, body: randomBody(l.size), persistent: true}
	p, err := r.on.amqp.producer(ctx, m, l.confirm)
	if err != nil {
		return nil, err
	}
	confirmed := func(c counts) int64 { return c.confirmed }
	fill := lane{
		flow:      newFlow(bounds{window: confirmWindow, total: n, until: func(c counts) bool { return c.confirmed >= n }}),
		producers: []streamProducer{p}, batch: batchOf(l.size),
	}
	filled, err := r.exhaust(ctx, fill, confirmed, false)
	if err != nil {
		return nil, err
	}
	c, err := r.on.amqp.consumer(ctx, consumeSpec{queues: to.queues[0], ackEvery: l.ackEvery, prefetch: confirmPrefetch, bodySize: l.size})
	if err != nil {
		return nil, err
	}
	delivered := func(c counts) int64 { return c.delivered }
	drain := lane{flow: newFlow(bounds{until: func(c counts) bool { return c.delivered >= n }}), consumers: []consumer{c}}
	drained, err := r.exhaust(ctx, drain, delivered, false)
	return []Figures{filled, drained}, err
}

// unique is a name that nobody else uses.
func unique() string { return "baton-bench-" + rand.Text() }
