package mqtt_test

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/batonmq/baton/protocols/mqtt"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// recorded is a connection whose client has said everything in advance, and
// hangs up behind it.
type recorded struct {
	net.Conn
	in *bytes.Reader

	mu  sync.Mutex
	out bytes.Buffer
}

func record(said ...[]byte) *recorded {
	return &recorded{in: bytes.NewReader(bytes.Join(said, nil))}
}

func (r *recorded) Read(p []byte) (int, error) { return r.in.Read(p) }

func (r *recorded) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.out.Write(p)
}

func (r *recorded) Close() error                     { return nil }
func (r *recorded) RemoteAddr() net.Addr             { return &net.UnixAddr{Name: "recorded"} }
func (r *recorded) SetReadDeadline(time.Time) error  { return nil }
func (r *recorded) SetWriteDeadline(time.Time) error { return nil }

// FuzzConnection sends arbitrary bytes behind a CONNECT: nothing panics, the
// connection ends, what the server says is well formed, and where the client
// breaks the protocol the last of it is the reason that the codec gives.
func FuzzConnection(f *testing.F) {
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		for _, said := range [][]byte{
			[]byte("GET / HTTP/1.1\r\n\r\n"),
			subscribePacket(v, 1, "", 2, "#"),
			bytes.Join([][]byte{
				subscribePacket(v, 1, "", 2, "a/#", "$share/g/a"), publishPacket(v, 5, "a/b", "one", 1),
				publishPacket(v, 4, "a/b", "two", 2), wire.AppendAck(nil, wire.PUBREL, v, wire.Ack{PacketID: 2}),
				wire.AppendAck(nil, wire.PUBREC, v, wire.Ack{PacketID: 2}), wire.AppendAck(nil, wire.PUBCOMP, v, wire.Ack{PacketID: 2}),
				wire.AppendAck(nil, wire.PUBACK, v, wire.Ack{PacketID: 1}), []byte("\xC0\x00\xE0\x00"),
			}, nil),
			publishPacket(v, 1, "a", strings.Repeat("x", 70_000), 0, everyProperty, short(wire.TopicAlias, 3)),
			append(publishPacket(v, 0, "a", "", 0, short(wire.TopicAlias, 1)), publishPacket(v, 0, "", "", 0, short(wire.TopicAlias, 1))...),
			packet(0xE0, "\x04"+section(long(wire.SessionExpiry, 1))),
			connect(v, "again"),
		} {
			f.Add(byte(v), said)
		}
	}
	for _, cases := range packets.TPacketData {
		for _, c := range cases {
			f.Add(byte(wire.V311), c.RawBytes)
			f.Add(byte(wire.V5), c.RawBytes)
		}
	}
	b := newBed(f, func(s *setup) { s.server = mqtt.Options{MaxPacketSize: 128 << 10} })
	f.Fuzz(func(t *testing.T, version byte, said []byte) {
		v := wire.V311
		if wire.Version(version) == wire.V5 {
			v = wire.V5
		}
		client := record(connect(v, "c", will("w", "gone", 1, false, "")), said)
		b.server.Serve(context.WithoutCancel(t.Context()), client)
		got := ""
		for out := client.out.Bytes(); len(out) > 0; {
			f, n, err := wire.ParseFrame(out, math.MaxUint32)
			if err != nil || n == 0 {
				t.Fatalf("server says % x: %v", out, err)
			}
			if got = describe(f, v); strings.HasPrefix(got, "malformed") {
				t.Fatal(got)
			}
			out = out[n:]
		}
		want := reasonFor(v, said)
		if v == wire.V5 && want != 0 && got != fmt.Sprintf("DISCONNECT %#02x", byte(want)) {
			t.Errorf("% x\nends with %s, want reason %v", said, got, want)
		}
		if (v != wire.V5 || want == 0) && strings.HasPrefix(got, "DISCONNECT") {
			t.Errorf("% x\nends with %s, want nothing to be said", said, got)
		}
	})
}

// reasonFor is the reason with which a connection has to end on which this was
// said, 0 where the client is the one who ends it.
func reasonFor(v wire.Version, said []byte) wire.ReasonCode {
	aliases := map[uint16]bool{}
	for {
		f, n, err := wire.ParseFrame(said, 128<<10)
		if err == nil && n == 0 {
			if h, n, _ := wire.ParseHeader(said, 128<<10); n > 0 && h.Type == wire.PUBLISH && n+h.Length > 32<<10 {
				_, _, err = wire.ParsePublishHead(h, said[n:], v) // such are judged before all has come
			}
			return codeOf(err)
		}
		if err != nil {
			return codeOf(err)
		}
		said = said[n:]
		switch f.Type {
		case wire.PUBLISH:
			var p wire.Publish
			if p, err = wire.ParsePublish(f, v); err != nil || p.Properties.TopicAlias == 0 {
				break
			}
			alias := p.Properties.TopicAlias
			if alias > 16 {
				return wire.TopicAliasInvalid
			}
			if string(p.Topic) == `\x` {
				return wire.TopicNameInvalid
			}
			if len(p.Topic) == 0 && !aliases[alias] {
				return wire.ProtocolError
			}
			aliases[alias] = true
		case wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP:
			_, err = wire.ParseAck(f, v)
		case wire.SUBSCRIBE:
			_, err = wire.DecodeSubscribe(f, v)
		case wire.UNSUBSCRIBE:
			_, err = wire.DecodeUnsubscribe(f, v)
		case wire.PINGREQ:
		case wire.DISCONNECT:
			var d wire.Disconnect
			if d, err = wire.DecodeDisconnect(f, v); err == nil && d.SessionExpiry > 0 {
				return wire.ProtocolError
			}
			return codeOf(err)
		case wire.AUTH:
			if _, err = wire.DecodeAuth(f, v); err == nil {
				return wire.ProtocolError
			}
		default:
			return wire.ProtocolError
		}
		if err != nil {
			return codeOf(err)
		}
	}
}

func codeOf(err error) wire.ReasonCode {
	if e, ok := err.(*wire.Error); ok { //nolint:errorlint // the codec returns no other
		return e.Code
	}
	return 0
}
