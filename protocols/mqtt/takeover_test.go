package mqtt_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// anyone lets everybody in under the name that is given.
type anyone struct{}

func (anyone) Authenticate(_ context.Context, c auth.Credentials) (auth.Principal, error) {
	return auth.Principal{Name: c.Username}, nil
}

// TestSessionBelongsToItsUser: another user neither gets it nor ends it, nor the connection that has it.
func TestSessionBelongsToItsUser(t *testing.T) {
	inBubble(t, func(s *setup) { s.server.Auth = anyone{} }, func(b *bed) {
		s := b.connect(wire.V5, "c", resume, login("alice", ""))
		s.subscribe(1, 1, "t")
		for _, tt := range []struct {
			v      wire.Version
			change []func(*connectPacket)
			want   string
		}{
			{wire.V5, []func(*connectPacket){resume, login("bob", "")}, "CONNACK 0x87"},
			{wire.V5, []func(*connectPacket){login("bob", "")}, "CONNACK 0x87"}, // a clean start
			{wire.V311, []func(*connectPacket){resume, login("bob", "")}, "CONNACK 0x05"},
			{wire.V31, []func(*connectPacket){login("bob", "")}, "CONNACK 0x05"},
		} {
			p := b.dial(tt.v)
			p.write(connect(tt.v, "c", tt.change...))
			p.expect(tt.want)
			p.gone()
		}
		p := b.connect(wire.V311, "p", login("bob", ""))
		p.publish("t", "one", 1, 1)
		p.expect("PUBACK #1")
		s.expect(`PUBLISH t q1 #1 "one"`)
	})
}

func TestFullDisk(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		old := b.connect(wire.V5, "old", resume)
		b.store.SetSpace(core.Space{Level: core.SpaceFull})
		for _, tt := range []struct {
			name string
			v    wire.Version
			send []byte
			want string
		}{
			{"a session", wire.V5, connect(wire.V5, "new", resume), "CONNACK 0x97"},
			{"a session of 3.1.1", wire.V311, connect(wire.V311, "new", resume), "CONNACK 0x03"},
			{"a will", wire.V5, connect(wire.V5, "new", will("w", "", 0, false, "")), "CONNACK 0x97"},
			{"a will of a session that is there", wire.V5, connect(wire.V5, "old", resume, will("w", "", 0, false, "")), "CONNACK 0x97"},
		} {
			p := b.dial(tt.v)
			p.write(tt.send)
			if got := p.next(); got != tt.want {
				t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
			}
			p.gone()
		}
		if got := old.subscribe(1, 1, "t"); got != "SUBACK #1 0x97" {
			t.Errorf("a subscription is answered with %s", got)
		}
		b.connect(wire.V5, "new") // which needs nothing
		if _, present := b.again(wire.V5, "old"); !present {
			t.Error("the session is gone")
		}
	})
}

// TestTakenOver_MQTT_3_1_4_3: the connection that comes later has the session; what the earlier one still says is not heard.
func TestTakenOver_MQTT_3_1_4_3(t *testing.T) { // [MQTT-3.1.4-3]
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		t.Run(v.String(), func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				s := b.connect(v, "s", resume)
				s.subscribe(1, 2, "t")
				p := b.connect(v, "p")
				p.publish("t", "one", 2, 1)
				p.expect("PUBREC #1")
				s.expect(`PUBLISH t q2 #1 "one"`)
				next := b.resumed(v, "s")
				go func() { _, _ = s.nc.Write(wire.AppendAck(nil, wire.PUBREC, v, wire.Ack{PacketID: 1})) }() // it may be gone
				s.dropped(wire.SessionTakenOver)
				next.expect(`PUBLISH t q2 #1 dup "one"`)
				next.ack(wire.PUBREC, 1)
				next.expect("PUBREL #1")
				next.ack(wire.PUBCOMP, 1)
				next.silence(time.Minute)
			})
		})
	}
}

// TestSentAgainWithinReceiveMaximum_MQTT_3_3_4_9: what the last connection left is subject to the limit of this one.
func TestSentAgainWithinReceiveMaximum_MQTT_3_3_4_9(t *testing.T) { // [MQTT-3.3.4-9]
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s", resume)
		s.subscribe(1, 1, "t")
		p := b.connect(wire.V5, "p")
		for id := range uint16(3) {
			p.publish("t", "m", 1, id+1)
			p.next()
			s.next()
		}
		_ = s.nc.Close()
		synctest.Wait()
		s = b.connect(wire.V5, "s", resume, properties(short(wire.ReceiveMaximum, 1)))
		for id, want := range []string{`PUBLISH t q1 #1 dup "m"`, `PUBLISH t q1 #2 dup "m"`, `PUBLISH t q1 #3 dup "m"`} {
			s.expect(want)
			s.silence(time.Minute)
			s.ack(wire.PUBACK, uint16(id+1))
		}
	})
}

// TestSentAgainAfterACleanStop_MQTT_3_3_1_1: with DUP, as the client may have it.
func TestSentAgainAfterACleanStop_MQTT_3_3_1_1(t *testing.T) { // [MQTT-3.3.1-1]
	disk := memstore.NewDisk()
	inBubble(t, func(s *setup) { s.store.Disk = disk }, func(b *bed) {
		s := b.connect(wire.V5, "s", resume, properties(short(wire.ReceiveMaximum, 1)))
		s.subscribe(1, 1, "t")
		p := b.connect(wire.V5, "p")
		p.publish("t", "sent", 1, 1)
		p.publish("t", "waits", 1, 2)
		s.expect(`PUBLISH t q1 #1 "sent"`)
		p.expect("PUBACK #1", "PUBACK #2")
		b.stop(listen.ErrStopping)
		s.dropped(wire.ServerShuttingDown)
		p.dropped(wire.ServerShuttingDown)
		b.serving.Wait()
	})
	inBubble(t, func(s *setup) { s.store.Disk, s.broker = disk, core.Options{Epoch: 2} }, func(b *bed) {
		// Half the ring away from what the client may still answer.
		b.resumed(wire.V5, "s").expect(`PUBLISH t q1 #32769 dup "sent"`, `PUBLISH t q1 #32770 "waits"`)
	})
}

// TestReleaseOfWhatIsNotThere: PUBCOMP says so where it can (section 3.7.2.1).
func TestReleaseOfWhatIsNotThere(t *testing.T) {
	for v, want := range map[wire.Version]string{wire.V311: "PUBCOMP #9", wire.V5: "PUBCOMP #9 0x92"} {
		inBubble(t, nil, func(b *bed) {
			p := b.connect(v, "p")
			p.ack(wire.PUBREL, 9)
			p.expect(want)
		})
	}
}
