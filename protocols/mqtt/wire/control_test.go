package wire_test

import (
	"bytes"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

func frame(t wire.PacketType, flags uint8, body string) wire.Frame {
	return wire.Frame{Type: t, Flags: flags, Body: []byte(body)}
}

func TestDecodeConnect(t *testing.T) {
	body := "\x00\x04MQTT\x05\xf6\x00\x3c" +
		section("\x11\x00\x00\x00\x78\x21\x00\x0a\x27\x00\x00\x10\x00\x22\x00\x05\x19\x01\x17\x00\x26\x00\x01k\x00\x01v\x15\x00\x01m\x16\x00\x01d") +
		"\x00\x02id" +
		section("\x18\x00\x00\x00\x1e\x01\x01\x26\x00\x01a\x00\x01b") + "\x00\x03w/t\x00\x04gone" +
		"\x00\x04user\x00\x04pass"
	in := []byte(body)
	got, err := wire.DecodeConnect(wire.Frame{Type: wire.CONNECT, Body: in})
	if err != nil {
		t.Fatal(err)
	}
	clear(in) // nothing may alias it
	want := wire.Connect{
		Version: wire.V5, CleanStart: true, KeepAlive: 60, ClientID: "id",
		Will: &wire.Will{
			Topic: "w/t", Payload: []byte("gone"), QoS: 2, Retain: true, Delay: 30,
			Properties: []byte("\x18\x00\x00\x00\x1e\x01\x01\x26\x00\x01a\x00\x01b"),
		},
		HasUserName: true, UserName: "user", HasPassword: true, Password: []byte("pass"),
		SessionExpiry: 120, ReceiveMaximum: 10, MaximumPacketSize: 4096, TopicAliasMaximum: 5, RequestResponseInfo: true,
		AuthenticationMethod: "m", AuthenticationData: []byte("d"),
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v\nwant %+v", got, want)
	}
	p, err := wire.ParseProperties(got.Will.Properties)
	if err != nil || p.Delay != 30 || p.PayloadFormat != 1 || string(p.AppendForward(nil)) != "\x01\x01\x26\x00\x01a\x00\x01b" {
		t.Errorf("properties of the will: %+v, %v", p, err)
	}
}

func TestDecodeConnectDefaults(t *testing.T) {
	for _, body := range []string{
		"\x00\x06MQIsdp\x03\x02\x00\x00\x00\x02id",
		"\x00\x04MQTT\x04\x02\x00\x00\x00\x02id",
		"\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x02id",
	} {
		got, err := wire.DecodeConnect(frame(wire.CONNECT, 0, body))
		want := wire.Connect{
			Version: got.Version, CleanStart: true, ClientID: "id",
			ReceiveMaximum: math.MaxUint16, MaximumPacketSize: math.MaxUint32, RequestProblemInfo: true,
		}
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, %v", body, got, err)
		}
	}
}

