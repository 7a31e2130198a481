package interop

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var failoverClock = flag.Bool("failover.clock", false, "run TestFailoverWallClock, which builds a broker and the standard library with a wall clock that can be shifted: a minute, the first time")

// clockVariable tells that broker how many seconds its wall clock is wrong. The clock that
// tells how much time has passed is right.
const clockVariable = "SHIFTED_WALL_CLOCK"

// The two places that are changed in the standard library's package time, by an overlay:
// setting the clock would set the whole machine's, and there is no other way to one process's.
const (
	clockRead  = "\tsec, nsec, mono := runtimeNow()\n\tif mono == 0 {"
	clockShift = "\tsec, nsec, mono := runtimeNow()\n\tsec += wallShift\n\tif mono == 0 {"
	clockFile  = `package time

import "syscall"

var wallShift = func() int64 {
	text, _ := syscall.Getenv("` + clockVariable + `")
	n, sign := int64(0), int64(1)
	for _, c := range text {
		if c == '-' {
			sign = -1
		} else {
			n = 10*n + int64(c-'0')
		}
	}
	return sign * n
}()
`
)

// shiftedBinary builds the broker with a clock that can be shifted.
func shiftedBinary(t *testing.T) string {
	t.Helper()
	root, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	must(t, err)
	pkg := filepath.Join(strings.TrimSpace(string(root)), "src", "time")
	text, err := os.ReadFile(filepath.Join(pkg, "time.go"))
	must(t, err)
	if n := bytes.Count(text, []byte(clockRead)); n != 1 {
		t.Fatalf("package time reads the clock in %d places that look as expected, want 1: see clockRead", n)
	}
	dir := t.TempDir()
	changed, added, overlay := filepath.Join(dir, "time.go"), filepath.Join(dir, "shift.go"), filepath.Join(dir, "overlay.json")
	must(t, os.WriteFile(changed, bytes.Replace(text, []byte(clockRead), []byte(clockShift), 1), 0o600))
	must(t, os.WriteFile(added, []byte(clockFile), 0o600))
	list, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(pkg, "time.go"): changed, filepath.Join(pkg, "shift.go"): added}})
	must(t, err)
	must(t, os.WriteFile(overlay, list, 0o600))
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	bin, err := Build(ctx, dir, "-overlay", overlay)
	must(t, err)
	return bin
}

// A successor whose wall clock is an hour wrong takes over and hands back: no promise is lost,
// and what has a time to live neither vanishes early nor stays.
func TestFailoverWallClock(t *testing.T) {
	if !*failoverClock {
		t.Skip("builds the standard library anew: -failover.clock")
	}
	notUnderRace(t)
	bin := shiftedBinary(t)
	for _, shift := range []time.Duration{time.Hour, -time.Hour} {
		t.Run(shift.String(), func(t *testing.T) {
			f := fault{name: "clock " + shift.String(), nodes: 2, happen: thereAndBack}
			oneFault(t, f, "mqtt", *failoverTTL, func(r *failoverRun) {
				n := r.c.nodes[1]
				n.Binary = bin
				n.Env = append(n.Env, fmt.Sprintf("%s=%d", clockVariable, int(shift.Seconds())))
				r.c.nodes[0].begin()
				must(t, r.c.await(t.Context(), "the node whose clock is right serves", func() bool { return r.c.epoch != 0 }))
			})
		})
	}
}

const (
	mortalQueue = "mortal"
	mortalLife  = 10 * time.Second
)

// thereAndBack kills the first node and then the second, with a message that lives for a
// while: it waits after the takeover, and is not handed out once its time is over.
func thereAndBack(t *testing.T, r *failoverRun) {
	t.Helper()
	checkShifted(t, r)
	for _, want := range r.c.nodes {
		if p := r.c.primary(); p != want {
			t.Fatalf("the primary is %s, want %s", p.name, want.name)
		}
		published := publishMortal(t, r.c)
		killPrimary(t, r)
		ch := channel(t, r.c.primary().URL())
		d, ok, err := ch.Get(mortalQueue, false)
		must(t, err)
		switch age := time.Since(published); {
		case age > mortalLife-time.Second:
			t.Logf("the machine stood still: the takeover was over %v after the publish", age)
		case !ok:
			t.Errorf("a message with a time to live of %v is gone %v after its publish", mortalLife, age)
		default:
			must(t, d.Nack(false, true))
		}
		r.c.form()
		must(t, pause(t.Context(), mortalLife+time.Second-time.Since(published)))
		d, ok, err = channel(t, r.c.primary().URL()).Get(mortalQueue, true)
		must(t, err)
		if ok {
			t.Errorf("%q with a time to live of %v is handed out %v after its publish", d.Body, mortalLife, time.Since(published))
		}
	}
}

// publishMortal returns a moment before which the message did not live.
func publishMortal(t *testing.T, c *cluster) time.Time {
	t.Helper()
	ch := channel(t, c.primary().URL())
	must(t, ch.Confirm(false))
	_, err := ch.QueueDeclare(mortalQueue, true, false, false, false, nil)
	must(t, err)
	begun := time.Now()
	publishKept(t, ch, "", mortalQueue,
		amqp.Publishing{DeliveryMode: amqp.Persistent, Expiration: fmt.Sprint(mortalLife.Milliseconds()), Body: []byte("mortal")})
	return begun
}

// checkShifted finds the wrong time in what the second node logs: without it the run
// proves nothing.
func checkShifted(t *testing.T, r *failoverRun) {
	t.Helper()
	_, text, _ := strings.Cut(r.c.nodes[1].log(), "time=")
	text, _, _ = strings.Cut(text, " ")
	logged, err := time.Parse(time.RFC3339Nano, text)
	must(t, err)
	if off := time.Since(logged).Abs(); off < 50*time.Minute || off > 70*time.Minute {
		t.Errorf("the second node's clock is %v off, want an hour", off)
	}
}
