package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	honestEvery = 5 * time.Millisecond // of each protocol
	honestOpen  = 500                  // messages that a publisher has unconfirmed at most
	honestSize  = 128
)

// honest is a publisher and a consumer of each protocol that do what they always
// do, whatever happens beside them.
type honest struct {
	amqp, mqtt *honestPair
	lapped     [2]int // of each the messages that were sent at the last lap
	cancel     context.CancelFunc
	running    sync.WaitGroup
}

// honestPair is one protocol's.
type honestPair struct {
	send func(n uint64) error

	mu       sync.Mutex
	changed  chan struct{} // closed and made again with each confirm or delivery
	messages []honestMessage
	confirms int
	err      error
}

// honestMessage is when it was to be sent, and what was heard of it, after how long.
type honestMessage struct {
	due                  time.Time
	confirmed, delivered time.Duration
}

// honestLap is a part of what an honest pair has sent, by number.
type honestLap struct{ amqp, mqtt [2]int }

// latencies are the 99th percentiles of a honestLap, from when a message was to be sent.
type latencies struct{ amqp, mqtt honestMessage }

func (l latencies) String() string {
	show := func(m honestMessage) string {
		return fmt.Sprintf("%.1f/%.1f", m.delivered.Seconds()*1e3, m.confirmed.Seconds()*1e3)
	}
	return show(l.amqp) + ", " + show(l.mqtt) + " ms"
}

// deliveries are those to consumers, in milliseconds.
func (l latencies) deliveries() string {
	return fmt.Sprintf("%.0f, %.0f", l.amqp.delivered.Seconds()*1e3, l.mqtt.delivered.Seconds()*1e3)
}

// ratios compare deliveries.
func (l latencies) ratios(was latencies) (amqp, mqtt float64) {
	return float64(l.amqp.delivered) / float64(was.amqp.delivered), float64(l.mqtt.delivered) / float64(was.mqtt.delivered)
}

func (l latencies) over(was latencies) string {
	amqp, mqtt := l.ratios(was)
	return fmt.Sprintf("%.1f, %.1f", amqp, mqtt)
}

// beHonest begins. What goes wrong shows in stop.
func beHonest(t *testing.T, b *Broker) *honest {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	h := &honest{amqp: newHonestPair(), mqtt: newHonestPair(), cancel: cancel}
	t.Cleanup(cancel)
	must(t, h.openAMQP(b))
	must(t, h.openMQTT(ctx, b))
	for _, p := range []*honestPair{h.amqp, h.mqtt} {
		h.running.Go(func() { p.fail(p.publish(ctx)) })
	}
	return h
}

func newHonestPair() *honestPair { return &honestPair{changed: make(chan struct{})} }

func (h *honest) openAMQP(b *Broker) error {
	out, err := openLoad(b.AMQP)
	if err != nil {
		return err
	}
	if err := errors.Join(out.declare("honest"), out.call(1, "\x00\x55\x00\x0a\x00", 85, 11)); err != nil {
		return err
	}
	in, err := subscribeAll(b.AMQP, []string{"honest"}, 1000)
	if err != nil {
		return err
	}
	method := rawFrame(1, 1, "\x00\x3c\x00\x28\x00\x00\x00"+shortstr("honest")+"\x00")
	header := rawFrame(2, 1, "\x00\x3c\x00\x00"+string(binary.BigEndian.AppendUint64(nil, honestSize))+"\x10\x00\x02")
	h.amqp.send = func(n uint64) error {
		body := binary.BigEndian.AppendUint64(make([]byte, 0, honestSize), n)
		_, err := out.Write(slices.Concat(method, header, rawFrame(3, 1, string(body[:honestSize]))))
		return err
	}
	go func() { h.amqp.fail(h.amqp.amqpConfirms(out)) }()  // ends with the connection,
	go func() { h.amqp.fail(h.amqp.amqpDeliveries(in)) }() // as the broker's end is the test's
	return nil
}

func (p *honestPair) amqpConfirms(c *loadConn) error {
	next := uint64(1)
	for {
		args, err := c.expect(60, 80)
		if err != nil {
			return fmt.Errorf("the AMQP publisher: %w", err)
		}
		tag, first := binary.BigEndian.Uint64(args), next
		if args[8] == 0 {
			first = tag
		}
		for n := first; n <= tag; n++ {
			p.confirm(n - 1)
		}
		next = max(next, tag+1)
	}
}

func (p *honestPair) amqpDeliveries(s *subscription) error {
	for {
		typ, payload, err := s.frame()
		if err != nil {
			return fmt.Errorf("the AMQP consumer: %w", err)
		}
		switch {
		case typ == 1 && methodOf(payload) == 60<<16|60:
			s.tag = binary.BigEndian.Uint64(payload[5+payload[4]:])
		case typ == 3:
			p.deliver(binary.BigEndian.Uint64(payload))
			if _, err := s.Write(ackFrame(s.tag, false)); err != nil {
				return fmt.Errorf("the AMQP consumer: %w", err)
			}
		}
	}
}

