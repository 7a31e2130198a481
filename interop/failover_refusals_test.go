package interop

import (
	"errors"
	"flag"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

var failoverStarts = flag.Int("failover.starts", 20, "how often TestFailoverStartsAtOnce starts two and three brokers at the same instant")

// exitDamage is the exit code for a directory that is not what it should be.
const exitDamage = 7

// Brokers that start at the same instant on an empty directory become one primary
// and standbys.
func TestFailoverStartsAtOnce(t *testing.T) {
	t.Parallel()
	for n := range *failoverStarts {
		c := newCluster(t, 2+n%2, *failoverTTL)
		c.form()
		c.awaitEpoch(0) // the log says so a moment after the primary is ready
		c.mu.Lock()
		claims := 0
		for _, node := range c.nodes {
			if node.claimed != 0 {
				claims++
			}
		}
		c.mu.Unlock()
		if c.lost == 0 && (claims != 1 || c.served() != 1) {
			t.Errorf("start %d: %d nodes have claimed an epoch, the highest that serves is %d; want 1 and 1", n, claims, c.served())
		}
		for _, node := range c.nodes {
			must(t, node.Close())
		}
	}
}

// A standby is live and not ready, says whom to ask, and refuses clients at the
// door, so that they try the next address at once.
func TestStandbyIsDark(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, *failoverTTL)
	c.form()
	p, s := c.primary(), c.standbys()[0]
	for _, addr := range []string{s.AMQP, s.MQTT, s.WS} {
		nc, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", addr)
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v, want connection refused", addr, err)
		}
		if err == nil {
			must(t, nc.Close())
		}
	}
	if code, body := s.ready(t.Context()); code != 503 || !strings.Contains(body, p.name) {
		t.Errorf("/readyz of the standby: %d %s, want 503 and the name of the primary", code, body)
	}
	if code, out, errs := command(t, s.Broker, "health", "--admin", s.Admin); code != exitOK {
		t.Errorf("a standby is not live: %d %s%s", code, out, errs)
	}
	if code, _, _ := command(t, s.Broker, "health", "--ready", "--admin", s.Admin); code != exitNo {
		t.Errorf("a standby is ready: exit code %d, want %d", code, exitNo)
	}
}

// configured gives every node a configuration file of its own.
func configured(t *testing.T, c *cluster) []string {
	t.Helper()
	dir := t.TempDir()
	var files []string
	for _, n := range c.nodes {
		file := filepath.Join(dir, n.name+".yaml")
		must(t, os.WriteFile(file, []byte(goodConfig), 0o600))
		n.Args = append(n.Args, "--config", file)
		files = append(files, file)
	}
	return files
}

const (
	goodConfig   = "memory:\n  budget: 256MiB\n"
	brokenConfig = "memory:\n  budget: no size\n"
)

// fileOf returns the configuration file of a node.
func fileOf(c *cluster, files []string, n *clusterNode) string {
	for i := range c.nodes {
		if c.nodes[i] == n {
			return files[i]
		}
	}
	return ""
}

// answers waits until a node's /readyz says what matches.
func answers(t *testing.T, n *clusterNode, what string) {
	t.Helper()
	want := regexp.MustCompile(what)
	n.cluster.until(t.Context(), n.name+" answers "+what, func() bool {
		_, body := n.ready(t.Context())
		return want.MatchString(body)
	})
}

// A standby whose configuration was broken says so while the primary lives and does
// not take over, and does as soon as it is mended.
func TestStandbyWithBrokenConfiguration(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, *failoverTTL)
	files := configured(t, c)
	c.form()
	s := c.standbys()[0]
	file := fileOf(c, files, s)
	must(t, os.WriteFile(file, []byte(brokenConfig), 0o600))
	answers(t, s, `memory\.budget`)
	_, epoch := kill(t, c)
	// Nobody may take over: there is nothing to wait for but time.
	must(t, pause(t.Context(), 2*c.ttl))
	if c.served() != epoch {
		t.Fatal("a standby took over with a broken configuration")
	}
	must(t, os.WriteFile(file, []byte(goodConfig), 0o600))
	c.awaitEpoch(epoch)
	if c.primary() != s {
		t.Errorf("the primary is %s, want %s", c.primary().name, s.name)
	}
}

// Another standby takes over instead.
func TestStandbyWithBrokenConfigurationIsPassedOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 3, *failoverTTL)
	files := configured(t, c)
	c.form()
	broken, other := c.standbys()[0], c.standbys()[1]
	must(t, os.WriteFile(fileOf(c, files, broken), []byte(brokenConfig), 0o600))
	answers(t, broken, `memory\.budget`)
	_, epoch := kill(t, c)
	c.awaitEpoch(epoch)
	if p := c.primary(); p != other {
		t.Errorf("the primary is %s, want %s", p.name, other.name)
	}
	answers(t, broken, `memory\.budget`)
}

