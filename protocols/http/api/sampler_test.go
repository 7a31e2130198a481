package api

import (
	"testing"
	"time"

	"github.com/batonmq/baton/core"
)

// TestRates: what a list and a detail say is how fast it went between the last
// two samples.
func TestRates(t *testing.T) {
	f := newFixture(t)
	totals := Totals{PublishedTotal: 100, Ready: 40}
	info := core.ConnectionInfo{Name: "a", User: "adm", VHost: "v1", BytesIn: 1000}
	f.attachCounting(t, &info)
	s := NewSampler(f.broker, func() Totals { return totals }, func() NodeFacts { return f.facts })
	f.primary.Sampler = s
	f.totals = func() Totals { return totals }
	at := time.UnixMilli(1_800_000_000_000)
	sample := func() { s.Sample(at); at = at.Add(SampleEvery) }
	carry := func(n uint64) {
		info.BytesIn = n
		f.broker.Sessions()[0].Moved()
	}
	sample()
	totals.PublishedTotal, totals.Ready, f.facts.MemoryUsed = 150, 30, 500
	carry(3000)
	sample()
	carry(3500)
	sample()
	totals.PublishedTotal = 160
	sample()

	f.wantBody(t, "/api/overview?columns=message_stats.publish,message_stats.publish_details,queue_totals.messages_details",
		`{"message_stats":{"publish":160,"publish_details":{"rate":2}},"queue_totals":{"messages_details":{"rate":0}}}`)
	f.wantBody(t, "/api/overview?columns=message_stats.publish_details&msg_rates_age=10&msg_rates_incr=5",
		`{"message_stats":{"publish_details":{"rate":2,"samples":[`+
			`{"sample":160,"timestamp":1800000015000},{"sample":150,"timestamp":1800000010000},{"sample":150,"timestamp":1800000005000}],"avg_rate":1,"avg":153.33333333333334}}}`)
	f.wantBody(t, "/api/overview?columns=queue_totals.messages_details&lengths_age=60&lengths_incr=15",
		`{"queue_totals":{"messages_details":{"rate":-0.6666666666666666,"samples":[`+
			`{"sample":30,"timestamp":1800000015000},{"sample":40,"timestamp":1800000000000}],"avg_rate":-0.6666666666666666,"avg":35}}}`)
	f.wantBody(t, "/api/nodes/node-a?columns=mem_used,mem_used_details", `{"mem_used":500,"mem_used_details":{"rate":0}}`)
	f.wantBody(t, "/api/connections?columns=recv_oct_details,send_oct_details", `[{"recv_oct_details":{"rate":0},"send_oct_details":{"rate":0}}]`)
	carry(4000)
	sample()
	f.wantBody(t, "/api/connections?columns=recv_oct,recv_oct_details", `[{"recv_oct":4000,"recv_oct_details":{"rate":100}}]`)
	f.wantBody(t, "/api/connections/a?columns=recv_oct_details&data_rates_age=5&data_rates_incr=5",
		`{"recv_oct_details":{"rate":100,"samples":[{"sample":4000,"timestamp":1800000020000},{"sample":3500,"timestamp":1800000015000}],"avg_rate":100,"avg":3750}}`)
}

func TestRates_Queues(t *testing.T) {
	f := newFixture(t)
	s := NewSampler(f.broker, f.totals, func() NodeFacts { return f.facts })
	f.primary.Sampler = s
	f.inQueue(t, "q", &core.Message{})
	at := time.UnixMilli(1_800_000_000_000)
	sample := func() { s.Sample(at); at = at.Add(SampleEvery) }
	sample()
	f.inQueue(t, "q", &core.Message{})
	sample()
	f.inQueue(t, "q", &core.Message{}, &core.Message{}, &core.Message{}, &core.Message{}, &core.Message{})
	sample()
	const columns = "columns=messages,messages_details,message_stats.publish,message_stats.publish_details,idle_since"
	f.wantBody(t, "/api/queues/v1?"+columns, `[{"message_stats":{"publish":7,"publish_details":{"rate":1}},"messages":7,"messages_details":{"rate":1}}]`)
	f.wantBody(t, "/api/queues/v1/q?"+columns+"&lengths_age=5&lengths_incr=5", `{"message_stats":{"publish":7,"publish_details":{"rate":1}},"messages":7,`+
		`"messages_details":{"rate":1,"samples":[{"sample":7,"timestamp":1800000010000},{"sample":2,"timestamp":1800000005000}],"avg_rate":1,"avg":4.5}}`)
	sample()
	f.wantBody(t, "/api/queues/v1/q?columns=messages_details,idle_since", `{"idle_since":"2027-01-15T08:00:10.000+00:00","messages_details":{"rate":0}}`)
	if w := f.as(t, "adm", "GET", "/api/queues?lengths_age=6000000&lengths_incr=1", ""); w.Code != 400 {
		t.Errorf("a window of too many steps: %d %s", w.Code, w.Body)
	}
}

func TestRates_Windows(t *testing.T) {
	f := newFixture(t)
	for query, want := range map[string]int{
		"lengths_age=60&lengths_incr=5":                          200,
		"lengths_age=60":                                         200,
		"lengths_age=x&lengths_incr=y":                           200,
		"lengths_age=6000000&lengths_incr=1":                     400,
		"lengths_age=60&lengths_incr=0":                          400,
		"lengths_age=-60&lengths_incr=5":                         400,
		"msg_rates_age=9999999999999&msg_rates_incr=99999999999": 400,
	} {
		if w := f.as(t, "adm", "GET", "/api/overview?"+query, ""); w.Code != want {
			t.Errorf("%s: %d %s, want %d", query, w.Code, w.Body, want)
		}
	}
	w := f.as(t, "adm", "GET", "/api/overview?lengths_age=6000000&lengths_incr=1", "")
	if want := `{"error":"bad_request","reason":"Invalid range parameters: age 6000000, incr 1"}`; w.Body.String() != want {
		t.Errorf("%s, want %s", w.Body, want)
	}
}
