package interop

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

var (
	failpointAll  = flag.Bool("failpoint.all", false, "TestFailPoints takes every point with every action, not a sample of them")
	failpointOnly = flag.String("failpoint.only", "", "TestFailPoints takes those whose name contains this")
	failpointSeed = flag.Uint64("failpoint.seed", 0, "the seed of TestFailPoints; 0: a new one")
)

const (
	// failpointVariable tells a broker built with the tag failpoint what to do where.
	failpointVariable = "BATON_FAILPOINT"
	// failpointSample is how many cases a run takes of each kind that is not asked for all.
	failpointSample = 3
)

// failpointBinary is the broker with fail points, built once, or the one that
// BATON_INTEROP_FAILPOINT_BINARY names.
var failpointBinary = sync.OnceValues(func() (string, error) {
	if bin := os.Getenv("BATON_INTEROP_FAILPOINT_BINARY"); bin != "" {
		return bin, nil
	}
	dir := filepath.Join(suite.dir, "failpoint")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return "", err
	}
	return Build(context.Background(), dir, "-tags", "failpoint")
})

// failpointCase is one point with what happens there.
type failpointCase struct {
	point  string
	action string // kill, stop, error, sleep …
	// min and spread are which time of reaching the point it is: the time at which clients
	// are at work for sure, and chance. 0: the first time.
	min, spread int
	// heir: it happens to the node that takes over from a primary that was killed.
	heir bool
	// again: the same node is who goes on, started once more, and no third one.
	again bool
}

func (f failpointCase) name() string {
	name := f.point + "/" + strings.ReplaceAll(f.action, " ", "-")
	if f.again {
		name += "/again"
	}
	return name
}

// serving are the points that a primary reaches again and again.
func (failpointCase) serving() []failpointCase {
	var all []failpointCase
	for _, f := range []failpointCase{
		{point: "journal.written", min: 80, spread: 200},
		{point: "journal.synced", min: 80, spread: 200},
		{point: "journal.passed", min: 80, spread: 200},
		{point: "lease.renewing", min: 20, spread: 10},
		{point: "lease.renewed", min: 20, spread: 10},
		{point: "checkpoint.begun", min: 8, spread: 8},
		{point: "checkpoint.written", min: 8, spread: 8},
	} {
		for _, f.action = range []string{"kill", "stop", "error", "sleep 1500ms"} {
			all = append(all, f)
		}
	}
	return all
}

// takingOver are the points between a death and the next primary.
func (failpointCase) takingOver() []failpointCase {
	var all []failpointCase
	for _, point := range []string{"claimed", "marked", "chosen", "sealed", "adopted", "opened", "activated"} {
		f := failpointCase{point: "takeover." + point, heir: true}
		for _, f.action = range []string{"kill", "stop", "error"} {
			all = append(all, f)
		}
		f.action, f.again = "kill", true
		all = append(all, f)
	}
	return all
}

// Whatever step a primary or its heir is in the middle of when it dies, stops for
// longer than its lease, fails or is held up: what was promised is kept, an epoch that was
// superseded promises nothing more, and somebody serves in the end.
func TestFailPoints(t *testing.T) {
	notUnderRace(t)
	needOwnMQTT(t)
	if _, err := failpointBinary(); err != nil {
		t.Fatal(err)
	}
	first := *failpointSeed
	if first == 0 {
		first = rand.Uint64N(1 << 32)
	}
	rng := rand.New(rand.NewPCG(first, 0))
	var cases []failpointCase
	for _, kind := range [][]failpointCase{failpointCase{}.serving(), failpointCase{}.takingOver()} {
		if !*failpointAll && *failpointOnly == "" {
			rng.Shuffle(len(kind), func(i, j int) { kind[i], kind[j] = kind[j], kind[i] })
			kind = kind[:failpointSample]
		}
		cases = append(cases, kind...)
	}
	sum := &tally{rows: make(map[string]*tallyRow)}
	for _, f := range cases {
		if !strings.Contains(f.name(), *failpointOnly) {
			continue
		}
		t.Run(f.name(), func(t *testing.T) {
			t.Logf("-failpoint.seed=%d -failpoint.only=%s -failover.ttl=%v", first, f.name(), *failoverTTL)
			var out outcome
			defer func() { sum.add(f.point, out, t.Failed()) }()
			out = newFailpointRun(t, f, first).run(t)
		})
	}
	t.Logf("seed %d\n%s", first, sum)
}

