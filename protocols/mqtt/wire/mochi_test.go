package wire_test

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// parseAny parses a packet that a client may send with the function for its
// type. Known is false for the others.
func parseAny(f wire.Frame, v wire.Version) (got any, known bool, err error) {
	switch f.Type {
	case wire.CONNECT:
		got, err = wire.DecodeConnect(f)
	case wire.PUBLISH:
		got, err = wire.ParsePublish(f, v)
	case wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP:
		got, err = wire.ParseAck(f, v)
	case wire.SUBSCRIBE:
		got, err = wire.DecodeSubscribe(f, v)
	case wire.UNSUBSCRIBE:
		got, err = wire.DecodeUnsubscribe(f, v)
	case wire.DISCONNECT:
		got, err = wire.DecodeDisconnect(f, v)
	case wire.AUTH:
		got, err = wire.DecodeAuth(f, v)
	case wire.PINGREQ:
	default:
		return nil, false, nil
	}
	return got, true, err
}

// otherwise lists what mochi's table has wrong for a packet that a client sends
// to a server.
var otherwise = map[byte]string{
	packets.TPublishMqtt5:                "[MQTT-3.3.4-6] no subscription identifiers from a client",
	packets.TPublishSubscriberIdentifier: "[MQTT-3.3.4-6] no subscription identifiers from a client",
	packets.TPublishDup:                  "[MQTT-3.3.1-2] no DUP with QoS 0",
	packets.TDisconnectTakeover:          "MQTT-3.14.2-1: a server's reason",
	packets.TDisconnectShuttingDown:      "MQTT-3.14.2-1: a server's reason",
}

// ofServers are the families of the tables that no client sends: this codec does
// not read them. It writes them with mochi's encoders, and TestAppended holds
// those to bytes.
var ofServers = []wire.PacketType{wire.CONNACK, wire.SUBACK, wire.UNSUBACK, wire.PINGRESP}

// TestVectors holds the codec to mochi's tables of packets, of all types that a
// client sends: what is good there is decoded alike, and what is malformed there
// is refused. Cases without bytes are of mochi's own validation, those of the
// groups encode and copy of its encoders and copies: there is nothing to decode.
func TestVectors(t *testing.T) {
	for kind := range packets.TPacketData {
		kind := wire.PacketType(kind)
		if slices.Contains(ofServers, kind) {
			continue
		}
		n := 0
		for _, c := range packets.TPacketData[byte(kind)] {
			if len(c.RawBytes) == 0 || c.Group == "encode" || c.Group == "copy" {
				continue
			}
			n++
			t.Run(kind.String()+" "+c.Desc, func(t *testing.T) { testVector(t, c) })
		}
		if n == 0 {
			t.Errorf("the tables have no %s", kind)
		}
	}
	if n := len(packets.TPacketData); n != 15 {
		t.Errorf("the tables have %d types of packets, want 15", n)
	}
}

func testVector(t *testing.T, c packets.TPacketCase) {
	t.Helper()
	v := wire.V311
	if c.Packet != nil && c.Packet.ProtocolVersion != 0 {
		v = wire.Version(c.Packet.ProtocolVersion)
	}
	bad := c.FailFirst != nil || c.Expect != nil && !errors.Is(c.Expect, packets.CodeSuccess) || otherwise[c.Case] != ""
	f, n, err := wire.ParseFrame(c.RawBytes, math.MaxUint32)
	if err == nil && n == 0 && !bad {
		t.Fatal("incomplete")
	}
	var got any
	if err == nil && n > 0 {
		got, _, err = parseAny(f, v)
	}
	switch {
	case err == nil && n > 0 && bad:
		t.Fatalf("accepted as %+v; mochi says %v %v", got, c.FailFirst, c.Expect)
	case err != nil && !bad:
		t.Fatal(err)
	case err == nil && n > 0:
		compare(t, f, v, got)
	}
}

