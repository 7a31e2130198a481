package mqtt_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// again reconnects a client and reports whether its session was there.
func (b *bed) again(v wire.Version, id string) (p *peer, present bool) {
	b.t.Helper()
	p = b.dial(v)
	p.write(connect(v, id, resume))
	got := p.next()
	if !strings.HasPrefix(got, "CONNACK 0x00") {
		b.t.Fatalf("%s is answered with %s", id, got)
	}
	return p, strings.HasPrefix(got, "CONNACK 0x00 present")
}

// TestSessionPresent_MQTT_3_2_2_2 follows a session through the ways in which a
// client comes and goes.
func TestSessionPresent_MQTT_3_2_2_2(t *testing.T) { // [MQTT-3.2.2-2] [MQTT-3.2.2-3]
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		t.Run(v.String(), func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				p, present := b.again(v, "c")
				if present {
					t.Error("a session before there was one")
				}
				p.disconnect()
				if p, present = b.again(v, "c"); !present {
					t.Error("no session after DISCONNECT")
				}
				_ = p.nc.Close()
				synctest.Wait()
				if p, present = b.again(v, "c"); !present {
					t.Error("no session after a broken connection")
				}
				p.disconnect()
				b.connect(v, "c").disconnect() // [MQTT-3.1.2-4]: a clean start, and no expiry
				if _, present = b.again(v, "c"); present {
					t.Error("a session after a clean one")
				}
			})
		})
	}
}

func TestSessionExpires_MQTT_3_1_2_23(t *testing.T) { // [MQTT-3.1.2-23] [MQTT-4.1.0-2]
	inBubble(t, nil, func(b *bed) {
		p, _ := b.again(wire.V5, "c") // for an hour
		p.disconnect()
		time.Sleep(59 * time.Minute)
		p, present := b.again(wire.V5, "c")
		if !present {
			t.Error("the session is gone before its time")
		}
		p.disconnect()
		time.Sleep(61 * time.Minute)
		p, present = b.again(wire.V5, "c")
		if present {
			t.Error("the session is there after its time")
		}
		// DISCONNECT may change the interval (section 3.14.2.2.2).
		p.write(packet(0xE0, "\x00"+section(long(wire.SessionExpiry, 60))))
		p.gone()
		time.Sleep(61 * time.Second)
		if _, present = b.again(wire.V5, "c"); present {
			t.Error("the session is there after its new time")
		}
	})
}

func TestExpiryInDisconnectAfterNone_MQTT_3_14_2_2_2(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "c")
		p.write(packet(0xE0, "\x00"+section(long(wire.SessionExpiry, 60))))
		p.dropped(wire.ProtocolError)
	})
}

// TestMessagesWait: QoS 1 and 2 wait for a client that is away, in
// order; QoS 0 does not.
func TestMessagesWait(t *testing.T) {
	for _, v := range []wire.Version{wire.V31, wire.V311, wire.V5} {
		t.Run(v.String(), func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				s := b.connect(v, "s", resume)
				s.subscribe(1, 2, "t/#")
				s.disconnect()
				p := b.connect(v, "p")
				p.publish("t/0", "zero", 0, 0)
				p.publish("t/1", "one", 1, 1)
				p.expect("PUBACK #1")
				p.publish("t/2", "two", 2, 2)
				p.expect("PUBREC #2")
				p.ack(wire.PUBREL, 2)
				p.expect("PUBCOMP #2")
				s = b.resumed(v, "s")
				s.expect(`PUBLISH t/1 q1 #1 "one"`, `PUBLISH t/2 q2 #2 "two"`)
			})
		})
	}
}

// resumed returns a peer that has resumed its session.
func (b *bed) resumed(v wire.Version, id string) *peer {
	b.t.Helper()
	p, _ := b.again(v, id)
	return p
}

