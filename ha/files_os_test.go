package ha

import (
	"bufio"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// directFiles read and write past the cache, as on a network file system.
type directFiles struct{ osFiles }

func (d *directFiles) Fresh(dir string) (Freshness, error) {
	f, err := freshness(dir)
	if err != nil || directFlag == 0 {
		return f, err
	}
	d.direct = true
	return Direct, nil
}

// serveReal runs one tenure on real files, in which body has passed a group.
func serveReal(tb testing.TB, opt Options, body func(t *Tenure)) {
	tb.Helper()
	err := Run(tb.Context(), opt, nil, func(_ context.Context, tenure *Tenure) error {
		var lineage []Seal
		if src, ok := tenure.Source(); ok {
			lineage = append(slices.Clone(src.Lineage), Seal{src.Epoch, 7})
		}
		if err := errors.Join(tenure.NameSegment(3), tenure.Activate(lineage), tenure.Guard()); err != nil {
			return err
		}
		if body != nil {
			body(tenure)
		}
		return nil
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func TestRealFiles_AFileInADirectorysPlaceIsAnErrorOfThatPath(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ha")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := new(osFiles).Mkdir(path)
	if e, ok := errors.AsType[*fs.PathError](err); !ok || e.Path != path || !errors.Is(err, syscall.ENOTDIR) {
		t.Errorf("%v, want that %s is not a directory", err, path)
	}
}

func TestRealFiles_StartsContinueOneHistory(t *testing.T) {
	for name, files := range map[string]Files{"as found": nil, "past the cache": new(directFiles)} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "new", "data")
			for want := uint64(1); want <= 3; want++ {
				serveReal(t, Options{Dir: dir, Files: files}, func(tenure *Tenure) {
					src, ok := tenure.Source()
					if tenure.Epoch() != want || ok != (want > 1) || src.Epoch != want-1 || len(src.Lineage) != max(int(want)-2, 0) {
						t.Errorf("epoch %d continues %+v, want %d", tenure.Epoch(), src, want)
					}
					if ok && (src.HighestSegment != 3 || !src.Released) {
						t.Errorf("source is %+v", src)
					}
				})
			}
			left, err := filepath.Glob(filepath.Join(dir, "ha", "claim-*"))
			if err != nil || len(left) > 0 {
				t.Errorf("orderly starts left %v, %v", left, err)
			}
		})
	}
}

func TestRealFiles_SecondBrokerIsHeldAndStandbyTakesItsTurn(t *testing.T) {
	opt := Options{Dir: t.TempDir(), TTL: 200 * time.Millisecond}
	if f, err := freshness(opt.Dir); err != nil || f == Stale {
		t.Skipf("no fresh reads under %s (%v)", opt.Dir, err)
	}
	next, standby := make(chan uint64, 1), make(chan error, 1)
	serveReal(t, opt, func(*Tenure) {
		err := Run(t.Context(), opt, nil, nil)
		if !errors.Is(err, ErrHeld) {
			t.Errorf("second broker: %v, want ErrHeld", err)
		}
		following := make(chan struct{})
		go func() {
			opt := opt
			opt.Standby, opt.Node = true, "other"
			standby <- Run(t.Context(), opt, func(context.Context, *Standby) error {
				close(following)
				return nil
			}, func(_ context.Context, tenure *Tenure) error {
				next <- tenure.Epoch()
				return nil
			})
		}()
		<-following
	})
	if err := <-standby; err != nil {
		t.Fatal(err)
	}
	if e := <-next; e != 2 {
		t.Errorf("the standby serves in epoch %d, want 2", e)
	}
}

// TestRealFiles_KilledHolder kills a process that holds the directory: where
// there are locks its successor need not wait for a TTL.
func TestRealFiles_KilledHolder(t *testing.T) {
	if dir := os.Getenv("HA_TEST_HOLD"); dir != "" {
		serveReal(t, Options{Dir: dir, Node: "held", TTL: time.Minute}, func(tenure *Tenure) {
			if _, err := os.Stdout.WriteString("serving\n"); err != nil {
				t.Error(err)
				return
			}
			<-tenure.Lost()
		})
		return
	}
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" && runtime.GOOS != "freebsd" {
		t.Skip("no locks here, by which the death of a process is seen")
	}
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRealFiles_KilledHolder$")
	child.Env = append(os.Environ(), "HA_TEST_HOLD="+dir)
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "serving\n" {
		t.Fatalf("the child says %q, %v", line, err)
	}
	if err := Run(t.Context(), Options{Dir: dir}, nil, nil); !errors.Is(err, ErrHeld) {
		t.Errorf("while the holder lives: %v, want ErrHeld", err)
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // tells that it was killed
	begun := time.Now()
	serveReal(t, Options{Dir: dir, TTL: time.Minute}, func(tenure *Tenure) {
		src, _ := tenure.Source()
		if tenure.Epoch() != 2 || src.Epoch != 1 || src.Released || src.HighestSegment != 3 {
			t.Errorf("epoch %d continues %+v", tenure.Epoch(), src)
		}
		t.Logf("serving %v after the holder's death", time.Since(begun))
	})
}

