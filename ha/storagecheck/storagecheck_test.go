package storagecheck

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/batonmq/baton/ha"
)

func TestMain(m *testing.M) {
	if code, ok := Child(); ok {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// localDir skips where the test's directory cannot be shared at all.
func localDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if f, err := ha.OSFiles().Fresh(dir); err != nil || f == ha.Stale {
		t.Skipf("no fresh reads under %s (%v)", dir, err)
	}
	return dir
}

func verdicts(r *Report) map[string]Verdict {
	all := map[string]Verdict{}
	for _, c := range r.Checks {
		all[c.Name] = c.Verdict
	}
	return all
}

func TestRun_ALocalDirectoryPasses(t *testing.T) {
	dir := localDir(t)
	r, err := Run(t.Context(), Options{Dir: dir, Rounds: 20, TTL: time.Minute})
	if err != nil || !r.OK || r.Reason() != "" || r.DoubtLocks {
		t.Fatalf("report is %+v, %v", r, err)
	}
	v := verdicts(&r)
	for _, name := range []string{"fresh reads", "visibility", "looked up", "growing files", "synced writes", "file identity", "staleness", "exclusive link", "exclusive rename", "locks", "kill -9"} {
		// How long things take on a busy machine is not the point.
		timed := name == "synced writes" || name == "staleness"
		if v[name] != Pass && (!timed || v[name] != Note) {
			t.Errorf("%s: %q", name, v[name])
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	var human strings.Builder
	if err := r.Write(&human); err != nil || !strings.Contains(human.String(), "can share this directory") || !strings.Contains(human.String(), "check again with a pair") {
		t.Errorf("for people it is\n%s%v", &human, err)
	}
	text, err := json.Marshal(&r)
	if err != nil || !strings.Contains(string(text), `"doubt_locks":false`) {
		t.Errorf("as JSON it is %s, %v", text, err)
	}
	t.Logf("\n%s", &human)
}

// TestRun_PairSeesOneReport runs both commands; which of them leads is told by who
// is first.
func TestRun_PairSeesOneReport(t *testing.T) {
	dir := localDir(t)
	type result struct {
		r   Report
		err error
	}
	results := make(chan result, 2)
	for range 2 {
		go func() {
			r, err := Run(t.Context(), Options{Dir: dir, Pair: true, Rounds: 10, TTL: time.Minute})
			results <- result{r, err}
		}()
	}
	a, b := <-results, <-results
	if err := errors.Join(a.err, b.err); err != nil {
		t.Fatal(err)
	}
	if !a.r.OK || !b.r.OK || len(a.r.Checks) != len(b.r.Checks) || a.r.Lead != b.r.Lead || a.r.Partner == "" || !b.r.Pair {
		t.Errorf("reports are\n%+v\n%+v", a.r, b.r)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestRun_JoinsNobody(t *testing.T) {
	dir := localDir(t)
	if err := os.MkdirAll(filepath.Join(dir, pairName, "old"), 0o750); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), Options{Dir: dir, Pair: true}); err == nil || !strings.Contains(err.Error(), pairName) {
		t.Errorf("what a check left behind: %v, want an error that names it", err)
	}
}

// broken are files of a file system that does not keep what it must. Only the lead
// has them.
type broken struct {
	ha.Files
	fresh   ha.Freshness
	replace bool          // Place replaces what is there
	stale   bool          // reads of a cell show what was there at first
	locked  func() bool   // what Locked tells; nil: the truth
	slow    time.Duration // that a synced write takes
	now     *atomic.Int64 // synced writes are slow while it is positive, and count it down; nil: all are
	other   bool          // a file opened again is another
	keeps   bool          // reads show what a file held when it was looked up
	short   bool          // reads end where the file ended when it was made
}

func (b *broken) Fresh(dir string) (ha.Freshness, error) {
	f, err := b.Files.Fresh(dir)
	if b.fresh == ha.Stale {
		return ha.Stale, err
	}
	return f, err
}

func (b *broken) Place(temp, path string) error {
	if b.replace {
		// The other side has placed its own before, so that there is something to replace.
		for _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist); _, err = os.Stat(path) {
			<-time.After(time.Millisecond)
		}
		if err := os.RemoveAll(path); err != nil {
			return err
		}
		return os.Rename(temp, path)
	}
	return b.Files.Place(temp, path)
}

func (b *broken) Open(path string, create bool) (ha.File, error) {
	f, err := b.Files.Open(path, create)
	if err != nil {
		return nil, err
	}
	return &brokenFile{File: f, of: b, name: filepath.Base(path)}, nil
}

type brokenFile struct {
	ha.File
	of   *broken
	name string
}

func (f *brokenFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if f.of.stale && f.name == "cell" {
		clear(p)
	}
	if f.of.keeps && strings.HasPrefix(f.name, "looked-up-") {
		clear(p)
	}
	if f.of.short && f.name == "growing" {
		return max(0, min(n, pageSize-int(off))), io.EOF
	}
	return n, err
}

func (f *brokenFile) Write(p []byte, off int64, sync bool) error {
	if f.name == "answer" && f.of.slow > 0 && (f.of.now == nil || f.of.now.Add(-1) >= 0) {
		<-time.After(f.of.slow)
	}
	return f.File.Write(p, off, sync)
}

func (f *brokenFile) Locked() (bool, error) {
	if f.of.locked != nil {
		return f.of.locked(), nil
	}
	return f.File.Locked()
}

func (f *brokenFile) Same(other ha.File) (bool, error) {
	if f.of.other {
		return false, nil
	}
	return f.File.Same(other.(*brokenFile).File)
}

// TestRun_ABrokenDirectoryIsNamed: each check fails where it should, and the
// report says what a broker needs to know.
func TestRun_ABrokenDirectoryIsNamed(t *testing.T) {
	var looks, slow atomic.Int64
	slow.Store(12) // the file's making takes one, and the check of visibility ten
	for _, tc := range []struct {
		name   string
		files  broken
		check  string
		want   Verdict
		doubts bool
	}{
		{"no fresh reads", broken{fresh: ha.Stale}, "fresh reads", Fail, false},
		{"reads are old", broken{stale: true}, "visibility", Fail, false},
		{"names are replaced", broken{replace: true}, "exclusive link", Fail, false},
		{"a client keeps small files", broken{keeps: true}, "looked up", Fail, false},
		{"a file seems not to grow", broken{short: true}, "growing files", Fail, false},
		{"writes take longer than a renewal may", broken{slow: 210 * time.Millisecond}, "synced writes", Fail, false},
		{"one write takes longer", broken{slow: 210 * time.Millisecond, now: &slow}, "synced writes", Note, false},
		{"a file is never the same", broken{other: true}, "file identity", Fail, false},
		{"locks vanish", broken{locked: func() bool { return looks.Add(1) < 5 }}, "kill -9", Note, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.name != "no fresh reads" {
				tc.files.fresh = ha.Cached
			}
			tc.files.Files = ha.OSFiles()
			opt := Options{Dir: localDir(t), Rounds: 10, TTL: time.Minute, files: &tc.files}
			if tc.files.slow > 0 {
				opt.TTL = 5 * 200 * time.Millisecond
			}
			r, err := Run(t.Context(), opt)
			if err != nil {
				t.Fatal(err)
			}
			if v := verdicts(&r)[tc.check]; v != tc.want || r.OK != (tc.want != Fail) || r.DoubtLocks != tc.doubts {
				t.Errorf("%s: %q, ok %v, doubt locks %v: %s", tc.check, v, r.OK, r.DoubtLocks, r.Reason())
			}
			if (tc.want == Fail) != strings.Contains(r.Reason(), tc.check) {
				t.Errorf("the reason is %q", r.Reason())
			}
		})
	}
}

func TestRun_RefusesOptions(t *testing.T) {
	for _, opt := range []Options{{}, {Dir: "x", Rounds: 1000}, {Dir: "x", TTL: -1}, {Dir: filepath.Join(t.TempDir(), "none")}} {
		if _, err := Run(t.Context(), opt); err == nil {
			t.Errorf("%+v: no error", opt)
		}
	}
}

// TestBox_ASilentPartnerIsAnError bounds how long a side waits.
func TestBox_ASilentPartnerIsAnError(t *testing.T) {
	dir := t.TempDir()
	files := ha.OSFiles()
	for _, name := range []string{leadBox, partnerBox} {
		if err := create(files, filepath.Join(dir, name), 1); err != nil {
			t.Fatal(err)
		}
	}
	b, err := openBox(files, dir, leadBox, partnerBox)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 20*time.Millisecond, errSilent)
	defer cancel()
	if _, err := b.ask(ctx, message{Op: opHello}); !errors.Is(err, errSilent) {
		t.Errorf("nobody answers: %v", err)
	}
	if err := b.send(message{Names: slices.Repeat([]string{"long"}, 2000)}); err == nil {
		t.Error("a message longer than a page was sent")
	}
	if err := b.close(); err != nil {
		t.Error(err)
	}
}
