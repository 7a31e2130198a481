package mqtt_test

import (
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestFilters subscribes and publishes once for each filter and topic.
func TestFilters(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "p")
		for _, tt := range []struct {
			name          string
			filter, topic string
			match         bool
		}{
			{"equal", "a/b", "a/b", true},
			{"longer", "a/b", "a/b/c", false},
			{"shorter", "a/b/c", "a/b", false},
			{"case", "a", "A", false},
			{"one level", "a/+/c", "a/b/c", true},
			{"one level, empty", "a/+", "a/", true},
			{"one level is not none", "a/+", "a", false},
			{"one level is not two", "+", "a/b", false},
			{"two levels for a leading slash", "+/+", "/a", true},
			{"all", "#", "a/b/c", true},
			{"multi-level", "a/#", "a/b/c", true},
			{"multi-level is none, too", "a/#", "a", true},
			{"multi-level behind one", "+/b/#", "a/b/c/d", true},
			{"[MQTT-4.7.2-1] $ and #", "#", "$x/y", false},
			{"[MQTT-4.7.2-1] $ and +", "+/y", "$x/y", false},
			{"$ asked for", "$x/#", "$x/y", true},
			{"empty levels", "//", "//", true},
			{"leading slash", "a", "/a", false},
			{"dots are no levels", "+/x", "v1.2/x", true},
			{"dots match themselves", "v1.2", "v1.2", true},
			{"a dot is no slash", "v1/2", "v1.2", false},
			{"asterisk is a letter", "a/*", "a/b", false},
			{"asterisk matches itself", "a/*", "a/*", true},
			{"asterisk and +", "a/+", "a/*", true},
			{"spaces and letters", "ä b/ö", "ä b/ö", true},
			{"backslash", `a\b/\x`, `a\b/\x`, true},
		} {
			t.Run(tt.name, func(*testing.T) {
				s := b.connect(wire.V5, "s")
				if got := s.subscribe(1, 0, tt.filter); got != "SUBACK #1 0x00" {
					t.Fatalf("%s: %s", tt.filter, got)
				}
				p.publish(tt.topic, tt.name, 0, 0)
				if tt.match {
					s.expect("PUBLISH " + tt.topic + " \"" + tt.name + "\"")
				}
				s.silence(time.Second)
				s.disconnect()
			})
		}
	})
}

func TestSuback_MQTT_3_8_4_6(t *testing.T) { // [MQTT-3.8.4-6] [MQTT-3.8.4-7] [MQTT-3.9.3-1] [MQTT-3.9.3-2] [MQTT-3.1.1 3.8.4-5] [MQTT-3.1.1 3.9.3-1]
	filters := []string{"a", "a/#/b", "a+", "", "$share/g/t", "$share//t", "$share/g+/t", "b/#"}
	inBubble(t, nil, func(b *bed) {
		modern, old := b.connect(wire.V5, "m"), b.connect(wire.V311, "o")
		for _, tt := range []struct {
			p    *peer
			want string
		}{
			{modern, "SUBACK #7 0x01 0x8f 0x8f 0x8f 0x01 0x8f 0x8f 0x01"},
			{old, "SUBACK #7 0x01 0x80 0x80 0x80 0x01 0x80 0x80 0x01"}, // [MQTT-3.1.1 3.9.3-2]
		} {
			if got := tt.p.subscribe(7, 1, filters...); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
			tt.p.publish("b/x", "m", 0, 0)
			modern.expect(`PUBLISH b/x "m"`) // what could be granted is
		}
	})
}

func TestUnsubscribe_MQTT_3_10_4_1(t *testing.T) { // [MQTT-3.10.4-1] [MQTT-3.10.4-2] [MQTT-3.10.4-6] [MQTT-3.11.3-1] [MQTT-3.11.3-2] [MQTT-3.1.1 3.10.4-1] [MQTT-3.1.1 3.10.4-2] [MQTT-3.1.1 3.10.4-6]
	inBubble(t, nil, func(b *bed) {
		modern, old := b.connect(wire.V5, "m"), b.connect(wire.V311, "o")
		for _, p := range []*peer{modern, old} {
			p.subscribe(1, 0, "a/+", "b")
		}
		want := map[*peer]string{modern: "UNSUBACK #3 0x00 0x11 0x8f 0x11", old: "UNSUBACK #3"}
		for p, want := range want {
			if got := p.unsubscribe(3, "a/+", "never", "a+", "$share/g/a"); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		modern.publish("a/b", "not any more", 0, 0)
		modern.publish("b", "still", 0, 0)
		modern.expect(`PUBLISH b "still"`)
		old.expect(`PUBLISH b "still"`)
	})
}

func TestSubscriptionOptions(t *testing.T) {
	const noLocal = 4
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "p")
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 2|noLocal, "t")
		s.publish("t", "own", 1, 1) // [MQTT-3.8.3-3]
		s.expect("PUBACK #1 0x10")
		p.publish("t", "another's", 0, 0)
		s.expect(`PUBLISH t "another's"`)
		s.subscribe(2, 0, "t") // [MQTT-3.8.4-3]: replaced
		s.publish("t", "own", 0, 0)
		s.expect(`PUBLISH t "own"`)
		s.silence(time.Second)
	})
}

