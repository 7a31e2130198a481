package interop

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// supervision is how a service is to be started and looked after.
type supervision struct {
	command   []string // with the program's path on the system that it is meant for
	notify    bool     // it says itself when it has started
	restart   bool     // whatever it ended with, but for
	prevent   []int
	after     time.Duration
	watchdog  time.Duration
	stopLimit time.Duration
}

// A supervised is a service that runs, and is started again when it ends.
type supervised struct {
	supervision
	t      *testing.T
	binary string // in place of the program
	env    []string
	log    *logFile
	socket *net.UnixConn

	mu       sync.Mutex
	changed  chan struct{} // closed, and replaced, when something below is another
	pid      int           // 0: no process
	lives    int           // processes so far
	ready    int           // processes that have said READY=1
	said     bool          // the present one has
	reloads  int           // times that RELOADING=1 was followed by READY=1
	reading  bool          // RELOADING=1 was said last
	status   string
	goodbye  bool // STOPPING=1
	asked    bool // to stop
	down     bool // no process, and none will be
	lastCode int
}

// supervise makes a service that does not run yet, and is ended with the test.
func supervise(t *testing.T, name, binary string, how supervision, env []string) *supervised {
	t.Helper()
	dir, err := os.MkdirTemp("", "notify") //nolint:usetesting // that of testing is too long for the path of a socket
	if err != nil {
		t.Fatal(err)
	}
	address := filepath.Join(dir, "socket")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: address, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	env = slices.Concat(foreignEnv(), env)
	if how.notify {
		env = append(env, "NOTIFY_SOCKET="+address, "WATCHDOG_USEC="+strconv.FormatInt(how.watchdog.Microseconds(), 10))
	}
	s := &supervised{supervision: how, t: t, binary: binary, env: env, log: newLogFile(t, name+".log"), socket: socket, changed: make(chan struct{}), down: true}
	var listening sync.WaitGroup
	listening.Go(s.listen)
	t.Cleanup(func() {
		s.end()
		_ = socket.Close()
		listening.Wait()
		_ = os.RemoveAll(dir)
		if t.Failed() {
			t.Logf("the log of %s:\n%s", name, s.log.text())
		}
	})
	return s
}

// listen takes what the service says until the socket is closed.
func (s *supervised) listen() {
	buf := make([]byte, 4096)
	for {
		n, err := s.socket.Read(buf)
		if err != nil {
			return
		}
		s.change(func() {
			for line := range strings.SplitSeq(string(buf[:n]), "\n") {
				s.hear(line)
			}
		})
	}
}

func (s *supervised) hear(assignment string) {
	switch name, value, _ := strings.Cut(assignment, "="); name {
	case "READY":
		if s.reading {
			s.reloads++
		}
		if !s.said {
			s.ready++
		}
		s.said, s.reading = true, false
	case "RELOADING":
		s.reading = true
	case "STATUS":
		s.status = value
	case "STOPPING":
		s.goodbye = true
	}
}

// change does f under the lock, and wakes who waits.
func (s *supervised) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
	close(s.changed)
	s.changed = make(chan struct{})
}

// await waits until what is wanted is so. The predicate runs under the lock.
func (s *supervised) await(what string, wanted func() bool) {
	s.t.Helper()
	limit := time.NewTimer(3 * failoverPatience)
	defer limit.Stop()
	for {
		s.mu.Lock()
		ok, changed := wanted(), s.changed
		s.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			s.mu.Lock()
			defer s.mu.Unlock()
			s.t.Fatalf("waited for %s in vain: life %d, ready %d, down %t, status %q", what, s.lives, s.ready, s.down, s.status)
		}
	}
}

// start starts the service, as `systemctl start`, and waits until it has started.
func (s *supervised) start() {
	s.t.Helper()
	var before int
	s.change(func() { before, s.asked, s.down = s.ready, false, false })
	go s.run() // ends when the service is down
	if s.notify {
		s.await("READY=1", func() bool { return s.ready > before || s.down })
	}
}

// run starts the process again and again.
func (s *supervised) run() {
	for {
		code, err := s.life()
		var again bool
		s.change(func() {
			s.pid, s.lastCode = 0, code
			again = err == nil && s.restart && !s.asked && !slices.Contains(s.prevent, code)
			s.down = !again
		})
		if err != nil {
			s.t.Error(err)
		}
		if !again {
			return
		}
		time.Sleep(s.after) // RestartSec
	}
}

// life is one process from start to end.
func (s *supervised) life() (code int, err error) {
	cmd := exec.CommandContext(s.t.Context(), s.binary, s.command[1:]...) // the test ends what it ends itself
	cmd.Cancel = func() error { return nil }
	cmd.Env, cmd.Stdout, cmd.Stderr = s.env, s.log, s.log
	if err := cmd.Start(); err != nil {
		return -1, err
	}
	s.change(func() {
		s.pid, s.said, s.reading, s.goodbye, s.status = cmd.Process.Pid, false, false, false, ""
		s.lives++
		if s.asked { // while it was down between two lives
			_ = cmd.Process.Signal(syscall.SIGTERM)
		}
	})
	if err := cmd.Wait(); err != nil && cmd.ProcessState == nil {
		return -1, err
	}
	return cmd.ProcessState.ExitCode(), nil
}

// signal sends one to the process that runs.
func (s *supervised) signal(sig syscall.Signal) {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pid == 0 {
		s.t.Fatal("no process to send a signal to")
	}
	if err := syscall.Kill(s.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		s.t.Fatal(err)
	}
}

// stop asks the service to end, as `systemctl stop`, and returns its exit code.
func (s *supervised) stop() int {
	s.t.Helper()
	s.change(func() { s.asked = true })
	s.signal(syscall.SIGTERM)
	begun := time.Now()
	s.await("its end", func() bool { return s.down })
	if took := time.Since(begun); took > s.stopLimit {
		s.t.Errorf("stopped in %v, and would have been killed after %v", took, s.stopLimit)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.notify && !s.goodbye {
		s.t.Error("stopped without STOPPING=1")
	}
	return s.lastCode
}

// restarted stops the service and starts it again, as `systemctl restart`.
func (s *supervised) restarted() {
	s.t.Helper()
	if code := s.stop(); code != 0 {
		s.t.Errorf("exit code %d of an orderly stop", code)
	}
	s.start()
}

// end ends whatever runs, without asking.
func (s *supervised) end() {
	s.change(func() {
		s.asked = true
		if s.pid != 0 {
			_ = syscall.Kill(s.pid, syscall.SIGKILL)
		}
	})
	s.await("the end of the test", func() bool { return s.down })
}

// started is how many processes there have been.
func (s *supervised) started() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lives
}

// hasStatus waits for a status that begins so.
func (s *supervised) hasStatus(prefix string) {
	s.t.Helper()
	s.await("the status "+prefix, func() bool { return strings.HasPrefix(s.status, prefix) })
}