// compare fails unless got, which f was parsed as, is what mochi makes of it. User
// properties are compared where they are kept.
func compare(t *testing.T, f wire.Frame, v wire.Version, got any) {
	t.Helper()
	pk := packets.Packet{ProtocolVersion: byte(v)}
	first := byte(f.Type)<<4 | f.Flags
	if v == wire.V31 && f.Type != wire.PUBLISH {
		first &^= 8 // DUP, of which mochi does not know
	}
	if err := pk.FixedHeader.Decode(first); err != nil {
		t.Fatalf("mochi refuses the fixed header: %v", err)
	}
	pk.FixedHeader.Remaining = len(f.Body)
	if err := mochiDecode(&pk, f.Body); err != nil && !rightly(got, v) {
		t.Fatalf("mochi refuses %+v: %v", got, err)
	} else if err != nil {
		return
	}
	same := true
	switch got := got.(type) {
	case wire.Publish:
		same = samePublish(&got, &pk)
	case wire.Ack:
		same = sameAck(&got, &pk)
	case wire.Connect:
		same = sameConnect(&got, &pk)
	case wire.Subscribe:
		same = sameSubscribe(&got, &pk)
	case wire.Unsubscribe:
		same = got.PacketID == pk.PacketID &&
			slices.EqualFunc(got.Filters, pk.Filters, func(f string, s packets.Subscription) bool { return f == s.Filter })
	case wire.Disconnect:
		// mochi does not see a reason code without properties.
		same = (byte(got.Reason) == pk.ReasonCode || len(f.Body) == 1) && got.ReasonString == pk.Properties.ReasonString &&
			got.HasSessionExpiry == pk.Properties.SessionExpiryIntervalFlag && got.SessionExpiry == pk.Properties.SessionExpiryInterval
	case wire.Auth:
		same = byte(got.Reason) == pk.ReasonCode && got.Method == pk.Properties.AuthenticationMethod &&
			bytes.Equal(got.Data, pk.Properties.AuthenticationData) && got.ReasonString == pk.Properties.ReasonString
	}
	if !same {
		t.Fatalf("version %v, %q: %+v\nmochi: %+v", v, f.Body, got, pk)
	}
}

// rightly reports whether got is right although mochi refuses it.
func rightly(got any, v wire.Version) bool {
	switch got := got.(type) {
	case wire.Connect:
		return got.Will != nil && len(got.Will.Payload) == 0 || // may be empty, section 3.1.3.4
			got.HasPassword && len(got.Password) == 0 || // and so may this, section 3.1.3.6
			v == wire.V31 // what it left room for
	case wire.Subscribe, wire.Unsubscribe:
		return v == wire.V31
	case wire.Auth:
		return got.Reason == wire.Success
	}
	return false
}

func samePublish(got *wire.Publish, pk *packets.Packet) bool {
	p, q := &got.Properties, &pk.Properties
	var user []wire.UserProperty
	for name, value := range wire.UserProperties(p.Section) {
		user = append(user, wire.UserProperty{Name: string(name), Value: string(value)})
	}
	return string(got.Topic) == pk.TopicName && got.PacketID == pk.PacketID && bytes.Equal(got.Payload, pk.Payload) &&
		got.QoS == pk.FixedHeader.Qos && got.Dup == pk.FixedHeader.Dup && got.Retain == pk.FixedHeader.Retain &&
		p.Has(wire.PayloadFormat) == q.PayloadFormatFlag && p.PayloadFormat == q.PayloadFormat &&
		p.Expiry == q.MessageExpiryInterval && string(p.ContentType) == q.ContentType &&
		string(p.ResponseTopic) == q.ResponseTopic && bytes.Equal(p.CorrelationData, q.CorrelationData) &&
		p.Has(wire.TopicAlias) == q.TopicAliasFlag && p.TopicAlias == q.TopicAlias && sameUser(user, q.User)
}