// TestSentAgain_MQTT_4_4_0_1: what was not answered comes again on the next
// connection, with its identifier and DUP, and only there.
func TestSentAgain_MQTT_4_4_0_1(t *testing.T) { // [MQTT-4.4.0-1]
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		t.Run(v.String(), func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				s := b.connect(v, "s", resume)
				s.subscribe(1, 2, "t")
				p := b.connect(v, "p")
				p.publish("t", "one", 1, 1)
				p.publish("t", "two", 2, 2)
				p.publish("t", "three", 2, 3)
				p.expect("PUBACK #1", "PUBREC #2", "PUBREC #3")
				s.expect(`PUBLISH t q1 #1 "one"`, `PUBLISH t q2 #2 "two"`, `PUBLISH t q2 #3 "three"`)
				s.ack(wire.PUBREC, 2)
				s.expect("PUBREL #2")
				s.silence(time.Hour)
				_ = s.nc.Close()
				synctest.Wait()
				s = b.resumed(v, "s")
				s.expect("PUBREL #2", `PUBLISH t q1 #1 dup "one"`, `PUBLISH t q2 #3 dup "three"`)
				s.ack(wire.PUBACK, 1)
				s.ack(wire.PUBCOMP, 2)
				s.ack(wire.PUBREC, 3)
				s.expect("PUBREL #3")
				s.ack(wire.PUBCOMP, 3)
				s.disconnect()
				b.resumed(v, "s").silence(time.Hour)
			})
		})
	}
}

// TestQoS2ComesOnce_MQTT_4_3_3_10: a PUBLISH that is sent again under an
// identifier that was not released is not published again, on the same
// connection or the next.
func TestQoS2ComesOnce_MQTT_4_3_3_10(t *testing.T) { // [MQTT-4.3.3-10]
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 2, "t")
		p := b.resumed(wire.V5, "p")
		p.publish("t", "once", 2, 7)
		p.expect("PUBREC #7")
		s.expect(`PUBLISH t q2 #1 "once"`)
		p.publishFlags(0xC, "t", "once", 7)
		p.expect("PUBREC #7")
		_ = p.nc.Close()
		synctest.Wait()
		p = b.resumed(wire.V5, "p")
		p.publishFlags(0xC, "t", "once", 7)
		p.expect("PUBREC #7")
		p.ack(wire.PUBREL, 7)
		p.expect("PUBCOMP #7")
		s.silence(time.Minute)
		p.publish("t", "twice", 2, 7) // the identifier is free again
		p.expect("PUBREC #7")
		s.expect(`PUBLISH t q2 #2 "twice"`)
	})
}

// TestSessionsSurviveTheBroker: subscriptions, messages that wait, identifiers
// in both directions.
func TestSessionsSurviveTheBroker(t *testing.T) {
	disk := memstore.NewDisk()
	inBubble(t, func(s *setup) { s.store.Disk = disk }, func(b *bed) {
		s := b.resumed(wire.V5, "s")
		s.subscribe(1, 2, "t")
		p := b.resumed(wire.V5, "p")
		p.publish("t", "one", 1, 1)
		p.publish("t", "two", 2, 2)
		p.expect("PUBACK #1", "PUBREC #2")
		s.expect(`PUBLISH t q1 #1 "one"`, `PUBLISH t q2 #2 "two"`)
		s.ack(wire.PUBREC, 2)
		s.expect("PUBREL #2")
		b.store.Crash()
	})
	inBubble(t, func(s *setup) { s.store.Disk, s.broker = disk, core.Options{Epoch: 2} }, func(b *bed) {
		s, present := b.again(wire.V5, "s")
		if !present {
			t.Fatal("the session is gone")
		}
		got := []string{s.next(), s.next()}
		if got[0] != "PUBREL #2" || !strings.HasSuffix(got[1], ` dup "one"`) {
			t.Errorf("sent again: %q", got)
		}
		p := b.resumed(wire.V5, "p")
		p.publishFlags(0xC, "t", "two", 2)
		p.expect("PUBREC #2")
		p.ack(wire.PUBREL, 2)
		p.expect("PUBCOMP #2")
		s.silence(time.Minute)
	})
}

