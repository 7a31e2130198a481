package mqtt_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestConform_3_3_1_DUP: the flag says whether the server has sent this before,
// and nothing else.
func TestConform_3_3_1_DUP(t *testing.T) {
	shows(t, "[MQTT-3.3.1-3] [MQTT-3.1.1 3.3.1-3] what came with it goes on without", both, nil, func(b *bed, v wire.Version) {
		s, p := b.connect(v, "s"), b.connect(v, "p")
		s.subscribe(1, 2, "t")
		for qos := byte(1); qos <= 2; qos++ {
			p.publishFlags(8|qos<<1, "t", "m", 1)
			p.next()
			s.expect(fmt.Sprintf(`PUBLISH t q%d #%d "m"`, qos, qos))
		}
	})
	shows(t, "[MQTT-3.3.1-1] [MQTT-3.3.1-3] [MQTT-3.1.1 3.3.1-1] [MQTT-3.1.1 3.3.1-3] what went without comes again with it", both, nil, func(b *bed, v wire.Version) {
		s, p := b.connect(v, "s", resume), b.connect(v, "p")
		s.subscribe(1, 2, "t")
		p.publish("t", "one", 1, 1)
		p.publish("t", "two", 2, 2)
		s.expect(`PUBLISH t q1 #1 "one"`, `PUBLISH t q2 #2 "two"`)
		for range 2 {
			_ = s.nc.Close()
			synctest.Wait()
			s = b.resumed(v, "s")
			s.expect(`PUBLISH t q1 #1 dup "one"`, `PUBLISH t q2 #2 dup "two"`)
		}
		s.ack(wire.PUBACK, 1)
		p.publish("t", "three", 1, 3)
		s.expect(`PUBLISH t q1 #3 "three"`)
	})
	shows(t, "[MQTT-3.3.1-2] [MQTT-3.1.1 3.3.1-2] QoS 0 never has it", both, nil, func(b *bed, v wire.Version) {
		s, p := b.connect(v, "s", resume), b.connect(v, "p")
		s.subscribe(1, 0, "t")
		p.publishFlags(8|2, "t", "m", 1)
		s.expectBytes(string(publishPacket(v, 0, "t", "m", 0)))
		p.expect(map[wire.Version]string{wire.V311: "PUBACK #1", wire.V5: "PUBACK #1"}[v])
		p.publishFlags(8, "t", "m", 0)
		p.dropped(wire.ProtocolError)
	})
}

// TestConform_3_3_1_QoS: [MQTT-3.3.1-4], with all the other flags, in a packet
// of any size.
func TestConform_3_3_1_QoS(t *testing.T) {
	shows(t, "[MQTT-3.3.1-4] [MQTT-3.1.1 3.3.1-4] QoS 3", both, nil, func(b *bed, v wire.Version) {
		for _, flags := range []byte{6, 7, 14, 15} {
			for _, size := range []int{0, 40 << 10} {
				b.connect(v, "c").fares("QoS 3", publishPacket(v, flags, "t", strings.Repeat("x", size), 1), wire.MalformedPacket)
			}
		}
	})
}

