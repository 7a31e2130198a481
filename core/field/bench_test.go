package field_test

import (
	"errors"
	"testing"

	"github.com/batonmq/baton/core/field"
)

// usual are properties as most publishers send them, rich are those of a task
// queue's message.
var (
	usual = field.Properties{ContentType: "application/octet-stream", DeliveryMode: field.Persistent}
	rich  = field.Properties{
		ContentType: "application/json", ContentEncoding: "utf-8", DeliveryMode: field.Persistent,
		Headers: field.Table{
			{"lang", "py"},
			{"task", "orders.ship"},
			{"id", "3d5a8d2e-3c41-4ef5-9f2e-2f3a1c1d9b77"},
			{"retries", int32(0)},
			{"timelimit", []any{nil, nil}},
			{"eta", nil},
		},
		CorrelationID: "3d5a8d2e-3c41-4ef5-9f2e-2f3a1c1d9b77", ReplyTo: "amq.gen-1", Expiration: "60000",
	}
)

func block(tb testing.TB, p *field.Properties) []byte {
	tb.Helper()
	b, err := field.AppendProperties(nil, p)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// refused is nil for an error that was to come.
func refused(err error) error {
	if err == nil {
		return errors.New("not refused")
	}
	return nil
}

func TestAllocations(t *testing.T) {
	richBlock := block(t, &rich)
	summary, err := field.CheckProperties(richBlock)
	if err != nil {
		t.Fatal(err)
	}
	deep := rawNested(field.MaxDepth + 1)
	buf := make([]byte, 0, 1024)
	for _, tt := range []struct {
		name string
		max  float64
		f    func() error
	}{
		{"CheckProperties", 0, func() error { _, err := field.CheckProperties(richBlock); return err }},
		{"CheckTable", 0, func() error { _, err := field.CheckTable(summary.Headers); return err }},
		{"CheckTable refusing", 0, func() error { _, err := field.CheckTable(deep); return refused(err) }},
		{"ParseTable refusing", 0, func() error { _, _, err := field.ParseTable(deep); return refused(err) }},
		{"Lookup of an absent key", 0, func() error { _, _, err := field.Lookup(summary.Headers, "CC"); return err }},
		{"AppendProperties", 0, func() error { _, err := field.AppendProperties(buf, &rich); return err }},
		// Six keys and three strings, an array, the values in their interfaces
		// and the table itself.
		{"ParseTable", 15, func() error { _, _, err := field.ParseTable(summary.Headers); return err }},
	} {
		var err error
		got := testing.AllocsPerRun(100, func() { err = tt.f() })
		if err != nil || got > tt.max {
			t.Errorf("%s: %v allocations, %v; want at most %v", tt.name, got, err, tt.max)
		}
	}
}

func BenchmarkCheckProperties(b *testing.B) {
	for _, bb := range []struct {
		name string
		p    *field.Properties
	}{{"none", new(field.Properties)}, {"usual", &usual}, {"rich", &rich}} {
		raw := block(b, bb.p)
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := field.CheckProperties(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkParseProperties(b *testing.B) {
	for _, bb := range []struct {
		name string
		p    *field.Properties
	}{{"usual", &usual}, {"rich", &rich}} {
		raw := block(b, bb.p)
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := field.ParseProperties(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkAppendProperties(b *testing.B) {
	buf := make([]byte, 0, 1024)
	for _, bb := range []struct {
		name string
		p    *field.Properties
	}{{"usual", &usual}, {"rich", &rich}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := field.AppendProperties(buf, bb.p); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLookupAbsent(b *testing.B) {
	s, err := field.CheckProperties(block(b, &rich))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := field.Lookup(s.Headers, "CC"); ok || err != nil {
			b.Fatal(ok, err)
		}
	}
}
