//go:build unix

package main

import (
	"io/fs"
	"os"
	"syscall"
)

// onlyOwnerWrites reports that nobody but this user and root can make a file in a
// directory.
func onlyOwnerWrites(info fs.FileInfo) bool {
	st, ok := info.Sys().(*syscall.Stat_t)
	return ok && info.Mode().Perm()&0o022 == 0 && (st.Uid == 0 || int(st.Uid) == os.Getuid())
}
