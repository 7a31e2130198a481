package core

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/batonmq/baton/core/field"
)

// TestDeathsMatchTheModel has a message die again and again, and compares x-death with a list that is kept beside it: an entry for each queue
// and reason, the last one first, with how often. The cycle rule is RabbitMQ's, said the other way round.
func TestDeathsMatchTheModel(t *testing.T) {
	type entry struct {
		queue, exchange, key string
		reason               reason
		count                int
		expiration           string
	}
	rapid.Check(t, func(t *rapid.T) {
		props, err := field.AppendProperties(nil, &field.Properties{Headers: field.Table{{Key: "h", Value: true}}, Expiration: "60000"})
		if err != nil {
			t.Fatal(err)
		}
		m := &Message{Exchange: "x", Key: "k", Keys: []string{"bcc"}, Props: props, Body: []byte("b"), Expires: 5, Arrived: 3}
		var model []entry
		var first entry
		for range rapid.IntRange(1, 12).Draw(t, "deaths") {
			e := entry{
				queue: rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "queue"), exchange: m.Exchange, key: m.Key, count: 1,
				reason: rapid.SampledFrom([]reason{expired, rejected, maxlen, deliveryLimit}).Draw(t, "reason"),
			}
			if model == nil {
				e.expiration = "60000"
				first = e
			}
			kept := []entry{e}
			for _, o := range model {
				if o.queue == e.queue && o.reason == e.reason {
					o.count++
					kept[0] = o
				} else {
					kept = append(kept, o)
				}
			}
			model = kept
			var key *string
			if rapid.Bool().Draw(t, "with a key") {
				key = new("k2")
			}
			next, deaths := deadLetter(m, death{queue: e.queue, reason: e.reason, time: 7}, "dlx", key)
			if key != nil && (next.Key != "k2" || next.Keys != nil) || key == nil && (next.Key != m.Key || len(next.Keys) != len(m.Keys)) {
				t.Fatalf("key %s and %v", next.Key, next.Keys)
			}
			m = next
			p, err := field.ParseProperties(m.Props)
			if err != nil || p.Has(field.Expiration) || m.Expires != 0 || m.Arrived != 0 {
				t.Fatalf("%+v, %v", p, err)
			}
			if len(deaths) != len(model) {
				t.Fatalf("%d deaths, want %d", len(deaths), len(model))
			}
			for i, o := range model {
				want := field.Table{
					{Key: "count", Value: int64(o.count)},
					{Key: "reason", Value: o.reason.String()},
					{Key: "queue", Value: o.queue},
					{Key: "time", Value: field.Timestamp(7)},
					{Key: "exchange", Value: o.exchange},
					{Key: "routing-keys", Value: []any{o.key}},
				}
				if o.expiration != "" {
					want = append(want, field.Field{Key: "original-expiration", Value: o.expiration})
				}
				if !field.Equal(deaths[i], want) {
					t.Fatalf("death %d is %s, want %s", i, field.Text(deaths[i]), field.Text(want))
				}
			}
			for header, want := range map[string]string{
				"x-first-death-queue": first.queue, "x-first-death-reason": first.reason.String(), "x-first-death-exchange": "x",
				"x-last-death-queue": e.queue, "x-last-death-reason": e.reason.String(), "x-last-death-exchange": e.exchange,
			} {
				if got := textOf(p.Headers, header); got != want {
					t.Fatalf("%s is %q, want %q", header, got, want)
				}
			}
			for _, queue := range []string{"a", "b", "c"} {
				last, rejectedAt := -1, len(model)
				for i, o := range model {
					if o.queue == queue && last < 0 {
						last = i
					}
					if o.reason == rejected && rejectedAt == len(model) {
						rejectedAt = i
					}
				}
				if got, want := isCycle(deaths, queue), last >= 0 && last < rejectedAt; got != want {
					t.Fatalf("to %s: cycle %t, want %t after %v", queue, got, want, fmt.Sprint(model))
				}
			}
		}
	})
}

// TestDeathsOfClients: what clients have put where deaths are noted is taken as far as it can be understood.
func TestDeathsOfClients(t *testing.T) {
	for _, row := range []struct {
		name    string
		headers field.Table
		deaths  string
		first   string
		cycle   bool
	}{
		{"none", nil, "[{count=1,reason=expired,queue=q,time=7,exchange=,routing-keys=[k]}]", "q", true},
		{"further keys", field.Table{{Key: "CC", Value: []any{"c", int8(1)}}}, "[{count=1,reason=expired,queue=q,time=7,exchange=,routing-keys=[k,c]}]", "q", true},
		{"no list", field.Table{{Key: "x-death", Value: "x"}}, "[{count=1,reason=expired,queue=q,time=7,exchange=,routing-keys=[k]}]", "", true},
		{
			"no tables",
			field.Table{{Key: "x-death", Value: []any{"x", field.Table{{Key: "queue", Value: "p"}}}}},
			"[{count=1,reason=expired,queue=q,time=7,exchange=,routing-keys=[k]},x,{queue=p}]", "", true,
		},
		{
			"without a count",
			field.Table{{Key: "x-death", Value: []any{field.Table{{Key: "queue", Value: "q"}, {Key: "reason", Value: "expired"}}}}},
			"[{queue=q,reason=expired,count=1}]", "", true,
		},
	} {
		props, err := field.AppendProperties(nil, &field.Properties{Headers: row.headers})
		if err != nil {
			t.Fatal(err)
		}
		m, deaths := deadLetter(&Message{Key: "k", Props: props}, death{queue: "q", reason: expired, time: 7}, "", nil)
		p, err := field.ParseProperties(m.Props)
		if err != nil {
			t.Fatal(err)
		}
		if got := field.Text(deaths); got != row.deaths || textOf(p.Headers, "x-first-death-queue") != row.first || isCycle(deaths, "q") != row.cycle {
			t.Errorf("%s: %s, first %q", row.name, got, textOf(p.Headers, "x-first-death-queue"))
		}
	}
}