// newFailpointRun has a run of a fault whose first node, or the one that takes over
// from it, is told what to do at the point.
func newFailpointRun(t *testing.T, f failpointCase, seed uint64) *failoverRun {
	t.Helper()
	bin, err := failpointBinary()
	if err != nil {
		t.Fatal(err)
	}
	what := fault{name: f.name(), nodes: 2, noTimer: true, happen: f.happen}
	if f.heir && !f.again {
		what.nodes = 3
	}
	r := newFailoverRun(t, what, "idle", *failoverTTL, seed)
	r.queues = append(r.queues, newFailoverQueue(r.c, "window", 20, time.Millisecond))
	r.mqtt = append(r.mqtt, newFailoverSession(r.c, mqttCrashCase{"5.0 QoS 2 TCP", 5, "tcp", 2}, 20, 2*time.Millisecond))
	for _, n := range r.c.nodes {
		n.Binary = bin
		n.Env = append(n.Env, "BATON_STORE_CHECKPOINT_EVERY=100ms")
	}
	value := f.point + "=" + f.action
	if f.min > 0 {
		value += fmt.Sprintf("@%d", f.min+r.rng.IntN(f.spread))
	}
	victim := f.victim(r)
	victim.Env = append(victim.Env, failpointVariable+"="+value)
	r.c.nodes[0].begin()
	must(t, r.c.await(t.Context(), "the first node serves", func() bool { return r.c.epoch != 0 }))
	r.c.nodes[0].ending = true // whatever becomes of it is meant
	return r
}

// victim is the node that the point is reached in. The first node serves first; of
// others that are as far, the one that comes first by name takes over.
func (f failpointCase) victim(r *failoverRun) *clusterNode {
	if f.heir {
		return r.c.nodes[1]
	}
	return r.c.nodes[0]
}

func (f failpointCase) happen(t *testing.T, r *failoverRun) {
	t.Helper()
	n := f.victim(r)
	if f.heir {
		f.begin(t, r)
	}
	f.reached(t, r, n)
	n.Env = n.Env[:len(n.Env)-1] // it is started again without
	if f.heir && !f.again {
		r.c.nodes[2].signal(sigCont)
	}
	switch f.action {
	case "kill":
		f.killed(t, r, n)
	case "stop":
		f.stopped(t, r, n)
	case "error":
		f.failed(t, r, n)
	default:
		f.slept(t, r, n)
	}
}

// reached waits until the node has come to the point.
func (f failpointCase) reached(t *testing.T, r *failoverRun, n *clusterNode) {
	t.Helper()
	come := func() bool { return strings.Contains(n.log(), "fail point "+f.point) }
	for begun := time.Now(); !come() && n.running() && r.c.served() <= f.epoch() && time.Since(begun) < 2*failoverPatience; {
		must(t, pause(t.Context(), 10*time.Millisecond))
	}
	switch {
	case come():
	case strings.Contains(n.log(), "the lease was not renewed within its ttl"):
		t.Skipf("the machine stood still: %s lost its lease before it came to %s", n.name, f.point)
	default:
		t.Fatalf("%s has not come to %s", n.name, f.point)
	}
}

// begin has the second node take over from the first, and the third wait.
func (f failpointCase) begin(t *testing.T, r *failoverRun) {
	t.Helper()
	r.c.nodes[1].ending = true
	if !f.again {
		r.c.nodes[2].signal(sigStop)
	}
	kill(t, r.c)
}

