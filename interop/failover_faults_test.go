package interop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// exitLost is the exit code of a broker that may not promise any more.
const exitLost = 3

// fault is something that happens to a formed cluster under load. It returns when
// it is over; a node may be down then, and is started again by form.
type fault struct {
	name  string
	nodes int
	// noTimer leaves the kernel's timer off, so that a broker that was stopped meets
	// its own end when it is resumed.
	noTimer bool
	happen  func(t *testing.T, r *failoverRun)
}

func faults() []fault {
	return []fault{
		{name: "kill", nodes: 2, happen: killPrimary},
		{name: "term", nodes: 2, happen: terminatePrimary},
		{name: "stop ttl/2", nodes: 2, noTimer: true, happen: pausePrimary},
		{name: "stop ttl and 1 s", nodes: 2, noTimer: true, happen: stopPrimary(1, time.Second)},
		{name: "stop 10 ttl", nodes: 2, noTimer: true, happen: stopPrimary(10, 0)},
		{name: "stop with kernel timer", nodes: 2, happen: stopKilled},
		{name: "torn tail", nodes: 2, happen: tornTail(false)},
		{name: "cut tail", nodes: 2, happen: tornTail(true)},
		{name: "index missing", nodes: 2, happen: standbyIndex(removeIndex)},
		{name: "index flipped", nodes: 2, happen: standbyIndex(flipIndex)},
		{name: "ten in a row", nodes: 2, happen: tenInARow},
		{name: "heir killed", nodes: 3, happen: heirKilled},
		{name: "heir stopped", nodes: 3, noTimer: true, happen: heirStopped},
		{name: "three nodes", nodes: 3, happen: killPrimary},
		{name: "standby killed", nodes: 2, happen: standbyKilled},
		{name: "handover", nodes: 2, happen: handOver},
	}
}

// kill ends the primary and returns the epoch it had.
func kill(t *testing.T, c *cluster) (*clusterNode, uint64) {
	t.Helper()
	p := c.primary()
	if p == nil {
		t.Fatal("there is no primary to kill")
	}
	epoch := c.served()
	must(t, p.Kill())
	return p, epoch
}

func killPrimary(t *testing.T, r *failoverRun) {
	t.Helper()
	_, epoch := kill(t, r.c)
	r.c.awaitEpoch(epoch)
}

func terminatePrimary(t *testing.T, r *failoverRun) {
	t.Helper()
	p, epoch := r.c.primary(), r.c.served()
	terminate(t, p)
	r.c.awaitEpoch(epoch)
}

// terminate ends a node in order. One that hangs is made to show where.
func terminate(t *testing.T, n *clusterNode) {
	t.Helper()
	code, err := n.Terminate()
	if err == nil && code == exitOK {
		return
	}
	if err != nil {
		n.signal(syscall.SIGQUIT)
		_, _ = n.life.wait(stopLimit) // what it has logged is shown
	}
	t.Fatalf("SIGTERM of %s: exit code %d, %v", n.name, code, err)
}

// pausePrimary stops the primary for less than a ttl: nobody takes over, unless the
// machine made it longer.
func pausePrimary(t *testing.T, r *failoverRun) {
	t.Helper()
	p := r.c.primary()
	p.signal(sigStop)
	must(t, pause(t.Context(), r.c.ttl/2))
	p.signal(sigCont)
}

// stopPrimary stops it for so many ttl and more, and until another has taken over. Resumed, it ends by itself.
func stopPrimary(ttls int, more time.Duration) func(*testing.T, *failoverRun) {
	return func(t *testing.T, r *failoverRun) {
		t.Helper()
		p, epoch := r.c.primary(), r.c.served()
		p.signal(sigStop)
		p.ending = true
		begun := time.Now()
		r.c.awaitEpoch(epoch)
		must(t, pause(t.Context(), time.Duration(ttls)*r.c.ttl+more-time.Since(begun)))
		resume(t, r, p)
	}
}

