package journal

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
)

// TestFreshFiles_ReadWhatIsThere: any range of a file is read as the ordinary files read it, also where it is not a whole page, and so is
// its end.
func TestFreshFiles_ReadWhatIsThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	content := make([]byte, 3<<20+1234)
	r := rand.New(rand.NewPCG(1, 2))
	for i := range content {
		content[i] = byte(r.Uint32())
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := FreshFiles().Open(path)
	if err != nil {
		t.Skipf("files in %s cannot be read past the cache: %v", filepath.Dir(path), err)
	}
	t.Cleanup(func() { _ = f.Close() })
	if size, err := f.Size(); err != nil || size != int64(len(content)) {
		t.Fatalf("size %d, %v", size, err)
	}
	for range 200 {
		off := r.Int64N(int64(len(content)) + 100)
		p := make([]byte, r.IntN(2<<20))
		n, err := f.ReadAt(p, off)
		want := content[min(off, int64(len(content))):min(off+int64(len(p)), int64(len(content)))]
		if !bytes.Equal(p[:n], want) {
			t.Fatalf("%d bytes at %d: read %d, or other bytes", len(p), off, n)
		}
		if whole := n == len(p); whole != (err == nil) || !whole && !errors.Is(err, io.EOF) {
			t.Fatalf("%d of %d bytes at %d: %v", n, len(p), off, err)
		}
	}
}
