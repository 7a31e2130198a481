package ha_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/ha/hatest"
)

// edit changes the bytes of a file; resealed makes its checksum right again.
func edit(path string, change func(b []byte)) func(*hatest.Disk) error {
	return func(d *hatest.Disk) error { return d.Edit(path, change) }
}

func flip(at ...int) func([]byte) {
	return func(b []byte) {
		for _, i := range at {
			b[i] ^= 0x10
		}
	}
}

func resealed(change func(b []byte)) func([]byte) {
	return func(b []byte) {
		change(b)
		sum := crc32.Checksum(b[:4092], crc32.MakeTable(crc32.Castagnoli))
		binary.LittleEndian.PutUint32(b[4092:], sum)
	}
}

func remove(path string) func(*hatest.Disk) error {
	return func(d *hatest.Disk) error { return d.Remove(path) }
}

func put(path string) func(*hatest.Disk) error {
	return func(d *hatest.Disk) error { return d.Put(path, []byte("segment")) }
}

func both(a, b func(*hatest.Disk) error) func(*hatest.Disk) error {
	return func(d *hatest.Disk) error { return errors.Join(a(d), b(d)) }
}

const (
	secondClaim = "data/ha/e0000000002/"
	highest     = "data/ha/e0000000003/"
)

// TestRun_Damage harms a directory after three orderly starts. What costs no
// history is borne; everything else is refused with a sentence that names it,
// before a number is spent.
func TestRun_Damage(t *testing.T) {
	for _, tc := range []struct {
		name string
		harm func(*hatest.Disk) error
		err  error  // nil: it serves, and continues 1, 2, 3
		says string // part of the sentence
	}{
		{"first copy of active is bad", edit(highest+"active", flip(100)), nil, ""},
		{"second copy of active is bad", edit(highest+"active", flip(4096+100)), nil, ""},
		{"both copies of active are bad", edit(highest+"active", flip(100, 4096+100)), ha.ErrDamage, "e0000000003/active"},
		{"active is missing", remove(highest + "active"), ha.ErrDamage, "e0000000003/active"},
		{"active is cut", func(d *hatest.Disk) error {
			return errors.Join(d.Remove(highest+"active"), d.Put(highest+"active", make([]byte, 100)))
		}, ha.ErrDamage, "e0000000003/active"},
		{"active is blank again, the floor knows better", edit(highest+"active", func(b []byte) { clear(b) }), ha.ErrDamage, "ha/floor says that epoch 3 was active"},
		{"active of another epoch", func(d *hatest.Disk) error {
			var other []byte
			err := d.Edit(secondClaim+"active", func(b []byte) { other = slices.Clone(b) })
			return errors.Join(err, d.Edit(highest+"active", func(b []byte) { copy(b, other) }))
		}, ha.ErrDamage, "e0000000003/active"},
		{"lease is torn, both records", edit(highest+"lease", flip(100, 2048+100)), nil, ""},
		{"lease is blank", edit(highest+"lease", func(b []byte) { clear(b) }), nil, ""},
		{"lease is missing", remove(highest + "lease"), ha.ErrDamage, "e0000000003/lease"},
		{"fence to be marked is missing", remove(highest + "fence"), ha.ErrDamage, "e0000000003/fence"},
		{"fence is marked already", edit(highest+"fence", flip(7)), nil, ""},
		{"lock is missing", remove(highest + "lock"), nil, ""},
		{"floor is torn", edit("data/ha/floor", flip(26)), nil, ""},
		{"floor is missing", remove("data/ha/floor"), nil, ""},
		{"floor is of another store", edit("data/ha/floor", resealed(flip(8))), ha.ErrDamage, "files of two stores were mixed"},
		{"claim below the floor is removed", remove("data/ha/e0000000002"), nil, ""},
		{"claim is removed, and the floor", both(remove("data/ha/e0000000002"), remove("data/ha/floor")), ha.ErrDamage, "e0000000002/fence"},
		{"highest claim is removed", remove("data/ha/e0000000003"), ha.ErrDamage, "ha/floor names epoch 3"},
		{"ha is removed, the journal is not", both(remove("data/ha"), put("data/journal/e0000000003-0000000001.seg")), ha.ErrDamage, "the highest claim in ha/ is 0"},
		{"journal is ahead of ha", put("data/journal/e0000000004-0000000001.seg"), ha.ErrDamage, "segments of epoch 4"},
		{"journal holds what is no segment", put("data/journal/lost+found"), nil, ""},
		{"store.id is missing", remove("data/store.id"), ha.ErrDamage, "store.id is missing"},
		{"store.id is bad", edit("data/store.id", flip(9)), ha.ErrDamage, "store.id"},
		{"store.id is blank", edit("data/store.id", func(b []byte) { clear(b) }), ha.ErrDamage, "store.id"},
		{"store.id is another's", edit("data/store.id", resealed(flip(8))), ha.ErrDamage, "files of two stores were mixed"},
		{"store.id is newer", edit("data/store.id", resealed(flip(4))), ha.ErrNewer, "store.id"},
		{"active is newer", edit(highest+"active", resealed(flip(4))), ha.ErrNewer, "e0000000003/active"},
		{"floor is newer", edit("data/ha/floor", resealed(flip(4))), ha.ErrNewer, "ha/floor"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := hatest.New()
				for range 3 {
					serveOnce(t, disk)
				}
				if err := tc.harm(disk); err != nil {
					t.Fatal(err)
				}
				if tc.err == nil {
					epoch, _, lineage := serveOnce(t, disk)
					checkChain(t, tc.name, 3, 0, epoch, lineage)
					return
				}
				b := newBroker(disk).start(t, ha.Options{Node: "a"}, nil)
				err := <-b.done
				if !errors.Is(err, tc.err) || !strings.Contains(err.Error(), tc.says) {
					t.Fatalf("Run returned %v, want %v naming %q", err, tc.err, tc.says)
				}
				spent := slices.ContainsFunc(b.files.Ops(), func(op string) bool { return strings.HasPrefix(op, "rename") })
				if spent && !strings.HasSuffix(tc.says, "/fence") {
					t.Error("a number was spent on a directory that is refused")
				}
			})
		})
	}
}

