package bench

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// syncData puts a file's data on the disk, and of its metadata what reading them needs.
func syncData(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

// tightenTimers makes sleep exact for the calling thread. A kernel that refuses leaves
// it at 50 µs.
func tightenTimers() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }

// sleep waits on the thread itself, or until a signal comes: the runtime's timers are
// late by up to a millisecond when nothing else happens.
func sleep(d time.Duration) {
	ts := unix.NsecToTimespec(d.Nanoseconds())
	_ = unix.Nanosleep(&ts, nil)
}