// epoch is the one in which the point was reached.
func (f failpointCase) epoch() uint64 {
	if f.heir {
		return 2
	}
	return 1
}

func (f failpointCase) killed(t *testing.T, r *failoverRun, n *clusterNode) {
	t.Helper()
	if _, err := n.life.wait(failoverPatience); err != nil {
		t.Fatal(err)
	}
	if f.again {
		n.begin()
	}
	r.c.awaitEpoch(f.epoch())
}

// stopped resumes the node when another serves: it must find out and end by itself,
// without having served clients if it had not before.
func (f failpointCase) stopped(t *testing.T, r *failoverRun, n *clusterNode) {
	t.Helper()
	r.c.awaitEpoch(f.epoch())
	must(t, pause(t.Context(), time.Duration(r.rng.Int64N(int64(r.c.ttl)))))
	n.signal(sigCont)
	resumed := time.Now()
	if code, err := n.life.wait(failoverPatience); err != nil || code != exitLost {
		t.Errorf("%s ended with %d, %v, after it was resumed; want %d", n.name, code, err, exitLost)
	}
	if took := time.Since(resumed); took > time.Second {
		r.tooSlow("%s: %s ended %v after it was resumed, want a second at most", f.name(), n.name, took)
	}
	if f.heir {
		r.c.mu.Lock()
		defer r.c.mu.Unlock()
		if n.serving {
			t.Errorf("%s has served clients in an epoch that was superseded", n.name)
		}
	}
}

// failed: what failed ends the process, and the others need not wait for its lease.
func (f failpointCase) failed(t *testing.T, r *failoverRun, n *clusterNode) {
	t.Helper()
	code, err := n.life.wait(failoverPatience)
	if err != nil || code == exitOK || !f.heir && code != exitLost {
		t.Errorf("%s ended with %d, %v; want %d, or another code of failure before it served", n.name, code, err, exitLost)
	}
	r.c.awaitEpoch(f.epoch())
}

// slept: a step that takes longer than the ttl ends the primary if it is the renewal of
// the lease, and delays promises if it is any other.
func (f failpointCase) slept(t *testing.T, r *failoverRun, n *clusterNode) {
	t.Helper()
	if !strings.HasPrefix(f.point, "lease.") {
		must(t, pause(t.Context(), 2*time.Second))
		n.ending = n.running()
		return
	}
	if code, err := n.life.wait(failoverPatience); err != nil || code != exitLost {
		t.Errorf("%s ended with %d, %v; want %d", n.name, code, err, exitLost)
	}
	r.c.awaitEpoch(f.epoch())
}

// A binary that is built as it is released knows no fail point: neither what it is
// called nor any code.
func TestReleasedBinaryHasNoFailPoints(t *testing.T) {
	t.Parallel()
	needOwn(t)
	if os.Getenv("BATON_INTEROP_BINARY") != "" {
		t.Skip("BATON_INTEROP_BINARY names a binary that was built elsewhere")
	}
	released, err := suite.binary()
	must(t, err)
	special, err := failpointBinary()
	must(t, err)
	for _, bin := range []string{released, special} {
		want := bin == special
		text, err := os.ReadFile(bin)
		must(t, err)
		for _, name := range []string{failpointVariable, "journal.written", "takeover.marked"} {
			if got := bytes.Contains(text, []byte(name)); got != want {
				t.Errorf("%s contains %q: %v, want %v", bin, name, got, want)
			}
		}
		symbols, err := exec.CommandContext(t.Context(), "go", "tool", "nm", bin).Output()
		must(t, err)
		if got := bytes.Contains(symbols, []byte("/persistence/failpoint.")); got != want {
			t.Errorf("%s has code of the package failpoint: %v, want %v", bin, got, want)
		}
	}
}
