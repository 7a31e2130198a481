package mqtt_test

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// greeting is a row: a CONNECT, and the reason code that answers it. Versions
// before 5 hear its return code or, of a packet that is malformed, nothing.
type greeting struct {
	name     string
	versions []wire.Version
	change   []func(*connectPacket)
	code     wire.ReasonCode
}

func (g *greeting) test(t *testing.T) {
	t.Helper()
	shows(t, g.name, g.versions, nil, func(b *bed, v wire.Version) {
		p := b.dial(v)
		p.say(append(connect(v, "c", g.change...), publishPacket(v, 0, "t", "m", 0)...))
		switch malformed := g.code == wire.MalformedPacket || g.code == wire.ProtocolError; {
		case g.code == wire.Success:
			p.follow(accepted)
			p.lives()
			return
		case v == wire.V5:
			p.expect(fmt.Sprintf("CONNACK %#02x", uint8(g.code)))
		case !malformed:
			p.expect(fmt.Sprintf("CONNACK %#02x", g.code.ReturnCode()))
		}
		p.gone() // [MQTT-3.1.4-1] [MQTT-3.1.4-2] [MQTT-3.2.2-7]
	})
}

// Changes to a CONNECT that make a bad one of it.

func withFlags(set byte) func(*connectPacket) { return func(c *connectPacket) { c.flags |= set } }

// behind appends to the payload.
func behind(s string) func(*connectPacket) { return func(c *connectPacket) { c.tail += s } }

func identified(id string) func(*connectPacket) { return func(c *connectPacket) { c.id = id } }

// TestConform_3_1_0: CONNECT comes first, and once.
func TestConform_3_1_0(t *testing.T) {
	shows(t, "[MQTT-3.1.0-1] [MQTT-3.1.1 3.1.0-1] the first packet is another", both, nil, func(b *bed, v wire.Version) {
		for _, first := range [][]byte{
			packet(0x20, "\x00\x00"), publishPacket(v, 0, "t", "", 0), packet(0x40, "\x00\x01"), packet(0x50, "\x00\x01"), packet(0x62, "\x00\x01"),
			packet(0x70, "\x00\x01"), subscribePacket(v, 1, "", 0, "t"), packet(0x90, "\x00\x01\x00"), unsubscribePacket(v, 1, "", "t"),
			packet(0xB0, "\x00\x01"), packet(0xC0, ""), packet(0xD0, ""), packet(0xE0, ""), packet(0xF0, ""), packet(0, ""),
		} {
			p := b.dial(v)
			p.say(append(first, connect(v, "c")...))
			p.gone()
		}
	})
	shows(t, "[MQTT-3.1.0-2] [MQTT-3.2.0-2] [MQTT-3.1.1 3.1.0-2] CONNECT comes twice", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "w")
		for _, again := range [][]byte{connect(v, "c"), connect(v, "another"), connect(v, "c", resume), packet(0x10, "")} {
			p := b.connect(v, "c", will("w", "gone", 0, false, ""))
			p.say(again)
			p.dropped(wire.ProtocolError)
			s.expect(`PUBLISH w "gone"`)
		}
	})
}

