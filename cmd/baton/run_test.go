package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/persistence"
	admin "github.com/batonmq/baton/protocols/http"
	"github.com/batonmq/baton/protocols/listen"
)

// baton runs the program in process.
func baton(t *testing.T, env []string, args ...string) (code exitCode, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := program{args: args, env: env, stdout: &out, stderr: &errs}
	code = p.run(t.Context())
	return code, out.String(), errs.String()
}

func TestRun_UsageErrorsExitWith2(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"sevre"}, `unknown command "sevre"`},
		{[]string{"serve", "--colour"}, "unknown flag: --colour"},
		{[]string{"serve", "now"}, `unknown command "now"`},
		{[]string{"serve", "--amqp", "5672"}, `--amqp "5672" is not HOST:PORT`},
		{[]string{"serve", "--config", "no/such.yaml"}, "no/such.yaml"},
		{[]string{"config", "chekc"}, `unknown command "chekc"`},
		{[]string{"health", "--admin", "off"}, "the admin address is off"},
	} {
		code, _, stderr := baton(t, nil, tt.args...)
		if code != exitUsage || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("baton %v: %d, %q; want %d and one line with %q", tt.args, code, stderr, exitUsage, tt.want)
		}
	}
}

func TestRun_Version(t *testing.T) {
	code, stdout, _ := baton(t, nil, "version")
	if code != exitOK || !strings.HasPrefix(stdout, "baton ") || !strings.Contains(stdout, runtime.GOOS) {
		t.Errorf("baton version: %d, %q", code, stdout)
	}
}

func TestRun_ServeHelpTellsExitCodesAndFlags(t *testing.T) {
	code, stdout, _ := baton(t, nil, "serve", "--help")
	if code != exitOK {
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		"  3  the lease was lost", "--data directory ", "(default ./baton-data)", "--amqp HOST:PORT|off ", "(default :5672)", "--mqtt HOST:PORT|off ", "(default :1883)", "--ws HOST:PORT|off ", "(default :15675)", "--mqtt-anonymous ",
		"--admin ", "--metrics ", "--ha ", "--ha-ttl ", "--node ", "--log-level ", "--log-format ", "--config ",
	} {
		if !strings.Contains(stdout, want) {
			t.Errorf("serve --help does not say %q:\n%s", want, stdout)
		}
	}
}

func TestRun_ConfigCheck(t *testing.T) {
	bad := writeFile(t, "bad.yaml", "amqp:\n  lisen: :5672\n")
	code, _, stderr := baton(t, nil, "config", "check", "--config", bad)
	if want := "baton: " + bad + `:2: unknown key "amqp.lisen"` + "\n"; code != exitUsage || stderr != want {
		t.Errorf("config check: %d, %q; want %q", code, stderr, want)
	}
	good := writeFile(t, "good.yaml", "node: a\n")
	code, stdout, stderr := baton(t, []string{"BATON_CONFIG=" + good, "BATON_NOED=b"}, "config", "check")
	if code != exitOK || stdout != "the configuration is valid\n" || !strings.Contains(stderr, "BATON_NOED names no setting") {
		t.Errorf("config check: %d, %q, %q", code, stdout, stderr)
	}
	// --config wins over the variable.
	if code, _, _ = baton(t, []string{"BATON_CONFIG=" + bad}, "config", "check", "--config", good); code != exitOK {
		t.Errorf("config check --config: %d", code)
	}
}

func TestRun_ConfigPrintIsAFileAndMasksSecrets(t *testing.T) {
	env := []string{"BATON_DEFAULT_USER=app", "BATON_DEFAULT_PASS=hunter2", `BATON_DATA=C:\baton "x"`}
	code, printed, _ := baton(t, env, "config", "print", "--amqp", "127.0.0.1:1", "--amqp", "[::1]:1", "--metrics", "off", "--ha", "--node", "a")
	if code != exitOK || strings.Contains(printed, "hunter2") || !strings.Contains(printed, mask) {
		t.Fatalf("config print: %d\n%s", code, printed)
	}
	code, again, stderr := baton(t, nil, "config", "print", "--config", writeFile(t, "printed.yaml", printed))
	if code != exitOK {
		t.Fatalf("the printed configuration is refused: %s", stderr)
	}
	if a, b := withoutComments(printed), withoutComments(again); a != b {
		t.Errorf("printed\n%s\nwhich reads as\n%s", a, b)
	}
}

