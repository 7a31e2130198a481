//go:build unix

package admin

import (
	"fmt"
	"os"
	"syscall"
)

// checkOwned refuses a directory in which others could put a socket of theirs in
// the place of ours.
func checkOwned(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return nil
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("the directory %s belongs to another user (uid %d): choose one of the broker's own", dir, st.Uid)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write to the directory %s (mode %04o): choose one of the broker's own, mode 0700", dir, info.Mode().Perm())
	}
	return nil
}
