//go:build !unix

package listen

// descriptorLimit is unknown: these systems bound sockets by memory.
func descriptorLimit() (int, bool) { return 0, false }