func withoutComments(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		line, _, _ = strings.Cut(line, " # ")
		b.WriteString(strings.TrimSuffix(line, "\n") + "\n")
	}
	return b.String()
}

func TestRun_Health(t *testing.T) {
	health := new(admin.Health)
	server, err := admin.Start(t.Context(), admin.Options{Admin: []string{"127.0.0.1:0"}, Health: health})
	if err != nil {
		t.Fatal(err)
	}
	addr := server.AdminAddrs()[0].String()
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	ask := func(want exitCode, text string, args ...string) {
		t.Helper()
		code, stdout, stderr := baton(t, nil, append([]string{"health"}, args...)...)
		if code != want || !strings.Contains(stdout+stderr, text) {
			t.Errorf("health %v: %d, %q, %q; want %d, %q", args, code, stdout, stderr, want, text)
		}
	}
	ask(exitOK, "ok", "--admin", addr)
	ask(exitOK, "ok", "--admin", ":"+port) // "any" is asked on the loopback
	// A container's check has no flags: it finds the address where serve does.
	cfg := writeFile(t, "baton.yaml", "admin:\n  listen: "+addr+"\n")
	for _, env := range []string{"BATON_ADMIN_LISTEN=" + addr, "BATON_CONFIG=" + cfg} {
		if code, stdout, stderr := baton(t, []string{env}, "health"); code != exitOK {
			t.Errorf("health with %s: %d, %q, %q", env, code, stdout, stderr)
		}
	}
	ask(exitFailure, `"role":"starting"`, "--ready", "--admin", addr)
	health.Set(admin.State{Role: admin.RolePrimary, Epoch: 1})
	ask(exitOK, `"role":"primary"`, "--ready", "--admin", addr)
	if err := server.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	ask(exitFailure, "no broker answers on "+addr, "--admin", addr)
}

func TestCodeOf(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want exitCode
	}{
		{nil, exitOK},
		{os.ErrInvalid, exitFailure},
		{&exitError{exitUsage, os.ErrInvalid}, exitUsage},
		{&listen.AddressError{Name: "amqp", Addr: ":5672", Err: os.ErrPermission}, exitAddress},
		{ha.ErrLost, exitLost},
		{errors.Join(ha.ErrLost, &exitError{exitData, errors.New("the store was not opened")}), exitLost},
		{ha.ErrHeld, exitData},
		{ha.ErrStale, exitData},
		{ha.ErrNewer, exitNewer},
		{ha.ErrDamage, exitDamage},
		{persistence.ErrNewer, exitNewer},
		{persistence.ErrOrphans, exitDamage},
		{&fs.PathError{Op: "write", Path: "ha/e0000000001/fence", Err: syscall.EIO}, exitFailure}, // only serve knows whose file it is
		{&persistence.DamageError{File: "e1-1.seg"}, exitDamage},
	} {
		err := tt.err
		if err != nil {
			err = fmt.Errorf("serve: %w", err)
		}
		if got := codeOf(err); got != tt.want {
			t.Errorf("codeOf(%v) = %d, want %d", err, got, tt.want)
		}
	}
	documented := make(map[exitCode]bool)
	for _, e := range exitCodes() {
		documented[e.Code] = true
	}
	for code := exitOK; code <= exitDamage; code++ {
		if !documented[code] {
			t.Errorf("exit code %d is not documented", code)
		}
	}
}

