package interop

import (
	"context"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	stormPublishers = 3 // of AMQP; one of MQTT is number 3
	stormBody       = 16 << 10
	stormWindow     = 32
	stormQueue      = "storm"
)

// storm is publishers that nobody consumes from, until they must wait, and what
// becomes of their messages.
type storm struct {
	b       *Broker
	durable bool

	conns   []*amqp.Connection
	blocked chan amqp.Blocking // what all AMQP publishers are told

	mu        sync.Mutex
	changed   chan struct{}            // closed and made again with each change
	confirmed [stormPublishers + 1]int // of each publisher the messages below it
	delivered map[[2]uint64]int        // how often; by publisher and number
	err       error
}

// TestStormUntilMemoryAlarm: publishers whose consumer has stopped wait at the alarm,
// are told so, and go on when the consumer does; nobody is disconnected, and nothing
// is lost.
func TestStormUntilMemoryAlarm(t *testing.T) {
	t.Parallel()
	for name, env := range map[string][]string{
		"budget":    {"BATON_MEMORY_BUDGET=24MiB"},
		"watermark": {"BATON_MEMORY_LIMIT=1GiB", "BATON_MEMORY_WATERMARK=160MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b, log := ownBroker(t)
			b.Env = env
			start(t, b, log)
			s := &storm{b: b}
			s.pass(t, "memory", "rabbitmq_alarms_memory_used_watermark")
			if n := strings.Count(log.text(), "publishers wait"); n == 0 || n > 5 {
				t.Errorf("the log has %d lines about publishers that wait:\n%s", n, lastLines(log.text(), 20))
			}
		})
	}
}

// pass is the storm from its beginning to its end.
func (s *storm) pass(t *testing.T, reason, alarm string) {
	t.Helper()
	s.changed, s.delivered = make(chan struct{}), make(map[[2]uint64]int)
	s.blocked = make(chan amqp.Blocking, 100)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()

	idle := channel(t, s.b.URL()) // a consumer that is there and does not consume, until it does
	_, err := idle.QueueDeclare(stormQueue, s.durable, false, false, false, nil)
	must(t, err)
	must(t, idle.QueueBind(stormQueue, "storm.#", "amq.topic", false, nil))
	var publishing sync.WaitGroup
	for i := range stormPublishers {
		ch := s.publisher(t)
		publishing.Go(func() { s.fail(s.publish(ctx, ch, i)) })
	}
	mqtt := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + s.b.MQTT).SetUsername("guest").SetPassword("guest").
		SetClientID("storm").SetAutoReconnect(false).SetConnectionLostHandler(func(_ paho3.Client, err error) { s.fail(err) }))
	waitToken(t, mqtt.Connect())
	t.Cleanup(func() { mqtt.Disconnect(0) })
	publishing.Go(func() { s.fail(s.publishMQTT(ctx, mqtt)) })

	for range stormPublishers {
		if told := s.hears(t); !told.Active || !strings.Contains(told.Reason, reason) {
			t.Fatalf("a publisher is told %+v, want blocked because of %s", told, reason)
		}
	}
	eventually(t, func() bool { return metric(t, s.b, alarm) == 1 })
	if metric(t, s.b, alarm) != 1 {
		t.Errorf("publishers wait, and %s does not say so", alarm)
	}
	held := s.confirms()
	must(t, pause(ctx, 500*time.Millisecond))
	if now := s.confirms(); now > held+(stormPublishers+1)*stormWindow {
		t.Errorf("%d messages were confirmed while publishers wait, %d when they were told", now, held)
	}
	t.Logf("%d messages of %d KiB, then publishers were told %q; RSS %d MiB", held, stormBody>>10, reason, residentSet(t, s.b.PID())>>20)

	// Now it consumes: publishers go on.
	must(t, idle.Qos(200, 0, false))
	in, err := idle.Consume(stormQueue, "", false, false, false, false, nil)
	must(t, err)
	go s.consume(in) // ends with the channel
	if told := s.hears(t); told.Active {
		t.Errorf("a publisher is told %+v, want that it may go on", told)
	}
	s.until(t, "publishers do not go on", func() bool { return s.confirmsLocked() > held+500 })
	stop()
	publishing.Wait()
	s.until(t, "not everything that was confirmed arrives", func() bool { return s.missingLocked() == "" })
	if s.err != nil {
		t.Error(s.err)
	}
	for _, conn := range s.conns {
		if conn.IsClosed() {
			t.Error("a publisher was disconnected")
		}
	}
	if !mqtt.IsConnectionOpen() {
		t.Error("the MQTT publisher was disconnected")
	}
	t.Logf("all of %d confirmed messages have arrived", s.confirms())
}