// TestConform_3_3_1_Retain: what is kept of a topic. A client that subscribes
// later tells.
func TestConform_3_3_1_Retain(t *testing.T) {
	const retain = 1
	type publication struct {
		flags   byte
		payload string
	}
	for _, tt := range []struct {
		name string
		send []publication
		kept []string
	}{
		{"[MQTT-3.3.1-5] one is kept", []publication{{retain, "a"}}, []string{`PUBLISH t retain "a"`}},
		{"[MQTT-3.3.1-5] with its QoS", []publication{{retain | 2, "a"}}, []string{`PUBLISH t q1 #1 retain "a"`}},
		{"[MQTT-3.3.1-5] with QoS 2", []publication{{retain | 4, "a"}}, []string{`PUBLISH t q2 #1 retain "a"`}},
		{"[MQTT-3.3.1-5] the last replaces it", []publication{{retain, "a"}, {retain | 2, "b"}, {retain, "c"}}, []string{`PUBLISH t retain "c"`}},
		{"[MQTT-3.3.1-6] [MQTT-3.3.1-7] an empty one removes it", []publication{{retain | 2, "a"}, {retain, ""}}, nil},
		{"[MQTT-3.3.1-7] an empty one alone", []publication{{retain | 2, ""}}, nil},
		{"[MQTT-3.3.1-6] and the next is kept again", []publication{{retain, "a"}, {retain, ""}, {retain, "b"}}, []string{`PUBLISH t retain "b"`}},
		{"[MQTT-3.3.1-8] without the flag none is kept", []publication{{0, "a"}, {2, "b"}, {4, "c"}}, nil},
		{"[MQTT-3.3.1-8] nor replaced", []publication{{retain, "a"}, {0, "b"}, {2, "c"}}, []string{`PUBLISH t retain "a"`}},
		{"[MQTT-3.3.1-8] nor removed", []publication{{retain, "a"}, {0, ""}, {2, ""}}, []string{`PUBLISH t retain "a"`}},
	} {
		shows(t, tt.name, both, nil, func(b *bed, v wire.Version) {
			there, p := b.connect(v, "there"), b.connect(v, "p")
			there.subscribe(1, 0, "t")
			there.lives() // what is retained from now on comes once
			for i, m := range tt.send {
				p.publishFlags(m.flags, "t", m.payload, uint16(i+1))
				if m.flags&6 != 0 {
					p.next()
				}
				there.expect(fmt.Sprintf("PUBLISH t %q", m.payload)) // also one that is empty, and [MQTT-3.3.1-12]
			}
			if n := b.broker.Stats().Retained; n != len(tt.kept) {
				b.t.Errorf("%d messages are retained", n)
			}
			late := b.connect(v, "late")
			late.subscribe(1, 2, "t", "other")
			late.follow(tt.kept...)
			late.lives()
		})
	}
	const asPublished, ifNew, never = 8, 0x10, 0x20
	shows(t, "[MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] retain handling", five, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		p.publishFlags(retain, "t/1", "a", 0)
		p.publishFlags(retain, "t/2", "b", 0)
		p.publishFlags(retain, "u", "c", 0)
		p.lives()
		for _, tt := range []struct {
			options byte
			first   bool // they come for a new subscription
			again   bool // and for one that was there
		}{{0, true, true}, {ifNew, true, false}, {never, false, false}} {
			s := b.connect(v, "s")
			for _, comes := range []bool{tt.first, tt.again} {
				s.subscribe(1, tt.options, "t/+")
				if comes {
					s.expectBoth(`PUBLISH t/1 retain "a"`, `PUBLISH t/2 retain "b"`)
				}
				s.lives()
			}
			s.unsubscribe(2, "t/+")
			s.subscribe(3, tt.options, "t/+")
			if tt.first {
				s.expectBoth(`PUBLISH t/1 retain "a"`, `PUBLISH t/2 retain "b"`)
			}
			s.lives()
			s.disconnect()
		}
	})
	shows(t, "[MQTT-3.3.1-12] [MQTT-3.3.1-13] retain as published", five, nil, func(b *bed, v wire.Version) {
		p, plain, as := b.connect(v, "p"), b.connect(v, "plain"), b.connect(v, "as")
		plain.subscribe(1, 0, "t")
		as.subscribe(1, asPublished, "t")
		plain.lives()
		as.lives()
		p.publishFlags(retain, "t", "kept", 0)
		p.publish("t", "not", 0, 0)
		plain.expect(`PUBLISH t "kept"`, `PUBLISH t "not"`)
		as.expect(`PUBLISH t retain "kept"`, `PUBLISH t "not"`)
	})
}

