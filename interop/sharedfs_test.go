package interop

import (
	"encoding/json"
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"
)

var (
	sharedA     = flag.String("sharedfs.a", "", "one mount of a shared file system: see glusterfs.sh")
	sharedB     = flag.String("sharedfs.b", "", "another mount of it, or the same directory")
	sharedTTL   = flag.Duration("sharedfs.ttl", 3*time.Second, "the lease's ttl in TestSharedFailover")
	sharedFault = flag.String("sharedfs.fault", "", "only the fault of that name")
)

// sharedDirs makes one directory and returns its paths by the two mounts.
func sharedDirs(t *testing.T) (a, b string) {
	t.Helper()
	if *sharedA == "" || *sharedB == "" {
		t.Skip("needs a file system that is mounted twice, -sharedfs.a DIR -sharedfs.b DIR: glusterfs.sh makes one")
	}
	a, err := os.MkdirTemp(*sharedA, "shared-") //nolint:usetesting // on that mount
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(a)) })
	b = filepath.Join(*sharedB, filepath.Base(a))
	eventually(t, func() bool { _, err := os.Stat(b); return err == nil })
	return a, b
}

// storageReport is what is looked at of what storage check prints.
type storageReport struct {
	OK     bool
	Pair   bool
	Checks []struct{ Name, Verdict, Detail string }
}

// Two commands on two mounts of one directory check it together, and come to the
// same verdict, that it can be shared.
func TestSharedStorageCheck(t *testing.T) {
	a, b := sharedDirs(t)
	bin, err := suite.binary()
	must(t, err)
	var wg sync.WaitGroup
	outs := make([]string, 2)
	for i, dir := range []string{a, b} {
		wg.Go(func() {
			code, out, errs := command(t, &Broker{Config: Config{Binary: bin}}, "storage", "check", dir, "--pair", "--json")
			if outs[i] = out; code != exitOK {
				t.Errorf("storage check of %s: exit code %d\n%s%s", dir, code, out, errs)
			}
		})
	}
	wg.Wait()
	for _, out := range outs {
		var r storageReport
		if err := json.Unmarshal([]byte(out), &r); err != nil || !r.OK || !r.Pair || len(r.Checks) < 9 {
			t.Errorf("the report is %+v, %v, of\n%s", r, err, out)
		}
	}
	if outs[0] != outs[1] {
		t.Errorf("the two reports differ:\n%s%s", outs[0], outs[1])
	}
	t.Logf("%s", outs[0])
}

// sharedLoads are the faults of TestFailover that two hosts must survive, each with
// a load.
func sharedLoads() map[string]string {
	return map[string]string{
		"kill": "mqtt", "term": "mqtt", "stop ttl and 1 s": "storm", "stop 10 ttl": "idle", "ten in a row": "storm",
		"torn tail": "storm", "heir killed": "mqtt",
	}
}

// Brokers that reach one store through mounts of their own take over from one
// another and keep every promise.
func TestSharedFailover(t *testing.T) {
	sum := &tally{rows: make(map[string]*tallyRow)}
	seed := *failoverSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	all := sharedLoads()
	for _, f := range faults() {
		load, ok := all[f.name]
		if !ok || *sharedFault != "" && f.name != *sharedFault {
			continue
		}
		t.Run(f.name+"/"+load, func(t *testing.T) {
			a, b := sharedDirs(t)
			var out outcome
			defer func() { sum.add(f.name, out, t.Failed()) }()
			r := newFailoverRun(t, f, load, *sharedTTL, seed)
			r.c.dir = filepath.Join(a, "data")
			for i, n := range r.c.nodes {
				n.Dir = filepath.Join([]string{a, b}[i%2], "data")
			}
			out = r.run(t)
		})
	}
	t.Logf("ttl %v, seed %d, faults %v\n%s", *sharedTTL, seed, slices.Sorted(maps.Keys(all)), sum)
}