func TestConnectIsChecked(t *testing.T) {
	const (
		v31  = "\x00\x06MQIsdp\x03"
		v311 = "\x00\x04MQTT\x04"
		v5   = "\x00\x04MQTT\x05"
	)
	for _, tt := range []struct {
		name    string
		body    string
		code    wire.ReasonCode
		version wire.Version // that a refusal knows
	}{
		{name: "[MQTT-3.1.3-6] [MQTT-3.1.1 3.1.3-6] empty identifier", body: v311 + "\x02\x00\x00\x00\x00"},
		{name: "[MQTT-3.1.3-6] empty identifier without clean start", body: v5 + "\x00\x00\x00\x00\x00\x00"},
		{name: "identifier of 100 bytes", body: v31 + "\x02\x00\x00\x00\x64" + strings.Repeat("i", 100)},
		{name: "empty will payload", body: v311 + "\x06\x00\x00\x00\x01i\x00\x01t\x00\x00"},
		{name: "empty user name and password", body: v311 + "\xc2\x00\x00\x00\x01i\x00\x00\x00\x00"},
		{name: "password without a user name in MQTT 5", body: v5 + "\x42\x00\x00\x00\x00\x01i\x00\x01p"},
		{name: "MQTT 3.1: credentials left out", body: v31 + "\xc2\x00\x00\x00\x01i"},
		{name: "MQTT 3.1: password left out", body: v31 + "\xc2\x00\x00\x00\x01i\x00\x01u"},
		{name: "MQTT 3.1: unused bits", body: v31 + "\x3b\x00\x00\x00\x01i", code: wire.MalformedPacket, version: wire.V31},
		{name: "MQTT 3.1: reserved bit and will bits without a will", body: v31 + "\x2b\x00\x00\x00\x01i"},

		{name: "[MQTT-3.1.2-1] protocol name", body: "\x00\x04MQtt\x04\x02\x00\x00\x00\x01i", code: wire.UnsupportedVersion},
		{name: "[MQTT-3.1.2-2] level 6", body: "\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x01i", code: wire.UnsupportedVersion},
		{name: "[MQTT-3.1.2-2] MQTT with level 3", body: "\x00\x04MQTT\x03\x02\x00\x00\x00\x01i", code: wire.UnsupportedVersion},
		{name: "[MQTT-3.1.2-2] MQIsdp with level 4", body: "\x00\x06MQIsdp\x04\x02\x00\x00\x00\x01i", code: wire.UnsupportedVersion},
		{name: "nothing", body: "", code: wire.MalformedPacket},
		{name: "no level", body: "\x00\x04MQTT", code: wire.MalformedPacket},
		{name: "no flags", body: v311, code: wire.MalformedPacket, version: wire.V311},
		{name: "no keep alive", body: v311 + "\x02\x00", code: wire.MalformedPacket, version: wire.V311},
		{name: "no identifier", body: v311 + "\x02\x00\x00", code: wire.MalformedPacket, version: wire.V311},
		{name: "bytes behind the payload", body: v311 + "\x02\x00\x00\x00\x01i\x00", code: wire.MalformedPacket, version: wire.V311},
		{name: "[MQTT-3.1.2-3] [MQTT-3.1.1 3.1.2-3] reserved bit", body: v311 + "\x03\x00\x00\x00\x01i", code: wire.MalformedPacket, version: wire.V311},
		{name: "[MQTT-3.1.2-11] [MQTT-3.1.1 3.1.2-11] [MQTT-3.1.1 3.1.2-13] will QoS without a will", body: v311 + "\x0a\x00\x00\x00\x01i", code: wire.MalformedPacket, version: wire.V311},
		{name: "[MQTT-3.1.2-13] will retain without a will", body: v5 + "\x22\x00\x00\x00\x00\x01i", code: wire.MalformedPacket, version: wire.V5},
		{name: "[MQTT-3.1.2-12] will QoS 3", body: v5 + "\x1e\x00\x00\x00\x00\x01i\x00\x00\x01t\x00\x00", code: wire.MalformedPacket, version: wire.V5},
		{name: "[MQTT-3.1.1 3.1.2-22] password without a user name", body: v311 + "\x42\x00\x00\x00\x01i\x00\x01p", code: wire.MalformedPacket, version: wire.V311},
		{name: "[MQTT-3.1.1 3.1.3-8] empty identifier of a session to keep", body: v311 + "\x00\x00\x00\x00\x00", code: wire.ClientIDNotValid, version: wire.V311},
		{name: "MQTT 3.1: empty identifier", body: v31 + "\x02\x00\x00\x00\x00", code: wire.ClientIDNotValid, version: wire.V31},
		{name: "[MQTT-3.1.3-4] [MQTT-3.1.1 3.1.3-4] identifier not UTF-8", body: v311 + "\x02\x00\x00\x00\x01\xff", code: wire.MalformedPacket, version: wire.V311},
		{name: "[MQTT-1.5.4-2] NUL in the identifier", body: v5 + "\x02\x00\x00\x00\x00\x01\x00", code: wire.MalformedPacket, version: wire.V5},
		{name: "[MQTT-3.1.2-9] [MQTT-3.1.1 3.1.2-9] will without topic", body: v311 + "\x06\x00\x00\x00\x01i", code: wire.MalformedPacket, version: wire.V311},
		{name: "[MQTT-3.1.2-9] [MQTT-3.1.1 3.1.2-9] will without payload", body: v311 + "\x06\x00\x00\x00\x01i\x00\x01t", code: wire.MalformedPacket, version: wire.V311},
		{name: "[MQTT-4.7.3-1] [MQTT-3.1.1 4.7.3-1] empty will topic", body: v311 + "\x06\x00\x00\x00\x01i\x00\x00\x00\x00", code: wire.TopicNameInvalid, version: wire.V311},
		{name: "[MQTT-3.3.2-2] [MQTT-3.1.1 3.3.2-2] wildcard in the will topic", body: v311 + "\x06\x00\x00\x00\x01i\x00\x01#\x00\x00", code: wire.TopicNameInvalid, version: wire.V311},
		{name: "[MQTT-3.1.3-11] [MQTT-3.1.1 3.1.3-10] will topic not UTF-8", body: v311 + "\x06\x00\x00\x00\x01i\x00\x01\xff\x00\x00", code: wire.MalformedPacket, version: wire.V311},
		{name: "[MQTT-3.1.2-17] [MQTT-3.1.1 3.1.2-19] no user name", body: v311 + "\x82\x00\x00\x00\x01i", code: wire.MalformedPacket, version: wire.V311},
		{name: "[MQTT-3.1.2-19] [MQTT-3.1.1 3.1.2-21] no password", body: v311 + "\xc2\x00\x00\x00\x01i\x00\x01u", code: wire.MalformedPacket, version: wire.V311},
		{name: "[MQTT-3.1.3-12] [MQTT-3.1.1 3.1.3-11] user name not UTF-8", body: v311 + "\x82\x00\x00\x00\x01i\x00\x01\xff", code: wire.MalformedPacket, version: wire.V311},
		{name: "properties beyond the packet", body: v5 + "\x02\x00\x00\x7f", code: wire.MalformedPacket, version: wire.V5},
		{name: "section 3.1.2.11.2: session expiry twice", body: v5 + "\x02\x00\x00\x0a\x11\x00\x00\x00\x01\x11\x00\x00\x00\x01\x00\x01i", code: wire.ProtocolError, version: wire.V5},
		{name: "section 3.1.2.11.3: receive maximum 0", body: v5 + "\x02\x00\x00\x03\x21\x00\x00\x00\x01i", code: wire.ProtocolError, version: wire.V5},
		{name: "section 3.1.2.11.4: maximum packet size 0", body: v5 + "\x02\x00\x00\x05\x27\x00\x00\x00\x00\x00\x01i", code: wire.ProtocolError, version: wire.V5},
		{name: "section 3.1.2.11.6: request response information 2", body: v5 + "\x02\x00\x00\x02\x19\x02\x00\x01i", code: wire.ProtocolError, version: wire.V5},
		{name: "section 3.1.2.11.7: request problem information 2", body: v5 + "\x02\x00\x00\x02\x17\x02\x00\x01i", code: wire.ProtocolError, version: wire.V5},
		{name: "section 3.1.2.11.10: authentication data without a method", body: v5 + "\x02\x00\x00\x04\x16\x00\x01d\x00\x01i", code: wire.ProtocolError, version: wire.V5},
		{name: "section 2.2.2.2: property of CONNACK", body: v5 + "\x02\x00\x00\x02\x24\x01\x00\x01i", code: wire.MalformedPacket, version: wire.V5},
		{name: "section 2.2.2.2: topic alias in a will", body: v5 + "\x06\x00\x00\x00\x00\x01i\x03\x23\x00\x01\x00\x01t\x00\x00", code: wire.MalformedPacket, version: wire.V5},
		{name: "section 3.1.3.2.3: payload format of a will", body: v5 + "\x06\x00\x00\x00\x00\x01i\x02\x01\x02\x00\x01t\x00\x00", code: wire.ProtocolError, version: wire.V5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := wire.DecodeConnect(frame(wire.CONNECT, 0, tt.body))
			wantCode(t, err, tt.code)
			if err != nil && c.Version != tt.version {
				t.Errorf("refused as version %v, want %v", c.Version, tt.version)
			}
		})
	}
}

