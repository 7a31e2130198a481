package interop

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

var (
	vmRSS = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)
	vmHWM = regexp.MustCompile(`(?m)^VmHWM:\s+(\d+) kB$`)
)

// residentSet returns a process' resident set in bytes.
func residentSet(tb testing.TB, pid int) int {
	tb.Helper()
	return status(tb, pid, vmRSS)
}

// peakResident returns the largest resident set that a process had.
func peakResident(tb testing.TB, pid int) int {
	tb.Helper()
	return status(tb, pid, vmHWM)
}

func status(tb testing.TB, pid int, field *regexp.Regexp) int {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		tb.Fatal(err)
	}
	m := field.FindSubmatch(text)
	if m == nil {
		tb.Fatalf("no %v in\n%s", field, text)
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		tb.Fatal(err)
	}
	return kb << 10
}

// processorTime returns what a process has used of the processors.
func processorTime(tb testing.TB, pid int) time.Duration {
	tb.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		tb.Fatal(err)
	}
	// Behind the name, which may hold anything, user and system time are the 12th and the 13th field, in hundredths of a second.
	fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
	user, err := strconv.Atoi(fields[11])
	if err != nil {
		tb.Fatal(err)
	}
	system, err := strconv.Atoi(fields[12])
	if err != nil {
		tb.Fatal(err)
	}
	return time.Duration(user+system) * 10 * time.Millisecond
}

// blocks returns what a file takes on disk: holes take nothing.
func blocks(fi os.FileInfo) int64 { return fi.Sys().(*syscall.Stat_t).Blocks * 512 }
