package index

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	badger "github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/fb"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"google.golang.org/protobuf/proto"
)

// A table of Badger, as far as it matters here. Lengths are u32, big endian; a checksum is a protobuf message.
//
//	block...  index  length of index  checksum of index  length of checksum
//	block:    entries  their offsets  their number  checksum of all before it  length of checksum
//
// Badger opens tables in goroutines of its own and panics there when one is cut or garbled, which ends the process. So the parts
// that it reads at open are verified before: the index, and the first and the last block. What is wrong in between does no harm
// until a compaction reads it. That a start is repeated after such an end is known from the slot's count, and then every block
// is verified, which takes as long as reading the whole index.

// verifyTables verifies the tables that Badger would open in dir.
func verifyTables(dir string, all bool) (err error) {
	defer caught(&err, "verify tables")
	f, err := os.Open(filepath.Join(dir, badger.ManifestFilename))
	if errors.Is(err, os.ErrNotExist) {
		return nil // Badger starts from nothing, and there will be no root
	}
	if err != nil {
		return err
	}
	manifest, _, err := badger.ReplayManifestFile(f, 0, badger.Options{})
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read badger's manifest: %w", err)
	}
	for number := range manifest.Tables {
		if err := verifyTable(table.NewFilename(number, dir), all); err != nil {
			return fmt.Errorf("verify table %d: %w", number, err)
		}
	}
	return nil
}

// verifyTable verifies a table's index and its outer blocks, or all of them.
func verifyTable(path string, all bool) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	index, err := readTableIndex(f, fi.Size())
	if err != nil {
		return fmt.Errorf("index: %w", err)
	}
	root := fb.GetRootAsTableIndex(index, 0)
	n := root.OffsetsLength()
	if n == 0 {
		return errors.New("it has no blocks")
	}
	for i := range n {
		if !all && i > 0 && i < n-1 {
			continue
		}
		var at fb.BlockOffset
		if !root.Offsets(&at, i) {
			return fmt.Errorf("block %d has no offset", i)
		}
		if err := verifyBlock(f, fi.Size(), int64(at.Offset()), int64(at.Len())); err != nil {
			return fmt.Errorf("block %d: %w", i, err)
		}
	}
	return nil
}

var errTableLengths = errors.New("lengths do not add up")

// readTableIndex reads a table's index from the end of its file.
func readTableIndex(f *os.File, size int64) ([]byte, error) {
	sum, end, err := readTail(f, size)
	if err != nil {
		return nil, err
	}
	index, _, err := readTail(f, end)
	if err != nil {
		return nil, err
	}
	return index, verifySum(index, sum)
}

// readTail reads the bytes whose length stands at the end of the file's first size bytes, and returns where they begin.
func readTail(f *os.File, size int64) ([]byte, int64, error) {
	var length [4]byte
	if size < 4 {
		return nil, 0, errTableLengths
	}
	if _, err := f.ReadAt(length[:], size-4); err != nil {
		return nil, 0, err
	}
	n := int64(binary.BigEndian.Uint32(length[:]))
	if n > size-4 {
		return nil, 0, errTableLengths
	}
	b := make([]byte, n)
	_, err := f.ReadAt(b, size-4-n)
	return b, size - 4 - n, err
}

func verifyBlock(f *os.File, size, offset, length int64) error {
	if length < 8 || offset+length > size {
		return errTableLengths
	}
	b := make([]byte, length)
	if _, err := f.ReadAt(b, offset); err != nil {
		return err
	}
	rest := b[:length-4]
	n := int64(binary.BigEndian.Uint32(b[length-4:]))
	if n > int64(len(rest)) {
		return errTableLengths
	}
	return verifySum(rest[:int64(len(rest))-n], rest[int64(len(rest))-n:])
}

func verifySum(data, sum []byte) error {
	var want pb.Checksum
	if err := proto.Unmarshal(sum, &want); err != nil {
		return fmt.Errorf("checksum: %w", err)
	}
	return y.VerifyChecksum(data, &want)
}
