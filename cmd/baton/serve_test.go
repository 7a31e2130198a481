package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A running is `baton serve` in process.
type running struct {
	stop   func()         // as SIGTERM would
	reload chan os.Signal // as SIGHUP would
	done   chan exitCode  // receives one
	log    *logLines
}

// logLines is a log that can be waited for.
type logLines struct {
	mu    sync.Mutex
	cond  *sync.Cond
	text  strings.Builder
	ended bool
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.cond.Broadcast()
	return l.text.Write(p)
}

func (l *logLines) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	l.cond.Broadcast()
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await returns the submatches of pattern's first match, once it is logged.
func (l *logLines) await(tb testing.TB, pattern string) []string {
	tb.Helper()
	re := regexp.MustCompile(pattern)
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		if m := re.FindStringSubmatch(l.text.String()); m != nil {
			return m
		}
		if l.ended {
			tb.Fatalf("the broker ended without logging %q:\n%s", pattern, l.text.String())
		}
		l.cond.Wait()
	}
}

// startServe runs `baton serve` on dir and free ports of the loopback.
func startServe(tb testing.TB, dir string, args ...string) *running {
	tb.Helper()
	return start(tb, append([]string{
		"serve", "--data", dir, "--amqp", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--metrics", "off",
	}, args...)...)
}

// start runs the program until the test ends.
func start(tb testing.TB, args ...string) *running {
	tb.Helper()
	ctx, cancel := context.WithCancelCause(tb.Context())
	r := &running{
		stop:   func() { cancel(errSignal) },
		reload: make(chan os.Signal, 1), done: make(chan exitCode, 1), log: new(logLines),
	}
	r.log.cond = sync.NewCond(&r.log.mu)
	p := program{args: args, env: []string{envNoSelfKill + "=1", "BATON_ADMIN_SOCKET=off"}, reload: r.reload, stdout: io.Discard, stderr: r.log}
	go func() {
		code := p.run(ctx)
		r.log.end()
		r.done <- code
	}()
	tb.Cleanup(func() {
		r.stop()
		if code, ok := <-r.done; ok && code == exitFailure {
			tb.Errorf("the broker failed:\n%s", r.log)
		}
	})
	return r
}

// exit waits for the end.
func (r *running) exit(tb testing.TB) exitCode {
	tb.Helper()
	code := <-r.done
	close(r.done) // for the clean-up
	return code
}

func (r *running) ready(tb testing.TB) { tb.Helper(); r.log.await(tb, `msg="Server startup complete"`) }

func (r *running) addr(t *testing.T, listener string) string {
	t.Helper()
	return r.log.await(t, `msg=listening listener=`+listener+` addr=(\S+)`)[1]
}

func (r *running) dial(t *testing.T) *amqp.Connection {
	t.Helper()
	r.ready(t)
	conn, err := amqp.Dial("amqp://guest:guest@" + r.addr(t, "amqp") + "/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// get asks the admin port.
func (r *running) get(t *testing.T, path string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+r.addr(t, "admin")+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }() // what matters has been read
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (r *running) readyz(t *testing.T) int {
	t.Helper()
	code, _ := r.get(t, "/readyz")
	return code
}

// publish declares the durable queue q and publishes n persistent messages,
// each confirmed.
func publish(t *testing.T, conn *amqp.Connection, n int) {
	t.Helper()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		confirm, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", "q", false, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, i)})
		if err != nil {
			t.Fatal(err)
		}
		if acked, err := confirm.WaitContext(t.Context()); err != nil || !acked {
			t.Fatalf("message %d: confirmed %t, %v", i, acked, err)
		}
	}
}

// From the start on an empty directory until clients are let in: about a tenth of a second, of which the first password takes most.
func BenchmarkServe_Start(b *testing.B) {
	for b.Loop() {
		r := startServe(b, b.TempDir())
		r.ready(b)
		b.StopTimer()
		r.stop()
		if code := r.exit(b); code != exitOK {
			b.Fatalf("exit code %d:\n%s", code, r.log)
		}
		b.StartTimer()
	}
}

func TestServe_ConfirmedMessagesOutliveAnOrderlyStop(t *testing.T) {
	dir := t.TempDir()
	r := startServe(t, dir)
	conn := r.dial(t)
	if code := r.readyz(t); code != http.StatusOK {
		t.Errorf("/readyz = %d on the primary", code)
	}
	publish(t, conn, 10)
	goodbye := conn.NotifyClose(make(chan *amqp.Error, 1))
	r.stop()
	if e := <-goodbye; e == nil || e.Code != amqp.ConnectionForced {
		t.Errorf("the client was told %v, want 320", e)
	}
	if code := r.exit(t); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, r.log)
	}

	r = startServe(t, dir)
	ch, err := r.dial(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		msg, ok, err := ch.Get("q", true)
		if err != nil || !ok || string(msg.Body) != fmt.Sprint(i) || msg.Redelivered {
			t.Fatalf("message %d is %q, redelivered %t, %t, %v", i, msg.Body, msg.Redelivered, ok, err)
		}
	}
}

