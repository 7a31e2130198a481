package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/batonmq/baton/ha"
	admin "github.com/batonmq/baton/protocols/http"
)

// standbyState is what the node's /readyz tells.
func (r *running) standbyState(t *testing.T) admin.State {
	t.Helper()
	var s admin.State
	code, body := r.get(t, "/readyz")
	if err := json.Unmarshal([]byte(body), &s); err != nil || code != http.StatusServiceUnavailable && !s.Ready() {
		t.Fatalf("/readyz answers %d %s, %v", code, body, err)
	}
	return s
}

// awaitState waits until /readyz tells what is wanted.
func (r *running) awaitState(t *testing.T, what string, wanted func(*admin.State) bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		s := r.standbyState(t)
		if wanted(&s) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the node is not %s: %+v %+v\n%s", what, s, s.Standby, r.log)
		}
		select {
		case <-time.After(5 * time.Millisecond):
		case <-t.Context().Done():
		}
	}
}

func (r *running) awaitFit(t *testing.T) {
	t.Helper()
	r.awaitState(t, "eligible and caught up", fit)
}

// wantMessages takes n messages with the bodies 0 … n-1 from the queue q.
func (r *running) wantMessages(t *testing.T, n int) {
	t.Helper()
	ch, err := r.dial(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if m, ok, err := ch.Get("q", true); err != nil || !ok || string(m.Body) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q, %t, %v", i, m.Body, ok, err)
		}
	}
}

// childBroker runs the program in a process of its own and waits until it serves.
func childBroker(t *testing.T, args ...string) (*exec.Cmd, *running) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), runVariable+"=1", "BATON_ADMIN_SOCKET=off")
	r := &running{log: new(logLines), reload: make(chan os.Signal)}
	r.log.cond = sync.NewCond(&r.log.mu)
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_, _ = io.Copy(r.log, out) // until the process has ended
		r.log.end()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // unless it has ended
		_ = cmd.Wait()
	})
	r.ready(t)
	return cmd, r
}

func pairArgs(dir, node string, more ...string) []string {
	return append([]string{
		"serve", "--data", dir, "--ha", "--node", node, "--amqp", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--ws", "off",
		"--admin", "127.0.0.1:0", "--metrics", "off",
	}, more...)
}

// A standby has followed the journal by the time its primary is killed, and goes on from there.
func TestFailover_AKilledPrimaryIsFollowedOn(t *testing.T) {
	dir := t.TempDir()
	child, first := childBroker(t, pairArgs(dir, "first")...)
	second := start(t, pairArgs(dir, "second")...)
	publish(t, first.dial(t), 100)
	second.awaitFit(t)
	_, metrics := second.get(t, "/metrics")
	for _, line := range []string{`baton_role{role="standby"} 1`, "baton_ha_enabled 1", "baton_lease_ttl_seconds ", "baton_lease_age_seconds "} {
		if !strings.Contains(metrics, line) {
			t.Errorf("/metrics of the standby lacks %q", line)
		}
	}
	begun := time.Now()
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	took := second.log.await(t, `msg="took over" epoch=2 why="the holder's process is gone".* total=(\S+)`)
	t.Logf("took over in %v, %v after the kill", took[1], time.Since(begun))
	second.wantMessages(t, 100)
	for _, line := range []string{"rebuilding the index", "is not used"} {
		if strings.Contains(second.log.String(), line) {
			t.Errorf("what was followed did not count: %q in\n%s", line, second.log)
		}
	}
	_, metrics = second.get(t, "/metrics")
	for _, line := range []string{
		`baton_role{role="primary"} 1`, "baton_epoch 2", `baton_takeover_seconds{phase="total"} `,
		"baton_lease_age_seconds ", "baton_standbys_alive 0", "baton_fence_read_seconds_count ",
	} {
		if !strings.Contains(metrics, line) {
			t.Errorf("/metrics lacks %q", line)
		}
	}
}

