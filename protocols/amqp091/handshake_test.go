package amqp091_test

import (
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/listen"
)

// TestConnectionStart_WhatClientsGoBy: names that clients' behaviour depends on.
func TestConnectionStart_WhatClientsGoBy(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		t := b.t
		p := b.dial()
		p.write([]byte(wire.ProtocolHeader))
		start, ok := p.next(0).(*wire.ConnectionStart)
		if !ok || start.VersionMajor != 0 || start.VersionMinor != 9 ||
			start.Mechanisms != "PLAIN AMQPLAIN" || start.Locales != "en_US" {
			t.Fatalf("connection.start is %+v", start)
		}
		for key, want := range map[string]string{"product": "RabbitMQ", "version": "3.13.7", "cluster_name": "baton"} {
			if got, _ := start.ServerProperties.Get(key); got != want {
				t.Errorf("server property %s is %v, want %s", key, got, want)
			}
		}
		caps, _ := start.ServerProperties.Get("capabilities")
		for key, want := range map[string]bool{
			"publisher_confirms": true, "basic.nack": true, "consumer_cancel_notify": true,
			"exchange_exchange_bindings": true, "authentication_failure_close": true, "per_consumer_qos": true,
			"connection.blocked": true, "direct_reply_to": true,
		} {
			if got, _ := caps.(field.Table).Get(key); got != want {
				t.Errorf("capability %s is %v, want %v", key, got, want)
			}
		}
		_ = p.nc.Close()
	})
}

func TestHandshake(t *testing.T) {
	const plain = "\x00guest\x00guest"
	amqplain, err := field.AppendTable(nil, field.Table{{Key: "LOGIN", Value: "guest"}, {Key: "PASSWORD", Value: "guest"}})
	if err != nil {
		t.Fatal(err)
	}
	startOK := func(mechanism, response string) wire.Method {
		return &wire.ConnectionStartOK{ClientProperties: clientProperties(), Mechanism: mechanism, Response: response, Locale: "en_US"}
	}
	tuneOK := func(channelMax uint16, frameMax uint32) wire.Method {
		return &wire.ConnectionTuneOK{ChannelMax: channelMax, FrameMax: frameMax, Heartbeat: 60}
	}
	tune := &wire.ConnectionTune{ChannelMax: 2047, FrameMax: 131072, Heartbeat: 60}
	open := &wire.ConnectionOpen{VirtualHost: "/"}

	for _, row := range []struct {
		name   string
		header string // "" for the usual one
		script func(p *peer)
	}{
		{"2.2.4 PLAIN", "", func(p *peer) {
			p.call(0, startOK("PLAIN", plain), tune)
			p.send(0, tuneOK(2047, 131072))
			p.call(0, open, &wire.ConnectionOpenOK{})
		}},
		{"2.2.4 AMQPLAIN", "", func(p *peer) {
			p.call(0, startOK("AMQPLAIN", string(amqplain[4:])), tune)
			p.send(0, tuneOK(2047, 131072))
			p.call(0, open, &wire.ConnectionOpenOK{})
		}},
		{"0-9 announced as 1-1-0-9", "AMQP\x01\x01\x00\x09", func(p *peer) {
			p.call(0, startOK("PLAIN", plain), tune)
		}},
		{"unknown mechanism is 503", "", func(p *peer) {
			p.send(0, startOK("GSSAPI", ""))
			p.connectionClosed(503, "COMMAND_INVALID - unknown authentication mechanism 'GSSAPI'", wire.ConnectionStartOKID)
		}},
		{"malformed response is 502", "", func(p *peer) {
			p.send(0, startOK("PLAIN", "guest"))
			p.connectionClosed(502, "SYNTAX_ERROR - malformed response for authentication mechanism PLAIN", wire.ConnectionStartOKID)
		}},
		{"wrong password is 403 to those who asked for it", "", func(p *peer) {
			p.send(0, startOK("PLAIN", "\x00guest\x00wrong"))
			p.connectionClosed(403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "+
				"For details see the broker logfile.", 0)
		}},
		{"wrong password just ends the connection of others", "", func(p *peer) {
			p.send(0, &wire.ConnectionStartOK{Mechanism: "PLAIN", Response: "\x00guest\x00wrong"})
			p.gone()
		}},
		{"a method before its turn is 503", "", func(p *peer) {
			p.send(0, open)
			p.connectionClosed(503, "COMMAND_INVALID - expected connection.start-ok, got connection.open", wire.ConnectionOpenID)
		}},
		{"a channel before the connection is open is 504", "", func(p *peer) {
			p.send(1, &wire.ChannelOpen{})
			p.connectionClosed(504, "CHANNEL_ERROR - method on channel 1 before the connection is open", 0)
		}},
		{"the client gives up", "", func(p *peer) {
			p.call(0, &wire.ConnectionClose{ReplyCode: 200, ReplyText: "bye"}, &wire.ConnectionCloseOK{})
			p.gone()
		}},
		{"tune: least frame_max is 4096", "", func(p *peer) {
			p.call(0, startOK("PLAIN", plain), tune)
			p.send(0, tuneOK(2047, 4096))
			p.call(0, open, &wire.ConnectionOpenOK{})
		}},
		{"tune: frame_max below that is 530", "", func(p *peer) {
			p.call(0, startOK("PLAIN", plain), tune)
			p.send(0, tuneOK(2047, 4095))
			p.connectionClosed(530, "NOT_ALLOWED - negotiated frame_max = 4095 is lower than the minimum allowed value (4096)", wire.ConnectionTuneOKID)
		}},
		{"tune: frame_max above the offer is 530", "", func(p *peer) {
			p.call(0, startOK("PLAIN", plain), tune)
			p.send(0, tuneOK(2047, 131073))
			p.connectionClosed(530, "NOT_ALLOWED - negotiated frame_max = 131073 is higher than the maximum allowed value (131072)", wire.ConnectionTuneOKID)
		}},
		{"tune: no limit at all is above the offer", "", func(p *peer) {
			p.call(0, startOK("PLAIN", plain), tune)
			p.send(0, tuneOK(0, 131072))
			p.connectionClosed(530, "NOT_ALLOWED - negotiated channel_max = 0 is higher than the maximum allowed value (2047)", wire.ConnectionTuneOKID)
		}},
		{"unknown vhost is 530", "", func(p *peer) {
			p.call(0, startOK("PLAIN", plain), tune)
			p.send(0, tuneOK(2047, 131072), &wire.ConnectionOpen{VirtualHost: "nowhere"})
			p.connectionClosed(530, "NOT_ALLOWED - vhost nowhere not found", wire.ConnectionOpenID)
		}},
		{"a long token fits", "", func(p *peer) {
			p.send(0, startOK("PLAIN", "\x00guest\x00"+strings.Repeat("x", 7000)))
			p.connectionClosed(403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "+
				"For details see the broker logfile.", 0)
		}},
		{"4.2.3 a frame above the limit is 501", "", func(p *peer) {
			p.write([]byte{1, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF})
			p.connectionLost("FRAME_ERROR - frame of 2147483655 bytes exceeds frame_max of 8192")
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				p := b.dial()
				if row.header == "" {
					row.header = wire.ProtocolHeader
				}
				p.write([]byte(row.header))
				p.next(0) // start
				row.script(p)
				_ = p.nc.Close()
			})
		})
	}
}