// TestConform_3_3_2_Topic has the topics that a client may name, and what is
// sent to it.
func TestConform_3_3_2_Topic(t *testing.T) {
	for _, topic := range []string{"+", "#", "a/+", "a/#", "+/a", "a+", "#a", strings.Repeat("x", 100) + "/+"} {
		row := said{
			name: "[MQTT-3.3.2-2] [MQTT-3.1.1 3.3.2-2] " + topic, versions: both, end: wire.TopicNameInvalid,
			send: func(v wire.Version) []byte { return publishPacket(v, 2, topic, "m", 1) },
		}
		row.test(t)
	}
	for _, row := range []said{
		{name: "[MQTT-3.3.2-1] [MQTT-3.1.1 3.3.2-1] empty", versions: both, send: func(v wire.Version) []byte { return publishPacket(v, 2, "", "m", 1) }, end: wire.ProtocolError},
		{name: "[MQTT-3.3.2-1] [MQTT-3.1.1 3.3.2-1] not there", versions: both, send: raw("\x30\x00"), end: wire.MalformedPacket},
		{name: "[MQTT-3.3.2-1] [MQTT-3.1.1 3.3.2-1] half a length", versions: both, send: raw("\x30\x01\x00"), end: wire.MalformedPacket},
	} {
		row.test(t)
	}
	shows(t, "[MQTT-3.3.2-3] [MQTT-3.1.1 3.3.2-3] what is sent matches", both, nil, func(b *bed, v wire.Version) {
		s, p := b.connect(v, "s"), b.connect(v, "p")
		s.subscribe(1, 0, "a/+", "b/#", "c")
		for _, topic := range []string{"a", "a/", "a/x", "a/x/y", "b", "b/x/y", "bb", "c", "c/", "/c", "C", "$a/x", strings.Repeat("b/", 200)} {
			p.publish(topic, "m", 0, 0)
		}
		for _, topic := range []string{"a/", "a/x", "b", "b/x/y", "c", strings.Repeat("b/", 200)} {
			s.expect("PUBLISH " + topic + ` "m"`)
		}
		s.lives()
	})
}

// TestConform_3_3_2_Properties sends a property on its own, in every way in
// which a message can reach a subscriber: what arrives is the same, to the byte.
func TestConform_3_3_2_Properties(t *testing.T) {
	long := strings.Repeat("é", 20_000)
	for name, property := range map[string]string{
		"[MQTT-3.3.2-4] payload format 0":                       octet(wire.PayloadFormat, 0),
		"[MQTT-3.3.2-4] payload format 1":                       octet(wire.PayloadFormat, 1),
		"[MQTT-3.3.2-15] response topic":                        str(wire.ResponseTopic, "r/t"),
		"[MQTT-3.3.2-15] response topic with dots":              str(wire.ResponseTopic, "/r.t/x*/"),
		"[MQTT-3.3.2-15] long response topic":                   str(wire.ResponseTopic, long),
		"[MQTT-3.3.2-16] correlation data":                      str(wire.CorrelationData, "\x00\xff\xfe"),
		"[MQTT-3.3.2-16] empty correlation data":                str(wire.CorrelationData, ""),
		"[MQTT-3.3.2-16] long correlation data":                 str(wire.CorrelationData, strings.Repeat("\x00\xff", 32_000)),
		"[MQTT-3.3.2-17] user property":                         user("name", "value"),
		"[MQTT-3.3.2-17] empty user property":                   user("", ""),
		"[MQTT-3.3.2-17] long user property":                    user(strings.Repeat("n", 300), long),
		"[MQTT-3.3.2-17] [MQTT-3.3.2-18] twice, and in order":   user("b", "1") + user("a", "2") + user("b", "1") + user("b", "0"),
		"[MQTT-3.3.2-17] named like what the bridge itself has": user("x-opt-reply-to-topic", "a") + user("x-correlation-id", "b"),
		"[MQTT-3.3.2-20] content type":                          str(wire.ContentType, "text/plain; charset=utf-8"),
		"[MQTT-3.3.2-20] empty content type":                    str(wire.ContentType, ""),
		"[MQTT-3.3.2-20] long content type":                     str(wire.ContentType, long),
	} {
		t.Run(name, func(t *testing.T) {
			disk := memstore.NewDisk()
			inBubble(t, func(s *setup) { s.store.Disk = disk }, func(b *bed) {
				away := b.connect(wire.V5, "away", resume)
				away.subscribe(1, 1, "t")
				away.disconnect()
				s, p := b.connect(wire.V5, "s"), b.connect(wire.V5, "p")
				s.subscribe(1, 1, "t")
				p.publish("t", "m", 0, 0, property)
				s.expectBytes(string(publishPacket(wire.V5, 0, "t", "m", 0, property)))
				p.publishFlags(3, "t", "m", 1, property)
				s.expectBytes(string(publishPacket(wire.V5, 2, "t", "m", 1, property)))
				p.expect("PUBACK #1")
				late := b.connect(wire.V5, "late")
				late.subscribe(1, 0, "t")
				late.expectBytes(string(publishPacket(wire.V5, 1, "t", "m", 0, property)))
				c := b.connect(wire.V5, "c", will("t", "gone", 0, false, property))
				_ = c.nc.Close()
				s.expectBytes(string(publishPacket(wire.V5, 0, "t", "gone", 0, property)))
				b.store.Crash()
			})
			inBubble(t, func(s *setup) { s.store.Disk, s.broker = disk, core.Options{Epoch: 2} }, func(b *bed) {
				f, err := b.resumed(wire.V5, "away").frame()
				if err != nil {
					b.t.Fatal(err)
				}
				if m, err := wire.ParsePublish(f, wire.V5); err != nil || string(m.Properties.Section) != property {
					b.t.Errorf("comes as % .80x, %v", m.Properties.Section, err)
				}
				late := b.connect(wire.V5, "late")
				late.subscribe(1, 0, "t")
				late.expectBytes(string(publishPacket(wire.V5, 1, "t", "m", 0, property)))
			})
		})
	}
	for name, property := range map[string]string{
		"[MQTT-3.3.2-14] +":                    str(wire.ResponseTopic, "a/+"),
		"[MQTT-3.3.2-14] #":                    str(wire.ResponseTopic, "a/#"),
		"an empty response topic":              str(wire.ResponseTopic, ""),
		"[MQTT-3.3.2-8] topic alias 0":         short(wire.TopicAlias, 0),
		"section 3.3.2.3.2: payload format 2":  octet(wire.PayloadFormat, 2),
		"[MQTT-3.3.4-6] identifier":            "\x0b\x01",
		"section 3.3.2.3.8: identifier 0":      "\x0b\x00",
		"[MQTT-3.3.2-9] topic alias too large": short(wire.TopicAlias, 17),
	} {
		end := wire.ProtocolError
		if property[0] == byte(wire.TopicAlias) {
			end = wire.TopicAliasInvalid
		}
		row := said{name: name, versions: five, end: end, send: func(v wire.Version) []byte { return publishPacket(v, 0, "t", "m", 0, property) }}
		row.test(t)
	}
}

