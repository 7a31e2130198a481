package mqtt_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// offered is what CONNACK tells a client of MQTT 5 by default.
const offered = " 33=1000 34=16 39=16777216"

// TestConnectIsAnswered has CONNECT packets of every kind, and the packet that
// each is answered with; none where the connection just ends.
func TestConnectIsAnswered(t *testing.T) {
	with := func(changes ...func(*connectPacket)) []byte { return connect(wire.V5, "c", changes...) }
	with311 := func(changes ...func(*connectPacket)) []byte { return connect(wire.V311, "c", changes...) }
	id := func(s string) func(*connectPacket) { return func(c *connectPacket) { c.id = s } }
	flags := func(set byte) func(*connectPacket) { return func(c *connectPacket) { c.flags |= set } }
	level := func(v byte) func(*connectPacket) { return func(c *connectPacket) { c.level = v } }
	name := func(s string) func(*connectPacket) { return func(c *connectPacket) { c.name = s } }
	for _, tt := range []struct {
		name string
		v    wire.Version
		send []byte
		want string
	}{
		{"3.1", wire.V31, connect(wire.V31, "c"), "CONNACK 0x00"},
		{"3.1.1", wire.V311, with311(), "CONNACK 0x00"},
		{"5.0", wire.V5, with(), "CONNACK 0x00" + offered},
		{"good credentials", wire.V5, with(login("guest", "guest")), "CONNACK 0x00" + offered},
		{"vhost in the user name", wire.V311, with311(login("/:guest", "guest")), "CONNACK 0x00"},
		{"vhost that is not one", wire.V311, with311(login("nowhere:guest", "guest")), "CONNACK 0x04"},
		{"[MQTT-3.1.1 3.1.3-8] empty identifier, session to be kept", wire.V311, with311(id(""), resume), "CONNACK 0x02"},
		{"empty identifier of 3.1.1", wire.V311, with311(id("")), "CONNACK 0x00"},

		{"[MQTT-3.1.0-1] first packet is not CONNECT", wire.V5, []byte{0xC0, 0}, ""},
		{"first packet is DISCONNECT", wire.V5, []byte{0xE0, 0}, ""},
		{"[MQTT-3.1.2-1] [MQTT-3.1.1 3.1.2-1] another protocol", wire.V311, with311(name("AMQP")), "CONNACK 0x01"},
		{"[MQTT-3.1.2-2] a level to come", wire.V311, with311(level(6)), "CONNACK 0x01"},
		{"a level that never was", wire.V311, with311(level(0)), "CONNACK 0x01"},
		{"[MQTT-3.1.2-3] reserved flag", wire.V5, with(flags(1)), "CONNACK 0x81"},
		{"[MQTT-3.1.1 3.1.2-3] reserved flag", wire.V311, with311(flags(1)), ""},
		{"[MQTT-3.1.2-12] will of QoS 3", wire.V5, with(will("w", "", 3, false, "")), "CONNACK 0x81"},
		{"[MQTT-3.1.2-11] will QoS without a will", wire.V5, with(flags(0x08)), "CONNACK 0x81"},
		{"[MQTT-3.3.2-2] will topic with a wildcard", wire.V5, with(will("w/#", "", 0, false, "")), "CONNACK 0x90"},
		{"will topic of too many levels", wire.V5, with(will(levels(257), "", 0, false, "")), "CONNACK 0x90"},
		{"property twice", wire.V5, with(properties(long(wire.SessionExpiry, 1) + long(wire.SessionExpiry, 1))), "CONNACK 0x82"},
		{"receive maximum 0", wire.V5, with(properties(short(wire.ReceiveMaximum, 0))), "CONNACK 0x82"},
		{"maximum packet size 0", wire.V5, with(properties(long(wire.MaximumPacketSize, 0))), "CONNACK 0x82"},
		{"[MQTT-4.12.0-1] authentication method", wire.V5, with(properties(str(wire.AuthenticationMethod, "SCRAM"))), "CONNACK 0x8c"},
		{"bad credentials", wire.V5, with(login("guest", "?")), "CONNACK 0x86"},
		{"bad credentials of 3.1.1", wire.V311, with311(login("guest", "?")), "CONNACK 0x04"},
		{"bad credentials of 3.1", wire.V31, connect(wire.V31, "c", login("guest", "?")), "CONNACK 0x04"},
		{"packet cut short", wire.V5, packet(0x10, text("MQTT")+"\x05\x02\x00"), "CONNACK 0x81"},
		{"announced too large", wire.V5, []byte{0x10, 0xff, 0xff, 0xff, 0x7f}, ""},
		{"another language", wire.V5, []byte("GET / HTTP/1.1\r\n\r\n"), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				p := b.dial(tt.v)
				go func() { _, _ = p.nc.Write(tt.send) }() // the server may hang up before it has read all
				if tt.want != "" {
					p.expect(tt.want)
				}
				if strings.HasPrefix(tt.want, "CONNACK 0x00") {
					p.disconnect()
				} else {
					p.gone()
				}
			})
		})
	}
}

