//go:build unix

package admin

import (
	"fmt"
	"os"
	"syscall"
)

// checkOwned refuses a directory in which others could put a socket of theirs in
// the place of ours. So it does a symbolic link of another user's, wherever it
// leads: whose it is can lead it elsewhere.
func checkOwned(dir string) error {
	for _, look := range []func(string) (os.FileInfo, error){os.Lstat, os.Stat} {
		info, err := look(dir)
		if err != nil {
			return err
		}
		if err := checkOwner(dir, info); err != nil {
			return err
		}
	}
	return nil
}

func checkOwner(dir string, info os.FileInfo) error {
	st, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok:
		return nil
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Errorf("the directory %s belongs to another user (uid %d): choose one of the broker's own", dir, st.Uid)
	case info.Mode()&os.ModeSymlink != 0: // its mode says nothing
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write to the directory %s (mode %04o): choose one of the broker's own, mode 0700", dir, info.Mode().Perm())
	}
	return nil
}