// A primary that is asked to hand over says where to go on, and stands by again; one that is told to stop ends.
func TestFailover_HandoverAndStop(t *testing.T) {
	dir := t.TempDir()
	advertise := func(node string) []string {
		file := writeFile(t, node+".yaml", "ha: {advertise: [\"mqtt://"+node+".example:1883\", \"amqp://"+node+".example:5672\"]}\n")
		return pairArgs(dir, node, "--config", file)
	}
	first := start(t, advertise("first")...)
	publish(t, first.dial(t), 10)
	second := start(t, advertise("second")...)
	second.awaitFit(t)

	client := first.dialMQTT(t, "mqtt")
	if ack := exchange(t, client, mqttLogin); ack[1] != 0 {
		t.Fatalf("CONNACK % x", ack)
	}
	code, out, stderr := baton(t, nil, "ha", "handover", "--data", dir)
	if code != exitOK || !strings.Contains(out, `node "second" has taken over from node "first"`) {
		t.Fatalf("ha handover: %d, %q, %q", code, out, stderr)
	}
	goodbye, err := io.ReadAll(client)
	if err != nil || len(goodbye) < 3 || goodbye[2] != 0x9C || !strings.Contains(string(goodbye), "\x1c\x00\x13second.example:1883") {
		t.Errorf("the client was told %q, %v, want 0x9C and a Server Reference", goodbye, err)
	}
	first.awaitFit(t)
	if s := first.standbyState(t); s.Standby.Primary != "second" || s.Standby.PrimaryEpoch != 2 || s.Standby.Addresses[1] != "amqp://second.example:5672" {
		t.Errorf("the node that has handed over says %+v", s.Standby)
	}

	second.stop()
	if code := second.exit(t); code != exitOK {
		t.Errorf("exit code %d:\n%s", code, second.log)
	}
	first.log.await(t, `msg="took over" epoch=3 why="the holder gave up"`)
	first.awaitState(t, "ready", func(s *admin.State) bool { return s.Ready() })
	code, _, stderr = baton(t, nil, "ha", "handover", "--data", dir)
	if code != exitData || !strings.Contains(stderr, "no standby is eligible") {
		t.Errorf("a handover to nobody: %d, %q", code, stderr)
	}
}

// statusTells waits until baton ha status shows text.
func statusTells(t *testing.T, dir, text string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; {
		_, status, stderr := baton(t, nil, "ha", "status", "--data", dir)
		if strings.Contains(status, text) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the status does not tell %q:\n%s%s", text, status, stderr)
		}
	}
}

