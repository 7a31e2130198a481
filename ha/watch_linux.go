package ha

import (
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

var _ Watcher = (*osFiles)(nil)

// Watch implements Watcher with inotify. The kernel tells of a file's close before
// it takes away the lock that went with it, so the lock is asked again for a moment.
// It is asked through a descriptor for reading, whose own close is no news to others
// who watch.
func (*osFiles) Watch(lease, lock string) (signs <-chan struct{}, stop func(), err error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, nil, os.NewSyscallError("inotify_init1", err)
	}
	w := &fileWatch{events: os.NewFile(uintptr(fd), "inotify"), signs: make(chan struct{}, 1), quit: make(chan struct{})}
	if err := w.add(fd, lease, lock); err != nil {
		return nil, nil, errors.Join(err, w.events.Close())
	}
	w.wg.Go(w.run)
	return w.signs, w.stop, nil
}

// fileWatch is one use of inotify.
type fileWatch struct {
	events *os.File
	lock   *os.File
	locked int32 // the watch of lock; of anything else there is only the lease's
	signs  chan struct{}
	quit   chan struct{}
	wg     sync.WaitGroup
}

func (w *fileWatch) add(fd int, lease, lock string) error {
	if _, err := unix.InotifyAddWatch(fd, lease, unix.IN_MODIFY); err != nil {
		return &os.PathError{Op: "watch", Path: lease, Err: err}
	}
	wd, err := unix.InotifyAddWatch(fd, lock, unix.IN_CLOSE_WRITE)
	if err != nil {
		return &os.PathError{Op: "watch", Path: lock, Err: err}
	}
	w.locked = int32(wd)
	w.lock, err = os.Open(lock)
	return err
}

// stop does not wait: the kernel takes some 20 ms to close an inotify, and this is
// called in the middle of a takeover.
func (w *fileWatch) stop() {
	close(w.quit)
	go func() {
		_ = w.events.Close() // ends run's Read
		w.wg.Wait()
		_ = w.lock.Close() // it was only asked
	}()
}

func (w *fileWatch) run() {
	var buf [64 * unix.SizeofInotifyEvent]byte // of files, whose events carry no name
	for {
		n, err := w.events.Read(buf[:])
		if err != nil {
			return
		}
		lease, lock := false, false
		for b := buf[:n]; len(b) >= unix.SizeofInotifyEvent; b = b[unix.SizeofInotifyEvent:] {
			of := int32(binary.NativeEndian.Uint32(b)) == w.locked
			lease, lock = lease || !of, lock || of
		}
		if lease || lock && w.free() {
			select {
			case w.signs <- struct{}{}:
			default:
			}
		}
	}
}

// free tells whether the lock is free, or becomes so within milliseconds.
func (w *fileWatch) free() bool {
	for wait := time.Millisecond; ; wait *= 2 {
		locked, err := lockedFile(w.lock)
		if err != nil || !locked {
			return err == nil
		}
		if wait > 4*time.Millisecond {
			return false
		}
		select {
		case <-time.After(wait):
		case <-w.quit:
			return false
		}
	}
}