// TestConform_3_3_2_Expiry: [MQTT-3.3.2-5] and [MQTT-3.3.2-6], to the second.
func TestConform_3_3_2_Expiry(t *testing.T) {
	shows(t, "[MQTT-3.3.2-5] [MQTT-3.3.2-6] a message that waits", five, nil, func(b *bed, v wire.Version) {
		for waits, want := range map[time.Duration]string{
			0: "PUBLISH t q1 #1 2=10 \"m\"", time.Second: "PUBLISH t q1 #1 2=9 \"m\"", 9 * time.Second: "PUBLISH t q1 #1 2=1 \"m\"", 10*time.Second + 1: "", time.Hour: "",
		} {
			s := b.connect(v, "s", durable)
			s.subscribe(1, 1, "t")
			s.disconnect()
			p := b.connect(v, "p")
			p.publish("t", "m", 1, 1, expiry(10))
			p.expect("PUBACK #1")
			wait(waits)
			s = b.resumed(v, "s")
			if want != "" {
				s.expect(want)
			}
			s.lives()
			s.disconnect()
		}
	})
	shows(t, "a message without one does not expire", five, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s", properties(long(wire.SessionExpiry, 1<<32-1)))
		s.subscribe(1, 1, "t")
		s.disconnect()
		p := b.connect(v, "p")
		p.publish("t", "m", 1, 1)
		p.expect("PUBACK #1")
		wait(time.Hour)
		if got := b.resumed(v, "s").next(); !strings.HasSuffix(got, `"m"`) || strings.Contains(got, " 2=") {
			b.t.Error(got)
		}
	})
}

