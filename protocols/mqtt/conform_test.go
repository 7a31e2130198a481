package mqtt_test

import (
	"io"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// The conformance suite has the statements of MQTT 5.0 that bind a server, those
// of section S in conform_S_test.go. Each has a row or a script that names it and
// that fails where it is not obeyed. What MQTT 3.1.1 says as well is shown for
// both versions.

var (
	five = []wire.Version{wire.V5}
	both = []wire.Version{wire.V311, wire.V5}
)

// shows runs a script for each version, on a server of its own. The name says
// which statements that shows.
func shows(t *testing.T, name string, versions []wire.Version, change func(*setup), script func(b *bed, v wire.Version)) {
	t.Helper()
	for _, v := range versions {
		t.Run(name+"/"+v.String(), func(t *testing.T) {
			inBubble(t, change, func(b *bed) { script(b, v) })
		})
	}
}

// said is a row: what a client says on an open connection, and what it hears.
type said struct {
	name     string // and the statements that this shows
	versions []wire.Version
	send     func(v wire.Version) []byte
	hears    []string        // and nothing else
	end      wire.ReasonCode // with which the connection ends; 0: it goes on
}

func (s *said) test(t *testing.T) {
	t.Helper()
	shows(t, s.name, s.versions, nil, func(b *bed, v wire.Version) {
		p := b.connect(v, "c", durable)
		p.say(s.send(v))
		p.follow(s.hears...)
		if s.end != 0 {
			p.dropped(s.end)
		} else {
			p.lives()
		}
	})
}

// raw is the same for every version.
func raw(s string) func(wire.Version) []byte {
	return func(wire.Version) []byte { return []byte(s) }
}

// say sends what the server may hang up upon, in a bubble.
func (p *peer) say(b []byte) {
	go func() { _, _ = p.nc.Write(b) }()
	synctest.Wait()
}

// lives fails unless the connection is open and nothing more is to be heard.
func (p *peer) lives() {
	p.t.Helper()
	p.write([]byte{0xC0, 0})
	p.expect("PINGRESP")
}

// expectBytes waits for exactly these.
func (p *peer) expectBytes(want string) {
	p.t.Helper()
	got := make([]byte, len(want))
	n := copy(got, p.buf)
	p.buf = p.buf[n:]
	if _, err := io.ReadFull(p.nc, got[n:]); err != nil || string(got) != want {
		p.t.Fatalf("peer got\n\t% .80x, %v, want\n\t% .80x", got, err, want)
	}
}

// fares sends something and fails unless that becomes of the connection: it ends
// with the reason code, of CONNACK or DISCONNECT, which only MQTT 5 hears; with
// 0 it goes on. What else is heard is left to others.
func (p *peer) fares(what string, sent []byte, want wire.ReasonCode) {
	p.t.Helper()
	p.say(append(sent, 0xC0, 0))
	code, open := wire.Success, false
	for !open {
		f, err := p.frame()
		if err != nil {
			break
		}
		switch f.Type { //nolint:exhaustive // others say nothing of the connection
		case wire.PINGRESP:
			open = true
		case wire.CONNACK:
			code = wire.ReasonCode(f.Body[1])
		case wire.DISCONNECT:
			code = wire.ReasonCode(f.Body[0])
		}
	}
	if p.version != wire.V5 {
		code = want
	}
	if code != want || open != (want == wire.Success) {
		p.t.Errorf("%s: code %#02x, open %t, want code %#02x", what, uint8(code), open, uint8(want))
	}
}

// ackPacket is an acknowledgement with everything that MQTT 5 has in it.
func ackPacket(t wire.PacketType, id uint16, reason wire.ReasonCode, properties string) []byte {
	first := byte(t) << 4
	if t == wire.PUBREL {
		first |= 2
	}
	return packet(first, string([]byte{byte(id >> 8), byte(id), byte(reason)})+section(properties))
}
