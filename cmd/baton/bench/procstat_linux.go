package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// readProc reads a process' statistics now.
func readProc(pid int) (procStat, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return procStat{}, fmt.Errorf("read statistics of process %d: %w", pid, err)
	}
	return parseStat(string(b), os.Getpagesize())
}

// readBusy reads the CPU time the whole machine has spent so far.
func readBusy() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, fmt.Errorf("read statistics of the machine: %w", err)
	}
	return parseBusy(string(b))
}
