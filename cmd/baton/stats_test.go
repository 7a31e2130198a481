package main

import (
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence"
	"github.com/batonmq/baton/persistence/journal/crashfs"
)

// TestStalled: a disk that does not answer is a reason not to be ready, once it has been so for long.
func TestStalled(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		fs, answer := crashfs.New(), make(chan struct{})
		var hang atomic.Bool
		fs.Decide = func(op crashfs.Op) crashfs.Verdict {
			if hang.Load() && op.Kind == crashfs.Sync {
				return crashfs.Verdict{Wait: answer}
			}
			return crashfs.Verdict{}
		}
		store, err := persistence.Open(t.Context(), persistence.Options{Dir: dir, Epoch: 1, Files: fs})
		if err != nil {
			t.Fatal(err)
		}
		if reason := stalled(store); reason != "" {
			t.Errorf("with nothing to do: %s", reason)
		}
		hang.Store(true)
		store.Commit([]core.Op{{Kind: core.OpDefine, Key: "k"}})
		time.Sleep(stalledAfter - time.Second)
		if reason := stalled(store); reason != "" {
			t.Errorf("after less than %v: %s", stalledAfter, reason)
		}
		time.Sleep(85 * time.Second)
		if reason := stalled(store); !strings.Contains(reason, "has not answered a write for 1m29s") {
			t.Errorf("after 89 s: %q", reason)
		}
		hang.Store(false)
		close(answer)
		synctest.Wait()
		if reason := stalled(store); reason != "" {
			t.Errorf("afterwards: %s", reason)
		}
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
}
