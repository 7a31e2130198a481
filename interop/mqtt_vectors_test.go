package interop

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mochi-mqtt/server/v2/packets"
)

// mqttVector is a packet of mochi's tables as a client sends it.
type mqttVector struct {
	packets.TPacketCase
	kind    byte
	version byte // of the connection
	send    []byte
	cut     bool // by the end of the connection
}

// vectors are the packets of all types, those that were cut short with the length
// of what is left of them: what the broker gets is whole, and wrong inside. Cases
// without bytes, and those of the groups encode and copy, are of mochi's own
// structures: they have nothing to send.
func vectors() []mqttVector {
	var all []mqttVector
	for kind := packets.Connect; kind <= packets.Auth; kind++ {
		for _, c := range packets.TPacketData[kind] {
			if len(c.RawBytes) == 0 || c.Group == "encode" || c.Group == "copy" {
				continue
			}
			v := mqttVector{TPacketCase: c, kind: kind, version: 4, send: c.RawBytes}
			if c.Packet != nil && c.Packet.ProtocolVersion != 0 {
				v.version = c.Packet.ProtocolVersion
			}
			switch {
			case c.Case == packets.TPubrecMalReasonCode, c.Case == packets.TDisconnectMalReasonCode:
				v.cut = true // what there is of it would be right
			case c.RawBytes[1] < 0x80:
				v.send = mqttPacket{c.RawBytes[0], c.RawBytes[2:]}.bytes()
			}
			all = append(all, v)
		}
	}
	return all
}

// name is the case's, which is unique only with its number.
func (v *mqttVector) name() string {
	return fmt.Sprintf("%s %d %s/%d", packets.PacketNames[v.kind], v.Case, v.Desc, v.version)
}

// serverOnly are the packets that a client never sends; the tables have them as good.
func (v *mqttVector) serverOnly() bool {
	return slices.Contains([]byte{packets.Connack, packets.Suback, packets.Unsuback, packets.Pingresp}, v.kind)
}

// wrong returns the reasons for which the connection may end, none if it may not. What mochi
// calls malformed ends as such, unless another reason says more, as it often does:
// nearly every malformed packet is a protocol error too.
func (v *mqttVector) wrong() []byte {
	switch v.Case {
	case packets.TPublishMqtt5, packets.TPublishSubscriberIdentifier, // [MQTT-3.3.4-6]: a client sends no subscription identifier
		packets.TPublishDup,                                          // [MQTT-3.3.1-2]: DUP with QoS 0
		packets.TDisconnectTakeover, packets.TDisconnectShuttingDown: // [MQTT-3.14.2-1]: reasons of a server
		return []byte{protocolError, malformed}
	case packets.TPublishBasicTopicAliasOnly: // the alias stands for nothing
		return []byte{protocolError, aliasInvalid}
	case packets.TDisconnect: // of a packet that is good
		return nil
	}
	var code packets.Code
	switch {
	case errors.As(v.FailFirst, &code) && code.Code == packets.ErrMalformedPacket.Code:
		return []byte{malformed, protocolError}
	case errors.As(v.FailFirst, &code):
		return []byte{code.Code, malformed, protocolError}
	case v.serverOnly():
		return []byte{protocolError, malformed}
	case v.kind == packets.Auth: // [MQTT-4.12.0-7]: CONNECT had no method
		return []byte{protocolError}
	}
	return nil
}

// Every packet of the tables that is wrong ends its connection, on 5.0 with the
// reason that the specification asks for, and none that is right does.
func TestMQTTVectors(t *testing.T) {
	t.Parallel()
	needOwnMQTT(t)
	b, log := ownBroker(t)
	start(t, b, log)
	stop := mqttWitness(t, b.MQTTURL())
	t.Cleanup(func() {
		if rounds := stop(); rounds == 0 {
			t.Error("the witness did not complete a single round")
		}
	})
	for _, v := range vectors() {
		wrong := v.wrong()
		if v.kind == packets.Connect && wrong == nil || v.kind == packets.Disconnect && wrong == nil {
			continue // the right ones are what every other test sends
		}
		t.Run(v.name(), func(t *testing.T) {
			t.Parallel()
			p := peer(t, b.MQTTURL(), v.version)
			if v.kind != packets.Connect {
				_, err := p.connect(unique(t), true)
				must(t, err)
			}
			_, _ = p.Write(v.send) // it may close before it has read all
			if wrong == nil {
				v.goesOn(t, p)
				return
			}
			if v.cut {
				must(t, p.Conn.(*net.TCPConn).CloseWrite())
			}
			got, err := p.rest()
			must(t, err)
			v.ends(t, got, wrong)
		})
	}
}

