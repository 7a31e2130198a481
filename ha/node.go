package ha

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

const (
	defaultTTL = 3 * time.Second
	// lookEvery is how often a waiting node looks where looking is cheap.
	lookEvery = 25 * time.Millisecond
)

// node is one taking part on a directory: it carries out what contest asks for.
type node struct {
	opt     Options
	files   Files
	log     *slog.Logger
	fresh   Freshness
	id      storeID
	boot    func() bootReading
	nonce   [16]byte // ours in every claim we make
	pid     uint32
	attempt int // claims tried, to name their temporary directories
}

func newNode(opt Options) (*node, error) {
	n := &node{opt: opt, files: opt.Files, log: opt.Logger, pid: uint32(os.Getpid())}
	if n.opt.Dir == "" {
		return nil, errors.New("no directory is given")
	}
	if n.opt.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("find a name for this node: %w", err)
		}
		n.opt.Node = host
	}
	if n.opt.TTL < 0 {
		return nil, fmt.Errorf("ttl %v is negative", n.opt.TTL)
	}
	if n.opt.TTL == 0 {
		n.opt.TTL = defaultTTL
	}
	n.boot = func() bootReading { return bootReading{} } // what files there are made up is of none
	if n.files == nil {
		n.files, n.boot = new(osFiles), readBoot
	}
	if n.log == nil {
		n.log = slog.New(slog.DiscardHandler)
	}
	rand.Read(n.nonce[:])
	l := n.newLease(0)
	if err := l.check(); err != nil {
		return nil, err
	}
	return n, nil
}

func (n *node) newLease(epoch uint64) lease {
	return lease{
		epoch: epoch, nonce: n.nonce, counter: 1, ttl: n.opt.TTL, state: stateClaimed, pid: n.pid,
		node: n.opt.Node, configHash: n.configHash(), advertise: n.opt.Advertise,
	}
}

func (n *node) configHash() string {
	if n.opt.ConfigHash == nil {
		return ""
	}
	return n.opt.ConfigHash()
}

// Paths below the shared directory.
func (n *node) storePath() string                 { return filepath.Join(n.opt.Dir, "store.id") }
func (n *node) haDir() string                     { return filepath.Join(n.opt.Dir, "ha") }
func (n *node) floorPath() string                 { return filepath.Join(n.haDir(), "floor") }
func (n *node) journalDir() string                { return filepath.Join(n.opt.Dir, "journal") }
func (n *node) claim(e uint64) string             { return filepath.Join(n.haDir(), fmt.Sprintf("e%010d", e)) }
func (n *node) path(e uint64, file string) string { return filepath.Join(n.claim(e), file) }

// shared tells whether other hosts' kernels may write to the directory.
func (n *node) shared() bool { return n.fresh == Direct }

// epochOf reads the number of a claim or a journal segment from its name.
func epochOf(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, "e")
	if !ok {
		return 0, false
	}
	digits, _, _ = strings.Cut(digits, "-")
	if len(digits) < 10 {
		return 0, false
	}
	e, err := strconv.ParseUint(digits, 10, 64)
	return e, err == nil && e > 0
}

// highestIn returns the highest epoch named in dir, 0 for none.
func (n *node) highestIn(dir string) (highest uint64, err error) {
	names, err := n.files.Names(dir)
	if err != nil {
		return 0, fmt.Errorf("look for epochs: %w", err)
	}
	for _, name := range names {
		if e, ok := epochOf(name); ok {
			highest = max(highest, e)
		}
	}
	return highest, nil
}

// prepare makes the directory and learns, or makes, the store's identity.
func (n *node) prepare() error {
	if err := n.files.Mkdir(n.opt.Dir); err != nil {
		return fmt.Errorf("make the store's directory: %w", err)
	}
	var err error
	if n.fresh, err = n.files.Fresh(n.opt.Dir); err != nil {
		return err
	}
	if n.fresh == Stale && n.opt.Standby {
		if why := StaleReason(n.opt.Dir); why != "" {
			return fmt.Errorf("%w: %s cannot be shared by a primary and its standbys: %s", ErrStale, n.opt.Dir, why)
		}
		return fmt.Errorf("%w: %s cannot be shared by a primary and its standbys; use a local file system, NFS or another one with O_DIRECT, or serve without --ha", ErrStale, n.opt.Dir)
	}
	if err := n.identify(); err != nil {
		return err
	}
	if err := n.files.Mkdir(n.haDir()); err != nil {
		return fmt.Errorf("make the store's directory: %w", err)
	}
	return nil
}

