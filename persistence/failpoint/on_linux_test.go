//go:build failpoint

package failpoint

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, text, want string // want is a part of the error; "" for none
	}{
		{"nothing", "", ""},
		{"all actions", "journal.written=kill;journal.synced=stop@3;journal.passed=sleep 1s;lease.renewing=error@12;", ""},
		{"no such point", "journal.writen=kill", `"journal.writen": there is no such point`},
		{"twice", "journal.written=kill;journal.written=stop", "is there twice"},
		{"no such action", "journal.written=crash", "is none of"},
		{"no action", "journal.written", "is none of"},
		{"an argument too many", "journal.written=kill 3", "is none of"},
		{"sleep without a duration", "journal.written=sleep", "invalid duration"},
		{"a count that is no number", "journal.written=kill@x", "is no number of times"},
		{"a count of zero", "journal.written=kill@0", "is no number of times"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := parse(tt.text)
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}

func TestParse_KnowsEveryPoint(t *testing.T) {
	for _, p := range points() {
		if _, err := parse(string(p) + "=error"); err != nil {
			t.Error(err)
		}
	}
}

func TestAt_ActsOnceAtTheGivenTime(t *testing.T) {
	p, err := parse("journal.written=error@3")
	if err != nil {
		t.Fatal(err)
	}
	for i := 1; i <= 5; i++ {
		if err := p.at(JournalSynced); err != nil {
			t.Errorf("a point that was not named: %v", err)
		}
		if err := p.at(JournalWritten); (err != nil) != (i == 3) {
			t.Errorf("time %d: %v", i, err)
		}
	}
}

func TestAt_Sleeps(t *testing.T) {
	p, err := parse("lease.renewed=sleep 2s")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if err := p.at(LeaseRenewed); err != nil || time.Since(began) != 2*time.Second {
			t.Errorf("slept %v, %v", time.Since(began), err)
		}
	})
}

// child is what a child of the tests below does: it reaches a point and then tells that it has gone on.
const child = "FAILPOINT_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(child) == "" {
		os.Exit(m.Run())
	}
	if err := At(JournalWritten); err != nil {
		os.Exit(1)
	}
	os.Exit(42)
}

func childOf(t *testing.T, value string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), child+"=1", variable+"="+value)
	return cmd
}

func TestAt_KillsTheProcess(t *testing.T) {
	cmd := childOf(t, "journal.written=kill")
	_ = cmd.Run() // its state tells
	if s := cmd.ProcessState.Sys().(syscall.WaitStatus); !s.Signaled() || s.Signal() != syscall.SIGKILL {
		t.Errorf("the process ended with %v", cmd.ProcessState)
	}
}

func TestAt_StopsTheProcessUntilItIsContinued(t *testing.T) {
	cmd := childOf(t, "journal.written=stop")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var s syscall.WaitStatus
	if _, err := syscall.Wait4(cmd.Process.Pid, &s, syscall.WUNTRACED, nil); err != nil || !s.Stopped() {
		t.Fatalf("status %#x, %v, want a stopped process", s, err)
	}
	if err := cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // its state tells
	if code := cmd.ProcessState.ExitCode(); code != 42 {
		t.Errorf("exit code %d, want that of a process that went on", code)
	}
}

func TestAt_AMistakeEndsTheProcess(t *testing.T) {
	cmd := childOf(t, "journal.writen=kill")
	out, err := cmd.CombinedOutput()
	if _, ended := errors.AsType[*exec.ExitError](err); !ended || cmd.ProcessState.ExitCode() != 2 || !strings.Contains(string(out), "no such point") {
		t.Errorf("%v, said %q, want exit code 2 and the reason", err, out)
	}
}