// TestConform_3_1_2_Flags: what the first bytes say has to be so.
func TestConform_3_1_2_Flags(t *testing.T) {
	const malformed = wire.MalformedPacket
	for _, row := range []greeting{
		{"[MQTT-3.1.4-5] [MQTT-3.2.2-8] [MQTT-3.1.1 3.1.4-4] a good one", both, nil, wire.Success},
		{"[MQTT-3.1.2-3] [MQTT-3.1.1 3.1.2-3] reserved flag", both, []func(*connectPacket){withFlags(1)}, malformed},
		{"[MQTT-3.1.2-11] [MQTT-3.1.1 3.1.2-11] [MQTT-3.1.1 3.1.2-13] will QoS 1 without a will", both, []func(*connectPacket){withFlags(1 << 3)}, malformed},
		{"[MQTT-3.1.2-11] [MQTT-3.1.1 3.1.2-11] [MQTT-3.1.1 3.1.2-13] will QoS 2 without a will", both, []func(*connectPacket){withFlags(2 << 3)}, malformed},
		{"[MQTT-3.1.2-11] [MQTT-3.1.1 3.1.2-11] [MQTT-3.1.1 3.1.2-13] will QoS 3 without a will", both, []func(*connectPacket){withFlags(3 << 3)}, malformed},
		{"[MQTT-3.1.2-13] [MQTT-3.1.1 3.1.2-15] will retain without a will", both, []func(*connectPacket){withFlags(0x20)}, malformed},
		{"[MQTT-3.1.2-12] [MQTT-3.1.1 3.1.2-14] will QoS 0", both, []func(*connectPacket){will("w", "", 0, false, "")}, wire.Success},
		{"[MQTT-3.1.2-12] [MQTT-3.1.1 3.1.2-14] will QoS 1", both, []func(*connectPacket){will("w", "", 1, false, "")}, wire.Success},
		{"[MQTT-3.1.2-12] [MQTT-3.1.1 3.1.2-14] will QoS 2", both, []func(*connectPacket){will("w", "", 2, true, "")}, wire.Success},
		{"[MQTT-3.1.2-12] [MQTT-3.1.1 3.1.2-14] will QoS 3", both, []func(*connectPacket){will("w", "", 3, false, "")}, malformed},
		{"[MQTT-3.1.2-9] [MQTT-3.1.1 3.1.2-9] no will behind its flag", both, []func(*connectPacket){withFlags(4)}, malformed},
		{"[MQTT-3.1.2-9] will without properties", five, []func(*connectPacket){withFlags(4), behind(text("w") + text(""))}, malformed},
		{"[MQTT-3.1.2-9] will without a topic", five, []func(*connectPacket){withFlags(4), behind(section(""))}, malformed},
		{"[MQTT-3.1.2-9] will without a payload", five, []func(*connectPacket){withFlags(4), behind(section("") + text("w"))}, malformed},
		{"[MQTT-3.1.2-9] [MQTT-3.1.1 3.1.2-9] will without a payload, before MQTT 5", []wire.Version{wire.V311}, []func(*connectPacket){withFlags(4), behind(text("w"))}, malformed},
		{"will without its flag", both, []func(*connectPacket){behind(text("w") + text(""))}, malformed},
		{"[MQTT-3.1.2-16] [MQTT-3.1.1 3.1.2-18] user name without its flag", both, []func(*connectPacket){behind(text("guest"))}, malformed},
		{"[MQTT-3.1.2-17] [MQTT-3.1.1 3.1.2-19] no user name behind its flag", both, []func(*connectPacket){withFlags(0x80)}, malformed},
		{"[MQTT-3.1.2-18] [MQTT-3.1.1 3.1.2-20] password without its flag", both, []func(*connectPacket){withFlags(0x80), behind(text("guest") + text("guest"))}, malformed},
		{"[MQTT-3.1.2-19] [MQTT-3.1.1 3.1.2-21] no password behind its flag", both, []func(*connectPacket){withFlags(0xC0), behind(text("guest"))}, malformed},
		{"password without a user name", five, []func(*connectPacket){withFlags(0x40), behind(text("guest"))}, wire.BadUserNameOrPassword},
		{"[MQTT-3.1.1 3.1.2-22] password without a user name", []wire.Version{wire.V311}, []func(*connectPacket){withFlags(0x40), behind(text("guest"))}, malformed},
		{"[MQTT-3.1.3-3] [MQTT-3.1.1 3.1.3-3] no payload", both, []func(*connectPacket){func(c *connectPacket) { c.id = "" }, behind("")}, wire.Success},
		{"[MQTT-3.1.4-1] bytes behind the payload", both, []func(*connectPacket){login("guest", "guest"), behind("\x00")}, malformed},
		{"[MQTT-3.1.4-1] empty will topic", both, []func(*connectPacket){will("", "", 0, false, "")}, wire.TopicNameInvalid},
		{"[MQTT-3.1.4-1] will topic with a wildcard", both, []func(*connectPacket){will("w/+", "", 0, false, "")}, wire.TopicNameInvalid},
		{"[MQTT-3.1.4-2] bad credentials", both, []func(*connectPacket){login("guest", "?")}, wire.BadUserNameOrPassword},
		{"section 3.1.2.11.10: data without a method", five, []func(*connectPacket){properties(str(wire.AuthenticationData, "d"))}, wire.ProtocolError},
		{"section 3.1.2.11.9: a method that nobody offers", five, []func(*connectPacket){properties(str(wire.AuthenticationMethod, "m"))}, wire.BadAuthenticationMethod},
		{"section 3.1.2.11.9: a method without a name", five, []func(*connectPacket){properties(str(wire.AuthenticationMethod, ""))}, wire.BadAuthenticationMethod},
		{"section 3.1.2.11.3: receive maximum 0", five, []func(*connectPacket){properties(short(wire.ReceiveMaximum, 0))}, wire.ProtocolError},
		{"section 3.1.2.11.4: maximum packet size 0", five, []func(*connectPacket){properties(long(wire.MaximumPacketSize, 0))}, wire.ProtocolError},
		{"section 3.1.2.11.6: request response information 2", five, []func(*connectPacket){properties(octet(wire.RequestResponseInfo, 2))}, wire.ProtocolError},
		{"section 3.1.2.11.7: request problem information 2", five, []func(*connectPacket){properties(octet(wire.RequestProblemInfo, 2))}, wire.ProtocolError},
		{"section 3.1.3.2.3: payload format 2 of a will", five, []func(*connectPacket){will("w", "", 0, false, octet(wire.PayloadFormat, 2))}, wire.ProtocolError},
	} {
		row.test(t)
	}
}

