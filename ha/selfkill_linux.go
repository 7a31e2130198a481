package ha

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SelfKill is a kernel timer that ends this process with SIGKILL unless it is
// armed again in time. Neither a stopped process, nor one whose every thread hangs
// in a page fault, nor the time a host was suspended keeps it from firing. It
// counts on CLOCK_BOOTTIME.
type SelfKill struct {
	mu     sync.Mutex
	id     int32 // the kernel's timer_t
	closed bool
}

// sigevent is the kernel's struct sigevent, 64 bytes on every architecture.
type sigevent struct {
	value  uintptr
	signo  int32
	notify int32
	_      [64 - 8 - unsafe.Sizeof(uintptr(0))]byte
}

const sigevSignal = 0 // SIGEV_SIGNAL

// NeedsChild tells that this process is the first of its PID namespace, as in a
// container. Such a process cannot kill itself: a timer would do nothing. It runs
// the broker as its child instead, passes signals on, and ends as the child does.
func NeedsChild() bool { return os.Getpid() == 1 }

// NewSelfKill makes a timer that is not armed. errors.ErrUnsupported where the
// kernel has none, or where it would do nothing.
func NewSelfKill() (*SelfKill, error) {
	if NeedsChild() {
		return nil, fmt.Errorf("make a kernel timer: process 1 cannot kill itself, the broker must run as its child: %w", errors.ErrUnsupported)
	}
	ev := sigevent{signo: int32(unix.SIGKILL), notify: sigevSignal}
	k := new(SelfKill)
	if _, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_BOOTTIME, uintptr(unsafe.Pointer(&ev)), uintptr(unsafe.Pointer(&k.id))); errno != 0 {
		if errno == unix.ENOSYS || errno == unix.EPERM {
			return nil, fmt.Errorf("make a kernel timer: %w: %w", errno, errors.ErrUnsupported)
		}
		return nil, fmt.Errorf("make a kernel timer: %w", errno)
	}
	return k, nil
}

// Arm makes the timer fire after d, whatever it was armed for before.
func (k *SelfKill) Arm(d time.Duration) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	// Zero would disarm it.
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(max(int64(d), 1))}
	if _, _, errno := unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(k.id), 0, uintptr(unsafe.Pointer(&spec)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("arm the kernel timer: %w", errno)
	}
	return nil
}

// Close disarms the timer for good.
func (k *SelfKill) Close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return nil
	}
	k.closed = true
	if _, _, errno := unix.Syscall(unix.SYS_TIMER_DELETE, uintptr(k.id), 0, 0); errno != 0 {
		return fmt.Errorf("delete the kernel timer: %w", errno)
	}
	return nil
}
