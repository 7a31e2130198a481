package storebench

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestRun: a run measures a row for each group size and elision, with what must hold whatever the disk does, and leaves nothing behind.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	rep, err := Run(t.Context(), Options{Dir: dir, Groups: []int{4, 32}, Duration: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if len(rep.Rows) != 2 {
		t.Fatalf("%d rows, want 2", len(rep.Rows))
	}
	for _, row := range rep.Rows {
		if row.Rate <= 0 || row.Store <= 0 || row.Append <= 0 || row.Over <= 0 || row.Ratio <= 0 {
			t.Errorf("a figure is missing: %+v", row)
		}
		if row.Group < bodyBytes {
			t.Errorf("a group has %.0f bytes, less than one message", row.Group)
		}
	}
	if s := rep.Elided.Share; s < 0.5 || s > 1 {
		t.Errorf("%.3f of the messages are elided, want nearly all", s)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("%v is left, %v", left, err)
	}
}

// TestRun_NoDirectory: what cannot be written to is named.
func TestRun_NoDirectory(t *testing.T) {
	if _, err := Run(t.Context(), Options{Dir: filepath.Join(t.TempDir(), "none"), Groups: []int{1}, Duration: time.Millisecond}); err == nil {
		t.Error("measured in a directory that is not there")
	}
}
