//go:build failpoint

package failpoint

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

func killSelf() error { return signalSelf(syscall.SIGKILL) }
func stopSelf() error { return signalSelf(syscall.SIGSTOP) }

// signalSelf has this thread take the signal, which is for all of the process: it does not come back from the call before it has.
func signalSelf(s syscall.Signal) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := syscall.Tgkill(os.Getpid(), syscall.Gettid(), s); err != nil {
		return fmt.Errorf("fail point: send %v to this process: %w", s, err)
	}
	return nil
}
