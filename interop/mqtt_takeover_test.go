package interop

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"
)

// A durable client that subscribes again and again, also to what overlaps, misses nothing for it and gets nothing twice, across kills.
func TestKilledBrokerKeepsResubscribers(t *testing.T) {
	needOwnMQTT(t)
	t.Parallel()
	b, log := ownBroker(t)
	r := newMQTTCrash(t, mqttCrashCase{"3.1.1 QoS 2 TCP", 4, "tcp", 2}, b.MQTTURL())
	seen := make(map[[2]byte]bool)
	r.sub = func(ctx context.Context, l mqttLink, get mqttGetter) (mqttReceiver, bool, error) {
		return dialResubscriber(ctx, l, r.prefix, seen, get)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the broker's log:\n%s", log.text())
		}
	})
	r.run(t, func(life int) {
		if life > 0 {
			_, err := b.life.wait(patience)
			must(t, err)
		}
		start(t, b, log)
	}, func() {
		if err := b.Kill(); err != nil {
			t.Error(err)
		}
	})
}

// resubscriber asks for something whenever it has been answered for what it asked last.
type resubscriber struct {
	*exactReceiver
	prefix string
	asked  int
}

func dialResubscriber(
	ctx context.Context, l mqttLink, prefix string, seen map[[2]byte]bool, get mqttGetter,
) (mqttReceiver, bool, error) {
	p, present, err := dialExact(ctx, l)
	if err != nil {
		return nil, false, err
	}
	r := &resubscriber{exactReceiver: &exactReceiver{mqttPeer: p, seen: seen, get: get, onEnd: l.onEnd}, prefix: prefix}
	if present {
		r.begin()
	}
	return r, present, nil
}

func (r *resubscriber) subscribe(filter string, qos byte) error {
	err := r.mqttPeer.subscribe(filter, qos)
	r.begin()
	return err
}

func (r *resubscriber) begin() {
	_ = r.ask() // the connection may have ended, which is told elsewhere
	r.ended = r.readTo(r.answer, r.onEnd)
}

// ask replaces the subscription that must never be missing, or adds and removes one beside it.
func (r *resubscriber) ask() error {
	const unsubscribe = 0xa2
	r.asked++
	switch body := []byte{0, 1}; r.asked % 3 {
	case 0:
		return r.send(unsubscribe, append(body, mqttString(r.prefix+"/#")...)...)
	case 1:
		return r.send(mqttSUBSCRIBE, append(append(body, mqttString(r.prefix+"/#")...), 1)...)
	default:
		return r.send(mqttSUBSCRIBE, append(append(body, mqttString(r.prefix+"/+")...), 2)...)
	}
}

func (r *resubscriber) answer(pk mqttPacket) error {
	const unsuback = 0xb0
	switch pk.head {
	case mqttSUBACK, unsuback:
		return r.ask()
	}
	return r.step(pk)
}

const (
	contestLives    = 4
	contestMessages = 2000 // in each direction
	contestWindow   = 20   // that may be open
)

// Connects of one client identifier, clean and resuming ones, fight over its session, with QoS 2 in both directions, while the broker
// is killed. Nothing arrives twice in either direction; what was answered for arrives; and a session misses nothing while it lives.
func TestKilledBrokerKeepsContestedSessions(t *testing.T) {
	needOwnMQTT(t)
	t.Parallel()
	b, log := ownBroker(t)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the broker's log:\n%s", log.text())
		}
	})
	c := newContest(t, b.MQTTURL())
	for life := range contestLives {
		if life > 0 {
			_, err := b.life.wait(patience)
			must(t, err)
		}
		start(t, b, log)
		last := life == contestLives-1
		kill := func() {}
		if !last {
			kill = sync.OnceFunc(func() {
				if err := b.Kill(); err != nil {
					t.Error(err)
				}
			})
		}
		// The last session lives through a kill.
		if err := c.live(t, life < contestLives-2, last, kill); err != nil {
			t.Fatalf("life %d: %v", life+1, err)
		}
	}
	c.judge(t)
}

// contest is the clients: a publisher and an observer whose sessions nobody contests, and a device.
type contest struct {
	broker, prefix string
	rng            *rand.Rand

	rec      Recorder
	out      *outstanding // of the publisher
	outStore *exactStore
	seen     map[[2]byte]bool // by the observer
	device   device
	mu       sync.Mutex
	observed []int
	news     chan struct{} // a token: something was observed or received
}

