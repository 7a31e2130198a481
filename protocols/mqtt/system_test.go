package mqtt_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// inSystem runs f with a bed that tells the $SYS tree every ten seconds.
func inSystem(t *testing.T, f func(b *bed), changes ...func(*setup)) {
	t.Helper()
	inBubble(t, func(s *setup) {
		s.server.SystemInterval, s.server.Version = 10*time.Second, "v1.2.3"
		for _, change := range changes {
			change(s)
		}
	}, func(b *bed) {
		ctx, cancel := context.WithCancel(b.ctx)
		defer cancel()
		b.serving.Go(func() { b.server.Announce(ctx) })
		synctest.Wait()
		f(b)
	})
}

// told returns what comes within d, by topic behind $SYS/broker, with "retain"
// before what comes so.
func (p *peer) told(d time.Duration) map[string]string {
	p.t.Helper()
	values := map[string]string{}
	_ = p.nc.SetReadDeadline(time.Now().Add(d))
	defer func() { _ = p.nc.SetReadDeadline(time.Time{}) }()
	for {
		f, err := p.frame()
		if err != nil {
			return values
		}
		r := reader{b: f.Body}
		topic, ok := strings.CutPrefix(r.text(), "$SYS/broker/")
		if f.Type != wire.PUBLISH || f.Flags&6 != 0 || !ok {
			p.t.Errorf("peer got %s", describe(f, p.version))
			continue
		}
		r.section(p.version)
		value := r.rest()
		if f.Flags&1 != 0 {
			value = "retain " + value
		}
		values[topic] = value
	}
}

func TestSystem_IsToldToWhoSubscribesAndWhenItChanges(t *testing.T) {
	for _, v := range []wire.Version{wire.V31, wire.V311, wire.V5} {
		inSystem(t, func(b *bed) {
			s := b.connect(v, "s")
			s.subscribe(1, 2, "$SYS/#")
			now := s.told(time.Second)
			for topic, want := range map[string]string{
				"version": "retain baton version v1.2.3", "clients/connected": "retain 1", "clients/total": "retain 1",
				"messages/received": "retain 0", "retained messages/count": "retain 0", "subscriptions/count": "retain 1",
			} {
				if now[topic] != want {
					t.Errorf("%s: %s is %q, want %q", v, topic, now[topic], want)
				}
			}
			s.told(20 * time.Second) // all of it, once, and what has changed then
			p := b.connect(v, "p")
			p.publishFlags(3, "t", "m", 7)
			p.next()
			p.disconnect()
			next := s.told(10 * time.Second)
			if next["messages/received"] != "1" || next["retained messages/count"] != "1" || next["uptime"] != "30 seconds" || next["load/publish/received/1min"] == "" {
				t.Errorf("%s: what has changed is told as %v", v, next)
			}
			if next["version"] != "" || next["clients/connected"] != "" {
				t.Errorf("%s: what has not changed is told again: %v", v, next)
			}
		})
	}
}

func TestSystem_OneTopicOfIt(t *testing.T) {
	inSystem(t, func(b *bed) {
		s := b.connect(wire.V5, "s")
		s.subscribeWith(1, string([]byte{byte(wire.SubscriptionIdentifier), 9}), 0, "$SYS/broker/clients/+")
		now := s.told(time.Second)
		for topic := range now {
			if !strings.HasPrefix(topic, "clients/") {
				t.Errorf("%s is told", topic)
			}
		}
		if len(now) != 5 {
			t.Errorf("told are %v", now)
		}
		s.subscribe(2, 2<<4, "$SYS/broker/version") // Retain Handling 2: not when it subscribes
		if now := s.told(time.Second); len(now) != 0 {
			t.Errorf("told are %v", now)
		}
		s.unsubscribe(3, "$SYS/broker/clients/+", "$SYS/broker/version")
		if now := s.told(time.Minute); len(now) != 0 {
			t.Errorf("without a subscription %v are told", now)
		}
	})
}

