package main

import (
	"context"
	"io"
	"os"
	"sync"
	"syscall"
	"testing"

	"github.com/batonmq/baton/ha"
)

// The parent of a broker passes signals on and ends as its child does.
func TestChild(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		kill bool
		want exitCode
	}{
		{"it is asked to stop", pairArgs(t.TempDir(), "a"), false, exitOK},
		{"its child fails", []string{"serve", "--node", "a/b"}, false, exitUsage},
		{"its child is killed", pairArgs(t.TempDir(), "a"), true, exitSignal + exitCode(syscall.SIGKILL)},
	} {
		t.Run(tt.name, func(t *testing.T) { testChild(t, tt.args, tt.kill, tt.want) })
	}
}

func testChild(t *testing.T, args []string, kill bool, want exitCode) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	log := new(logLines)
	log.cond = sync.NewCond(&log.mu)
	reload := make(chan os.Signal, 1)
	p := program{args: args, env: append(os.Environ(), runVariable+"=1"), reload: reload, stdout: io.Discard, stderr: log}
	done := make(chan error, 1)
	go func() {
		err := p.runAsChild(ctx, os.Args[0])
		log.end()
		done <- err
	}()
	if want != exitUsage {
		log.await(t, `msg="Server startup complete"`)
		reload <- syscall.SIGHUP
		log.await(t, `msg="configuration reloaded"`)
	}
	switch {
	case kill:
		st, err := ha.ReadStatus(t.Context(), ha.Options{Dir: args[2]})
		if err != nil {
			t.Fatal(err)
		}
		if err := syscall.Kill(int(st.PID), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	case want == exitOK:
		cancel(errSignal)
	}
	if err := <-done; codeOf(err) != want {
		t.Errorf("it ended with %v, code %d, want %d:\n%s", err, codeOf(err), want, log)
	}
}