func TestRealFiles_PlaceNeverReplaces(t *testing.T) {
	var files osFiles
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"a", "b"} {
		if err := os.WriteFile(path(name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(files.Mkdir(path(name+"dir")), os.WriteFile(path(name+"dir/file"), []byte(name), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(files.Place(path("a"), path("file")), files.Place(path("adir"), path("dir"))); err != nil {
		t.Fatal(err)
	}
	if err := files.Place(path("b"), path("file")); !errors.Is(err, fs.ErrExist) {
		t.Errorf("a file over a file: %v", err)
	}
	if err := files.Place(path("bdir"), path("dir")); err == nil {
		t.Error("a directory over a filled directory: no error")
	}
	for name, want := range map[string]string{"file": "a", "dir/file": "a", "bdir/file": "b"} {
		if got, err := os.ReadFile(path(name)); string(got) != want {
			t.Errorf("%s holds %q, %v", name, got, err)
		}
	}
	if _, err := os.Stat(path("b")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file that could not be placed: %v, want it gone", err)
	}
}

func TestAlignedPages(t *testing.T) {
	for n := range 9 {
		b := alignedPages(n)
		if len(b) != n*pageSize || uintptr(unsafe.Pointer(unsafe.SliceData(b)))%pageSize != 0 {
			t.Errorf("%d pages: %d bytes at %p", n, len(b), b)
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	for name, files := range map[string]Files{"cached": nil, "direct": new(directFiles)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			serveReal(b, Options{Dir: b.TempDir(), Files: files, Standby: true}, func(t *Tenure) {
				for b.Loop() {
					if err := t.Guard(); err != nil {
						b.Fatal(err)
					}
				}
			})
		})
	}
}

// BenchmarkStart is a whole tenure, from Run to its end, on a directory that has
// seen others.
func BenchmarkStart(b *testing.B) {
	opt := Options{Dir: b.TempDir()}
	for b.Loop() {
		serveReal(b, opt, nil)
	}
}

// BenchmarkHandover is this package's part of a planned handover: from the return
// of one node's active to the first group that the other has passed. The two take
// turns.
func BenchmarkHandover(b *testing.B) {
	dir := b.TempDir()
	type turn struct {
		tenure *Tenure
		at     time.Time
		end    chan struct{}
	}
	turns := make(chan turn)
	ctx, cancel := context.WithCancel(b.Context())
	var nodes sync.WaitGroup
	for _, name := range []string{"a", "b"} {
		nodes.Go(func() {
			for ctx.Err() == nil {
				err := Run(ctx, Options{Dir: dir, Node: name, Standby: true}, nil, func(ctx context.Context, t *Tenure) error {
					var lineage []Seal
					if src, ok := t.Source(); ok {
						lineage = append(slices.Clone(src.Lineage), Seal{src.Epoch, 7})
					}
					if err := errors.Join(t.Activate(lineage), t.Guard()); err != nil {
						return err
					}
					now := turn{t, time.Now(), make(chan struct{})}
					select {
					case turns <- now:
						<-now.end
					case <-ctx.Done():
					}
					return nil
				})
				if err != nil && ctx.Err() == nil {
					b.Errorf("node %s: %v", name, err)
					return
				}
			}
		})
	}
	var took []time.Duration
	now := <-turns
	for b.Loop() {
		for _, ok := now.tenure.Successor(); !ok; _, ok = now.tenure.Successor() {
			<-time.After(10 * time.Millisecond)
		}
		begun := time.Now()
		close(now.end)
		now = <-turns
		took = append(took, now.at.Sub(begun))
	}
	cancel()
	close(now.end)
	nodes.Wait()
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "ms-p99")
}