// TestSystem_WildcardsDoNotReachIt [MQTT-4.7.2-1], nor does it reach queues.
func TestSystem_WildcardsDoNotReachIt(t *testing.T) {
	inSystem(t, func(b *bed) {
		session, err := b.broker.Attach("/", core.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := session.DeclareQueue(t.Context(), core.QueueSpec{Name: "all"}); err != nil {
			t.Fatal(err)
		}
		if err := session.Bind(t.Context(), core.BindingSpec{Source: core.TopicExchange, Dest: "all", Key: "#"}); err != nil {
			t.Fatal(err)
		}
		away := b.connect(wire.V5, "away", durable)
		away.subscribe(1, 2, "$SYS/#")
		away.told(time.Second)
		away.disconnect()
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 0, "#", "+/broker/version", "+/#")
		s.silence(time.Minute)
		if st := b.broker.Stats(); st.Ready != 0 || st.Retained != 0 || st.Dropped != 0 {
			t.Errorf("%d messages wait, %d are kept, %d were dropped", st.Ready, st.Retained, st.Dropped)
		}
	})
}

// TestSystem_NobodyElsePublishesThere: it is dropped, with QoS 1 and 2 of MQTT 5
// told so, and ends no connection, as bridges of Mosquitto do it.
func TestSystem_NobodyElsePublishesThere(t *testing.T) {
	for _, v := range []wire.Version{wire.V31, wire.V311, wire.V5} {
		inBubble(t, nil, func(b *bed) {
			s := b.connect(v, "s")
			s.subscribe(1, 2, "$SYS/#", "$SYS")
			p := b.connect(v, "p", will("$SYS/broker/connection/p/state", "0", 1, true, ""))
			reason := ""
			if v == wire.V5 {
				reason = " 0x87"
			}
			p.publish("$SYS/broker/version", "mine", 0, 0)
			p.publishFlags(3, "$SYS/broker/connection/p/state", "1", 1)
			p.expect("PUBACK #1" + reason)
			p.publish("$SYS", "m", 2, 2)
			p.expect("PUBREC #2" + reason)
			if v != wire.V5 {
				p.ack(wire.PUBREL, 2)
				p.expect("PUBCOMP #2")
			}
			p.publish("$SYSTEM/x", "m", 1, 3) // is no topic of it
			p.next()
			_ = p.nc.Close()
			s.silence(time.Minute)
			if st := b.broker.Stats(); st.Retained != 0 {
				t.Errorf("%d messages are kept", st.Retained)
			}
			if n := b.server.Stats().Unauthorized; n != 3 {
				t.Errorf("%d publications were refused, want 3", n)
			}
		})
	}
}

func TestSystem_NeedsTheRightToRead(t *testing.T) {
	inBubble(t, func(s *setup) {
		trustEverybody(s)
		s.server.SystemInterval = time.Second
	}, func(b *bed) {
		b.grant(grant{".*", ".*", ".*", ".*", "^mine[.]"})
		p := b.connect(wire.V5, "p", login("u", "p"))
		if got := p.subscribe(1, 0, "$SYS/#"); got != "SUBACK #1 0x87" {
			t.Errorf("got %s", got)
		}
		p.silence(time.Minute)
	})
}

// TestSystem_CountsWhoDidNotComeBack, and loads, which fade.
func TestSystem_CountsWhoDidNotComeBack(t *testing.T) {
	inSystem(t, func(b *bed) {
		s := b.connect(wire.V5, "s")
		s.subscribe(1, 0, "$SYS/broker/#")
		s.told(time.Second)
		p := b.connect(wire.V5, "p", properties(long(wire.SessionExpiry, 5)))
		for range 60 {
			p.publish("t", "m", 0, 0)
		}
		p.disconnect()
		now := s.told(20 * time.Second)
		if now["clients/expired"] != "1" || now["clients/disconnected"] != "0" {
			t.Errorf("told are %v", now)
		}
		if load := now["load/publish/received/1min"]; load < "4" || load > "6" || len(load) < 4 {
			t.Errorf("60 messages a while ago are a load of %s a minute", load)
		}
		later := s.told(30 * time.Minute)
		if later["load/publish/received/1min"] != "0.00" {
			t.Errorf("half an hour later the load is %s", later["load/publish/received/1min"])
		}
	})
}
