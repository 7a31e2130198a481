//go:build linux

package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
)

var enospc = flag.Bool("enospc", false, "run the tests of a disk that is full or hangs: they mount a small file system, which only root may")

const (
	diskSize = 320 << 20
	diskBody = 64 << 10
	diskFull = 16 << 20  // store.free_full
	diskLow  = 100 << 20 // store.free_low
)

// smallDisk is a file system of its own, and what fills it up.
type smallDisk struct {
	mount  string
	filler string
}

// newSmallDisk mounts one until the test ends.
func newSmallDisk(t *testing.T) *smallDisk {
	t.Helper()
	needOwn(t)
	switch {
	case !*enospc:
		t.Skip("mounts a file system: run it as root with -enospc")
	case os.Geteuid() != 0:
		t.Skip("only root may mount a file system")
	}
	dir := t.TempDir()
	image, mount := filepath.Join(dir, "image"), filepath.Join(dir, "disk")
	must(t, os.WriteFile(image, nil, 0o600))
	must(t, os.Truncate(image, diskSize))
	must(t, os.Mkdir(mount, 0o700))
	mountCommand(t, "mkfs.ext4", "-q", "-F", "-m", "0", image)
	mountCommand(t, "mount", "-o", "loop", image, mount)
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mount).CombinedOutput(); err != nil { //nolint:noctx // the test's context has ended
			t.Errorf("umount %s: %v\n%s", mount, err, out)
		}
	})
	return &smallDisk{mount: mount, filler: filepath.Join(mount, "somebody-else")}
}