// stopKilled stops the primary and finds that the kernel ends it.
func stopKilled(t *testing.T, r *failoverRun) {
	t.Helper()
	p, epoch := r.c.primary(), r.c.served()
	p.signal(sigStop)
	p.ending = true
	stopped := time.Now()
	if _, err := p.life.wait(failoverPatience); err != nil {
		p.signal(sigCont)
		t.Fatalf("the kernel did not end a primary that was stopped: %v", err)
	}
	if took := time.Since(stopped); took > r.c.ttl+700*time.Millisecond {
		r.tooSlow("the kernel ended the primary %v after it was stopped, want ttl + 0.5 s", took)
	}
	if !killed(p.life.cmd.ProcessState) {
		t.Errorf("the primary ended with %v, want by SIGKILL", p.life.cmd.ProcessState)
	}
	r.c.awaitEpoch(epoch)
}

// tornTail leaves, between a death and the takeover, a write that was under way at the
// end of the primary's last segment, or cuts off what lies behind its last group.
func tornTail(cut bool) func(*testing.T, *failoverRun) {
	return func(t *testing.T, r *failoverRun) {
		t.Helper()
		others := r.c.standbys()
		for _, n := range others {
			n.signal(sigStop)
		}
		_, epoch := kill(t, r.c)
		segments, err := filepath.Glob(filepath.Join(r.c.dir, "journal", fmt.Sprintf("e%010d-*.seg", epoch)))
		must(t, err)
		if len(segments) == 0 {
			t.Fatalf("epoch %d has no segment", epoch)
		}
		tear(t, slices.Max(segments), cut, r.rng)
		for _, n := range others {
			n.signal(sigCont)
		}
		r.c.awaitEpoch(epoch)
	}
}

// tear writes garbage behind the last group of a segment, which may begin as a group
// does, or makes the file end there.
func tear(t *testing.T, segment string, cut bool, rng *rand.Rand) {
	t.Helper()
	b, err := os.ReadFile(segment)
	must(t, err)
	end := segmentEnd(b)
	f, err := os.OpenFile(segment, os.O_RDWR, 0)
	must(t, err)
	defer f.Close()
	if cut {
		must(t, f.Truncate(end))
		return
	}
	garbage := make([]byte, 32+rng.IntN(4096))
	for i := range garbage {
		garbage[i] = byte(rng.Uint32())
	}
	binary.LittleEndian.PutUint32(garbage, uint32(8*(4+rng.IntN(2048)))) // a length like a group's
	copy(garbage[8:], "PRGB")
	_, err = f.WriteAt(garbage, end)
	must(t, err)
}

// segmentEnd walks the groups by their lengths, as FORMAT.md draws them: the header's
// length is at 12, a group's at its start, and 0 is none.
func segmentEnd(b []byte) int64 {
	at := int64(binary.LittleEndian.Uint32(b[12:]))
	for at+8 <= int64(len(b)) {
		n := int64(binary.LittleEndian.Uint32(b[at:]))
		if n == 0 || at+n > int64(len(b)) {
			break
		}
		at += n
	}
	return at
}

// standbyIndex damages a standby's index while it is down; then the primary dies.
func standbyIndex(damage func(t *testing.T, dir string, rng *rand.Rand)) func(*testing.T, *failoverRun) {
	return func(t *testing.T, r *failoverRun) {
		t.Helper()
		n := r.c.standbys()[0]
		terminate(t, n)
		damage(t, filepath.Join(r.c.dir, "index", n.name), r.rng)
		r.c.form()
		killPrimary(t, r)
	}
}

func removeIndex(t *testing.T, dir string, _ *rand.Rand) {
	t.Helper()
	must(t, os.RemoveAll(dir))
}

// flipIndex flips a byte in every file of the index that has any.
func flipIndex(t *testing.T, dir string, rng *rand.Rand) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil || len(b) == 0 {
			return err
		}
		// The front is written first, and files may be longer than what is in them.
		b[rng.IntN(min(len(b), 512))] ^= 1 << rng.IntN(8)
		return os.WriteFile(path, b, 0o600)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return // this node has none yet
	}
	must(t, err)
}

func tenInARow(t *testing.T, r *failoverRun) {
	t.Helper()
	for range 10 {
		p, epoch := kill(t, r.c)
		r.c.awaitEpoch(epoch)
		p.begin()
		r.c.settled()
		r.promisesGoOn(t, 5)
	}
}