// TestProtocolHeader_4_2_2: whoever speaks another version, or another protocol,
// is told the one spoken here, and nothing more.
func TestProtocolHeader_4_2_2(t *testing.T) {
	for _, row := range []struct{ name, hello string }{
		{"a later AMQP", "AMQP\x00\x01\x00\x00"},
		{"AMQP 1.0 with SASL", "AMQP\x03\x01\x00\x00"},
		{"an older AMQP", "AMQP\x01\x01\x00\x08"},
		{"HTTP", "GET / HTTP/1.1\r\nHost: here\r\n\r\n"},
		{"TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"},
		{"noise", "\x00\xff\x00\xff"},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				t := b.t
				p := b.dial()
				go func() { _, _ = p.nc.Write([]byte(row.hello)) }() // cut short where its start is enough
				got, err := io.ReadAll(p.nc)
				if string(got) != wire.ProtocolHeader || err != nil {
					t.Errorf("answer %q %v, want the protocol header and the end", got, err)
				}
			})
		})
	}
}

func TestAHandshakeThatTakesTooLongIsCut(t *testing.T) {
	for _, row := range []struct{ name, hello string }{
		{"silence", ""},
		{"half a header", "AMQP\x00"},
		{"a header and no more", wire.ProtocolHeader},
	} {
		t.Run(row.name, func(t *testing.T) {
			blamed := 0
			inBubble(t, func(s *setup) { s.server.LoginFailed = func(net.Addr) { blamed++ } }, func(b *bed) {
				t := b.t
				begin := time.Now()
				p := b.dial()
				if row.hello != "" {
					p.write([]byte(row.hello))
				}
				_, _ = io.ReadAll(p.nc)
				if d := time.Since(begin); d != 10*time.Second {
					t.Errorf("cut after %v, want 10s", d)
				}
				if b.serving.Wait(); blamed != 1 {
					t.Errorf("its address was blamed %d times", blamed)
				}
			})
		})
	}
}

