package interop

import (
	"context"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var failoverBehind = flag.Duration("failover.behind", time.Second, "how long TestFailoverOfMore keeps a standby from reading")

// oneFault judges a single run of a fault that is not among those of TestFailover,
// whose seeds name what happens.
func oneFault(t *testing.T, f fault, load string, ttl time.Duration, change func(r *failoverRun)) {
	t.Helper()
	seed := *failoverSeed
	if seed == 0 {
		seed = rand.Uint64N(1 << 32)
	}
	t.Logf("-failover.seed=%d, ttl %v", seed, ttl)
	sum := &tally{rows: make(map[string]*tallyRow)}
	var out outcome
	defer func() {
		sum.add(f.name, out, t.Failed())
		t.Logf("ttl %v\n%s", ttl, sum)
	}()
	r := newFailoverRun(t, f, load, ttl, seed)
	if change != nil {
		change(r)
	}
	out = r.run(t)
}

// Faults that leave the machine as it is.
func TestFailoverOfMore(t *testing.T) {
	for _, tt := range []struct {
		fault
		load   string
		change func(r *failoverRun)
	}{
		{fault{name: "panic", nodes: 2, happen: crashPrimary}, "mqtt", nil},
		{fault{name: "directory vanishes", nodes: 2, happen: directoryVanishes}, "idle", nil},
		{fault{name: "standby behind", nodes: 2, happen: standbyBehind}, "storm", reclaimSoon},
	} {
		t.Run(tt.name+"/"+tt.load, func(t *testing.T) { oneFault(t, tt.fault, tt.load, *failoverTTL, tt.change) })
	}
}

// crashPrimary has the runtime end the primary as it does after a panic: it prints
// the stacks and exits, and no deferred call is made.
func crashPrimary(t *testing.T, r *failoverRun) {
	t.Helper()
	p, epoch := r.c.primary(), r.c.served()
	p.ending = true
	p.signal(syscall.SIGQUIT)
	if code, err := p.life.wait(failoverPatience); err != nil || code != 2 {
		t.Errorf("the primary ended with %d, %v; want the runtime's 2", code, err)
	}
	r.c.awaitEpoch(epoch)
}

// directoryVanishes takes the shared directory away under the living brokers, for
// longer than a lease, and gives it back.
func directoryVanishes(t *testing.T, r *failoverRun) {
	t.Helper()
	p, epoch := r.c.primary(), r.c.served()
	for _, n := range r.c.nodes {
		n.ending = true // it is free to end, and is started again
	}
	away := r.c.dir + ".away"
	must(t, os.Rename(r.c.dir, away))
	if code, err := p.life.wait(failoverPatience); err != nil || code != exitLost && !killed(p.life.cmd.ProcessState) {
		t.Errorf("the primary ended with %d, %v, when its directory was gone; want %d", code, err, exitLost)
	}
	must(t, pause(t.Context(), r.c.ttl))
	if _, err := os.Stat(r.c.dir); err == nil {
		t.Error("somebody has made a new store where the directory was")
		must(t, os.RemoveAll(r.c.dir))
	}
	must(t, os.Rename(away, r.c.dir))
	for _, n := range r.c.nodes {
		if !n.running() {
			n.begin()
		}
	}
	r.c.awaitEpoch(epoch)
}

// reclaimSoon has the primary write much, and give back what its index holds as soon as
// it can.
func reclaimSoon(r *failoverRun) {
	for _, q := range r.queues[1:] {
		q.size = 16 << 10
	}
	for _, n := range r.c.nodes {
		n.Env = append(n.Env, "BATON_STORE_CHECKPOINT_EVERY=100ms", "BATON_STORE_SEGMENT_SIZE=4MiB")
	}
}

// standbyBehind stops the standby while the primary writes, checkpoints and
// reclaims; it is resumed when the primary is dead.
func standbyBehind(t *testing.T, r *failoverRun) {
	t.Helper()
	s := r.c.standbys()[0]
	before := segmentNames(t, r.c)
	s.signal(sigStop)
	must(t, pause(t.Context(), *failoverBehind))
	_, epoch := kill(t, r.c)
	after := segmentNames(t, r.c)
	gone := 0
	for name := range before {
		if !after[name] {
			gone++
		}
	}
	t.Logf("the standby was behind by %v, in which %d of %d segments were reclaimed and %d are there", *failoverBehind, gone, len(before), len(after))
	s.signal(sigCont)
	r.c.awaitEpoch(epoch)
}

func segmentNames(t *testing.T, c *cluster) map[string]bool {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(c.dir, "journal", "*.seg"))
	must(t, err)
	names := make(map[string]bool)
	for _, p := range paths {
		names[filepath.Base(p)] = true
	}
	return names
}