// device is the client whose session is contested, with the state that it keeps of it: it has one connection that counts, the one that
// was accepted last, and does not listen to any other.
type device struct {
	mu         sync.Mutex
	generation int  // of the connection that counts
	clean      bool // it has discarded its state, and the broker has not confirmed that
	subscribed bool
	seen       map[[2]byte]bool
	open       []exactMessage
	lastID     uint16
	published  int
	confirmed  []int
	received   [][]int // by session
	mark       int     // what the publisher had published when the last session was subscribed
	connects   int
	failure    error
}

func newContest(t *testing.T, broker string) *contest {
	t.Helper()
	c := &contest{
		broker: broker, prefix: unique(t), rng: rand.New(rand.NewPCG(seed(t), 7)),
		outStore: new(exactStore), seen: make(map[[2]byte]bool), news: make(chan struct{}, 1),
	}
	c.out = newOutstanding(&c.rec)
	c.device.discard()
	return c
}

func (c *contest) tell() {
	select {
	case c.news <- struct{}{}:
	default: // the token is there
	}
}

// live lets all clients work until the broker is killed, at a random moment, or until everything has arrived.
func (c *contest) live(t *testing.T, clean, last bool, kill func()) error {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	subEnded, pubEnded := make(chan struct{}), make(chan struct{})
	observer, present, err := dialExactReceiver(ctx, mqttLink{c.broker, c.prefix + ".o", nil, func() { close(subEnded) }}, c.seen, c.observe)
	if err == nil && !present {
		err = observer.subscribe(c.prefix+"/up", 2)
	}
	if err != nil {
		return fmt.Errorf("observer: %w", err)
	}
	c.out.begin()
	link := mqttLink{c.broker, c.prefix + ".p", nil, func() { c.out.end(); close(pubEnded) }}
	publisher, _, err := dialExactSender(ctx, link, c.outStore, c.out)
	if err != nil {
		return fmt.Errorf("publisher: %w", err)
	}
	at := c.moment() // before the fight, which uses the random numbers too
	var work sync.WaitGroup
	work.Go(func() { c.publish(publisher) })
	work.Go(func() { c.fight(ctx, clean) })
	c.await(t, at, last, kill, subEnded)
	cancel()
	observer.close()
	publisher.close()
	work.Wait()
	<-subEnded
	<-pubEnded
	c.device.mu.Lock()
	defer c.device.mu.Unlock()
	c.device.generation++ // connections of this life that still say something are late
	return c.device.failure
}

// moment is a random one of a life's share of the work.
func (c *contest) moment() int {
	const share = 2 * contestMessages / contestLives
	return c.progress() + share/4 + c.rng.IntN(share/2)
}

// await returns when the life is over: it ends it when so much of the work is done as at says, unless it is the last.
func (c *contest) await(t *testing.T, at int, last bool, kill func(), ended <-chan struct{}) {
	t.Helper()
	limit := time.NewTimer(6 * patience)
	defer limit.Stop()
	for {
		switch {
		case last && c.complete(), c.failed():
			return
		case !last && c.progress() >= at:
			kill()
			last, at = false, 1<<30
		}
		select {
		case <-c.news:
		case <-ended:
			return
		case <-limit.C:
			t.Errorf("not complete after %v: %s", 6*patience, c.state())
			return
		}
	}
}

func (c *contest) failed() bool {
	c.device.mu.Lock()
	defer c.device.mu.Unlock()
	return c.device.failure != nil
}

// progress is how much has arrived, in both directions.
func (c *contest) progress() (n int) {
	c.mu.Lock()
	n = len(c.observed)
	c.mu.Unlock()
	c.device.mu.Lock()
	defer c.device.mu.Unlock()
	for _, session := range c.device.received {
		n += len(session)
	}
	return n
}

// complete reports whether both directions are through to the end.
func (c *contest) complete() bool {
	c.mu.Lock()
	up := len(c.observed) > 0 && c.observed[len(c.observed)-1] == contestMessages
	c.mu.Unlock()
	c.device.mu.Lock()
	defer c.device.mu.Unlock()
	session := c.device.received[len(c.device.received)-1]
	return up && len(c.device.open) == 0 && len(session) > 0 && session[len(session)-1] == contestMessages
}

