package ha_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/ha/hatest"
)

// journalOf answers as the journal of the brokers of these tests would: an epoch
// continues the one before.
func journalOf(t *testing.T, disk *hatest.Disk, unreadable ...uint64) func(uint64) ([16]byte, []ha.Seal, error) {
	t.Helper()
	var id [16]byte
	if err := disk.Edit("data/store.id", func(b []byte) { copy(id[:], b[8:24]) }); err != nil {
		t.Fatal(err)
	}
	return func(e uint64) ([16]byte, []ha.Seal, error) {
		if slices.Contains(unreadable, e) {
			return id, nil, errors.New("no segment can be read")
		}
		var lineage []ha.Seal
		for i := uint64(1); i < e; i++ {
			lineage = append(lineage, sealOf(i))
		}
		return id, lineage, nil
	}
}

// TestRepair harms a directory so that it is refused, and repairs it. What was repaired is durable: the power may be cut right after it.
func TestRepair(t *testing.T) {
	segment := put("data/journal/e0000000003-0000000001.seg")
	for _, tc := range []struct {
		name       string
		harm       func(*hatest.Disk) error
		unreadable []uint64 // epochs of which the journal tells nothing
		findings   int
		givesUp    string
		lineage    int // of the epoch that serves after it; -1: it cannot be repaired
	}{
		{name: "nothing is wrong", harm: segment, lineage: 3},
		{name: "ha is removed, the journal is not", harm: both(remove("data/ha"), segment), findings: 3, lineage: 3},
		{name: "ha is removed, and the newest journal unreadable", harm: both(remove("data/ha"), segment), unreadable: []uint64{3}, findings: 3, givesUp: "epoch 3", lineage: 2},
		{name: "ha is removed, and the journal unreadable", harm: both(remove("data/ha"), segment), unreadable: []uint64{1, 2, 3}, findings: 4, givesUp: "epoch 3", lineage: -1},
		{name: "the highest claim is removed", harm: both(remove("data/ha/e0000000003"), segment), findings: 1, lineage: 3},
		{name: "the highest claim is removed, its journal unreadable", harm: both(remove("data/ha/e0000000003"), segment), unreadable: []uint64{3}, findings: 2, lineage: -1},
		{name: "a claim and the floor are removed", harm: both(remove("data/ha/e0000000002"), remove("data/ha/floor")), findings: 1, lineage: 3},
		{name: "both copies of active are bad", harm: edit(highest+"active", flip(100, 4096+100)), findings: 1, lineage: 3},
		{name: "both copies of active are bad, no floor, the journal unreadable", harm: both(remove("data/ha/floor"), edit(highest+"active", flip(100, 4096+100))), unreadable: []uint64{3}, findings: 1, givesUp: "epoch 3", lineage: 2},
		{name: "active is blank again", harm: edit(highest+"active", func(b []byte) { clear(b) }), findings: 1, lineage: 3},
		{name: "active is missing", harm: remove(highest + "active"), findings: 1, lineage: 3},
		{name: "active is missing below", harm: both(remove(secondClaim+"active"), remove("data/ha/floor")), findings: 1, lineage: 3},
		{name: "lease is missing", harm: remove(highest + "lease"), findings: 1, lineage: 3},
		{name: "fence is missing", harm: remove(highest + "fence"), findings: 1, lineage: 3},
		{name: "store.id is missing", harm: remove("data/store.id"), findings: 1, lineage: 3},
		{name: "store.id is bad", harm: edit("data/store.id", flip(9)), findings: 1, lineage: 3},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := hatest.New()
				for range 3 {
					serveOnce(t, disk)
				}
				journal := journalOf(t, disk, tc.unreadable...)
				if err := tc.harm(disk); err != nil {
					t.Fatal(err)
				}
				files := disk.Node()
				opt := ha.RepairOptions{Dir: "data", Journal: journal, Files: files}
				dry, err := ha.Repair(t.Context(), opt)
				if err != nil || len(dry.Findings) != tc.findings || dry.Applied {
					t.Fatalf("dry run: %+v, %v; want %d findings", dry, err, tc.findings)
				}
				for _, op := range files.Ops() {
					if verb, _, _ := strings.Cut(op, " "); verb != "open" && verb != "read" && verb != "names" && verb != "locked" {
						t.Errorf("a dry run did %q", op)
					}
				}
				var gives strings.Builder
				for _, f := range dry.Findings {
					gives.WriteString(f.GivesUp)
				}
				if (tc.givesUp == "") != (gives.String() == "") || !strings.Contains(gives.String(), tc.givesUp) {
					t.Errorf("it gives up %q, want %q", gives.String(), tc.givesUp)
				}
				opt.Apply = true
				done, err := ha.Repair(t.Context(), opt)
				if tc.lineage < 0 {
					if err != nil || dry.Repairable() || done.Applied {
						t.Errorf("what cannot be repaired was: %+v, %v", done, err)
					}
					return
				}
				if err != nil || !done.Repairable() || done.Applied != (tc.findings > 0) {
					t.Fatalf("repair: %+v, %v", done, err)
				}
				if again, err := ha.Repair(t.Context(), opt); err != nil || len(again.Findings) > 0 {
					t.Errorf("after the repair: %+v, %v", again, err)
				}
				disk.PowerCut(0)
				epoch, _, lineage := serveOnce(t, disk)
				if epoch != 4 || len(lineage) != tc.lineage {
					t.Errorf("then epoch %d serves with lineage %v", epoch, lineage)
				}
			})
		})
	}
}

func TestRepair_RefusesALivingHolder(t *testing.T) {
	for _, locks := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			disk := hatest.New()
			disk.NoLocks = !locks
			a := newBroker(disk).start(t, ha.Options{Node: "a"}, nil)
			tenure := a.serves(t)
			if _, err := ha.Repair(t.Context(), ha.RepairOptions{Dir: "data", Apply: true, Files: disk.Node()}); !errors.Is(err, ha.ErrHeld) {
				t.Errorf("locks %v: %v, want ErrHeld", locks, err)
			}
			if err := errors.Join(tenure.Guard(), a.stop(t)); err != nil {
				t.Error(err)
			}
		})
	}
}
