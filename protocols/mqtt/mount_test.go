package mqtt_test

import (
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/protocols/mqtt"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// mounted gives all clients a mount point, but those that come by a socket.
func mounted(prefix string) func(*setup) {
	return func(s *setup) {
		s.server.MountPoint = func(w mqtt.Way) string {
			if w.Socket {
				return ""
			}
			return prefix
		}
	}
}

// atSocket is a connection that was made to a unix socket.
type atSocket struct{ net.Conn }

func (atSocket) LocalAddr() net.Addr { return &net.UnixAddr{Name: "socket", Net: "unix"} }

// outsider returns a peer without a mount point, with an open connection.
func (b *bed) outsider(v wire.Version) *peer {
	b.t.Helper()
	near, far := net.Pipe()
	b.serve(atSocket{near})
	b.t.Cleanup(func() { _ = far.Close() })
	p := &peer{t: b.t, nc: far, version: v}
	p.write(connect(v, "outsider"))
	p.follow(accepted)
	return p
}

// TestMountPoint_IsPutBeforeAndTakenOff topics of publications, wills, delayed
// and retained messages, and of filters, shared ones included.
func TestMountPoint_IsPutBeforeAndTakenOff(t *testing.T) {
	for _, v := range []wire.Version{wire.V31, wire.V311, wire.V5} {
		inBubble(t, mounted("t/a.b/"), func(b *bed) {
			o := b.outsider(v)
			o.subscribe(1, 2, "#")
			m := b.connect(v, "m", will("gone", "will", 0, false, ""))
			if got := m.subscribe(1, 2, "x/+", "$share/g/jobs"); got != "SUBACK #1 0x02 0x02" {
				t.Error(got)
			}

			m.publish("y", "once", 2, 1)
			m.expect("PUBREC #1")
			m.ack(wire.PUBREL, 1)
			m.expect("PUBCOMP #1")
			o.expect(`PUBLISH t/a.b/y q2 #1 "once"`)
			m.publish("$delayed/5/x/y", "late", 0, 0)
			m.publishFlags(1, "kept", "retained", 0)
			o.expect(`PUBLISH t/a.b/kept "retained"`, `PUBLISH t/a.b/x/y "late"`)
			m.expect(`PUBLISH x/y "late"`)
			m.subscribe(2, 0, "kept")
			m.expect(`PUBLISH kept retain "retained"`)

			o.publish("t/a.b/jobs", "job", 0, 0)
			m.expect(`PUBLISH jobs "job"`)
			o.expect(`PUBLISH t/a.b/jobs "job"`)
			want := "UNSUBACK #3"
			if v == wire.V5 {
				want += " 0x00 0x00 0x11"
			}
			if got := m.unsubscribe(3, "x/+", "$share/g/jobs", "t/a.b/x/+"); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			o.publish("t/a.b/x/y", "unwanted", 0, 0)
			m.silence(time.Second)
			o.expect(`PUBLISH t/a.b/x/y "unwanted"`)
			_ = m.nc.Close()
			o.expect(`PUBLISH t/a.b/gone "will"`)
		})
	}
}

// TestMountPoint_HidesWhatIsNotBelowIt, from every filter: what others publish
// there, the mount point itself, and topics that begin with $ below it, of which
// [MQTT-4.7.2-1] wants that wildcards do not match them. It takes up no room in
// the receive maximum.
func TestMountPoint_HidesWhatIsNotBelowIt(t *testing.T) {
	inBubble(t, mounted("t/u/"), func(b *bed) {
		m := b.connect(wire.V5, "m", properties(short(wire.ReceiveMaximum, 1)))
		m.subscribe(1, 2, "#", "+/#", "+")
		o := b.outsider(wire.V5)
		for i, topic := range []string{"x", "t", "t/u", "t/u/", "t/u2/x", "T/u/x", "t/u/$x", "t/u/$SYS/broker/uptime", "t/u/$x/y"} {
			o.publish(topic, "hidden", 0, 0)
			o.publish(topic, "hidden", 1, uint16(2*i+1))
			o.publish(topic, "hidden", 2, uint16(2*i+2))
			o.next()
			o.next()
		}
		o.publish("t/u/x$", "seen", 1, 100)
		o.next()
		if got := m.next(); !strings.HasPrefix(got, "PUBLISH x$ q1 ") {
			t.Error(got)
		}
	})
}

// TestMountPoint_HasNoTopicsOfTheBroker: none that begins with $, but $SYS, which is that of everybody.
func TestMountPoint_HasNoTopicsOfTheBroker(t *testing.T) {
	inBubble(t, mounted("t/"), func(b *bed) {
		o := b.outsider(wire.V5)
		o.subscribe(1, 0, "#", "$x/#")
		m := b.connect(wire.V5, "m", will("$x/will", "", 0, false, ""))
		if got := m.subscribe(1, 0, "$x", "$x/#", "$share/g/$x", "$SYS/#", "$share/g/$SYS/x"); got != "SUBACK #1 0x8f 0x8f 0x8f 0x00 0x00" {
			t.Error(got)
		}
		if got := m.unsubscribe(2, "$x", "$SYS/#"); got != "UNSUBACK #2 0x8f 0x00" {
			t.Error(got)
		}
		for i, topic := range []string{"$x", "$x/y", "$SYS/x", "$delayed/0/$x", "$share/g/x"} {
			m.publish(topic, "dropped", 0, 0)
			m.publish(topic, "dropped", 1, uint16(i+1))
			if got, want := m.next(), "PUBACK"; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, " 0x87") {
				t.Errorf("%s: %s", topic, got)
			}
		}
		_ = m.nc.Close()
		o.silence(time.Second)
		if got := b.connect(wire.V311, "old").subscribe(1, 0, "$x/#"); got != "SUBACK #1 0x80" {
			t.Error(got)
		}
	})
}