// TestReceiveMaximumOfTheClient_MQTT_3_3_4_9: no more than that is on its way,
// and what waits follows in order.
func TestReceiveMaximumOfTheClient_MQTT_3_3_4_9(t *testing.T) { // [MQTT-3.3.4-9]
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s", properties(short(wire.ReceiveMaximum, 2)))
		s.subscribe(1, 2, "t")
		p := b.connect(wire.V5, "p")
		for i, m := range []string{"a", "b", "c", "d", "e"} {
			p.publish("t", m, 1+byte(i%2), uint16(i+1))
			p.next()
		}
		s.expect(`PUBLISH t q1 #1 "a"`, `PUBLISH t q2 #2 "b"`)
		p.publish("t", "past the window", 0, 0) // QoS 0 does not count
		s.expect(`PUBLISH t "past the window"`)
		s.silence(time.Minute)
		s.ack(wire.PUBACK, 1)
		s.expect(`PUBLISH t q1 #3 "c"`)
		s.ack(wire.PUBREC, 2)
		s.expect("PUBREL #2")
		s.silence(time.Minute)
		s.ack(wire.PUBCOMP, 2)
		s.expect(`PUBLISH t q2 #4 "d"`)
		s.ack(wire.PUBREC, 4, wire.UnspecifiedError) // refused: its turn is over, and there is no PUBREL
		s.expect(`PUBLISH t q1 #5 "e"`)
	})
}

func TestWill(t *testing.T) {
	disconnect := func(code byte) func(b *bed, p *peer) {
		return func(_ *bed, p *peer) { p.write([]byte{0xE0, 1, code}); p.gone() }
	}
	hangUp := func(_ *bed, p *peer) { _ = p.nc.Close() }
	for _, tt := range []struct {
		name  string
		delay uint32
		end   func(b *bed, p *peer)
		want  bool
		after time.Duration
	}{
		{"[MQTT-3.1.2-8] broken connection", 0, hangUp, true, 0},
		{"[MQTT-3.14.4-3] normal disconnect", 0, disconnect(0), false, 0},
		{"section 3.14.2.1: disconnect with will", 0, disconnect(4), true, 0},
		{"disconnect with an error", 0, disconnect(0x80), true, 0},
		{"protocol error", 0, func(_ *bed, p *peer) { p.write([]byte{0x10, 0}); p.dropped(wire.ProtocolError) }, true, 0},
		{"section 3.1.3.2.2: delay", 60, hangUp, true, time.Minute},
		{"[MQTT-3.1.3-9] back in time", 60, func(b *bed, p *peer) {
			_ = p.nc.Close()
			synctest.Wait()
			b.resumed(wire.V5, "w")
		}, false, 0},
		{"the session ends before the delay", 7200, hangUp, true, time.Hour},
		{"[MQTT-3.1.2-8] a clean start ends the session", 60, func(b *bed, p *peer) {
			_ = p.nc.Close()
			synctest.Wait()
			b.connect(wire.V5, "w")
		}, true, 0},
		{"taken over", 0, func(b *bed, p *peer) {
			q := b.dial(wire.V5)
			q.write(connect(wire.V5, "w", resume))
			p.dropped(wire.SessionTakenOver)
			q.next()
		}, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				s := b.connect(wire.V5, "s")
				s.subscribe(1, 2, "w")
				props := octet(wire.PayloadFormat, 1) + user("k", "v")
				if tt.delay > 0 {
					props += long(wire.WillDelay, tt.delay)
				}
				p := b.connect(wire.V5, "w", durable, will("w", "gone", 1, false, props))
				begin := time.Now()
				tt.end(b, p)
				if !tt.want {
					s.silence(2 * time.Hour) // and the session ends after one
					return
				}
				s.expect(`PUBLISH w q1 #1 1=1 k:v "gone"`)
				if d := time.Since(begin); d != tt.after {
					t.Errorf("after %v, want %v", d, tt.after)
				}
			})
		})
	}
}

func TestWillIsRetained_MQTT_3_1_2_15(t *testing.T) { // [MQTT-3.1.1 3.1.2-17]
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V311, "w", will("w", "gone", 2, true, ""))
		_ = p.nc.Close()
		synctest.Wait()
		s := b.connect(wire.V311, "s")
		s.subscribe(1, 2, "w")
		s.expect(`PUBLISH w q2 #1 retain "gone"`)
	})
}
