package ha

import (
	"encoding/hex"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// bootID is the kernel's, zero where it cannot be read.
var bootID = sync.OnceValue(func() (id [16]byte) { //nolint:gochecknoglobals // it does not change while the process lives
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return id
	}
	b, err := hex.DecodeString(strings.ReplaceAll(strings.TrimSpace(string(text)), "-", ""))
	if err != nil || len(b) != len(id) {
		return id
	}
	return [16]byte(b)
})

// readBoot reads the clock.
func readBoot() bootReading {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		return bootReading{}
	}
	return bootReading{boot: bootID(), at: time.Duration(ts.Nano())}
}