func TestMountPoint_TellsTheSystemTree(t *testing.T) {
	inSystem(t, func(b *bed) {
		m := b.connect(wire.V5, "m")
		m.subscribe(1, 0, "$SYS/broker/version")
		m.expect(`PUBLISH $SYS/broker/version retain "baton version v1.2.3"`)
	}, mounted("t/"))
}

// TestMountPoint_TopicAliases are of the topics as the client knows them, in
// both directions.
func TestMountPoint_TopicAliases(t *testing.T) {
	inBubble(t, mounted("t/"), func(b *bed) {
		o := b.outsider(wire.V5)
		o.subscribe(1, 0, "#")
		m := b.connect(wire.V5, "m", properties(short(wire.TopicAliasMaximum, 4)))
		m.subscribe(1, 0, "down/#")
		m.publish("up/1", "a", 0, 0, short(wire.TopicAlias, 1))
		m.publish("", "b", 0, 0, short(wire.TopicAlias, 1))
		o.expect(`PUBLISH t/up/1 "a"`, `PUBLISH t/up/1 "b"`)
		o.publish("t/down/1", "a", 0, 0)
		o.publish("t/down/1", "b", 0, 0)
		m.expect(`PUBLISH down/1 35=1 "a"`, `PUBLISH  35=1 "b"`)
	})
}

