package interop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	remoteMessages = 400 // in each direction
	remoteKills    = 4
)

// bridgeTo gives a broker that is not running yet a bridge to another one.
func bridgeTo(t *testing.T, b, far *Broker, version string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "baton.yaml")
	password := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(password, []byte("guest\n"), 0o600))
	must(t, os.WriteFile(file, fmt.Appendf(nil, `bridges:
  far:
    address: mqtt://%s
    version: %s
    username: guest
    password_file: %s
    retry_delay: 50ms
    max_retry_delay: 200ms
    topics:
      - out/# out 2 "" site/
      - down/# in 2 here/ there/
      - both/# both 1
`, far.MQTT, version, password), 0o600))
	b.Args = append(b.Args, "--config", file)
}

// A bridge between two brokers loses nothing that either has confirmed while one after the other is killed, carries
// what has QoS 2 exactly once, and gives topics their names on the other side.
func TestBridgeBetweenBrokersThatAreKilled(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"5", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			here, hereLog := ownBroker(t)
			there, thereLog := ownBroker(t)
			bridgeTo(t, here, there, version)
			t.Cleanup(func() {
				if t.Failed() {
					t.Logf("here:\n%s\nthere:\n%s", hereLog.text(), thereLog.text())
				}
			})
			start(t, here, hereLog)
			start(t, there, thereLog)
			seenBy(t, here, "here.down.#")
			seenBy(t, there, "site.out.#")
			eventually(t, func() bool { return metric(t, here, `baton_bridge_connected\{bridge="far"\}`) == 1 })

			var publishing sync.WaitGroup
			out, in := &remotePublisher{url: here.URL, key: "out.x"}, &remotePublisher{url: there.URL, key: "there.down.x"}
			for _, p := range []*remotePublisher{out, in} {
				publishing.Go(func() { p.run(t) })
			}
			for i := range remoteKills {
				b, log := here, hereLog
				if i%2 == 1 {
					b, log = there, thereLog
				}
				p := map[*Broker]*remotePublisher{here: in, there: out}[b] // which goes on meanwhile
				eventually(t, func() bool { return p.at() >= (i+1)*remoteMessages/(remoteKills+1) })
				must(t, b.Kill())
				start(t, b, log)
			}
			publishing.Wait()
			out.check(t, there)
			in.check(t, here)
		})
	}
}

// What a rule of both directions carries comes once, and does not go back.
func TestBridgeOfBothDirectionsDoesNotLoop(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"5", "3.1.1"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			here, hereLog := ownBroker(t)
			there, thereLog := ownBroker(t)
			bridgeTo(t, here, there, version)
			start(t, here, hereLog)
			start(t, there, thereLog)
			for _, b := range []*Broker{here, there} {
				seenBy(t, b, "both.#")
			}
			eventually(t, func() bool { return metric(t, here, `baton_bridge_connected\{bridge="far"\}`) == 1 })
			for i, b := range []*Broker{here, there} {
				ch := channel(t, b.URL())
				must(t, ch.Confirm(false))
				for n := range 10 {
					_, err := publishOnce(t.Context(), ch, "both.x", fmt.Sprint(i*10+n), 1)
					must(t, err)
				}
			}
			for _, b := range []*Broker{here, there} {
				counts := map[string]int{}
				ch := channel(t, b.URL())
				eventually(t, func() bool { takeAll(t, ch, counts); return len(counts) == 20 })
				for i := range 20 {
					if n := counts[fmt.Sprint(i)]; n != 1 {
						t.Errorf("message %d has come %d times", i, n)
					}
				}
				takeAll(t, ch, counts)
				if len(counts) != 20 {
					t.Errorf("there are %d messages", len(counts))
				}
			}
			for _, name := range []string{"sent", "received"} { // what goes round and round is counted
				if n := metric(t, here, `baton_bridge_`+name+`_messages_total\{bridge="far"\}`); n != 10 {
					t.Errorf("%v messages were %s, want 10", n, name)
				}
			}
		})
	}
}