func TestCredentialsAreAskedFor(t *testing.T) {
	inBubble(t, func(s *setup) { s.named = true }, func(b *bed) {
		p := b.dial(wire.V311)
		p.write(connect(wire.V311, "c"))
		p.expect("CONNACK 0x04")
		p.gone()
		p = b.dial(wire.V5)
		p.write(connect(wire.V5, "c"))
		p.expect("CONNACK 0x86")
		p.gone()
		b.connect(wire.V5, "c", login("guest", "guest"))
		synctest.Wait()
		if s := b.server.Stats(); s.LoginsRefused != 2 || s.LoginsAccepted != 1 || s.ConnectionsOpened != 3 || s.Connections != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// unavailable cannot say who anybody is.
type unavailable struct{}

func (unavailable) Authenticate(context.Context, auth.Credentials) (auth.Principal, error) {
	return auth.Principal{}, errors.New("the directory is down")
}

func TestLoginThatCannotBeChecked(t *testing.T) {
	inBubble(t, func(s *setup) { s.server.Auth = unavailable{} }, func(b *bed) {
		p := b.dial(wire.V5)
		p.write(connect(wire.V5, "c", login("guest", "guest")))
		p.expect("CONNACK 0x88")
		p.gone()
	})
}

func TestConnackTellsWhatDiffers(t *testing.T) { // [MQTT-3.2.2-22]
	inBubble(t, func(s *setup) {
		s.server.MaxKeepAlive, s.server.MaxSessionExpiry = 30*time.Second, time.Hour
		s.server.MaxPacketSize, s.server.ReceiveMaximum, s.server.TopicAliasMaximum = 65536, 7, -1
	}, func(b *bed) {
		for _, tt := range []struct {
			properties string
			keepAlive  uint16
			want       string
		}{
			{"", 30, " 33=7 39=65536"},
			{"", 31, " 19=30 33=7 39=65536"},
			{"", 0, " 19=30 33=7 39=65536"},
			{long(wire.SessionExpiry, 3600), 30, " 33=7 39=65536"},
			{long(wire.SessionExpiry, 3601), 30, " 17=3600 33=7 39=65536"},
			{long(wire.SessionExpiry, math.MaxUint32), 30, " 17=3600 33=7 39=65536"},
		} {
			p := b.dial(wire.V5)
			p.write(connect(wire.V5, "c", properties(tt.properties), keepAlive(tt.keepAlive)))
			p.expect("CONNACK 0x00" + tt.want)
			p.disconnect()
		}
	})
}

func TestIdentifierIsAssigned_MQTT_3_1_3_6(t *testing.T) { // [MQTT-3.1.3-6] [MQTT-3.2.2-16]
	inBubble(t, nil, func(b *bed) {
		seen := map[string]bool{}
		for range 3 {
			p := b.dial(wire.V5)
			p.write(connect(wire.V5, ""))
			_, rest, _ := strings.Cut(p.next(), `18="`)
			id, _, _ := strings.Cut(rest, `"`)
			if !strings.HasPrefix(id, "baton-") || seen[id] {
				t.Errorf("identifier %q", id)
			}
			seen[id] = true
		}
	})
}

func TestKeepAlive_MQTT_3_1_2_22(t *testing.T) { // [MQTT-3.1.2-22] [MQTT-3.1.1 3.1.2-24]
	inBubble(t, nil, func(b *bed) {
		for _, v := range []wire.Version{wire.V31, wire.V5} {
			p := b.connect(v, "c", keepAlive(10))
			for range 3 {
				p.silence(14 * time.Second)
				p.write([]byte{0xC0, 0})
				p.expect("PINGRESP")
			}
			begin := time.Now()
			p.dropped(wire.KeepAliveTimeout)
			if d := time.Since(begin); d != 15*time.Second {
				t.Errorf("dropped after %v", d)
			}
		}
		b.connect(wire.V311, "d").silence(10 * time.Hour) // keep alive 0
	})
}

// TestKeepAliveCountsPackets: a packet that never ends keeps no connection open.
func TestKeepAliveCountsPackets_MQTT_3_1_2_22(t *testing.T) { // [MQTT-3.1.2-22]
	inBubble(t, nil, func(b *bed) {
		for _, size := range []int{100, 1 << 20} { // beside the reader's buffer, too
			p := b.connect(wire.V5, "c", keepAlive(10))
			packet := publishPacket(wire.V5, 0, "t", strings.Repeat("x", size), 0)
			p.write(packet[:20])
			begin := time.Now()
			var trickle sync.WaitGroup
			trickle.Go(func() {
				for _, c := range packet[20:] {
					if _, err := p.nc.Write([]byte{c}); err != nil {
						return
					}
					time.Sleep(time.Second)
				}
			})
			p.dropped(wire.KeepAliveTimeout)
			if d := time.Since(begin); d != 15*time.Second {
				t.Errorf("%d bytes: dropped after %v", size, d)
			}
			_ = p.nc.Close()
			trickle.Wait()
		}
	})
}

// TestKeepAliveOfALargePublication: a client that sends a large payload as fast
// as it can is not silent.
func TestKeepAliveOfALargePublication(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 0, "#")
		p := b.connect(wire.V5, "c", keepAlive(10))
		body := strings.Repeat("x", 1<<20)
		packet := publishPacket(wire.V5, 0, "t", body, 0)
		begin := time.Now()
		go func() {
			for part := range slices.Chunk(packet, 32<<10) {
				time.Sleep(4 * time.Second) // no multiple of it is when the timer looks
				_, _ = p.nc.Write(part)
			}
		}()
		s.expect(`PUBLISH t "` + body + `"`)
		if d := time.Since(begin); d < 2*time.Minute {
			t.Errorf("it took %v", d)
		}
	})
}

