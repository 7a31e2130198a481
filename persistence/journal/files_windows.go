package journal

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/windows"
)

func syncData(f *os.File) error { return f.Sync() }

func freeBytes(dir string) (int64, bool, error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, false, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(path, &free, nil, nil); err != nil {
		return 0, false, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(free), true, nil
}

// allocate is left to writing: a longer file has its blocks, but not its valid length.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }

// overwritesInPlace was not measured here.
func overwritesInPlace(string) bool { return false }

// syncDir does nothing: a directory cannot be flushed here, and NTFS logs its own metadata.
func syncDir(string) error { return nil }
