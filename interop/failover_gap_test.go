package interop

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"
)

var (
	gapRuns     = flag.Int("failover.gap", 0, "takeovers of each kind that TestFailoverGap measures")
	gapOnly     = flag.String("failover.gap.only", "", "only the kinds whose name contains this")
	gapLimit    = flag.Duration("failover.gap.limit", 5*time.Minute, "after this no further takeover of a kind begins")
	gapTTL      = flag.Duration("failover.gap.ttl", 3*time.Second, "the lease's ttl in TestFailoverGap")
	gapBacklog  = flag.Int("failover.gap.backlog", 1_000_000, "messages of 1 KiB that wait, where a backlog is")
	gapSessions = flag.Int("failover.gap.sessions", 100_000, "durable MQTT sessions, where many are")
)

// gapKind is a takeover with what the store holds.
type gapKind struct {
	name  string
	store gapStore
	end   func(t *testing.T, r *failoverRun)
}

// gapStore is what waits in a store and is there afterwards.
type gapStore struct {
	name string
	fill func(t *testing.T, c *cluster)
	find func(t *testing.T, c *cluster)
}

func gapKinds() []gapKind {
	nothing := func(*testing.T, *cluster) {}
	small := gapStore{"small store", nothing, nothing}
	backlog := gapStore{fmt.Sprintf("%d x 1 KiB", *gapBacklog), fillBacklog, findBacklog}
	sessions := gapStore{fmt.Sprintf("%d sessions", *gapSessions), fillSessions, findSessions}
	return []gapKind{
		{"kill -9", small, killPrimary},
		{"handover", small, handOver},
		{"SIGSTOP", small, stopKilled},
		{"kill -9", backlog, killPrimary},
		{"handover", backlog, handOver},
		{"kill -9", sessions, killPrimary},
		{"handover", sessions, handOver},
	}
}

func (k gapKind) String() string { return k.name + ", " + k.store.name }

// TestFailoverGap measures what a client sees of a takeover: the time from the last
// promise before it to the first one after it, of a publisher that waits for each confirm
// and tries all addresses every 20 ms. Limits are for people: a machine that is busy does
// not fail it, and what is lost does.
func TestFailoverGap(t *testing.T) {
	if *gapRuns == 0 {
		t.Skip("measures for minutes: -failover.gap=N says how many takeovers of each kind")
	}
	var table strings.Builder
	table.WriteString("| takeover | runs | gap p50 | p99 | max | of it in the successor p50 | its parts, p50 |\n|---|---|---|---|---|---|---|\n")
	for _, store := range gapStores() {
		t.Run(store.name, func(t *testing.T) {
			c := newCluster(t, 2, *gapTTL)
			c.form()
			begun := time.Now()
			store.fill(t, c)
			t.Logf("the store was filled in %v", time.Since(begun).Round(time.Millisecond))
			for _, k := range gapKinds() {
				if k.store.name == store.name && strings.Contains(k.String(), *gapOnly) {
					t.Run(k.name, func(t *testing.T) { table.WriteString(k.measure(t, c)) })
				}
			}
			store.find(t, c)
		})
	}
	t.Logf("ttl %v, %d runs asked for\n%s", *gapTTL, *gapRuns, &table)
}

// gapStores are those that the flags leave something to measure with.
func gapStores() []gapStore {
	var stores []gapStore
	for _, k := range gapKinds() {
		known := slices.ContainsFunc(stores, func(s gapStore) bool { return s.name == k.store.name })
		if !known && strings.Contains(k.String(), *gapOnly) {
			stores = append(stores, k.store)
		}
	}
	return stores
}

// measure has takeover after takeover happen to the cluster and returns a row of the table.
func (k gapKind) measure(t *testing.T, c *cluster) string {
	t.Helper()
	limit := time.Now().Add(*gapLimit)
	r := &failoverRun{c: c, fault: fault{name: k.String(), nodes: 2}, rng: rand.New(rand.NewPCG(1, 2)), finish: make(chan struct{})}
	r.ping = newFailoverQueue(c, "ping."+strings.ReplaceAll(k.name, " ", ""), 1, 2*time.Millisecond)
	r.clients, r.ctx = errgroup.WithContext(t.Context())
	r.clients.Go(func() error { return r.ping.publish(r.ctx, r.finish) })
	r.clients.Go(func() error { return r.ping.consume(r.ctx) })
	parts := make(map[string][]time.Duration)
	runs := 0
	for ; runs < *gapRuns && time.Now().Before(limit); runs++ {
		r.promisesGoOn(t, 50)
		must(t, pause(t.Context(), time.Duration(r.rng.Int64N(int64(100*time.Millisecond))))) // anywhere between two renewals
		heir := c.standbys()[0]
		k.end(t, r)
		r.promisesGoOn(t, 1)
		for name, took := range tookOver(heir.log()) {
			parts[name] = append(parts[name], took)
		}
		c.form()
		c.caughtUp()
	}
	close(r.finish)
	must(t, r.clients.Wait())
	r.read(t, func() error { return r.ping.rest(t.Context()) })
	for _, v := range (Stream{Name: r.ping.name, History: r.ping.rec.Snapshot()}).Check(c.fences()).Violations {
		t.Error(v)
	}
	gaps := r.ping.rec.Snapshot().Gaps()
	t.Logf("gaps %v\nof them in the successor %v", gaps, parts["total"])
	return k.row(runs, gaps, parts)
}