func (c *contest) state() string {
	c.device.mu.Lock()
	defer c.device.mu.Unlock()
	d := &c.device
	return fmt.Sprintf("published %d, open %v, connects %d, %d sessions, the last received %d",
		d.published, d.open, d.connects, len(d.received), len(d.received[len(d.received)-1]))
}

// observe is called for every message that the device has published.
func (c *contest) observe(payload []byte, _ bool) {
	c.mu.Lock()
	c.observed = append(c.observed, messageOf(payload))
	c.mu.Unlock()
	c.tell()
}

// publish sends what is left to the device.
func (c *contest) publish(s mqttSender) {
	for {
		last, alive := c.out.await(contestWindow - 1)
		if !alive || last == contestMessages {
			return
		}
		if s.send(c.prefix+"/down", 2, numbered(last+1)) != nil {
			return
		}
	}
}

func numbered(message int) []byte { return binary.BigEndian.AppendUint64(nil, uint64(message)) }

// fight connects the device again and again, each time after some packets of the connection before, which is left as it is.
func (c *contest) fight(ctx context.Context, clean bool) {
	var readers sync.WaitGroup
	defer readers.Wait()
	for ctx.Err() == nil {
		p, err := openPeer(ctx, c.broker, 5)
		if err != nil {
			return // the broker is gone
		}
		context.AfterFunc(ctx, func() { _ = p.Close() })
		enough := make(chan struct{})
		generation, err := c.device.connect(p, c.prefix, clean && c.rng.IntN(4) == 0)
		if err != nil {
			c.device.fail(err)
			return
		}
		packets := 1 + c.rng.IntN(120)
		readers.Go(func() {
			defer func() { _ = p.Close() }()
			c.read(p, generation, packets, enough)
		})
		select {
		case <-enough:
		case <-ctx.Done():
		}
	}
}

// read handles what comes on a connection while that one counts.
func (c *contest) read(p *mqttPeer, generation, packets int, enough chan struct{}) {
	over := sync.OnceFunc(func() { close(enough) })
	defer over()
	for n := 0; ; n++ {
		pk, err := p.next()
		if err != nil || !c.device.handle(p, generation, c.prefix, pk, c.out.highest) {
			return
		}
		c.tell()
		if n == packets {
			over()
		}
	}
}

// highest is the last message that was published.
func (o *outstanding) highest() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last
}

// discard is what a clean start does to the device's own state.
func (d *device) discard() {
	d.generation++
	d.clean, d.subscribed = true, false
	d.seen, d.open = make(map[[2]byte]bool), nil
}

// fail notes what a broker does that keeps no promise; the end of a connection is none.
func (d *device) fail(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(err, errProtocol) && d.failure == nil {
		d.failure = err
	}
}

// connect connects, and takes up what the session holds.
func (d *device) connect(p *mqttPeer, prefix string, clean bool) (generation int, err error) {
	p.in = bufio.NewReader(p.Conn)
	d.mu.Lock()
	if clean {
		d.discard()
	}
	clean = d.clean // a clean start that was not answered is asked for again
	d.mu.Unlock()
	if _, err := p.Write(connectPacket(5, prefix+".d", clean, 3600).bytes()); err != nil {
		return 0, err
	}
	ack, err := p.expect(mqttCONNACK)
	if err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(ack) < 2 || ack[1] != 0 || (ack[0] == 1) == clean {
		return 0, fmt.Errorf("%w CONNACK %x after a clean start: %t", errProtocol, ack, clean)
	}
	d.generation++
	d.connects++
	if clean {
		d.clean = false
		d.received = append(d.received, nil)
	}
	if !d.subscribed {
		if err := p.send(mqttSUBSCRIBE, append(append([]byte{0, 1, 0}, mqttString(prefix+"/down")...), 2)...); err != nil {
			return d.generation, nil // the reader sees that the connection has ended
		}
	}
	for _, m := range d.open {
		if m.received {
			_ = p.send(mqttPUBREL, binary.BigEndian.AppendUint16(nil, m.id)...) // as above
		} else {
			_ = p.send(mqttPUBLISH|2<<1|1<<3, p.publishBody(m.topic, m.id, m.payload)...)
		}
	}
	d.publish(p, prefix)
	return d.generation, nil
}

