package mqtt_test

import (
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestDiscardsEndWithTheConnection: what is too large for a client is given up
// as long as it is served [MQTT-3.1.2-25], and not after that: its messages then
// belong to the next connection, and the engine may be closing.
func TestDiscardsEndWithTheConnection(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "c", resume, properties(long(wire.MaximumPacketSize, 60)))
		p.subscribe(1, 1, "t")
		s, err := b.broker.Attach(core.DefaultVHost, core.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		publish := func() {
			m := &core.Message{Exchange: core.TopicExchange, Key: "t", Body: make([]byte, 100), Persistent: true}
			if n, err := s.Publish(m, nil, 0); n != 1 || err != nil {
				t.Fatal(n, err)
			}
			synctest.Wait()
		}
		publish()
		if st := b.broker.Stats(); st.Settled != 1 || b.server.Stats().TooLarge != 1 {
			t.Fatalf("%+v", st.QueueStats)
		}
		b.stop(listen.ErrCut)
		b.serving.Wait()
		publish()
		if st := b.broker.Stats(); st.Settled != 1 {
			t.Errorf("given up after the connection has ended: %+v", st.QueueStats)
		}
	})
}