func mountCommand(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// fill takes every block that is left.
func (d *smallDisk) fill(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile(d.filler, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	must(t, err)
	for block := make([]byte, 1<<20); len(block) >= 4096; {
		_, err := f.Write(block)
		if err == nil {
			err = f.Sync() // blocks are given out late
		}
		if errors.Is(err, syscall.ENOSPC) {
			block = block[:len(block)/2]
			continue
		}
		must(t, err)
	}
	must(t, f.Close())
	t.Logf("the disk was filled up: %d KiB are free", d.free(t)>>10)
}

func (d *smallDisk) empty(t *testing.T) {
	t.Helper()
	must(t, os.Remove(d.filler))
}

func (d *smallDisk) free(t *testing.T) int64 {
	t.Helper()
	var st syscall.Statfs_t
	must(t, syscall.Statfs(d.mount, &st))
	return int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // its type differs by architecture
}

// diskPublisher publishes numbered messages with confirms until its connection ends.
type diskPublisher struct {
	confirmed atomic.Int64 // every message below this one
	done      chan error
}

func publishToDisk(t *testing.T, b *Broker, from int64) *diskPublisher {
	t.Helper()
	p := &diskPublisher{done: make(chan error, 1)}
	p.confirmed.Store(from)
	ch := channel(t, b.URL())
	must(t, ch.Confirm(false))
	_, err := ch.QueueDeclare("disk", true, false, false, false, nil)
	must(t, err)
	go func() { // ends with the connection
		p.done <- p.run(t.Context(), ch)
	}()
	return p
}

func (p *diskPublisher) run(ctx context.Context, ch *amqp.Channel) error {
	const window = 16
	var open []*amqp.DeferredConfirmation
	for n := p.confirmed.Load(); ; n++ {
		body := binary.BigEndian.AppendUint64(make([]byte, 0, diskBody), uint64(n))
		c, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", "disk", false, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body[:diskBody]})
		if err != nil {
			return err
		}
		if open = append(open, c); len(open) < window {
			continue
		}
		if ok, err := open[0].WaitContext(ctx); err != nil || !ok {
			return fmt.Errorf("message %d: confirmed %t: %w", n-window+1, ok, err)
		}
		p.confirmed.Add(1)
		open = open[1:]
	}
}

// blocked waits until nothing is confirmed any more, and the broker says so.
func (p *diskPublisher) blocked(t *testing.T, b *Broker) int64 {
	t.Helper()
	const still = 2 * time.Second
	last, since := int64(-1), time.Now()
	for limit := time.Now().Add(time.Minute); time.Since(since) < still; time.Sleep(still / 20) { // the silence is what is looked for
		if n := p.confirmed.Load(); n != last {
			last, since = n, time.Now()
		}
		if time.Now().After(limit) {
			t.Fatal("publishers do not stop")
		}
	}
	if metric(t, b, "baton_publishers_blocked") != 1 || metric(t, b, "rabbitmq_alarms_free_disk_space_watermark") != 1 {
		t.Error("publishers wait, and the metrics do not say so")
	}
	return last
}

// flows waits until something is confirmed again.
func (p *diskPublisher) flows(t *testing.T, past int64) {
	t.Helper()
	eventually(t, func() bool { return p.confirmed.Load() > past+16 })
	if n := p.confirmed.Load(); n <= past+16 {
		t.Fatalf("still %d messages are confirmed, of %d before", n, past)
	}
}

// takeFromDisk takes messages and acknowledges them, until it has taken most or nothing is left. It returns which they were.
func takeFromDisk(ch *amqp.Channel, most int) (taken []int64, err error) {
	for len(taken) < most {
		d, ok, err := ch.Get("disk", false)
		if err != nil || !ok {
			return taken, err
		}
		taken = append(taken, int64(binary.BigEndian.Uint64(d.Body)))
		if err := d.Ack(false); err != nil {
			return taken, err
		}
	}
	return taken, nil
}

// TestFullDisk: publishers stop before a disk is full. When somebody else fills it up, the broker loses nothing, whether it lives on, is
// killed, or has to start without a free block, and when there is space again messages flow.
func TestFullDisk(t *testing.T) {
	disk := newSmallDisk(t)
	b, log := ownBroker(t)
	b.Dir = filepath.Join(disk.mount, "data")
	b.Env = []string{
		"BATON_STORE_SEGMENT_SIZE=4MiB", "BATON_STORE_FREE_FULL=16MiB", "BATON_STORE_FREE_LOW=100MiB", "BATON_STORE_FREE_HIGH=120MiB",
		"BATON_MEMORY_BUDGET=1GiB", "BATON_STORE_CHECKPOINT_EVERY=1s",
	}
	t.Cleanup(func() {
		must(t, b.Close()) // before the disk goes
		if t.Failed() {
			t.Logf("the broker's log:\n%s", log.text())
		}
	})
	start(t, b, log)

	other := filepath.Join(disk.mount, "other") // goes when space is wanted
	must(t, os.WriteFile(other, make([]byte, 80<<20), 0o600))

	// Publishers of both protocols stop with room to spare.
	p := publishToDisk(t, b, 0)
	confirmed := p.blocked(t, b)
	free := disk.free(t)
	t.Logf("%d messages of 64 KiB were confirmed, then publishers stopped with %d MiB free", confirmed, free>>20)
	if free < diskFull || free > diskLow {
		t.Errorf("publishers stopped with %d bytes free, want %d to %d", free, diskFull, diskLow)
	}
	mqtt := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + b.MQTT).SetUsername("guest").SetPassword("guest").SetClientID("disk"))
	waitToken(t, mqtt.Connect())
	t.Cleanup(func() { mqtt.Disconnect(0) })
	puback := mqtt.Publish("disk/mqtt", 1, false, make([]byte, diskBody))
	if puback.WaitTimeout(time.Second) {
		t.Errorf("an MQTT publish was answered: %v", puback.Error())
	}

	// Somebody else takes the rest: what is idle lives on, and goes on when the space is there again.
	disk.fill(t)
	if code, err := b.life.wait(3 * time.Second); err == nil {
		t.Fatalf("the broker ended with code %d for a disk that others filled", code)
	}
	disk.empty(t)
	must(t, os.Remove(other))
	p.flows(t, confirmed)
	if !puback.WaitTimeout(patience) || puback.Error() != nil {
		t.Errorf("the MQTT publish was not answered: %v", puback.Error())
	}

	// Consumers go on while the disk is full, or the broker says in one sentence why it cannot.
	confirmed = p.blocked(t, b)
	disk.fill(t)
	taken, err := takeFromDisk(channel(t, b.URL()), 2000)
	t.Logf("%d messages were taken from the full disk: %v", len(taken), err)
	if err != nil {
		code, err := b.life.wait(patience)
		must(t, err)
		said := log.text()[strings.LastIndex(log.text(), "baton: "):]
		if code != 3 || !regexp.MustCompile(`^baton: the store in \S+ failed: .*: no space left on device\b[^\n]*\n$`).MatchString(said) || strings.Count(said, "failed") != 1 {
			t.Errorf("it ends with code %d and %q", code, said)
		}
	}

	// It is killed there, and starts there: what was set aside is given back.
	must(t, b.Kill())
	if err := <-p.done; err == nil {
		t.Error("the publisher ended in peace")
	}
	confirmed = max(confirmed, p.confirmed.Load())
	start(t, b, log)
	if !strings.Contains(log.text(), "the space set aside for this start was given back") {
		t.Error("nothing was given back for the start")
	}
	if level := metric(t, b, "baton_store_space_level"); level < 1 {
		t.Errorf("space level %v with nothing free but what was set aside", level)
	}
	some, err := takeFromDisk(channel(t, b.URL()), 100)
	must(t, err)
	taken = append(taken, some...)

	// Killed once more, with what was set aside gone and taken: it does not start, says what it lacks, and spends no epoch on that.
	must(t, b.Kill())
	disk.fill(t)
	claims := countClaims(t, b)
	for range 3 {
		mark := len(log.text())
		l, err := b.launch(t.Context())
		must(t, err)
		b.life = l
		code, err := l.wait(patience)
		must(t, err)
		said := log.text()[mark:]
		if code != 5 || !regexp.MustCompile(`baton: not enough disk space to start: \S+ has \d+ bytes free and \d+ are needed`).MatchString(said) {
			t.Fatalf("a start without space ended with code %d:\n%s", code, said)
		}
	}
	if n := countClaims(t, b); n != claims {
		t.Errorf("%d epochs were spent on starts without space", n-claims)
	}

	// With space again everything is there, and flows.
	disk.empty(t)
	start(t, b, log)
	ch := channel(t, b.URL())
	some, err = takeFromDisk(ch, int(confirmed/2))
	must(t, err)
	taken = append(taken, some...)
	p = publishToDisk(t, b, p.confirmed.Load()+1000)
	p.flows(t, p.confirmed.Load())
	for len(some) > 0 && some[len(some)-1] < confirmed {
		some, err = takeFromDisk(ch, 100)
		must(t, err)
		taken = append(taken, some...)
	}
	seen := make(map[int64]bool)
	for _, n := range taken {
		seen[n] = true
	}
	for n := range confirmed {
		if !seen[n] {
			t.Fatalf("message %d was confirmed and is lost (%d of %d are there)", n, len(seen), confirmed)
		}
	}
	t.Logf("all of %d confirmed messages are there", confirmed)
}

