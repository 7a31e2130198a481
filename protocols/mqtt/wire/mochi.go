package wire

import (
	"bytes"
	"errors"
	"strings"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
)

// decode decodes a body that has passed this package's own checks. The packet's
// strings and slices alias body.
func decode(t PacketType, v Version, body []byte) (pk *packets.Packet, err error) {
	defer func() {
		if r := recover(); r != nil {
			pk, err = nil, Errorf(MalformedPacket, "%s that cannot be decoded: %v", t, r)
		}
	}()
	pk = &packets.Packet{
		FixedHeader:     packets.FixedHeader{Type: byte(t), Remaining: len(body)},
		ProtocolVersion: byte(v),
	}
	switch t {
	case CONNECT:
		err = pk.ConnectDecode(body)
	case SUBSCRIBE:
		err = pk.SubscribeDecode(body)
	case UNSUBSCRIBE:
		err = pk.UnsubscribeDecode(body)
	case DISCONNECT:
		err = pk.DisconnectDecode(body)
	case AUTH:
		err = pk.AuthDecode(body)
	default:
		err = packets.ErrNoValidPacketAvailable
	}
	if err != nil {
		return nil, refusal(t, err)
	}
	return pk, nil
}

// refusal makes an Error of mochi's.
func refusal(t PacketType, err error) *Error {
	if code, ok := errors.AsType[packets.Code](err); ok && ReasonCode(code.Code).Failed() {
		return Errorf(ReasonCode(code.Code), "%s: %s", t, code.Reason)
	}
	return Errorf(MalformedPacket, "%s: %v", t, err)
}

// encode appends pk, without its reason string and user properties if it is
// larger than limit with them: [MQTT-3.2.2-19] [MQTT-3.2.2-20], [MQTT-3.9.2-1]
// [MQTT-3.9.2-2], [MQTT-3.11.2-1] [MQTT-3.11.2-2], [MQTT-3.14.2-3]
// [MQTT-3.14.2-4]. A limit of 0 is none.
func encode(dst []byte, pk *packets.Packet, limit uint32) ([]byte, error) {
	pk.Mods.AllowResponseInfo = true
	pk.Properties.ReasonString = fitting(pk.Properties.ReasonString)
	out, err := encodeAny(dst, pk)
	if err != nil || limit == 0 || uint64(len(out)-len(dst)) <= uint64(limit) {
		return out, err
	}
	pk.Mods.DisallowProblemInfo = true
	if out, err = encodeAny(dst, pk); err == nil && uint64(len(out)-len(dst)) > uint64(limit) {
		return dst, ErrTooLarge
	}
	return out, err
}

func encodeAny(dst []byte, pk *packets.Packet) (out []byte, err error) {
	buf := bytes.NewBuffer(dst)
	switch PacketType(pk.FixedHeader.Type) {
	case CONNACK:
		err = pk.ConnackEncode(buf)
	case SUBACK:
		err = pk.SubackEncode(buf)
	case UNSUBACK:
		err = pk.UnsubackEncode(buf)
	case DISCONNECT:
		err = pk.DisconnectEncode(buf)
	case AUTH:
		err = pk.AuthEncode(buf)
	default:
		err = packets.ErrNoValidPacketAvailable
	}
	if err != nil {
		return dst, err
	}
	return buf.Bytes(), nil
}

// packet returns an empty packet of type t.
func packet(t PacketType, v Version) *packets.Packet {
	return &packets.Packet{FixedHeader: packets.FixedHeader{Type: byte(t)}, ProtocolVersion: byte(v)}
}

// fitting cuts s to the length of a string, not within a UTF-8 sequence.
func fitting(s string) string {
	if len(s) <= maxString {
		return s
	}
	n := maxString
	for n > maxString-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// fromUser copies user properties.
func fromUser(list []packets.UserProperty) []UserProperty {
	if len(list) == 0 {
		return nil
	}
	out := make([]UserProperty, len(list))
	for i, p := range list {
		out[i] = UserProperty{strings.Clone(p.Key), strings.Clone(p.Val)}
	}
	return out
}

// toUser leaves out what MQTT cannot carry.
func toUser(list []UserProperty) []packets.UserProperty {
	var out []packets.UserProperty
	for _, p := range list {
		if len(p.Name) <= maxString && len(p.Value) <= maxString {
			out = append(out, packets.UserProperty{Key: p.Name, Val: p.Value})
		}
	}
	return out
}

// cloned copies b, which is nil only where present says that there is no value.
func cloned(b []byte, present bool) []byte {
	if !present {
		return nil
	}
	return append([]byte{}, b...)
}
