package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
)

// LineageOf reads from the segments of an epoch in dir which store they are of, and the history that the epoch continues. It is for a
// directory whose other files that tell are gone. It fails when no segment of the epoch can be read, and when the epoch continues another and
// holds no valid group: it died before it had that one's last.
func LineageOf(files Files, dir string, epoch uint32) (store [16]byte, lineage []Seal, err error) {
	names, err := files.Names(dir)
	if err != nil {
		return store, nil, fmt.Errorf("list journal: %w", err)
	}
	slices.Sort(names)
	found := fmt.Errorf("%s holds no segment of epoch %d: %w", dir, epoch, fs.ErrNotExist)
	for _, name := range names {
		id, ok := ParseFile(name)
		if !ok || id.Epoch != epoch {
			continue
		}
		h, err := lineageIn(files, dir, id)
		if err == nil {
			return h.Store, h.Lineage, nil
		}
		found = fmt.Errorf("read %s: %w", filepath.Join(dir, name), err)
	}
	return store, nil, found
}

var errNoGroup = errors.New("it holds no group, and continues another epoch")

func lineageIn(files Files, dir string, id SegmentID) (Header, error) {
	r := &Reader{h: History{Files: files, Dir: dir}}
	var err error
	if r.h.Store, err = storeIn(files, filepath.Join(dir, id.File())); err != nil {
		return Header{}, err
	}
	s, h, err := r.open(id)
	if err != nil {
		return Header{}, err
	}
	defer s.close()
	if len(h.Lineage) == 0 || h.First > 0 {
		return h, nil
	}
	if _, err := s.next(); isEnd(err) {
		return Header{}, errNoGroup
	} else if err != nil {
		return Header{}, err
	}
	return h, nil
}

// storeIn is the store that a segment's header names, which its checksum is yet to vouch for.
func storeIn(files Files, path string) (store [16]byte, err error) {
	f, err := files.Open(path)
	if err != nil {
		return store, err
	}
	defer func() { _ = f.Close() }() // it was only read
	var top [16 + sinceSize + 16]byte
	if _, err := f.ReadAt(top[:], 0); err != nil {
		return store, headerReadError(err)
	}
	if v := binary.LittleEndian.Uint32(top[8:]); string(top[:8]) != segmentMagic || v > Format {
		return store, errHeader
	}
	copy(store[:], top[16+sinceSize:])
	return store, nil
}
