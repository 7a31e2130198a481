package mqtt_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// Where MQTT 3.1.1 asks for something else than MQTT 5, and MQTT 3.1 for
// something else than both. What is the same is shown beside MQTT 5's.

var (
	four  = []wire.Version{wire.V311}
	three = []wire.Version{wire.V31}
	old   = []wire.Version{wire.V31, wire.V311}
)

// TestConform_311_Connect has the answers to CONNECT: return codes, and no answer
// to what is malformed.
func TestConform_311_Connect(t *testing.T) {
	const silent = ""
	with := func(changes ...func(*connectPacket)) func(wire.Version) []byte {
		return func(v wire.Version) []byte { return connect(v, "c", changes...) }
	}
	id := func(s string) func(*connectPacket) { return func(c *connectPacket) { c.id = s } }
	level := func(l byte) func(*connectPacket) { return func(c *connectPacket) { c.level = l } }
	flags := func(set byte) func(*connectPacket) { return func(c *connectPacket) { c.flags |= set } }
	for _, tt := range []struct {
		name     string
		versions []wire.Version
		send     func(wire.Version) []byte
		want     string // CONNACK's code; silent: the connection just ends
	}{
		{"[MQTT-3.1.1 3.1.4-4] accepted", old, with(), "0x00"},
		{"[MQTT-3.1.1 3.1.2-2] [MQTT-3.1.1 3.2.2-5] level that is not supported", old, with(level(6)), "0x01"},
		{"[MQTT-3.1.1 3.1.2-1] another protocol", old, with(func(c *connectPacket) { c.name = "HTTP" }), "0x01"},
		{"[MQTT-3.1.1 3.1.2-3] [MQTT-3.1.1 3.1.4-1] [MQTT-3.1.1 3.2.2-6] reserved flag", four, with(flags(1)), silent},
		{"reserved flag, which MQTT 3.1 does not look at", three, with(flags(1)), "0x00"},
		{"[MQTT-3.1.1 3.1.2-9] will without a topic", four, with(flags(4)), silent},
		{"[MQTT-3.1.1 3.1.2-11] [MQTT-3.1.1 3.1.2-13] will QoS without a will", four, with(flags(8)), silent},
		{"[MQTT-3.1.1 3.1.2-11] [MQTT-3.1.1 3.1.2-15] will retain without a will", four, with(flags(0x20)), silent},
		{"[MQTT-3.1.1 3.1.2-11] will topic and message without a will", four, with(func(c *connectPacket) { c.tail = text("w") + text("") }), silent},
		{"will QoS and will retain without a will, which MQTT 3.1 does not look at", three, with(flags(0x28)), "0x00"},
		{"[MQTT-3.1.1 3.1.2-14] will of QoS 3", old, with(will("w", "", 3, false, "")), silent},
		{"[MQTT-3.1.1 3.1.2-18] user name without its flag", four, with(func(c *connectPacket) { c.tail = text("guest") }), silent},
		{"[MQTT-3.1.1 3.1.2-19] no user name behind its flag", four, with(flags(0x80)), silent},
		{"[MQTT-3.1.1 3.1.2-20] password without its flag", four, with(func(c *connectPacket) {
			c.flags |= 0x80
			c.tail = text("guest") + text("guest")
		}), silent},
		{"[MQTT-3.1.1 3.1.2-21] no password behind its flag", four, with(func(c *connectPacket) {
			c.flags |= 0xC0
			c.tail = text("guest")
		}), silent},
		{"[MQTT-3.1.1 3.1.2-22] password without a user name", four, with(func(c *connectPacket) {
			c.flags |= 0x40
			c.tail = text("guest")
		}), silent},
		{"flags without what they announce at the end, which MQTT 3.1 has servers understand", three, with(flags(0xC0)), "0x00"},
		{"[MQTT-3.1.1 3.1.3-4] identifier that is not UTF-8", four, with(id("\xff")), silent},
		{"[MQTT-3.1.1 3.1.3-10] will topic that is not UTF-8", four, with(will("\xff", "", 0, false, "")), silent},
		{"[MQTT-3.1.1 3.1.3-11] user name that is not UTF-8", four, with(login("\xff", "")), silent},
		{"[MQTT-3.1.1 3.1.3-5] identifier of 23 digits and letters", old, with(id("0aZ19bY28cX37dW46eV5678")), "0x00"},
		{"[MQTT-3.1.1 3.1.3-5] identifier of one", old, with(id("0")), "0x00"},
		{"[MQTT-3.1.1 3.1.3-6] no identifier, and no session to be kept", four, with(id("")), "0x00"},
		{"[MQTT-3.1.1 3.1.3-7] [MQTT-3.1.1 3.1.3-8] no identifier, and a session to be kept", four, with(id(""), resume), "0x02"},
		{"no identifier, which MQTT 3.1 does not have", three, with(id("")), "0x02"},
		{"[MQTT-3.1.1 3.1.3-9] identifier that is refused", old, with(id(strings.Repeat("x", 101))), "0x02"},
		{"bad password", old, with(login("guest", "?")), "0x04"},
		{"[MQTT-3.1.1 3.1.3-1] [MQTT-3.1.1 3.1.3-3] nothing behind the header", old, func(v wire.Version) []byte {
			hello := connect(v, "")
			hello[1] -= 2
			return hello[:len(hello)-2]
		}, silent},
	} {
		shows(t, tt.name, tt.versions, func(s *setup) { s.server.MaxClientID = 100 }, func(b *bed, v wire.Version) {
			p := b.dial(v)
			p.say(tt.send(v))
			if tt.want != silent {
				p.expect("CONNACK " + tt.want)
			}
			if tt.want == "0x00" {
				p.lives()
			} else {
				p.gone()
			}
		})
	}
	shows(t, "[MQTT-3.1.1 3.1.0-1] [MQTT-3.1.1 3.2.0-1] nothing comes before CONNECT and CONNACK", old, nil, func(b *bed, v wire.Version) {
		for _, send := range [][]byte{{0xC0, 0}, {0xE0, 0}, publishPacket(v, 0, "t", "", 0), subscribePacket(v, 1, "", 0, "t")} {
			p := b.dial(v)
			p.say(append(send, connect(v, "c")...))
			p.gone()
		}
	})
	shows(t, "[MQTT-3.1.1 3.1.4-5] who is refused is not listened to", old, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "#")
		p := b.dial(v)
		p.say(append(connect(v, "c", login("guest", "?")), publishPacket(v, 0, "t", "m", 0)...))
		p.expect("CONNACK 0x04")
		p.gone()
		s.lives()
	})
	shows(t, "[MQTT-3.1.1 3.1.0-2] [MQTT-3.1.1 4.8.0-1] a second CONNECT", old, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.say(connect(v, "c"))
		p.gone()
	})
	shows(t, "[MQTT-3.1.1 3.1.4-2] another connection with the identifier", old, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		b.connect(v, "c").lives()
		p.gone()
	})
	shows(t, "[MQTT-3.1.1 3.1.2-24] no packet for one and a half keep alives", old, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c", keepAlive(10), will("w", "gone", 0, false, ""))
		s := b.connect(v, "s")
		s.subscribe(1, 0, "w")
		begin := time.Now()
		p.gone()
		if d := time.Since(begin); d != 15*time.Second {
			b.t.Errorf("after %v", d)
		}
		s.expect(`PUBLISH w "gone"`) // as if the network had failed
	})
}