func TestHeartbeats_4_2_7(t *testing.T) {
	t.Run("the server sends one per half interval of silence", func(t *testing.T) {
		inBubble(t, nil, func(b *bed) {
			t := b.t
			p := b.dial()
			p.handshake(nil, 131072, 10)
			begin := time.Now()
			for i := range 3 {
				f, err := p.frame()
				if err != nil || f.Type != wire.FrameHeartbeat {
					t.Fatalf("frame type %d, %v, want a heartbeat", f.Type, err)
				}
				// The first look finds open-ok written since; from then on each finds silence.
				if want := time.Duration(i+2) * 5 * time.Second; time.Since(begin) != want {
					t.Errorf("heartbeat %d after %v, want %v", i, time.Since(begin), want)
				}
			}
		})
	})
	t.Run("a client that misses two is cut", func(t *testing.T) {
		inBubble(t, nil, func(b *bed) {
			t := b.t
			p := b.dial()
			p.handshake(nil, 131072, 10)
			begin := time.Now()
			p.gone()
			if d := time.Since(begin); d < 20*time.Second || d > 25*time.Second {
				t.Errorf("cut after %v, want between 20s and 25s", d)
			}
		})
	})
	t.Run("a client that sends them stays", func(t *testing.T) {
		inBubble(t, nil, func(b *bed) {
			p := b.dial()
			p.handshake(nil, 131072, 10)
			for range 10 {
				p.silence(15 * time.Second)
				p.write(wire.AppendHeartbeat(nil))
			}
		})
	})
	for _, size := range []int{5_000, 100_000} { // through the read buffer, and past it
		t.Run(fmt.Sprintf("a frame of %d bytes that trickles in is no silence", size), func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				t := b.t
				p := b.dial()
				p.handshake(nil, 131072, 10)
				p.openChannel(1)
				p.declare(wire.QueueDeclare{Queue: "q"})
				frames, err := wire.AppendPublish(nil, 1, &wire.BasicPublish{RoutingKey: "q"},
					wire.Content{Body: make([]byte, size)}, p.frameMax)
				if err != nil {
					t.Fatal(err)
				}
				for part := range slices.Chunk(frames, size/50) {
					p.silence(15 * time.Second)
					p.write(part)
				}
				p.call(1, &wire.QueueDeclare{Queue: "q", Passive: true}, &wire.QueueDeclareOK{Queue: "q", MessageCount: 1})
			})
		})
	}
	t.Run("none where the client wants none", func(t *testing.T) {
		inBubble(t, nil, func(b *bed) {
			t := b.t
			p := b.connect()
			_ = p.nc.SetReadDeadline(time.Now().Add(time.Hour))
			if f, err := p.frame(); !isTimeout(err) {
				t.Errorf("got frame %+v, %v, want nothing for an hour", f, err)
			}
		})
	})
	t.Run("on another channel than 0 is 501", func(t *testing.T) {
		inBubble(t, nil, func(b *bed) {
			p := b.connect()
			p.write([]byte{8, 0, 1, 0, 0, 0, 0, 0xCE})
			p.connectionClosed(501, "FRAME_ERROR - heartbeat on channel 1", 0)
		})
	})
}

func TestShutdown(t *testing.T) {
	const text = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
	t.Run("clients are told and take their leave", func(t *testing.T) {
		inBubble(t, nil, func(b *bed) {
			t := b.t
			idle, slow, young := b.connect(), b.connect(), b.dial()
			young.write([]byte(wire.ProtocolHeader))
			young.next(0)
			b.stop(listen.ErrStopping)
			idle.connectionClosed(320, text, 0)
			young.connectionClosed(320, text, 0)
			slow.expect(0, &wire.ConnectionClose{ReplyCode: 320, ReplyText: text})
			slow.silence(4 * time.Second) // it does not answer
			begin := time.Now()
			slow.gone()
			if d := time.Since(begin); d > time.Second {
				t.Errorf("cut %v after the drain timeout", d)
			}
			b.serving.Wait()
		})
	})
	t.Run("a cut is silent", func(t *testing.T) {
		inBubble(t, nil, func(b *bed) {
			p := b.connect()
			b.stop(listen.ErrCut)
			p.gone()
		})
	})
}

func TestOptionsAreChecked(t *testing.T) {
	b := newBed(t, nil)
	good := amqp091.Options{Broker: b.broker, Auth: refuseAll{}}
	for _, row := range []struct {
		name   string
		change func(*amqp091.Options)
	}{
		{"no broker", func(o *amqp091.Options) { o.Broker = nil }},
		{"no authenticator", func(o *amqp091.Options) { o.Auth = nil }},
		{"frame_max too small", func(o *amqp091.Options) { o.FrameMax = 4095 }},
		{"frame_max too large", func(o *amqp091.Options) { o.FrameMax = 1<<30 + 1 }},
		{"heartbeat of half a second", func(o *amqp091.Options) { o.Heartbeat = time.Second / 2 }},
		{"heartbeat too long", func(o *amqp091.Options) { o.Heartbeat = 65536 * time.Second }},
		{"negative handshake timeout", func(o *amqp091.Options) { o.HandshakeTimeout = -1 }},
		{"negative drain timeout", func(o *amqp091.Options) { o.DrainTimeout = -1 }},
		{"message size too large", func(o *amqp091.Options) { o.MaxMessageSize = 1 << 31 }},
	} {
		opt := good
		row.change(&opt)
		if _, err := amqp091.New(opt); err == nil {
			t.Errorf("%s: accepted", row.name)
		}
	}
	if _, err := amqp091.New(good); err != nil {
		t.Errorf("good options: %v", err)
	}
}
