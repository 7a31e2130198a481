package wire_test

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"testing"

	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatalf("bad hex %q: %v", s, err)
	}
	return b
}

// golden pairs method frame payloads with their meaning. The payloads were
// captured from the client amqp091-go or made by RabbitMQ's own encoder, so that
// codec and test cannot share a misunderstanding.
var golden = []struct {
	hex    string
	method wire.Method
}{
	{
		"000a000a0009000000120770726f6475637453000000054261746f6e0000000e504c41494e20414d51504c41494e00000005656e5f5553",
		&wire.ConnectionStart{
			VersionMinor: 9, ServerProperties: field.Table{{Key: "product", Value: "Baton"}},
			Mechanisms: "PLAIN AMQPLAIN", Locales: "en_US",
		},
	},
	{
		"000a000b000000700770726f647563745300000001700c6361706162696c6974696573460000005012636f6e6e656374696f6e2e626c6f63" +
			"6b6564740116636f6e73756d65725f63616e63656c5f6e6f7469667974010a62617369632e6e61636b7401127075626c69736865725f" +
			"636f6e6669726d73740105504c41494e0000000c00677565737400677565737405656e5f5553",
		&wire.ConnectionStartOK{
			ClientProperties: field.Table{{Key: "product", Value: "p"}, {Key: "capabilities", Value: field.Table{
				{Key: "connection.blocked", Value: true},
				{Key: "consumer_cancel_notify", Value: true},
				{Key: "basic.nack", Value: true},
				{Key: "publisher_confirms", Value: true},
			}}},
			Mechanism: "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US",
		},
	},
	{"000a0014000000046d6f7265", &wire.ConnectionSecure{Challenge: "more"}},
	{"000a001500000006616e73776572", &wire.ConnectionSecureOK{Response: "answer"}},
	{"000a001e07ff00020000003c", &wire.ConnectionTune{ChannelMax: 2047, FrameMax: 131072, Heartbeat: 60}},
	{"000a001f07ff00001000000a", &wire.ConnectionTuneOK{ChannelMax: 2047, FrameMax: 4096, Heartbeat: 10}},
	{"000a0028012f0000", &wire.ConnectionOpen{VirtualHost: "/"}},
	{"000a002900", &wire.ConnectionOpenOK{}},
	{
		"000a003201f50f4652414d455f4552524f52202d2078003c0028",
		&wire.ConnectionClose{ReplyCode: wire.FrameError, ReplyText: "FRAME_ERROR - x", ClassID: 60, MethodID: 40},
	},
	{"000a0033", &wire.ConnectionCloseOK{}},
	{"000a003c0b6c6f77206f6e206469736b", &wire.ConnectionBlocked{Reason: "low on disk"}},
	{"000a003d", &wire.ConnectionUnblocked{}},
	{"000a004600000002733303776879", &wire.ConnectionUpdateSecret{NewSecret: "s3", Reason: "why"}},
	{"000a0047", &wire.ConnectionUpdateSecretOK{}},

	{"0014000a00", &wire.ChannelOpen{}},
	{"0014000b00000000", &wire.ChannelOpenOK{}},
	{"0014001401", &wire.ChannelFlow{Active: true}},
	{"0014001500", &wire.ChannelFlowOK{}},
	{
		"0014002801940d4e4f545f464f554e44202d20710032000a",
		&wire.ChannelClose{ReplyCode: wire.NotFound, ReplyText: "NOT_FOUND - q", ClassID: 50, MethodID: 10},
	},

	{"001e000a052f6461746116", &wire.AccessRequest{Realm: "/data", Passive: true, Active: true, Read: true}},
	{"001e000b0001", &wire.AccessRequestOK{Ticket: 1}},

	{
		"0028000a0000016505746f706963020000001a12616c7465726e6174652d65786368616e676553000000026165",
		&wire.ExchangeDeclare{
			Exchange: "e", Type: "topic", Durable: true,
			Arguments: field.Table{{Key: "alternate-exchange", Value: "ae"}},
		},
	},
	{"002800140000016503", &wire.ExchangeDelete{Exchange: "e", IfUnused: true, NoWait: true}},
	{"0028001e000001640173016b0000000000", &wire.ExchangeBind{Destination: "d", Source: "s", RoutingKey: "k"}},
	{"00280028000001640173016b0100000000", &wire.ExchangeUnbind{Destination: "d", Source: "s", RoutingKey: "k", NoWait: true}},
	{"00280033", &wire.ExchangeUnbindOK{}},

	{
		"0032000a0000017106000000320d782d6d6573736167652d74746c490000ea6003782d6e4600000016017454000000006592008001" +
			"66643ff8000000000000",
		&wire.QueueDeclare{
			Queue: "q", Durable: true, Exclusive: true,
			Arguments: field.Table{
				{Key: "x-message-ttl", Value: int32(60000)},
				{Key: "x-n", Value: field.Table{{Key: "t", Value: field.Timestamp(1704067200)}, {Key: "f", Value: 1.5}}},
			},
		},
	},
	{"0032000b01710000000700000002", &wire.QueueDeclareOK{Queue: "q", MessageCount: 7, ConsumerCount: 2}},
	{"00320014000001710165036b2e230000000000", &wire.QueueBind{Queue: "q", Exchange: "e", RoutingKey: "k.#"}},
	{"0032001e0000017100", &wire.QueuePurge{Queue: "q"}},
	{"003200280000017101", &wire.QueueDelete{Queue: "q", IfUnused: true}},
	{"0032002900000009", &wire.QueueDeleteOK{MessageCount: 9}},
	{"00320032000001710165036b2e2300000000", &wire.QueueUnbind{Queue: "q", Exchange: "e", RoutingKey: "k.#"}},

	{"003c000a00000000000a01", &wire.BasicQos{PrefetchCount: 10, Global: true}},
	{
		"003c00140000017102637404000000100a782d7072696f726974794900000005",
		&wire.BasicConsume{
			Queue: "q", ConsumerTag: "ct", Exclusive: true,
			Arguments: field.Table{{Key: "x-priority", Value: int32(5)}},
		},
	},
	{"003c0015026374", &wire.BasicConsumeOK{ConsumerTag: "ct"}},
	{"003c001e02637401", &wire.BasicCancel{ConsumerTag: "ct", NoWait: true}},
	{"003c002800000165036b2e3101", &wire.BasicPublish{Exchange: "e", RoutingKey: "k.1", Mandatory: true}},
	{
		"003c00320138084e4f5f524f5554450165016b",
		&wire.BasicReturn{ReplyCode: wire.NoRoute, ReplyText: "NO_ROUTE", Exchange: "e", RoutingKey: "k"},
	},
	{
		"003c003c0263740102030405060708010165016b",
		&wire.BasicDeliver{ConsumerTag: "ct", DeliveryTag: 0x0102030405060708, Redelivered: true, Exchange: "e", RoutingKey: "k"},
	},
	{"003c00460000017101", &wire.BasicGet{Queue: "q", NoAck: true}},
	{"003c004700000000000000050000017100000003", &wire.BasicGetOK{DeliveryTag: 5, RoutingKey: "q", MessageCount: 3}},
	{"003c004800", &wire.BasicGetEmpty{}},
	{"003c0050000000000000000901", &wire.BasicAck{DeliveryTag: 9, Multiple: true}},
	{"003c005a000000000000000301", &wire.BasicReject{DeliveryTag: 3, Requeue: true}},
	{"003c006400", &wire.BasicRecoverAsync{}},
	{"003c006e01", &wire.BasicRecover{Requeue: true}},
	{"003c006f", &wire.BasicRecoverOK{}},
	{"003c0078000000000000000903", &wire.BasicNack{DeliveryTag: 9, Multiple: true, Requeue: true}},

	{"0055000a01", &wire.ConfirmSelect{NoWait: true}},
	{"0055000b", &wire.ConfirmSelectOK{}},
	{"005a000a", &wire.TxSelect{}},
	{"005a0014", &wire.TxCommit{}},
	{"005a001e", &wire.TxRollback{}},
}

func TestGoldenMethods(t *testing.T) {
	for _, tt := range golden {
		t.Run(tt.method.ID().String(), func(t *testing.T) {
			payload := unhex(t, tt.hex)
			m, err := wire.DecodeMethod(payload)
			if err != nil || !reflect.DeepEqual(m, tt.method) {
				t.Errorf("DecodeMethod = %#v, %v; want %#v", m, err, tt.method)
			}
			frame, err := wire.AppendMethod([]byte("dst"), 0x0102, tt.method)
			if err != nil {
				t.Fatal(err)
			}
			want := append([]byte("dst\x01\x01\x02\x00\x00\x00"), byte(len(payload)))
			want = append(append(want, payload...), 0xce)
			if !bytes.Equal(frame, want) {
				t.Errorf("AppendMethod = % x, want % x", frame, want)
			}
		})
	}
}
