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
	Role    Role     `json:"role"`
	Epoch   uint64   `json:"epoch"`             // zero: none claimed yet
	Reason  string   `json:"reason"`            // why it is not ready, for an operator; empty when it is
	Standby *Standby `json:"standby,omitempty"` // of a standby only
}

// Standby is what a standby knows of the primary, and of its own chances.
type Standby struct {
	Primary       string   `json:"primary"`                 // the node that holds the directory, or did last
	PrimaryEpoch  uint64   `json:"primary_epoch"`           //
	Addresses     []string `json:"addresses"`               // where that one's clients reach it
	Eligible      bool     `json:"eligible"`                // it would take over
	Ineligible    string   `json:"ineligible,omitempty"`    // why it would not
	CaughtUp      bool     `json:"caught_up"`               // it has read all that the primary is known to have promised
	BehindBytes   uint64   `json:"behind_bytes"`            // of the primary's journal, not read yet
	BehindSeconds float64  `json:"behind_seconds"`          // for how long it has not caught up
	ConfigDiffers bool     `json:"config_differs,omitzero"` // from the primary's
}

// Ready reports whether clients can be sent here: to the primary, unless there is a reason against it.
func (s State) Ready() bool { return s.Role == RolePrimary && s.Reason == "" }

// Health holds the current State. The zero value is a node that is starting.
// It may be used from any goroutine.
type Health struct {
	state   atomic.Pointer[State]
	observe atomic.Pointer[func(*State)]
}

// Observe has complete called with a copy of the state whenever that is asked for: it adds what is true at the moment, as the reason why a
// primary is not ready, or how far a standby is. It must answer at once, whatever hangs.
func (h *Health) Observe(complete func(*State)) { h.observe.Store(&complete) }

// Set replaces the state.
func (h *Health) Set(s State) { h.state.Store(&s) }

// State returns the state last set, with what Observe adds to it now.
func (h *Health) State() State {
	s := h.state.Load()
	if s == nil {
		return State{Role: RoleStarting, Reason: "the broker is starting"}
	}
	now := *s
	if complete := h.observe.Load(); complete != nil {
		(*complete)(&now)
	}
	return now
}
