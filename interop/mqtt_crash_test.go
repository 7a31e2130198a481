package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho/session/state"
	"github.com/eclipse/paho.golang/paho/store/memory"
	paho3 "github.com/eclipse/paho.mqtt.golang"
)

const (
	mqttCrashMessages = 3000
	mqttCrashKills    = 3
	mqttCrashTopics   = 4
	// mqttCrashWindow bounds the messages that the publisher has open.
	mqttCrashWindow = 100
	// mqttCrashLast is the last message of all: the last one of each topic is
	// published when all others have been answered, and is the topic's end.
	mqttCrashLast = mqttCrashMessages + mqttCrashTopics
)

// mqttCrashCase is a publisher and a subscriber by version, transport and QoS.
type mqttCrashCase struct {
	name      string
	version   byte
	transport string
	qos       byte
}

func mqttCrashCases() []mqttCrashCase {
	return []mqttCrashCase{
		{"3.1.1 QoS 1 TCP", 4, "tcp", 1},
		{"3.1.1 QoS 2 WebSocket", 4, "ws", 2},
		{"5.0 QoS 1 WebSocket", 5, "ws", 1},
		{"5.0 QoS 2 TCP", 5, "tcp", 2},
	}
}

// A broker that is killed three times while messages pass through it into a
// persistent session loses nothing at QoS 1 and is exact at QoS 2.
func TestKilledBrokerKeepsMQTTSessions(t *testing.T) {
	needOwnMQTT(t)
	t.Parallel()
	for _, c := range mqttCrashCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			killMQTT(t, c, newMQTTCrash)
		})
	}
}

// killMQTT has clients live through a broker's deaths.
func killMQTT(t *testing.T, c mqttCrashCase, clients func(t *testing.T, c mqttCrashCase, broker string) *mqttCrash) {
	t.Helper()
	b, log := ownBroker(t)
	r := clients(t, c, map[string]string{"tcp": b.MQTTURL(), "ws": b.WSURL()}[c.transport])
	begin := func(life int) {
		if life > 0 {
			if _, err := b.life.wait(patience); err != nil {
				t.Fatalf("life %d: the clients' connections ended, not the broker: %v", life, err)
			}
		}
		start(t, b, log)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the broker's log:\n%s", log.text())
		}
	})
	r.run(t, begin, func() {
		if err := b.Kill(); err != nil {
			t.Error(err)
		}
	})
}

// The same with connections that break while the broker lives on: what is found
// above is the broker's doing and not the test's, on any make of broker.
func TestBrokenConnectionsKeepMQTTSessions(t *testing.T) {
	t.Parallel()
	for _, c := range mqttCrashCases() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var conns connections
			r := newMQTTCrash(t, c, sharedMQTT(t, c.transport))
			r.onOpen = conns.add
			r.run(t, func(int) {}, conns.cut)
			for _, id := range []string{r.pubID(), r.subID()} {
				_, err := peer(t, r.broker, r.version).connect(id, true) // ends the session
				must(t, err)
			}
		})
	}
}

// connections are those of one life.
type connections struct {
	mu   sync.Mutex
	open []*cuttable
}

// cuttable breaks off without a goodbye. Libraries take a connection that was closed
// on this side for their own doing, so that its error is another one.
type cuttable struct {
	net.Conn
	broken atomic.Bool
}

var errCut = errors.New("the test cut the connection")

func (c *cuttable) Read(b []byte) (int, error) { return c.tell(c.Conn.Read(b)) }

// Write writes nothing behind what was cut off: the broker would take it for the
// rest of a packet.
func (c *cuttable) Write(b []byte) (int, error) {
	if c.broken.Load() {
		return 0, errCut
	}
	return c.tell(c.Conn.Write(b))
}

func (c *cuttable) tell(n int, err error) (int, error) {
	if c.broken.Load() {
		return n, errCut
	}
	return n, err
}

func (c *connections) add(nc net.Conn) net.Conn {
	c.mu.Lock()
	defer c.mu.Unlock()
	cut := &cuttable{Conn: nc}
	c.open = append(c.open, cut)
	return cut
}

// cut resets what can be reset and closes the rest.
func (c *connections) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, nc := range c.open {
		nc.broken.Store(true)
		if tcp, ok := nc.Conn.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0) // without it the connection ends all the same
		}
		go nc.Close() // a WebSocket's closing handshake waits for its reader, which may be here
	}
	c.open = nil
}