func TestConnectOfMQTT31WithoutItsCredentials(t *testing.T) {
	c, err := wire.DecodeConnect(frame(wire.CONNECT, 0, "\x00\x06MQIsdp\x03\xc2\x00\x00\x00\x01i\x00\x01u"))
	if err != nil || c.UserName != "u" || !c.HasUserName || c.HasPassword {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestDecodeSubscribe(t *testing.T) {
	in := []byte("\x00\x07" + section("\x0b\xc8\x01\x26\x00\x01k\x00\x01v") + "\x00\x03a/b\x2e\x00\x01#\x01")
	got, err := wire.DecodeSubscribe(wire.Frame{Type: wire.SUBSCRIBE, Flags: 2, Body: in}, wire.V5)
	clear(in)
	want := wire.Subscribe{
		PacketID: 7, Identifier: 200,
		Subscriptions: []wire.Subscription{
			{Filter: "a/b", QoS: 2, NoLocal: true, RetainAsPublished: true, RetainHandling: 2},
			{Filter: "#", QoS: 1},
		},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	got, err = wire.DecodeSubscribe(frame(wire.SUBSCRIBE, 10, "\x00\x07\x00\x01a\xfd\x00\x01b\x02"), wire.V31)
	want = wire.Subscribe{PacketID: 7, Subscriptions: []wire.Subscription{{Filter: "a", QoS: 1}, {Filter: "b", QoS: 2}}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("MQTT 3.1 with DUP and unused bits: %+v, %v", got, err)
	}
}

func TestSubscribeIsChecked(t *testing.T) {
	many := strings.Repeat("\x00\x01a\x00", wire.MaxItems)
	properties := strings.Repeat("\x26\x00\x00\x00\x00", wire.MaxItems+1)
	properties = string(appendLength(nil, len(properties))) + properties
	for _, tt := range []struct {
		name string
		body string
		v    wire.Version
		code wire.ReasonCode
	}{
		{name: "least", body: "\x00\x01\x00\x01a\x00", v: wire.V311},
		{name: "as many filters as there may be", body: "\x00\x01" + many, v: wire.V311},
		{name: "one more", body: "\x00\x01" + many + "\x00\x01a\x00", v: wire.V311, code: wire.QuotaExceeded},
		{name: "more user properties than there may be", body: "\x00\x01" + properties + "\x00\x01a\x00", v: wire.V5, code: wire.QuotaExceeded},
		{name: "no packet identifier", body: "\x00", v: wire.V311, code: wire.MalformedPacket},
		{name: "[MQTT-2.2.1-3] [MQTT-3.1.1 2.3.1-1] packet identifier 0", body: "\x00\x00\x00\x01a\x00", v: wire.V311, code: wire.ProtocolError},
		{name: "[MQTT-3.8.3-2] [MQTT-3.1.1 3.8.3-3] no filter", body: "\x00\x01", v: wire.V311, code: wire.ProtocolError},
		{name: "[MQTT-3.8.3-2] no filter in MQTT 5", body: "\x00\x01\x00", v: wire.V5, code: wire.ProtocolError},
		{name: "ends after the filter", body: "\x00\x01\x00\x00\x01a", v: wire.V5, code: wire.MalformedPacket},
		{name: "second filter cut short", body: "\x00\x01\x00\x00\x01a\x00\x00\x02b", v: wire.V5, code: wire.MalformedPacket},
		{name: "[MQTT-3.8.3-1] [MQTT-3.1.1 3.8.3-1] filter not UTF-8", body: "\x00\x01\x00\x01\xff\x00", v: wire.V311, code: wire.MalformedPacket},
		{name: "[MQTT-1.5.4-2] [MQTT-3.1.1 1.5.3-2] NUL", body: "\x00\x01\x00\x01\x00\x00", v: wire.V311, code: wire.MalformedPacket},
		{name: "[MQTT-3.8.3-5] reserved bits", body: "\x00\x01\x00\x00\x01a\x40", v: wire.V5, code: wire.MalformedPacket},
		{name: "[MQTT-3.1.1 3.8.3-4] reserved bits", body: "\x00\x01\x00\x01a\x04", v: wire.V311, code: wire.MalformedPacket},
		{name: "section 3.8.3.1: QoS 3", body: "\x00\x01\x00\x00\x01a\x03", v: wire.V5, code: wire.ProtocolError},
		{name: "MQTT 3.1: QoS 3", body: "\x00\x01\x00\x01a\x03", v: wire.V31, code: wire.ProtocolError},
		{name: "section 3.8.3.1: retain handling 3", body: "\x00\x01\x00\x00\x01a\x30", v: wire.V5, code: wire.ProtocolError},
		{name: "[MQTT-3.8.3-4] no local on a shared subscription", body: "\x00\x01\x00\x00\x0a$share/g/a\x04", v: wire.V5, code: wire.ProtocolError},
		{name: "section 3.8.2.1.2: subscription identifier 0", body: "\x00\x01\x02\x0b\x00\x00\x01a\x00", v: wire.V5, code: wire.ProtocolError},
		{name: "section 3.8.2.1.2: subscription identifier twice", body: "\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00", v: wire.V5, code: wire.ProtocolError},
		{name: "section 1.5.5: subscription identifier of five bytes", body: "\x00\x01\x06\x0b\xff\xff\xff\xff\x01\x00\x01a\x00", v: wire.V5, code: wire.MalformedPacket},
		{name: "[MQTT-1.5.5-1] subscription identifier padded", body: "\x00\x01\x03\x0b\x81\x00\x00\x01a\x00", v: wire.V5, code: wire.MalformedPacket},
		{name: "section 2.2.2.2: property of PUBLISH", body: "\x00\x01\x02\x01\x01\x00\x01a\x00", v: wire.V5, code: wire.MalformedPacket},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.DecodeSubscribe(frame(wire.SUBSCRIBE, 2, tt.body), tt.v)
			wantCode(t, err, tt.code)
		})
	}
	_, err := wire.DecodeSubscribe(frame(wire.SUBSCRIBE, 10, "\x00\x01\x00\x01a\x00"), wire.V311)
	wantCode(t, err, wire.MalformedPacket) // [MQTT-3.8.1-1]
}

func TestUnsubscribe(t *testing.T) {
	in := []byte("\x00\x07" + section("\x26\x00\x01k\x00\x01v") + "\x00\x03a/b\x00\x01#")
	got, err := wire.DecodeUnsubscribe(wire.Frame{Type: wire.UNSUBSCRIBE, Flags: 2, Body: in}, wire.V5)
	clear(in)
	want := wire.Unsubscribe{PacketID: 7, Filters: []string{"a/b", "#"}}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v\nwant %+v", got, err, want)
	}
	for _, tt := range []struct {
		name, body string
		code       wire.ReasonCode
	}{
		{"[MQTT-3.10.3-2] no filter", "\x00\x01\x00", wire.ProtocolError},
		{"[MQTT-2.2.1-3] packet identifier 0", "\x00\x00\x00\x00\x01a", wire.ProtocolError},
		{"[MQTT-3.10.3-1] filter not UTF-8", "\x00\x01\x00\x00\x01\xff", wire.MalformedPacket},
		{"filter cut short", "\x00\x01\x00\x00\x02a", wire.MalformedPacket},
		{"section 2.2.2.2: subscription identifier", "\x00\x01\x02\x0b\x01\x00\x01a", wire.MalformedPacket},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := wire.DecodeUnsubscribe(frame(wire.UNSUBSCRIBE, 2, tt.body), wire.V5)
			wantCode(t, err, tt.code)
		})
	}
}

