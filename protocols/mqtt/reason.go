package mqtt

import (
	"unicode/utf8"

	"github.com/batonmq/baton/protocols/mqtt/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// explainedTag marks the tag of an answer that has a reason string, which waits
// in conn.reasons for the answer's turn.
const explainedTag = 1 << 32

// explained is answer with what the client is told of err as a reason string,
// unless it has asked to be spared [MQTT-3.1.2-29]. What waits is bounded by the
// receive maximum.
func (c *conn) explained(t wire.PacketType, id uint16, reason wire.ReasonCode, err error) (tag uint64) {
	tag = answer(t, id, reason)
	e := fault(err)
	if e == nil || e.Text == "" || !c.explains {
		return tag
	}
	tag |= explainedTag
	c.reasonsMu.Lock()
	defer c.reasonsMu.Unlock()
	if c.reasons == nil {
		c.reasons = make(map[uint64]string)
	}
	c.reasons[tag] = clipped(e.Text)
	return tag
}

// reasonOf takes the reason string of an answer whose turn has come.
func (c *conn) reasonOf(tag uint64) string {
	if tag&explainedTag == 0 {
		return ""
	}
	c.reasonsMu.Lock()
	defer c.reasonsMu.Unlock()
	text := c.reasons[tag]
	delete(c.reasons, tag)
	return text
}

// sendExplained queues an answer with a reason string, if the client accepts a
// packet as large [MQTT-3.4.2-2] [MQTT-3.5.2-2]. PUBREL and PUBCOMP never have
// one [MQTT-3.6.2-2] [MQTT-3.7.2-2], and none of them user properties
// [MQTT-3.4.2-3] [MQTT-3.5.2-3] [MQTT-3.6.2-3] [MQTT-3.7.2-3].
func (c *conn) sendExplained(t wire.PacketType, id uint16, reason wire.ReasonCode, text string) {
	a := wire.Ack{PacketID: id, Reason: reason, Properties: wire.AppendText(nil, wire.ReasonString, text)}
	if uint64(wire.AckSize(c.version, a)) > uint64(c.acceptMax) {
		a.Properties = nil
	}
	c.out.Append(func(b *outbox.Buffer) {
		if !c.told {
			b.B = wire.AppendAck(b.B, t, c.version, a)
		}
	})
}

// checkFormat returns what is wrong with a payload that is said to be UTF-8,
// where the settings want to know (section 3.3.2.3.2).
func (s *Server) checkFormat(format uint8, payload []byte) error {
	if format == 0 || !s.opt.CheckPayloadFormat || utf8.Valid(payload) {
		return nil
	}
	return wire.Errorf(wire.PayloadFormatInvalid, "the payload is not the UTF-8 that its format indicator says it is")
}