// TestRun_TornLeaseLeavesTheRecordBefore tears the last write of the lease only.
func TestRun_TornLeaseLeavesTheRecordBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, slot := range []int{0, 2048} {
			disk := hatest.New()
			serveOnce(t, disk)
			if err := disk.Edit("data/ha/e0000000001/lease", flip(slot+100)); err != nil {
				t.Fatal(err)
			}
			if _, src, _ := serveOnce(t, disk); src.HighestSegment != 10 {
				t.Errorf("record at %d torn: highest segment %d, want the 10 that was durably named", slot, src.HighestSegment)
			}
		}
	})
}

// TestRun_SegmentsOfAnEpochNeverActive: its writer died before it could promise,
// so the directory is as good as empty.
func TestRun_SegmentsOfAnEpochNeverActive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		died := errors.New("died")
		opt := ha.Options{Dir: "data", Node: "a", Files: disk.Node()}
		err := ha.Run(t.Context(), opt, nil, func(context.Context, *ha.Tenure) error {
			return errors.Join(died, disk.Put("data/journal/e0000000001-0000000001.seg", nil))
		})
		if !errors.Is(err, died) {
			t.Fatal(err)
		}
		if epoch, src, _ := serveOnce(t, disk); epoch != 2 || src.Epoch != 0 {
			t.Errorf("epoch %d continues %d, want 2 continuing nothing", epoch, src.Epoch)
		}
	})
}

