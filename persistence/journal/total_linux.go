package journal

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// TotalBytes is the size of the file system that dir is on; false when that cannot be known here.
func TotalBytes(dir string) (total int64, known bool, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, false, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(st.Blocks) * int64(st.Bsize), true, nil //nolint:unconvert // its type differs by architecture
}