// TestConform_3_1_2_Protocol: a CONNECT of another protocol or version is
// answered with what most clients understand, and the connection closed.
func TestConform_3_1_2_Protocol(t *testing.T) {
	for _, tt := range []struct {
		name     string
		protocol string
		level    byte
	}{
		{"[MQTT-3.1.2-1] no name", "", 5},
		{"[MQTT-3.1.2-1] another name", "AMQP", 5},
		{"[MQTT-3.1.2-1] not as capitalized", "mqtt", 5},
		{"[MQTT-3.1.2-1] with more behind it", "MQTTX", 5},
		{"[MQTT-3.1.2-1] not UTF-8", "\xff", 4},
		{"[MQTT-3.1.2-2] level 0", "MQTT", 0},
		{"[MQTT-3.1.2-2] level 3", "MQTT", 3},
		{"[MQTT-3.1.2-2] level 6", "MQTT", 6},
		{"[MQTT-3.1.2-2] level 255", "MQTT", 255},
		{"[MQTT-3.1.2-2] the name of 3.1 with level 4", "MQIsdp", 4},
	} {
		shows(t, tt.name, []wire.Version{wire.V311}, nil, func(b *bed, v wire.Version) {
			p := b.dial(v)
			p.say(connect(v, "c", func(c *connectPacket) { c.name, c.level = tt.protocol, tt.level }))
			p.expect("CONNACK 0x01")
			p.gone()
		})
	}
}