// identify reads store.id, making it first in an empty directory. Whoever makes
// it reads it too: of several makers only one has won.
func (n *node) identify() error {
	err := n.readStore()
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	claim, err := n.highestIn(n.haDir())
	if err != nil {
		return err
	}
	segment, err := n.highestIn(n.journalDir())
	if err != nil {
		return err
	}
	if claim > 0 || segment > 0 {
		// Unless another was making all of this while we looked.
		err := n.readStore()
		if errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%w: %s is missing, though the directory holds epoch %d; restore it from a copy", ErrDamage, n.storePath(), max(claim, segment))
		}
		return err
	}
	var id storeID
	rand.Read(id[:])
	if err := n.install(n.storePath(), encodeStore(id)); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return n.readStore()
}

func (n *node) readStore() error {
	page, err := n.readPage(n.storePath())
	if err != nil {
		return err
	}
	if n.id, err = decodeStore(page); err != nil {
		return fmt.Errorf("read %s: %w", n.storePath(), err)
	}
	return nil
}

// install makes the file path with page as its content, whole or not at all;
// fs.ErrExist if it is there already.
func (n *node) install(path string, page []byte) error {
	temp := fmt.Sprintf("%s.%x", path, n.nonce)
	if err := n.create(temp, page); err != nil {
		return err
	}
	if err := n.files.Place(temp, path); err != nil {
		return err
	}
	return n.files.Sync(filepath.Dir(path))
}

// installDir gives the filled directory temp the name path, durably, with all that
// is in it.
func (n *node) installDir(temp, path string) error {
	if err := n.files.Sync(temp); err != nil {
		return err
	}
	if err := n.files.Place(temp, path); err != nil {
		return err
	}
	return n.files.Sync(filepath.Dir(path))
}

// create makes a file with its content, whose name is durable after a Sync of its
// directory.
func (n *node) create(path string, content []byte) error {
	f, err := n.files.Open(path, true)
	if err != nil {
		return err
	}
	return errors.Join(f.Write(content, 0, true), f.Close())
}

// overwrite replaces the first bytes of a file that must exist.
func (n *node) overwrite(path string, page []byte) error { return n.write(path, page, 0, true) }

// show is overwrite for all who read freshly. Where one kernel owns the file system,
// what is shown is durable only after a Sync.
func (n *node) show(path string, page []byte, off int64) error {
	return n.write(path, page, off, n.fresh != Cached)
}

func (n *node) write(path string, b []byte, off int64, sync bool) error {
	f, err := n.files.Open(path, false)
	if err != nil {
		return err
	}
	return errors.Join(f.Write(b, off, sync), f.Close())
}

// settle makes durable what was shown.
func (n *node) settle(paths ...string) error {
	if n.fresh != Cached {
		return nil // it is
	}
	return n.files.Sync(paths...)
}

// closeRead closes a file that was only read: nothing is lost when that fails.
func closeRead(f File) { _ = f.Close() }

// readPage reads the first page of a file freshly; a shorter file ends in zeros.
func (n *node) readPage(path string) ([]byte, error) {
	f, err := n.files.Open(path, false)
	if err != nil {
		return nil, err
	}
	defer closeRead(f)
	page := alignedPages(1)
	if _, err := f.ReadAt(page, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return page, nil
}

// readAll reads a whole file freshly.
func (n *node) readAll(path string) ([]byte, error) {
	f, err := n.files.Open(path, false)
	if err != nil {
		return nil, err
	}
	defer closeRead(f)
	for pages := 4; ; pages *= 2 {
		b := alignedPages(pages)
		got, err := f.ReadAt(b, 0)
		if errors.Is(err, io.EOF) {
			return b[:got], nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// pause waits for d, or returns why ctx ended.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
