package mqtt_test

import (
	"fmt"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// expiry is the Message Expiry Interval.
func expiry(seconds uint32) string { return long(wire.MessageExpiry, seconds) }

// wait lets time pass, once all that was sent has been acted on.
func wait(d time.Duration) {
	synctest.Wait()
	time.Sleep(d)
	synctest.Wait()
}

// TestWhatWaitedTooLongIsNotSent_MQTT_3_3_2_5 and what did not says how long it
// may wait still [MQTT-3.3.2-6], to a client that was away.
func TestWhatWaitedTooLongIsNotSent_MQTT_3_3_2_5(t *testing.T) { // [MQTT-3.3.2-5]
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s", resume)
		s.subscribe(1, 2, "t/#")
		s.disconnect()
		p := b.connect(wire.V5, "p")
		for i, seconds := range []uint32{10, 60, 11, 0} {
			p.publish(fmt.Sprint("t/", seconds), "m", 1, uint16(i+1), expiry(seconds))
			p.expect(fmt.Sprintf("PUBACK #%d", i+1))
		}
		p.publish("t/never", "m", 1, 5)
		p.expect("PUBACK #5")
		p.publish("t/twice", "m", 2, 9, expiry(20))
		p.expect("PUBREC #9")
		wait(10500 * time.Millisecond)
		s = b.resumed(wire.V5, "s")
		s.expect(
			`PUBLISH t/60 q1 #1 2=50 "m"`, // 49.5 are left
			`PUBLISH t/11 q1 #2 2=1 "m"`,
			`PUBLISH t/never q1 #3 "m"`,
			`PUBLISH t/twice q2 #4 2=10 "m"`,
		)
	})
}

// TestReceiveMaximumDoesNotStopTheClock: what waits for the client's answers
// expires, too.
func TestReceiveMaximumDoesNotStopTheClock(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s", properties(short(wire.ReceiveMaximum, 1)))
		s.subscribe(1, 1, "t")
		p := b.connect(wire.V5, "p")
		for i, seconds := range []uint32{60, 5, 60} {
			p.publish("t", fmt.Sprint(i), 1, uint16(i+1), expiry(seconds))
			p.expect(fmt.Sprintf("PUBACK #%d", i+1))
		}
		s.expect(`PUBLISH t q1 #1 2=60 "0"`)
		wait(20 * time.Second)
		s.ack(wire.PUBACK, 1)
		s.expect(`PUBLISH t q1 #2 2=40 "2"`)
	})
}

// TestExpiryOfZero is sent to who is there, of every QoS, and kept for nobody.
func TestExpiryOfZero(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		away := b.connect(wire.V5, "a", resume)
		away.subscribe(1, 2, "t")
		away.disconnect()
		s, old := b.connect(wire.V5, "s"), b.connect(wire.V311, "o")
		s.subscribe(1, 1, "t")
		old.subscribe(1, 1, "t")
		p := b.connect(wire.V5, "p")
		p.publish("t", "0", 0, 0, expiry(0))
		p.publish("t", "1", 1, 1, expiry(0))
		p.expect("PUBACK #1")
		s.expect(`PUBLISH t 2=0 "0"`, `PUBLISH t q1 #1 2=0 "1"`)
		old.expect(`PUBLISH t "0"`, `PUBLISH t q1 #1 "1"`)
		wait(time.Second) // or the one that comes back may still be in time: it is shown to each queue in turn
		b.resumed(wire.V5, "a").silence(time.Second)
	})
}

// TestRetainedMessageExpires (section 3.3.1.3): later subscribers get it with
// what is left of its time, and then no more.
func TestRetainedMessageExpires(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "p")
		p.publishFlags(3, "t", "kept", 1, expiry(60)) // QoS 1, RETAIN
		p.expect("PUBACK #1")
		wait(20 * time.Second)
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 1, "t")
		s.expect(`PUBLISH t q1 #1 retain 2=40 "kept"`)
		wait(40 * time.Second)
		s.subscribe(2, 1, "t")
		s.silence(time.Second)
		if n := b.broker.Stats().Retained; n != 0 {
			t.Errorf("%d messages are retained", n)
		}
	})
}

// TestExpiryOfAWillBeginsWithItsPublication (section 3.1.3.2.4).
func TestExpiryOfAWillBeginsWithItsPublication(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s", resume)
		s.subscribe(1, 1, "w")
		c := b.connect(wire.V5, "c", durable, will("w", "gone", 1, false, long(wire.WillDelay, 30)+expiry(10)))
		_ = c.nc.Close()
		s.disconnect()
		wait(35 * time.Second)
		s = b.resumed(wire.V5, "s")
		s.expect(`PUBLISH w q1 #1 2=5 "gone"`)
	})
}

// TestExpirationFromAMQP: milliseconds become seconds, and none too few.
func TestExpirationFromAMQP(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 1, "t")
		other := b.other()
		for _, ms := range []int{1500, 0} {
			m := &core.Message{
				Exchange: "amq.topic", Key: "t", Body: []byte("m"), Persistent: true,
				Props:   block(t, field.Properties{DeliveryMode: 2, Expiration: strconv.Itoa(ms)}),
				Expires: other.ExpiresAfter(time.Duration(ms) * time.Millisecond),
			}
			if n, err := other.Publish(m, nil, 0); n != 1 || err != nil {
				t.Fatal(n, err)
			}
		}
		s.expect(`PUBLISH t q1 #1 2=2 "m"`, `PUBLISH t q1 #2 2=0 "m"`)
	})
}