// TestConform_3_1_2_CleanStart follows sessions that are begun, resumed and
// discarded. What waits in them shows which one it is.
func TestConform_3_1_2_CleanStart(t *testing.T) {
	// left is a bed where the client c has a subscription, a message that it has
	// not answered and one that waits.
	left := func(b *bed, v wire.Version) (p *peer) {
		c := b.connect(v, "c", resume)
		c.subscribe(1, 1, "t")
		p = b.connect(v, "p")
		p.publish("t", "sent", 1, 1)
		p.expect("PUBACK #1")
		c.expect(`PUBLISH t q1 #1 "sent"`)
		c.disconnect()
		p.publish("t", "waits", 1, 1)
		p.expect("PUBACK #1")
		return p
	}
	shows(t, "[MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.2.2-2] [MQTT-3.1.1 3.1.2-6] [MQTT-3.1.1 3.1.4-3] [MQTT-3.1.1 3.2.2-1] a clean start discards the session", both, nil, func(b *bed, v wire.Version) {
		p := left(b, v)
		c := b.dial(v)
		c.write(connect(v, "c", durable))
		if got := c.next(); !strings.HasPrefix(got, accepted) || strings.Contains(got, "present") {
			b.t.Error(got)
		}
		p.publish("t", "to nobody", 0, 0)
		c.silence(time.Minute)
		if v == wire.V5 { // in 3.1.1 it ends with the connection
			c.disconnect()
			if _, present := b.again(v, "c"); !present {
				b.t.Error("the new session was not kept")
			}
		}
	})
	shows(t, "[MQTT-3.1.2-4] [MQTT-3.1.4-4] [MQTT-3.1.1 3.1.2-6] [MQTT-3.1.1 3.1.4-3] so does that of a connection there is", both, nil, func(b *bed, v wire.Version) {
		p := left(b, v)
		first := b.resumed(v, "c")
		first.expect(`PUBLISH t q1 #1 dup "sent"`, `PUBLISH t q1 #2 "waits"`)
		second := b.dial(v)
		second.write(connect(v, "c"))
		first.dropped(wire.SessionTakenOver)
		if got := second.next(); !strings.HasPrefix(got, accepted) || strings.Contains(got, "present") {
			b.t.Error(got)
		}
		p.publish("t", "to nobody", 1, 1)
		second.silence(time.Minute)
	})
	shows(t, "[MQTT-3.1.2-5] [MQTT-3.2.2-3] [MQTT-3.1.3-2] [MQTT-3.1.1 3.1.2-4] [MQTT-3.1.1 3.2.2-2] [MQTT-3.1.1 3.2.2-3] [MQTT-3.1.1 3.1.3-2] the session is resumed", both, nil, func(b *bed, v wire.Version) {
		p := left(b, v)
		if _, present := b.again(v, "d"); present {
			b.t.Error("a session of a client that never was")
		}
		c, present := b.again(v, "c")
		if !present {
			b.t.Error("the session is not there")
		}
		c.expect(`PUBLISH t q1 #1 dup "sent"`, `PUBLISH t q1 #2 "waits"`)
		p.publish("t", "still subscribed", 0, 0)
		c.expect(`PUBLISH t "still subscribed"`)
	})
	shows(t, "[MQTT-3.1.2-6] [MQTT-3.1.2-23] a session is made where there is none, and kept", both, nil, func(b *bed, v wire.Version) {
		c, present := b.again(v, "c")
		if present {
			b.t.Error("a session before there was one")
		}
		c.subscribe(1, 1, "t")
		_ = c.nc.Close()
		synctest.Wait()
		p := b.connect(v, "p")
		p.publish("t", "m", 1, 1)
		p.expect("PUBACK #1")
		if c, present = b.again(v, "c"); !present {
			b.t.Error("it was not kept")
		}
		c.expect(`PUBLISH t q1 #1 "m"`)
	})
	shows(t, "a session without an expiry interval ends with its connection", five, nil, func(b *bed, v wire.Version) {
		for _, change := range []func(*connectPacket){
			func(c *connectPacket) { c.flags &^= 2 },
			func(c *connectPacket) { c.flags &^= 2; c.properties = long(wire.SessionExpiry, 0) },
		} {
			c := b.connect(v, "c", change)
			c.subscribe(1, 1, "t")
			c.disconnect()
			if c, present := b.again(v, "c"); present {
				b.t.Error("the session is there")
			} else {
				c.write(packet(0xE0, "\x00"+section(long(wire.SessionExpiry, 0))))
				c.gone()
			}
		}
	})
}