// TestMountPoint_ResponseTopics are topics as all others: below the mount point for
// everybody else, without it for the client, and nothing to it if it could not
// answer there. The other properties go on as they were.
func TestMountPoint_ResponseTopics(t *testing.T) {
	awkward := user("x-mqtt-retain", "a") + str(wire.CorrelationData, "7") // with a property that is no header
	inBubble(t, mounted("t/"), func(b *bed) {
		o, m, n := b.outsider(wire.V5), b.connect(wire.V5, "m", will("gone", "bye", 0, false, str(wire.ResponseTopic, "answers/0"))), b.connect(wire.V5, "n")
		o.subscribe(1, 0, "#")
		n.subscribe(1, 0, "ask/#", "gone")
		for _, tt := range []struct{ asked, outside, below string }{
			{"answers/1", ` 8="t/answers/1"`, ` 8="answers/1"`},
			{"$x/y", "", ""},
			{"$delayed/5/x", "", ""},
		} {
			m.publish("ask/m", "?", 0, 0, str(wire.ResponseTopic, tt.asked))
			o.expect(`PUBLISH t/ask/m` + tt.outside + ` "?"`)
			n.expect(`PUBLISH ask/m` + tt.below + ` "?"`)
			m.publish("ask/m", "?", 0, 0, awkward+str(wire.ResponseTopic, tt.asked))
			o.expect(`PUBLISH t/ask/m x-mqtt-retain:a 9="7"` + tt.outside + ` "?"`)
			n.expect(`PUBLISH ask/m x-mqtt-retain:a 9="7"` + tt.below + ` "?"`)
		}
		for _, tt := range []struct{ asked, below string }{
			{"t/answers/2", ` 8="answers/2"`},
			{"t/", ""},
			{"t/$x", ""},
			{"answers/2", ""},
			{"tt/answers/2", ""},
		} {
			o.publish("t/ask/o", "?", 0, 0, str(wire.ResponseTopic, tt.asked))
			o.expect(`PUBLISH t/ask/o 8="` + tt.asked + `" "?"`)
			n.expect(`PUBLISH ask/o` + tt.below + ` "?"`)
		}
		m.publish("ask/m", "?", 1, 1, str(wire.ResponseTopic, strings.Repeat("l", 65534)))
		m.expect("DISCONNECT 0x90")
		o.expect(`PUBLISH t/gone 8="t/answers/0" "bye"`)
		n.expect(`PUBLISH gone 8="answers/0" "bye"`)
	})
}

// TestMountPoint_IsTheClients: each variable is a level, and who has a name that
// can be none, or that would make another tree of it, is not let in.
func TestMountPoint_IsTheClients(t *testing.T) {
	for _, tt := range []struct {
		prefix, user, id string
		v                wire.Version
		want             string // CONNACK, or the topic of a publication to x
	}{
		{"t/{username}/", "ann", "c", wire.V5, "t/ann/x"},
		{"{username}/d/{client_id}/", "a.b", "c*", wire.V311, "a.b/d/c*/x"},
		{"{client_id}/{client_id}/", "ann", "*", wire.V31, "*/*/x"},
		{"t/{username}/", "$SYS", "c", wire.V5, "t/$SYS/x"},
		{"{username}/", "$SYS", "c", wire.V5, "CONNACK 0x87"},
		{"{username}/", "$delayed", "c", wire.V311, "CONNACK 0x05"},
		{"t/{username}/", "ann/bob", "c", wire.V5, "CONNACK 0x87"},
		{"t/{username}/", "#", "c", wire.V5, "CONNACK 0x87"},
		{"t/{username}/", `\x2a`, "c", wire.V5, "CONNACK 0x87"},
		{"t/{username}/{client_id}/", "ann", "a/b", wire.V5, "CONNACK 0x85"},
		{"t/{client_id}/", "ann", "+", wire.V311, "CONNACK 0x02"},
	} {
		t.Run(tt.prefix+" "+tt.user+" "+tt.id, func(t *testing.T) {
			inBubble(t, func(s *setup) { trustEverybody(s); mounted(tt.prefix)(s) }, func(b *bed) {
				b.permit(tt.user, everything)
				p := b.dial(tt.v)
				p.write(connect(tt.v, tt.id, login(tt.user, "")))
				got := p.next()
				if strings.HasPrefix(tt.want, "CONNACK") {
					if got != tt.want {
						t.Errorf("got %s, want %s", got, tt.want)
					}
					p.gone()
					return
				}
				o := b.outsider(wire.V5)
				o.subscribe(1, 0, "#")
				p.publish("x", "", 0, 0)
				o.expect("PUBLISH " + tt.want + ` ""`)
			})
		})
	}
}

