package interop

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
)

// exactStore is a sender's session state (section 4.1): what was not answered to
// the end, in the order of publishing. It outlives connections.
type exactStore struct {
	mu   sync.Mutex
	last uint16
	open []exactMessage
}

type exactMessage struct {
	id       uint16
	topic    string
	payload  []byte
	received bool // PUBREC came: only PUBREL is sent from now on
}

// dialExact connects with MQTT 3.1.1 and keeps the session.
func dialExact(ctx context.Context, l mqttLink) (*mqttPeer, bool, error) {
	nc, err := l.open(ctx)
	if err != nil {
		return nil, false, err
	}
	p := &mqttPeer{Conn: nc, in: bufio.NewReader(nc), version: 4}
	present, err := p.connect(l.clientID, false)
	if err != nil {
		return nil, false, errors.Join(err, nc.Close())
	}
	return p, present, nil
}

// readTo has step called for every packet, by a goroutine that ends with the
// connection; then onEnd is called and ended closed.
func (p *mqttPeer) readTo(step func(mqttPacket) error, onEnd func()) (ended chan struct{}) {
	ended = make(chan struct{})
	go func() {
		defer onEnd()
		defer close(ended)
		for {
			pk, err := p.next()
			if err == nil {
				err = step(pk)
			}
			if err != nil {
				_ = p.Close() // the other side sees that it ends
				return
			}
		}
	}()
	return ended
}

// exactSender publishes with QoS 2 as section 4.3.3 asks for.
type exactSender struct {
	*mqttPeer
	store *exactStore
	out   *outstanding
	ended chan struct{}
}

func dialExactSender(ctx context.Context, l mqttLink, store *exactStore, out *outstanding) (mqttSender, bool, error) {
	p, present, err := dialExact(ctx, l)
	if err != nil {
		return nil, false, err
	}
	s := &exactSender{mqttPeer: p, store: store, out: out}
	s.ended = p.readTo(s.answer, l.onEnd)
	for _, m := range store.unanswered() {
		if m.received {
			err = s.release(m.id)
		} else {
			err = s.transmit(m, true)
		}
		if err != nil {
			break // the connection has ended, which is told elsewhere
		}
	}
	return s, present, nil //nolint:nilerr // see above
}

func (s *exactStore) unanswered() []exactMessage {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.open)
}

func (s *exactSender) send(topic string, qos byte, payload []byte) error {
	if qos != 2 {
		return fmt.Errorf("QoS %d: this sender knows QoS 2 only", qos)
	}
	s.store.mu.Lock()
	if s.store.last++; s.store.last == 0 {
		s.store.last = 1
	}
	m := exactMessage{id: s.store.last, topic: topic, payload: payload}
	s.store.open = append(s.store.open, m)
	s.store.mu.Unlock()
	s.out.published(m.id, payload)
	return s.transmit(m, false)
}

func (s *exactSender) transmit(m exactMessage, dup bool) error {
	head := byte(mqttPUBLISH | 2<<1)
	if dup {
		head |= 1 << 3
	}
	return s.mqttPeer.send(head, s.publishBody(m.topic, m.id, m.payload)...)
}

func (s *exactSender) release(id uint16) error {
	return s.mqttPeer.send(mqttPUBREL, binary.BigEndian.AppendUint16(nil, id)...)
}

func (s *exactSender) answer(pk mqttPacket) error {
	if len(pk.body) != 2 {
		return fmt.Errorf("%w packet %v", errProtocol, pk)
	}
	id := binary.BigEndian.Uint16(pk.body)
	s.store.mu.Lock()
	defer s.store.mu.Unlock()
	at := slices.IndexFunc(s.store.open, func(m exactMessage) bool { return m.id == id })
	switch {
	case pk.head == mqttPUBREC && at >= 0:
		s.store.open[at].received = true
		return s.release(id)
	case pk.head == mqttPUBCOMP && at >= 0:
		s.store.open = slices.Delete(s.store.open, at, at+1)
		s.out.answered(id)
		return nil
	}
	return fmt.Errorf("%w packet %v", errProtocol, pk)
}

func (s *exactSender) close() {
	_ = s.Close() // it may have ended
	<-s.ended
}

// exactReceiver receives QoS 2 as section 4.3.3 asks for: it remembers identifiers
// from the PUBLISH to the PUBREL. Its reader starts once it is subscribed.
type exactReceiver struct {
	*mqttPeer
	seen  map[[2]byte]bool // outlives the connection
	get   mqttGetter
	onEnd func()
	ended chan struct{}
}

func dialExactReceiver(ctx context.Context, l mqttLink, seen map[[2]byte]bool, get mqttGetter) (mqttReceiver, bool, error) {
	p, present, err := dialExact(ctx, l)
	if err != nil {
		return nil, false, err
	}
	e := &exactReceiver{mqttPeer: p, seen: seen, get: get, onEnd: l.onEnd}
	if present {
		e.ended = p.readTo(e.step, e.onEnd)
	}
	return e, present, nil
}

func (e *exactReceiver) subscribe(filter string, qos byte) error {
	err := e.mqttPeer.subscribe(filter, qos)
	e.ended = e.readTo(e.step, e.onEnd)
	return err
}

func (e *exactReceiver) step(pk mqttPacket) error {
	switch {
	case pk.head&0xf0 == mqttPUBLISH:
		d, err := e.delivery(pk)
		if err != nil {
			return err
		}
		if !e.seen[d.id] {
			e.seen[d.id] = true
			e.get(d.payload, d.dup)
		}
		return e.send(mqttPUBREC, d.id[:]...)
	case pk.head == mqttPUBREL && len(pk.body) == 2:
		delete(e.seen, [2]byte(pk.body))
		return e.send(mqttPUBCOMP, pk.body...)
	}
	return fmt.Errorf("%w packet %v", errProtocol, pk)
}

func (e *exactReceiver) close() {
	_ = e.Close() // it may have ended
	<-e.ended
}