// snapshot copies the store as a snapshot of its file system would: all at one
// moment, at which nobody writes.
func snapshot(t *testing.T, c *cluster) string {
	t.Helper()
	for _, n := range c.nodes {
		n.signal(sigStop)
	}
	to := c.dir + ".snapshot"
	out, err := exec.CommandContext(t.Context(), "cp", "-a", c.dir, to).CombinedOutput()
	for _, n := range c.nodes {
		n.signal(sigCont)
	}
	if err != nil {
		t.Fatalf("copy the store: %v\n%s", err, out)
	}
	return to
}

// An old snapshot in the store's place is the store of that moment: what was promised
// by then is there, and one primary goes on from it. Brokers that serve another life of the
// directory end, and promise nothing that the snapshot lacks.
func TestFailoverOldSnapshot(t *testing.T) {
	t.Parallel()
	for _, living := range []bool{false, true} {
		name := map[bool]string{false: "after all have ended", true: "under a living pair"}[living]
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 2, 5*time.Second) // the copy is made within it
			c.form()
			ch := channel(t, c.primary().URL())
			definitions(t, ch)
			must(t, ch.Confirm(false))
			keep(t, ch, "before")
			old := snapshot(t, c)
			if c.primary() == nil || !c.primary().running() {
				t.Skip("the machine stood still: the primary lost its lease while the store was copied")
			}
			keep(t, ch, "after")
			p := c.primary()
			for _, n := range c.nodes {
				n.ending = true
				if !living {
					must(t, n.Kill())
				}
			}
			must(t, os.Rename(c.dir, c.dir+".newer"))
			must(t, os.Rename(old, c.dir))
			c.forgetEpochs()
			if living {
				if code, err := p.life.wait(failoverPatience); err != nil || code != exitLost && !killed(p.life.cmd.ProcessState) {
					t.Errorf("the primary ended with %d, %v, when its files were replaced; want %d", code, err, exitLost)
				}
				for _, n := range c.nodes { // who has files of the other directory open is of no use, and ends when it notices
					if n.running() {
						must(t, n.Kill())
					}
				}
			}
			c.comeBack(2)
			ch = channel(t, c.primary().URL())
			if got := bodies(t, ch, "kept.q"); got != "before" {
				t.Errorf("the queue holds %q, want what it held when the snapshot was made: %q", got, "before")
			}
			must(t, ch.Confirm(false))
			keep(t, ch, "again")
			c.verify()
		})
	}
}

// keep publishes a message to the queue that definitions makes, and waits for its confirm.
func keep(t *testing.T, ch *amqp.Channel, body string) {
	t.Helper()
	publishKept(t, ch, "kept.x", "some.key", amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)})
}

func publishKept(t *testing.T, ch *amqp.Channel, exchange, key string, m amqp.Publishing) {
	t.Helper()
	confirm, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, m)
	must(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if ok, err := confirm.WaitContext(ctx); !ok || err != nil {
		t.Fatalf("the publish of %q was not confirmed: %v", m.Body, err)
	}
}

// forgetEpochs is called when the store's place has other files: who serves them next
// may have an epoch that has been there.
func (c *cluster) forgetEpochs() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.epoch = 0
}

// comeBack starts whoever has ended, as often as a supervisor would, until one is
// primary and all others stand by: nodes may end more than once on the way.
func (c *cluster) comeBack(times int) {
	c.t.Helper()
	left := times * len(c.nodes)
	begin := func() {
		for _, n := range c.nodes {
			if !n.running() && left > 0 {
				left--
				n.begin()
				n.ending = true
			}
		}
	}
	c.until(c.t.Context(), "one primary, and standbys", func() bool {
		begin()
		primaries, standbys := 0, 0
		for _, n := range c.nodes {
			switch code, body := n.ready(c.t.Context()); {
			case code == 200 && n == c.primary(): // its log has said so, too
				primaries++
			case code == 503 && strings.Contains(body, `"standby"`):
				standbys++
			}
		}
		return primaries == 1 && standbys == len(c.nodes)-1
	})
}