func TestServe_ASecondBrokerOnTheDirectoryExitsWith5(t *testing.T) {
	dir := t.TempDir()
	first := startServe(t, dir, "--node", "first")
	first.ready(t)
	second := startServe(t, dir, "--node", "second")
	if code := second.exit(t); code != exitData {
		t.Errorf("exit code %d, want %d:\n%s", code, exitData, second.log)
	}
	if got := lastLine(second.log.String()); !strings.HasPrefix(got, "baton: ") || !strings.Contains(got, "first") {
		t.Errorf("it said %q, which does not name the holder", got)
	}
	publish(t, first.dial(t), 1) // unharmed
}

func lastLine(s string) string {
	s = strings.TrimSuffix(s, "\n")
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func TestServe_AStandbyIsDarkUntilTheDirectoryIsReleased(t *testing.T) {
	dir := t.TempDir()
	first := startServe(t, dir, "--ha", "--node", "first")
	publish(t, first.dial(t), 3)
	second := startServe(t, dir, "--ha", "--node", "second")
	second.log.await(t, "standing by")
	if code := second.readyz(t); code != http.StatusServiceUnavailable {
		t.Errorf("/readyz = %d on the standby", code)
	}
	if strings.Contains(second.log.String(), "listener=amqp") {
		t.Error("the standby has opened its AMQP listener")
	}
	first.stop()
	if code := first.exit(t); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, first.log)
	}
	ch, err := second.dial(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	if q, err := ch.QueueDeclarePassive("q", true, false, false, false, nil); err != nil || q.Messages != 3 {
		t.Errorf("the standby took over %d messages, %v", q.Messages, err)
	}
}

// What a successor does to a broker that it holds for dead: it marks the fence.
func TestServe_ALostLeaseCutsClientsAndExitsWith3(t *testing.T) {
	dir := t.TempDir()
	r := startServe(t, dir, "--ha-ttl", "200ms")
	conn := r.dial(t)
	publish(t, conn, 1)
	goodbye := conn.NotifyClose(make(chan *amqp.Error, 1))

	fences, err := filepath.Glob(filepath.Join(dir, "ha", "e*", "fence"))
	if err != nil || len(fences) != 1 {
		t.Fatalf("fences: %v, %v", fences, err)
	}
	f, err := os.OpenFile(fences[0], os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt([]byte("superseded"), 0); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		t.Fatal(err)
	}

	if code := r.exit(t); code != exitLost {
		t.Errorf("exit code %d, want %d:\n%s", code, exitLost, r.log)
	}
	if e := <-goodbye; e != nil && e.Server {
		t.Errorf("the client was told %v, want silence", e)
	}
}