func (h *honest) openMQTT(ctx context.Context, b *Broker) error {
	in, err := openPeer(ctx, b.MQTTURL(), 5)
	if err != nil {
		return err
	}
	if _, err := in.connect("honest-subscriber", false); err != nil {
		return err
	}
	if err := in.subscribe("honest/topic", 1); err != nil {
		return err
	}
	out, err := openPeer(ctx, b.MQTTURL(), 5)
	if err != nil {
		return err
	}
	if _, err := out.connect("honest-publisher", true); err != nil {
		return err
	}
	h.mqtt.send = func(n uint64) error {
		body := binary.BigEndian.AppendUint64(make([]byte, 0, honestSize), n)
		return out.send(mqttPUBLISH|2, out.publishBody("honest/topic", uint16(n%60_000)+1, body[:honestSize])...)
	}
	go func() { h.mqtt.fail(h.mqtt.mqttConfirms(out)) }()
	go func() { h.mqtt.fail(h.mqtt.mqttDeliveries(in)) }()
	return nil
}

// mqttConfirms: a broker answers QoS 1 in the order of the publishes [MQTT-4.6.0-2].
func (p *honestPair) mqttConfirms(c *mqttPeer) error {
	for n := uint64(0); ; n++ {
		ack, err := c.expect(mqttPUBACK)
		if err != nil {
			return fmt.Errorf("the MQTT publisher: %w", err)
		}
		if id := binary.BigEndian.Uint16(ack); id != uint16(n%60_000)+1 || len(ack) > 2 && ack[2] >= 0x80 {
			return fmt.Errorf("the MQTT publisher: PUBACK %x for message %d", ack, n)
		}
		p.confirm(n)
	}
}

func (p *honestPair) mqttDeliveries(c *mqttPeer) error {
	for {
		pk, err := c.next()
		if err != nil {
			return fmt.Errorf("the MQTT subscriber: %w", err)
		}
		d, err := c.delivery(pk)
		if err != nil {
			return err
		}
		p.deliver(binary.BigEndian.Uint64(d.payload))
		if err := c.send(mqttPUBACK, d.id[:]...); err != nil {
			return fmt.Errorf("the MQTT subscriber: %w", err)
		}
	}
}

// publish goes on until ctx ends. A message is late from when it was to be sent,
// also if the one before it could not be written in time.
func (p *honestPair) publish(ctx context.Context) error {
	for due := time.Now(); pause(ctx, time.Until(due)) == nil; due = due.Add(honestEvery) {
		p.mu.Lock()
		n, full, changed := len(p.messages), len(p.messages)-p.confirms >= honestOpen, p.changed
		if !full {
			p.messages = append(p.messages, honestMessage{due: due})
		}
		p.mu.Unlock()
		if full {
			select {
			case <-changed:
			case <-ctx.Done():
				return nil
			}
			due = due.Add(-honestEvery) // this one is still to be sent
			continue
		}
		if err := p.send(uint64(n)); err != nil {
			return err
		}
	}
	return nil
}

func (p *honestPair) confirm(n uint64) {
	p.note(n, func(m *honestMessage) {
		p.confirms++
		m.confirmed = time.Since(m.due)
	})
}

func (p *honestPair) deliver(n uint64) {
	p.note(n, func(m *honestMessage) { m.delivered = time.Since(m.due) })
}

func (p *honestPair) note(n uint64, heard func(m *honestMessage)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n >= uint64(len(p.messages)) {
		p.err = errors.Join(p.err, fmt.Errorf("heard of message %d, of %d", n, len(p.messages)))
		return
	}
	heard(&p.messages[n])
	p.tellLocked()
}

func (p *honestPair) tellLocked() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *honestPair) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil && p.err == nil {
		p.err = err
	}
	p.tellLocked()
}

func (p *honestPair) sent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.messages)
}

// lap returns what was sent since the last lap.
func (h *honest) lap() honestLap {
	now := [2]int{h.amqp.sent(), h.mqtt.sent()}
	s := honestLap{[2]int{h.lapped[0], now[0]}, [2]int{h.lapped[1], now[1]}}
	h.lapped = now
	return s
}

// stop ends the publishers, and has everything that they have sent arrive.
func (h *honest) stop(t *testing.T) {
	t.Helper()
	h.cancel()
	h.running.Wait()
	for name, p := range map[string]*honestPair{"AMQP": h.amqp, "MQTT": h.mqtt} {
		if err := p.drain(t); err != nil {
			t.Errorf("an honest %s client: %v", name, err)
		}
	}
}

func (p *honestPair) drain(t *testing.T) error {
	t.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for {
		p.mu.Lock()
		missing, err, changed := p.missingLocked(), p.err, p.changed
		p.mu.Unlock()
		if err != nil || missing == "" {
			return err
		}
		select {
		case <-changed:
		case <-limit.C:
			return errors.New(missing)
		}
	}
}

func (p *honestPair) missingLocked() string {
	for n, m := range p.messages {
		if m.confirmed == 0 || m.delivered == 0 {
			return fmt.Sprintf("of %d messages number %d was confirmed after %v and delivered after %v, 0 is not at all", len(p.messages), n, m.confirmed, m.delivered)
		}
	}
	return ""
}

// p99 is to be asked for when everything has arrived.
func (h *honest) p99(s honestLap) latencies {
	return latencies{h.amqp.p99(s.amqp), h.mqtt.p99(s.mqtt)}
}

func (p *honestPair) p99(part [2]int) honestMessage {
	p.mu.Lock()
	defer p.mu.Unlock()
	var confirmed, delivered []time.Duration
	for _, m := range p.messages[part[0]:part[1]] {
		confirmed, delivered = append(confirmed, m.confirmed), append(delivered, m.delivered)
	}
	return honestMessage{confirmed: percentile99(confirmed), delivered: percentile99(delivered)}
}

func percentile99(d []time.Duration) time.Duration {
	if len(d) == 0 {
		return 0
	}
	slices.Sort(d)
	return d[(len(d)-1)*99/100]
}
