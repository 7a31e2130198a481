package journal

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// FreshFiles is OSFiles, except that what Open returns is read past this host's cache, and its size is asked of the file's server: for a
// directory that another host writes to. Where the file system cannot read past the cache, Open fails. Asking needs the file's owner.
func FreshFiles() Files { return freshFiles{} }

type freshFiles struct{ osFiles }

// Late is beyond what clients of network file systems keep of names that they have looked for: a second, mostly.
func (freshFiles) Late() time.Duration { return 3 * time.Second }

func (freshFiles) Open(path string) (File, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	fresh := freshFile{osFile{f}}
	if _, err := fresh.Size(); err != nil { // so that no read is answered from an older one
		return nil, errors.Join(err, f.Close())
	}
	return fresh, nil
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

// Size asks the server, whatever this host remembers, by giving the file the mode that it has: a change always goes to the server, and
// its answer carries the size. A question does not: a client of GlusterFS answers statx with AT_STATX_FORCE_SYNC from a cache of its own,
// up to a second old (200 wrong sizes of 200 asked for right after another host had appended; this way none). The kernel needs the size,
// too: it answers a read with O_DIRECT beyond the end that it knows by itself.
func (f freshFile) Size() (int64, error) {
	before, err := f.f.Stat()
	if err == nil {
		err = f.f.Chmod(before.Mode().Perm())
	}
	if err != nil {
		return 0, fmt.Errorf("ask for the size of %s: %w", f.f.Name(), err)
	}
	return f.osFile.Size()
}

// alignedPages is memory that begins at a multiple of the page size. Go does not move what is on the heap.
func alignedPages() *[directStep]byte {
	b := make([]byte, directStep+pageSize)
	skip := int(-uintptr(unsafe.Pointer(&b[0])) & (pageSize - 1)) //nolint:gosec // only the address is looked at
	return (*[directStep]byte)(b[skip:])
}
