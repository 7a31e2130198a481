package index

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

const testStore = "0123456789abcdef"

func testOptions(tb testing.TB, dir string) Options {
	tb.Helper()
	return Options{Dir: dir, Node: "node", StoreID: testStore, Logger: slog.New(slog.NewTextHandler(tb.Output(), nil))}
}

// mustOpen opens an index that is closed when the test ends.
func mustOpen(tb testing.TB, o Options) *Index {
	tb.Helper()
	x, err := Open(tb.Context(), o)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { closeIndex(tb, x) })
	return x
}

func closeIndex(tb testing.TB, x *Index) {
	tb.Helper()
	if err := x.Close(); err != nil {
		tb.Error(err)
	}
}

func apply(tb testing.TB, x *Index, cp *Checkpoint) {
	tb.Helper()
	if err := x.Apply(cp); err != nil {
		tb.Fatal(err)
	}
}

// contents is everything an index holds, in a form that compares.
type contents map[string]string

// read returns what x holds and the position of its root.
func read(x *Index) (contents, Position, error) {
	c := make(contents)
	root, ok := x.Root()
	if !ok {
		return c, Position{}, nil
	}
	c["meta"] = string(root.Meta)
	for d, err := range x.Definitions() {
		if err != nil {
			return nil, root.Position, err
		}
		c["definition "+d.Key] = fmt.Sprint(d.Queue, d.Order, string(d.Value))
	}
	for s, err := range x.Segments() {
		if err != nil {
			return nil, root.Position, err
		}
		c[fmt.Sprint("segment ", s.Number)] = string(s.Data)
	}
	var queues []Queue
	for q, err := range x.Queues() {
		if err != nil {
			return nil, root.Position, err
		}
		queues = append(queues, q)
		c[fmt.Sprint("queue ", q.ID)] = fmt.Sprint(q.Next, q.Count, q.Bytes)
	}
	chunks := 0
	for v, err := range x.Chunks() {
		if err != nil {
			return nil, root.Position, err
		}
		data, found, err := x.Chunk(v.ChunkID)
		if err != nil {
			return nil, root.Position, err
		}
		if !found || !bytes.Equal(data, v.Data) {
			return nil, root.Position, fmt.Errorf("chunk %d of queue %d is listed as %x and found as %x", v.Number, v.Queue, v.Data, data)
		}
		chunks++
		c[fmt.Sprint("chunk ", v.Queue, "/", v.Number)] = string(data)
	}
	if chunks != root.Chunks || len(queues) != root.Queues {
		return nil, root.Position, fmt.Errorf("root counts %d chunks, %d queues; read %d, %d", root.Chunks, root.Queues, chunks, len(queues))
	}
	return c, root.Position, nil
}

func mustRead(tb testing.TB, x *Index) (contents, Position) {
	tb.Helper()
	c, p, err := read(x)
	if err != nil {
		tb.Fatal(err)
	}
	return c, p
}

// diff names what differs, shortly.
func diff(got, want contents) string {
	var b bytes.Buffer
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if v, ok := got[k]; !ok {
			fmt.Fprintf(&b, "missing %s; ", k)
		} else if v != want[k] {
			fmt.Fprintf(&b, "differs %s; ", k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			fmt.Fprintf(&b, "surplus %s; ", k)
		}
	}
	return b.String()
}

// copyDir copies the index as it is on disk now, as a crash would leave it: what Badger maps shows in its files at once.
func copyDir(tb testing.TB, from string) string {
	tb.Helper()
	to := tb.TempDir()
	if err := copyInto(from, to); err != nil {
		tb.Fatal(err)
	}
	return to
}

// copyInto copies files without their holes, of which Badger's logs mostly consist.
func copyInto(from, to string) error {
	return filepath.WalkDir(from, func(path string, e os.DirEntry, err error) error {
		if err != nil {
			if errors.Is(err, os.ErrNotExist) {
				return nil // a table that was compacted away meanwhile
			}
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		if e.IsDir() {
			return os.MkdirAll(target, 0o750)
		}
		b, err := os.ReadFile(path)
		if errors.Is(err, os.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		size := int64(len(b))
		if err := os.WriteFile(target, bytes.TrimRight(b, "\x00"), 0o640); err != nil {
			return err
		}
		return os.Truncate(target, size)
	})
}
