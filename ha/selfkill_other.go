//go:build !linux

package ha

import (
	"errors"
	"fmt"
	"runtime"
	"time"
)

// SelfKill is a kernel timer that ends this process; there is none on this system.
type SelfKill struct{}

// NeedsChild tells whether the broker must run as a child to be killed by its
// timer.
func NeedsChild() bool { return false }

// NewSelfKill fails with errors.ErrUnsupported.
func NewSelfKill() (*SelfKill, error) {
	return nil, fmt.Errorf("make a kernel timer on %s: %w", runtime.GOOS, errors.ErrUnsupported)
}

// Arm does nothing.
func (*SelfKill) Arm(time.Duration) error { return nil }

// Close does nothing.
func (*SelfKill) Close() error { return nil }
