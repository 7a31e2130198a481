package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/batonmq/baton/persistence"
)

// servedStore is a data directory in which a broker has confirmed n messages before it ended orderly.
func servedStore(t *testing.T, n int) string {
	t.Helper()
	dir := t.TempDir()
	r := startServe(t, dir)
	r.ready(t)
	conn := r.dial(t)
	publish(t, conn, n)
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	r.stop()
	if code := r.exit(t); code != exitOK {
		t.Fatal(code)
	}
	return dir
}

// flipIn changes the byte where text stands in the only journal file of dir that holds it.
func flipIn(t *testing.T, dir, text string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "journal", "*.seg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if at := strings.Index(string(b), text); at >= 0 {
			b[at] ^= 0x10
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			return path
		}
	}
	t.Fatalf("%q is in none of %v", text, files)
	return ""
}

// TestJournal_VerifyAndRebuild: a sound directory verifies with code 0, as a table and as JSON; a damaged one with 1 and the file; the
// index can be made anew; and what holds no store is told from both.
func TestJournal_VerifyAndRebuild(t *testing.T) {
	dir := servedStore(t, 5)
	code, out, errs := baton(t, nil, "journal", "verify", dir)
	if code != exitOK || !strings.Contains(out, "nothing is damaged") || !strings.Contains(out, " with 5 messages") || !strings.Contains(out, ": sound") {
		t.Errorf("verify: %d\n%s%s", code, out, errs)
	}
	if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := baton(t, nil, "journal", "rebuild-index", dir); code != exitOK || !strings.Contains(errs, "index rebuilt") {
		t.Errorf("rebuild-index: %d\n%s%s", code, out, errs)
	}
	code, out, errs = baton(t, nil, "journal", "verify", "--json", dir)
	var found persistence.Verified
	if err := json.Unmarshal([]byte(out), &found); err != nil || code != exitOK || found.Messages != 5 || len(found.Indexes) != 1 || found.Indexes[0].State != "sound" {
		t.Errorf("verify --json: %d, %v\n%s%s", code, err, out, errs)
	}
	if code, _, errs := baton(t, nil, "journal", "verify", t.TempDir()); code != exitData || !strings.Contains(errs, "holds no store") {
		t.Errorf("verify of an empty directory: %d, %s", code, errs)
	}
}

// TestServe_SalvageStartsWithoutWhatIsDamaged: a definition that is damaged ends a start that reads it with code 7 and is found by verify;
// with --salvage the broker starts and says what it gave up.
func TestServe_SalvageStartsWithoutWhatIsDamaged(t *testing.T) {
	dir := servedStore(t, 5)
	path := flipIn(t, dir, "auto_delete")
	if err := os.RemoveAll(filepath.Join(dir, "index")); err != nil {
		t.Fatal(err)
	}
	code, out, _ := baton(t, nil, "journal", "verify", dir)
	if code != exitFailure || !strings.Contains(out, "DAMAGED: "+path) || !strings.Contains(out, "unless --salvage") {
		t.Errorf("verify: %d\n%s", code, out)
	}
	r := startServe(t, dir)
	if code := r.exit(t); code != exitDamage || !strings.Contains(r.log.String(), "--salvage") {
		t.Errorf("serve: %d\n%s", code, r.log)
	}
	r = startServe(t, dir, "--salvage")
	r.ready(t)
	if log := r.log.String(); !strings.Contains(log, "salvage: a record is given up") || !strings.Contains(log, "messages=5") || !strings.Contains(log, filepath.Base(path)) {
		t.Errorf("nothing said of what was given up:\n%s", log)
	}
	r.stop()
	if code := r.exit(t); code != exitOK {
		t.Error(code)
	}
}
