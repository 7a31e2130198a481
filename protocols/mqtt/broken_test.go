package mqtt_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestNothingBreaksAPromise lets a publisher and a subscriber lose their
// connections, and the broker its life, at random moments. Both clients do what
// the specification asks of them. In the end every message has arrived: those of
// QoS 1 at least once, those of QoS 2 exactly once, each kind in its order.
func TestNothingBreaksAPromise(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := story{
					t: t, rnd: rand.New(rand.NewPCG(seed, 7)), disk: memstore.NewDisk(),
					version: []wire.Version{wire.V311, wire.V5}[seed%2],
				}
				s.run()
			})
		})
	}
}

// story is one run of the test: what the world remembers while connections and
// brokers come and go.
type story struct {
	t       *testing.T
	rnd     *rand.Rand
	disk    *memstore.Disk
	version wire.Version
	epoch   uint32
	bed     *bed

	pub, sub *peer // nil while there is no connection

	// The publisher's session.
	sent    int
	pending []pendingPublish
	lastID  uint16

	// The subscriber's session.
	subscribed bool
	holding    map[uint16]bool // QoS 2 identifiers not released
	got        [3][]int        // by QoS
}

type pendingPublish struct {
	id       uint16
	number   int
	released bool // PUBREC was received
}

// storyLength is how many messages are published, half of them of each QoS.
const storyLength = 60

func (s *story) run() {
	s.holding = map[uint16]bool{}
	s.startBroker()
	s.connectSubscriber()
	for range 2000 {
		s.step()
		if s.sent == storyLength && len(s.pending) == 0 && s.complete() {
			break
		}
	}
	want := [3][]int{}
	for i := range storyLength {
		want[qosOf(i)] = append(want[qosOf(i)], i)
	}
	if !slices.Equal(s.got[2], want[2]) {
		s.t.Errorf("QoS 2: got %v", s.got[2])
	}
	if first := firsts(s.got[1]); !slices.Equal(first, want[1]) {
		s.t.Errorf("QoS 1: got %v", s.got[1])
	}
}

func qosOf(number int) int { return 1 + number%2 }

// firsts leaves out what came before.
func firsts(list []int) (out []int) {
	for _, n := range list {
		if !slices.Contains(out, n) {
			out = append(out, n)
		}
	}
	return out
}

func (s *story) complete() bool {
	return len(firsts(s.got[1]))+len(s.got[2]) >= storyLength
}

// step lets something happen.
func (s *story) step() {
	switch n := s.rnd.IntN(100); {
	case n < 2:
		s.killBroker()
	case n < 6:
		s.hangUp(&s.pub)
	case n < 10:
		s.hangUp(&s.sub)
	case n < 55:
		if s.pub == nil {
			s.connectPublisher()
		}
		s.publishOne()
		s.readAnswer()
	default:
		if s.sub == nil {
			s.connectSubscriber()
		}
		s.readDelivery()
	}
}

func (s *story) startBroker() {
	s.epoch++
	s.bed = newBed(s.t, func(set *setup) { set.store.Disk, set.broker = s.disk, core.Options{Epoch: s.epoch} })
}

// killBroker ends it without a word, and with what has not passed.
func (s *story) killBroker() {
	s.bed.store.Crash()
	s.bed.stop(listen.ErrCut)
	s.bed.serving.Wait()
	s.bed.broker.Close()
	s.hangUp(&s.pub)
	s.hangUp(&s.sub)
	s.startBroker()
}

func (s *story) hangUp(p **peer) {
	if *p != nil {
		_ = (*p).nc.Close()
		*p = nil
		synctest.Wait()
	}
}

func (s *story) connect(id string) *peer {
	p := s.bed.dial(s.version)
	if s.write(&p, connect(s.version, id, resume)) && s.read(&p) != nil {
		return p
	}
	s.t.Fatalf("%s cannot connect", id)
	return nil
}