// TestConform_311_Sessions has clean session, and session present, which MQTT 3.1
// does not know.
func TestConform_311_Sessions(t *testing.T) {
	const kept = "[MQTT-3.1.1 3.1.2-4] [MQTT-3.1.1 3.1.4-3] [MQTT-3.1.1 3.2.2-1] [MQTT-3.1.1 3.2.2-2] [MQTT-3.1.1 3.2.2-3] [MQTT-3.1.1 3.1.3-2]"
	shows(t, kept+" kept until a clean one", old, nil, func(b *bed, v wire.Version) {
		const clean, keep = 2, 0
		present := map[wire.Version]string{wire.V31: "", wire.V311: " present"}[v]
		for i, tt := range []struct {
			flags byte
			want  string
		}{{clean, ""}, {keep, ""}, {keep, present}, {keep, present}, {clean, ""}, {keep, ""}} {
			p := b.dial(v)
			p.write(connect(v, "c", func(c *connectPacket) { c.flags = tt.flags }))
			p.expect("CONNACK 0x00" + tt.want)
			p.disconnect()
			time.Sleep(time.Hour)
			other := b.dial(v) // with another identifier is another session
			other.write(connect(v, fmt.Sprint("other", i), resume))
			other.expect("CONNACK 0x00")
			other.disconnect()
		}
	})
	shows(t, "[MQTT-3.1.1 3.2.2-4] not present for who is refused", four, nil, func(b *bed, v wire.Version) {
		b.connect(v, "c", resume).disconnect()
		p := b.dial(v)
		p.write(connect(v, "c", resume, login("guest", "?")))
		p.expect("CONNACK 0x04")
		p.gone()
	})
	shows(t, "[MQTT-3.1.1 3.1.2-6] a clean one leaves nothing behind", old, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		s := b.connect(v, "s", resume)
		s.subscribe(1, 1, "t")
		s.publish("x", "m", 2, 7)
		s.expect("PUBREC #7")
		p.publish("t", "under way", 1, 1)
		s.expect(`PUBLISH t q1 #1 "under way"`)
		s.hangUp()
		p.publish("t", "waits", 1, 2)
		p.expect("PUBACK #1", "PUBACK #2")
		s = b.connect(v, "s")
		p.publish("t", "m", 1, 3)
		p.expect("PUBACK #3")
		s.lives()
		s.subscribe(1, 1, "t")
		s.publish("t", "new", 2, 7) // an identifier that is free
		s.expectBoth("PUBREC #7", `PUBLISH t q1 #1 "new"`)
		s.hangUp()
		p.publish("t", "m", 1, 4)
		p.expect("PUBACK #4")
		b.resumed(v, "s").lives()
	})
	shows(t, "[MQTT-3.1.1 3.1.2-7] retained messages outlive the session", old, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		p.publishFlags(3, "t", "kept", 1)
		p.expect("PUBACK #1")
		p.disconnect()
		b.connect(v, "p").disconnect()
		s := b.connect(v, "s")
		s.subscribe(1, 1, "t")
		s.expect(`PUBLISH t q1 #1 retain "kept"`)
	})
}

