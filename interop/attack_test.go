package interop

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	fullAttack = flag.Bool("attack", false, "carry the attacks out in full size, one after the other, and log a table")
	attackTime = flag.Duration("attack.time", 10*time.Second, "how long each of them goes on, with -attack")
)

// envAttack names the attack that a process of this binary is to carry out, and
// envTarget on what.
const (
	envAttack = "INTEROP_ATTACK"
	envTarget = "INTEROP_ATTACK_TARGET"
)

const (
	// memoryLimit is what the broker under attack is given: the bound on its
	// resident set, garbage included. watermark is where publishers wait.
	memoryLimit = 512 << 20
	watermark   = memoryLimit * 6 / 10
)

// An attack is what a client does that means harm, or is broken.
type attack struct {
	size, full int // connections, or what else there are many of
	least      int // how often what it counts must have happened before its time begins, with size
	run        func(ctx context.Context, a *assault) error

	env []string // further settings of the broker
	tls bool     // it needs the listeners with TLS

	equal bool // it has the broker's priority
}

// attacks are all of them, by name.
func attacks() map[string]attack {
	all := make(map[string]attack)
	for _, some := range []map[string]attack{control(), strangers(), webSocketAttacks(), topicAttacks(), clientAttacks(), deafClients()} {
		maps.Copy(all, some)
	}
	return all
}

// control is no attack: it takes what a broker takes that is kept busy, and leaves the broker alone. So it tells what of the honest
// clients' latency is the machine's.
func control() map[string]attack {
	return map[string]attack{"the processors, by another process": {size: 1, full: 1, least: 1, equal: true, run: spin}}
}

// spin keeps all processors busy.
func spin(ctx context.Context, a *assault) error {
	return a.each(ctx, runtime.GOMAXPROCS(0), func(ctx context.Context, _ int) error {
		for ctx.Err() == nil {
			a.did.Add(1)
		}
		return context.Cause(ctx)
	})
}

// TestAttack: whatever one client does, the broker lives, stays within its memory,
// and honest clients beside it are not disconnected and lose nothing. In full size
// the table shows what has become of their latency.
func TestAttack(t *testing.T) {
	needOwnMQTT(t)
	notUnderRace(t)
	all := attacks()
	var table attackTable
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t.Run(name, func(t *testing.T) {
			if !*fullAttack {
				t.Parallel()
			}
			row := all[name].suffer(t, name)
			t.Log(row)
			table = append(table, row)
		})
	}
	if *fullAttack {
		t.Logf("\n%s", table)
	}
}

// An attackRow is what became of one attack.
type attackRow struct {
	name    string
	size    int
	did     int64
	log     int // bytes that the broker has logged
	peak    int // resident bytes
	was, is latencies
}

func (r attackRow) String() string {
	return fmt.Sprintf("%s: size %d, done %d, p99 %v, was %v, ratios %s, at most %d MiB resident, %d KiB of log",
		r.name, r.size, r.did, r.is, r.was, r.is.over(r.was), r.peak>>20, r.log>>10)
}

// attackTable is the table of docs/security.md, and under it what it has to explain.
type attackTable []attackRow

func (all attackTable) String() string {
	var b strings.Builder
	b.WriteString("| attack | size | done | peak memory | p99 before | p99 meanwhile |\n|---|---|---|---|---|---|\n")
	for _, r := range all {
		fmt.Fprintf(&b, "| %s | %s | %s | %d MiB | %s | %s |\n", r.name, commas(int64(r.size)), commas(r.did), r.peak>>20, r.was.deliveries(), r.is.deliveries())
	}
	for _, r := range all {
		if r.peak > watermark {
			fmt.Fprintf(&b, "above the watermark: %s\n", r.name)
		}
		if amqp, mqtt := r.is.ratios(r.was); max(amqp, mqtt) > 2 {
			fmt.Fprintf(&b, "more than twice as long: %s: %s\n", r.name, r.is.over(r.was))
		}
	}
	return b.String()
}

