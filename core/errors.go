package core

import (
	"errors"
	"strings"
)

// Kind says what went wrong, in terms every front-end can translate into its own reply codes. A front-end holds one exhaustive
// switch over Kind and no other place that decides a code.
type Kind uint8

// The kinds of error the engine returns.
const (
	Internal        Kind = iota // a broken invariant or a failed store
	NotFound                    // the named object does not exist
	Inequivalent                // a redeclaration differs from what exists
	InUse                       // a conditional delete met users or messages
	Invalid                     // an argument has a value that is not allowed
	TooLarge                    // a message is above the configured size
	Unauthenticated             // the peer did not prove who it is
	Refused                     // the principal may not do this
	Locked                      // the object belongs to another connection
	Exhausted                   // a configured limit is reached
	Overflow                    // the queue refused the message
	Unsupported                 // the broker does not implement this
	Closing                     // the broker is shutting down
)

// String returns the kind's name as logs print it.
func (k Kind) String() string {
	names := [...]string{
		"internal", "not found", "inequivalent", "in use", "invalid", "too large", "unauthenticated",
		"refused", "locked", "exhausted", "overflow", "unsupported", "closing",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Error is every error the engine returns to a front-end.
type Error struct {
	Kind Kind
	Op   string // what was asked, as a verb: "declare"
	Name string // the object, as the client named it: "queue 'q' in vhost '/'"
	Text string // the sentence for the client, complete in itself; empty when Kind and Name say it all
	Err  error  // the cause; for the log only, never sent to a client
}

// Error joins what is known, for the log.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Name != "" {
		b.WriteString(" " + e.Name)
	}
	b.WriteString(": ")
	if e.Text != "" {
		b.WriteString(e.Text)
	} else {
		b.WriteString(e.Kind.String())
	}
	if e.Err != nil {
		b.WriteString(": " + e.Err.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of the first *Error in err's chain, and Internal for any other error.
func KindOf(err error) Kind {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Internal
}
