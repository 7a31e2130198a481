package mqtt_test

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// trusting takes everybody for the user that he says he is.
type trusting struct{ accounts *auth.Accounts }

func (a trusting) Authenticate(_ context.Context, c auth.Credentials) (auth.Principal, error) {
	return a.accounts.Principal(c.Username, c.RemoteAddr)
}

func trustEverybody(s *setup) {
	s.users = func(a *auth.Accounts) auth.Authenticator { return trusting{a} }
}

// grant is what the user u may do; without patterns for topics, with all of them.
type grant struct{ configure, write, read, topicWrite, topicRead string }

func (b *bed) grant(g grant) {
	b.t.Helper()
	b.permit("u", core.Permission{VHost: "/", Configure: g.configure, Write: g.write, Read: g.read})
	if g.topicWrite+g.topicRead == "" {
		return
	}
	_, err := b.broker.Access().SetTopicPermission(b.t.Context(), core.TopicPermission{
		VHost: "/", User: "u", Exchange: core.TopicExchange, Write: g.topicWrite, Read: g.topicRead,
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

const (
	accepted = "CONNACK 0x00"
	theEnd   = "the end"
)

// follow waits for packets, or for the end of the connection.
func (p *peer) follow(want ...string) {
	p.t.Helper()
	for _, w := range want {
		switch w {
		case theEnd:
			p.gone()
		case accepted:
			if got := p.next(); !strings.HasPrefix(got, accepted) {
				p.t.Fatalf("peer got %s", got)
			}
		default:
			p.expect(w)
		}
	}
}

// TestPermissions is every verb, allowed and not: what the client hears, and
// what arrives with somebody who has subscribed to everything.
func TestPermissions(t *testing.T) {
	const topic = "dev/c/temp"
	all := grant{".*", ".*", ".*", "", ""}
	mute := grant{".*", "^mqtt-", ".*", "", ""}    // may write its own queue and nothing else
	deaf := grant{".*", ".*", "^$", "", ""}        // may read nothing that has a name
	noQueue := grant{"^amq", "^amq", ".*", "", ""} // may not have a queue
	own := grant{".*", ".*", ".*", "^dev[.]{client_id}[.]", "^dev[.]{client_id}[.]"}
	others := grant{".*", ".*", ".*", "^dev[.]x{client_id}[.]", "^dev[.]x{client_id}[.]"}

	publish := func(flags byte, payload string) func(p *peer) {
		return func(p *peer) { p.publishFlags(flags, topic, payload, 1) }
	}
	subscribe := func(filters ...string) func(p *peer) {
		return func(p *peer) { p.write(subscribePacket(p.version, 1, "", 1, filters...)) }
	}
	unsubscribe := func(p *peer) { p.write(unsubscribePacket(p.version, 1, "", topic)) }
	const arrives = `PUBLISH ` + topic + ` "m"`
	for _, tt := range []struct {
		name    string
		grant   grant
		change  func(*connectPacket)
		do      func(p *peer)
		want311 []string
		want5   []string
		arrives string
	}{
		{"connect, allowed", all, resume, nil, nil, nil, ""},
		{"connect, its session not to be configured", grant{"^amq", ".*", ".*", "", ""}, resume, nil, []string{"CONNACK 0x05", theEnd}, []string{"CONNACK 0x87", theEnd}, ""},
		{"connect, its session not to be written", grant{".*", "^amq", ".*", "", ""}, resume, nil, []string{"CONNACK 0x05", theEnd}, []string{"CONNACK 0x87", theEnd}, ""},
		{"connect, its session to be configured and written", mute, resume, nil, nil, nil, ""},
		{"connect, no session and no right to one", noQueue, nil, nil, nil, nil, ""},
		{"will, allowed", all, will(topic, "m", 0, false, ""), nil, nil, nil, arrives},
		{"will, not allowed", mute, will(topic, "m", 0, false, ""), nil, []string{"CONNACK 0x05", theEnd}, []string{"CONNACK 0x87", theEnd}, ""},
		{"will, own topic", own, will(topic, "m", 0, false, ""), nil, nil, nil, arrives},
		{"will, other topic", others, will(topic, "m", 0, false, ""), nil, []string{"CONNACK 0x05", theEnd}, []string{"CONNACK 0x87", theEnd}, ""},

		{"publish QoS 0, allowed", all, nil, publish(0, "m"), nil, nil, arrives},
		{"publish QoS 0, not allowed", mute, nil, publish(0, "m"), []string{theEnd}, []string{"DISCONNECT 0x87", theEnd}, ""},
		{"publish QoS 1, allowed", all, nil, publish(2, "m"), []string{"PUBACK #1"}, []string{"PUBACK #1"}, arrives},
		{"publish QoS 1, not allowed", mute, nil, publish(2, "m"), []string{theEnd}, []string{"PUBACK #1 0x87"}, ""},
		{"publish QoS 2, allowed", all, nil, publish(4, "m"), []string{"PUBREC #1"}, []string{"PUBREC #1"}, arrives},
		{"publish QoS 2, not allowed", mute, nil, publish(4, "m"), []string{theEnd}, []string{"PUBREC #1 0x87"}, ""},
		{"publish, own topic", own, nil, publish(2, "m"), []string{"PUBACK #1"}, []string{"PUBACK #1"}, arrives},
		{"publish, other topic", others, nil, publish(2, "m"), []string{theEnd}, []string{"PUBACK #1 0x87"}, ""},
		{"retained publish, allowed", all, nil, publish(3, "m"), []string{"PUBACK #1"}, []string{"PUBACK #1"}, arrives},
		{"retained publish, not allowed", mute, nil, publish(3, "m"), []string{theEnd}, []string{"PUBACK #1 0x87"}, ""},
		{"retained clear, allowed", all, nil, publish(3, ""), []string{"PUBACK #1"}, []string{"PUBACK #1"}, `PUBLISH ` + topic + ` ""`},
		{"retained clear, not allowed", mute, nil, publish(3, ""), []string{theEnd}, []string{"PUBACK #1 0x87"}, ""},

		{"subscribe, allowed", all, nil, subscribe(topic), []string{"SUBACK #1 0x01", `PUBLISH dev/c/temp q1 #1 retain "kept"`}, []string{"SUBACK #1 0x01", `PUBLISH dev/c/temp q1 #1 retain "kept"`}, ""},
		{"subscribe, not allowed to read", deaf, nil, subscribe(topic), []string{"SUBACK #1 0x80"}, []string{"SUBACK #1 0x87"}, ""},
		{"subscribe, not allowed to write the queue", noQueue, nil, subscribe(topic), []string{"SUBACK #1 0x80"}, []string{"SUBACK #1 0x87"}, ""},
		{
			"subscribe, own topic and others; retained messages of its own alone", own, nil, subscribe("#", topic, "dev/x/#"),
			[]string{"SUBACK #1 0x80 0x01 0x80", `PUBLISH dev/c/temp q1 #1 retain "kept"`},
			[]string{"SUBACK #1 0x87 0x01 0x87", `PUBLISH dev/c/temp q1 #1 retain "kept"`},
			"",
		},
		{"subscribe, shared, allowed", all, nil, subscribe("$share/g/t"), []string{"SUBACK #1 0x01"}, []string{"SUBACK #1 0x01"}, ""},
		{"subscribe, shared, own topic and others", own, nil, subscribe("$share/g/"+topic, "$share/g/dev/x/#"), []string{"SUBACK #1 0x01 0x80"}, []string{"SUBACK #1 0x01 0x87"}, ""},
		{"unsubscribe, whatever is allowed", deaf, nil, unsubscribe, []string{"UNSUBACK #1"}, []string{"UNSUBACK #1 0x11"}, ""},
	} {
		for _, v := range []wire.Version{wire.V311, wire.V5} {
			t.Run(tt.name+"/"+v.String(), func(t *testing.T) {
				inBubble(t, trustEverybody, func(b *bed) {
					admin := b.connect(wire.V5, "admin")
					for _, kept := range []string{topic, "dev/x/temp"} {
						admin.publishFlags(3, kept, "kept", 1)
						admin.expect("PUBACK #1")
					}
					b.grant(tt.grant)
					observer := b.connect(wire.V5, "observer")
					observer.subscribeWith(1, "", 0x20, "#") // no retained ones

					p := b.dial(v)
					changes := []func(*connectPacket){login("u", "")}
					if tt.change != nil {
						changes = append(changes, tt.change)
					}
					p.write(connect(v, "c", changes...))
					want := map[wire.Version][]string{wire.V311: tt.want311, wire.V5: tt.want5}[v]
					if len(want) == 0 || !strings.HasPrefix(want[0], "CONNACK") {
						p.follow(accepted)
					}
					if tt.do != nil {
						tt.do(p)
					}
					p.follow(want...)
					_ = p.nc.Close()
					synctest.Wait()
					if tt.arrives != "" {
						observer.expect(tt.arrives)
					}
					admin.publish("that/is/all", "", 0, 0)
					observer.expect(`PUBLISH that/is/all ""`)
				})
			})
		}
	}
}

// TestPublicationThatIsNotAllowed_KeepsTheConnection where the settings say so.
func TestPublicationThatIsNotAllowed_KeepsTheConnection(t *testing.T) {
	keep := func(s *setup) { trustEverybody(s); s.server.KeepUnauthorized = true }
	inBubble(t, keep, func(b *bed) {
		b.grant(grant{".*", "^mqtt-", ".*", "", ""})
		observer := b.connect(wire.V5, "observer")
		observer.subscribe(1, 0, "#")
		old, modern := b.connect(wire.V311, "old", login("u", "")), b.connect(wire.V5, "modern", login("u", ""))
		for _, p := range []*peer{old, modern} {
			p.publish("t", "", 0, 0)
		}
		old.publish("t", "", 1, 1) // [MQTT-3.1.1 3.3.5-2]
		old.expect("PUBACK #1")
		old.publish("t", "", 2, 2)
		old.expect("PUBREC #2")
		old.ack(wire.PUBREL, 2)
		old.expect("PUBCOMP #2")
		modern.publish("t", "", 1, 1)
		modern.expect("PUBACK #1 0x87")
		observer.silence(time.Minute)
		if n := b.server.Stats().Unauthorized; n != 5 {
			t.Errorf("%d publications were refused", n)
		}
	})
}

// TestPermissionsThatChange_ActAtOnce on what comes next, and leave
// subscriptions alone.
func TestPermissionsThatChange_ActAtOnce(t *testing.T) {
	inBubble(t, trustEverybody, func(b *bed) {
		b.grant(grant{".*", ".*", ".*", "", ""})
		p := b.connect(wire.V5, "c", login("u", ""))
		if got := p.subscribe(1, 0, "a"); got != "SUBACK #1 0x00" {
			t.Fatal(got)
		}
		p.publish("b", "", 1, 1)
		p.expect("PUBACK #1 0x10")
		b.grant(grant{"", "", "", "", ""})
		p.publish("b", "", 1, 1)
		p.expect("PUBACK #1 0x87")
		if got := p.subscribe(1, 0, "b"); got != "SUBACK #1 0x87" {
			t.Fatal(got)
		}
		b.connect(wire.V5, "admin").publish("a", "m", 0, 0)
		p.expect(`PUBLISH a "m"`)
	})
}

// TestTopicPermission_WithTheClientsName is about topics that are a client's own:
// its identifier is one level of a topic, whatever is in it, and never a wildcard.
func TestTopicPermission_WithTheClientsName(t *testing.T) {
	for _, tt := range []struct{ id, filters, reasons string }{
		{"c", "dev/c/t dev/x/t dev/+/t dev/#", "0x01 0x87 0x87 0x87"},
		{"a.b", "dev/a.b/t dev/a/b/t", "0x01 0x87"},
		{"a/b", "dev/a/b/t dev/a.b/t", "0x87 0x87"},
		{"*", "dev/*/t dev/+/t dev/c/t", "0x01 0x87 0x87"},
		{"+", "dev/+/t", "0x87"},
		{"#", "dev/#", "0x87"},
		{`\x23`, `dev/# dev/\x23`, "0x87 0x8f"},
		{`\x2a`, `dev/+/t`, "0x87"},
	} {
		inBubble(t, trustEverybody, func(b *bed) {
			b.grant(grant{".*", ".*", ".*", "^dev[.]{client_id}([.]|$)", "^dev[.]{client_id}([.]|$)"})
			p := b.connect(wire.V5, tt.id, login("u", ""))
			p.write(subscribePacket(p.version, 1, "", 1, strings.Fields(tt.filters)...))
			p.expect("SUBACK #1 " + tt.reasons)
		})
	}
}