// commas writes a number with one for each thousand.
func commas(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// suffer has one attack happen to a broker of its own, and returns a row of the table.
func (what attack) suffer(t *testing.T, name string) attackRow {
	t.Helper()
	calm, attacked := 300*time.Millisecond, 700*time.Millisecond
	if *fullAttack {
		calm, attacked = *attackTime/2, *attackTime
	}
	b, log := ownBroker(t)
	b.Env = append([]string{
		fmt.Sprintf("BATON_MEMORY_LIMIT=%dMiB", memoryLimit>>20), fmt.Sprintf("BATON_MEMORY_WATERMARK=%dMiB", watermark>>20),
		"BATON_MEMORY_BUDGET=96MiB", "BATON_STORE_FREE_LOW=64MiB", "BATON_STORE_FREE_FULL=32MiB",
	}, what.env...)
	aim := target{AMQP: b.AMQP, MQTT: b.MQTT, WS: b.WS, Admin: b.Admin, Size: what.size, From: "127.0.0.1"}
	least, mostLog := what.least, 1<<20
	if *fullAttack {
		aim.Size = what.full
		least = least * what.full / what.size
		mostLog = 4 << 20 // log.client_lines of each of several kinds
	}
	if runtime.GOOS == "linux" {
		aim.From = "127.0.0.66" // so that limits by address can tell who is who
	}
	if what.tls {
		aim.TLS = withTLS(t, b)
	}
	start(t, b, log)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the end of the broker's log:\n%s", lastLines(log.text(), 10))
		}
	})

	h := beHonest(t, b)
	must(t, pause(t.Context(), calm))
	before := h.lap()
	at := launchAttack(t, name, aim)
	at.await(t, least)
	h.lap() // while it began
	must(t, pause(t.Context(), attacked))
	during := h.lap()
	peak := peakResident(t, b.PID())
	did := at.stop(t)
	h.stop(t)

	if code, body := ask(t, b, "/livez"); code != 200 {
		t.Errorf("afterwards the broker does not live: %d %s", code, body)
	}
	if peak > memoryLimit {
		t.Errorf("the broker took %d MiB, want at most %d", peak>>20, memoryLimit>>20)
	}
	if strings.Contains(log.text(), "panic") {
		t.Error("something panicked")
	}
	logged := len(log.text())
	if logged > mostLog {
		t.Errorf("it made the broker log %d KiB", logged>>10)
	}
	return attackRow{name: name, size: aim.Size, did: did.Did, log: logged, peak: peak, was: h.p99(before), is: h.p99(during)}
}

func lastLines(s string, n int) string {
	const longest = 300
	lines := strings.Split(strings.TrimSpace(s), "\n")
	lines = lines[max(0, len(lines)-n):]
	for i, line := range lines {
		lines[i] = line[:min(len(line), longest)]
	}
	return strings.Join(lines, "\n")
}

// target is what an attacker is told.
type target struct {
	AMQP, MQTT, WS, Admin string // host:port
	TLS                   string // host:port of AMQP with TLS, or ""
	From                  string // the attacker's own address
	Size                  int
}

// attacker is the process in which an attack is carried out: so its work is not
// that of the honest clients, and its end is that of all its connections.
type attacker struct {
	cmd   *exec.Cmd
	stdin io.Closer
	told  chan struct{} // one token: tally has changed
	ended chan struct{} // closed when it has said its last

	mu    sync.Mutex
	tally tallied
}

// tallied is what it says of itself, once in a while and in the end.
type tallied struct {
	Did, Failed int64
	Last        string // failure
}

func launchAttack(t *testing.T, name string, aim target) *attacker {
	t.Helper()
	text, err := json.Marshal(aim)
	must(t, err)
	at := &attacker{told: make(chan struct{}, 1), ended: make(chan struct{})}
	command := []string{os.Args[0]}
	if nice, err := exec.LookPath("nice"); err == nil && !attacks()[name].equal {
		// It would be on a machine of its own: it must not be its own work that the honest suffer from.
		command = []string{nice, "-n", "19", os.Args[0]}
	}
	at.cmd = exec.CommandContext(t.Context(), command[0], command[1:]...)
	at.cmd.Env = append(foreignEnv(), envAttack+"="+name, envTarget+"="+string(text))
	at.cmd.Stderr = newLogFile(t, "attacker.log")
	at.stdin, err = at.cmd.StdinPipe()
	must(t, err)
	out, err := at.cmd.StdoutPipe()
	must(t, err)
	must(t, at.cmd.Start())
	go at.listen(out) // ends with the process
	return at
}

