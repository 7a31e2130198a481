package ha

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
)

// ErrEmpty tells that no epoch of the directory was ever active, so that nothing in it is history.
var ErrEmpty = errors.New("the directory holds no store")

// Inspect returns a directory's identity and the source that a new epoch would continue now, and changes nothing. It may be asked while
// a broker serves: what that goes on to promise is beyond the answer.
func Inspect(dir string) (id [16]byte, src Source, err error) {
	n, err := newNode(Options{Dir: dir, Node: "inspect"})
	if err != nil {
		return id, src, err
	}
	if n.fresh, err = n.files.Fresh(dir); err != nil {
		return id, src, err
	}
	if err := n.readStore(); errors.Is(err, fs.ErrNotExist) {
		return id, src, fmt.Errorf("%w: there is no %s", ErrEmpty, n.storePath())
	} else if err != nil {
		return id, src, err
	}
	highest, err := n.highestIn(n.haDir())
	if err != nil {
		return id, src, err
	}
	floor, err := n.floor()
	if err != nil {
		return id, src, err
	}
	for e := highest; e >= max(floor, 1); e-- {
		lineage, active, err := n.probe(e)
		if err != nil {
			return id, src, err
		}
		if active {
			src, err = n.sourceOf(e, lineage)
			return n.id, src, err
		}
	}
	return id, src, fmt.Errorf("%w: no epoch in %s was ever active", ErrEmpty, n.haDir())
}

// NewStoreID makes the identity of a store that is to be founded.
func NewStoreID() (id [16]byte) {
	rand.Read(id[:])
	return id
}

// Found makes the files by which dir becomes the directory of store id, whose journal holds the history that ends with src: as if the
// epoch src had been active there and had failed. The next epoch continues it. Until Found has returned nil, no broker starts there.
//
// There are no claims below that epoch, and never were: ha/origin says so.
func Found(dir string, id [16]byte, src Source) error {
	n, err := newNode(Options{Dir: dir, Node: "founder"})
	if err != nil {
		return err
	}
	n.id = id
	if _, err := n.files.Fresh(dir); err != nil {
		return err
	}
	if err := n.files.Mkdir(n.haDir()); err != nil {
		return err
	}
	if err := n.foundEpoch(src); err != nil {
		return fmt.Errorf("found a store in %s: %w", dir, err)
	}
	for _, path := range []string{n.originPath(), n.floorPath()} {
		if err := n.install(path, encodeFloor(n.id, src.Epoch)); err != nil {
			return fmt.Errorf("found a store in %s: %w", dir, err)
		}
	}
	// Last: without it, what is there is refused.
	if err := n.install(n.storePath(), encodeStore(n.id)); err != nil {
		return fmt.Errorf("found a store in %s: %w", dir, err)
	}
	return nil
}

// foundEpoch makes the claim of the epoch that src tells of.
func (n *node) foundEpoch(src Source) error {
	l := n.newLease(src.Epoch)
	l.state, l.segment, l.promised = stateFailed, src.HighestSegment, src.Promised
	if !src.BrokerTime.IsZero() {
		l.brokerTime = src.BrokerTime.UnixNano()
	}
	leasePage := alignedPages(1)
	l.encodeInto(leasePage, n.id)
	pages := activePages(len(src.Lineage) + spareSeals)
	record := encodeActive(pages, n.id, src.Epoch, src.Lineage)
	active := alignedPages(2 * pages)
	copy(active[copy(active, record):], record)

	temp := filepath.Join(n.haDir(), fmt.Sprintf("claim-%x-%d", n.nonce, 1))
	if err := n.files.Mkdir(temp); err != nil {
		return err
	}
	for name, content := range map[string][]byte{"lease": leasePage, "fence": alignedPages(1), "active": active, "lock": nil} {
		if err := n.create(filepath.Join(temp, name), content); err != nil {
			return err
		}
	}
	return n.installDir(temp, n.claim(src.Epoch))
}

func (n *node) originPath() string { return filepath.Join(n.haDir(), "origin") }

// origin is the lowest epoch that the directory was founded with; 0 where it was made by its first start.
func (n *node) origin() (uint64, error) {
	page, err := n.readPage(n.originPath())
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return 0, err
	}
	return decodeFloor(page, n.id)
}
