package interop

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

var (
	failoverRuns  = flag.Int("failover.runs", 0, "seeded runs of TestFailover over all faults and loads; 0: the short set")
	failoverTTL   = flag.Duration("failover.ttl", time.Second, "the lease's ttl in TestFailover")
	failoverSeed  = flag.Uint64("failover.seed", 0, "the first seed of TestFailover; 0: a new one")
	failoverFault = flag.String("failover.fault", "", "only faults whose name begins so")
	failoverLoad  = flag.String("failover.load", "", "only the load of that name")
)

// failoverRun is one fault under one load.
type failoverRun struct {
	c     *cluster
	fault fault
	load  string
	rng   *rand.Rand

	ping    *failoverQueue // one message after the other: its promises tell the gap
	queues  []*failoverQueue
	late    *failoverQueue // a backlog whose consumer comes after the fault; nil: none
	mqtt    []*failoverSession
	facts   *failoverFacts
	finish  chan struct{} // closed when publishers have published enough
	clients *errgroup.Group
	ctx     context.Context //nolint:containedctx // of the clients
	slow    []string
}

// tooSlow notes a time that a busy machine may have caused: the summary shows it.
func (r *failoverRun) tooSlow(format string, args ...any) {
	r.slow = append(r.slow, fmt.Sprintf(format, args...))
}

func loads() []string { return []string{"idle", "storm", "backlog", "mqtt"} }

// backlogMessages is how many messages wait when the fault happens; the short set and
// long runs are alike, so that a seed means the same.
const backlogMessages = 5000

func newFailoverRun(t *testing.T, f fault, load string, ttl time.Duration, seed uint64) *failoverRun {
	t.Helper()
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, f.name, load) // a hash takes everything
	c := newCluster(t, f.nodes, ttl)
	if f.noTimer {
		for _, n := range c.nodes {
			n.Env = append(n.Env, "BATON_TEST_NO_SELF_KILL=1")
		}
	}
	r := &failoverRun{c: c, fault: f, load: load, rng: rand.New(rand.NewPCG(seed, h.Sum64())), finish: make(chan struct{})}
	r.ping = newFailoverQueue(c, "ping", 1, 2*time.Millisecond)
	r.queues = []*failoverQueue{r.ping}
	r.facts = &failoverFacts{cluster: c, prefix: "kept", every: 10 * time.Millisecond}
	switch load {
	case "storm":
		r.queues = append(r.queues, newFailoverQueue(c, "storm.a", 200, 0), newFailoverQueue(c, "storm.b", 50, 0))
	case "backlog":
		r.late = newFailoverQueue(c, "deep", 500, 0)
		r.late.size = 1024
		r.queues = append(r.queues, r.late)
	case "mqtt":
		for _, m := range mqttCrashCases() {
			r.mqtt = append(r.mqtt, newFailoverSession(c, m, 20, 3*time.Millisecond))
		}
		r.mqtt = append(r.mqtt, newFailoverSession(c, mqttCrashCase{"3.1.1 QoS 2 TCP", 4, "tcp", 2}, 20, 3*time.Millisecond))
	}
	return r
}

// begin starts the clients and waits until there is something to lose.
func (r *failoverRun) begin(t *testing.T) {
	t.Helper()
	r.clients, r.ctx = errgroup.WithContext(t.Context())
	for _, q := range r.queues {
		r.clients.Go(func() error { return q.publish(r.ctx, r.finish) })
		if q != r.late {
			r.clients.Go(func() error { return q.consume(r.ctx) })
		}
	}
	for _, s := range r.mqtt {
		ready := make(chan struct{})
		r.clients.Go(func() error { return s.subscribe(r.ctx, ready) })
		r.clients.Go(func() error {
			select {
			case <-ready:
			case <-r.ctx.Done():
				return context.Cause(r.ctx)
			}
			return s.publish(r.ctx, r.finish)
		})
	}
	r.clients.Go(func() error { return r.facts.queues(r.ctx, r.finish) })
	r.clients.Go(func() error { return r.facts.mqtt(r.ctx, r.finish) })
	r.promisesGoOn(t, 20)
	if r.late != nil {
		r.promised(&r.late.rec, backlogMessages)
	}
	for _, s := range r.mqtt {
		r.promised(&s.rec, 20)
	}
}

