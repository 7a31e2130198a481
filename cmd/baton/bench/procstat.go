package bench

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// errNoProc says why a platform has no process figures.
var errNoProc = errors.New("the broker's CPU time and memory are read from /proc, which only Linux has")

// procStat is what one reading of a process tells.
type procStat struct {
	parent int
	cpu    time.Duration // user and system time of all its threads, also ended ones
	ended  time.Duration // the same of its children that it has seen end, and of theirs
	rss    int64         // resident set in bytes
}

// family is a process with all its descendants: some brokers have helpers, or are
// supervised by the process that was started.
type family struct {
	cpu     time.Duration
	rss     int64
	written *int64 // bytes given to the disk; nil if that may not be read
}

// members returns the descendants of pid and itself, given each process' parent.
func members(pid int, parents map[int]int) []int {
	all := []int{pid}
	for i := 0; i < len(all); i++ {
		for child, parent := range parents {
			if parent == all[i] && child != pid {
				all = append(all, child)
			}
		}
	}
	return all
}

// parseWritten reads the text of /proc/PID/io.
func parseWritten(text string) *int64 {
	for line := range strings.Lines(text) {
		if value, found := strings.CutPrefix(line, "write_bytes: "); found {
			if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil {
				return &n
			}
		}
	}
	return nil
}

// clockTick is the unit of the CPU times in /proc/PID/stat: USER_HZ, which is 100
// on every Linux that Go runs on, whatever the kernel's own HZ.
const clockTick = time.Second / 100

// Fields of /proc/PID/stat counted from the one after the command's closing
// parenthesis, which is field 3 in proc(5).
const (
	statParent = 4 - 3
	statUtime  = 14 - 3
	statStime  = 15 - 3
	statCutime = 16 - 3
	statCstime = 17 - 3
	statRSS    = 24 - 3
)

// parseStat reads the text of /proc/PID/stat. The command's name, in parentheses,
// may itself hold spaces and parentheses, so the fields are counted from the last.
func parseStat(text string, pageSize int) (procStat, error) {
	end := strings.LastIndexByte(text, ')')
	if end < 0 {
		return procStat{}, errors.New("process statistics without a command")
	}
	fields := strings.Fields(text[end+1:])
	if len(fields) <= statRSS {
		return procStat{}, fmt.Errorf("process statistics with %d fields after the command, %d are needed", len(fields), statRSS+1)
	}
	var v [6]int64
	for i, f := range []int{statUtime, statStime, statRSS, statParent, statCutime, statCstime} {
		n, err := strconv.ParseInt(fields[f], 10, 64)
		if err != nil {
			return procStat{}, fmt.Errorf("process statistics: field %d: %w", f+3, err)
		}
		v[i] = n
	}
	return procStat{
		cpu:    time.Duration(v[0]+v[1]) * clockTick,
		rss:    v[2] * int64(pageSize),
		parent: int(v[3]),
		ended:  time.Duration(v[4]+v[5]) * clockTick,
	}, nil
}

// parseBusy reads the text of /proc/stat: the CPU time that the whole machine has
// spent on anything but idling, over all CPUs. The first line is
// "cpu user nice system idle iowait irq softirq steal …"; guest time is part of user.
func parseBusy(text string) (time.Duration, error) {
	line, _, _ := strings.Cut(text, "\n")
	fields := strings.Fields(line)
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, errors.New("machine statistics without a line for all CPUs")
	}
	var busy time.Duration
	for i, text := range fields[1:9] {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("machine statistics: field %d: %w", i+1, err)
		}
		if idle := i == 3 || i == 4; !idle {
			busy += time.Duration(n) * clockTick
		}
	}
	return busy, nil
}