func TestDisconnect(t *testing.T) {
	for _, tt := range []struct {
		name string
		body string
		v    wire.Version
		want wire.Disconnect
		code wire.ReasonCode
	}{
		{name: "MQTT 3.1.1", v: wire.V311},
		{name: "section 3.14.2.1: nothing is success", v: wire.V5},
		{name: "section 3.14.2.2.1: reason alone", body: "\x04", v: wire.V5, want: wire.Disconnect{Reason: wire.DisconnectWithWill}},
		{name: "no properties", body: "\x04\x00", v: wire.V5, want: wire.Disconnect{Reason: wire.DisconnectWithWill}},
		{
			name: "properties", body: "\x00" + section("\x11\x00\x00\x00\x00\x1f\x00\x01r\x26\x00\x01k\x00\x01v"), v: wire.V5,
			want: wire.Disconnect{HasSessionExpiry: true, ReasonString: "r"},
		},
		{name: "reason before MQTT 5", body: "\x00", v: wire.V311, code: wire.MalformedPacket},
		{name: "[MQTT-3.14.2-1] reason of a server", body: "\x8b", v: wire.V5, code: wire.ProtocolError},
		{name: "section 2.2.2.2: server reference", body: "\x00\x04\x1c\x00\x01r", v: wire.V5, code: wire.ProtocolError},
		{name: "bytes behind the properties", body: "\x00\x00\x00", v: wire.V5, code: wire.MalformedPacket},
		{name: "properties beyond the packet", body: "\x00\x05\x11", v: wire.V5, code: wire.MalformedPacket},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.DecodeDisconnect(frame(wire.DISCONNECT, 0, tt.body), tt.v)
			wantCode(t, err, tt.code)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestAuth(t *testing.T) {
	for _, tt := range []struct {
		name string
		body string
		v    wire.Version
		want wire.Auth
		code wire.ReasonCode
	}{
		{
			name: "continue", body: "\x18" + section("\x15\x00\x01m\x16\x00\x01d\x1f\x00\x01r"), v: wire.V5,
			want: wire.Auth{Reason: wire.ContinueAuthentication, Method: "m", Data: []byte("d"), ReasonString: "r"},
		},
		{name: "[MQTT-3.15.2-1] reason", body: "\x01\x04\x15\x00\x01m", v: wire.V5, code: wire.ProtocolError},
		{name: "section 3.15.2.2.2: no method", body: "\x18\x00", v: wire.V5, code: wire.ProtocolError},
		{name: "section 3.15.2.1: nothing is success, without a method", v: wire.V5, code: wire.ProtocolError},
		{name: "no property length", body: "\x18", v: wire.V5, code: wire.MalformedPacket},
		{name: "before MQTT 5", v: wire.V311, code: wire.ProtocolError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := wire.DecodeAuth(frame(wire.AUTH, 0, tt.body), tt.v)
			wantCode(t, err, tt.code)
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

// appended is what a server sends besides PUBLISH and the acknowledgements.
func TestAppended(t *testing.T) {
	user := []wire.UserProperty{{Name: "k", Value: "v"}}
	connack := wire.Connack{
		SessionPresent: true, HasSessionExpiry: true, ReceiveMaximum: 10, AssignedClientID: "id", TopicAliasMaximum: 16,
		HasServerKeepAlive: true, ServerKeepAlive: 30, ResponseInfo: "i", ReasonString: "r", UserProperties: user, NoShared: true,
	}
	refused := wire.Connack{SessionPresent: true, Reason: wire.NotAuthorized, ReasonString: "no"}
	suback := wire.SubscribeAck{PacketID: 7, Reasons: []wire.ReasonCode{0, 1, 2, wire.TopicFilterInvalid}, ReasonString: "r"}
	for _, tt := range []struct {
		name  string
		f     func(dst []byte, limit uint32) ([]byte, error)
		limit uint32
		want  string
	}{
		{
			name: "CONNACK", f: func(dst []byte, limit uint32) ([]byte, error) {
				return wire.AppendConnack(dst, wire.V5, &connack, limit)
			},
			want: "\x20\x27\x01\x00\x24\x11\x00\x00\x00\x00\x12\x00\x02id\x13\x00\x1e\x1a\x00\x01i\x1f\x00\x01r\x21\x00\x0a\x22\x00\x10\x26\x00\x01k\x00\x01v\x2a\x00",
		},
		{
			name: "[MQTT-3.2.2-19] [MQTT-3.2.2-20] CONNACK that has to be short", limit: 40,
			f: func(dst []byte, limit uint32) ([]byte, error) {
				return wire.AppendConnack(dst, wire.V5, &connack, limit)
			},
			want: "\x20\x1c\x01\x00\x19\x11\x00\x00\x00\x00\x12\x00\x02id\x13\x00\x1e\x1a\x00\x01i\x21\x00\x0a\x22\x00\x10\x2a\x00",
		},
		{
			name: "CONNACK of MQTT 3.1.1", f: func(dst []byte, limit uint32) ([]byte, error) {
				return wire.AppendConnack(dst, wire.V311, &connack, limit)
			},
			want: "\x20\x02\x01\x00",
		},
		{
			name: "CONNACK of MQTT 3.1", f: func(dst []byte, limit uint32) ([]byte, error) {
				return wire.AppendConnack(dst, wire.V31, &connack, limit)
			},
			want: "\x20\x02\x00\x00",
		},
		{
			name: "[MQTT-3.2.2-6] refusal", f: func(dst []byte, limit uint32) ([]byte, error) {
				return wire.AppendConnack(dst, wire.V5, &refused, limit)
			},
			want: "\x20\x08\x00\x87\x05\x1f\x00\x02no",
		},
		{
			name: "[MQTT-3.1.1 3.2.2-4] refusal", f: func(dst []byte, limit uint32) ([]byte, error) {
				return wire.AppendConnack(dst, wire.V311, &refused, limit)
			},
			want: "\x20\x02\x00\x05",
		},
		{
			name: "SUBACK", f: func(dst []byte, limit uint32) ([]byte, error) { return wire.AppendSuback(dst, wire.V5, suback, limit) },
			want: "\x90\x0b\x00\x07\x04\x1f\x00\x01r\x00\x01\x02\x8f",
		},
		{
			name: "[MQTT-3.9.2-1] SUBACK that has to be short", limit: 12,
			f:    func(dst []byte, limit uint32) ([]byte, error) { return wire.AppendSuback(dst, wire.V5, suback, limit) },
			want: "\x90\x07\x00\x07\x00\x00\x01\x02\x8f",
		},
		{
			name: "[MQTT-3.1.1 3.9.3-2] SUBACK", f: func(dst []byte, limit uint32) ([]byte, error) {
				return wire.AppendSuback(dst, wire.V311, suback, limit)
			},
			want: "\x90\x06\x00\x07\x00\x01\x02\x80",
		},
		{
			name: "UNSUBACK", f: func(dst []byte, limit uint32) ([]byte, error) {
				return wire.AppendUnsuback(dst, wire.V5, wire.SubscribeAck{PacketID: 7, Reasons: []wire.ReasonCode{0, wire.NoSubscriptionExisted}}, limit)
			},
			want: "\xb0\x05\x00\x07\x00\x00\x11",
		},
		{
			name: "MQTT-3.1.1: UNSUBACK", f: func(dst []byte, limit uint32) ([]byte, error) {
				return wire.AppendUnsuback(dst, wire.V311, wire.SubscribeAck{PacketID: 7, Reasons: []wire.ReasonCode{0}}, limit)
			},
			want: "\xb0\x02\x00\x07",
		},
		{
			name: "DISCONNECT", f: func(dst []byte, limit uint32) ([]byte, error) {
				return wire.AppendDisconnect(dst, wire.V5, &wire.Disconnect{Reason: wire.UseAnotherServer, ServerReference: "s"}, limit)
			},
			want: "\xe0\x06\x9c\x04\x1c\x00\x01s",
		},
		{
			name: "MQTT-3.1.1: no DISCONNECT", f: func(dst []byte, limit uint32) ([]byte, error) {
				return wire.AppendDisconnect(dst, wire.V311, &wire.Disconnect{Reason: wire.ProtocolError}, limit)
			},
		},
		{
			name: "AUTH", f: func(dst []byte, limit uint32) ([]byte, error) {
				return wire.AppendAuth(dst, &wire.Auth{Reason: wire.ContinueAuthentication, Method: "m", Data: []byte("d")}, limit)
			},
			want: "\xf0\x0a\x18\x08\x15\x00\x01m\x16\x00\x01d",
		},
		{name: "PINGRESP", f: func(dst []byte, _ uint32) ([]byte, error) { return wire.AppendPingresp(dst), nil }, want: "\xd0\x00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.f([]byte("-"), tt.limit)
			if err != nil || string(got) != "-"+tt.want {
				t.Errorf("%q, %v\nwant %q", got, err, tt.want)
			}
		})
	}
}

func TestAppendedWithinTheReceiversLimit_MQTT_3_1_2_24(t *testing.T) { // [MQTT-3.1.2-24]
	a := wire.SubscribeAck{PacketID: 1, Reasons: make([]wire.ReasonCode, 10), ReasonString: strings.Repeat("ö", 40_000)}
	dst := []byte("-")
	for limit := uint32(1); limit < 40; limit++ {
		got, err := wire.AppendSuback(dst, wire.V5, a, limit)
		if limit < 15 {
			if !errors.Is(err, wire.ErrTooLarge) || !bytes.Equal(got, dst) {
				t.Fatalf("limit %d: %q, %v", limit, got, err)
			}
		} else if err != nil || len(got) != 1+15 {
			t.Fatalf("limit %d: %d bytes, %v", limit, len(got), err)
		}
	}
	got, err := wire.AppendSuback(nil, wire.V5, a, 0)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := mochiRead(got, wire.V5)
	if want := strings.Repeat("ö", 32_767); err != nil || pk.Properties.ReasonString != want {
		t.Errorf("a reason string that is too long comes as %d bytes, %v", len(pk.Properties.ReasonString), err)
	}
}