// promisesGoOn waits until the primary of now has promised n publishes.
func (r *failoverRun) promisesGoOn(t *testing.T, n int) {
	t.Helper()
	epoch := r.c.served()
	r.c.until(r.ctx, fmt.Sprintf("%d promises of epoch %d", n, epoch), func() bool {
		count := 0
		for _, e := range r.ping.rec.Snapshot() {
			if e.Kind == Confirmed && e.Epoch >= epoch {
				count++
			}
		}
		return count >= n
	})
}

func (r *failoverRun) promised(rec *Recorder, n int) {
	r.c.until(r.ctx, fmt.Sprintf("%d promises", n), func() bool { return rec.Snapshot().Count(Confirmed) >= n })
}

// outcome is what one run has shown.
type outcome struct {
	Verdict
	gaps   []time.Duration
	slow   []string
	leases int // lost for want of a renewal, where no fault was
}

// run has the fault happen under the load, heals, and judges.
func (r *failoverRun) run(t *testing.T) outcome {
	t.Helper()
	watching, stopWatching := context.WithCancel(t.Context())
	defer stopWatching()
	r.c.form()
	sightings := r.c.watch(watching)
	r.begin(t)
	must(t, pause(t.Context(), time.Duration(r.rng.Int64N(int64(300*time.Millisecond)))))

	r.fault.happen(t, r)
	r.promisesGoOn(t, 20)
	r.c.form() // what is down comes back as a standby
	r.promisesGoOn(t, 20)

	if r.late != nil {
		r.clients.Go(func() error { return r.late.consume(r.ctx) })
	}
	close(r.finish)
	ended := make(chan error, 1)
	go func() { ended <- r.clients.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("clients: %v", err)
		}
	case <-time.After(2 * failoverPatience):
		t.Fatalf("the clients have not ended %v after they were told", 2*failoverPatience)
	}
	stopWatching()
	for _, q := range r.queues {
		r.read(t, func() error { return q.rest(t.Context()) })
	}
	r.read(t, func() error { return r.facts.find(t.Context()) })
	out := r.judge(t, sightings())
	r.c.verify()
	return out
}

// read has something read that is there for good, again when a machine that stood
// still has cost a lease meanwhile.
func (r *failoverRun) read(t *testing.T, what func() error) {
	t.Helper()
	err := what()
	for tries := 1; err != nil && !errors.Is(err, errProtocol) && tries < 3; tries++ {
		r.c.settled()
		err = what()
	}
	must(t, err)
}

func (r *failoverRun) judge(t *testing.T, seen []Sighting) outcome {
	t.Helper()
	out := outcome{gaps: r.ping.rec.Snapshot().Gaps(), slow: r.slow, leases: r.c.lost}
	t.Logf("%d promises of the ping, gaps %v", r.ping.rec.Snapshot().Count(Confirmed), out.gaps)
	fences := r.c.fences()
	for _, q := range r.queues {
		out.Add(Stream{Name: q.name, History: q.rec.Snapshot()}.Check(fences))
	}
	for _, s := range r.mqtt {
		out.Add(Stream{Name: s.name, QoS: s.qos, History: s.rec.Snapshot()}.Check(nil))
	}
	out.Add(CheckFacts(r.facts.facts))
	out.Add(CheckOneServes(seen, r.c.ttl))
	for i, v := range out.Violations {
		if i == 20 {
			t.Errorf("… and %d more", len(out.Violations)-i)
			break
		}
		t.Error(v)
	}
	if out.Promises < 50 {
		t.Errorf("only %d promises were made: the run proves nothing", out.Promises)
	}
	return out
}

// tally sums up the outcomes of one fault.
type tally struct {
	mu   sync.Mutex
	rows map[string]*tallyRow
}

type tallyRow struct {
	runs, failed int
	outcome
}