// publish sends new messages as far as the window has room. mu is held.
func (d *device) publish(p *mqttPeer, prefix string) {
	for len(d.open) < contestWindow && d.published < contestMessages {
		if d.lastID++; d.lastID == 0 {
			d.lastID = 1
		}
		d.published++
		m := exactMessage{id: d.lastID, topic: prefix + "/up", payload: numbered(d.published)}
		d.open = append(d.open, m)
		if p.send(mqttPUBLISH|2<<1, p.publishBody(m.topic, m.id, m.payload)...) != nil {
			return // the reader sees it, too
		}
	}
}

// handle acts on a packet of the connection that counts; it returns false when that is another one.
func (d *device) handle(p *mqttPeer, generation int, prefix string, pk mqttPacket, published func() int) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.generation != generation {
		return false
	}
	err := d.step(p, prefix, pk, published)
	if err != nil && errors.Is(err, errProtocol) && d.failure == nil {
		d.failure = err
	}
	return err == nil
}

func (d *device) step(p *mqttPeer, prefix string, pk mqttPacket, published func() int) error {
	if pk.head&0xf0 == mqttPUBLISH {
		return d.receive(p, pk)
	}
	if len(pk.body) < 2 {
		return fmt.Errorf("%w packet %v", errProtocol, pk)
	}
	id := binary.BigEndian.Uint16(pk.body)
	at := slices.IndexFunc(d.open, func(m exactMessage) bool { return m.id == id })
	switch {
	case pk.head == mqttPUBREL:
		delete(d.seen, [2]byte(pk.body))
		return p.send(mqttPUBCOMP, pk.body[:2]...)
	case pk.head == mqttPUBREC && at >= 0 && (len(pk.body) == 2 || pk.body[2] < 0x80):
		if !d.open[at].received {
			d.open[at].received = true
			d.confirmed = append(d.confirmed, messageOf(d.open[at].payload))
		}
		return p.send(mqttPUBREL, pk.body[:2]...)
	case pk.head == mqttPUBCOMP && at >= 0:
		d.open = slices.Delete(d.open, at, at+1)
		d.publish(p, prefix)
		return nil
	case pk.head == mqttSUBACK && pk.body[len(pk.body)-1] == 2:
		d.subscribed, d.mark = true, published()
		return nil
	case pk.head == mqttDISCONNECT:
		return errors.New("the broker has ended the connection")
	}
	return fmt.Errorf("%w packet %v", errProtocol, pk)
}

// receive takes a message, unless it came before.
func (d *device) receive(p *mqttPeer, pk mqttPacket) error {
	m, err := p.delivery(pk)
	if err != nil || pk.head>>1&3 != 2 {
		return fmt.Errorf("%w PUBLISH %v (%w)", errProtocol, pk, err)
	}
	if !d.seen[m.id] {
		d.seen[m.id] = true
		session := &d.received[len(d.received)-1]
		*session = append(*session, messageOf(m.payload))
	}
	return p.send(mqttPUBREC, m.id[:]...)
}

// judge finds what a broker that keeps its promises does not do.
func (c *contest) judge(t *testing.T) {
	t.Helper()
	d := &c.device
	t.Logf("%d connects, %d sessions, %d messages observed of %d confirmed", d.connects, len(d.received), len(c.observed), len(d.confirmed))
	if d.connects < 3*contestLives || len(d.received) < 3 {
		t.Error("there was no contest to speak of")
	}
	for i, m := range c.observed {
		if i > 0 && m <= c.observed[i-1] {
			t.Errorf("message %d was observed after %d", m, c.observed[i-1])
		}
	}
	for _, m := range d.confirmed {
		if _, found := slices.BinarySearch(c.observed, m); !found {
			t.Errorf("message %d was confirmed and not observed", m)
		}
	}
	newest := 0
	for i, session := range d.received {
		for j, m := range session {
			if m <= newest || j > 0 && m != newest+1 {
				t.Errorf("session %d of %d received message %d after %d", i+1, len(d.received), m, newest)
			}
			newest = m
		}
	}
	if session := d.received[len(d.received)-1]; len(session) == 0 || session[0] > d.mark+1 {
		t.Errorf("the last session was subscribed before message %d was published, and did not receive it", d.mark+1)
	}
}
