package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FreshFiles is OSFiles, except that what Open returns is read past this host's cache, and its size is asked of the file's server: for a
// directory that another host writes to. Where the file system cannot read past the cache, Open fails.
func FreshFiles() Files { return freshFiles{} }

type freshFiles struct{ osFiles }

func (freshFiles) Open(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	return freshFile{osFile{f}}, nil
}

type freshFile struct{ osFile }

const (
	pageSize = 4096
	// directStep is how much is read at once: enough for the server's latency not to matter, little enough to keep.
	directStep = 1 << 20
)

// stepPool holds aligned memory of directStep bytes.
var stepPool = sync.Pool{New: func() any { return alignedPages() }} //nolint:gochecknoglobals // memory of no meaning

// ReadAt reads whole pages, as it must, into memory of its own, as p is seldom aligned.
func (f freshFile) ReadAt(p []byte, off int64) (int, error) {
	pages := stepPool.Get().(*[directStep]byte) //nolint:forcetypeassert // nothing else is put there
	defer stepPool.Put(pages)
	done := 0
	for done < len(p) {
		from := (off + int64(done)) &^ (pageSize - 1)
		skip := int(off + int64(done) - from)
		want := min((skip+len(p)-done+pageSize-1)&^(pageSize-1), directStep)
		n, err := f.f.ReadAt(pages[:want], from)
		if n > skip {
			done += copy(p[done:], pages[skip:n])
		}
		if done == len(p) {
			break
		}
		if err == nil && n < want {
			err = io.EOF
		}
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// Size asks the server, whatever this host remembers.
func (f freshFile) Size() (int64, error) {
	var st unix.Statx_t
	conn, err := f.f.SyscallConn()
	if err != nil {
		return 0, err
	}
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = unix.Statx(int(fd), "", unix.AT_EMPTY_PATH|unix.AT_STATX_FORCE_SYNC, unix.STATX_SIZE, &st)
	})
	if err := errors.Join(err, failed); err != nil {
		return 0, fmt.Errorf("statx %s: %w", f.f.Name(), err)
	}
	return int64(st.Size), nil
}

// alignedPages is memory that begins at a multiple of the page size. Go does not move what is on the heap.
func alignedPages() *[directStep]byte {
	b := make([]byte, directStep+pageSize)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (pageSize - 1)) //nolint:gosec // only the address is looked at
	return (*[directStep]byte)(b[skip:])
}
