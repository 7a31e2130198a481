package bench

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// route is the way of one producer's messages.
type route struct {
	exchange string
	keys     []string   // routing keys, of one length, used in turn
	queues   [][]string // of each consumer
	fan      int        // deliveries of each message; 0 means 1
}

func (r route) copies() int { return max(r.fan, 1) }

// topology declares what a load goes through and returns the routes; what it declared
// is deleted by undo, also after an error.
type topology func(ctx context.Context, r *run, l amqpLoad) (routes []route, undo func() error, err error)

// declare makes a queue for each pair, which the default exchange feeds, or what the
// load's topology makes instead.
func (l amqpLoad) declare(ctx context.Context, r *run) (routes []route, undo func() error, err error) {
	if l.topology != nil {
		return l.topology(ctx, r, l)
	}
	queues := names(l.pairs)
	for _, q := range queues {
		routes = append(routes, route{keys: []string{q}, queues: [][]string{{q}}})
	}
	err = declareQueues(r.on.AMQP, queues, l.durable)
	return routes, func() error { return remove(r.on.AMQP, "", queues) }, err
}

// names are n of one length, so that messages to any of them are.
func names(n int) []string {
	prefix := unique()
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%06d", prefix, i)
	}
	return all
}

// fanOutTo has a fan-out exchange feed n queues with a consumer each.
func fanOutTo(n int) topology {
	return func(_ context.Context, r *run, l amqpLoad) ([]route, func() error, error) {
		queues, exchange := names(n), unique()
		to := route{exchange: exchange, keys: []string{""}, fan: n}
		for _, q := range queues {
			to.queues = append(to.queues, []string{q})
		}
		err := declareQueues(r.on.AMQP, queues, l.durable)
		if err == nil {
			err = withChannel(r.on.AMQP, func(ch *amqp.Channel) error {
				if err := ch.ExchangeDeclare(exchange, amqp.ExchangeFanout, l.durable, false, false, false, nil); err != nil {
					return fmt.Errorf("declare exchange %s: %w", exchange, err)
				}
				for _, q := range queues {
					if err := ch.QueueBind(q, "", exchange, false, nil); err != nil {
						return fmt.Errorf("bind queue %s: %w", q, err)
					}
				}
				return nil
			})
		}
		return []route{to}, func() error { return remove(r.on.AMQP, exchange, queues) }, err
	}
}

// topicRow declares bindings of one transient queue to a topic exchange, all different,
// and publishes messages that match one each.
func topicRow(bindings, size int) row {
	return row{
		name: "a7", needs: overAMQP, messages: bindings,
		lines: []line{
			{name: "a7-bind", about: fmt.Sprintf("%d topic bindings of a transient queue, no-wait", bindings), count: countBindings},
			{name: "a7-route", about: fmt.Sprintf("topic exchange with %d bindings, one matches", bindings), size: size},
		},
		run: func(ctx context.Context, r *run) ([]Figures, error) {
			var bound Figures
			l := amqpLoad{size: size, pairs: 1, topology: topicBindings(bindings, &bound)}
			routed, err := l.run(ctx, r)
			return []Figures{bound, routed}, err
		},
	}
}

// topicBindings binds a queue n times as dev.N.*.temp, and fills bound with what that took.
func topicBindings(n int, bound *Figures) topology {
	return func(ctx context.Context, r *run, l amqpLoad) ([]route, func() error, error) {
		queue, exchange := unique(), unique()
		undo := func() error { return remove(r.on.AMQP, exchange, []string{queue}) }
		err := declareQueues(r.on.AMQP, []string{queue}, l.durable)
		if err == nil {
			err = withChannel(r.on.AMQP, func(ch *amqp.Channel) error {
				return ch.ExchangeDeclare(exchange, amqp.ExchangeTopic, l.durable, false, false, false, nil)
			})
		}
		if err != nil {
			return nil, undo, fmt.Errorf("declare a topic exchange: %w", err)
		}
		patterns, to := make([]string, n), route{exchange: exchange, keys: make([]string, n), queues: [][]string{{queue}}}
		for i := range n {
			patterns[i] = fmt.Sprintf("dev.%06d.*.temp", i)
			to.keys[i] = fmt.Sprintf("dev.%06d.x.temp", i)
		}
		mrand.New(mrand.NewPCG(1, 2)).Shuffle(n, func(i, j int) { to.keys[i], to.keys[j] = to.keys[j], to.keys[i] }) //nolint:gosec // any order will do
		p, start := startProbe(r.on.PID), time.Now()
		err = bindAll(ctx, r.on.AMQP, queue, exchange, patterns)
		*bound = newFigures(int64(n), time.Since(start), p.stop())
		return []route{to}, undo, err
	}
}

// bindAll binds a queue with each pattern, without waiting for answers but to the last.
func bindAll(ctx context.Context, url, queue, exchange string, patterns []string) error {
	cl, err := newRawClient(url)
	if err != nil {
		return err
	}
	rc, err := cl.dial(ctx, readBuffer)
	if err != nil {
		return err
	}
	defer rc.Close() // nothing is lost on it
	defer context.AfterFunc(ctx, func() { _ = rc.Close() })()
	bind := func(dst []byte, pattern string, noWait byte) []byte {
		args := appendShortstr([]byte{0, 0}, queue)
		args = appendShortstr(args, exchange)
		args = append(appendShortstr(args, pattern), noWait)
		return appendMethod(dst, rawChannel, queueBind, binary.BigEndian.AppendUint32(args, 0))
	}
	var out []byte
	last := len(patterns) - 1
	for _, pattern := range patterns[:last] {
		if out = bind(out, pattern, 1); len(out) < blockBytes {
			continue
		}
		if _, err := rc.Write(out); err != nil {
			return fmt.Errorf("bind queue %s: %w", queue, err)
		}
		out = out[:0]
	}
	if _, err := rc.Write(bind(out, patterns[last], 0)); err != nil {
		return fmt.Errorf("bind queue %s: %w", queue, err)
	}
	if _, err := rc.expect(queueBindOk); err != nil {
		return fmt.Errorf("bind queue %s: %w", queue, err)
	}
	return nil
}

// withChannel does something on a connection of its own: one that was used before
// may have ended with the broker's patience.
func withChannel(url string, do func(*amqp.Channel) error) error {
	lc, err := libraryClient{url: url}.dial()
	if err != nil {
		return err
	}
	return errors.Join(do(lc.ch), lc.Close())
}

func declareQueues(url string, queues []string, durable bool) error {
	return withChannel(url, func(ch *amqp.Channel) error {
		for i, q := range queues {
			noWait := i < len(queues)-1 // the last answer is that to all
			if _, err := ch.QueueDeclare(q, durable, false, false, noWait, amqp.Table{}); err != nil {
				return fmt.Errorf("declare queue %s: %w", q, err)
			}
		}
		return nil
	})
}

// remove deletes an exchange, unless its name is empty, and queues.
func remove(url, exchange string, queues []string) error {
	err := withChannel(url, func(ch *amqp.Channel) error {
		if exchange != "" {
			if err := ch.ExchangeDelete(exchange, false, false); err != nil {
				return err
			}
		}
		for i, q := range queues {
			if _, err := ch.QueueDelete(q, false, false, i < len(queues)-1); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("delete %s and what belongs to it: %w", cmp.Or(exchange, queues[0]), err)
	}
	return nil
}
