package mqtt_test

import (
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestAFullQueueRefuses: a queue that refuses what is too much has MQTT 5 answer so, and older versions say nothing; QoS 0 is
// dropped. The connection goes on, and a QoS 2 identifier is free again.
func TestAFullQueueRefuses(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s, err := b.broker.Attach(core.DefaultVHost, core.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.DeclareQueue(t.Context(), core.QueueSpec{Name: "full", Args: field.Table{
			{Key: "x-max-length", Value: int32(1)}, {Key: "x-overflow", Value: "reject-publish"},
		}})
		if err == nil {
			err = s.Bind(t.Context(), core.BindingSpec{Source: core.TopicExchange, Dest: "full", Key: "t"})
		}
		if err != nil {
			t.Fatal(err)
		}
		p, old := b.connect(wire.V5, "p"), b.connect(wire.V311, "o")
		p.publish("t", "m", 1, 1)
		p.expect("PUBACK #1")
		p.publish("t", "m", 0, 0)
		p.publish("t", "m", 1, 2)
		p.publish("t", "m", 2, 3)
		p.expect("PUBACK #2 0x97", "PUBREC #3 0x97")
		old.publish("t", "m", 1, 1)
		old.silence(time.Minute)
		if _, err := s.PurgeQueue(t.Context(), "full", false); err != nil {
			t.Fatal(err)
		}
		p.publish("t", "m", 2, 3)
		p.expect("PUBREC #3")
	})
}
