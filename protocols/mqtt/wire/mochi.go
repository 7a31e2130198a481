package wire

import (
	"bytes"
	"unicode/utf8"

	"github.com/mochi-mqtt/server/v2/packets"
)

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