// TestConform_3_3_2_Alias: what a client's aliases stand for.
func TestConform_3_3_2_Alias(t *testing.T) {
	alias := func(n uint16) string { return short(wire.TopicAlias, n) }
	shows(t, "section 3.3.4: an alias is set, used and set anew", five, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p", takesAliases(10))
		p.subscribe(1, 0, "#")
		p.publish("first", "1", 0, 0, alias(1))
		p.expect(`PUBLISH first 35=1 "1"`) // the server's own
		p.publish("second", "2", 0, 0, alias(1))
		p.expect(`PUBLISH second 35=2 "2"`)
		p.publish("", "3", 0, 0, alias(1))
		p.expect(`PUBLISH  35=2 "3"`)
		p.publish("first", "4", 0, 0)
		p.expect(`PUBLISH  35=1 "4"`)
	})
	shows(t, "[MQTT-3.3.2-7] not on the next connection", five, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p", resume)
		p.publish("t", "m", 0, 0, alias(1))
		p.disconnect()
		p = b.resumed(v, "p")
		p.publish("", "m", 0, 0, alias(1))
		p.dropped(wire.ProtocolError)
	})
	shows(t, "[MQTT-3.3.2-7] nor do the server's", five, nil, func(b *bed, v wire.Version) {
		s, p := b.connect(v, "s", resume, takesAliases(1)), b.connect(v, "p")
		s.subscribe(1, 0, "topic")
		p.publish("topic", "m", 0, 0)
		s.expect(`PUBLISH topic 35=1 "m"`)
		s.disconnect()
		s = b.connect(v, "s", resume, takesAliases(1))
		s.lives() // which is when its subscriptions are: QoS 0 waits for nobody
		p.publish("topic", "m", 0, 0)
		s.expect(`PUBLISH topic 35=1 "m"`)
	})
	shows(t, "[MQTT-3.3.2-11] [MQTT-3.1.2-26] [MQTT-3.1.2-27] none beyond the client's maximum", five, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		for most := range uint16(4) {
			s := b.connect(v, fmt.Sprint("s", most), takesAliases(most))
			s.subscribe(1, 0, "#")
			for i := range uint16(6) {
				p.publish(fmt.Sprint("topic/", i), "m", 0, 0)
				if i < most {
					s.expect(fmt.Sprintf(`PUBLISH topic/%d 35=%d "m"`, i, i+1))
				} else {
					s.expect(fmt.Sprintf(`PUBLISH topic/%d "m"`, i))
				}
			}
			s.disconnect()
		}
	})
}

