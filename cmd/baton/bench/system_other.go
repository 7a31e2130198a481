//go:build !linux

package bench

import (
	"os"
	"time"
)

// syncData puts a file's data on the disk.
func syncData(f *os.File) error { return f.Sync() }

// tightenTimers makes sleep exact, where that is possible.
func tightenTimers() {}

// sleep waits.
func sleep(d time.Duration) {
	time.Sleep(d) //nolint:forbidigo // it is waited for a point in time
}