// TestConform_311_Wills: they come when the connection ends, and at once.
func TestConform_311_Wills(t *testing.T) {
	for name, end := range map[string]struct {
		do   func(*peer)
		will bool
	}{
		"[MQTT-3.1.1 3.1.2-8] the connection breaks": {(*peer).hangUp, true},
		"[MQTT-3.1.1 3.1.2-8] a protocol error": {func(p *peer) {
			p.say([]byte{0x20, 2, 0, 0})
			p.gone()
		}, true},
		"[MQTT-3.1.1 3.1.2-10] [MQTT-3.1.1 3.14.4-3] DISCONNECT": {(*peer).disconnect, false},
	} {
		shows(t, name, old, nil, func(b *bed, v wire.Version) {
			s := b.connect(v, "s")
			s.subscribe(1, 2, "w")
			end.do(b.connect(v, "c", resume, will("w", "gone", 1, false, "")))
			if end.will {
				s.expect(`PUBLISH w q1 #1 "gone"`)
				s.ack(wire.PUBACK, 1)
			}
			s.silence(time.Minute)
			b.connect(v, "c", resume).hangUp() // [MQTT-3.1.1 3.1.2-12] it has none
			s.silence(time.Minute)
		})
	}
	for retain, statement := range map[bool]string{false: "[MQTT-3.1.1 3.1.2-16]", true: "[MQTT-3.1.1 3.1.2-17]"} {
		shows(t, fmt.Sprint(statement, " will retain ", retain), old, nil, func(b *bed, v wire.Version) {
			b.connect(v, "c", will("w", "gone", 1, retain, "")).hangUp()
			s := b.connect(v, "s")
			s.subscribe(1, 2, "w")
			if retain {
				s.expect(`PUBLISH w q1 #1 retain "gone"`)
			}
			s.lives()
		})
	}
}

