//go:build linux

package interop

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var failoverHang = flag.Duration("failover.hang", 5*time.Second, "how long the disk of TestFailoverOnAHangingDisk hangs; needs -enospc")

// On a file system of its own, which only root may mount: a disk that does not answer for less than a
// ttl, and for longer.
func TestFailoverOnAHangingDisk(t *testing.T) {
	disk := newSmallDisk(t)
	for _, tt := range []struct {
		fault
		load string
		ttl  time.Duration
	}{
		{fault{name: "hang of 2 s", nodes: 2, happen: diskHangs(disk, 2*time.Second, false)}, "idle", 5 * time.Second},
		{fault{name: "hang beyond the ttl", nodes: 2, happen: diskHangs(disk, *failoverHang, true)}, "idle", time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			oneFault(t, tt.fault, tt.load, tt.ttl, func(r *failoverRun) { onDisk(t, r.c, disk, strings.ReplaceAll(tt.name, " ", "-")) })
		})
	}
}

// onDisk has the nodes use a directory on the disk, and leave it when the test is over.
func onDisk(t *testing.T, c *cluster, disk *smallDisk, dir string) {
	t.Helper()
	c.dir = filepath.Join(disk.mount, dir)
	for _, n := range c.nodes {
		n.Dir = c.dir
		n.Env = append(n.Env, "BATON_STORE_SEGMENT_SIZE=4MiB", "BATON_STORE_FREE_LOW=100MiB", "BATON_STORE_FREE_FULL=16MiB")
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			must(t, n.Close())
		}
		must(t, os.RemoveAll(c.dir))
	})
}

// diskHangs freezes the file system: nothing that writes to it returns. A primary
// whose lease runs out meanwhile is lost, and one whose lease does not goes on.
func diskHangs(disk *smallDisk, hang time.Duration, lost bool) func(*testing.T, *failoverRun) {
	return func(t *testing.T, r *failoverRun) {
		t.Helper()
		p, epoch := r.c.primary(), r.c.served()
		for _, n := range r.c.nodes {
			n.ending = true
		}
		mountCommand(t, "fsfreeze", "-f", disk.mount)
		err := pause(t.Context(), hang)
		mountCommand(t, "fsfreeze", "-u", disk.mount)
		must(t, err)
		if !lost {
			r.promised(&r.ping.rec, r.ping.rec.Snapshot().Count(Confirmed)+20)
			if r.c.served() != epoch || !p.running() {
				t.Errorf("epoch %d serves after a hang of %v with a ttl of %v, want %d", r.c.served(), hang, r.c.ttl, epoch)
			}
			return
		}
		if code, err := p.life.wait(failoverPatience); err != nil || code != exitLost && !killed(p.life.cmd.ProcessState) {
			t.Errorf("the primary ended with %d, %v; want %d, or by the kernel's timer", code, err, exitLost)
		}
		for _, n := range r.c.nodes {
			if !n.running() {
				n.begin()
			}
		}
		r.c.awaitEpoch(epoch)
	}
}

// A disk that somebody else has filled up does not stop a takeover: the files of a claim
// lie in store. The successor lets out what it holds, and takes more when there is room.
func TestFailoverOntoAFullDisk(t *testing.T) {
	disk := newSmallDisk(t)
	c := newCluster(t, 2, time.Second)
	onDisk(t, c, disk, "full")
	c.form()
	ch := channel(t, c.primary().URL())
	definitions(t, ch)
	must(t, ch.Confirm(false))
	want := make([]string, 200)
	for i := range want {
		want[i] = fmt.Sprint(i)
		keep(t, ch, want[i])
	}
	for _, how := range []struct {
		name string
		end  func(t *testing.T, n *clusterNode)
	}{
		{"kill -9", func(t *testing.T, n *clusterNode) { t.Helper(); must(t, n.Kill()) }},
		{"SIGTERM", terminate},
	} {
		disk.fill(t)
		p, epoch := c.primary(), c.served()
		how.end(t, p)
		c.awaitEpoch(epoch)
		t.Logf("%s: epoch %d serves with %d bytes free", how.name, c.served(), disk.free(t))
		if code, body := ask(t, c.primary().Broker, "/livez"); code != 200 {
			t.Errorf("/livez of a primary on a full disk: %d %s", code, body)
		}
		p.begin() // there is no room for it, either
		must(t, os.Remove(disk.filler))
		c.form()
	}
	disk.fill(t)
	_, epoch := kill(t, c)
	c.awaitEpoch(epoch)
	if got := bodies(t, channel(t, c.primary().URL()), "kept.q"); got != strings.Join(want, " ") {
		t.Errorf("the queue holds %q, want the %d messages that were confirmed", got, len(want))
	}
	disk.empty(t)
	c.form()
	eventually(t, func() bool { code, _ := ask(t, c.primary().Broker, "/readyz"); return code == 200 })
	ch = channel(t, c.primary().URL())
	must(t, ch.Confirm(false))
	keep(t, ch, "again")
	c.verify()
}