// TestOverlap_MQTT_3_3_5_1: a message that matches several subscriptions comes
// once, with the highest QoS and every identifier.
func TestOverlap_MQTT_3_3_5_1(t *testing.T) { // [MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4]
	id := func(n byte) string { return string([]byte{byte(wire.SubscriptionIdentifier), n}) }
	inBubble(t, nil, func(b *bed) {
		s := b.connect(wire.V5, "s")
		s.subscribeWith(1, id(1), 0, "a/#")
		s.subscribeWith(2, id(2), 2, "a/+")
		s.subscribe(3, 1, "a/b")
		s.subscribeWith(4, id(5), 1, "a/b/#")
		p := b.connect(wire.V5, "p")
		p.publish("a/b", "m", 2, 1)
		got := s.next()
		if !strings.HasPrefix(got, "PUBLISH a/b q2 #1") || strings.Count(got, " id=") != 3 ||
			!strings.Contains(got, "id=1") || !strings.Contains(got, "id=2") || !strings.Contains(got, "id=5") {
			t.Errorf("got %s", got)
		}
		p.publish("a/c", "m", 1, 2)
		if got := s.next(); !strings.HasPrefix(got, "PUBLISH a/c q1 #2") || strings.Count(got, " id=") != 2 {
			t.Errorf("got %s", got)
		}
		s.silence(time.Second)
	})
}

// TestSubackIsAPromise: like CONNACK it waits for the record.
func TestSubackIsAPromise(t *testing.T) {
	inBubble(t, func(s *setup) { s.store.Manual = true }, func(b *bed) {
		p := b.dial(wire.V5)
		p.write(connect(wire.V5, "s", durable))
		p.silence(time.Second)
		b.store.Flush()
		p.next()
		p.write(subscribePacket(wire.V5, 1, "", 0, "t"))
		p.silence(time.Second)
		b.store.Flush()
		p.expect("SUBACK #1 0x00")
	})
}

// TestSubscriptionsBeyondTheLimit: each filter is answered for itself.
func TestSubscriptionsBeyondTheLimit_MQTT_3_9_3(t *testing.T) { // [MQTT-3.8.4-5] [MQTT-3.9.3-2] [MQTT-3.1.1 3.8.4-4] [MQTT-3.1.1 3.9.3-2]
	inBubble(t, func(s *setup) { s.broker.Subscriptions = 2 }, func(b *bed) {
		for _, tt := range []struct {
			v                wire.Version
			id, refused, yes string
		}{
			{wire.V5, "m", "0x97", "0x01"},
			{wire.V311, "o", "0x80", "0x01"},
			{wire.V31, "p", "0x80", "0x01"},
		} {
			p := b.connect(tt.v, tt.id)
			want := "SUBACK #1 " + strings.Join([]string{tt.yes, tt.yes, tt.refused, tt.yes, tt.refused}, " ")
			if got := p.subscribe(1, 1, "a", "b", "c", "a", "d"); got != want {
				t.Errorf("version %v: %s, want %s", tt.v, got, want)
			}
			p.unsubscribe(2, "a")
			if got := p.subscribe(3, 1, "c"); got != "SUBACK #3 0x01" {
				t.Errorf("version %v: %s where there is room", tt.v, got)
			}
		}
	})
}

// TestFullDiskRefusesSubscriptions: of sessions that outlive their connections.
func TestFullDiskRefusesSubscriptions(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		lasting, passing := b.connect(wire.V5, "l", resume), b.connect(wire.V5, "p")
		b.store.SetSpace(core.Space{Level: core.SpaceFull})
		if got := lasting.subscribe(1, 1, "a"); got != "SUBACK #1 0x97" {
			t.Error(got)
		}
		if got := passing.subscribe(1, 1, "a"); got != "SUBACK #1 0x01" {
			t.Error(got)
		}
	})
}

// TestRetainedThatIsRefused: nothing is sent for a subscription that is not made.
func TestRetainedThatIsRefused(t *testing.T) {
	inBubble(t, func(s *setup) { s.broker.Subscriptions = 1 }, func(b *bed) {
		p := b.connect(wire.V5, "p")
		p.publishFlags(1, "a", "kept", 0)
		p.publishFlags(1, "b", "kept", 0)
		p.subscribe(1, 0, "b", "a")
		p.expect(`PUBLISH b retain "kept"`)
		p.silence(time.Second)
	})
}

// levels is a topic of n levels.
func levels(n int) string { return strings.Repeat("l/", n-1) + "l" }

// TestLevelsOfATopic: each takes memory, and what takes much of it must not be had for little.
func TestLevelsOfATopic(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "p")
		if got, want := p.subscribe(1, 0, levels(256), levels(257), "/"+levels(255)+"/#"), "SUBACK #1 0x00 0x8f 0x8f"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if got, want := p.unsubscribe(2, levels(257)), "UNSUBACK #2 0x8f"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
		p.publish(levels(256), "deep", 0, 0)
		p.expect("PUBLISH " + levels(256) + ` "deep"`)
	})
}
