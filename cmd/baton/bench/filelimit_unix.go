//go:build unix

package bench

import (
	"fmt"
	"syscall"
)

// otherFiles are those that the process has open besides connections, with room
// to spare.
const otherFiles = 64

// allowFiles sees to it that the process may have n connections. Go has raised
// the limit to the hard one, which only root may raise further.
func allowFiles(n int) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit on open files: %w", err)
	}
	need := limit
	need.Cur = limitOf(need.Cur, n+otherFiles)
	if need.Cur <= limit.Cur {
		return nil
	}
	need.Max = max(need.Max, need.Cur)
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &need); err != nil {
		return fmt.Errorf("%d connections need a limit of %d open files, which is %d: raise it with 'ulimit -n', or open fewer: %w",
			n, need.Cur, limit.Cur, err)
	}
	return nil
}

// limitOf is n in the type of a limit, which is signed on some systems.
func limitOf[T int64 | uint64](_ T, n int) T { return T(n) }
