package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// backupLoad publishes numbered messages and acknowledges them, while backups are made.
type backupLoad struct {
	mu        sync.Mutex
	confirmed int // every message below this one was confirmed
	sent      int // every message from here on has not been acknowledged
	passed    int // the acknowledgement of every message below this one has passed
}

func (l *backupLoad) now() (confirmed, sent, passed int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.confirmed, l.sent, l.passed
}

func (l *backupLoad) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
}

const (
	backupBatch   = 100
	backupBody    = 2 << 10
	backupBacklog = 1000 // messages that wait
)

// run publishes a batch, and acknowledges the oldest one, until ctx ends. Messages are named by their place among all published.
func (l *backupLoad) run(ctx context.Context, ch *amqp.Channel, deliveries <-chan amqp.Delivery) error {
	for published := 0; ctx.Err() == nil; published += backupBatch {
		confirms := make([]*amqp.DeferredConfirmation, 0, backupBatch)
		for n := range backupBatch {
			body := binary.BigEndian.AppendUint64(make([]byte, 0, backupBody), uint64(published+n))
			c, err := ch.PublishWithDeferredConfirm("", "backup", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body[:backupBody]})
			if err != nil {
				return err
			}
			confirms = append(confirms, c)
		}
		for _, c := range confirms {
			if _, err := c.WaitContext(context.WithoutCancel(ctx)); err != nil {
				return err
			}
		}
		// What the channel sent before these publishes is committed before them: the acknowledgements of the round before have passed.
		l.set(func() { l.confirmed, l.passed = published+backupBatch, l.sent })
		if published < backupBacklog {
			continue
		}
		l.set(func() { l.sent += backupBatch })
		for range backupBatch {
			if err := (<-deliveries).Ack(false); err != nil {
				return err
			}
		}
	}
	return nil
}

// TestBackup makes backups of a broker at work, restores them, and serves them. Each holds every message that was confirmed before it
// began and not acknowledged before it ended, and none whose acknowledgement had passed before it began. The broker does not notice.
func TestBackup(t *testing.T) {
	b, log := ownBroker(t)
	b.Env = []string{"BATON_STORE_SEGMENT_SIZE=1MiB", "BATON_STORE_CHECKPOINT_EVERY=200ms"}
	start(t, b, log)
	conn := dial(t, b.URL())
	ch := openChannel(t, conn)
	must(t, ch.Confirm(false))
	_, err := ch.QueueDeclare("backup", true, false, false, false, nil)
	must(t, err)
	deliveries, err := ch.Consume("backup", "", false, false, false, false, nil)
	must(t, err)

	load := new(backupLoad)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- load.run(ctx, ch, deliveries) }()
	eventually(t, func() bool { _, _, passed := load.now(); return passed > 4*backupBacklog })

	dir := t.TempDir()
	type made struct {
		dir                 string
		confirmed, sent, ok int
	}
	var backups []made
	for _, name := range []string{"first", "second", "third"} {
		m := made{dir: filepath.Join(dir, name)}
		m.confirmed, _, m.ok = load.now()
		baton(t, b, "backup", b.Dir, m.dir)
		_, m.sent, _ = load.now()
		backups = append(backups, m)
	}
	stop()
	must(t, <-done)
	if _, _, passed := load.now(); passed <= backups[0].ok {
		t.Error("no message passed while the backups were made")
	}
	if code, err := b.Terminate(); err != nil || code != 0 {
		t.Errorf("the broker ends with code %d, %v", code, err)
	}

	for _, m := range backups {
		restored, log := ownBroker(t)
		baton(t, b, "restore", m.dir, restored.Dir)
		start(t, restored, log)
		there := drainBackup(t, restored)
		for n := range there {
			if n < m.ok {
				t.Errorf("%s: message %d was acknowledged before, and came back", m.dir, n)
			}
		}
		for n := m.sent; n < m.confirmed; n++ {
			if !there[n] {
				t.Errorf("%s: message %d of %d to %d was confirmed before, and is lost", m.dir, n, m.sent, m.confirmed)
			}
		}
		t.Logf("%d messages are there; acknowledged before: %d, confirmed before: %d, acknowledged after: %d", len(there), m.ok, m.confirmed, m.sent)
		if code, err := restored.Terminate(); err != nil || code != 0 {
			t.Errorf("the restored broker ends with code %d, %v", code, err)
		}
	}

	// A directory that holds something is left as it is.
	out, err := exec.CommandContext(t.Context(), b.Binary, "restore", backups[0].dir, backups[1].dir).CombinedOutput()
	if e, ok := errors.AsType[*exec.ExitError](err); !ok || e.ExitCode() != 5 || !strings.Contains(string(out), "is not empty") {
		t.Errorf("over another backup: %v, %s", err, out)
	}
}

// baton runs the broker's binary.
func baton(t *testing.T, b *Broker, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), b.Binary, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("baton %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	t.Logf("baton %s: %s", args[0], strings.TrimSpace(string(out)))
}

// drainBackup takes every message of the queue.
func drainBackup(t *testing.T, b *Broker) map[int]bool {
	t.Helper()
	ch := channel(t, b.URL())
	there := make(map[int]bool)
	for {
		d, ok, err := ch.Get("backup", true)
		must(t, err)
		if !ok {
			return there
		}
		there[int(binary.BigEndian.Uint64(d.Body))] = true
	}
}