func TestServe_ConfiguredUserReplacesTheDefault(t *testing.T) {
	cfg := writeFile(t, "baton.yaml", "default_user: app\ndefault_pass: s3cret\n")
	r := startServe(t, t.TempDir(), "--config", cfg)
	r.ready(t)
	addr := r.addr(t, "amqp")
	if _, err := amqp.Dial("amqp://guest:guest@" + addr + "/"); !errors.Is(err, amqp.ErrCredentials) {
		t.Errorf("guest: %v", err)
	}
	conn, err := amqp.Dial("amqp://app:s3cret@" + addr + "/")
	if err != nil {
		t.Fatalf("app: %v", err)
	}
	_ = conn.Close()
	if strings.Contains(r.log.String(), "s3cret") {
		t.Error("the password is in the log")
	}
}

// TestServe_TellsClientsThePersonalityThatIsSet: AMQP 0-9-1 clients and those of the HTTP API hear of one version of RabbitMQ.
func TestServe_TellsClientsThePersonalityThatIsSet(t *testing.T) {
	for _, c := range []struct{ config, product, version string }{
		{"", "RabbitMQ", "3.13.7"},
		{"amqp: {product: Hare, version: 4.1.0}", "Hare", "4.1.0"},
	} {
		cfg := writeFile(t, "baton.yaml", "node: one\n"+c.config+"\n")
		socket := filepath.Join(t.TempDir(), "s")
		r := startServe(t, t.TempDir(), "--config", cfg, "--admin-socket", socket)
		r.ready(t)
		conn := r.dial(t)
		for key, want := range map[string]string{"product": c.product, "version": c.version, "cluster_name": "one"} {
			if got := conn.Properties[key]; got != want {
				t.Errorf("server property %s is %v, want %s", key, got, want)
			}
		}
		_, answer := askSocket(t, socket, http.MethodGet, "/api/overview?columns=rabbitmq_version,management_version", "")
		if want := `{"management_version":"` + c.version + `","rabbitmq_version":"` + c.version + `"}`; answer != want {
			t.Errorf("the API answers %s, want %s", answer, want)
		}
	}
}

// TestServe_MetricsTellThatPublishersAreBlocked: a message larger than the
// memory budget stops publishers until it is taken.
func TestServe_MetricsTellThatPublishersAreBlocked(t *testing.T) {
	r := startServe(t, t.TempDir(), "--config", writeFile(t, "baton.yaml", "memory: {budget: 1MiB}\n"))
	conn := r.dial(t)
	wantBlocked := func(want string) {
		t.Helper()
		code, body := r.get(t, "/metrics")
		if line := "\nbaton_publishers_blocked " + want + "\n"; code != http.StatusOK || !strings.Contains(body, line) {
			t.Errorf("/metrics answers %d without %q", code, line)
		}
	}
	publish(t, conn, 0)
	wantBlocked("0")
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	large := amqp.Publishing{DeliveryMode: amqp.Transient, Body: make([]byte, 3<<19)}
	confirm, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "", "q", false, false, large)
	if err != nil {
		t.Fatal(err)
	}
	if acked, err := confirm.WaitContext(t.Context()); err != nil || !acked {
		t.Fatalf("confirmed %t, %v", acked, err)
	}
	wantBlocked("1")
	if _, ok, err := ch.Get("q", true); err != nil || !ok {
		t.Fatalf("get: %t, %v", ok, err)
	}
	wantBlocked("0")
}

func TestServe_WithoutAMQP(t *testing.T) {
	r := start(t, "serve", "--data", t.TempDir(), "--amqp", "off", "--mqtt", "off", "--ws", "off", "--admin", "off", "--metrics", "127.0.0.1:0")
	r.ready(t)
	r.stop()
	if code := r.exit(t); code != exitOK || strings.Contains(r.log.String(), "listener=amqp") {
		t.Errorf("exit code %d:\n%s", code, r.log)
	}
}