// write sends, unless the connection breaks.
func (s *story) write(p **peer, b []byte) bool {
	if *p == nil {
		return false
	}
	if _, err := (*p).nc.Write(b); err != nil {
		s.hangUp(p)
		return false
	}
	return true
}

// read returns the next packet, or nil if there is none for now.
func (s *story) read(p **peer) *wire.Frame {
	if *p == nil {
		return nil
	}
	_ = (*p).nc.SetReadDeadline(time.Now().Add(time.Millisecond))
	f, err := (*p).frame()
	if err != nil {
		return nil
	}
	return &f
}

// connectPublisher resumes: what was not answered is sent again in its order
// [MQTT-4.4.0-1] [MQTT-4.6.0-1].
func (s *story) connectPublisher() {
	s.pub = s.connect("publisher")
	for _, m := range s.pending {
		if m.released {
			s.write(&s.pub, wire.AppendAck(nil, wire.PUBREL, s.version, wire.Ack{PacketID: m.id}))
		} else {
			s.write(&s.pub, s.publication(m, 8))
		}
	}
}

func (s *story) publication(m pendingPublish, dup byte) []byte {
	return publishPacket(s.version, byte(qosOf(m.number))<<1|dup, fmt.Sprint("t/", qosOf(m.number)), strconv.Itoa(m.number), m.id)
}

func (s *story) publishOne() {
	if s.sent == storyLength || len(s.pending) >= 8 || !s.subscribed {
		return
	}
	s.lastID++
	m := pendingPublish{id: s.lastID, number: s.sent}
	s.sent++
	s.pending = append(s.pending, m)
	s.write(&s.pub, s.publication(m, 0))
}

func (s *story) readAnswer() {
	f := s.read(&s.pub)
	if f == nil {
		return
	}
	a, err := wire.ParseAck(*f, s.version)
	i := slices.IndexFunc(s.pending, func(m pendingPublish) bool { return m.id == a.PacketID })
	if err != nil || i < 0 {
		s.t.Fatalf("%s, %v", describe(*f, s.version), err)
	}
	switch f.Type {
	case wire.PUBREC:
		s.pending[i].released = true
		s.write(&s.pub, wire.AppendAck(nil, wire.PUBREL, s.version, wire.Ack{PacketID: a.PacketID}))
	default:
		s.pending = slices.Delete(s.pending, i, i+1)
	}
}

func (s *story) connectSubscriber() {
	s.sub = s.connect("subscriber")
	for !s.subscribed {
		s.write(&s.sub, subscribePacket(s.version, 1, "", 2, "t/#"))
		s.subscribed = s.read(&s.sub) != nil
	}
}

// readDelivery takes a packet; the connection may break before it is answered.
func (s *story) readDelivery() {
	f := s.read(&s.sub)
	if f == nil {
		return
	}
	var answer []byte
	if f.Type == wire.PUBREL {
		a, _ := wire.ParseAck(*f, s.version)
		delete(s.holding, a.PacketID)
		answer = wire.AppendAck(nil, wire.PUBCOMP, s.version, wire.Ack{PacketID: a.PacketID})
	} else {
		answer = s.take(*f)
	}
	if s.rnd.IntN(20) == 0 {
		s.hangUp(&s.sub)
		return
	}
	s.write(&s.sub, answer)
}

func (s *story) take(f wire.Frame) (answer []byte) {
	m, err := wire.ParsePublish(f, s.version)
	number, _ := strconv.Atoi(string(m.Payload))
	if err != nil || int(m.QoS) != qosOf(number) {
		s.t.Fatalf("%s, %v", describe(f, s.version), err)
	}
	if m.QoS == 1 {
		s.got[1] = append(s.got[1], number)
		return wire.AppendAck(nil, wire.PUBACK, s.version, wire.Ack{PacketID: m.PacketID})
	}
	if !s.holding[m.PacketID] {
		s.holding[m.PacketID] = true
		s.got[2] = append(s.got[2], number)
	}
	return wire.AppendAck(nil, wire.PUBREC, s.version, wire.Ack{PacketID: m.PacketID})
}
