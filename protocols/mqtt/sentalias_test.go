package mqtt_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

func takesAliases(n uint16) func(*connectPacket) {
	return properties(short(wire.TopicAliasMaximum, n))
}

// TestSentAliases: topics get aliases in the order in which they come, up to the
// client's maximum [MQTT-3.1.2-26] [MQTT-3.3.2-11]; short ones gain nothing.
func TestSentAliases(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "reader", takesAliases(2))
		p.subscribe(1, 1, "#")
		w := b.connect(wire.V5, "writer")
		for i, step := range []struct{ topic, want string }{
			{"sensors/a", `PUBLISH sensors/a q1 #1 35=1 "x"`},
			{"abc", `PUBLISH abc q1 #2 "x"`},
			{"sensors/a", `PUBLISH  q1 #3 35=1 "x"`},
			{"sensors/b", `PUBLISH sensors/b q1 #4 35=2 "x"`},
			{"sensors/c", `PUBLISH sensors/c q1 #5 "x"`},
			{"sensors/b", `PUBLISH  q1 #6 35=2 "x"`},
			{"sensors/c", `PUBLISH sensors/c q1 #7 "x"`},
			{strings.Repeat("t", 257), fmt.Sprintf(`PUBLISH %s q1 #8 "x"`, strings.Repeat("t", 257))},
		} {
			w.publish(step.topic, "x", 1, uint16(i+1))
			w.expect(fmt.Sprintf("PUBACK #%d", i+1))
			p.expect(step.want)
		}
	})
}

// TestNoAliasesForWhoTakesNone: [MQTT-3.1.2-27].
func TestNoAliasesForWhoTakesNone(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		for _, p := range []*peer{
			b.connect(wire.V5, "none"), b.connect(wire.V5, "zero", takesAliases(0)), b.connect(wire.V311, "old"),
		} {
			p.subscribe(1, 0, "sensors/a")
			for range 2 {
				p.publish("sensors/a", "x", 0, 0)
				p.expect(`PUBLISH sensors/a "x"`)
			}
			p.disconnect()
		}
	})
}

// TestAliasesEndWithTheirConnection: what was not answered comes again with its
// topic [MQTT-3.3.2-7].
func TestAliasesEndWithTheirConnection(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "reader", durable, takesAliases(8))
		p.subscribe(1, 2, "sensors/a")
		w := b.connect(wire.V5, "writer")
		for i := range uint16(2) {
			w.publish("sensors/a", "x", 1, i+1)
			w.expect(fmt.Sprintf("PUBACK #%d", i+1))
		}
		p.expect(`PUBLISH sensors/a q1 #1 35=1 "x"`, `PUBLISH  q1 #2 35=1 "x"`)
		p.disconnect()
		p = b.connect(wire.V5, "reader", resume, takesAliases(8))
		p.expect(`PUBLISH sensors/a q1 #1 dup 35=1 "x"`, `PUBLISH  q1 #2 dup 35=1 "x"`)
		p.disconnect()
		p = b.connect(wire.V5, "reader", resume)
		p.expect(`PUBLISH sensors/a q1 #1 dup "x"`, `PUBLISH sensors/a q1 #2 dup "x"`)
	})
}

// TestAliasDoesNotMakeAPacketTooLarge: [MQTT-3.1.2-24] counts the property. What
// is too large with its topic does not introduce an alias.
func TestAliasDoesNotMakeAPacketTooLarge(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		const limit = 40
		size := func(n int) string { return strings.Repeat("x", n) }
		p := b.connect(wire.V5, "reader", takesAliases(8), properties(long(wire.MaximumPacketSize, limit)))
		p.subscribe(1, 0, "sensors/a")
		full := limit - 5 - len("sensors/a") // header, length of the topic, no properties
		for _, step := range []struct {
			payload int
			want    string // empty: nothing
		}{
			{full + 1, ""},
			{full, `PUBLISH sensors/a "` + size(full) + `"`},
			{full - 2, `PUBLISH sensors/a "` + size(full-2) + `"`},
			{full - 3, `PUBLISH sensors/a 35=1 "` + size(full-3) + `"`},
			{full, `PUBLISH  35=1 "` + size(full) + `"`},
		} {
			p.publish("sensors/a", size(step.payload), 0, 0)
			if step.want != "" {
				p.expect(step.want)
			}
		}
	})
}

// TestLargeDeliveryHasAnAlias: one whose body the outbox only refers to.
func TestLargeDeliveryHasAnAlias(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "reader", takesAliases(8))
		p.subscribe(1, 0, "sensors/a")
		body := strings.Repeat("x", 9<<10)
		p.publish("sensors/a", body, 0, 0)
		p.expect(`PUBLISH sensors/a 35=1 "` + body + `"`)
		p.publish("sensors/a", body, 0, 0)
		p.expect(`PUBLISH  35=1 "` + body + `"`)
	})
}
