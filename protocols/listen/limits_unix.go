//go:build unix

package listen

import (
	"math"
	"syscall"
)

// descriptorLimit returns how many files the process may have open. The runtime
// has raised it to what an administrator allows.
func descriptorLimit() (int, bool) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return 0, false
	}
	// The type differs between systems, and "unlimited" is its largest number
	// or that of another; no process has so many.
	if n := uint64(limit.Cur); n < math.MaxInt32 { //nolint:unconvert // it is signed on the BSDs
		return int(n), true
	}
	return 0, false
}