// heirKilled ends the node that takes over, at a moment of its takeover; the third
// goes on.
func heirKilled(t *testing.T, r *failoverRun) {
	t.Helper()
	heir, claimed := takingOver(t, r)
	must(t, heir.Kill())
	r.c.awaitEpoch(claimed)
}

// takingOver kills the primary and returns another node at some moment of its
// takeover, or shortly after it, and the epoch that it has claimed.
func takingOver(t *testing.T, r *failoverRun) (heir *clusterNode, claimed uint64) {
	t.Helper()
	old, epoch := kill(t, r.c)
	must(t, r.c.await(t.Context(), "a claim", func() bool {
		for _, n := range r.c.nodes {
			if n != old && n.claimed > epoch {
				heir, claimed = n, n.claimed
			}
		}
		return heir != nil
	}))
	must(t, pause(t.Context(), time.Duration(r.rng.Int64N(int64(60*time.Millisecond)))))
	return heir, claimed
}

// heirStopped stops the node that takes over until the third has; resumed, it finds
// that its turn is over, wherever it was.
func heirStopped(t *testing.T, r *failoverRun) {
	t.Helper()
	heir, claimed := takingOver(t, r)
	heir.signal(sigStop)
	heir.ending = true
	r.c.awaitEpoch(claimed)
	must(t, pause(t.Context(), time.Duration(r.rng.Int64N(int64(r.c.ttl)))))
	resume(t, r, heir)
}

// resume lets a node go on that was stopped and superseded: it ends by itself.
func resume(t *testing.T, r *failoverRun, n *clusterNode) {
	t.Helper()
	n.signal(sigCont)
	resumed := time.Now()
	code, err := n.life.wait(failoverPatience)
	if err != nil || code != exitLost {
		t.Errorf("%s, superseded, ended with %d, %v; want %d", n.name, code, err, exitLost)
	}
	if took := time.Since(resumed); took > time.Second {
		r.tooSlow("%s ended %v after it was resumed, want a second at most", n.name, took)
	}
}

// standbyKilled kills a standby, has it come back, and then needs it.
func standbyKilled(t *testing.T, r *failoverRun) {
	t.Helper()
	must(t, r.c.standbys()[0].Kill())
	r.c.form()
	killPrimary(t, r)
}

// handOver asks for a takeover, after which the old primary stands by.
func handOver(t *testing.T, r *failoverRun) {
	t.Helper()
	p, epoch := r.c.primary(), r.c.served()
	if code, out, errs := command(t, p.Broker, "ha", "handover", "--data", r.c.dir); code != exitOK {
		t.Fatalf("ha handover: exit code %d\n%s%s", code, out, errs)
	}
	r.c.awaitEpoch(epoch)
	if r.c.primary() == p {
		t.Errorf("%s is the primary again after it was asked to hand over", p.name)
	}
	if !p.running() {
		t.Errorf("%s has ended with code %d after it handed over, want it to stand by", p.name, p.life.cmd.ProcessState.ExitCode())
	}
}

// The faults must hurt what they say, and no more, or the runs with them prove less.
func TestTearSparesGroups(t *testing.T) {
	segment := make([]byte, 16<<10)
	binary.LittleEndian.PutUint32(segment[12:], 96)
	binary.LittleEndian.PutUint32(segment[96:], 64)
	binary.LittleEndian.PutUint32(segment[160:], 1024)
	const end = 160 + 1024
	path := filepath.Join(t.TempDir(), "segment")
	for _, cut := range []bool{false, true} {
		must(t, os.WriteFile(path, segment, 0o600))
		tear(t, path, cut, rand.New(rand.NewPCG(1, 2)))
		torn, err := os.ReadFile(path)
		must(t, err)
		if string(torn[:end]) != string(segment[:end]) {
			t.Errorf("cut %v: groups were changed", cut)
		}
		if cut != (len(torn) == end) || !cut && string(torn[end:end+64]) == string(segment[end:end+64]) {
			t.Errorf("cut %v: the tail is as it was", cut)
		}
	}
}
