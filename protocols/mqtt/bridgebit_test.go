package mqtt_test

import (
	"testing"
	"time"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestBridgeBit: a client before MQTT 5 that says it is another broker gets RETAIN as it was published, and not what
// it has published itself.
func TestBridgeBit(t *testing.T) {
	for _, v := range []wire.Version{wire.V31, wire.V311} {
		inBubble(t, nil, func(b *bed) {
			p := b.dial(v)
			connect := connect(v, "c")
			level := 4 + len("MQTT") // behind the fixed header and the name, which has a length
			if v == wire.V31 {
				level = 4 + len("MQIsdp")
			}
			connect[level] |= wire.BridgeBit
			p.write(connect)
			p.expect("CONNACK 0x00")
			p.subscribe(1, 1, "#")
			p.publish("own", "", 0, 0)
			other := b.connect(wire.V5, "other")
			other.publishFlags(1, "kept", "m", 0)
			p.expect(`PUBLISH kept retain "m"`)
			other.publish("t", "m", 0, 0)
			p.expect(`PUBLISH t "m"`)
			p.silence(time.Minute)
		})
	}
	inBubble(t, nil, func(b *bed) { // MQTT 5 has words for it
		p := b.dial(wire.V311) // which is how it is answered
		connect := connect(wire.V5, "c")
		connect[8] |= wire.BridgeBit
		p.write(connect)
		p.expect("CONNACK 0x01")
	})
}
