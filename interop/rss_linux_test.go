package interop

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
)

var vmRSS = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// residentSet returns a process' resident set in bytes.
func residentSet(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	m := vmRSS.FindSubmatch(text)
	if m == nil {
		t.Fatalf("no VmRSS in\n%s", text)
	}
	kb, err := strconv.Atoi(string(m[1]))
	must(t, err)
	return kb << 10
}