// TestHangingDisk: while the disk does not answer publishers wait, the broker lives, and says that it is not ready and why. Nothing has
// failed when the disk answers again.
func TestHangingDisk(t *testing.T) {
	disk := newSmallDisk(t)
	b, log := ownBroker(t)
	b.Dir = filepath.Join(disk.mount, "data")
	b.Env = []string{"BATON_STORE_SEGMENT_SIZE=4MiB", "BATON_STORE_FREE_LOW=100MiB", "BATON_STORE_FREE_FULL=16MiB"}
	frozen := false
	thaw := func() {
		if frozen {
			frozen = false
			mountCommand(t, "fsfreeze", "-u", disk.mount)
		}
	}
	t.Cleanup(func() {
		must(t, b.Close()) // before the disk goes
		if t.Failed() {
			t.Logf("the broker's log:\n%s", log.text())
		}
	})
	defer thaw()
	start(t, b, log)
	ch := channel(t, b.URL())
	must(t, ch.Confirm(false))
	_, err := ch.QueueDeclare("disk", true, false, false, false, nil)
	must(t, err)
	if code, body := ask(t, b, "/readyz"); code != 200 {
		t.Errorf("before: %d %s", code, body)
	}

	mountCommand(t, "fsfreeze", "-f", disk.mount)
	frozen = true
	c, err := ch.PublishWithDeferredConfirm("", "disk", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("waits")})
	must(t, err)
	eventually(t, func() bool { code, _ := ask(t, b, "/readyz"); return code != 200 })
	if code, body := ask(t, b, "/readyz"); code != 503 || !strings.Contains(body, "the disk has not answered a write for") {
		t.Errorf("while the disk hangs: %d %s", code, body)
	}
	if code, body := ask(t, b, "/livez"); code != 200 {
		t.Errorf("while the disk hangs it does not live: %d %s", code, body)
	}
	if v := metric(t, b, "baton_store_stalled_seconds"); v < 4 {
		t.Errorf("stalled for %v s", v)
	}
	select {
	case <-c.Done():
		t.Error("a publish was confirmed that is not on the disk")
	default:
	}

	thaw()
	if !within(t, "the confirm", confirmation(t, c)) {
		t.Error("the publish was refused")
	}
	if code, body := ask(t, b, "/readyz"); code != 200 {
		t.Errorf("afterwards: %d %s", code, body)
	}
	if code, err := b.Terminate(); err != nil || code != 0 {
		t.Errorf("it ends with code %d, %v", code, err)
	}
}

func confirmation(t *testing.T, c *amqp.DeferredConfirmation) <-chan bool {
	t.Helper()
	got := make(chan bool, 1)
	go func() {
		ok, err := c.WaitContext(t.Context())
		got <- ok && err == nil
	}()
	return got
}

func countClaims(t *testing.T, b *Broker) int {
	t.Helper()
	claims, err := filepath.Glob(filepath.Join(b.Dir, "ha", "e*"))
	must(t, err)
	return len(claims)
}