func TestOpenDataDir(t *testing.T) {
	dir := t.TempDir()
	room := func() error { return nil }
	if err := openDataDir(filepath.Join(dir, "a", "b"), room); err != nil {
		t.Errorf("a new directory: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "a", "b")); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if err := openDataDir(dir, room); err != nil {
		t.Errorf("a directory that is there: %v", err)
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := openDataDir(file, room); err == nil || !strings.Contains(err.Error(), "is a file: choose another with --data") {
		t.Errorf("a file: %v", err)
	}
	full := errors.New("no room")
	if err := openDataDir(filepath.Join(dir, "c"), func() error { return full }); !errors.Is(err, full) {
		t.Errorf("a full disk: %v", err)
	}
	if left, err := os.ReadDir(filepath.Join(dir, "c")); err != nil || len(left) != 0 {
		t.Errorf("written on a full disk: %v, %v", left, err)
	}
}

func TestDirError_FileErrorsExitWith5AndSayWhatToDo(t *testing.T) {
	const dir = "/srv/baton"
	for _, tt := range []struct {
		name string
		err  error
		code exitCode
		want string
	}{
		{
			"a full disk", &fs.PathError{Op: "write", Path: dir + "/ha/claim-1-1/fence", Err: syscall.ENOSPC}, exitData,
			"prepare a claim: write /srv/baton/ha/claim-1-1/fence: " + syscall.ENOSPC.Error() + ": make room on the disk of /srv/baton, and start again",
		},
		{
			"another error of a file", &os.LinkError{Op: "rename", Old: "a", New: "b", Err: syscall.EIO}, exitData,
			"prepare a claim: rename a b: " + syscall.EIO.Error(),
		},
		{
			"an error that has a code", fmt.Errorf("%w: %w", ha.ErrDamage, &fs.PathError{Op: "open", Path: "lease", Err: fs.ErrNotExist}), exitDamage,
			"prepare a claim: damaged directory: open lease: file does not exist",
		},
		{"no error of a file", errors.New("late"), exitFailure, "prepare a claim: late"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := dirError(dir, fmt.Errorf("prepare a claim: %w", tt.err))
			if code := codeOf(got); code != tt.code || got.Error() != tt.want {
				t.Errorf("%d, %q; want %d, %q", code, got, tt.code, tt.want)
			}
		})
	}
	if err := dirError(dir, nil); err != nil {
		t.Errorf("no error became %v", err)
	}
}

func TestRun_ServeOnAnUnusableDataDirectoryExitsWith5(t *testing.T) {
	file := writeFile(t, "data", "")
	code, _, stderr := baton(t, nil, "serve", "--data", file, "--amqp", "off", "--mqtt", "off", "--ws", "off", "--admin", "off", "--metrics", "off")
	last := stderr[strings.LastIndex(strings.TrimSuffix(stderr, "\n"), "\n")+1:]
	if want := "baton: data directory " + file + " is a file: choose another with --data\n"; code != exitData || last != want {
		t.Errorf("serve: %d, %q; want %d, %q", code, last, exitData, want)
	}
}

func TestRun_ServeOnAPortInUseExitsWith4(t *testing.T) {
	taken, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	addr := taken.Addr().String()
	for _, flag := range []string{"--admin", "--metrics", "--amqp", "--mqtt", "--ws"} {
		dir := t.TempDir()
		args := []string{"serve", "--data", dir}
		for _, f := range []string{"--admin", "--metrics", "--amqp", "--mqtt", "--ws"} {
			if f == flag {
				args = append(args, f, addr)
			} else {
				args = append(args, f, "127.0.0.1:0")
			}
		}
		code, _, stderr := baton(t, nil, args...)
		if want := "on " + addr + ": the port is in use"; code != exitAddress || !strings.Contains(stderr, want) {
			t.Errorf("serve with %s in use: %d, %q", flag, code, stderr)
		}
		if claims, err := filepath.Glob(filepath.Join(dir, "ha", "e*")); err != nil || len(claims) != 0 {
			t.Errorf("serve with %s in use has spent %d epochs, %v", flag, len(claims), err)
		}
	}
}

func TestCut_SaysOnceWhatFailed(t *testing.T) {
	n := &node{above: newSupervisor(slog.New(slog.DiscardHandler))}
	failure := errors.New("the store in d failed: sync journal segment e0000000001-0000000001.seg: input/output error")
	err := n.cut(new(frontEnds), 1, "the store failed", failure)
	if codeOf(err) != exitLost || err.Error() != failure.Error() {
		t.Errorf("%d, %q; want %d, %q", codeOf(err), err, exitLost, failure)
	}
}

func TestStopped(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	if stopped(ctx, context.Canceled) {
		t.Error("stopped before ctx ended")
	}
	cancel(errSignal)
	for err, want := range map[error]bool{errSignal: true, context.Canceled: true, os.ErrInvalid: false} {
		if got := stopped(ctx, fmt.Errorf("open: %w", err)); got != want {
			t.Errorf("stopped(%v) = %t", err, got)
		}
	}
}