// publisher opens a confirm channel whose connection is told of blocking.
func (s *storm) publisher(t *testing.T) *amqp.Channel {
	t.Helper()
	conn := dial(t, s.b.URL())
	told := conn.NotifyBlocked(make(chan amqp.Blocking, 10))
	go func() { // ends with the connection
		for b := range told {
			s.blocked <- b
		}
	}()
	s.conns = append(s.conns, conn)
	ch := openChannel(t, conn)
	must(t, ch.Confirm(false))
	return ch
}

func (s *storm) hears(t *testing.T) amqp.Blocking {
	t.Helper()
	limit := time.NewTimer(6 * patience) // a disk takes its time to fill
	defer limit.Stop()
	select {
	case told := <-s.blocked:
		return told
	case <-limit.C:
		t.Fatal("publishers are told nothing")
	}
	panic("unreachable")
}

func stormMessage(publisher, n int) []byte {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, stormBody), uint64(publisher))
	return binary.BigEndian.AppendUint64(b, uint64(n))[:stormBody]
}

// publish goes on until ctx ends, and then hears what is still to be confirmed.
func (s *storm) publish(ctx context.Context, ch *amqp.Channel, publisher int) error {
	mode := amqp.Transient
	if s.durable {
		mode = amqp.Persistent
	}
	var open []*amqp.DeferredConfirmation
	for n := 0; ctx.Err() == nil || len(open) > 0; {
		if ctx.Err() == nil {
			c, err := ch.PublishWithDeferredConfirm("", stormQueue, false, false, amqp.Publishing{DeliveryMode: mode, Body: stormMessage(publisher, n)})
			if err != nil {
				return fmt.Errorf("publisher %d, message %d: %w", publisher, n, err)
			}
			n++
			if open = append(open, c); len(open) < stormWindow {
				continue
			}
		}
		if !open[0].Wait() {
			return fmt.Errorf("publisher %d, message %d is not confirmed", publisher, n-len(open))
		}
		open = open[1:]
		s.confirm(publisher)
	}
	return nil
}

func (s *storm) publishMQTT(ctx context.Context, c paho3.Client) error {
	for n := 0; ctx.Err() == nil; n++ {
		token := c.Publish("storm/mqtt", 1, false, stormMessage(stormPublishers, n))
		<-token.Done()
		if err := token.Error(); err != nil {
			return fmt.Errorf("the MQTT publisher, message %d: %w", n, err)
		}
		s.confirm(stormPublishers)
	}
	return nil
}

func (s *storm) consume(in <-chan amqp.Delivery) {
	for d := range in {
		key := [2]uint64{binary.BigEndian.Uint64(d.Body), binary.BigEndian.Uint64(d.Body[8:])}
		s.change(func() { s.delivered[key]++ })
		if d.Ack(false) != nil {
			return // the channel's end, which shows elsewhere
		}
	}
}

func (s *storm) confirm(publisher int) { s.change(func() { s.confirmed[publisher]++ }) }

func (s *storm) fail(err error) {
	if err != nil {
		s.change(func() { s.err = err })
	}
}

func (s *storm) change(what func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	what()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *storm) confirms() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.confirmsLocked()
}

func (s *storm) confirmsLocked() (n int) {
	for _, c := range s.confirmed {
		n += c
	}
	return n
}

// missingLocked names a message that was confirmed and has not arrived, or has more than once.
func (s *storm) missingLocked() string {
	for publisher, n := range s.confirmed {
		for i := range n {
			if times := s.delivered[[2]uint64{uint64(publisher), uint64(i)}]; times != 1 {
				return fmt.Sprintf("message %d of publisher %d has arrived %d times", i, publisher, times)
			}
		}
	}
	return ""
}

// until waits for something, or fails with what was to be.
func (s *storm) until(t *testing.T, what string, so func() bool) {
	t.Helper()
	limit := time.NewTimer(3 * patience)
	defer limit.Stop()
	for {
		s.mu.Lock()
		done, changed, err, missing := so(), s.changed, s.err, ""
		if !done {
			missing = s.missingLocked()
		}
		s.mu.Unlock()
		if done || err != nil {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			t.Fatalf("%s: %s", what, missing)
		}
	}
}
