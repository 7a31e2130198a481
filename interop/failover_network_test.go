//go:build linux

package interop

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var (
	failoverNet = flag.Bool("failover.net", false, "run the tests that cut networks: they make network namespaces, which only root may, with ip and nsenter")
	sharedNet   = flag.String("sharedfs.netns", "", "the network namespace through which mount a reaches its volume: see glusterfs.sh")
)

// needNamespaces skips a test where networks cannot be made.
func needNamespaces(t *testing.T) {
	t.Helper()
	notUnderRace(t)
	if os.Geteuid() != 0 {
		t.Skip("only root may make a network namespace")
	}
	for _, tool := range []string{"ip", "nsenter"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs iproute2 and util-linux: %v", err)
		}
	}
}

// namespace is a network of its own, joined to the one of the test by a pair of virtual
// devices. Addresses are those for tests between networks (RFC 2544), with a mask that holds the two
// ends alone; nothing is routed.
type namespace struct {
	name  string // also of the device in it
	inner string // its address
}

func newNamespace(t *testing.T) *namespace {
	t.Helper()
	id := 4 * rand.IntN(1<<14)
	address := func(host int) string { return fmt.Sprintf("198.18.%d.%d", id>>8, id&0xff+host) }
	s := &namespace{name: fmt.Sprintf("baton%d", id), inner: address(2)}
	outer := "o" + s.name
	mountCommand(t, "ip", "netns", "add", s.name)
	t.Cleanup(func() {
		if out, err := exec.Command("ip", "netns", "del", s.name).CombinedOutput(); err != nil { //nolint:noctx // the test's context has ended
			t.Errorf("delete the namespace %s: %v\n%s", s.name, err, out)
		}
	})
	mountCommand(t, "ip", "link", "add", outer, "type", "veth", "peer", "name", s.name, "netns", s.name)
	mountCommand(t, "ip", "addr", "add", address(1)+"/30", "dev", outer)
	mountCommand(t, "ip", "link", "set", outer, "up")
	mountCommand(t, "ip", "-n", s.name, "addr", "add", s.inner+"/30", "dev", s.name)
	mountCommand(t, "ip", "-n", s.name, "link", "set", "lo", "up")
	s.link(t, "up")
	return s
}

// link takes the far end of the wire down, or up again: what is sent meanwhile is lost
// without an answer, as with a cable that was pulled.
func (s *namespace) link(t *testing.T, state string) {
	t.Helper()
	mountCommand(t, "ip", "-n", s.name, "link", "set", s.name, state)
}

// put has a node run in the namespace from its next life on.
func (s *namespace) put(t *testing.T, n *clusterNode) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "baton")
	text := fmt.Sprintf("#!/bin/sh\nexec nsenter --net=/run/netns/%s -- %s \"$@\"\n", s.name, n.Binary)
	must(t, os.WriteFile(script, []byte(text), 0o700)) //nolint:gosec // it is a program
	n.Binary = script
	n.Env = append(n.Env, "BATON_AUTH_LOOPBACK_USERS=off") // guest from any address
	for _, address := range []*string{&n.AMQP, &n.Admin, &n.MQTT, &n.WS} {
		_, port, err := net.SplitHostPort(*address)
		must(t, err)
		*address = net.JoinHostPort(s.inner, port)
	}
}

// Clients that cannot reach the primary are no reason for a takeover: it serves, and
// nobody else may. They come back when the network does, and miss nothing.
func TestPartitionOfClients(t *testing.T) {
	if !*failoverNet {
		t.Skip("makes network namespaces: run it as root with -failover.net")
	}
	needNamespaces(t)
	for _, load := range loads() {
		t.Run(load, func(t *testing.T) {
			spaces := make(map[string]*namespace)
			f := fault{name: "client network", nodes: 2, happen: func(t *testing.T, r *failoverRun) {
				t.Helper()
				p, epoch := r.c.primary(), r.c.served()
				spaces[p.name].link(t, "down")
				err := pause(t.Context(), 3*r.c.ttl)
				spaces[p.name].link(t, "up")
				must(t, err)
				healed := time.Now()
				r.promised(&r.ping.rec, r.ping.rec.Snapshot().Count(Confirmed)+20)
				t.Logf("the ping has 20 promises more %v after the network was back", time.Since(healed))
				if r.c.served() != epoch || !p.running() {
					t.Errorf("epoch %d serves after clients were cut off, want %d", r.c.served(), epoch)
				}
			}}
			oneFault(t, f, load, *failoverTTL, func(r *failoverRun) {
				for _, n := range r.c.nodes {
					spaces[n.name] = newNamespace(t)
					spaces[n.name].put(t, n)
				}
			})
		})
	}
}

