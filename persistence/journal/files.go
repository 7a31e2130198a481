package journal

// Files is what the journal needs of a file system: few, plain operations, so that a test can stop the world at each of them, and keep
// only what was synced. Paths are those of the host.
//
//nolint:interfacebloat // one method for each kind of step that a crash can come between
type Files interface {
	// Names lists a directory, in no order.
	Names(dir string) ([]string, error)
	// MkdirAll makes a directory and its missing parents, durably. One that exists is no error.
	MkdirAll(dir string) error
	// Create makes a file that must not exist (fs.ErrExist). Its name is durable after SyncDir.
	Create(path string) (File, error)
	// Open opens an existing file for reading (fs.ErrNotExist).
	Open(path string) (File, error)
	// OpenAhead opens an existing file once more for writing, to fill it with zeros ahead of what is written to it.
	// errors.ErrUnsupported: overwriting zeros is not known to be cheaper here than growing.
	OpenAhead(path string) (File, error)
	// Remove removes a file. The removal is durable after SyncDir.
	Remove(path string) error
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// Free is the number of bytes that may still be written under dir; false when that cannot be known here.
	Free(dir string) (free int64, known bool, err error)
	// Reserve makes a file of size bytes that has all its blocks, durably. It must not exist (fs.ErrExist).
	Reserve(path string, size int64) error
}

// File is an open file of Files.
type File interface {
	// ReadAt fills p from off; io.EOF when the file ends before p is full.
	ReadAt(p []byte, off int64) (int, error)
	// WriteAt writes all of p at off, growing the file where needed.
	WriteAt(p []byte, off int64) (int, error)
	// Sync makes the data, and the size needed to read it back, durable: fdatasync.
	Sync() error
	// Truncate makes the file size bytes long. That is durable after Sync.
	Truncate(size int64) error
	// Size is the file's length.
	Size() (int64, error)
	Close() error
}
