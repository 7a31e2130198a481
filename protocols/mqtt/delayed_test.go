package mqtt_test

import (
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestDelayed_GoesToTheTopicWhenTheTimeIsOver with any QoS, in the order in which
// it is due. It is answered for when it is on record, and not when it is due.
func TestDelayed_GoesToTheTopicWhenTheTimeIsOver(t *testing.T) {
	for _, v := range []wire.Version{wire.V31, wire.V311, wire.V5} {
		inBubble(t, nil, func(b *bed) {
			s := b.connect(v, "s")
			s.subscribe(1, 2, "x/#", "$delayed/#")
			p := b.connect(v, "p")
			p.publish("$delayed/15/x/y", "late", 1, 1)
			p.expect("PUBACK #1")
			p.publish("$delayed/5/x/y", "soon", 0, 0)
			p.publish("$delayed/10/x/y", "once", 2, 2)
			p.expect("PUBREC #2")
			p.ack(wire.PUBREL, 2)
			p.expect("PUBCOMP #2")
			p.publish("$delayed/0/x/y", "now", 0, 0)
			s.expect(`PUBLISH x/y "now"`)
			s.silence(5 * time.Second)
			s.expect(`PUBLISH x/y "soon"`)
			s.silence(4990 * time.Millisecond)
			s.expect(`PUBLISH x/y q2 #1 "once"`)
			s.silence(4990 * time.Millisecond)
			s.expect(`PUBLISH x/y q1 #2 "late"`)
			s.silence(time.Hour)
		})
	}
}

// TestDelayed_BeginsToExpireWhenItIsPublished, which is when it is due.
func TestDelayed_BeginsToExpireWhenItIsPublished(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s", resume)
		s.subscribe(1, 1, "x")
		s.disconnect()
		p := b.connect(wire.V5, "p")
		p.publish("$delayed/60/x", "short", 1, 1, expiry(10))
		p.publish("$delayed/60/x", "long", 1, 2, expiry(20))
		p.expect("PUBACK #1", "PUBACK #2")
		wait(75500 * time.Millisecond) // 60 s, and then more than 15
		s = b.resumed(wire.V5, "s")
		s.expect(`PUBLISH x q1 #1 2=5 "long"`)
	})
}

func TestDelayed_IsRetainedWhenItIsDue(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "p")
		p.publishFlags(3, "x", "now", 1)
		p.expect("PUBACK #1")
		p.publishFlags(3, "$delayed/10/x", "later", 2)
		p.expect("PUBACK #2")
		kept := func(want string) {
			t.Helper()
			s := b.connect(wire.V5, "s")
			s.subscribe(1, 1, "x")
			s.expect(want)
			s.disconnect()
		}
		kept(`PUBLISH x q1 #1 retain "now"`)
		wait(10002 * time.Millisecond)
		kept(`PUBLISH x q1 #1 retain "later"`)
	})
}

func TestDelayed_ByTopicAlias(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 0, "x")
		p := b.connect(wire.V5, "p")
		p.publish("$delayed/5/x", "first", 0, 0, short(wire.TopicAlias, 1))
		wait(time.Second)
		p.publish("", "second", 0, 0, short(wire.TopicAlias, 1))
		p.publish("x", "now", 0, 0)
		s.expect(`PUBLISH x "now"`)
		s.silence(4 * time.Second)
		s.expect(`PUBLISH x "first"`)
		s.silence(900 * time.Millisecond)
		s.expect(`PUBLISH x "second"`)
	})
}