// TestConform_311_Retained: without options, every subscription gets what is
// retained, and RETAIN tells it from what is published.
func TestConform_311_Retained(t *testing.T) {
	shows(t, "[MQTT-3.1.1 3.3.1-5] [MQTT-3.1.1 3.3.1-6] [MQTT-3.1.1 3.3.1-8] [MQTT-3.1.1 3.3.1-9] with RETAIN for a new subscription alone", old, nil, func(b *bed, v wire.Version) {
		early := b.connect(v, "early")
		early.subscribe(1, 2, "t/+")
		p := b.connect(v, "p")
		for qos := range byte(3) {
			p.publishFlags(1|qos<<1, fmt.Sprint("t/", qos), "kept", uint16(qos)+1)
		}
		early.expect(`PUBLISH t/0 "kept"`, `PUBLISH t/1 q1 #1 "kept"`, `PUBLISH t/2 q2 #2 "kept"`)
		late := b.connect(v, "late")
		for range 2 { // the same again
			late.subscribe(1, 2, "t/+")
			got := []string{late.next(), late.next(), late.next()}
			slices.Sort(got)
			for i, want := range []string{`PUBLISH t/0 retain "kept"`, `PUBLISH t/1 q1 #`, `PUBLISH t/2 q2 #`} {
				if !strings.HasPrefix(got[i], want) || !strings.Contains(got[i], " retain ") {
					b.t.Errorf("got %s", got[i])
				}
			}
		}
	})
	shows(t, "[MQTT-3.1.1 3.3.1-7] QoS 0 takes the place of QoS 1", old, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		p.publishFlags(3, "t", "one", 1)
		p.expect("PUBACK #1")
		p.publishFlags(1, "t", "zero", 0)
		p.lives()
		s := b.connect(v, "s")
		s.subscribe(1, 2, "t")
		s.expect(`PUBLISH t retain "zero"`)
		s.lives()
	})
	shows(t, "[MQTT-3.1.1 3.3.1-10] [MQTT-3.1.1 3.3.1-11] [MQTT-3.1.1 3.3.1-12] an empty one removes it, one without RETAIN does not", old, nil, func(b *bed, v wire.Version) {
		s, p := b.connect(v, "s"), b.connect(v, "p")
		p.publishFlags(1, "t", "kept", 0)
		for _, payload := range []string{"m", ""} {
			p.publish("t", payload, 0, 0)
		}
		p.lives()
		s.subscribe(1, 0, "t")
		s.expect(`PUBLISH t retain "kept"`)
		p.publishFlags(1, "t", "", 0)
		s.expect(`PUBLISH t ""`)
		s.subscribe(2, 0, "t")
		s.lives()
	})
}