// What a standby has read last is in force when it takes over, and what it cannot read keeps it from that.
func TestFailover_ConfigurationIsReadAgain(t *testing.T) {
	dir := t.TempDir()
	config := writeFile(t, "second.yaml", "amqp: {frame_max: 8192}\n")
	child, first := childBroker(t, pairArgs(dir, "first")...)
	publish(t, first.dial(t), 1)
	second := start(t, pairArgs(dir, "second", "--config", config)...)
	second.awaitFit(t)
	if s := second.standbyState(t).Standby; !s.ConfigDiffers {
		t.Error("nobody is told that the two are configured differently")
	}
	statusTells(t, dir, "yes, configured differently")

	rewrite := func(text string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rewrite("")
	second.awaitState(t, "configured as the primary, once its file is", func(s *admin.State) bool {
		return s.Standby != nil && !s.Standby.ConfigDiffers
	})
	rewrite("amqp: {frame_max: lots}\n")
	second.awaitState(t, "kept from taking over by its configuration", func(s *admin.State) bool {
		return s.Standby != nil && !s.Standby.Eligible && strings.Contains(s.Reason, "second.yaml:1: amqp.frame_max")
	})
	if _, metrics := second.get(t, "/metrics"); !strings.Contains(metrics, "baton_standby_eligible 0") {
		t.Error("no metric tells of it")
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	second.log.await(t, `msg="nobody can take over: mend this, or another node, and it goes on at once".*second.yaml:1`)
	rewrite("data: /elsewhere\namqp: {frame_max: 16384}\n")
	second.log.await(t, `msg="took over" epoch=2`)
	if got := second.dial(t).Config.FrameSize; got != 16384 {
		t.Errorf("it offers frames of %d bytes, want 16384 as the file says now", got)
	}
	second.wantMessages(t, 1)
}

// A reload on both nodes leaves them configured alike: the primary tells of the configuration that it has in force now.
func TestFailover_TheStandbySeesThatThePrimaryWasReloaded(t *testing.T) {
	dir := t.TempDir()
	serve := func(name string) (r *running, config string) {
		config = writeFile(t, name+".yaml", "")
		return start(t, pairArgs(dir, name, "--config", config)...), config
	}
	first, firstConfig := serve("first")
	first.ready(t)
	second, secondConfig := serve("second")
	second.awaitFit(t)
	differs := func(want bool) func(*admin.State) bool {
		return func(s *admin.State) bool { return s.Standby != nil && s.Standby.ConfigDiffers == want }
	}
	const changed = "limits: {connection_rate: 7}\n"
	rewriteFile(t, secondConfig, changed)
	second.awaitState(t, "configured otherwise than the primary", differs(true))
	rewriteFile(t, firstConfig, changed)
	first.reload <- syscall.SIGHUP
	first.log.await(t, `msg="configuration reloaded" applied=\[limits.connection_rate\]`)
	second.awaitState(t, "configured as the primary that was reloaded", differs(false))

	// What waits for the next start is not in force, and the standby would bring it along.
	for _, config := range []string{firstConfig, secondConfig} {
		rewriteFile(t, config, changed+"store: {segment_size: 32MiB}\n")
	}
	first.reload <- syscall.SIGHUP
	first.log.await(t, `msg="configuration reloaded" applied=\[\] at_next_start=\[store.segment_size\]`)
	second.awaitState(t, "configured otherwise than the primary until that is started again", differs(true))
}

func TestHA_Status(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := baton(t, nil, "ha", "status", "--data", dir); code != exitData || !strings.Contains(stderr, "holds no store") {
		t.Errorf("of an empty directory: %d, %q", code, stderr)
	}
	first := start(t, pairArgs(dir, "first")...)
	first.ready(t)
	second := start(t, pairArgs(dir, "second")...)
	second.awaitFit(t)

	code, out, _ := baton(t, nil, "ha", "status", "--data", dir, "--json")
	var st ha.Status
	if err := json.Unmarshal([]byte(out), &st); code != exitOK || err != nil {
		t.Fatalf("ha status --json: %d, %v, %s", code, err, out)
	}
	if next, ok := st.Successor(); st.Epoch != 1 || st.Node != "first" || !st.Alive || !ok || next.Node != "second" {
		t.Errorf("ha status --json says %+v", st)
	}
	code, out, _ = baton(t, nil, "ha", "status", "--data", dir)
	for _, want := range []string{`node "first" (pid `, "epoch 1, serving", "renewed", "second  standby  yes    yes"} {
		if code != exitOK || !strings.Contains(out, want) {
			t.Errorf("ha status exits with %d and lacks %q:\n%s", code, want, out)
		}
	}
	for _, r := range []*running{second, first} {
		r.stop()
		r.exit(t)
	}
	code, out, _ = baton(t, nil, "ha", "status", "--data", dir)
	if code != exitFailure || !strings.Contains(out, "released") {
		t.Errorf("with nobody there: %d\n%s", code, out)
	}
}

func TestFailover_ANamesakeExitsWith5(t *testing.T) {
	dir := t.TempDir()
	start(t, pairArgs(dir, "same")...).ready(t)
	second := start(t, pairArgs(dir, "same")...)
	if code := second.exit(t); code != exitData || !strings.Contains(lastLine(second.log.String()), "give every broker its own --node") {
		t.Errorf("exit code %d, %q", code, lastLine(second.log.String()))
	}
}

func TestHA_Repair(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		r := startServe(t, dir)
		publish(t, r.dial(t), 3)
		r.stop()
		r.exit(t)
	}
	if code, out, _ := baton(t, nil, "ha", "repair", "--data", dir); code != exitOK || !strings.Contains(out, "nothing is missing or broken") {
		t.Errorf("of a sound directory: %d, %q", code, out)
	}
	active := filepath.Join(dir, "ha", "e0000000002", "active")
	if err := os.Remove(active); err != nil {
		t.Fatal(err)
	}
	code, out, stderr := baton(t, nil, "ha", "repair", "--data", dir)
	if code != exitFailure || !strings.Contains(out, active+": it is missing") || !strings.Contains(stderr, "--apply") {
		t.Errorf("dry: %d, %q, %q", code, out, stderr)
	}
	if code, out, stderr = baton(t, nil, "ha", "repair", "--data", dir, "--apply"); code != exitOK || !strings.Contains(out, "all of that is repaired") {
		t.Errorf("repair: %d, %q, %q", code, out, stderr)
	}
	r := startServe(t, dir)
	ch, err := r.dial(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	if q, err := ch.QueueDeclarePassive("q", true, false, false, false, nil); err != nil || q.Messages != 6 {
		t.Errorf("after the repair %d messages are there, %v, want 6", q.Messages, err)
	}
}

func TestStorage_Check(t *testing.T) {
	dir := t.TempDir()
	code, out, _ := baton(t, nil, "storage", "check", dir, "--rounds", "2")
	if code != exitOK || !strings.Contains(out, "can share this directory") {
		t.Errorf("storage check: %d\n%s", code, out)
	}
	code, out, _ = baton(t, nil, "storage", "check", dir, "--rounds", "2", "--json")
	if code != exitOK || !strings.Contains(out, `"ok": true`) {
		t.Errorf("storage check --json: %d\n%s", code, out)
	}
	if code, _, stderr := baton(t, nil, "storage", "check", filepath.Join(dir, "none")); code != exitData {
		t.Errorf("of a directory that is not there: %d, %q", code, stderr)
	}
}

// A node checks a directory once, and again when it is another.
func TestFailover_TheVerdictOnADirectoryIsKept(t *testing.T) {
	dir := t.TempDir()
	const line = `msg="the directory can be shared"`
	for _, tt := range []struct {
		node    string
		checked bool
	}{{"a", true}, {"a", false}, {"b", true}} {
		r := start(t, pairArgs(dir, tt.node)...)
		r.ready(t)
		r.stop()
		r.exit(t)
		if got := strings.Contains(r.log.String(), line); got != tt.checked {
			t.Errorf("node %s checked: %t, want %t", tt.node, got, tt.checked)
		}
	}
	moved := filepath.Join(t.TempDir(), "moved")
	if err := os.Rename(dir, moved); err != nil {
		t.Fatal(err)
	}
	r := start(t, pairArgs(moved, "a")...)
	r.ready(t)
	if !strings.Contains(r.log.String(), line) {
		t.Error("a directory of another path was not checked")
	}
}