func (k gapKind) row(runs int, gaps []time.Duration, parts map[string][]time.Duration) string {
	var b strings.Builder
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	fmt.Fprintf(&b, "| %v | %d | %v | %v | %v | %v |", k, runs, ms(Percentile(gaps, 50)), ms(Percentile(gaps, 99)), ms(Percentile(gaps, 100)), ms(Percentile(parts["total"], 50)))
	for _, name := range slices.SortedFunc(maps.Keys(parts), func(a, b string) int { return int(Percentile(parts[b], 50) - Percentile(parts[a], 50)) }) {
		if name != "total" {
			fmt.Fprintf(&b, " %s %v", name, Percentile(parts[name], 50).Round(100*time.Microsecond))
		}
	}
	b.WriteString(" |\n")
	return b.String()
}

var partOf = regexp.MustCompile(`\b(stop|claim|mark|seal|open|activate|listen|total)=(\S+)`)

// tookOver reads the parts of a node's last takeover out of its log.
func tookOver(log string) map[string]time.Duration {
	at := strings.LastIndex(log, `msg="took over"`)
	if at < 0 {
		return nil
	}
	line, _, _ := strings.Cut(log[at:], "\n")
	parts := make(map[string]time.Duration)
	for _, m := range partOf.FindAllStringSubmatch(line, -1) {
		if took, err := time.ParseDuration(m[2]); err == nil {
			parts[m[1]] = took
		}
	}
	return parts
}

// caughtUp waits until all standbys are close behind the primary, as they are for all of a
// pair's life but for moments.
func (c *cluster) caughtUp() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 5*time.Minute) // an index may be built of the whole store
	defer cancel()
	for _, n := range c.standbys() {
		for {
			_, body := n.ready(ctx)
			if strings.Contains(body, `"eligible":true`) && strings.Contains(body, `"caught_up":true`) {
				break
			}
			if err := pause(ctx, 20*time.Millisecond); err != nil {
				c.t.Fatalf("%s has not caught up: %s", n.name, body)
			}
		}
	}
}

const gapQueue = "gap.backlog"

// fillBacklog publishes a thousand at a time.
func fillBacklog(t *testing.T, c *cluster) {
	t.Helper()
	ch := channel(t, c.primary().URL())
	must(t, ch.Confirm(false))
	_, err := ch.QueueDeclare(gapQueue, true, false, false, false, nil)
	must(t, err)
	body := make([]byte, 1024)
	var last *amqp.DeferredConfirmation
	for i := range *gapBacklog {
		if i%1000 == 0 && last != nil && !last.Wait() {
			t.Fatalf("publish %d was refused", i)
		}
		last, err = ch.PublishWithDeferredConfirm("", gapQueue, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body})
		must(t, err)
	}
	if last != nil && !last.Wait() {
		t.Fatal("the last publish was refused")
	}
	c.caughtUp()
}

func findBacklog(t *testing.T, c *cluster) {
	t.Helper()
	q, err := channel(t, c.primary().URL()).QueueDeclarePassive(gapQueue, true, false, false, false, nil)
	must(t, err)
	if q.Messages != *gapBacklog {
		t.Errorf("the queue holds %d messages, want all %d", q.Messages, *gapBacklog)
	}
}

func gapSession(i int) string { return fmt.Sprintf("gap-session-%d", i) }

// fillSessions makes durable sessions with a subscription each, and leaves them.
func fillSessions(t *testing.T, c *cluster) {
	t.Helper()
	broker := c.primary().MQTTURL()
	var g errgroup.Group
	g.SetLimit(64)
	for i := range *gapSessions {
		g.Go(func() error {
			p, err := openPeer(t.Context(), broker, 4)
			if err != nil {
				return err
			}
			defer p.Close()
			_ = p.SetDeadline(time.Now().Add(patience)) // an open socket has one
			if _, err := p.connect(gapSession(i), false); err != nil {
				return err
			}
			if err := p.subscribe(fmt.Sprintf("gap/%d", i), 1); err != nil {
				return err
			}
			return p.send(mqttDISCONNECT)
		})
	}
	must(t, g.Wait())
	c.caughtUp()
}

// findSessions looks at a thousand of them.
func findSessions(t *testing.T, c *cluster) {
	t.Helper()
	for i := 0; i < *gapSessions; i += max(1, *gapSessions/1000) {
		p := peer(t, c.primary().MQTTURL(), 4)
		present, err := p.connect(gapSession(i), false)
		if err != nil || !present {
			t.Fatalf("the session %s is present: %v, %v", gapSession(i), present, err)
		}
		must(t, p.Close())
	}
}
