package admin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/batonmq/baton/protocols/listen"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, opt Options) *Server {
	t.Helper()
	if opt.Health == nil {
		opt.Health = new(Health)
	}
	opt.Admin, opt.Metrics = []string{"127.0.0.1:0"}, []string{"127.0.0.1:0"}
	s, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		if err := s.Close(context.WithoutCancel(t.Context())); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

func get(t *testing.T, addr net.Addr, path string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+addr.String()+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestHealth(t *testing.T) {
	health := new(Health)
	s := start(t, Options{Health: health})
	for _, tt := range []struct {
		name  string
		state *State // nil: as before
		code  int
		body  string
	}{
		{"starting", nil, 503, `{"role":"starting","epoch":0,"reason":"the broker is starting"}`},
		{"standby", &State{Role: RoleStandby, Reason: "node a is the primary"}, 503, `{"role":"standby","epoch":0,"reason":"node a is the primary"}`},
		{"primary", &State{Role: RolePrimary, Epoch: 3}, 200, `{"role":"primary","epoch":3,"reason":""}`},
		{"stopping", &State{Role: RoleStopping, Epoch: 3, Reason: "the broker is stopping"}, 503, `{"role":"stopping","epoch":3,"reason":"the broker is stopping"}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.state != nil {
				health.Set(*tt.state)
			}
			if code, body := get(t, s.AdminAddrs()[0], "/readyz"); code != tt.code || strings.TrimSpace(body) != tt.body {
				t.Errorf("/readyz = %d %s, want %d %s", code, body, tt.code, tt.body)
			}
			if code, _ := get(t, s.AdminAddrs()[0], "/livez"); code != 200 {
				t.Errorf("/livez = %d", code)
			}
		})
	}
}

func TestMetricsAddressServesMetricsAlone(t *testing.T) {
	s := start(t, Options{})
	for path, want := range map[string]int{"/metrics": 200, "/livez": 404, "/readyz": 404, "/debug/pprof/": 404, "/": 404} {
		if code, _ := get(t, s.MetricsAddrs()[0], path); code != want {
			t.Errorf("metrics address: %s = %d, want %d", path, code, want)
		}
	}
	if code, _ := get(t, s.AdminAddrs()[0], "/metrics"); code != 200 {
		t.Errorf("admin address: /metrics = %d", code)
	}
}

func TestMetrics(t *testing.T) {
	health := new(Health)
	running := false
	s := start(t, Options{
		Health: health, Node: "node-a", Version: "1.2.3",
		Stats: func() (Stats, bool) {
			s := Stats{Connections: 3, Ready: 5, Unacked: 2, DiskFreeBytes: 4096}
			s.Add(&Protocol{Name: "amqp091", Traffic: Traffic{ReceivedTotal: 1 << 40}})
			return s, running
		},
	})
	_, body := get(t, s.MetricsAddrs()[0], "/metrics")
	wantLines(t, body, "baton_ready 0", "go_goroutines", `rabbitmq_identity_info{rabbitmq_cluster="node-a",rabbitmq_endpoint="aggregated",rabbitmq_node="node-a"} 1`)
	if strings.Contains(body, "rabbitmq_connections") {
		t.Error("a node without a broker tells a broker's values")
	}

	running = true
	health.Set(State{Role: RolePrimary, Epoch: 7})
	_, body = get(t, s.MetricsAddrs()[0], "/metrics")
	wantLines(t, body,
		"baton_ready 1", "baton_epoch 7",
		"rabbitmq_connections 3", "rabbitmq_queue_messages 7", "rabbitmq_queue_messages_ready 5", "rabbitmq_queue_messages_unacked 2",
		`rabbitmq_global_messages_received_total{protocol="amqp091"} 1.099511627776e+12`, "rabbitmq_disk_space_available_bytes 4096",
		"# TYPE rabbitmq_global_messages_received_total counter", "# TYPE rabbitmq_connections gauge",
	)
}

// TestMetrics_Store: what the store counts is there, with its histograms.
func TestMetrics_Store(t *testing.T) {
	s := start(t, Options{Stats: func() (Stats, bool) {
		return Stats{Store: StoreStats{
			GroupsTotal: 3, PendingBytes: 7, StalledFor: 90 * time.Second, CheckpointTook: 20 * time.Millisecond, SpaceLevel: 1,
			Write:     Histogram{Count: 3, Sum: 0.5, Buckets: map[float64]uint64{0.001: 1, 0.01: 2}},
			GroupSize: Histogram{Count: 3, Sum: 300, Buckets: map[float64]uint64{64: 0, 128: 3}},
		}}, true
	}})
	_, body := get(t, s.MetricsAddrs()[0], "/metrics")
	wantLines(t, body,
		"baton_store_groups_total 3", "baton_store_pending_bytes 7", "baton_store_stalled_seconds 90", "baton_store_checkpoint_seconds 0.02",
		"baton_store_space_level 1", "# TYPE baton_store_groups_total counter",
		"# TYPE baton_store_write_seconds histogram", `baton_store_write_seconds_bucket{le="0.001"} 1`, `baton_store_write_seconds_bucket{le="+Inf"} 3`,
		"baton_store_write_seconds_sum 0.5", "baton_store_write_seconds_count 3", `baton_store_group_bytes_bucket{le="128"} 3`,
	)
}

// TestReadyz_Observed: a primary that has a reason not to be ready says so at once.
func TestReadyz_Observed(t *testing.T) {
	health := new(Health)
	reason := ""
	health.Observe(func(s *State) {
		if s.Role == RolePrimary {
			s.Reason = reason
		}
	})
	s := start(t, Options{Health: health})
	for _, step := range []struct {
		role   Role
		reason string
		code   int
		body   string
	}{
		{RolePrimary, "", 200, `"reason":""`},
		{RolePrimary, "the disk hangs", 503, `"reason":"the disk hangs"`},
		{RolePrimary, "", 200, `"reason":""`},
		{RoleStopping, "the disk hangs", 503, `"reason":"because"`},
	} {
		reason = step.reason
		set := State{Role: step.role}
		if step.role != RolePrimary {
			set.Reason = "because"
		}
		health.Set(set)
		if code, body := get(t, s.AdminAddrs()[0], "/readyz"); code != step.code || !strings.Contains(body, step.body) {
			t.Errorf("%s, %q: %d %s", step.role, step.reason, code, body)
		}
	}
}

// TestReadyz_Standby: a standby is never ready, and tells whom it stands by for and whether it could take over, in health and in metrics.
func TestReadyz_Standby(t *testing.T) {
	health := new(Health)
	health.Set(State{Role: RoleStandby, Reason: "another broker is the primary"})
	health.Observe(func(s *State) {
		s.Standby = &Standby{
			Primary: "a", PrimaryEpoch: 7, Addresses: []string{"amqp://a:5672"}, Ineligible: "the disk is full", CaughtUp: true, BehindBytes: 12, BehindSeconds: 1.5,
		}
	})
	age := 250 * time.Millisecond
	s := start(t, Options{Health: health, Failover: func() Failover {
		return Failover{
			Enabled: true, TTL: 3 * time.Second, LeaseAge: &age, Phases: map[string]time.Duration{"open": 20 * time.Millisecond},
			Standbys: &Standbys{Alive: 2, Eligible: 1}, FenceRead: &Histogram{Count: 3, Sum: 0.5, Buckets: map[float64]uint64{0.001: 1}},
		}
	}})
	code, body := get(t, s.AdminAddrs()[0], "/readyz")
	for _, want := range []string{
		`"role":"standby"`, `"primary":"a"`, `"primary_epoch":7`, `"addresses":["amqp://a:5672"]`, `"eligible":false`,
		`"ineligible":"the disk is full"`, `"behind_bytes":12`, `"behind_seconds":1.5`,
	} {
		if code != 503 || !strings.Contains(body, want) {
			t.Errorf("/readyz answers %d %s, want 503 and %s", code, body, want)
		}
	}
	_, body = get(t, s.MetricsAddrs()[0], "/metrics")
	wantLines(t, body,
		`baton_role{role="standby"} 1`, `baton_role{role="primary"} 0`, "baton_standby_eligible 0", "baton_standby_caught_up 1",
		"baton_standby_behind_bytes 12", "baton_standby_behind_seconds 1.5", "baton_standby_config_differs 0", `baton_takeover_seconds{phase="open"} 0.02`,
		"baton_ha_enabled 1", "baton_lease_ttl_seconds 3", "baton_lease_age_seconds 0.25", "baton_standbys_alive 2", "baton_standbys_eligible 1",
		"baton_fence_read_seconds_count 3", `baton_fence_read_seconds_bucket{le="0.001"} 1`,
	)
}

// TestMetrics_PublishersBlocked: an operator sees that publishers wait, and for
// what.
func TestMetrics_PublishersBlocked(t *testing.T) {
	var stats Stats
	s := start(t, Options{Stats: func() (Stats, bool) { return stats, true }})
	for _, row := range []struct {
		name                  string
		stats                 Stats
		blocked, memory, disk string
	}{
		{"nobody waits", Stats{MemoryBytes: 99, MemoryLimitBytes: 100}, "0", "0", "0"},
		{"for memory", Stats{PublishersBlocked: true, MemoryAlarm: true, MemoryLimitBytes: 100}, "1", "1", "0"},
		{"for both", Stats{PublishersBlocked: true, MemoryAlarm: true, DiskLow: true, MemoryLimitBytes: 100}, "1", "1", "1"},
		{"for disk space", Stats{PublishersBlocked: true, DiskLow: true, MemoryLimitBytes: 100}, "1", "0", "1"},
	} {
		t.Run(row.name, func(t *testing.T) {
			stats = row.stats
			_, body := get(t, s.AdminAddrs()[0], "/metrics")
			wantLines(t, body,
				"baton_publishers_blocked "+row.blocked+"\n",
				"rabbitmq_alarms_memory_used_watermark "+row.memory+"\n",
				"rabbitmq_alarms_free_disk_space_watermark "+row.disk+"\n",
				fmt.Sprintf("baton_message_memory_bytes %d\n", row.stats.MemoryBytes),
				"baton_message_memory_limit_bytes 100\n")
		})
	}
}

// wantLines reports the lines, given by their start, that body lacks.
func wantLines(t *testing.T, body string, lines ...string) {
	t.Helper()
	for _, want := range lines {
		if !strings.Contains("\n"+body, "\n"+want) {
			t.Errorf("no line starts with %q", want)
		}
	}
}

func TestProfilesAreForLoopbackPeersOnly(t *testing.T) {
	s := start(t, Options{})
	if code, body := get(t, s.AdminAddrs()[0], "/debug/pprof/goroutine?debug=1"); code != 200 || !strings.Contains(body, "goroutine profile") {
		t.Errorf("from loopback: %d %.80s", code, body)
	}
	mux := adminMux(new(Health), http.NotFoundHandler(), http.NotFoundHandler())
	for peer, want := range map[string]int{
		"127.0.0.1:4000": 200, "127.8.8.8:1": 200, "[::1]:4000": 200, "[::ffff:127.0.0.1]:4000": 200,
		"192.0.2.1:4000": 403, "[2001:db8::1]:4000": 403, "": 403, "127.0.0.1": 403,
	} {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/debug/pprof/cmdline", http.NoBody)
		r.RemoteAddr = peer
		r.Header.Set("X-Forwarded-For", "127.0.0.1")
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != want {
			t.Errorf("peer %q: %d, want %d", peer, w.Code, want)
		}
	}
}

func TestStart_PortInUse(t *testing.T) {
	s := start(t, Options{})
	taken := s.AdminAddrs()[0].String()
	_, err := Start(t.Context(), Options{Health: new(Health), Admin: []string{"127.0.0.1:0"}, Metrics: []string{taken}})
	if e, ok := errors.AsType[*listen.AddressError](err); !ok || !e.InUse() {
		t.Errorf("Start on a port in use = %v", err)
	}
}

func TestClose_LetsARequestFinish(t *testing.T) {
	entered, release := make(chan struct{}, 2), make(chan struct{})
	opt := Options{Health: new(Health), Admin: []string{"127.0.0.1:0"}, Stats: func() (Stats, bool) {
		entered <- struct{}{}
		<-release
		return Stats{}, true
	}}
	s, err := Start(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.AdminAddrs()[0].String()+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	code := make(chan int, 1)
	go func() {
		defer close(code)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Error(err)
			return
		}
		code <- resp.StatusCode
		_ = resp.Body.Close()
	}()
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	closed := make(chan error, 1)
	go func() { closed <- s.Close(t.Context()) }()
	<-ctx.Done() // Close has had time to cut the request, and must not have
	close(release)
	if c := <-code; c != 200 {
		t.Errorf("the request in flight got %d", c)
	}
	if err := <-closed; err != nil {
		t.Errorf("Close = %v", err)
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestOptionsNeedHealth(t *testing.T) {
	if _, err := Start(t.Context(), Options{}); err == nil {
		t.Error("Start without Health = nil")
	}
}
