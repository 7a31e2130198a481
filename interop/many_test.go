package interop

import (
	"flag"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"
)

var (
	manyQueues   = flag.Int("queues", 1000, "durable queues that TestManyQueues declares, with three bindings each")
	manyChannels = flag.Int("channels", 500, "channels that TestManyChannels opens on a connection")
)

// manyAtOnce is how many channels, on as many connections, ask for queues at a time.
const manyAtOnce = 16

// maxIdleQueue is what a queue may take while nobody uses it, without its bindings.
const maxIdleQueue = 2 << 10

// Many queues with bindings cost little each, are there after a crash and after a stop,
// and give their memory back when they are deleted. Against a broker that runs already
// it only says how fast they are declared, bound and deleted.
func TestManyQueues(t *testing.T) {
	n := *manyQueues
	if external != "" {
		m := &manyClient{url: external}
		m.declare(t, n)
		m.bind(t, n)
		m.remove(t, n)
		return
	}
	b, log := ownBroker(t)
	start(t, b, log)
	m := &manyClient{url: b.URL()}
	m.declare(t, n/10) // pools, buffers and code become warm
	m.bind(t, n/10)
	m.remove(t, n/10)
	before := settle(t, b, footprint{goroutines: math.MaxInt, heap: math.MaxInt})
	m.declare(t, n)
	idle := settle(t, b, footprint{goroutines: before.goroutines + 5, heap: math.MaxInt})
	m.bind(t, n)
	bound := settle(t, b, footprint{goroutines: before.goroutines + 5, heap: math.MaxInt})
	each := func(a, b int) float64 { return float64(a-b) / float64(n) }
	t.Logf("%d idle queues: %.0f B of heap each, %.0f B resident; their three bindings %.0f B of heap, %.0f B resident; before %+v, with queues %+v, with bindings %+v",
		n, each(idle.heap, before.heap), each(idle.rss, before.rss), each(bound.heap, idle.heap), each(bound.rss, idle.rss), before, idle, bound)
	if size := each(idle.heap, before.heap); size > maxIdleQueue && n >= 20_000 { // with fewer the buffers of the store are most of it
		t.Errorf("%.0f bytes of heap per idle queue, want at most %d", size, maxIdleQueue)
	}

	must(t, b.Kill())
	reopen(t, b, log, "kill -9")
	if _, err := b.Terminate(); err != nil {
		t.Fatal(err)
	}
	reopen(t, b, log, "a stop")
	again := settle(t, b, footprint{goroutines: math.MaxInt, heap: math.MaxInt})
	m.route(t, n)
	m.remove(t, n)
	// The store notes what was deleted for as long as a file of the journal knows it, and the index' buffers are allowed for.
	allowed := n<<10 + 8<<20
	after := settle(t, b, footprint{goroutines: before.goroutines + 5, heap: before.heap + allowed})
	t.Logf("opened again %+v, with all deleted %+v", again, after)
	if left := after.heap - before.heap; left > allowed {
		t.Errorf("%d queues that are deleted left %d bytes of heap", n, left)
	}
}

// reopen starts the broker again and says how long that took.
func reopen(t *testing.T, b *Broker, log *logFile, after string) {
	t.Helper()
	begun := time.Now()
	start(t, b, log)
	t.Logf("after %s clients can connect %v after the start", after, time.Since(begun).Round(time.Millisecond))
}

// manyClient asks for many things at a time, each by its number, and says how long it took.
type manyClient struct{ url string }

func (m *manyClient) each(t *testing.T, what string, n int, f func(ch *amqp.Channel, i int) error) {
	t.Helper()
	var (
		g    errgroup.Group
		next atomic.Int64
	)
	begun := time.Now()
	for range manyAtOnce {
		g.Go(func() error {
			conn, err := amqp.DialConfig(m.url, amqp.Config{Dial: amqp.DefaultDial(patience)})
			if err != nil {
				return err
			}
			defer conn.Close() // only its channel could have failed
			ch, err := conn.Channel()
			if err != nil {
				return err
			}
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := f(ch, i); err != nil {
					return fmt.Errorf("%s, number %d: %w", what, i, err)
				}
			}
			return nil
		})
	}
	must(t, g.Wait())
	took := time.Since(begun)
	t.Logf("%s: %d in %v, %.0f a second", what, n, took.Round(time.Millisecond), float64(n)/took.Seconds())
}

func manyQueue(i int) string { return fmt.Sprintf("many.%d", i) }

