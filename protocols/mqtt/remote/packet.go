package remote

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// Package wire is a server's side of the protocol. Here are the packets of a client's
// that come once per connection, by mochi's codec; what it decodes has come from the far
// broker and is trusted with nothing.

const (
	maxExpiry = math.MaxUint32 // seconds: a session that never expires

	returnVersion = 1 // CONNACK's code before MQTT 5 for a version that is not known
)

// appendConnect appends CONNECT.
func appendConnect(dst []byte, o *Options, bit bool) ([]byte, error) {
	pk := packets.Packet{
		FixedHeader:     packets.FixedHeader{Type: packets.Connect},
		ProtocolVersion: byte(o.Version),
		Connect: packets.ConnectParams{
			ProtocolName: []byte("MQTT"), Clean: o.CleanStart, Keepalive: uint16(o.KeepAlive.Seconds()), ClientIdentifier: o.ClientID,
			UsernameFlag: o.Username != "", Username: []byte(o.Username),
			PasswordFlag: o.Password != "", Password: []byte(o.Password),
		},
	}
	if bit {
		pk.ProtocolVersion |= wire.BridgeBit
	}
	if o.Notify != "" {
		pk.Connect.WillFlag, pk.Connect.WillRetain = true, true
		pk.Connect.WillTopic, pk.Connect.WillPayload = o.Notify, []byte(disconnected)
	}
	if o.Version == wire.V5 {
		pk.Properties.MaximumPacketSize = o.MaxPacketSize
		pk.Properties.ReceiveMaximum = receiveMaximum
		if !o.CleanStart {
			pk.Properties.SessionExpiryIntervalFlag, pk.Properties.SessionExpiryInterval = true, maxExpiry
		}
	}
	return encoded(dst, pk.ConnectEncode)
}

// receiveMaximum is how many messages of QoS 1 and 2 the far broker may have sent that are
// not answered.
const receiveMaximum = 1000

// connack is what the far broker says about the connection.
type connack struct {
	present bool // it has the session
	reason  wire.ReasonCode
	text    string
	server  string // where else to go

	receiveMaximum int
	maxPacketSize  uint32
	maxQoS         uint8
	noRetain       bool
	keepAlive      uint16 // that it wants
	hasKeepAlive   bool
}

// parseConnack reads CONNACK.
func parseConnack(f wire.Frame, v wire.Version) (c connack, err error) {
	pk, err := decoded(f, v, (*packets.Packet).ConnackDecode)
	if err != nil {
		return c, err
	}
	p := &pk.Properties
	c = connack{
		present: pk.SessionPresent, reason: wire.ReasonCode(pk.ReasonCode), text: clipped(p.ReasonString), server: clipped(p.ServerReference),
		receiveMaximum: maxWindow, maxPacketSize: math.MaxUint32, maxQoS: 2,
		noRetain:  p.RetainAvailableFlag && p.RetainAvailable == 0,
		keepAlive: p.ServerKeepAlive, hasKeepAlive: p.ServerKeepAliveFlag,
	}
	if p.ReceiveMaximum > 0 {
		c.receiveMaximum = int(p.ReceiveMaximum)
	}
	if p.MaximumPacketSize > 0 {
		c.maxPacketSize = p.MaximumPacketSize
	}
	if p.MaximumQosFlag {
		c.maxQoS = p.MaximumQos
	}
	return c, nil
}

// returnCodes are what CONNACK says before MQTT 5 (section 3.2.2.3 of 3.1.1).
var returnCodes = [...]string{
	"accepted", "unacceptable protocol version", "identifier rejected", "server unavailable", "bad user name or password", "not authorized",
}

// refusal says why a CONNECT was refused; empty if it was not.
func (c *connack) refusal(v wire.Version) string {
	switch {
	case c.reason == 0:
		return ""
	case v == wire.V5:
		text := c.reason.String()
		if c.text != "" {
			text += ": " + c.text
		}
		if c.server != "" {
			text += ", go to " + c.server
		}
		return text
	case int(c.reason) < len(returnCodes):
		return returnCodes[c.reason]
	}
	return fmt.Sprintf("return code %d", c.reason)
}

// appendSubscribe appends a SUBSCRIBE for what is to come in. RETAIN comes as it was
// published, not what the bridge has published itself, and what is retained when a
// subscription is new.
func appendSubscribe(dst []byte, v wire.Version, id uint16, topics []Topic) ([]byte, error) {
	pk := packets.Packet{
		FixedHeader:     packets.FixedHeader{Type: packets.Subscribe, Qos: 1},
		ProtocolVersion: byte(v), PacketID: id,
	}
	for i := range topics {
		pk.Filters = append(pk.Filters, packets.Subscription{
			Filter: topics[i].far(), Qos: topics[i].QoS, NoLocal: true, RetainAsPublished: true, RetainHandling: 1,
		})
	}
	return encoded(dst, pk.SubscribeEncode)
}

// parseSuback returns the answers to the filters of a SUBSCRIBE.
func parseSuback(f wire.Frame, v wire.Version) ([]byte, error) {
	pk, err := decoded(f, v, (*packets.Packet).SubackDecode)
	if err != nil {
		return nil, err
	}
	return bytes.Clone(pk.ReasonCodes), nil
}

// parseDisconnect says why the far broker ends the connection.
func parseDisconnect(f wire.Frame, v wire.Version) string {
	if len(f.Body) == 0 {
		return wire.Success.String()
	}
	text := wire.ReasonCode(f.Body[0]).String()
	pk, err := decoded(f, v, (*packets.Packet).DisconnectDecode)
	if err == nil && pk.Properties.ReasonString != "" {
		text += ": " + clipped(pk.Properties.ReasonString)
	}
	if err == nil && pk.Properties.ServerReference != "" {
		text += ", go to " + clipped(pk.Properties.ServerReference)
	}
	return text
}

// decoded lets mochi decode a packet. It panics on some that are malformed.
func decoded(f wire.Frame, v wire.Version, decode func(*packets.Packet, []byte) error) (pk *packets.Packet, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = wire.Errorf(wire.MalformedPacket, "%s that cannot be decoded: %v", f.Type, r)
		}
	}()
	pk = &packets.Packet{FixedHeader: packets.FixedHeader{Type: byte(f.Type), Remaining: len(f.Body)}, ProtocolVersion: byte(v)}
	if err := decode(pk, f.Body); err != nil {
		return nil, wire.Errorf(wire.MalformedPacket, "%s: %v", f.Type, err)
	}
	return pk, nil
}

func encoded(dst []byte, encode func(*bytes.Buffer) error) ([]byte, error) {
	b := bytes.NewBuffer(dst)
	if err := encode(b); err != nil {
		return dst, err
	}
	return b.Bytes(), nil
}

// maxText is how much of what the far broker says is repeated.
const maxText = 256

// clipped copies a text, which aliases a buffer.
func clipped(s string) string {
	if len(s) > maxText {
		s = strings.ToValidUTF8(s[:maxText], "") + "…"
	}
	return strings.Clone(s)
}