func TestRun_NumberIsAboveEverythingSeen(t *testing.T) {
	for _, tc := range []struct{ above, want uint64 }{{0, 2}, {1, 2}, {2, 3}, {7, 8}, {1025, 1026}, {1026, 0}} {
		t.Run(fmt.Sprint(tc.above), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := hatest.New()
				serveOnce(t, disk)
				b := newBroker(disk).start(t, ha.Options{Node: "a", Above: func() (uint64, error) { return tc.above, nil }}, nil)
				if tc.want == 0 {
					if err := <-b.done; !errors.Is(err, ha.ErrDamage) {
						t.Errorf("Run returned %v, want ErrDamage", err)
					}
					return
				}
				tenure := b.serves(t)
				if src, _ := tenure.Source(); tenure.Epoch() != tc.want || src.Epoch != 1 {
					t.Errorf("epoch %d continues %d, want %d continuing 1", tenure.Epoch(), src.Epoch, tc.want)
				}
				if err := b.stop(t); err != nil {
					t.Fatal(err)
				}
				if epoch, src, _ := serveOnce(t, disk); epoch != tc.want+1 || src.Epoch != tc.want {
					t.Errorf("then epoch %d continues %d", epoch, src.Epoch)
				}
			})
		})
	}
}

func TestRun_WithoutFreshReadsNobodyStandsBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := hatest.New()
		disk.Freshness = ha.Stale
		b := newBroker(disk).start(t, ha.Options{Node: "a", Standby: true}, nil)
		if err := <-b.done; !errors.Is(err, ha.ErrStale) {
			t.Errorf("with Standby: %v, want ErrStale", err)
		}
		serveOnce(t, disk)
	})
}

// TestRun_ErrorAtEveryOperation fails each operation of a start once. Run returns
// that error, or did not need the operation; the next start serves in any case.
func TestRun_ErrorAtEveryOperation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("i/o error")
		for op := 1; ; op++ {
			disk := hatest.New()
			serveOnce(t, disk)
			b := newBroker(disk)
			left, what := op, ""
			b.files.Before = func(name string) error {
				if left--; left == 0 {
					what = name
					return broken
				}
				return nil
			}
			ctx, cancel := context.WithCancel(t.Context())
			opt := ha.Options{Dir: "data", Node: "a", Files: b.files}
			err := ha.Run(ctx, opt, nil, func(ctx context.Context, tenure *ha.Tenure) error {
				cancel()
				return b.active(ctx, tenure)
			})
			cancel()
			if left > 0 {
				return
			}
			// The lock is a hint: without it the holder's lease says that it is over.
			if err == nil && !strings.HasPrefix(what, "open data/ha/e0000000001/lock") && !strings.HasPrefix(what, "locked ") {
				t.Errorf("%q failed, and Run returned nil", what)
			}
			if err != nil && !errors.Is(err, broken) {
				t.Errorf("%q failed: Run returned %v", what, err)
			}
			epoch, _, lineage := serveOnce(t, disk)
			checkChain(t, what, 1, b.passed.Load(), epoch, lineage)
		}
	})
}

// TestRun_NamesLateToAppear hides a file of a claim for a while, as the cache of
// a network file system may: it is waited for, not skipped.
func TestRun_NamesLateToAppear(t *testing.T) {
	const fence = "data/ha/e0000000001/fence"
	for _, tc := range []struct {
		name  string
		op    string
		times int
		err   error
	}{
		{"the fence to be marked", "open " + fence, 5, nil},
		{"our own claim", "open data/ha/e0000000002/lease", 6, nil},
		{"a fence that is never found", "open " + fence, 1000, ha.ErrDamage},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := hatest.New()
				disk.Freshness = ha.Direct
				serveOnce(t, disk)
				b := newBroker(disk)
				marked := false
				b.files.Before = func(op string) error {
					if op == tc.op && tc.times > 0 {
						tc.times--
						return fs.ErrNotExist
					}
					marked = marked || op == "sync "+fence
					return nil
				}
				b.start(t, ha.Options{Node: "a"}, nil)
				if tc.err != nil {
					if err := <-b.done; !errors.Is(err, tc.err) {
						t.Errorf("Run returned %v, want %v", err, tc.err)
					}
					return
				}
				tenure := b.serves(t)
				if src, _ := tenure.Source(); tenure.Epoch() != 2 || src.Epoch != 1 || !marked || tc.times != 0 {
					t.Errorf("epoch %d continues %d, fence marked %v, %d left", tenure.Epoch(), src.Epoch, marked, tc.times)
				}
				if err := b.stop(t); err != nil {
					t.Fatal(err)
				}
			})
		})
	}
}
