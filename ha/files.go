package ha

// Files is what this package needs of a file system: few, wide operations, so
// that a test can fail or stop the world at each of them.
//
// Paths are absolute or relative as Options.Dir is, with the host's separators.
// Errors name the operation and the file, as those of package os do. All reading
// and writing is of whole pages at page offsets, from buffers of alignedPages.
//
//nolint:interfacebloat // one method for each kind of step that a crash can come between
type Files interface {
	// Fresh tells how a read of a file under dir, which another host may have
	// written, is kept from being answered by a stale cache. It is called before
	// any file is opened, and Files keep to the answer.
	Fresh(dir string) (Freshness, error)
	// Names lists a directory. A missing directory has no names.
	Names(dir string) ([]string, error)
	// Mkdir makes a directory and its missing parents, durably. One that exists
	// is no error.
	Mkdir(dir string) error
	// Open opens a file for reading, writing and locking. With create it must
	// not exist (fs.ErrExist), without it must (fs.ErrNotExist).
	Open(path string, create bool) (File, error)
	// Place gives the file or directory temp, with all that is in it, the name
	// path: atomically, and never over an existing file or filled directory. Both
	// are in one directory, and the name is durable after a Sync of that. A file
	// temp is gone afterwards, also when path was there (fs.ErrExist); a directory
	// then stays.
	Place(temp, path string) error
	// Sync makes what was written to files, and the names in directories, durable.
	// It takes about as long for all the paths as for one.
	Sync(paths ...string) error
	// Remove removes a directory that was never placed, with all that is in it.
	Remove(temp string) error
}

// Watcher is what Files may be, too, where one kernel owns the file system: it spares
// a standby the time until its next look.
type Watcher interface {
	// Watch signals that lease was written, or that lock may have become free, until
	// stop is called. A sign may be missed, or tell nothing.
	Watch(lease, lock string) (signs <-chan struct{}, stop func(), err error)
}

// File is an open file of Files.
//
//nolint:interfacebloat // one method for each kind of step that a crash can come between
type File interface {
	// ReadAt fills p freshly and returns the number of bytes; io.EOF when fewer.
	ReadAt(p []byte, off int64) (int, error)
	// Write writes p at off; with sync it is on stable storage, and visible to
	// fresh reads elsewhere, before Write returns.
	Write(p []byte, off int64, sync bool) error
	// Sync makes what was written durable, as Write with sync does.
	Sync() error
	// Lock locks the file until it is closed or the process ends.
	// errors.ErrUnsupported where locks of that kind do not exist.
	Lock() error
	// Locked tells whether another open file holds the lock.
	Locked() (bool, error)
	// Same tells whether other is the same file, not merely of the same name.
	Same(other File) (bool, error)
	Close() error
}

// String names the kind.
func (f Freshness) String() string {
	return [...]string{"stale", "direct", "cached"}[f]
}

// Freshness tells what is known about reading what others wrote.
type Freshness int

// The kinds of freshness, from the least.
const (
	Stale  Freshness = iota // nothing is known
	Direct                  // reads past the cache are fresh
	Cached                  // one kernel owns the file system: its cache is fresh
)