func TestDelayed_MalformedIsAnInvalidTopic(t *testing.T) {
	for _, topic := range []string{
		"$delayed/", "$delayed/5", "$delayed/5/", "$delayed//x", "$delayed/five/x", "$delayed/-5/x", "$delayed/5s/x",
		"$delayed/1.5/x", "$delayed/4294968/x", "$delayed/99999999999999999999/x", "$delayed/5/$delayed/5/x",
	} {
		inBubble(t, nil, func(b *bed) {
			p := b.connect(wire.V5, "p")
			p.publish(topic, "m", 1, 1)
			p.dropped(wire.TopicNameInvalid)
			p = b.dial(wire.V5)
			p.write(connect(wire.V5, "w", will(topic, "m", 1, false, "")))
			if got := p.next(); got != "CONNACK 0x90" {
				t.Errorf("will at %s: %s", topic, got)
			}
			p = b.connect(wire.V311, "p")
			p.publish(topic, "m", 1, 1)
			p.gone()
		})
	}
	inBubble(t, nil, func(b *bed) { // the longest there is
		p := b.connect(wire.V5, "p")
		p.publish("$delayed/4294967/x", "m", 1, 1)
		p.expect("PUBACK #1")
		if n := b.broker.Stats().Delayed; n != 1 {
			t.Errorf("%d messages are delayed", n)
		}
	})
}

func TestDelayed_Off(t *testing.T) {
	inBubble(t, func(s *setup) { s.server.NoDelayed = true }, func(b *bed) {
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 0, "$delayed/#")
		p := b.connect(wire.V5, "p")
		p.publish("$delayed/five/x", "m", 0, 0)
		s.expect(`PUBLISH $delayed/five/x "m"`)
	})
}

// TestDelayed_Will: its delay begins when the will is published.
func TestDelayed_Will(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 1, "x")
		w := b.connect(wire.V5, "w", resume, will("$delayed/20/x", "gone", 1, false, long(wire.WillDelay, 10)))
		_ = w.nc.Close()
		s.silence(30 * time.Second)
		s.expect(`PUBLISH x q1 #1 "gone"`)
	})
}

// TestDelayed_NeedsTheRightsOfItsTopic and none to a topic that begins with $delayed.
func TestDelayed_NeedsTheRightsOfItsTopic(t *testing.T) {
	inBubble(t, trustEverybody, func(b *bed) {
		b.grant(grant{".*", ".*", ".*", "^mine[.]", ".*"})
		p := b.connect(wire.V5, "p", login("u", "p"))
		p.publish("$delayed/5/mine/x", "m", 1, 1)
		p.expect("PUBACK #1")
		p.publish("$delayed/5/theirs/x", "m", 1, 2)
		p.expect("PUBACK #2 0x87")
		if n := b.broker.Stats().Delayed; n != 1 {
			t.Errorf("%d messages are delayed", n)
		}
	})
}

// TestDelayed_SurvivesTheBroker: what was answered for comes, once, whenever the
// broker ends; what is QoS 0 does not.
func TestDelayed_SurvivesTheBroker(t *testing.T) {
	disk := memstore.NewDisk()
	inBubble(t, func(s *setup) { s.store.Disk = disk }, func(b *bed) {
		s := b.connect(wire.V5, "s", durable)
		s.subscribe(1, 2, "x")
		s.disconnect()
		p := b.connect(wire.V5, "p", durable)
		p.publish("$delayed/60/x", "0", 0, 0)
		p.publish("$delayed/60/x", "1", 1, 1)
		p.publish("$delayed/60/x", "2", 2, 2)
		p.expect("PUBACK #1", "PUBREC #2")
	})
	inBubble(t, func(s *setup) { s.store.Disk, s.broker = disk, core.Options{Epoch: 2} }, func(b *bed) {
		p := b.resumed(wire.V5, "p")
		p.publishFlags(0xC, "$delayed/60/x", "2", 2) // the same again
		p.expect("PUBREC #2")
		p.ack(wire.PUBREL, 2)
		p.expect("PUBCOMP #2")
		s := b.resumed(wire.V5, "s")
		var got []string
		for range 2 {
			got = append(got, s.next())
		}
		if all := strings.Join(got, "; "); !strings.HasSuffix(got[0], `"1"`) || !strings.HasSuffix(got[1], `"2"`) {
			t.Errorf("came %s", all)
		}
		s.silence(time.Hour)
	})
}
