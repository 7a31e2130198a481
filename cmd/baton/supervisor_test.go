//go:build unix

package main

import (
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	admin "github.com/batonmq/baton/protocols/http"
)

// notifyPatience is how long a test waits for what is told at once.
const notifyPatience = 20 * time.Second

// notified is a service manager's end of the notify socket.
type notified struct {
	*net.UnixConn
}

// notifySocket has the process told where a service manager listens that wants a
// sign of life in each watchdog; zero: none.
func notifySocket(t *testing.T, watchdog string) *notified {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") //nolint:usetesting // that of testing is too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	name := filepath.Join(dir, "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	t.Setenv(envNotifySocket, name)
	t.Setenv("WATCHDOG_USEC", watchdog)
	return &notified{conn}
}

// next returns the assignments of one message.
func (n *notified) next(t *testing.T, limit time.Time) []string {
	t.Helper()
	if err := n.SetReadDeadline(limit); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	size, err := n.Read(buf)
	if err != nil {
		t.Fatal("the service manager was told nothing more:", err)
	}
	return strings.Split(string(buf[:size]), "\n")
}

// await returns all assignments up to the message with the one that is wanted.
func (n *notified) await(t *testing.T, wanted string) (all []string) {
	t.Helper()
	limit := time.Now().Add(notifyPatience)
	for {
		m := n.next(t, limit)
		all = append(all, m...)
		if slices.ContainsFunc(m, func(a string) bool { return strings.HasPrefix(a, wanted) }) {
			return all
		}
	}
}

func TestSupervisor_IsToldOfABrokersLife(t *testing.T) {
	told := notifySocket(t, "")
	r := startServe(t, t.TempDir())
	if before := told.await(t, "READY=1"); !slices.Contains(before, "STATUS=primary in epoch 1") {
		t.Errorf("a broker without standbys is ready once it serves: %q", before)
	}
	r.ready(t)
	r.reload <- syscall.SIGHUP
	if m := told.await(t, "RELOADING=1"); !slices.ContainsFunc(m, func(a string) bool { return strings.HasPrefix(a, "MONOTONIC_USEC=") }) {
		t.Errorf("a reload is said to have begun without when, which Type=notify-reload asks for: %q", m)
	}
	told.await(t, "READY=1")
	r.stop()
	told.await(t, "STOPPING=1")
}

func TestSupervisor_AStandbyIsReadyAndTellsItsRole(t *testing.T) {
	dir := t.TempDir()
	first := start(t, pairArgs(dir, "first")...)
	first.ready(t)
	told := notifySocket(t, "300000")
	second := start(t, pairArgs(dir, "second")...)
	before := told.await(t, "READY=1")
	if !slices.ContainsFunc(before, func(a string) bool { return strings.HasPrefix(a, "STATUS=standby: ") }) {
		t.Errorf("ready with the status %q, want that of a standby", before)
	}
	if primary := `STATUS=standby: node "first" is the primary in epoch 1`; !slices.ContainsFunc(before, func(a string) bool { return strings.HasPrefix(a, primary) }) {
		told.await(t, primary)
	}
	told.await(t, "WATCHDOG=1")
	second.awaitFit(t)
	first.stop()
	after := told.await(t, "STATUS=primary in epoch 2")
	if slices.Contains(after, "READY=1") {
		t.Errorf("a node that takes over has been ready before: %q", after)
	}
	told.await(t, "WATCHDOG=1")
	second.stop()
	told.await(t, "STOPPING=1")
}

// The watchdog must not be fed by a loop that only proves that loops run.
func TestSupervisor_WithholdsTheSignOfLifeWhileTheBrokerDoesNotAnswer(t *testing.T) {
	told := notifySocket(t, "30000")
	s := newSupervisor(slog.New(slog.DiscardHandler))
	asked, answer := make(chan struct{}), make(chan struct{})
	look := func() admin.State { return admin.State{Role: admin.RolePrimary, Epoch: 7} }
	defer s.watch(look, func() admin.State {
		asked <- struct{}{}
		<-answer
		return look()
	})()
	<-asked
	if err := told.SetReadDeadline(time.Now().Add(100 * time.Millisecond)); err != nil { // three times the watchdog
		t.Fatal(err)
	}
	if n, err := told.Read(make([]byte, 100)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("told %d bytes, %v, before the broker has answered", n, err)
	}
	answer <- struct{}{}
	if m := told.next(t, time.Now().Add(notifyPatience)); !slices.Contains(m, "WATCHDOG=1") {
		t.Errorf("told %q after the broker has answered, want a sign of life", m)
	}
	<-asked
	answer <- struct{}{}
}
