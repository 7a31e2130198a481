package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// readProc reads a process' statistics now.
func readProc(pid int) (procStat, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return procStat{}, fmt.Errorf("read statistics of process %d: %w", pid, err)
	}
	s, err := parseStat(string(b), os.Getpagesize())
	if err != nil {
		return procStat{}, err
	}
	if cpu, ok := readClock(pid); ok {
		s.cpu = cpu
	}
	return s, nil
}

// readClock reads a process' CPU time to the nanosecond, where the kernel tells. The
// identifier of its clock is what clock_getcpuclockid(3) makes.
func readClock(pid int) (time.Duration, bool) {
	const perProcess = 2 // the scheduler's own account, of the whole process
	var ts unix.Timespec
	if unix.ClockGettime(int32(^pid)<<3|perProcess, &ts) != nil {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}

// readMembers returns a process and its descendants now.
func readMembers(pid int) []int {
	parents := make(map[int]int)
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return []int{pid}
	}
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if b, err := os.ReadFile(filepath.Join("/proc", e.Name(), "stat")); err == nil {
			if s, err := parseStat(string(b), 1); err == nil {
				parents[child] = s.parent
			}
		}
	}
	return members(pid, parents)
}

// readFamily sums up processes, of which the first has to be there.
func readFamily(pids []int) (family, error) {
	var f family
	for i, pid := range pids {
		s, err := readProc(pid)
		if err != nil {
			if i == 0 {
				return f, err
			}
			continue // a helper that has ended
		}
		f.cpu += s.cpu + s.ended
		f.rss += s.rss
		if b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "io")); err == nil {
			if n := parseWritten(string(b)); n != nil {
				if f.written == nil {
					f.written = new(int64)
				}
				*f.written += *n
			}
		}
	}
	return f, nil
}

// readBusy reads the CPU time the whole machine has spent so far.
func readBusy() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read statistics of the machine: %w", err)
	}
	return parseBusy(string(b))
}
