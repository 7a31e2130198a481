package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"
)

const (
	// failoverRetry is how long a client waits when no address takes it.
	failoverRetry = 20 * time.Millisecond
	// failoverAnswer is how long a client waits for an answer before it tries another
	// address: a broker that is stopped takes connections and answers nothing.
	failoverAnswer = 250 * time.Millisecond
	// failoverPatience bounds a takeover on a machine that is busy.
	failoverPatience = 20 * time.Second
)

// cluster is brokers on one directory.
type cluster struct {
	t     *testing.T
	dir   string
	ttl   time.Duration
	nodes []*clusterNode

	mu      sync.Mutex
	lost    int           // nodes that ended by themselves, having lost their lease
	epoch   uint64        // the highest that serves clients
	changed chan struct{} // closed when epoch rises or a node's life changes
}

// clusterNode is one of them. It is started and ended by the test's goroutine.
type clusterNode struct {
	*Broker
	name    string
	cluster *cluster
	kept    *logFile // of all lives

	ending  bool   // by the test, which is no end that a supervisor would see
	claimed uint64 // the epoch of the current life; guarded by cluster.mu
	serving bool   // since it said so; guarded by cluster.mu
}

// notUnderRace skips a test of several brokers in a build with the race detector: the brokers are built without it and gain nothing, and
// clients that it slows down miss what is measured in ttls.
func notUnderRace(t *testing.T) {
	t.Helper()
	if raceEnabled {
		t.Skip("the brokers under test are built without the race detector")
	}
}

// newCluster makes n nodes, none of which runs.
func newCluster(t *testing.T, n int, ttl time.Duration) *cluster {
	t.Helper()
	notUnderRace(t)
	needOwnMQTT(t)
	if runtime.GOOS != "linux" {
		t.Skip("a broker stands by only where reads past the cache, or a cache that is the only one, are known: on Linux")
	}
	bin, err := suite.binary()
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{t: t, dir: filepath.Join(t.TempDir(), "data"), ttl: ttl, changed: make(chan struct{})}
	for i := range n {
		node := &clusterNode{name: fmt.Sprintf("node%d", i), cluster: c}
		node.kept = newLogFile(t, node.name+".log")
		args := []string{"--ha", "--ha-ttl", ttl.String(), "--node", node.name}
		node.Broker, err = NewBroker(Config{Binary: bin, Dir: c.dir, Log: &nodeLog{node: node}, Args: args})
		if err != nil {
			t.Fatal(err)
		}
		c.nodes = append(c.nodes, node)
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			if err := n.Close(); err != nil {
				t.Error(err)
			}
		}
		if t.Failed() {
			for _, n := range c.nodes {
				t.Logf("the log of %s:\n%s", n.name, n.log())
			}
		}
	})
	return c
}

// nodeLog reads a node's role out of what it logs.
type nodeLog struct {
	node *clusterNode
	line []byte
}

var epochOf = regexp.MustCompile(`\bepoch=(\d+)`)

func (l *nodeLog) Write(p []byte) (int, error) {
	c := l.node.cluster
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, err := l.node.kept.Write(p); err != nil {
		return 0, err
	}
	l.line = append(l.line, p...)
	for {
		line, rest, whole := bytes.Cut(l.line, []byte("\n"))
		if !whole {
			return len(p), nil
		}
		l.line = rest
		m := epochOf.FindSubmatch(line)
		if m == nil {
			continue
		}
		epoch, err := strconv.ParseUint(string(m[1]), 10, 64)
		if err != nil {
			return 0, err
		}
		switch {
		case bytes.Contains(line, []byte("epoch claimed")):
			l.node.claimed = epoch
			c.tell()
		case bytes.Contains(line, []byte(readyLine)):
			l.node.serving = true
			c.epoch = max(c.epoch, epoch)
			c.tell()
		}
	}
}