func (m *manyClient) declare(t *testing.T, n int) {
	t.Helper()
	m.each(t, "durable queues declared", n, func(ch *amqp.Channel, i int) error {
		_, err := ch.QueueDeclare(manyQueue(i), true, false, false, false, nil)
		return err
	})
}

// bind gives each queue a key of its own, a pattern of its own, and the broadcast.
func (m *manyClient) bind(t *testing.T, n int) {
	t.Helper()
	m.each(t, "queues bound three times", n, func(ch *amqp.Channel, i int) error {
		for exchange, key := range map[string]string{"amq.direct": manyQueue(i), "amq.topic": fmt.Sprintf("device.%d.*", i), "amq.fanout": ""} {
			if err := ch.QueueBind(manyQueue(i), key, exchange, false, nil); err != nil {
				return err
			}
		}
		return nil
	})
}

// route holds that some queues have all of their bindings.
func (m *manyClient) route(t *testing.T, n int) {
	t.Helper()
	m.each(t, "queues published to by two bindings", min(n, 100), func(ch *amqp.Channel, i int) error {
		i = i * n / min(n, 100)
		if err := ch.Confirm(false); err != nil {
			return err
		}
		for exchange, key := range map[string]string{"amq.direct": manyQueue(i), "amq.topic": fmt.Sprintf("device.%d.x", i)} {
			c, err := ch.PublishWithDeferredConfirm(exchange, key, true, false, amqp.Publishing{Body: []byte("x")})
			if err != nil {
				return err
			}
			if !c.Wait() {
				return fmt.Errorf("not confirmed by %s", exchange)
			}
		}
		q, err := ch.QueueDeclarePassive(manyQueue(i), true, false, false, false, nil)
		if err == nil && q.Messages != 2 {
			err = fmt.Errorf("it has %d messages, want 2", q.Messages)
		}
		return err
	})
}

func (m *manyClient) remove(t *testing.T, n int) {
	t.Helper()
	m.each(t, "queues deleted", n, func(ch *amqp.Channel, i int) error {
		_, err := ch.QueueDelete(manyQueue(i), false, false, false)
		return err
	})
}

// A connection can have as many channels as the setting says, which all work, cost
// little, and give back what they cost.
func TestManyChannels(t *testing.T) {
	n := *manyChannels
	if external != "" {
		openMany(t, external, n)
		return
	}
	b, log := ownBroker(t)
	b.Env = append(b.Env, fmt.Sprintf("BATON_AMQP_CHANNEL_MAX=%d", n))
	start(t, b, log)
	closeMany(t, openMany(t, b.URL(), n/10)) // warm
	before := settle(t, b, footprint{goroutines: math.MaxInt, heap: math.MaxInt})
	conn := openMany(t, b.URL(), n)
	during := settle(t, b, footprint{goroutines: before.goroutines + 5, heap: math.MaxInt})
	closeMany(t, conn)
	allowed := footprint{goroutines: before.goroutines + 5, heap: before.heap + 4<<20}
	after := settle(t, b, allowed)
	t.Logf("%d channels: %.0f B of heap each, %.0f B resident; before %+v, during %+v, after %+v", n,
		float64(during.heap-before.heap)/float64(n), float64(during.rss-before.rss)/float64(n), before, during, after)
	if after.goroutines > allowed.goroutines || after.heap > allowed.heap {
		t.Errorf("%d channels left goroutines or memory behind", n)
	}
}

// openMany opens channels until there are n, and has each answer once.
func openMany(t *testing.T, url string, n int) *amqp.Connection {
	t.Helper()
	conn, err := amqp.DialConfig(url, amqp.Config{Dial: amqp.DefaultDial(patience), ChannelMax: uint16(n), Heartbeat: time.Minute})
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // mostly it is closed
	if conn.Config.ChannelMax != uint16(n) {
		t.Fatalf("%d channels were agreed on, want %d", conn.Config.ChannelMax, n)
	}
	begun := time.Now()
	var last *amqp.Channel
	for i := range n {
		last, err = conn.Channel()
		if err != nil {
			t.Fatalf("channel %d: %v", i+1, err)
		}
	}
	took := time.Since(begun)
	t.Logf("channels opened one after the other: %d in %v, %.0f a second", n, took.Round(time.Millisecond), float64(n)/took.Seconds())
	if _, err := last.QueueDeclare("", false, true, true, false, nil); err != nil {
		t.Errorf("the last channel: %v", err)
	}
	return conn
}

func closeMany(t *testing.T, conn *amqp.Connection) {
	t.Helper()
	begun := time.Now()
	must(t, conn.Close())
	t.Logf("closed in %v", time.Since(begun).Round(time.Millisecond))
}