// TestConform_311_Publish has what MQTT 3.1.1 says of publications and deliveries
// in its own numbers.
func TestConform_311_Publish(t *testing.T) {
	shows(t, "[MQTT-3.1.1 3.3.1-1] [MQTT-3.1.1 3.3.1-2] [MQTT-3.1.1 3.3.1-3] DUP is the server's own", old, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", resume)
		s.subscribe(1, 1, "t")
		p := b.connect(v, "p")
		p.publishFlags(8|2, "t", "m", 1)
		p.expect("PUBACK #1")
		s.expect(`PUBLISH t q1 #1 "m"`)
		s.hangUp()
		s = b.resumed(v, "s")
		s.expect(`PUBLISH t q1 #1 dup "m"`)
		p.say(publishPacket(v, 8, "t", "", 0))
		p.gone()
	})
	shows(t, "[MQTT-3.1.1 3.3.2-3] [MQTT-3.1.1 3.3.5-1] overlapping subscriptions: the highest QoS, and a topic that matches", old, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.write(filterPacket(v, 1, filterOption{"a/#", 0}, filterOption{"a/+", 2}, filterOption{"a/b", 1}, filterOption{"b", 2}))
		s.expect("SUBACK #1 0x00 0x02 0x01 0x02")
		p := b.connect(v, "p")
		p.publish("a/b", "m", 2, 1)
		s.expect(`PUBLISH a/b q2 #1 "m"`)
		s.lives()
	})
	shows(t, "[MQTT-3.1.1 3.3.4-1] [MQTT-3.1.1 2.3.1-6] answers as the QoS demands", old, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		p.publish("t", "m", 0, 0)
		p.lives()
		p.publish("t", "m", 1, 0x1234)
		p.expect("PUBACK #4660")
		p.publish("t", "m", 2, 0xFFFF)
		p.expect("PUBREC #65535")
		p.ack(wire.PUBREL, 0xFFFF)
		p.expect("PUBCOMP #65535")
	})
	for keep, name := range map[bool]string{false: "is cut off", true: "or is answered as if it might"} {
		shows(t, "[MQTT-3.1.1 3.3.5-2] who may not publish "+name, old, func(s *setup) {
			trustEverybody(s)
			s.server.KeepUnauthorized = keep
		}, func(b *bed, v wire.Version) {
			b.grant(grant{".*", "^mqtt-", ".*", "", ""})
			s := b.connect(v, "s")
			s.subscribe(1, 0, "t")
			p := b.connect(v, "p", login("u", ""))
			p.say(publishPacket(v, 2, "t", "m", 1))
			if keep {
				p.expect("PUBACK #1")
			} else {
				p.gone()
			}
			s.lives()
		})
	}
	shows(t, "[MQTT-3.1.1 3.8.3-2] [MQTT-3.1.1 3.9.3-2] no wildcards", old, func(s *setup) { s.server.NoWildcards = true }, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		p.write(subscribePacket(v, 1, "", 1, "a/+", "a/b", "#"))
		p.expect("SUBACK #1 0x80 0x01 0x80")
		p.lives()
	})
	shows(t, "[MQTT-3.1.1 4.8.0-2] an answer that can never be given", old, nil, func(b *bed, v wire.Version) {
		b.connect(v, "s", resume).subscribe(1, 1, "t")
		p := b.connect(v, "p")
		b.store.Fail(errors.New("the disk is gone"))
		p.say(publishPacket(v, 2, "t", "m", 1))
		p.gone()
	})
}

// TestConform_31: MQTT 3.1, where it is not MQTT 3.1.1. Its CONNECT is above.
func TestConform_31(t *testing.T) {
	shows(t, "DUP on SUBSCRIBE, UNSUBSCRIBE and PUBREL (section 2.1)", three, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.write(flagged(8|2, subscribeOf(1, "t"))(v))
		p.expect("SUBACK #1 0x01")
		p.publish("t", "m", 2, 7)
		p.expectBoth("PUBREC #7", `PUBLISH t q1 #1 "m"`)
		p.write([]byte{0x6A, 2, 0, 7})
		p.expect("PUBCOMP #7")
		p.write(flagged(8|2, unsubscribeOf("t"))(v))
		p.expect("UNSUBACK #1")
	})
	shows(t, "the unused bits of the requested QoS (section 3.8)", three, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.write(subscribePacket(v, 1, "", 0xFC|2, "t"))
		p.expect("SUBACK #1 0x02")
	})
	shows(t, "QoS 3 of a SUBSCRIBE", three, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.say(subscribePacket(v, 1, "", 3, "t"))
		p.gone()
	})
	shows(t, "no session present flag (section 3.2)", three, nil, func(b *bed, v wire.Version) {
		b.connect(v, "c", resume).disconnect()
		p := b.dial(v)
		p.write(connect(v, "c", resume))
		p.expectBytes("\x20\x02\x00\x00")
	})
	shows(t, "no packet of MQTT 5", old, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c")
		p.say([]byte{0xF0, 0})
		p.gone() // without a DISCONNECT
	})
}