// mqttReceiver is a subscriber's connection.
type mqttReceiver interface {
	subscribe(filter string, qos byte) error
	close()
}

// mqttCrash is the clients of one history. Their connections live as long as the
// broker's life does; their state outlives them.
type mqttCrash struct {
	mqttCrashCase
	broker string
	prefix string                  // of topics and client identifiers
	filter string                  // of the subscriber
	order  int                     // as CheckMQTT's topics
	onOpen func(net.Conn) net.Conn // may be nil
	rng    *rand.Rand
	rec    Recorder
	out    *outstanding
	// pub and sub connect; they hold what a client's library keeps of its session.
	pub func(context.Context, mqttLink) (mqttSender, bool, error)
	sub func(context.Context, mqttLink, mqttGetter) (mqttReceiver, bool, error)

	mu    sync.Mutex
	ends  map[int]bool // the topics whose end was delivered
	ended chan struct{}
}

func newMQTTCrash(t *testing.T, c mqttCrashCase, broker string) *mqttCrash {
	t.Helper()
	r := &mqttCrash{
		mqttCrashCase: c, broker: broker, prefix: unique(t),
		rng:   rand.New(rand.NewPCG(seed(t), uint64(c.version)<<8|uint64(c.qos))),
		order: mqttCrashTopics, ends: make(map[int]bool), ended: make(chan struct{}),
	}
	r.filter = r.prefix + "/+"
	r.out = newOutstanding(&r.rec)
	if c.version == 5 {
		pub, sub := state.New(store5{memory.New(), r.out}, memory.New()), state.NewInMemory()
		r.pub = func(ctx context.Context, l mqttLink) (mqttSender, bool, error) { return dial5(ctx, l, pub, nil) }
		r.sub = func(ctx context.Context, l mqttLink, get mqttGetter) (mqttReceiver, bool, error) {
			return dial5(ctx, l, sub, get)
		}
		return r
	}
	if c.qos == 2 {
		// paho.mqtt.golang sends a message of QoS 2 anew after its PUBREC, and hands
		// one to the application each time it comes: clients of our own take its place.
		out, seen := new(exactStore), make(map[[2]byte]bool)
		r.pub = func(ctx context.Context, l mqttLink) (mqttSender, bool, error) {
			return dialExactSender(ctx, l, out, r.out)
		}
		r.sub = func(ctx context.Context, l mqttLink, get mqttGetter) (mqttReceiver, bool, error) {
			return dialExactReceiver(ctx, l, seen, get)
		}
		return r
	}
	pub, sub := store3{paho3.NewOrderedMemoryStore(), r.out}, paho3.NewMemoryStore()
	r.pub = func(ctx context.Context, l mqttLink) (mqttSender, bool, error) { return dial3(ctx, l, pub, nil) }
	r.sub = func(ctx context.Context, l mqttLink, get mqttGetter) (mqttReceiver, bool, error) {
		return dial3(ctx, l, sub, get)
	}
	return r
}

func (r *mqttCrash) pubID() string { return r.prefix + ".pub" }
func (r *mqttCrash) subID() string { return r.prefix + ".sub" }

// run lives as many lives as there are disturbances, and one more, and judges.
func (r *mqttCrash) run(t *testing.T, begin func(life int), disturb func()) {
	t.Helper()
	for life := range mqttCrashKills + 1 {
		begin(life)
		r.rec.Add(Event{Kind: Started})
		done, err := r.live(t, life, disturb)
		if err != nil {
			t.Fatalf("life %d: %v", life+1, err)
		}
		if done != (life == mqttCrashKills) {
			t.Fatalf("life %d: the topics' ends were seen: %v", life+1, done)
		}
	}
	h := r.rec.Snapshot()
	t.Logf("%d published, %d confirmed, %d delivered", h.Count(Published), h.Count(Confirmed), h.Count(Delivered))
	if n := h.Count(Published); n != mqttCrashLast {
		t.Errorf("%d messages were published, want %d", n, mqttCrashLast)
	}
	for i, v := range h.CheckMQTT(r.qos, r.order) {
		if i == 20 {
			t.Error("… and more")
			break
		}
		t.Error(v)
	}
}