// ends holds what the broker said against the reasons.
func (v *mqttVector) ends(t *testing.T, got []mqttPacket, reasons []byte) {
	t.Helper()
	switch {
	case v.kind == packets.Connect:
		// [MQTT-3.1.4-1]: a refusal in CONNACK, or none
		for _, pk := range got {
			if pk.head != mqttCONNACK || len(pk.body) < 2 || pk.body[1] == 0 || pk.body[1] >= 0x80 && !slices.Contains(reasons, pk.body[1]) {
				t.Errorf("the broker said %v, want CONNACK with one of %#x", pk, reasons)
			}
		}
		if len(got) > 1 {
			t.Errorf("the broker said %v", got)
		}
	case v.version < 5, v.cut:
		if len(got) != 0 {
			t.Errorf("the broker said %v, where there is nothing to say", got)
		}
	case len(got) != 1 || got[0].head != mqttDISCONNECT || len(got[0].body) == 0 || !slices.Contains(reasons, got[0].body[0]):
		t.Errorf("the broker said %v, want DISCONNECT with one of %#x", got, reasons)
	}
}

// goesOn pings until it is answered: what comes before that answers the packet.
func (v *mqttVector) goesOn(t *testing.T, p *mqttPeer) {
	t.Helper()
	must(t, p.send(mqttPINGREQ))
	for {
		pk, err := p.next()
		if err != nil {
			t.Fatalf("the connection ends: %v", err)
		}
		switch pk.head {
		case mqttPINGRESP:
			return
		case mqttDISCONNECT:
			t.Fatalf("the broker said %v", pk)
		}
	}
}

// A packet takes no memory before it has come: neither one that is too large, nor one
// that is not.
func TestAnnouncedPacketsTakeNoMemory(t *testing.T) {
	needOwnMQTT(t)
	b, log := ownBroker(t)
	b.Env = append(b.Env, "BATON_MQTT_MAX_PACKET_SIZE=128MiB")
	start(t, b, log)
	const (
		largest = "\xff\xff\xff\x7f" // 256 MiB
		allowed = "\x80\x80\x80\x3f" // 126 MiB
		peers   = 16
	)
	for range 2 { // the first makes code and pools warm
		before := peakResident(t, b.PID())
		if before == 0 {
			t.Skip("what a process takes is not known here")
		}
		var open []*mqttPeer
		for i, packet := range []string{
			"\x30" + allowed + "\x00\x01t\x00", "\x32" + allowed, "\x82" + allowed + "\x00\x01\x00\x00\x01a",
			"\xe0" + allowed, "\x30" + largest, "\x82" + largest,
		} {
			for range peers {
				p := peer(t, b.MQTTURL(), 5)
				_, err := p.connect(unique(t), true)
				must(t, err)
				_, err = p.Write([]byte(packet + strings.Repeat("x", 100*i)))
				must(t, err)
				open = append(open, p)
			}
		}
		for range peers {
			p := peer(t, b.MQTTURL(), 5)
			_, err := p.Write([]byte("\x10" + largest + "\x00\x04MQTT\x05\x02\x00\x3c\x00"))
			must(t, err)
			open = append(open, p)
		}
		for i, p := range open {
			must(t, p.SetReadDeadline(time.Now().Add(patience)))
			if i >= 4*peers { // those are told that it is too large
				_, err := p.rest()
				must(t, err)
			}
		}
		_, err := peer(t, b.MQTTURL(), 5).connect(unique(t), true)
		must(t, err)
		grown := peakResident(t, b.PID()) - before
		t.Logf("%d connections have announced %d GiB: %d MiB more resident at the peak", len(open), len(open)/8, grown>>20)
		if grown > 48<<20 {
			t.Error("announced packets take memory")
		}
		for _, p := range open {
			_ = p.Close() // the broker has closed some
		}
	}
}