// TestConform_3_3_4: what a publication is answered with, and where it goes.
func TestConform_3_3_4(t *testing.T) {
	shows(t, "[MQTT-3.3.4-1] [MQTT-3.1.1 3.3.4-1] the answer is that of the QoS", both, nil, func(b *bed, v wire.Version) {
		p, s := b.connect(v, "p"), b.connect(v, "s")
		s.subscribe(1, 0, "t")
		p.publish("t", "m", 0, 0)
		p.lives()
		p.publish("t", "m", 1, 1)
		p.expect("PUBACK #1")
		p.lives()
		p.publish("t", "m", 2, 2)
		p.expect("PUBREC #2")
		p.lives()
		p.ack(wire.PUBREL, 2)
		p.expect("PUBCOMP #2")
		p.lives()
	})
	shows(t, "[MQTT-3.3.4-2] [MQTT-3.1.1 3.3.5-1] the highest QoS of all that match", both, nil, func(b *bed, v wire.Version) {
		s, p := b.connect(v, "s"), b.connect(v, "p")
		s.subscribe(1, 0, "t/#")
		s.subscribe(2, 2, "t/+")
		s.subscribe(3, 1, "t/u")
		p.publish("t/u", "m", 2, 1)
		s.expect(`PUBLISH t/u q2 #1 "m"`)
		p.publish("t/u", "m", 1, 2)
		s.expect(`PUBLISH t/u q1 #2 "m"`)
		s.lives() // one copy each
	})
	id := func(n byte) string { return string([]byte{byte(wire.SubscriptionIdentifier), n}) }
	shows(t, "[MQTT-3.3.4-3] [MQTT-3.3.4-4] with the identifiers of all that match", five, nil, func(b *bed, v wire.Version) {
		s, p := b.connect(v, "s"), b.connect(v, "p")
		s.subscribeWith(1, id(1), 0, "t/#")
		s.subscribeWith(2, id(2), 0, "t/+", "v")
		s.subscribe(3, 0, "t/u")
		for topic, want := range map[string][]string{"t/u": {" id=1", " id=2"}, "t": {" id=1"}, "v": {" id=2"}} {
			p.publish(topic, "m", 0, 0)
			got := s.next()
			if strings.Count(got, " id=") != len(want) {
				b.t.Errorf("%s: %s", topic, got)
			}
			for _, part := range want {
				if !strings.Contains(got, part) {
					b.t.Errorf("%s: %s", topic, got)
				}
			}
		}
		s.subscribeWith(3, id(3), 0, "w", "w/#") // section 3.3.4: identical ones, as often as there are
		p.publish("w", "m", 0, 0)
		s.expect(`PUBLISH w id=3 id=3 "m"`)
		s.subscribeWith(4, id(9), 0, "v") // [MQTT-3.8.4-3]
		p.publish("v", "m", 0, 0)
		s.expect(`PUBLISH v id=9 "m"`)
		s.subscribe(5, 0, "v")
		p.publish("v", "m", 0, 0)
		s.expect(`PUBLISH v "m"`)
	})
	shows(t, "[MQTT-3.3.4-5] a retained message has that of the subscription that it is sent for", five, nil, func(b *bed, v wire.Version) {
		s, p := b.connect(v, "s"), b.connect(v, "p")
		p.publishFlags(1, "t/u", "m", 0)
		p.lives()
		s.subscribeWith(1, id(1), 0, "t/#")
		s.expect(`PUBLISH t/u retain id=1 "m"`)
		s.subscribeWith(2, id(2), 0, "t/+", "t/u")
		s.expect(`PUBLISH t/u retain id=2 "m"`, `PUBLISH t/u retain id=2 "m"`)
		s.subscribe(3, 0, "#")
		s.expect(`PUBLISH t/u retain "m"`)
		s.lives()
	})
	shows(t, "[MQTT-3.3.4-9] [MQTT-3.3.4-10] the client's receive maximum holds up nothing but publications", five, nil, func(b *bed, v wire.Version) {
		s, p := b.connect(v, "s", properties(short(wire.ReceiveMaximum, 1))), b.connect(v, "p")
		s.subscribe(1, 2, "t")
		for id := range uint16(3) {
			p.publish("t", "m", 2, id+1)
			p.next()
		}
		s.expect(`PUBLISH t q2 #1 "m"`)
		s.lives()
		if got := s.subscribe(2, 0, "u"); got != "SUBACK #2 0x00" {
			b.t.Error(got)
		}
		if got := s.unsubscribe(3, "u"); got != "UNSUBACK #3 0x00" {
			b.t.Error(got)
		}
		s.publish("v", "m", 1, 1)
		s.expect("PUBACK #1 0x10")
		s.publish("v", "m", 2, 2)
		s.expect("PUBREC #2 0x10")
		s.ack(wire.PUBREL, 2)
		s.expect("PUBCOMP #2")
		s.ack(wire.PUBREC, 1)
		s.expect("PUBREL #1")
		s.lives()
		s.ack(wire.PUBCOMP, 1)
		s.expect(`PUBLISH t q2 #2 "m"`)
		s.lives()
	})
	two := func(s *setup) { s.server.ReceiveMaximum = 2 }
	shows(t, "[MQTT-3.3.4-7] the server's receive maximum", five, two, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		for id := range uint16(20) { // each is answered, or refused, before the next
			p.publish("t", "m", 1, id+1)
			p.next()
		}
		p.publish("t", "m", 2, 1)
		p.publish("t", "m", 2, 2)
		p.expect("PUBREC #1 0x10", "PUBREC #2 0x10")
		p.publish("t", "m", 0, 0) // QoS 0 does not count
		p.ack(wire.PUBREL, 1)
		p.expect("PUBCOMP #1")
		p.publish("t", "m", 2, 3)
		p.expect("PUBREC #3 0x10")
		p.publish("t", "m", 2, 4) // PUBREC with less than 0x80 leaves it open
		p.dropped(wire.ReceiveMaximumExceeded)
	})
	shows(t, "[MQTT-3.3.4-7] what was refused does not count", five, func(s *setup) { two(s); s.server.CheckPayloadFormat = true }, func(b *bed, v wire.Version) {
		p := b.connect(v, "p")
		for id := range uint16(9) {
			p.publish("t", "\xff", 2, id+1, octet(wire.PayloadFormat, 1))
			p.expect(fmt.Sprintf("PUBREC #%d 0x99", id+1))
		}
		p.lives()
	})
}