// TestConform_3_1_2_Will has what becomes of wills.
func TestConform_3_1_2_Will(t *testing.T) {
	for qos, want := range []string{`PUBLISH w%s "gone"`, `PUBLISH w q1 #1%s "gone"`, `PUBLISH w q2 #1%s "gone"`} {
		shows(t, fmt.Sprintf("[MQTT-3.1.2-7] [MQTT-3.1.2-12] [MQTT-3.1.2-14] [MQTT-3.1.1 3.1.2-14] [MQTT-3.1.1 3.1.2-16] a will of QoS %d", qos), both, nil, func(b *bed, v wire.Version) {
			s := b.connect(v, "s")
			s.subscribe(1, 2, "w")
			_ = b.connect(v, "c", will("w", "gone", byte(qos), false, "")).nc.Close()
			s.expect(fmt.Sprintf(want, ""))
			s.lives()
			late := b.connect(v, "late")
			late.subscribe(1, 2, "w")
			late.lives()
		})
		shows(t, fmt.Sprintf("[MQTT-3.1.2-15] [MQTT-3.1.1 3.1.2-17] a retained will of QoS %d", qos), both, nil, func(b *bed, v wire.Version) {
			_ = b.connect(v, "c", will("w", "gone", byte(qos), true, "")).nc.Close()
			synctest.Wait()
			s := b.connect(v, "s")
			s.subscribe(1, 2, "w")
			s.expect(fmt.Sprintf(want, " retain"))
		})
	}
	shows(t, "[MQTT-3.1.2-8] [MQTT-3.1.2-22] [MQTT-3.1.1 3.1.2-8] [MQTT-3.1.1 3.1.2-24] the client says nothing for too long", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "w")
		c := b.connect(v, "c", keepAlive(10), will("w", "gone", 0, false, ""))
		begin := time.Now()
		c.dropped(wire.KeepAliveTimeout)
		s.expect(`PUBLISH w "gone"`)
		if d := time.Since(begin); d != 15*time.Second {
			b.t.Errorf("after %v", d)
		}
	})
	shows(t, "[MQTT-3.1.2-10] [MQTT-3.1.1 3.1.2-10] a will that was taken back is gone for good", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "w")
		b.connect(v, "c", resume, will("w", "gone", 0, false, "")).disconnect()
		_ = b.connect(v, "c", resume).nc.Close()
		s.silence(time.Minute)
	})
	shows(t, "[MQTT-3.1.2-10] [MQTT-3.1.1 3.1.2-10] a will that was published is gone, too", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "w")
		_ = b.connect(v, "c", resume, will("w", "gone", 0, false, "")).nc.Close()
		s.expect(`PUBLISH w "gone"`)
		_ = b.connect(v, "c", resume).nc.Close()
		s.silence(time.Minute)
	})
	shows(t, "[MQTT-3.1.3-10] its properties are its own, and in order", five, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "w")
		_ = b.connect(v, "c", will("w", "gone", 0, false, user("b", "1")+long(wire.WillDelay, 0)+user("a", "2")+str(wire.ContentType, "x")+
			user("b", "0")+str(wire.CorrelationData, "\xff")+octet(wire.PayloadFormat, 1)+str(wire.ResponseTopic, "r"))).nc.Close()
		got := s.next()
		for _, want := range []string{` b:1`, ` 3="x"`, ` 9="\xff"`, ` 1=1`, ` 8="r"`} {
			if !strings.Contains(got, want) {
				b.t.Errorf("%s has no%s", got, want)
			}
		}
		if i := strings.Index(got, "a:2"); i < strings.Index(got, "b:1") || i > strings.Index(got, "b:0") {
			b.t.Errorf("out of order: %s", got)
		}
	})
}

// TestConform_3_1_2_WillIsStored: [MQTT-3.1.2-7] across the end of the broker.
func TestConform_3_1_2_WillIsStored(t *testing.T) {
	for _, v := range both {
		t.Run(v.String(), func(t *testing.T) {
			disk := memstore.NewDisk()
			inBubble(t, func(s *setup) { s.store.Disk = disk }, func(b *bed) {
				b.connect(v, "s", resume).subscribe(1, 1, "w")
				b.connect(v, "c", resume, will("w", "gone", 1, false, ""))
				b.store.Crash()
			})
			inBubble(t, func(s *setup) { s.store.Disk, s.broker = disk, core.Options{Epoch: 2} }, func(b *bed) {
				if got := b.resumed(v, "s").next(); !strings.HasPrefix(got, "PUBLISH w q1") || !strings.HasSuffix(got, `"gone"`) {
					b.t.Error(got)
				}
			})
		})
	}
}

