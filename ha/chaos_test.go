package ha_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/ha/hatest"
)

// ledger stands for the journal, and for the clients that hold promises. A record
// appended is durable and never disappears.
type ledger struct {
	mu       sync.Mutex
	journal  map[uint64][]int // records by epoch
	promised []int
	next     int
}

func (l *ledger) append(epoch uint64) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.next++
	l.journal[epoch] = append(l.journal[epoch], l.next)
	return l.next
}

func (l *ledger) promise(record int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.promised = append(l.promised, record)
}

// seal ends the history of epoch at what its journal holds now.
func (l *ledger) seal(epoch uint64) ha.Seal {
	l.mu.Lock()
	defer l.mu.Unlock()
	return ha.Seal{Epoch: epoch, Offset: uint64(len(l.journal[epoch]))}
}

// missing returns the promised records that lineage does not hold.
func (l *ledger) missing(lineage []ha.Seal) (lost []int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	held := map[int]bool{}
	for _, s := range lineage {
		for _, r := range l.journal[s.Epoch][:s.Offset] {
			held[r] = true
		}
	}
	for _, r := range l.promised {
		if !held[r] {
			lost = append(lost, r)
		}
	}
	return lost
}

// chaotic is a node whose process is stopped for a while, or killed, at any
// operation and between a record and its promise.
type chaotic struct {
	ledger *ledger
	disk   *hatest.Disk
	rand   *rand.Rand // of Run's goroutine

	tenures *atomic.Int64
	zombies *atomic.Int64 // Guards that a successor's mark made fail
}

// stall stops the process, seldom, for up to three times what a standby waits.
func stall(r *rand.Rand) {
	if r.IntN(200) == 0 {
		time.Sleep(time.Duration(r.Int64N(int64(10 * time.Second))))
	}
}

// live runs a node again and again until ctx ends.
func (c *chaotic) live(ctx context.Context, name string) {
	for ctx.Err() == nil {
		files := c.disk.Node()
		var serving atomic.Bool
		hook := rand.New(rand.NewPCG(c.rand.Uint64(), 1))
		var mu sync.Mutex
		files.Before = func(op string) error {
			mu.Lock()
			chance, wait := hook.IntN(300), time.Duration(hook.Int64N(int64(10*time.Second)))
			mu.Unlock()
			switch {
			case chance == 0 && serving.Load():
				files.Kill()
			case chance < 3 && (serving.Load() || !strings.HasSuffix(op, "/lease")):
				time.Sleep(wait)
			}
			return nil
		}
		opt := ha.Options{Dir: "data", Node: name, Standby: c.rand.IntN(4) > 0, TTL: ttl, Files: files}
		// Errors are what chaos causes; what matters is the ledger.
		_ = ha.Run(ctx, opt, nil, func(ctx context.Context, t *ha.Tenure) error { return c.serve(ctx, t, &serving) })
		files.Kill() // the process ends when Run has returned
		time.Sleep(time.Duration(c.rand.Int64N(int64(2 * time.Second))))
	}
}

func (c *chaotic) serve(ctx context.Context, t *ha.Tenure, serving *atomic.Bool) error {
	var lineage []ha.Seal
	if src, ok := t.Source(); ok {
		lineage = append(append(lineage, src.Lineage...), c.ledger.seal(src.Epoch))
	}
	if err := t.Activate(lineage); err != nil {
		return err
	}
	serving.Store(true)
	c.tenures.Add(1)
	for ctx.Err() == nil {
		record := c.ledger.append(t.Epoch())
		stall(c.rand)
		if err := t.Guard(); err != nil {
			if strings.Contains(err.Error(), "superseded") {
				c.zombies.Add(1)
			}
			return err
		}
		stall(c.rand)
		c.ledger.promise(record)
		time.Sleep(50 * time.Millisecond)
	}
	return nil
}

// TestRun_NoPromiseIsLostInChaos lets three nodes contend for ten minutes where
// locks tell nothing, each stopped, resumed and killed at random. The epoch that
// serves afterwards continues every record that was ever promised.
func TestRun_NoPromiseIsLostInChaos(t *testing.T) {
	var tenures, zombies atomic.Int64
	// How goroutines are scheduled decides with the seed: there are as many as it takes for zombies to be met.
	for seed := uint64(0); seed < 4 || seed < 40 && zombies.Load() < 5; seed++ {
		for _, locks := range []bool{true, false} {
			t.Run(fmt.Sprintf("seed %d locks %v", seed, locks), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					disk := hatest.New()
					disk.NoLocks = !locks
					led := &ledger{journal: map[uint64][]int{}}
					ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
					defer cancel()
					var wg sync.WaitGroup
					for i := range uint64(3) {
						c := &chaotic{ledger: led, disk: disk, rand: rand.New(rand.NewPCG(seed, i)), tenures: &tenures, zombies: &zombies}
						wg.Go(func() { c.live(ctx, fmt.Sprint("n", i)) })
					}
					wg.Wait()
					last := ha.Options{Dir: "data", Node: "last", Standby: true, TTL: ttl, Files: disk.Node()}
					err := ha.Run(t.Context(), last, nil, func(_ context.Context, tenure *ha.Tenure) error {
						src, ok := tenure.Source()
						if !ok {
							t.Error("nobody was ever active")
							return nil
						}
						lineage := append(src.Lineage, led.seal(src.Epoch))
						if lost := led.missing(lineage); len(lost) > 0 {
							t.Errorf("%d of %d promised records are not in the history: %v", len(lost), len(led.promised), lost)
						}
						return tenure.Activate(lineage)
					})
					if err != nil {
						t.Error(err)
					}
					time.Sleep(time.Minute) // renewals of lost tenures come out of their stalls
				})
			})
		}
	}
	t.Logf("%d tenures, %d zombies silenced by their fence", tenures.Load(), zombies.Load())
	if tenures.Load() < 100 || zombies.Load() < 5 {
		t.Error("too little happened for this to mean anything")
	}
}