// Two nodes of one name would take each other for themselves.
func TestNamesakeIsRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, *failoverTTL)
	c.form()
	for _, n := range c.nodes {
		b, err := NewBroker(Config{Binary: n.Binary, Dir: c.dir, Log: newLogFile(t, n.name+".namesake.log")})
		must(t, err)
		code, _, errs := command(t, b, append([]string{"serve", "--data", c.dir, "--ha", "--ha-ttl", c.ttl.String(), "--node", n.name}, b.listenFlags()...)...)
		if code == exitOK || !strings.Contains(sentence(errs), n.name) {
			t.Errorf("a second %s: exit code %d, %q", n.name, code, sentence(errs))
		}
	}
	c.settled()
}

// sentence is the one in which a process tells why it has ended.
func sentence(stderr string) string {
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "baton: ") {
			return line
		}
	}
	return ""
}

// A directory from which something was taken that decides what is history is refused
// with a sentence, also when the brokers had been killed, and nothing is written to it.
func TestFailoverRefusesWhatIsNoStore(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		damage func(t *testing.T, c *cluster)
		want   string
	}{
		"another store's identity": {func(t *testing.T, c *cluster) {
			t.Helper()
			other := newCluster(t, 1, *failoverTTL)
			other.form()
			must(t, other.nodes[0].Kill())
			b, err := os.ReadFile(filepath.Join(other.dir, "store.id"))
			must(t, err)
			must(t, os.WriteFile(filepath.Join(c.dir, "store.id"), b, 0o600))
		}, "store"},
		"no ha": {func(t *testing.T, c *cluster) {
			t.Helper()
			must(t, os.RemoveAll(filepath.Join(c.dir, "ha")))
		}, "baton ha repair"},
		"no claims": {func(t *testing.T, c *cluster) {
			t.Helper()
			claims, err := filepath.Glob(filepath.Join(c.dir, "ha", "e*"))
			must(t, err)
			for _, dir := range claims {
				must(t, os.RemoveAll(dir))
			}
		}, "baton ha repair"},
		"the newest claim is gone": {func(t *testing.T, c *cluster) {
			t.Helper()
			must(t, os.RemoveAll(filepath.Join(c.dir, "ha", "e0000000002")))
		}, "baton ha repair"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cl := newCluster(t, 2, *failoverTTL)
			cl.form()
			settled(t, channel(t, cl.primary().URL()))
			_, epoch := kill(t, cl)
			cl.awaitEpoch(epoch)
			kill(t, cl)
			c.damage(t, cl)
			n := cl.nodes[0]
			code, _, errs := command(t, n.Broker, append([]string{"serve", "--data", cl.dir, "--ha", "--ha-ttl", cl.ttl.String(), "--node", n.name}, n.listenFlags()...)...)
			if code != exitDamage || !strings.Contains(sentence(errs), c.want) {
				t.Errorf("exit code %d, %q; want %d and a sentence with %q", code, sentence(errs), exitDamage, c.want)
			}
		})
	}
}

// A claim that is taken away under a living primary ends it: it could not be
// told any more that it was superseded.
func TestPrimaryEndsWithoutItsClaim(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1, *failoverTTL)
	c.form()
	p := c.primary()
	p.ending = true
	must(t, os.RemoveAll(filepath.Join(c.dir, "ha", "e0000000001")))
	if code, err := p.life.wait(2*c.ttl + 5*time.Second); err != nil || code != exitLost {
		t.Errorf("exit code %d, %v; want %d", code, err, exitLost)
	}
}

// What is refused can be repaired where the journal tells what was, and holds what
// was promised.
func TestFailoverServesWhatWasRepaired(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2, *failoverTTL)
	c.form()
	ch := channel(t, c.primary().URL())
	definitions(t, ch)
	must(t, ch.Confirm(false))
	confirm, err := ch.PublishWithDeferredConfirm("kept.x", "some.key", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("kept")})
	must(t, err)
	if !confirm.Wait() {
		t.Fatal("the publish was refused")
	}
	_, epoch := kill(t, c)
	c.awaitEpoch(epoch)
	kill(t, c)
	must(t, os.RemoveAll(filepath.Join(c.dir, "ha")))
	if code, out, errs := command(t, c.nodes[0].Broker, "ha", "repair", "--apply", "--data", c.dir); code != exitOK {
		t.Fatalf("ha repair: exit code %d\n%s%s", code, out, errs)
	}
	c.form()
	if got := bodies(t, channel(t, c.primary().URL()), "kept.q"); got != "kept" {
		t.Errorf("the queue holds %q, want %q", got, "kept")
	}
	c.verify()
}
