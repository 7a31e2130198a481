package admin

import "sync/atomic"

// A Role is what a node is to its clients.
type Role string

// Roles, in the order in which a node goes through them.
const (
	RoleStarting Role = "starting" // not decided yet, or opening the store
	RoleStandby  Role = "standby"  // another node is the primary
	RolePrimary  Role = "primary"  // serving clients
	RoleStopping Role = "stopping" // was primary; clients are being told to leave
)

// State is a node's health at one moment.
type State struct {
	Role   Role   `json:"role"`
	Epoch  uint64 `json:"epoch"`  // zero: none claimed yet
	Reason string `json:"reason"` // why it is not ready, for an operator; empty when it is
}

// Ready reports whether clients can be sent here: to the primary, unless there is a reason against it.
func (s State) Ready() bool { return s.Role == RolePrimary && s.Reason == "" }

// Health holds the current State. The zero value is a node that is starting.
// It may be used from any goroutine.
type Health struct {
	state atomic.Pointer[State]
	doubt atomic.Pointer[func() string]
}

// Doubt has ask called whenever the state of a primary is asked for: what it returns is the reason why the primary is not ready, ""
// for none. It must answer at once, whatever hangs.
func (h *Health) Doubt(ask func() string) { h.doubt.Store(&ask) }

// Set replaces the state.
func (h *Health) Set(s State) { h.state.Store(&s) }

// State returns the state last set, with what is in doubt about it now.
func (h *Health) State() State {
	s := h.state.Load()
	if s == nil {
		return State{Role: RoleStarting, Reason: "the broker is starting"}
	}
	ask := h.doubt.Load()
	if s.Role != RolePrimary || ask == nil {
		return *s
	}
	now := *s
	now.Reason = (*ask)()
	return now
}
