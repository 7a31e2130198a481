package storebench

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// read reads what has been used by now; the device is the one that dir is on.
func read(dir string) usage {
	var u usage
	var r syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &r) == nil {
		u.user, u.system, u.known = time.Duration(r.Utime.Nano()), time.Duration(r.Stime.Nano()), true
	}
	if b, err := os.ReadFile("/proc/self/io"); err == nil {
		u.process = processBytes(string(b))
	}
	var st syscall.Stat_t
	if syscall.Stat(dir, &st) == nil {
		if b, err := os.ReadFile("/proc/diskstats"); err == nil {
			u.device = deviceBytes(string(b), uint64(st.Dev)) //nolint:unconvert // its type differs by architecture
		}
	}
	return u
}

// processBytes reads write_bytes out of the text of /proc/PID/io.
func processBytes(text string) *int64 {
	for line := range strings.Lines(text) {
		if v, ok := strings.CutPrefix(line, "write_bytes:"); ok {
			if n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
				return &n
			}
		}
	}
	return nil
}

// deviceBytes reads out of the text of /proc/diskstats what the device of that number has written: "major minor name" and then fields, of
// which the seventh is sectors written, of 512 bytes whatever the device's own are.
func deviceBytes(text string, dev uint64) *int64 {
	major := dev>>8&0xfff | dev>>32&^0xfff
	minor := dev&0xff | dev>>12&^0xff
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 10 || f[0] != strconv.FormatUint(major, 10) || f[1] != strconv.FormatUint(minor&0xffffffff, 10) {
			continue
		}
		if n, err := strconv.ParseInt(f[9], 10, 64); err == nil {
			n *= 512
			return &n
		}
	}
	return nil
}
