package mqtt_test

import (
	"fmt"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestAnswersInARun has a client answer for many messages in one packet of its
// transport, with others among them, and come back for the rest.
func TestAnswersInARun(t *testing.T) {
	const messages = 200 // more than a run has
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		t.Run(v.String(), func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				s, p := b.connect(v, "s", resume), b.connect(v, "p")
				s.subscribe(1, 1, "t")
				var run []byte
				for i := range uint16(messages) {
					p.publish("t", fmt.Sprint(i), 1, i+1)
					p.next()
					s.next()
					switch i + 1 {
					case 50, 150: // not answered
					case 100:
						run = append(run, packet(byte(wire.PINGREQ)<<4, "")...)
					default:
						run = wire.AppendAck(run, wire.PUBACK, v, wire.Ack{PacketID: i + 1})
					}
				}
				s.write(append(run, packet(byte(wire.PINGREQ)<<4, "")...))
				s.expect("PINGRESP", "PINGRESP")
				if n := b.server.Stats().Acknowledged; n != messages-3 {
					t.Errorf("%d are acknowledged, want %d", n, messages-3)
				}
				s.hangUp()
				s = b.resumed(v, "s")
				s.expect(`PUBLISH t q1 #50 dup "49"`, `PUBLISH t q1 #100 dup "99"`, `PUBLISH t q1 #150 dup "149"`)
				s.lives()
			})
		})
	}
}
