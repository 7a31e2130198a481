package journal

import (
	"fmt"

	"golang.org/x/sys/windows"
)

// TotalBytes is the size of the file system that dir is on; false when that cannot be known here.
func TotalBytes(dir string) (total int64, known bool, err error) {
	path, err := windows.UTF16PtrFromString(dir)
	if err != nil {
		return 0, false, err
	}
	var n uint64
	if err := windows.GetDiskFreeSpaceEx(path, nil, &n, nil); err != nil {
		return 0, false, fmt.Errorf("size of the disk of %s: %w", dir, err)
	}
	return int64(n), true, nil
}