// disturbAt has the life disturbed at a random moment of it. A message makes three
// events; the disturbances are spread over the first three quarters of them.
func (r *mqttCrash) disturbAt(t *testing.T, life int, disturb func()) {
	t.Helper()
	const perLife = 3 * mqttCrashMessages / (mqttCrashKills + 1)
	at := len(r.rec.Snapshot()) + perLife/10 + r.rng.IntN(perLife)
	r.rec.At(at, func() {
		disturb()
		t.Logf("life %d was ended at event %d", life+1, at)
	})
}

// whileGoingOn waits for v as long as the history grows: how long all of it takes
// is the machine's.
func (r *mqttCrash) whileGoingOn(t *testing.T, what string, v <-chan bool) bool {
	t.Helper()
	look := time.NewTicker(patience)
	defer look.Stop()
	for seen := -1; ; {
		select {
		case v := <-v:
			return v
		case <-look.C:
			now := len(r.rec.Snapshot())
			if now == seen {
				t.Fatalf("%s: nothing happened within %s, after %d events", what, patience, now)
			}
			seen = now
		}
	}
}

// live publishes and subscribes until the connections end (false) or all topics'
// ends were delivered and everything was answered (true).
func (r *mqttCrash) live(t *testing.T, life int, disturb func()) (bool, error) {
	t.Helper()
	ctx := t.Context()
	pubEnded, subEnded := make(chan struct{}), make(chan struct{})
	sub, present, err := r.sub(ctx, mqttLink{r.broker, r.subID(), r.onOpen, func() { close(subEnded) }}, r.get)
	if err == nil && present != (life > 0) {
		err = fmt.Errorf("%w: the subscriber's session is present: %v", errProtocol, present)
	}
	if err == nil && life == 0 {
		err = sub.subscribe(r.filter, r.qos)
	}
	if err != nil {
		return false, fmt.Errorf("subscriber: %w", err)
	}
	r.out.begin()
	pub, present, err := r.pub(ctx, mqttLink{r.broker, r.pubID(), r.onOpen, func() { r.out.end(); close(pubEnded) }})
	if err == nil && present != (life > 0) {
		err = fmt.Errorf("%w: the publisher's session is present: %v", errProtocol, present)
	}
	if err != nil {
		return false, fmt.Errorf("publisher: %w", err)
	}
	if life < mqttCrashKills {
		r.disturbAt(t, life, disturb)
	}
	published := make(chan bool, 1)
	go func() { published <- r.publish(pub, pubEnded) }()
	done := r.whileGoingOn(t, "the publisher's end", published)
	var all <-chan struct{} // never, if the publisher's connection ended
	if done {
		all = r.ended
	}
	limit := time.NewTimer(2 * patience)
	defer limit.Stop()
	select {
	case <-all:
	case <-subEnded:
		done = false
	case <-limit.C:
		return false, fmt.Errorf("%w: after %v the subscriber lacks the ends of topics, has %v", errProtocol, 2*patience, r.ends)
	}
	pub.close()
	sub.close()
	<-pubEnded
	<-subEnded
	return done, nil
}

// get is called by the subscriber's one goroutine.
func (r *mqttCrash) get(payload []byte, dup bool) {
	message := messageOf(payload)
	r.rec.Add(Event{Kind: Delivered, Message: message, Redelivered: dup})
	r.mu.Lock()
	defer r.mu.Unlock()
	if topic := message % mqttCrashTopics; message > mqttCrashMessages && !r.ends[topic] {
		if r.ends[topic] = true; len(r.ends) == mqttCrashTopics {
			close(r.ended)
		}
	}
}

// publish publishes what is left, in order, and returns whether all was answered
// before the connection ended. What an earlier life left open goes first: its
// identifiers are in use.
func (r *mqttCrash) publish(s mqttSender, ended <-chan struct{}) bool {
	room := 0
	for {
		last, alive := r.out.await(room)
		if !alive {
			return false
		}
		switch {
		case last == mqttCrashLast:
			_, alive = r.out.await(0)
			return alive
		case last == mqttCrashMessages && room > 0:
			room = 0 // all others are answered before the ends are published
			continue
		}
		if room = mqttCrashWindow - 1; last >= mqttCrashMessages {
			room = 0
		}
		message := last + 1
		payload := binary.BigEndian.AppendUint64(make([]byte, 0, 64), uint64(message))[:64]
		if err := s.send(fmt.Sprintf("%s/%d", r.prefix, message%mqttCrashTopics), r.qos, payload); err != nil {
			<-ended // nothing else stops a library from taking a message
			return false
		}
	}
}
