//go:build !(linux || windows || darwin || dragonfly || freebsd || netbsd || openbsd)

package index

import "os"

// lock says that this platform has no file locks: a slot is its node's by name alone.
func lock(*os.File) error { return errNoLocks }