const seenQueue = "seen"

// seenBy makes a durable queue of what a broker publishes with keys of a pattern.
func seenBy(t *testing.T, b *Broker, pattern string) {
	t.Helper()
	ch := channel(t, b.URL())
	_, err := ch.QueueDeclare(seenQueue, true, false, false, false, nil)
	must(t, err)
	must(t, ch.QueueBind(seenQueue, pattern, "amq.topic", false, nil))
}

// takeAll takes what is in the queue, and counts each body.
func takeAll(t *testing.T, ch *amqp.Channel, counts map[string]int) {
	t.Helper()
	for {
		d, ok, err := ch.Get(seenQueue, true)
		must(t, err)
		if !ok {
			return
		}
		counts[string(d.Body)]++
	}
}

// publishOnce publishes a message with a QoS and says whether the broker has confirmed it.
func publishOnce(ctx context.Context, ch *amqp.Channel, key, body string, qos int32) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	d, err := ch.PublishWithDeferredConfirmWithContext(ctx, "amq.topic", key, false, false, amqp.Publishing{
		DeliveryMode: amqp.Persistent, Headers: amqp.Table{"x-mqtt-publish-qos": qos}, Body: []byte(body),
	})
	if err != nil {
		return false, err
	}
	return d.WaitContext(ctx)
}

// remotePublisher publishes numbers, every other one with QoS 2, to a broker that is killed now and then.
type remotePublisher struct {
	url func() string // which is asked for each connection
	key string
	may func(i int) bool // publish message i by now; nil: always

	mu        sync.Mutex
	n         int
	confirmed [remoteMessages]bool
}

func (p *remotePublisher) at() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n
}

func (p *remotePublisher) run(t *testing.T) {
	t.Helper()
	var conn *amqp.Connection
	var ch *amqp.Channel
	defer func() {
		if conn != nil {
			_ = conn.CloseDeadline(time.Now().Add(patience)) // it may be broken
		}
	}()
	for i := range remoteMessages {
		eventually(t, func() bool {
			if p.may != nil && !p.may(i) {
				return false
			}
			if conn != nil && !conn.IsClosed() {
				return true
			}
			var err error
			if conn, err = amqp.DialConfig(p.url(), amqp.Config{Dial: amqp.DefaultDial(patience)}); err != nil {
				return false
			}
			if ch, err = conn.Channel(); err == nil {
				err = ch.Confirm(false)
			}
			return err == nil
		})
		if conn == nil || conn.IsClosed() {
			t.Errorf("%s: no connection", p.key)
			return
		}
		ok, err := publishOnce(t.Context(), ch, p.key, fmt.Sprint(i), int32(1+i%2))
		p.mu.Lock()
		p.n, p.confirmed[i] = i+1, ok && err == nil
		p.mu.Unlock()
	}
}

// check looks at what has come to the other broker.
func (p *remotePublisher) check(t *testing.T, to *Broker) {
	t.Helper()
	counts := map[string]int{}
	ch := channel(t, to.URL())
	eventually(t, func() bool {
		takeAll(t, ch, counts)
		for i, ok := range p.confirmed {
			if ok && counts[fmt.Sprint(i)] == 0 {
				return false
			}
		}
		return true
	})
	confirmed := 0
	for i, ok := range p.confirmed {
		n := counts[fmt.Sprint(i)]
		switch {
		case ok && n == 0:
			t.Errorf("%s: message %d was confirmed and is lost", p.key, i)
		case i%2 == 1 && n > 1:
			t.Errorf("%s: message %d has QoS 2 and has come %d times", p.key, i, n)
		}
		if ok {
			confirmed++
		}
	}
	if confirmed < remoteMessages*3/4 {
		t.Errorf("%s: %d of %d messages were confirmed", p.key, confirmed, remoteMessages)
	}
}