func sameAck(got *wire.Ack, pk *packets.Packet) bool {
	var user []wire.UserProperty
	for name, value := range wire.UserProperties(got.Properties) {
		user = append(user, wire.UserProperty{Name: string(name), Value: string(value)})
	}
	return got.PacketID == pk.PacketID && byte(got.Reason) == pk.ReasonCode && sameUser(user, pk.Properties.User)
}

func sameConnect(got *wire.Connect, pk *packets.Packet) bool {
	c, p := &pk.Connect, &pk.Properties
	if got.Will != nil {
		w := &c.WillProperties
		props, err := wire.ParseProperties(got.Will.Properties)
		if err != nil || got.Will.Topic != c.WillTopic || !bytes.Equal(got.Will.Payload, c.WillPayload) || got.Will.QoS != c.WillQos ||
			got.Will.Retain != c.WillRetain || got.Will.Delay != w.WillDelayInterval || props.Delay != w.WillDelayInterval ||
			props.Expiry != w.MessageExpiryInterval || string(props.ContentType) != w.ContentType ||
			string(props.ResponseTopic) != w.ResponseTopic || !bytes.Equal(props.CorrelationData, w.CorrelationData) {
			return false
		}
	}
	return (got.Will != nil) == c.WillFlag && byte(got.Version) == pk.ProtocolVersion && got.CleanStart == c.Clean &&
		got.KeepAlive == c.Keepalive && got.ClientID == c.ClientIdentifier &&
		got.HasUserName == c.UsernameFlag && got.UserName == string(c.Username) &&
		got.HasPassword == c.PasswordFlag && bytes.Equal(got.Password, c.Password) &&
		got.SessionExpiry == p.SessionExpiryInterval && got.TopicAliasMaximum == p.TopicAliasMaximum &&
		(got.ReceiveMaximum == p.ReceiveMaximum || p.ReceiveMaximum == 0) &&
		(got.MaximumPacketSize == p.MaximumPacketSize || p.MaximumPacketSize == 0) &&
		got.RequestResponseInfo == (p.RequestResponseInfo == 1) &&
		got.RequestProblemInfo == (!p.RequestProblemInfoFlag || p.RequestProblemInfo == 1) &&
		got.AuthenticationMethod == p.AuthenticationMethod && bytes.Equal(got.AuthenticationData, p.AuthenticationData)
}

func sameSubscribe(got *wire.Subscribe, pk *packets.Packet) bool {
	identifier := 0
	if ids := pk.Properties.SubscriptionIdentifier; len(ids) > 0 {
		identifier = ids[0]
	}
	return got.PacketID == pk.PacketID && int(got.Identifier) == identifier &&
		slices.EqualFunc(got.Subscriptions, pk.Filters, func(s wire.Subscription, m packets.Subscription) bool {
			return s.Filter == m.Filter && s.QoS == m.Qos && s.NoLocal == m.NoLocal &&
				s.RetainAsPublished == m.RetainAsPublished && s.RetainHandling == m.RetainHandling
		})
}

func sameUser(got []wire.UserProperty, want []packets.UserProperty) bool {
	return slices.EqualFunc(got, want, func(a wire.UserProperty, b packets.UserProperty) bool {
		return a.Name == b.Key && a.Value == b.Val
	})
}

// stricter reports whether a refusal is one of those that mochi does not know.
func stricter(err error) bool {
	e, ok := errors.AsType[*wire.Error](err)
	if !ok {
		return false
	}
	return slices.ContainsFunc([]string{
		"is there twice", "cannot be", "longer than it may be", "not a topic name", "with a wildcard", "ends too early",
		"bytes left over", "not one of this packet", "that this packet cannot have", "identifier is zero", "reserved",
		"without a topic", "AUTH before MQTT 5", "authentication method", "authentication data", "no local on a shared", "without a will", "with QoS 3", "with retain handling 3",
		"without a user name", "empty client identifier", "not valid UTF-8",
	}, func(s string) bool { return bytes.Contains([]byte(e.Text), []byte(s)) })
}
