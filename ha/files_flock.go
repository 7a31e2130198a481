//go:build darwin || freebsd

package ha

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// There is no O_DIRECT here that is known to be fresh: only local file systems
// are.
const directFlag = 0

func freshness(dir string) (Freshness, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Stale, err
	}
	if uint64(st.Flags)&unix.MNT_LOCAL != 0 {
		return Cached, nil
	}
	return Stale, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func syncData(f *os.File) error { return f.Sync() }

func lockFile(f *os.File) error { return flock(f, unix.LOCK_EX) }

// lockedFile tries a shared lock, which several may do at once without taking
// each other for the holder.
func lockedFile(f *os.File) (bool, error) {
	err := flock(f, unix.LOCK_SH)
	if errors.Is(err, errLocked) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, flock(f, unix.LOCK_UN)
}

func flock(f *os.File, how int) error {
	return onDescriptor(f, func(fd uintptr) error {
		err := unix.Flock(int(fd), how|unix.LOCK_NB)
		if errors.Is(err, unix.EWOULDBLOCK) {
			return pathError("lock", f, errLocked)
		}
		return pathError("lock", f, err)
	})
}

// StaleReason knows of no file system here that could be made fresh.
func StaleReason(string) string { return "" }