// TestConform_3_1_2_KeepAlive: any packet counts, whole, and the server uses the
// client's interval unless it has said another [MQTT-3.2.2-22].
func TestConform_3_1_2_KeepAlive(t *testing.T) {
	shows(t, "[MQTT-3.1.2-22] [MQTT-3.1.1 3.1.2-24] every packet is a sign of life", both, nil, func(b *bed, v wire.Version) {
		c := b.connect(v, "c", keepAlive(10))
		for _, m := range [][]byte{
			{0xC0, 0},
			publishPacket(v, 0, "t", "", 0), subscribePacket(v, 1, "", 0, "t"), unsubscribePacket(v, 1, "", "t"),
			packet(0x40, "\x00\x09"), packet(0x70, "\x00\x09"), publishPacket(v, 2, "t", "", 1),
		} {
			time.Sleep(14 * time.Second)
			c.say(m)
			if m[0] == 0xC0 || m[0] == 0x82 || m[0] == 0xA2 || m[0] == 0x32 {
				c.next()
			}
		}
		begin := time.Now()
		c.dropped(wire.KeepAliveTimeout)
		if d := time.Since(begin); d != 15*time.Second {
			b.t.Errorf("dropped after %v", d)
		}
	})
	shows(t, "[MQTT-3.1.2-22] [MQTT-3.1.1 3.1.2-24] what comes from the server is none", both, nil, func(b *bed, v wire.Version) {
		c, p := b.connect(v, "c", keepAlive(10)), b.connect(v, "p")
		c.subscribe(1, 0, "t")
		for range 14 {
			time.Sleep(time.Second)
			p.publish("t", "m", 0, 0)
			c.expect(`PUBLISH t "m"`)
		}
		c.dropped(wire.KeepAliveTimeout)
	})
	shows(t, "section 3.1.2.10: 0 turns it off", both, nil, func(b *bed, v wire.Version) {
		c := b.connect(v, "c")
		c.silence(time.Hour)
		c.lives()
	})
	limit := func(s *setup) { s.server.MaxKeepAlive = 20 * time.Second }
	for asked, seconds := range map[uint16]int{0: 30, 10: 15, 20: 30, 60: 30, math.MaxUint16: 30} {
		shows(t, fmt.Sprintf("[MQTT-3.2.2-22] a keep alive of %d where 20 is the limit", asked), five, limit, func(b *bed, v wire.Version) {
			c := b.connect(v, "c", keepAlive(asked))
			begin := time.Now()
			c.dropped(wire.KeepAliveTimeout)
			if d := time.Since(begin); d != time.Duration(seconds)*time.Second {
				b.t.Errorf("dropped after %v", d)
			}
		})
	}
}

// TestConform_3_1_3: the fields of the payload, in their order.
func TestConform_3_1_3(t *testing.T) {
	shows(t, "[MQTT-3.1.3-1] [MQTT-3.1.1 3.1.3-1] client identifier, will, user name, password", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "#")
		c := b.connect(v, "the client", login("guest", "guest"), will("the/topic", "the payload", 0, false, user("the", "property")))
		if i := b.broker.Sessions()[1].Info(); i.ClientID != "the client" || i.User != "guest" {
			b.t.Errorf("%+v", i)
		}
		_ = c.nc.Close()
		s.expect(map[wire.Version]string{
			wire.V311: `PUBLISH the/topic "the payload"`, wire.V5: `PUBLISH the/topic the:property "the payload"`,
		}[v])
	})
	shows(t, "[MQTT-3.1.3-3] [MQTT-3.1.1 3.1.3-3] no client identifier", both, nil, func(b *bed, v wire.Version) {
		body := text("MQTT") + string([]byte{byte(v), 2, 0, 0})
		if v == wire.V5 {
			body += section("")
		}
		b.dial(v).fares("nothing behind the variable header", packet(0x10, body), wire.MalformedPacket)
		b.dial(v).fares("half a length", packet(0x10, body+"\x00"), wire.MalformedPacket)
		b.dial(v).fares("less than its length", packet(0x10, body+"\x00\x02c"), wire.MalformedPacket)
	})
	const letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	shows(t, "[MQTT-3.1.3-5] [MQTT-3.1.1 3.1.3-5] 1 to 23 letters and digits", both, func(s *setup) { s.server.MaxClientID = 23 }, func(b *bed, v wire.Version) {
		for i := range letters {
			b.connect(v, (letters + letters)[i:i+1+i%23]).disconnect()
		}
	})
	shows(t, "[MQTT-3.1.3-8] [MQTT-3.1.1 3.1.3-9] one that is too long", both, func(s *setup) { s.server.MaxClientID = 23 }, func(b *bed, v wire.Version) {
		p := b.dial(v)
		p.say(connect(v, letters[:24]))
		p.expect(map[wire.Version]string{wire.V311: "CONNACK 0x02", wire.V5: "CONNACK 0x85"}[v])
		p.gone()
	})
	shows(t, "[MQTT-3.1.3-6] [MQTT-3.1.3-7] [MQTT-3.2.2-16] an empty one is replaced", five, nil, func(b *bed, v wire.Version) {
		p := b.dial(v)
		p.write(connect(v, "", durable))
		_, rest, _ := strings.Cut(p.next(), ` 18="`)
		id, _, _ := strings.Cut(rest, `"`)
		if id == "" {
			b.t.Fatal("none was assigned")
		}
		p.subscribe(1, 1, "t")
		other := b.dial(v)
		other.write(connect(v, "", durable))
		if got := other.next(); strings.Contains(got, id) {
			b.t.Errorf("assigned twice: %s", got)
		}
		p.lives()
		p.disconnect()
		other.publish("t", "m", 1, 1)
		other.expect("PUBACK #1")
		p, present := b.again(v, id)
		if !present {
			b.t.Error("the identifier has no session")
		}
		p.expect(`PUBLISH t q1 #1 "m"`)
	})
	shows(t, "[MQTT-3.1.1 3.1.3-6] an empty one of 3.1.1", []wire.Version{wire.V311}, nil, func(b *bed, v wire.Version) {
		p, q := b.connect(v, ""), b.connect(v, "")
		p.lives()
		q.lives()
	})
}

