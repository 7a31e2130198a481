package bench

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestTargets(t *testing.T) {
	for text, want := range map[string]Target{
		"a=amqp://u:p@host:1/,mqtt://host:2,0": {Name: "a", AMQP: "amqp://u:p@host:1/", MQTT: "mqtt://host:2"},
		"b=ws://host/ws":                       {Name: "b", MQTT: "ws://host/ws"},
		"c=amqps://host":                       {Name: "c", AMQP: "amqps://host"},
		"d=4711":                               {},
		"e":                                    {},
		"=amqp://host":                         {},
		"f=http://host":                        {},
		"g=amqp://host,-1":                     {},
	} {
		got, err := parseTarget(text)
		if bad := want.Name == ""; bad != (err != nil) || !bad && got != want {
			t.Errorf("%s: %+v, error %v; want %+v", text, got, err, want)
		}
	}
}

// Brokers take turns, the other way round in every other round.
func TestCompareRunsBrokersInTurns(t *testing.T) {
	one, two := startFake(t), startFake(t)
	var order bytes.Buffer
	o := shortOptions("a1-12,a4-1,m1")
	o.Runs = 2
	targets := []Target{{Name: "one", AMQP: one.url}, {Name: "two", AMQP: two.url}}
	c, err := Compare(t.Context(), o, targets, newProgress(&order))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for line := range strings.Lines(order.String()) {
		title, _, _ := strings.Cut(line, " of ")
		got = append(got, title)
	}
	want := "one a1-12: run 1, two a1-12: run 1, one a4-1: run 1, two a4-1: run 1, two a1-12: run 2, one a1-12: run 2, two a4-1: run 2, one a4-1: run 2"
	if strings.Join(got, ", ") != want {
		t.Errorf("order\n%s\nwant\n%s", strings.Join(got, ", "), want)
	}
	for _, row := range c.Rows {
		switch {
		case row.ID == "m1":
			if len(row.Brokers) != 0 {
				t.Errorf("m1 ran on %d brokers without MQTT", len(row.Brokers))
			}
		case len(row.Brokers) != 2 || row.Brokers[0].Ratio != nil || row.Brokers[1].Ratio.Rate == nil || len(row.Brokers[1].Runs) != 2:
			t.Errorf("%s: %+v", row.ID, row.Brokers)
		}
	}
}

// A broker that cannot run a row does not spoil it for the others.
func TestCompareLeavesOutWhoFails(t *testing.T) {
	bad, good := startFake(t), startFake(t)
	bad.refuseAt = 100
	o := shortOptions("a1-12")
	o.Runs = 2
	var said bytes.Buffer
	c, err := Compare(t.Context(), o, []Target{{Name: "bad", AMQP: bad.url}, {Name: "good", AMQP: good.url}}, newProgress(&said))
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Rows[0].Brokers; len(got) != 1 || got[0].Name != "good" || len(got[0].Runs) != 2 {
		t.Errorf("%+v", got)
	}
	if !strings.Contains(said.String(), "CONNECTION_FORCED - test") {
		t.Errorf("the cause is not in\n%s", said.String())
	}
}

func TestCompareEndsWhenItIsCancelled(t *testing.T) {
	b := startFake(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped by the test")
	b.onPublish = func(int) { cancel(stopped) }
	if _, err := Compare(ctx, shortOptions("a1-12"), []Target{b.target()}, quiet()); !errors.Is(err, stopped) {
		t.Errorf("error %v, want %v", err, stopped)
	}
}

// A ratio is that of figures of one round, whatever the rounds were like.
func TestRatioIsOfEachRound(t *testing.T) {
	v := func(f float64) *float64 { return &f }
	first := []Figures{{Rate: 100, BrokerCPU: v(1)}, {Rate: 10, BrokerCPU: v(10)}, {Rate: 50, BrokerCPU: v(2)}}
	second := []Figures{{Rate: 200, BrokerCPU: v(2)}, {Rate: 20, BrokerCPU: v(20)}, {Rate: 150, BrokerCPU: v(3)}}
	r := ratioOf(second, first)
	if want := (Spread{Median: 2, Least: 2, Most: 3}); *r.Rate != want {
		t.Errorf("rate %+v, want %+v", *r.Rate, want)
	}
	if want := (Spread{Median: 2, Least: 1.5, Most: 2}); *r.CPU != want {
		t.Errorf("CPU %+v, want %+v", *r.CPU, want)
	}
	if r.P50 != nil {
		t.Errorf("a ratio of what was not measured: %+v", r.P50)
	}
}

func TestComparisonTable(t *testing.T) {
	v := func(f float64) *float64 { return &f }
	c := Comparison{
		Brokers: []ComparedBroker{{Name: "one", Broker: "Fake 1", Client: "MQTT 5.0"}, {Name: "two", Broker: "Fake 2", Copyright: "Them", Client: "MQTT 5.0"}},
		CPUs:    2, Duration: 3, Rounds: 3, Notes: []string{"a note"},
		Rows: []ComparedRow{{
			ID: "m1", Scenario: "QoS 0", Size: 64, Brokers: []Compared{
				{
					Name: "one", Median: Figures{Rate: 1000, BrokerCPU: v(1)}, Least: Figures{Rate: 900, BrokerCPU: v(1)}, Most: Figures{Rate: 1100, BrokerCPU: v(1)},
				},
				{
					Name: "two", Median: Figures{Rate: 500, BrokerCPU: v(2)}, Least: Figures{Rate: 500, BrokerCPU: v(1.5)}, Most: Figures{Rate: 500, BrokerCPU: v(3)},
					Ratio: &Ratio{CPU: &Spread{2, 1.5, 3}},
				},
			},
		}},
	}
	want := strings.TrimPrefix(`
one says Fake 1 (no copyright); MQTT 5.0
two says Fake 2 (Them); MQTT 5.0
2 CPUs, medians of 3 × 3s in turns (least to most)

    load   size  broker  per s            broker µs         ×                 generator µs  RSS MB  disk B  p50 µs  p99 µs  others
m1  QoS 0  64 B  one     1000 (900-1100)  1.00              1                 -             -       -       -       -       -
                 two     500              2.00 (1.50-3.00)  2.00 (1.50-3.00)  -             -       -       -       -       -

note: a note
`, "\n")
	var got bytes.Buffer
	if err := c.WriteTable(&got); err != nil {
		t.Fatal(err)
	}
	if got.String() != want {
		t.Errorf("got\n%s\nwant\n%s", got.String(), want)
	}
}

func TestCompareCommandWritesForBenchstat(t *testing.T) {
	b, dir := startFake(t), t.TempDir()
	cmd := Command()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SetErr(io.Discard)
	cmd.SetArgs([]string{"compare", "--with", "a=" + b.url, "--with", "b=" + b.url, "--rows", "a1-12", "--rounds", "2", "--duration", "100ms", "--json", "--benchstat", dir})
	if err := cmd.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), `"ratio"`) {
		t.Errorf("no ratio in\n%s", out.String())
	}
	for _, name := range []string{"a", "b"} {
		text, err := os.ReadFile(filepath.Join(dir, name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(text), "BenchmarkRow/a1-12-"); n != 2 || !strings.Contains(string(text), " messages/s") {
			t.Errorf("%d runs in\n%s", n, text)
		}
	}
	cmd.SetArgs([]string{"compare", "--with", "a=" + b.url, "--with", "a=" + b.url})
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "two brokers are called a") {
		t.Errorf("error %v", err)
	}
}