// tell wakes up who waits for a change; mu is held.
func (c *cluster) tell() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// await waits until so, which is called with mu held, is true.
func (c *cluster) await(ctx context.Context, what string, so func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, failoverPatience, fmt.Errorf("%s: not within %v", what, failoverPatience))
	defer cancel()
	for {
		c.mu.Lock()
		ok, changed := so(), c.changed
		c.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (n *clusterNode) log() string { return n.kept.text() }

// begin starts a life without waiting for what becomes of it.
func (n *clusterNode) begin() {
	n.cluster.t.Helper()
	n.cluster.mu.Lock()
	n.ending, n.claimed, n.serving = false, 0, false
	n.cluster.mu.Unlock()
	l, err := n.launch(n.cluster.t.Context())
	if err != nil {
		n.cluster.t.Fatal(err)
	}
	n.life = l
}

// Kill is a fault or the test's end, and not what supervise looks for.
func (n *clusterNode) Kill() error {
	n.ending = true
	return n.Broker.Kill()
}

// Terminate is one, too.
func (n *clusterNode) Terminate() (int, error) {
	n.ending = true
	return n.Broker.Terminate()
}

// supervise starts nodes again that have ended because they lost their lease, or that
// the kernel's timer has ended for that, as a supervisor would: on a machine that
// stands still for a ttl this may happen at any time. Any other end fails the test.
func (c *cluster) supervise() {
	c.t.Helper()
	for _, n := range c.nodes {
		if n.life == nil || n.running() || n.ending {
			continue
		}
		if end := n.life.cmd.ProcessState; end.ExitCode() != exitLost && !killed(end) {
			c.t.Fatalf("%s has ended: %v", n.name, end)
		}
		c.lost++
		n.begin()
	}
}

// killed reports whether a process was ended by SIGKILL.
func killed(end *os.ProcessState) bool {
	ws, ok := end.Sys().(syscall.WaitStatus)
	return ok && ws.Signaled() && ws.Signal() == syscall.SIGKILL
}

// running reports whether the process has not ended.
func (n *clusterNode) running() bool {
	if n.life == nil {
		return false
	}
	select {
	case <-n.life.exited:
		return false
	default:
		return true
	}
}

func (n *clusterNode) signal(s syscall.Signal) {
	n.cluster.t.Helper()
	if err := n.life.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.cluster.t.Fatalf("%s: %v: %v", n.name, s, err)
	}
}

// ready is what /readyz answers, 0 when nobody does.
func (n *clusterNode) ready(ctx context.Context) (int, string) {
	nc, err := (&net.Dialer{Timeout: failoverAnswer}).DialContext(ctx, "tcp", n.Admin)
	if err != nil {
		return 0, err.Error()
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(time.Second)) // an open socket has one
	if _, err := io.WriteString(nc, "GET /readyz HTTP/1.0\r\n\r\n"); err != nil {
		return 0, err.Error()
	}
	answer, err := io.ReadAll(nc)
	code := 0
	if _, scan := fmt.Sscanf(string(answer), "HTTP/1.0 %d", &code); scan != nil {
		return 0, fmt.Sprintf("%q, %v", answer, err)
	}
	_, body, _ := bytes.Cut(answer, []byte("\r\n\r\n"))
	return code, string(body)
}

// primary returns the node that serves the highest epoch.
func (c *cluster) primary() *clusterNode {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range c.nodes {
		if n.serving && n.claimed == c.epoch {
			return n
		}
	}
	return nil
}

// served is the highest epoch that has served clients.
func (c *cluster) served() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}

// standbys are the running nodes other than the primary.
func (c *cluster) standbys() []*clusterNode {
	p := c.primary()
	var all []*clusterNode
	for _, n := range c.nodes {
		if n != p && n.running() {
			all = append(all, n)
		}
	}
	return all
}

// form starts every node that does not run and waits for one primary and standbys.
func (c *cluster) form() {
	c.t.Helper()
	for _, n := range c.nodes {
		if !n.running() {
			n.begin()
		}
	}
	c.settled()
}

// settled waits until one node is primary and all others stand by.
func (c *cluster) settled() {
	c.t.Helper()
	c.until(c.t.Context(), "one primary, and standbys", func() bool {
		primaries, standbys := 0, 0
		for _, n := range c.nodes {
			code, body := n.ready(c.t.Context())
			switch {
			case code == 200:
				primaries++
			case code == 503 && bytes.Contains([]byte(body), []byte(`"standby"`)):
				standbys++
			}
		}
		return primaries == 1 && standbys == len(c.nodes)-1
	})
}

