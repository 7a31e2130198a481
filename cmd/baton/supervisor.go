package main

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	admin "github.com/batonmq/baton/protocols/http"
)

const (
	// envNotifySocket is where a service manager listens, by sd_notify(3). Without
	// it nobody is told anything.
	envNotifySocket = "NOTIFY_SOCKET"

	// statusEvery is how often what is told is brought up to date without an event,
	// as a standby's chances change by themselves, unless the watchdog wants more.
	statusEvery = 5 * time.Second

	// proofShare is how many proofs are due in the time that the watchdog allows.
	proofShare = 3
)

// A supervisor tells the service manager that started this process what becomes of
// it, by the protocol of systemd's Type=notify:
//
//   - READY, once: when the node serves, or stands by. A standby has started: it
//     does what it is there for, and a unit that waited for it to serve would wait
//     for a failure.
//   - STATUS: the role, the epoch, and what keeps the node from more.
//   - RELOADING and READY around a configuration that is read again.
//   - STOPPING when it has been asked to stop.
//   - WATCHDOG as often as the manager asks for it, each time after a proof that
//     the broker can still be asked. A disk that hangs is no reason to withhold it:
//     a restart would not help.
//
// Nothing of the broker waits for the manager, which may hang as anything may. It
// may be used from any goroutine.
type supervisor struct {
	log     *slog.Logger
	changed chan struct{} // has one when the state is another

	mu     sync.Mutex
	ready  bool   // has been said
	status string // as it was said last
	deaf   bool   // the manager did not take what was said last
}

func newSupervisor(log *slog.Logger) *supervisor {
	return &supervisor{log: log, changed: make(chan struct{}, 1)}
}

// wake has the state looked at, and told, soon.
func (s *supervisor) wake() {
	select {
	case s.changed <- struct{}{}:
	default: // it has not been looked at since
	}
}

// tell passes the state on, with further assignments in front.
func (s *supervisor) tell(state *admin.State, more ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready && (state.Role == admin.RoleStandby || state.Role == admin.RolePrimary) {
		s.ready = true
		more = append(more, daemon.SdNotifyReady)
	}
	if status := stateLine(state); status != s.status {
		s.status = status
		more = append(more, "STATUS="+status)
	}
	s.sendLocked(more...)
}

// stateLine is a state in one line.
func stateLine(state *admin.State) string {
	text := string(state.Role)
	if state.Role == admin.RolePrimary {
		text = fmt.Sprintf("primary in epoch %d", state.Epoch)
	}
	if state.Reason != "" {
		text += ": " + strings.ReplaceAll(state.Reason, "\n", " ")
	}
	return text
}

// reloading says that the configuration is being read, until done is called.
func (s *supervisor) reloading() (done func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ready {
		return func() {} // that READY would be taken for the first
	}
	s.sendLocked(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.sendLocked(daemon.SdNotifyReady)
	}
}

// stopping says that the node was asked to stop.
func (s *supervisor) stopping() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendLocked(daemon.SdNotifyStopping)
}

// sendLocked sends assignments as one message. A manager that does not listen
// changes nothing for the broker.
func (s *supervisor) sendLocked(assignments ...string) {
	if len(assignments) == 0 {
		return
	}
	_, err := daemon.SdNotify(false, strings.Join(assignments, "\n"))
	if err != nil && !s.deaf {
		s.log.Warn("the service manager cannot be told", slog.Any("err", err))
	}
	s.deaf = err != nil
}

// watch keeps the manager informed until stop is called: of look's state whenever
// there is another, and of proof's again and again. That proof answers is what the
// watchdog wants to know. stop does not wait for an answer that never comes.
func (s *supervisor) watch(look, proof func() admin.State) (stop func()) {
	if os.Getenv(envNotifySocket) == "" { // the library looks there, too
		return func() {}
	}
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		s.log.Warn("the watchdog gets no sign of life", slog.Any("err", err))
	}
	interval, sign := statusEvery, []string(nil)
	if limit > 0 {
		interval, sign = limit/proofShare, []string{daemon.SdNotifyWatchdog}
	}
	done := make(chan struct{})
	go func() { // ends when stop is called, or never if the broker cannot be asked any more
		tick := time.NewTicker(interval)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-s.changed:
				state := look()
				s.tell(&state)
			case <-tick.C:
				state := proof()
				s.tell(&state, sign...)
			}
		}
	}()
	return func() { close(done) }
}

// proof is the state of the node, as seen by who has had the lock of every queue, and
// those of the store and of the front-ends: a broker in which one of them is never
// let go of does not get here.
func (n *node) proof() admin.State {
	_, _ = n.stats() // there are none on a standby
	return n.health.State()
}

// enter sets the state of the node, and has it told.
func (n *node) enter(state admin.State) {
	n.health.Set(state)
	n.above.wake()
}