// TestConform_3_1_4: a CONNECT that is refused has refused what is behind it.
func TestConform_3_1_4(t *testing.T) {
	for name, change := range map[string]func(*connectPacket){
		"refused":   login("guest", "?"),
		"malformed": withFlags(1),
		"another's": func(c *connectPacket) { c.level = 6 },
	} {
		shows(t, "[MQTT-3.1.4-6] [MQTT-3.1.1 3.1.4-5] what follows a CONNECT that is "+name, both, nil, func(b *bed, v wire.Version) {
			s := b.connect(v, "s")
			s.subscribe(1, 0, "#")
			p := b.dial(v)
			said := connect(v, "c", change)
			said = append(said, publishPacket(v, 1, "t", "m", 0)...)
			said = append(said, subscribePacket(v, 1, "", 0, "t")...)
			p.say(said)
			for { // CONNACK, or nothing
				f, err := p.frame()
				if err != nil {
					break
				}
				if f.Type != wire.CONNACK {
					b.t.Errorf("%s is answered", f.Type)
				}
			}
			s.silence(time.Minute)
			if n := b.broker.Stats().Retained; n != 0 {
				b.t.Error("a message was retained")
			}
		})
	}
	shows(t, "[MQTT-3.1.4-5] [MQTT-3.2.0-1] [MQTT-3.1.1 3.1.4-4] [MQTT-3.1.1 3.2.0-1] what follows one that is accepted", both, nil, func(b *bed, v wire.Version) {
		b.connect(v, "c", resume).subscribe(1, 1, "t")
		p := b.connect(v, "p")
		p.publish("t", "waits", 1, 1)
		p.expect("PUBACK #1")
		c := b.dial(v)
		said := append(connect(v, "c", resume), 0xC0, 0)
		said = append(said, subscribePacket(v, 2, "", 0, "u")...)
		c.say(said)
		if got := c.next(); !strings.HasPrefix(got, accepted) {
			b.t.Errorf("%s comes first", got)
		}
		rest := map[string]bool{}
		for range 3 {
			rest[c.next()] = true
		}
		for _, want := range []string{"PINGRESP", "SUBACK #2 0x00"} {
			if !rest[want] {
				b.t.Errorf("no %s in %v", want, rest)
			}
		}
	})
	shows(t, "[MQTT-3.1.4-3] [MQTT-3.1.1 3.1.4-2] the connection there is with that client identifier", both, nil, func(b *bed, v wire.Version) {
		s := b.connect(v, "s")
		s.subscribe(1, 0, "w")
		first := b.connect(v, "c", will("w", "gone", 0, false, ""))
		second := b.dial(v)
		second.write(connect(v, "c"))
		first.dropped(wire.SessionTakenOver)
		second.follow(accepted)
		s.expect(`PUBLISH w "gone"`)
		second.lives()
	})
}