// TestMountPoint_IsPartOfWhatIsPermitted: topic permissions are about whole topics.
func TestMountPoint_IsPartOfWhatIsPermitted(t *testing.T) {
	inBubble(t, func(s *setup) { trustEverybody(s); mounted("t/{username}/")(s) }, func(b *bed) {
		b.grant(grant{".*", ".*", ".*", "^t[.]u[.]w$", "^t[.]{username}[.]r$"})
		p := b.connect(wire.V5, "c", login("u", ""))
		if got := p.subscribe(1, 0, "r", "w", "t/u/r"); got != "SUBACK #1 0x00 0x87 0x87" {
			t.Error(got)
		}
		p.publish("w", "", 1, 1)
		p.expect("PUBACK #1 0x10")
		p.publish("r", "", 1, 2)
		p.expect("PUBACK #2 0x87")
	})
}

// TestMountPoint_ThatChanges: a session that comes back under another mount point
// loses its subscriptions outside of that, and what has waited for it by them;
// without one it keeps them, and is told whole topics.
func TestMountPoint_ThatChanges(t *testing.T) {
	for _, v := range both {
		prefix := "t/1/"
		inBubble(t, func(s *setup) { s.server.MountPoint = func(mqtt.Way) string { return prefix } }, func(b *bed) {
			comeBack := func(at string) *peer {
				prefix = at
				return b.resumed(v, "m")
			}
			m := b.connect(v, "m", resume)
			m.subscribe(1, 2, "x", "$share/g/jobs", "$SYS/x")
			m.disconnect()
			prefix = ""
			o := b.connect(wire.V5, "o")
			o.publish("t/1/x", "waits", 1, 1)
			o.publish("t/1/jobs", "job", 1, 2)
			o.expect("PUBACK #1", "PUBACK #2")

			m = comeBack("")
			m.follow(`PUBLISH t/1/x q1 #1 "waits"`, `PUBLISH t/1/jobs q1 #2 "job"`)
			_ = m.nc.Close() // neither is answered: the first is the session's, the other the share's
			synctest.Wait()

			m = comeBack("t/2/")
			m.silence(time.Second)
			o.publish("t/1/x", "unheard", 0, 0)
			m.silence(time.Second)
			m.subscribe(2, 0, "x")
			o.publish("t/2/x", "heard", 0, 0)
			m.expect(`PUBLISH x "heard"`)
			if got, want := b.broker.Stats().Subscriptions, 2; got != want { // $SYS/x and x
				t.Errorf("%d subscriptions, want %d", got, want)
			}
		})
	}
}

// TestMountPoint_CountsTowardsTheLimitsOfTopics: it is a part of them that the
// client does not see.
func TestMountPoint_CountsTowardsTheLimitsOfTopics(t *testing.T) {
	inBubble(t, mounted("t/"), func(b *bed) {
		levels := strings.Repeat("/", 255)
		long := strings.Repeat("x", 65535)
		m := b.connect(wire.V5, "m")
		if got := m.subscribe(1, 0, levels, levels[1:], "$share/g/"+levels); got != "SUBACK #1 0x8f 0x00 0x8f" {
			t.Error(got)
		}
		m.publish(levels[1:], "deep", 0, 0)
		m.expect("PUBLISH " + levels[1:] + ` "deep"`)
		m.publish(long[2:], "long", 1, 1)
		m.expect("PUBACK #1 0x10")
		for _, topic := range []string{levels, "$delayed/1/" + levels, long[1:]} {
			p := b.connect(wire.V5, "p")
			p.publish(topic, "", 0, 0)
			p.dropped(wire.TopicNameInvalid)
		}
	})
}

func TestCheckMountPoint(t *testing.T) {
	for prefix, ok := range map[string]bool{
		"": true, "a/": true, "/": true, "/a/": true, "{username}/": true, "a/{client_id}/{username}/b/": true, "a$/$/": true,
		"a": false, "$a/": false, "a/#/": false, "+/": false, "a\x00/": false, "\xff/": false, "{x}/": false, "{/": false, "x{username}/": false,
		strings.Repeat("/", 255): true, strings.Repeat("/", 256): false,
	} {
		if err := mqtt.CheckMountPoint(prefix); (err == nil) != ok {
			t.Errorf("%q: %v", prefix, err)
		}
	}
}