func (at *attacker) listen(out io.Reader) {
	defer close(at.ended)
	for in := json.NewDecoder(out); ; {
		var now tallied
		if in.Decode(&now) != nil {
			return
		}
		at.mu.Lock()
		at.tally = now
		at.mu.Unlock()
		select {
		case at.told <- struct{}{}:
		default: // whoever waits is told already
		}
	}
}

func (at *attacker) now() tallied {
	at.mu.Lock()
	defer at.mu.Unlock()
	return at.tally
}

// await waits until the attack is under way.
func (at *attacker) await(t *testing.T, least int) {
	t.Helper()
	limit := time.NewTimer(3 * patience)
	defer limit.Stop()
	for at.now().Did < int64(least) {
		select {
		case <-at.told:
		case <-at.ended:
			t.Fatalf("the attacker has ended: %+v\n%s", at.now(), at.said())
		case <-limit.C:
			t.Fatalf("the attack did not begin: %+v, want %d", at.now(), least)
		}
	}
}

func (at *attacker) said() string { return at.cmd.Stderr.(*logFile).text() }

// stop ends the attack and returns what was done.
func (at *attacker) stop(t *testing.T) tallied {
	t.Helper()
	must(t, at.stdin.Close())
	<-at.ended
	if err := at.cmd.Wait(); err != nil {
		t.Errorf("the attacker: %v\n%s", err, at.said())
	}
	t.Logf("done %d times, failed %d times, last: %s", at.now().Did, at.now().Failed, at.now().Last)
	return at.now()
}

// assault is an attack as the attacker sees it.
type assault struct {
	target
	did    atomic.Int64
	failed atomic.Int64
	last   atomic.Pointer[string]
}

// attackMain is the attacker's process: it goes on until its standard input ends.
func attackMain(name string) error {
	what, ok := attacks()[name]
	if !ok {
		return fmt.Errorf("no attack %q", name)
	}
	var a assault
	if err := json.Unmarshal([]byte(os.Getenv(envTarget)), &a.target); err != nil {
		return fmt.Errorf("the target: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	go func() { // ends with the process
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	done := make(chan error, 1)
	go func() { done <- what.run(ctx, &a) }()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			a.tell()
		case <-ctx.Done():
			a.tell()
			return nil // and all its connections end with the process
		case err := <-done:
			a.tell()
			if ctx.Err() != nil {
				return nil
			}
			return errors.Join(err, errors.New("the attack ended before its time"))
		}
	}
}

func (a *assault) tell() {
	now := tallied{Did: a.did.Load(), Failed: a.failed.Load()}
	if s := a.last.Load(); s != nil {
		now.Last = *s
	}
	_ = json.NewEncoder(os.Stdout).Encode(now) // nobody listens any more otherwise
}

// each has n connections, or whatever do makes, at a time, each again when it has
// ended. That some fail is what the broker's limits are for.
func (a *assault) each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := do(ctx, i); err != nil && ctx.Err() == nil {
					a.failed.Add(1)
					text := err.Error()
					a.last.Store(&text)
					_ = pause(ctx, 20*time.Millisecond) // the loop looks at ctx itself
				}
			}
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// dial connects from the attacker's address; the connection ends with ctx.
func (a *assault) dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: patience}
	if a.From != "127.0.0.1" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(a.From)}
	}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	context.AfterFunc(ctx, func() { _ = nc.Close() })
	return nc, nil
}

// amqp logs in and opens channel 1.
func (a *assault) amqp(ctx context.Context) (*loadConn, error) {
	nc, err := a.dial(ctx, a.AMQP)
	if err != nil {
		return nil, err
	}
	c, err := newLoad(nc, 2*rawFrameMax)
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return c, nil
}

// mqtt connects as guest.
func (a *assault) mqtt(ctx context.Context, id string, clean bool) (*mqttPeer, error) {
	nc, err := a.dial(ctx, a.MQTT)
	if err != nil {
		return nil, err
	}
	p := &mqttPeer{Conn: nc, in: bufio.NewReader(nc), version: 5}
	if _, err := p.connect(id, clean); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return p, nil
}
