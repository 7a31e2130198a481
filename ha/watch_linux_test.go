package ha

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestWatch_TellsOfRenewalsAndOfTheEnd: the lease written, and the lock closed by its holder, each give a sign; another's look at the lock
// gives none, so that two who watch do not keep each other awake.
func TestWatch_TellsOfRenewalsAndOfTheEnd(t *testing.T) {
	dir := t.TempDir()
	lease, lock := filepath.Join(dir, "lease"), filepath.Join(dir, "lock")
	for _, path := range []string{lease, lock} {
		if err := os.WriteFile(path, make([]byte, pageSize), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files := new(osFiles)
	holder, err := files.Open(lock, false)
	if err == nil {
		err = holder.Lock()
	}
	if err != nil {
		t.Fatal(err)
	}
	signs, stop, err := files.Watch(lease, lock)
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	sign := func(what string, within time.Duration) bool {
		t.Helper()
		select {
		case <-signs:
			return true
		case <-time.After(within):
			return false
		case <-t.Context().Done():
			t.Fatal(what)
			return false
		}
	}

	f, err := files.Open(lease, false)
	if err == nil {
		err = errors.Join(f.Write(alignedPages(1), 0, false), f.Close())
	}
	if err != nil || !sign("a renewal", 10*time.Second) {
		t.Fatalf("no sign of a renewal: %v", err)
	}
	look, err := files.Open(lock, false)
	if err == nil {
		err = look.Close()
	}
	if err != nil || sign("a look", 50*time.Millisecond) {
		t.Fatalf("a look at a lock that is held gave a sign, or failed: %v", err)
	}
	if err := holder.Close(); err != nil || !sign("the end", 10*time.Second) {
		t.Fatalf("no sign of the holder's end: %v", err)
	}
	if _, _, err := files.Watch(lease, filepath.Join(dir, "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("watching a lock that is not there: %v", err)
	}
}