func (s *tally) add(name string, out outcome, failed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := s.rows[name]
	if row == nil {
		row = new(tallyRow)
		s.rows[name] = row
	}
	row.runs++
	if failed {
		row.failed++
	}
	row.Add(out.Verdict)
	row.gaps = append(row.gaps, out.gaps...)
	row.slow = append(row.slow, out.slow...)
	row.leases += out.leases
}

// String is the table of the summary: one row for each fault, and the sum.
func (s *tally) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	b.WriteString("| fault | runs | failed | promises | lost | zombie | late, kept | unmarked duplicates | QoS 2 twice | takeovers | gap p50 | gap p99 | slow | leases lost unasked |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	sum := new(tallyRow)
	row := func(name string, r *tallyRow) {
		fmt.Fprintf(&b, "| %s | %d | %d | %d | %d | %d | %d | %d | %d | %d | %v | %v | %d | %d |\n",
			name, r.runs, r.failed, r.Promises, r.Lost, r.Zombie, r.Late, r.Unmarked, r.Twice, len(r.gaps),
			Percentile(r.gaps, 50).Round(time.Millisecond), Percentile(r.gaps, 99).Round(time.Millisecond), len(r.slow), r.leases)
	}
	for _, name := range slices.Sorted(maps.Keys(s.rows)) {
		r := s.rows[name]
		row(name, r)
		sum.runs += r.runs
		sum.failed += r.failed
		sum.Add(r.Verdict)
		sum.gaps = append(sum.gaps, r.gaps...)
		sum.slow = append(sum.slow, r.slow...)
		sum.leases += r.leases
	}
	row("all", sum)
	for _, s := range sum.slow {
		fmt.Fprintln(&b, "slow:", s)
	}
	return b.String()
}

// shortSet is what every run of the tests takes: each fault once, each load with the
// faults that it is made for.
func shortSet() map[string]string {
	return map[string]string{
		"kill": "mqtt", "term": "mqtt", "stop ttl/2": "idle", "stop ttl and 1 s": "storm",
		"stop with kernel timer": "idle", "torn tail": "storm", "cut tail": "idle", "index missing": "backlog", "index flipped": "idle",
		"heir killed": "mqtt", "heir stopped": "idle", "handover": "storm",
	}
}

// Brokers on one directory take over from one another under load, whatever happens
// to the primary, and keep every promise. It is not parallel: a ttl is short.
func TestFailover(t *testing.T) {
	notUnderRace(t)
	needOwnMQTT(t)
	first := *failoverSeed
	if first == 0 {
		first = rand.Uint64N(1 << 32)
	}
	sum := &tally{rows: make(map[string]*tallyRow)}
	one := func(t *testing.T, f fault, load string, seed uint64) {
		t.Helper()
		t.Logf("-failover.runs=1 -failover.seed=%d -failover.fault=%q -failover.load=%s -failover.ttl=%v", seed, f.name, load, *failoverTTL)
		var out outcome
		defer func() { sum.add(f.name, out, t.Failed()) }()
		out = newFailoverRun(t, f, load, *failoverTTL, seed).run(t)
	}
	if *failoverRuns == 0 {
		for _, f := range faults() {
			load, short := shortSet()[f.name]
			if !short {
				continue
			}
			t.Run(f.name+"/"+load, func(t *testing.T) { one(t, f, load, first) })
		}
	}
	for n := range *failoverRuns {
		f, load := nthRun(t, n)
		t.Run(fmt.Sprintf("%d/%s/%s", n, f.name, load), func(t *testing.T) { one(t, f, load, first+uint64(n)) })
	}
	t.Logf("ttl %v, seeds from %d\n%s", *failoverTTL, first, sum)
}

// nthRun goes through all combinations that the flags leave.
func nthRun(t *testing.T, n int) (fault, string) {
	t.Helper()
	type combination struct {
		fault
		load string
	}
	var all []combination
	for _, load := range loads() {
		for _, f := range faults() {
			if strings.HasPrefix(f.name, *failoverFault) && (*failoverLoad == "" || load == *failoverLoad) {
				all = append(all, combination{f, load})
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("-failover.fault and -failover.load leave nothing to run")
	}
	c := all[n%len(all)]
	return c.fault, c.load
}
