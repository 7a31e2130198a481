package ha

import (
	"bufio"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const (
	childDir  = "HA_TEST_PRIMARY"
	childKill = "HA_TEST_SELFKILL"
	childTTL  = 500 * time.Millisecond
	childLost = 42 // the exit code of a child that lost its tenure
)

// TestMain lets the test binary be a primary, which can be stopped.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		os.Exit(beChild(dir, os.Getenv(childKill) != ""))
	}
	os.Exit(m.Run())
}

func beChild(dir string, selfKill bool) int {
	opt := Options{Dir: dir, Node: "child", Standby: true, TTL: childTTL, SelfKill: selfKill}
	err := Run(context.Background(), opt, nil, func(ctx context.Context, t *Tenure) error {
		src, _ := t.Source()
		var lineage []Seal
		if src.Epoch != 0 {
			lineage = append(src.Lineage, Seal{Epoch: src.Epoch})
		}
		if err := t.Activate(lineage); err != nil {
			return err
		}
		if _, err := os.Stdout.WriteString("serving\n"); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	})
	if errors.Is(err, ErrLost) {
		return childLost
	}
	return 1
}

// startChild returns a process that serves on dir.
func startChild(t *testing.T, dir string, selfKill bool) *exec.Cmd {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), childDir+"="+dir)
	if selfKill {
		child.Env = append(child.Env, childKill+"=1")
	}
	child.Stderr = os.Stderr
	out, err := child.StdoutPipe()
	if err == nil {
		err = child.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "serving\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	return child
}

func signal(t *testing.T, child *exec.Cmd, s os.Signal) {
	t.Helper()
	if err := child.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// TestSelfKill_EndsAStoppedProcess stops a primary and never resumes it.
func TestSelfKill_EndsAStoppedProcess(t *testing.T) {
	child := startChild(t, t.TempDir(), true)
	select { // it outlives its ttl while it renews
	case <-t.Context().Done():
	case <-time.After(childTTL + 2*killMargin):
	}
	begun := time.Now()
	signal(t, child, syscall.SIGSTOP)
	_ = child.Wait() // ends with the signal looked at below
	took := time.Since(begun)
	status, ok := child.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGKILL {
		t.Errorf("it ended with %v, want SIGKILL", child.ProcessState)
	}
	if took < childTTL-childTTL/5 || took > childTTL+500*time.Millisecond {
		t.Errorf("killed %v after it was stopped, want by the ttl and half a second", took)
	}
	t.Logf("killed %v after it was stopped, ttl %v", took, childTTL)
}

// TestStopped_IsOvertakenAndEndsByItself stops a primary without a kernel timer: a
// standby takes over although the lock is held, and the process, resumed, ends at
// once with its own code.
func TestStopped_IsOvertakenAndEndsByItself(t *testing.T) {
	dir := t.TempDir()
	child := startChild(t, dir, false)
	standby := Options{Dir: dir, Node: "standby", Standby: true, TTL: childTTL}
	ctx, cancel := context.WithCancel(t.Context())
	done, serving, following := make(chan error, 1), make(chan time.Time, 1), make(chan struct{})
	go func() {
		done <- Run(ctx, standby, func(ctx context.Context, _ *Standby) error {
			close(following)
			<-ctx.Done()
			return nil
		}, func(ctx context.Context, tenure *Tenure) error {
			src, _ := tenure.Source()
			err := errors.Join(tenure.Activate(append(src.Lineage, Seal{Epoch: src.Epoch})), tenure.Guard())
			serving <- time.Now()
			<-ctx.Done()
			return err
		})
	}()
	<-following
	begun := time.Now()
	signal(t, child, syscall.SIGSTOP)
	took := (<-serving).Sub(begun)
	if took > childTTL+time.Second {
		t.Errorf("overtaken after %v, want within a ttl and a second", took)
	}
	begun = time.Now()
	signal(t, child, syscall.SIGCONT)
	_ = child.Wait() // ends with the code looked at below
	if code := child.ProcessState.ExitCode(); code != childLost || time.Since(begun) > time.Second {
		t.Errorf("resumed, it ended with code %d after %v, want %d within a second", code, time.Since(begun), childLost)
	}
	t.Logf("overtaken %v after it was stopped; ended %v after it was resumed", took, time.Since(begun))
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestSelfKill_ClosedDoesNotFire(t *testing.T) {
	k, err := NewSelfKill()
	if err == nil {
		err = errors.Join(k.Arm(time.Hour), k.Arm(50*time.Millisecond), k.Close(), k.Close(), k.Arm(time.Nanosecond))
	}
	if err != nil {
		t.Fatal(err)
	}
	<-time.After(100 * time.Millisecond) // or this process is dead
}
