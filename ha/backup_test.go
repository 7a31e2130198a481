package ha

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

var foundedSource = Source{
	Epoch: 7, Lineage: []Seal{{Epoch: 3, Offset: 100}, {Epoch: 6, Offset: 4096}},
	HighestSegment: 9, Promised: 12345, BrokerTime: time.Unix(1_700_000_000, 5),
}

// TestFound_IsContinued: a directory that was founded is continued like one whose last holder failed, and goes on from there.
func TestFound_IsContinued(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, dir string){
		"as it was founded": func(*testing.T, string) {},
		"a torn floor": func(t *testing.T, dir string) {
			t.Helper()
			f, err := os.OpenFile(filepath.Join(dir, "ha", "floor"), os.O_WRONLY, 0)
			if err == nil {
				_, err = f.WriteAt([]byte("torn"), 30)
			}
			if err := errors.Join(err, f.Close()); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir, id := t.TempDir(), NewStoreID()
			if err := Found(dir, id, foundedSource); err != nil {
				t.Fatal(err)
			}
			got, src, err := Inspect(dir)
			if err != nil || got != id || !reflect.DeepEqual(src, foundedSource) {
				t.Fatalf("%x, %+v, %v", got, src, err)
			}
			harm(t, dir)
			for epoch := uint64(8); epoch < 10; epoch++ {
				err := Run(t.Context(), Options{Dir: dir, Node: "n"}, nil, func(_ context.Context, tenure *Tenure) error {
					src, ok := tenure.Source()
					if !ok || tenure.Epoch() != epoch || tenure.StoreID() != id || src.Epoch != epoch-1 {
						t.Errorf("epoch %d of store %x continues %+v", tenure.Epoch(), tenure.StoreID(), src)
					}
					src.Silence = 0 // is how long the test took
					if epoch == 8 && !reflect.DeepEqual(src, foundedSource) {
						t.Errorf("source %+v", src)
					}
					return tenure.Activate(append(src.Lineage, Seal{Epoch: src.Epoch, Offset: 20000}))
				})
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestFound_Unfinished: what a crash leaves of it is refused.
func TestFound_Unfinished(t *testing.T) {
	dir := t.TempDir()
	if err := Found(dir, NewStoreID(), foundedSource); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, "store.id")); err != nil {
		t.Fatal(err)
	}
	err := Run(t.Context(), Options{Dir: dir, Node: "n"}, nil, func(context.Context, *Tenure) error { return nil })
	if !errors.Is(err, ErrDamage) {
		t.Errorf("%v", err)
	}
}

// TestInspect_ChangesNothing: also where a broker serves, and where there is nothing.
func TestInspect_ChangesNothing(t *testing.T) {
	dir := t.TempDir()
	if _, _, err := Inspect(dir); !errors.Is(err, ErrEmpty) {
		t.Errorf("of an empty directory: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	err := Run(t.Context(), Options{Dir: dir, Node: "n"}, nil, func(_ context.Context, tenure *Tenure) error {
		if _, _, err := Inspect(dir); !errors.Is(err, ErrEmpty) {
			t.Errorf("before the first epoch is active: %v", err)
		}
		if err := tenure.Activate(nil); err != nil {
			return err
		}
		if err := tenure.NameSegment(3); err != nil {
			return err
		}
		id, src, err := Inspect(dir)
		if err != nil || id != tenure.StoreID() || src.Epoch != 1 || src.HighestSegment != 3 || len(src.Lineage) != 0 {
			t.Errorf("while it is held: %x, %+v, %v", id, src, err)
		}
		return tenure.Guard()
	})
	if err != nil {
		t.Error(err)
	}
}