func TestHandshakeTimeout(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		begin := time.Now()
		p := b.dial(wire.V5)
		p.write(connect(wire.V5, "c")[:5])
		p.gone()
		if d := time.Since(begin); d != 10*time.Second {
			t.Errorf("ended after %v", d)
		}
	})
}

func TestTakeover_MQTT_3_1_4_3(t *testing.T) { // [MQTT-3.1.4-3]
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		t.Run(v.String(), func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				first := b.connect(v, "c", resume)
				first.subscribe(1, 1, "t")
				second := b.dial(v)
				second.write(connect(v, "c", resume))
				first.dropped(wire.SessionTakenOver)
				if got := second.next(); !strings.HasPrefix(got, "CONNACK 0x00 present") {
					t.Fatal(got)
				}
				second.publish("t", "to myself", 1, 1)
				second.expectBoth(`PUBLISH t q1 #1 "to myself"`, "PUBACK #1")
			})
		})
	}
}

// TestShutdown: a broker that stops tells its clients, and publishes no wills.
func TestShutdown(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		old, modern := b.connect(wire.V311, "o", will("w", "gone", 0, true, "")), b.connect(wire.V5, "m", will("w", "gone", 0, true, ""))
		b.stop(listen.ErrStopping)
		old.gone()
		modern.dropped(wire.ServerShuttingDown)
		b.serving.Wait()
		b.ctx, b.stop = context.WithCancelCause(context.Background())
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 0, "w")
		s.silence(time.Hour)
	})
}

// TestShutdown_ServerReference: a broker that stops names the one that takes over
// to those who can hear it (section 4.11).
func TestShutdown_ServerReference(t *testing.T) {
	elsewhere := func(s *setup) {
		s.server.Elsewhere = func(tls, webSocket bool) string { return fmt.Sprintf("next:1883 tls=%t websocket=%t", tls, webSocket) }
	}
	inBubble(t, elsewhere, func(b *bed) {
		old, modern := b.connect(wire.V311, "o"), b.connect(wire.V5, "m")
		b.stop(listen.ErrStopping)
		old.gone()
		modern.expect(`DISCONNECT 0x9c 28="next:1883 tls=false websocket=false"`)
		modern.gone()
	})
}

// TestCut: where the broker may not speak any more, nobody hears anything.
func TestCut(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "c")
		b.stop(listen.ErrCut)
		p.gone()
	})
}

// TestStoreFailureCutsTheConnection: an answer that cannot be given any more is
// not made up, and nothing else is said either.
func TestStoreFailureCutsTheConnection(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s", durable)
		s.subscribe(1, 1, "t")
		p := b.connect(wire.V5, "p")
		other := memstore.Open(memstore.Options{Disk: b.store.Disk()}) // fences the broker's
		defer other.Close()
		p.publish("t", "lost", 1, 1)
		p.gone()
	})
}
