package wire_test

import (
	"testing"

	"github.com/batonmq/baton/protocols/amqp091/wire"
)

var (
	deliver = wire.BasicDeliver{ConsumerTag: "amq.ctag-kZsHHgEt6gdeQT5ijUH7Vw", DeliveryTag: 1234567, Exchange: "orders", RoutingKey: "eu.de.created"}
	publish = wire.BasicPublish{Exchange: "orders", RoutingKey: "eu.de.created", Mandatory: true}
	// content_type application/octet-stream, delivery_mode 2
	usualProperties = []byte("\x90\x00\x18application/octet-stream\x02")
)

// publishFrames returns the frames of a message of 12 bytes.
func publishFrames(tb testing.TB) []byte {
	tb.Helper()
	b, err := wire.AppendPublish(nil, 1, &publish, wire.Content{Properties: usualProperties, Body: make([]byte, 12)}, 131072)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// readMessage parses the three frames of a small message, as a reader does.
func readMessage(b []byte) (p wire.Publish, h wire.ContentHeader, body []byte, err error) {
	f, n, err := wire.ParseFrame(b, 131072)
	if err != nil {
		return p, h, nil, err
	}
	_, args, err := wire.ParseMethod(f.Payload)
	if err != nil {
		return p, h, nil, err
	}
	if p, err = wire.ParsePublish(args); err != nil {
		return p, h, nil, err
	}
	b = b[n:]
	if f, n, err = wire.ParseFrame(b, 131072); err != nil {
		return p, h, nil, err
	}
	if h, err = wire.ParseContentHeader(f.Payload); err != nil {
		return p, h, nil, err
	}
	f, _, err = wire.ParseFrame(b[n:], 131072)
	return p, h, f.Payload, err
}

func TestReadMessage(t *testing.T) {
	p, h, body, err := readMessage(publishFrames(t))
	if err != nil || string(p.Exchange) != "orders" || string(p.RoutingKey) != "eu.de.created" || !p.Mandatory ||
		h.BodySize != 12 || string(h.Properties) != string(usualProperties) || len(body) != 12 {
		t.Errorf("readMessage = %+v, %+v, %d bytes, %v", p, h, len(body), err)
	}
}

func TestAllocations(t *testing.T) {
	frames := publishFrames(t)
	ack := wire.AppendAck(nil, 1, 1, true)
	content := wire.Content{Properties: usualProperties, Body: make([]byte, 300000)}
	buf := make([]byte, 0, 400000)
	vec := make([][]byte, 0, 16)
	for _, tt := range []struct {
		name string
		f    func() error
	}{
		{"read a message", func() error { _, _, _, err := readMessage(frames); return err }},
		{"ParseAck", func() error { _, err := wire.ParseAck(ack[11:20]); return err }},
		{"AppendDeliver", func() error { _, err := wire.AppendDeliver(buf, 1, &deliver, content, 131072); return err }},
		{"AppendDeliverVec", func() error {
			_, _, err := wire.AppendDeliverVec(vec, buf, 1, &deliver, content, 131072)
			return err
		}},
		{"AppendReturn", func() error {
			_, err := wire.AppendReturn(buf, 1, &wire.BasicReturn{ReplyText: "NO_ROUTE"}, content, 131072)
			return err
		}},
		{"AppendGetOK", func() error {
			_, err := wire.AppendGetOK(buf, 1, &wire.BasicGetOK{RoutingKey: "q"}, content, 131072)
			return err
		}},
		{"AppendAck", func() error { wire.AppendAck(buf, 1, 1, true); return nil }},
		{"AppendNack", func() error { wire.AppendNack(buf, 1, 1, true, false); return nil }},
		{"AppendHeartbeat", func() error { wire.AppendHeartbeat(buf); return nil }},
		{"ParsePreface", func() error { wire.ParsePreface([]byte(wire.ProtocolHeader)); return nil }},
	} {
		var err error
		if got := testing.AllocsPerRun(100, func() { err = tt.f() }); err != nil || got != 0 {
			t.Errorf("%s: %v allocations, %v; want none", tt.name, got, err)
		}
	}
}

func BenchmarkReadMessage(b *testing.B) {
	frames := publishFrames(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := readMessage(frames); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseFrame(b *testing.B) {
	frames := publishFrames(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, _, err := wire.ParseFrame(frames, 131072); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPublish(b *testing.B) {
	frames := publishFrames(b)
	f, _, err := wire.ParseFrame(frames, 131072)
	if err != nil {
		b.Fatal(err)
	}
	b.Run("ParsePublish", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.ParsePublish(f.Payload[4:]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("DecodeMethod", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.DecodeMethod(f.Payload); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkAppendDeliver(b *testing.B) {
	buf := make([]byte, 0, 1<<20)
	vec := make([][]byte, 0, 64)
	for _, bb := range []struct {
		name string
		body int
	}{{"12B", 12}, {"1KiB", 1024}, {"256KiB", 256 << 10}} {
		content := wire.Content{Properties: usualProperties, Body: make([]byte, bb.body)}
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := wire.AppendDeliver(buf, 1, &deliver, content, 131072); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bb.name+"/vec", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := wire.AppendDeliverVec(vec, buf, 1, &deliver, content, 131072); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkSettle(b *testing.B) {
	buf := make([]byte, 0, 64)
	ack := wire.AppendAck(nil, 1, 1, true)[11:20]
	b.Run("ParseAck", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := wire.ParseAck(ack); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("AppendAck", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			wire.AppendAck(buf, 1, 1, true)
		}
	})
}
