package main

import (
	"bytes"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
)

// hostMemory is how much memory the process may take by its control group, or
// else that of the machine; 0 where neither is known.
func hostMemory() (limit int64, from string) { return findMemory(os.DirFS("/")) }

// findMemory takes the least of what there is.
func findMemory(root fs.FS) (limit int64, from string) {
	limit = math.MaxInt64
	if n, ok := machineMemory(root); ok {
		limit, from = n, "machine"
	}
	text, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		text = nil
	}
	for line := range strings.Lines(string(text)) {
		// hierarchy:controllers:path, in version 2 with no controllers; cgroups(7)
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		switch {
		case parts[0] == "0" && parts[1] == "":
		case strings.Contains(","+parts[1]+",", ",memory,"):
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
		default:
			continue
		}
		if n, ok := groupMemory(root, base, parts[2], file); ok && n < limit {
			limit, from = n, "control group"
		}
	}
	if from == "" {
		return 0, ""
	}
	return limit, from
}

// groupMemory is the least limit of a group and those above it. In a container
// its path may be that outside, which is not there; then the top one is its own.
func groupMemory(root fs.FS, base, group, file string) (least int64, ok bool) {
	for dir := path.Clean("/" + group); ; dir = path.Dir(dir) {
		if n, known := readMemory(root, path.Join(base, dir, file)); known && (!ok || n < least) {
			least, ok = n, true
		}
		if dir == "/" {
			return least, ok
		}
	}
}

// readMemory reads a limit. "max" is none; so, in version 1, is a number that no
// machine has, which is then larger than the machine's own.
func readMemory(root fs.FS, name string) (int64, bool) {
	text, err := fs.ReadFile(root, name)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil && n > 0
}

func machineMemory(root fs.FS) (int64, bool) {
	text, err := fs.ReadFile(root, "proc/meminfo")
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(string(text)) {
		if number, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(number), "kB")), 10, 64)
			return n << 10, err == nil && n > 0
		}
	}
	return 0, false
}

// residentMemory is what the process has in memory without the pages of files,
// which the system takes back when it needs them.
func residentMemory() (int64, bool) {
	text, err := os.ReadFile("/proc/self/statm") // size resident shared …, in pages; proc_pid_statm(5)
	if err != nil {
		return 0, false
	}
	fields := bytes.Fields(text)
	if len(fields) < 3 {
		return 0, false
	}
	resident, err1 := strconv.ParseInt(string(fields[1]), 10, 64)
	shared, err2 := strconv.ParseInt(string(fields[2]), 10, 64)
	return (resident - shared) * int64(os.Getpagesize()), err1 == nil && err2 == nil
}
