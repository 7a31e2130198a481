package journal

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// syncData is fdatasync: times are not part of a promise. A signal may interrupt the wait.
func syncData(f *os.File) error {
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			return fmt.Errorf("fdatasync %s: %w", f.Name(), err)
		}
	}
}

func freeBytes(dir string) (int64, bool, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, false, fmt.Errorf("statfs %s: %w", dir, err)
	}
	return int64(st.Bavail) * int64(st.Bsize), true, nil //nolint:unconvert // its type differs by architecture
}

// allocate gives a file its blocks; errors.ErrUnsupported where the file system cannot.
func allocate(f *os.File, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return errors.ErrUnsupported
		case !errors.Is(err, unix.EINTR):
			return fmt.Errorf("fallocate %s: %w", f.Name(), err)
		}
	}
}

// overwritesInPlace reports whether the file lies where writing over a block that was written before changes no metadata: ext2 to 4 and
// XFS. A file system that copies on write, as Btrfs and ZFS, takes new blocks all the same, and what a network's does is not known.
func overwritesInPlace(path string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false
	}
	return st.Type == unix.EXT4_SUPER_MAGIC || st.Type == unix.XFS_SUPER_MAGIC
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
