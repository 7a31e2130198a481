package interop

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
)

// The tests of this file have two brokers that share nothing. Which of them is used is the client's choice, and what it sees then is
// asserted here, good and bad: docs/failover.md tells operators the same.

// unshared starts two brokers, each with a directory of its own.
func unshared(t *testing.T) (first, second *Broker) {
	t.Helper()
	needOwn(t)
	needOwnMQTT(t)
	bin, err := suite.binary()
	must(t, err)
	var both []*Broker
	for _, name := range []string{"first", "second"} {
		log := newLogFile(t, name+".log")
		b, err := NewBroker(Config{Binary: bin, Dir: filepath.Join(t.TempDir(), name), Log: log})
		must(t, err)
		t.Cleanup(func() { must(t, b.Close()) })
		start(t, b, log)
		both = append(both, b)
	}
	return both[0], both[1]
}

// dialAny connects to the first address that takes it, as a client with a list does.
func dialAny(t *testing.T, brokers ...*Broker) (ch *amqp.Channel, chosen *Broker) {
	t.Helper()
	for _, b := range brokers {
		conn, err := amqp.DialConfig(b.URL(), amqp.Config{Dial: amqp.DefaultDial(patience)})
		if err != nil {
			continue
		}
		t.Cleanup(func() { _ = conn.Close() })
		ch, err := conn.Channel()
		must(t, err)
		must(t, ch.Confirm(false))
		_, err = ch.QueueDeclare("orders", true, false, false, false, nil) // each broker has to be told
		must(t, err)
		return ch, b
	}
	t.Fatal("no address answers")
	return nil, nil
}

// sendOrders publishes numbers and waits for their confirms.
func sendOrders(t *testing.T, ch *amqp.Channel, from, to int) {
	t.Helper()
	for i := from; i < to; i++ {
		sent, err := ch.PublishWithDeferredConfirm("", "orders", true, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, i)})
		must(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		ok, err := sent.WaitContext(ctx)
		cancel()
		if must(t, err); !ok {
			t.Fatalf("order %d was not confirmed", i)
		}
	}
}

// takeOrders takes all that waits, and acknowledges it.
func takeOrders(t *testing.T, ch *amqp.Channel) (bodies []string) {
	t.Helper()
	for {
		m, ok, err := ch.Get("orders", false)
		must(t, err)
		if !ok {
			return bodies
		}
		bodies = append(bodies, string(m.Body))
		must(t, m.Ack(false))
	}
}

// TestUnshared_AMQP shows what becomes of one queue on two brokers: what waits on the one that fails is out of sight until it is back, comes
// late then, and what was published once more is there twice without a mark.
func TestUnshared_AMQP(t *testing.T) {
	t.Parallel()
	first, second := unshared(t)
	ch, chosen := dialAny(t, first, second)
	if chosen != first {
		t.Fatal("the client did not take the first address")
	}
	sendOrders(t, ch, 0, 10)
	must(t, first.Kill())

	// The client goes on with the other. It did not see the confirm of 9, say, and publishes that again.
	ch, chosen = dialAny(t, first, second)
	if chosen != second {
		t.Fatal("the client did not take the second address")
	}
	sendOrders(t, ch, 9, 20)
	seen := takeOrders(t, ch)
	if want := ordered(9, 20); !slices.Equal(seen, want) {
		t.Errorf("on the second broker are %q, want %q: it knows nothing of what waits on the first", seen, want)
	}

	// The first is back. A client that asks it finds what waited: nothing was lost, but late, out of order, and one of it twice.
	must(t, first.Start(t.Context()))
	ch, _ = dialAny(t, first, second)
	late, marked := takeMarked(t, ch)
	if want := ordered(0, 10); !slices.Equal(late, want) {
		t.Errorf("on the first broker are %q, want %q", late, want)
	}
	seen = append(seen, late...)
	count := make(map[string]int)
	for _, body := range seen {
		count[body]++
	}
	twice := slices.DeleteFunc(slices.Sorted(maps.Keys(count)), func(body string) bool { return count[body] == 1 })
	if len(count) != 20 || !slices.Equal(twice, []string{"9"}) {
		t.Errorf("seen %d different orders, and twice: %q; want all 20, and 9 twice", len(count), twice)
	}
	if !slices.Equal(seen, append(ordered(9, 20), ordered(0, 10)...)) {
		t.Errorf("seen %q: what waited should come last", seen)
	}
	// The mark is of the crash of that broker, and says nothing of the other: there the same order came unmarked.
	if marked != len(late) {
		t.Errorf("%d of %d are marked as perhaps delivered before; after a crash all are", marked, len(late))
	}
}

// takeMarked is takeOrders, and counts those marked as redelivered.
func takeMarked(t *testing.T, ch *amqp.Channel) (bodies []string, marked int) {
	t.Helper()
	for {
		m, ok, err := ch.Get("orders", true)
		must(t, err)
		if !ok {
			return bodies, marked
		}
		bodies = append(bodies, string(m.Body))
		if m.Redelivered {
			marked++
		}
	}
}

