//go:build unix

package main

import "syscall"

// contextSwitches is how often the process has given a processor up, or lost it.
func contextSwitches() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return -1
	}
	return int64(u.Nvcsw) + int64(u.Nivcsw) //nolint:unconvert // they are shorter on some systems
}