// The limits are for connections that come, and the rates of clients for those that log in.
func TestServe_ReloadAppliesTheLimits(t *testing.T) {
	cfg := writeFile(t, "baton.yaml", "node: a\n")
	r := startServe(t, t.TempDir(), "--config", cfg)
	r.ready(t)
	reload := func(level, limits, keys string) {
		t.Helper()
		if err := os.WriteFile(cfg, []byte("node: a\nlog: {level: "+level+"}\nlimits: {"+limits+"}\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		r.reload <- syscall.SIGHUP
		r.log.await(t, `msg="configuration reloaded" applied="?\[`+keys+`\]"? at_next_start=\[\]`)
	}
	r.dial(t)
	reload("debug", "max_connections: 1", "limits.max_connections log.level")
	if conn, err := amqp.Dial("amqp://guest:guest@" + r.addr(t, "amqp")); err == nil {
		_ = conn.Close()
		t.Error("a second connection is let in")
	}
	reload("info", "client_message_rate: 1", "limits.max_connections limits.client_message_rate log.level")
	ch, err := r.dial(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for range 2 { // the first goes at once
		c, err := ch.PublishWithDeferredConfirm("", "none", false, false, amqp.Publishing{})
		if err != nil {
			t.Fatal(err)
		}
		<-c.Done()
	}
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("a client with a message a second has published two in %v", took)
	}
}

func TestServe_ReloadAppliesTheLogLevelAndNothingElse(t *testing.T) {
	cfg := writeFile(t, "baton.yaml", "node: a\n")
	r := startServe(t, t.TempDir(), "--config", cfg)
	r.ready(t)
	for _, tt := range []struct{ file, want string }{
		{"node: a\nlog: {level: loud}\n", `msg="configuration not reloaded" err=".*baton.yaml:2: log.level: .*loud`},
		{"node: b\nlog: {level: debug}\n", `msg="configuration reloaded" applied=\[log.level\] at_next_start=\[node\]`},
	} {
		if err := os.WriteFile(cfg, []byte(tt.file), 0o600); err != nil {
			t.Fatal(err)
		}
		r.reload <- syscall.SIGHUP
		r.log.await(t, tt.want)
	}
}

func TestServe_StopTimeoutExitsWith1(t *testing.T) {
	cfg := writeFile(t, "baton.yaml", "stop_timeout: 50ms\n")
	r := startServe(t, t.TempDir(), "--config", cfg)
	r.ready(t)
	// A client that has opened its connection and then says nothing, not even close-ok.
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.addr(t, "amqp"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	openSilently(t, conn)
	r.stop()
	if code := r.exit(t); code != exitFailure {
		t.Errorf("exit code %d, want %d:\n%s", code, exitFailure, r.log)
	}
	if got := lastLine(r.log.String()); !strings.Contains(got, "the stop took longer than stop_timeout (50ms)") {
		t.Errorf("it said %q", got)
	}
}

// openSilently opens a connection by hand, so that nothing answers for it later.
func openSilently(t *testing.T, conn net.Conn) {
	t.Helper()
	method := func(class, id uint16, args string) []byte {
		payload := binary.BigEndian.AppendUint16(binary.BigEndian.AppendUint16(nil, class), id)
		payload = append(payload, args...)
		frame := append([]byte{1, 0, 0}, binary.BigEndian.AppendUint32(nil, uint32(len(payload)))...)
		return append(append(frame, payload...), 0xCE)
	}
	answer := func() {
		var head [7]byte
		if _, err := io.ReadFull(conn, head[:]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.CopyN(io.Discard, conn, int64(binary.BigEndian.Uint32(head[3:]))+1); err != nil {
			t.Fatal(err)
		}
	}
	for _, out := range [][]byte{
		[]byte("AMQP\x00\x00\x09\x01"), // answered with start
		method(10, 11, "\x00\x00\x00\x00\x05PLAIN\x00\x00\x00\x0c\x00guest\x00guest\x05en_US"),         // start-ok; tune
		append(method(10, 31, "\x07\xff\x00\x02\x00\x00\x00\x00"), method(10, 40, "\x01/\x00\x00")...), // tune-ok and open; open-ok
	} {
		if _, err := conn.Write(out); err != nil {
			t.Fatal(err)
		}
		answer()
	}
}