// A primary that is cut off from the storage, with clients at its ports or without, is
// followed by a standby that is not, and promises nothing from then on. When the network is
// back there is one primary.
func TestSharedPartition(t *testing.T) {
	a, b := *sharedA, *sharedB
	if a == "" || b == "" || *sharedNet == "" {
		t.Skip("needs a volume that one mount reaches through a network namespace: GLUSTER_NETNS=NAME glusterfs.sh up DIR, -sharedfs.a, -sharedfs.b and -sharedfs.netns NAME")
	}
	needNamespaces(t)
	space := &namespace{name: *sharedNet, inner: innerAddress(t, *sharedNet)}
	for _, tt := range []struct {
		name    string
		all     bool // the clients' network as well
		noTimer bool
		load    string
	}{
		{"storage", false, false, "storm"},
		{"storage, no kernel timer", false, true, "mqtt"},
		{"all", true, false, "mqtt"},
		{"all, no kernel timer", true, true, "backlog"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a, b := sharedDirs(t)
			f := fault{name: tt.name, nodes: 2, noTimer: tt.noTimer, happen: cutOff(space)}
			oneFault(t, f, tt.load, *sharedTTL, func(r *failoverRun) {
				r.c.dir = filepath.Join(b, "data") // the side that is never cut off
				r.c.nodes[0].Dir, r.c.nodes[1].Dir = filepath.Join(a, "data"), r.c.dir
				if tt.all {
					space.put(t, r.c.nodes[0])
				}
				// The first node serves first: it is the one to be cut off.
				r.c.nodes[0].begin()
				must(t, r.c.await(t.Context(), "the first node serves", func() bool { return r.c.epoch != 0 }))
			})
		})
	}
}

// cutOff takes the link of the primary's storage down until a ttl after another has taken over.
func cutOff(space *namespace) func(*testing.T, *failoverRun) {
	return func(t *testing.T, r *failoverRun) {
		t.Helper()
		p, epoch := r.c.nodes[0], r.c.served()
		if r.c.primary() != p {
			t.Fatalf("the primary is %s, and not the one whose storage can be cut off", r.c.primary().name)
		}
		p.ending = true
		ended := idleClient(t, p)
		cut := time.Now()
		space.link(t, "down")
		up := func() { space.link(t, "up") }
		defer func() { up() }()
		r.c.awaitEpoch(epoch)
		took := time.Since(cut)
		select {
		case <-p.life.exited:
			t.Logf("the old primary had ended when epoch %d served, %v after the cut", r.c.served(), took)
		default:
			t.Logf("the old primary had not ended when epoch %d served, %v after the cut: its process waits for the storage", r.c.served(), took)
		}
		if serves := greets(t.Context(), p.AMQP); serves {
			t.Errorf("the old primary greets clients %v after it was cut off from its storage", took)
		}
		must(t, pause(t.Context(), r.c.ttl))
		select {
		case at := <-ended:
			t.Logf("the connection of an idle client was cut %v after the cut", at.Sub(cut))
		default:
			t.Logf("an idle client does not know yet, %v after the cut", time.Since(cut))
		}
		up()
		up = func() {}
		healed := time.Now()
		if code, err := p.life.wait(3 * failoverPatience); err != nil || code != exitLost && !killed(p.life.cmd.ProcessState) {
			t.Errorf("the old primary ended with %d, %v; want %d, or by the kernel's timer", code, err, exitLost)
		}
		t.Logf("the old primary had ended %v after the network was back", time.Since(healed))
		awaitMount(t, p)
	}
}

// idleClient has a client wait for whatever comes, and tells when its connection ends.
func idleClient(t *testing.T, n *clusterNode) <-chan time.Time {
	t.Helper()
	nc, err := (&net.Dialer{Timeout: patience}).DialContext(t.Context(), "tcp", n.MQTT)
	must(t, err)
	t.Cleanup(func() { _ = nc.Close() })
	_, err = nc.Write(connectPacket(4, "idle", true, 0).bytes())
	must(t, err)
	must(t, nc.SetReadDeadline(time.Now().Add(patience)))
	_, err = io.ReadFull(nc, make([]byte, 4)) // CONNACK
	must(t, err)
	must(t, nc.SetReadDeadline(time.Time{}))
	ended := make(chan time.Time, 1)
	go func() { // ends with the connection
		_, _ = nc.Read(make([]byte, 1)) // nothing is sent to it
		ended <- time.Now()
	}()
	return ended
}

// awaitMount waits until the node's mount answers again, without which it cannot be started.
func awaitMount(t *testing.T, n *clusterNode) {
	t.Helper()
	for begun := time.Now(); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		err := exec.CommandContext(ctx, "stat", filepath.Join(n.Dir, "ha")).Run()
		cancel()
		if err == nil {
			return
		}
		if time.Since(begun) > 2*time.Minute {
			t.Fatalf("the mount of %s does not answer: %v", n.name, err)
		}
		must(t, pause(t.Context(), 100*time.Millisecond))
	}
}

// innerAddress reads the address in a namespace that the script has made.
func innerAddress(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "ip", "-n", name, "-4", "-o", "addr", "show", "dev", name).Output()
	must(t, err)
	_, text, _ := strings.Cut(string(out), " inet ")
	address, _, found := strings.Cut(text, "/")
	if !found {
		t.Fatalf("no address in %q", out)
	}
	return address
}
