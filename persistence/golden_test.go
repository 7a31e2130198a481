package persistence

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/batonmq/baton/core"
)

// TestGoldenStore: the journal that a broker of the first version of the format has written is read, whole. The test of the same name
// beside the program serves it, and can make it anew.
func TestGoldenStore(t *testing.T) {
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(filepath.Join("testdata", "store-1"))); err != nil {
		t.Fatal(err)
	}
	head, err := os.ReadFile(filepath.Join(dir, "journal", "e0000000001-0000000001.seg"))
	if err != nil {
		t.Fatal(err)
	}
	opt := Options{Dir: dir, StoreID: [16]byte(head[32:]), Epoch: 2, Source: &Source{Epoch: 1, Segment: 1}}
	found, err := Verify(t.Context(), VerifyOptions{Dir: dir, StoreID: opt.StoreID, Source: *opt.Source})
	if err != nil || !found.Sound() {
		t.Fatalf("%v %+v", err, found)
	}
	s, err := Open(t.Context(), opt)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }() // it was never activated
	var bodies []string
	definitions := 0
	for d, err := range s.Recover(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if definitions++; d.Queue == 0 {
			continue
		}
		entries, err := s.Load(d.Queue, 0, ^core.Seq(0), math.MaxInt32, math.MaxInt32)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			bodies = append(bodies, string(e.Msg.Body))
		}
	}
	slices.Sort(bodies)
	if want := []string{"offline", "on", "on", "second", "third"}; !slices.Equal(bodies, want) || definitions != found.Definitions || definitions < 5 {
		t.Errorf("%d definitions and %q, want %d and %q", definitions, bodies, found.Definitions, want)
	}
}
