package ha

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

const directFlag = unix.O_DIRECT

// oneKernel lists the file systems that only the kernel that mounted them writes
// to. FUSE, NFS, SMB, 9p, Ceph, GFS2 and OCFS2 are not among them, nor is what
// nobody has named yet.
var oneKernel = map[int64]string{
	unix.EXT4_SUPER_MAGIC:      "ext2, ext3 or ext4",
	unix.XFS_SUPER_MAGIC:       "xfs",
	unix.BTRFS_SUPER_MAGIC:     "btrfs",
	unix.F2FS_SUPER_MAGIC:      "f2fs",
	unix.TMPFS_MAGIC:           "tmpfs",
	unix.RAMFS_MAGIC:           "ramfs",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs",
	unix.MSDOS_SUPER_MAGIC:     "vfat",
	unix.EXFAT_SUPER_MAGIC:     "exfat",
	unix.REISERFS_SUPER_MAGIC:  "reiserfs",
	0x2fc12fc1:                 "zfs",
	0xca451a4e:                 "bcachefs",
	0x3153464a:                 "jfs",
	0x7366746e:                 "ntfs3",
}

func freshness(dir string) (Freshness, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return Stale, err
	}
	// The type is a signed word on some architectures.
	if _, ok := oneKernel[int64(uint32(st.Type))]; ok {
		return Cached, nil
	}
	if StaleReason(dir) != "" {
		return Stale, nil
	}
	return probeDirect(dir)
}

// StaleReason tells what keeps reads past the cache of a file below dir from being
// fresh, and what to do about it, where that can be known without a second host;
// else it is empty.
//
// GlusterFS' quick-read keeps the content of small files in the client, a second
// old, and answers reads with O_DIRECT from it too: a primary whose fence had been
// opened by its path was measured not to see the mark for 0.6 s. A client tells
// what it has loaded in a directory of the mount that no listing shows.
func StaleReason(dir string) string {
	root, err := mountOf(dir)
	if err != nil {
		return ""
	}
	loaded, err := os.ReadDir(filepath.Join(root, ".meta", "graphs", "active"))
	if err != nil {
		return "" // another file system
	}
	for _, translator := range loaded {
		if volume, ok := strings.CutSuffix(translator.Name(), "-quick-read"); ok {
			return fmt.Sprintf("GlusterFS' quick-read answers reads with O_DIRECT from a cache that is up to a second old: gluster volume set %s performance.quick-read off", volume)
		}
	}
	return ""
}

// mountOf is the root of the mount that dir lies on.
func mountOf(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	var here, above unix.Stat_t
	if err := unix.Stat(dir, &here); err != nil {
		return "", err
	}
	for dir != filepath.Dir(dir) {
		if err := unix.Stat(filepath.Dir(dir), &above); err != nil {
			return "", err
		}
		if above.Dev != here.Dev {
			break
		}
		dir = filepath.Dir(dir)
	}
	return dir, nil
}

// probeDirect finds out whether files under dir can be read past the cache.
func probeDirect(dir string) (Freshness, error) {
	f, err := os.CreateTemp(dir, ".direct-")
	if err != nil {
		return Stale, err
	}
	name := f.Name()
	defer func() { _ = os.Remove(name) }() // one that stays is small, and nobody reads it
	if err := f.Close(); err != nil {
		return Stale, err
	}
	d, err := os.OpenFile(filepath.Clean(name), os.O_RDWR|directFlag, 0)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		return Stale, nil
	}
	if err != nil {
		return Stale, err
	}
	defer func() { _ = d.Close() }() // what was written to it is not needed
	page := alignedPages(1)
	if _, err := d.WriteAt(page, 0); err != nil {
		return Stale, nil
	}
	if _, err := d.ReadAt(page, 0); err != nil {
		return Stale, nil
	}
	return Direct, nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func syncData(f *os.File) error {
	return onDescriptor(f, func(fd uintptr) error {
		for {
			if err := unix.Fdatasync(int(fd)); err != unix.EINTR {
				return pathError("fdatasync", f, err)
			}
		}
	})
}

// lockFile takes an open file description lock: it belongs to this open file,
// not to the process, and survives the renaming of the directory it lies in.
func lockFile(f *os.File) error {
	return onDescriptor(f, func(fd uintptr) error {
		lk := unix.Flock_t{Type: unix.F_WRLCK}
		err := unix.FcntlFlock(fd, unix.F_OFD_SETLK, &lk)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return pathError("lock", f, errLocked)
		}
		return pathError("lock", f, lockError(err))
	})
}

// lockedFile only asks: a lock taken to find out would, for a moment, make a
// dead holder look alive to another who asks.
func lockedFile(f *os.File) (bool, error) {
	locked := false
	err := onDescriptor(f, func(fd uintptr) error {
		lk := unix.Flock_t{Type: unix.F_WRLCK}
		err := unix.FcntlFlock(fd, unix.F_OFD_GETLK, &lk)
		locked = lk.Type != unix.F_UNLCK
		return pathError("lock", f, lockError(err))
	})
	return locked, err
}

// lockError turns what a file system or kernel without such locks answers into
// errors.ErrUnsupported.
func lockError(err error) error {
	for _, without := range []unix.Errno{unix.ENOLCK, unix.EINVAL, unix.ENOSYS, unix.EOPNOTSUPP} {
		if errors.Is(err, without) {
			return fmt.Errorf("%w: open file description locks: %w", errors.ErrUnsupported, err)
		}
	}
	return err
}