func ordered(from, to int) (all []string) {
	for i := from; i < to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// TestUnshared_AMQP_AcknowledgementsAreNotShared shows that what was processed on one broker is processed again if it was sent to the other too.
func TestUnshared_AMQP_AcknowledgementsAreNotShared(t *testing.T) {
	t.Parallel()
	first, second := unshared(t)
	onFirst, _ := dialAny(t, first)
	onSecond, _ := dialAny(t, second)
	sendOrders(t, onFirst, 0, 5)
	sendOrders(t, onSecond, 0, 5)
	a, b := takeOrders(t, onFirst), takeOrders(t, onSecond)
	if !slices.Equal(a, b) || len(a) != 5 {
		t.Errorf("taken from one %q, and from the other %q: want the same five of each", a, b)
	}
}

// TestUnshared_MQTT shows the same of sessions, retained messages and subscriptions, with a client that has both addresses.
func TestUnshared_MQTT(t *testing.T) {
	t.Parallel()
	first, second := unshared(t)
	got := make(chan string, 100)
	c := connectUnshared(t, "station", got, first, second)
	c.subscribe(t, "news/#")
	if c.present {
		t.Error("the first broker knows a session of a client that was never there")
	}
	publishMQTT(t, first, "news/1", "one", true)
	wantNext(t, got, "news/1 one")

	// While the client is away, a message waits for it.
	c.leave(t)
	publishMQTT(t, first, "news/2", "two", false)
	must(t, first.Kill())

	// The second broker knows neither session nor subscription nor retained message.
	c = connectUnshared(t, "station", got, first, second)
	if c.present {
		t.Error("the second broker knows the session of the first")
	}
	publishMQTT(t, second, "news/3", "three", false) // nobody has subscribed there: lost, without an error
	c.subscribe(t, "news/#")                         // no retained message comes
	publishMQTT(t, second, "news/4", "four", false)
	wantNext(t, got, "news/4 four")
	c.leave(t)

	// Back on the first, the session is as it was left: the message that waited comes now, after younger ones.
	must(t, first.Start(t.Context()))
	c = connectUnshared(t, "station", got, first, second)
	if !c.present {
		t.Error("the first broker has lost the session")
	}
	wantNext(t, got, "news/2 two")
	publishMQTT(t, first, "news/5", "five", false)
	wantNext(t, got, "news/5 five")
	c.leave(t)
}

// unsharedMQTT is a client with a list of addresses and a session that outlives its connection.
type unsharedMQTT struct {
	paho3.Client
	present bool // the session was there
}

func connectUnshared(t *testing.T, id string, got chan<- string, brokers ...*Broker) *unsharedMQTT {
	t.Helper()
	opt := paho3.NewClientOptions().SetClientID(id).SetCleanSession(false).SetUsername("guest").SetPassword("guest").SetProtocolVersion(4).
		SetConnectTimeout(failoverPatience).SetAutoReconnect(false)
	for _, b := range brokers {
		opt.AddBroker(strings.Replace(b.MQTTURL(), "mqtt://", "tcp://", 1))
	}
	opt.SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { got <- m.Topic() + " " + string(m.Payload()) })
	c := &unsharedMQTT{Client: paho3.NewClient(opt)}
	token := c.Connect()
	granted(t, token)
	connect, ok := token.(*paho3.ConnectToken)
	if !ok {
		t.Fatalf("connecting gives a %T", token)
	}
	c.present = connect.SessionPresent()
	return c
}

func (c *unsharedMQTT) subscribe(t *testing.T, filter string) {
	t.Helper()
	granted(t, c.Subscribe(filter, 1, nil))
}

func (c *unsharedMQTT) leave(t *testing.T) {
	t.Helper()
	c.Disconnect(uint(patience / time.Millisecond))
}

// publishMQTT publishes at QoS 1 to one broker.
func publishMQTT(t *testing.T, b *Broker, topic, payload string, retain bool) {
	t.Helper()
	opt := paho3.NewClientOptions().AddBroker(strings.Replace(b.MQTTURL(), "mqtt://", "tcp://", 1)).SetUsername("guest").SetPassword("guest")
	c := paho3.NewClient(opt)
	granted(t, c.Connect())
	granted(t, c.Publish(topic, 1, retain, payload))
	c.Disconnect(250)
}

func granted(t *testing.T, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(failoverPatience) {
		t.Fatal("no answer within", failoverPatience)
	}
	must(t, token.Error())
}

// wantNext takes what the client has got next.
func wantNext(t *testing.T, got <-chan string, want string) {
	t.Helper()
	select {
	case m := <-got:
		if m != want {
			t.Errorf("the client got %q, want %q", m, want)
		}
	case <-time.After(patience):
		t.Fatalf("the client did not get %q", want)
	}
}
