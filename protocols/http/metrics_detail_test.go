package admin

import (
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/http/api"
)

// withQueues makes n queues, and one with a name that no label takes as it is.
func withQueues(tb testing.TB, b *core.Broker, n int) *core.Session {
	tb.Helper()
	s, err := b.Attach("/", core.SessionOptions{
		Info: func(bool) core.ConnectionInfo {
			return core.ConnectionInfo{Name: "127.0.0.1:1 -> 127.0.0.1:5672", Channels: 1, BytesIn: 10, BytesOut: 20, PacketsIn: 3, PacketsOut: 4}
		},
		Channels: func() []core.ChannelInfo { return []core.ChannelInfo{{Number: 7, Prefetch: 5, Unconfirmed: 2}} },
	})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { s.Close() })
	for i := range n {
		if _, err := s.DeclareQueue(tb.Context(), core.QueueSpec{Name: fmt.Sprintf("q%d", i)}); err != nil {
			tb.Fatal(err)
		}
	}
	return s
}

// lint fails where the text is no exposition format, where a metric's samples are not together, or where one of
// Baton's own names does not follow Prometheus' conventions.
func lint(t *testing.T, text string) {
	t.Helper()
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, ownPrefix) {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

func TestMetrics_Objects(t *testing.T) {
	p := primary(t)
	s := withQueues(t, p.Broker, 1)
	const strange = "a \"b\" \\ c\nd\xff" // the engine drops the line feed
	if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: strange}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := s.Publish(&core.Message{Key: "q0", Body: []byte("four")}, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Bind(t.Context(), core.BindingSpec{Source: "amq.direct", Dest: "q0", Key: "k"}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Broker.Access().PutVHost(t.Context(), core.VHostInfo{Name: "other", MaxQueues: -1, MaxConnections: -1}); err != nil {
		t.Fatal(err)
	}
	server := start(t, Options{Health: serving(), Node: "a", Primary: func() *api.Primary { return p }, Stats: func() (Stats, bool) {
		stats := Stats{Ready: 99, ConnectionsOpenedTotal: 5, DiskLimitBytes: 50}
		stats.Add(&Protocol{Name: "mqtt", Traffic: Traffic{LoginsRefusedTotal: 2}})
		return stats, true
	}})
	for _, tt := range []struct {
		path string
		want []string
		not  []string
	}{
		{
			"/metrics/per-object",
			[]string{
				`rabbitmq_identity_info{rabbitmq_cluster="a",rabbitmq_endpoint="per-object",rabbitmq_node="a"} 1`,
				`rabbitmq_queue_messages_ready{vhost="/",queue="q0"} 2`, `rabbitmq_queue_messages{vhost="/",queue="q0"} 2`,
				`rabbitmq_queue_messages_ready_bytes{vhost="/",queue="q0"} 8`, `rabbitmq_queue_consumers{vhost="/",queue="q0"} 0`,
				`rabbitmq_queue_head_message_timestamp{vhost="/",queue="q0"} NaN`, `rabbitmq_queue_get_empty_total{vhost="/",queue="q0"} 0`,
				`baton_queue_published_messages_total{vhost="/",queue="q0"} 2`,
				`rabbitmq_queue_messages_ready{vhost="/",queue="a \"b\" \\ cd` + "\uFFFD" + `"} 0`,
				`rabbitmq_connection_incoming_bytes_total{connection="127.0.0.1:1 -> 127.0.0.1:5672"} 10`,
				`rabbitmq_connection_outgoing_packets_total{connection="127.0.0.1:1 -> 127.0.0.1:5672"} 4`,
				`rabbitmq_channel_messages_unconfirmed{channel="127.0.0.1:1 -> 127.0.0.1:5672 (7)"} 2`,
				"rabbitmq_connections 0", "rabbitmq_connections_opened_total 5", "go_goroutines",
			},
			[]string{"rabbitmq_queue_messages_ready 99", "rabbitmq_detailed_", "rabbitmq_cluster_"},
		},
		{
			"/metrics/detailed?family=queue_coarse_metrics&family=queue_consumer_count&vhost=%2F",
			[]string{`rabbitmq_detailed_queue_messages_ready{vhost="/",queue="q0"} 2`, `rabbitmq_detailed_queue_consumers{vhost="/",queue="q0"} 0`, `rabbitmq_identity_info{`},
			[]string{"rabbitmq_detailed_connection", "rabbitmq_detailed_queue_messages_ready_bytes", "go_goroutines", "rabbitmq_queue"},
		},
		{
			"/metrics/detailed?family=queue_metrics&family=queue_consumer_count&family=nonsense",
			[]string{`rabbitmq_detailed_queue_messages_paged_out{vhost="/",queue="q0"} 0`},
			nil,
		},
		{
			"/metrics/detailed?family=queue_coarse_metrics&family=exchange_names&vhost=other",
			[]string{`rabbitmq_cluster_exchange_name{vhost="other",exchange="amq.topic",type="topic"} 1`},
			[]string{`queue="q0"`, `vhost="/"`, `exchange=""`, "trace"},
		},
		{
			"/metrics/detailed?family=exchange_bindings&family=vhost_status&family=connection_churn_metrics&family=auth_attempt_metrics&family=node_metrics",
			[]string{
				`rabbitmq_cluster_exchange_bindings{vhost="/",exchange="amq.direct",type="direct"} 1`, `rabbitmq_cluster_vhost_status{vhost="other"} 1`,
				"rabbitmq_detailed_connections_opened_total 5", `rabbitmq_detailed_auth_attempts_failed_total{protocol="mqtt"} 2`,
				"rabbitmq_detailed_disk_space_available_limit_bytes 50",
			},
			nil,
		},
		{"/metrics/detailed?family=queue_coarse_metrics&vhost=nope", []string{`rabbitmq_identity_info{`}, []string{`queue="q0"`}},
		{"/metrics/detailed", []string{`rabbitmq_identity_info{`}, []string{"rabbitmq_detailed_"}},
	} {
		t.Run(tt.path, func(t *testing.T) {
			code, body := get(t, server.MetricsAddrs()[0], tt.path)
			if code != http.StatusOK {
				t.Fatal(code, body)
			}
			wantLines(t, body, tt.want...)
			for _, not := range tt.not {
				if strings.Contains(body, "\n"+not) || strings.Contains(body, not) && strings.Contains(not, `="`) {
					t.Errorf("it tells of %s", not)
				}
			}
			lint(t, body)
		})
	}
}

// TestMetrics_ObjectsOfAStandby: there are none, and yet the node tells who it is.
func TestMetrics_ObjectsOfAStandby(t *testing.T) {
	server := start(t, Options{Node: "b"})
	for _, path := range []string{"/metrics/per-object", "/metrics/detailed?family=queue_metrics&family=node_metrics&family=auth_attempt_metrics&family=vhost_status"} {
		code, body := get(t, server.AdminAddrs()[0], path)
		if code != http.StatusOK || strings.Contains(body, "rabbitmq_detailed_disk") {
			t.Errorf("%s: %d %s", path, code, body)
		}
		wantLines(t, body, "rabbitmq_identity_info{")
		lint(t, body)
	}
}

// TestMetrics_ObjectsCompressed: who takes gzip gets it, and the same.
func TestMetrics_ObjectsCompressed(t *testing.T) {
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics/per-object", http.NoBody)
	r.Header.Set("Accept-Encoding", "gzip")
	w := httptest.NewRecorder()
	opt := Options{Health: serving()}
	opt.setDefaults()
	newDetails(&opt).perObject(w, r)
	z, err := gzip.NewReader(w.Body)
	if err != nil || w.Header().Get("Content-Encoding") != "gzip" || w.Header().Get("Content-Type") != textFormat {
		t.Fatal(err, w.Header())
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	lint(t, string(text))
}

// TestMetrics_ObjectsHaveTheirTurn: one more scrape than may be under way is turned away.
func TestMetrics_ObjectsHaveTheirTurn(t *testing.T) {
	opt := Options{Health: serving()}
	opt.setDefaults()
	d := newDetails(&opt)
	for range maxDetails {
		d.turn <- struct{}{}
	}
	w := httptest.NewRecorder()
	d.detailed(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics/detailed", http.NoBody))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("it answers %d", w.Code)
	}
}

// scrapeQueues writes every metric of every queue to nowhere.
func scrapeQueues(b *core.Broker) {
	d := &detail{textWriter: &textWriter{w: io.Discard}, prefix: detailedPrefix, broker: b, vhosts: []string{"/"}}
	for _, metrics := range [][]objectMetric[core.QueueInfo]{queueCoarse(), queueMetrics(), queueDelivery(), ownQueueMetrics()} {
		d.writeQueues(metrics)
	}
	d.flush()
}

// TestMetrics_QueuesAreStreamed: ten times the queues take not one allocation more.
func TestMetrics_QueuesAreStreamed(t *testing.T) {
	few, many := primary(t).Broker, primary(t).Broker
	withQueues(t, few, 300)
	withQueues(t, many, 3000)
	a, b := testing.AllocsPerRun(5, func() { scrapeQueues(few) }), testing.AllocsPerRun(5, func() { scrapeQueues(many) })
	if b > a+20 {
		t.Errorf("%v allocations for 300 queues, %v for 3000", a, b)
	}
}

// TestTextWriter: its first error sticks, and what cannot be said in whole numbers is said otherwise.
func TestTextWriter(t *testing.T) {
	var out strings.Builder
	w := &textWriter{w: &out}
	w.header("m", "help", prometheus.CounterValue)
	for _, v := range []float64{0, -1, 1 << 52, 0.25, 1e300, math.Inf(1), math.NaN()} {
		w.sample("m", nil, v)
	}
	w.flush()
	const want = "# HELP m help\n# TYPE m counter\nm 0\nm -1\nm 4503599627370496\nm 0.25\nm 1e+300\nm +Inf\nm NaN\n"
	if out.String() != want {
		t.Errorf("%q\nwant %q", out.String(), want)
	}
	if got := string(label(label(nil, "a", "\n"), "b", "é")); got != `a="\n",b="é"` {
		t.Errorf("labels are %s", got)
	}
	broken := &textWriter{w: errWriter{}}
	broken.sample("m", nil, 1)
	broken.flush()
	if _, err := broken.Write([]byte("x")); err == nil {
		t.Error("nothing is wrong with a writer that is broken")
	}
}

type errWriter struct{}

func (errWriter) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// BenchmarkQueues is what one scrape of 50 000 queues costs.
func BenchmarkQueues(b *testing.B) {
	const queues = 50_000
	broker := emptyBroker(b)
	withQueues(b, broker, queues)
	b.ReportAllocs()
	for b.Loop() {
		scrapeQueues(broker)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/queues, "ns/queue")
}