// awaitEpoch waits until an epoch above the given one serves clients.
func (c *cluster) awaitEpoch(above uint64) {
	c.t.Helper()
	c.until(c.t.Context(), fmt.Sprintf("an epoch above %d", above), func() bool { return c.served() > above })
}

// until asks again and again until it is so, as a supervisor of the nodes.
func (c *cluster) until(ctx context.Context, what string, so func() bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeoutCause(ctx, failoverPatience, fmt.Errorf("%s: not within %v", what, failoverPatience))
	defer cancel()
	for !so() {
		c.supervise()
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			c.t.Fatal(err)
		}
	}
}

// superseded is closed once a newer epoch has served for so long that whoever is
// still connected to the older one must be told: TCP does not.
func (c *cluster) superseded(ctx context.Context, epoch uint64) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		for {
			c.mu.Lock()
			newer, changed := c.epoch > epoch, c.changed
			c.mu.Unlock()
			if newer {
				if pause(ctx, c.ttl/2) == nil {
					close(done)
				}
				return
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
		}
	}()
	return done
}

// pause lets time pass, at a client or between a fault and the next step: the
// moment is what is varied.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// anyNode has connect try one node after the other, from the given one, until one
// takes the client; it returns that one's epoch.
func (c *cluster) anyNode(ctx context.Context, connect func(n *clusterNode) error) (epoch uint64, err error) {
	for {
		for _, n := range c.nodes {
			if err = connect(n); err == nil {
				if epoch, err = c.epochOf(ctx, n); err == nil {
					return epoch, nil
				}
			}
			if errors.Is(err, errProtocol) || ctx.Err() != nil {
				return 0, errors.Join(err, context.Cause(ctx))
			}
		}
		if ended := pause(ctx, failoverRetry); ended != nil {
			return 0, errors.Join(ended, err)
		}
	}
}

// epochOf is the epoch of a node that has just taken a client, which may be read out of
// its log a moment later. It fails when the node's life has ended meanwhile, and the
// connection with it.
func (c *cluster) epochOf(ctx context.Context, n *clusterNode) (epoch uint64, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Second, errors.New(n.name+" has taken a client and no epoch"))
	defer cancel()
	err = c.await(ctx, "the epoch of "+n.name, func() bool { epoch = n.claimed; return epoch != 0 })
	return epoch, err
}

// watch looks at every node's AMQP port until ctx ends.
func (c *cluster) watch(ctx context.Context) func() []Sighting {
	var wg sync.WaitGroup
	looks := make([][]Sighting, len(c.nodes))
	for i, n := range c.nodes {
		wg.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				looks[i] = append(looks[i], Sighting{i, begun, greets(ctx, n.AMQP)})
				_ = pause(ctx, c.ttl/10) // the loop's condition tells
			}
		})
	}
	return func() []Sighting {
		wg.Wait()
		var all []Sighting
		for _, l := range looks {
			all = append(all, l...)
		}
		return all
	}
}

// greets reports whether a broker answers the protocol header.
func greets(ctx context.Context, addr string) bool {
	nc, err := (&net.Dialer{Timeout: failoverAnswer}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return false
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(failoverAnswer)) // an open socket has one
	if _, err := io.WriteString(nc, "AMQP\x00\x00\x09\x01"); err != nil {
		return false
	}
	_, err = nc.Read(make([]byte, 1))
	return err == nil
}

// fences reads when each epoch's fence was marked: only its successors write it.
func (c *cluster) fences() Fences {
	c.t.Helper()
	marked := make(Fences)
	files, err := filepath.Glob(filepath.Join(c.dir, "ha", "e*", "fence"))
	must(c.t, err)
	for _, f := range files {
		page, err := os.ReadFile(f)
		must(c.t, err)
		if len(bytes.Trim(page, "\x00")) == 0 {
			continue
		}
		st, err := os.Stat(f)
		must(c.t, err)
		epoch, err := strconv.ParseUint(filepath.Base(filepath.Dir(f))[1:], 10, 64)
		must(c.t, err)
		marked[epoch] = st.ModTime()
	}
	return marked
}

// verify has the journal checked from end to end.
func (c *cluster) verify() {
	c.t.Helper()
	if code, out, errs := command(c.t, c.nodes[0].Broker, "journal", "verify", c.dir); code != 0 {
		c.t.Errorf("journal verify: exit code %d\n%s%s", code, out, errs)
	}
}
