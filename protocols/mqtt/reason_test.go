package mqtt_test

import (
	"strings"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestPayloadFormatIsChecked where the settings say so: section 3.3.2.3.2.
func TestPayloadFormatIsChecked(t *testing.T) {
	const bad = "\xff"
	isText := octet(wire.PayloadFormat, 1)
	for _, check := range []bool{true, false} {
		inBubble(t, func(s *setup) { s.server.CheckPayloadFormat = check }, func(b *bed) {
			code := ""
			if check {
				code = " 0x99"
			}
			p := b.connect(wire.V5, "c")
			p.subscribe(1, 0, "t")
			p.publish("t", "é", 1, 1, isText)
			p.expectBoth(`PUBLISH t 1=1 "é"`, "PUBACK #1")
			p.publish("t", bad, 1, 2, octet(wire.PayloadFormat, 0))
			p.expectBoth(`PUBLISH t 1=0 "\xff"`, "PUBACK #2")
			p.publish("other", bad, 1, 3, isText)
			if got := p.next(); strings.HasSuffix(got, " 0x99") != check {
				t.Errorf("QoS 1 is answered with %s", got)
			}
			p.publish("t", bad, 2, 4, isText)
			if !check {
				p.expect(`PUBLISH t 1=1 "\xff"`)
			}
			p.expect("PUBREC #4" + code)
			if check { // the identifier is free
				p.publish("t", "x", 2, 4, isText)
				p.expectBoth(`PUBLISH t 1=1 "x"`, "PUBREC #4")
			}
			p.publish("other", strings.Repeat("x", 40<<10)+bad, 1, 5, isText) // read apart
			if got := p.next(); strings.HasSuffix(got, " 0x99") != check {
				t.Errorf("a large payload is answered with %s", got)
			}
			p.publish("other", bad, 0, 0, isText)
			if check {
				p.dropped(wire.PayloadFormatInvalid)
			}
			q := b.dial(wire.V5)
			q.write(connect(wire.V5, "q", will("w", bad, 0, false, isText)))
			if got := q.next(); strings.HasPrefix(got, "CONNACK 0x99") != check {
				t.Errorf("a will is answered with %s", got)
			}
		})
	}
}

// TestReasonStrings: refusals say why, unless the client has asked to be spared
// [MQTT-3.1.2-29] or takes no packet as large [MQTT-3.4.2-2] [MQTT-3.5.2-2]
// [MQTT-3.9.2-1]; there are no user properties [MQTT-3.4.2-3] [MQTT-3.5.2-3]
// [MQTT-3.9.2-2].
func TestReasonStrings(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*connectPacket)
		want   bool
	}{
		{"as it is", nil, true},
		{"asked for", properties(octet(wire.RequestProblemInfo, 1)), true},
		{"not wanted", properties(octet(wire.RequestProblemInfo, 0)), false},
		{"too large", properties(long(wire.MaximumPacketSize, 30)), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, trustEverybody, func(b *bed) {
				b.grant(grant{".*", "^mqtt-", "^mqtt-", "", ""})
				changes := []func(*connectPacket){login("u", "")}
				if tt.change != nil {
					changes = append(changes, tt.change)
				}
				p := b.dial(wire.V5)
				p.write(connect(wire.V5, "c", changes...))
				if got := p.next(); !strings.HasPrefix(got, "CONNACK 0x00") {
					t.Fatal(got)
				}
				for _, step := range []struct {
					packet []byte
					want   string
				}{
					{publishPacket(wire.V5, 2, "t", "x", 1), "PUBACK #1 0x87"},
					{publishPacket(wire.V5, 4, "t", "x", 2), "PUBREC #2 0x87"},
					{subscribePacket(wire.V5, 3, "", 0, "t"), "SUBACK #3 0x87"},
				} {
					p.write(step.packet)
					f, err := p.frame()
					if got := describe(f, wire.V5); err != nil || got != step.want {
						t.Fatalf("got %s, %v, want %s", got, err, step.want)
					}
					if got := strings.Contains(string(f.Body), "refused for user 'u'"); got != tt.want {
						t.Errorf("%s % x", step.want, f.Body)
					}
				}
			})
		})
	}
}

// TestResponseInformation: [MQTT-3.1.2-28].
func TestResponseInformation(t *testing.T) {
	inBubble(t, func(s *setup) { s.server.ResponseInformation = "responses/{client_id}/" }, func(b *bed) {
		for _, tt := range []struct {
			properties, want string
		}{
			{octet(wire.RequestResponseInfo, 1), ` 26="responses/c/"`},
			{octet(wire.RequestResponseInfo, 0), ""},
			{"", ""},
		} {
			p := b.dial(wire.V5)
			p.write(connect(wire.V5, "c", properties(tt.properties)))
			if got := p.next(); !strings.HasPrefix(got, "CONNACK 0x00") || strings.Contains(got, " 26=") != (tt.want != "") || !strings.Contains(got, tt.want) {
				t.Errorf("%q is answered with %s", tt.properties, got)
			}
			p.disconnect()
		}
	})
	b := newBed(t, nil)
	if _, err := mqtt.New(mqtt.Options{Broker: b.broker, Auth: unavailable{}, ResponseInformation: "\xff"}); err == nil {
		t.Error("response information that is not UTF-8 is accepted")
	}
}
