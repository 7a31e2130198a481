package interop

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// deployed is a node as the files below docs/deploy have it, on other ports.
type deployed struct {
	*supervised
	name  string
	amqp  string // host:port
	admin string
}

// deployHere returns a node's settings for this machine: they come before those of its file.
func deployHere(t *testing.T, name, dir string) (d *deployed, env []string) {
	t.Helper()
	needOwnMQTT(t)
	ports, err := freePorts(3)
	if err != nil {
		t.Fatal(err)
	}
	d = &deployed{name: name, amqp: ports[0], admin: ports[1]}
	return d, []string{
		"BATON_DATA=" + dir, "BATON_NODE=" + name, "BATON_AMQP_LISTEN=" + d.amqp, "BATON_ADMIN_LISTEN=" + d.admin, "BATON_MQTT_LISTEN=" + ports[2],
		"BATON_MQTT_WEBSOCKET=off", "BATON_METRICS_LISTEN=off", "BATON_ADMIN_SOCKET=off", "BATON_HA_ADVERTISE=amqp://" + d.amqp,
	}
}

// deployUnit makes a node of a unit.
func deployUnit(t *testing.T, unit, name, dir string) *deployed {
	t.Helper()
	notUnderRace(t)
	how, _ := supervisionOf(t, unit)
	d, env := deployHere(t, name, dir)
	d.supervised = supervise(t, name, ownBinary(t, name), how, env)
	return d
}

// ownBinary is a copy of the broker that a test may replace.
func ownBinary(t *testing.T, name string) string {
	t.Helper()
	bin, err := suite.binary()
	if err != nil {
		t.Fatal(err)
	}
	own := filepath.Join(t.TempDir(), name)
	install(t, bin, own)
	return own
}

// install puts a program into another's place, as package managers do: by a rename, so that one that runs goes on.
func install(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	must(t, err)
	must(t, os.WriteFile(to+".new", text, 0o755))
	must(t, os.Rename(to+".new", to))
}

// A client publishes numbers with confirms, one after the other, to whichever address takes them.
type numbers struct {
	addresses []string

	mu        sync.Mutex
	confirmed []string
	changed   chan struct{} // closed when there is one more
	stop      context.CancelFunc
	done      sync.WaitGroup
}

const numbersQueue = "numbers"

// publishNumbers begins to publish, until the test ends or stop is called.
func publishNumbers(t *testing.T, nodes ...*deployed) *numbers {
	t.Helper()
	n := &numbers{changed: make(chan struct{})}
	for _, d := range nodes {
		n.addresses = append(n.addresses, d.amqp)
	}
	ctx, stop := context.WithCancel(t.Context())
	n.stop = stop
	next := 0
	n.done.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			next = n.publish(ctx, n.addresses[i%len(n.addresses)], next)
			select {
			case <-time.After(failoverRetry): // before the next address is tried
			case <-ctx.Done():
			}
		}
	})
	t.Cleanup(n.end)
	return n
}

func (n *numbers) end() {
	n.stop()
	n.done.Wait()
}

// publish publishes to one broker for as long as it goes, and returns the number that comes next.
func (n *numbers) publish(ctx context.Context, address string, next int) int {
	conn, err := amqp.DialConfig("amqp://guest:guest@"+address+"/", amqp.Config{Dial: amqp.DefaultDial(time.Second)})
	if err != nil {
		return next
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	ch, err := conn.Channel()
	if err != nil || ch.Confirm(false) != nil {
		return next
	}
	if _, err := ch.QueueDeclare(numbersQueue, true, false, false, false, nil); err != nil {
		return next
	}
	for ; ; next++ {
		body := fmt.Sprint(next)
		message := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}
		sent, err := ch.PublishWithDeferredConfirmWithContext(ctx, "", numbersQueue, false, false, message)
		if err != nil {
			return next
		}
		if ok, err := sent.WaitContext(ctx); err != nil || !ok {
			return next + 1 // it may be there: the number is used
		}
		n.mu.Lock()
		n.confirmed = append(n.confirmed, body)
		close(n.changed)
		n.changed = make(chan struct{})
		n.mu.Unlock()
	}
}

// more waits until so many more are confirmed.
func (n *numbers) more(t *testing.T, count int) {
	t.Helper()
	limit := time.NewTimer(3 * failoverPatience)
	defer limit.Stop()
	n.mu.Lock()
	wanted := len(n.confirmed) + count
	for {
		now, changed := len(n.confirmed), n.changed
		n.mu.Unlock()
		if now >= wanted {
			return
		}
		select {
		case <-changed:
		case <-limit.C:
			t.Fatalf("%d publishes are confirmed, waited for %d in vain", now, wanted)
		}
		n.mu.Lock()
	}
}

// check ends the client and looks for all that was confirmed.
func (n *numbers) check(t *testing.T, primary *deployed) {
	t.Helper()
	n.end()
	conn, err := amqp.Dial("amqp://guest:guest@" + primary.amqp + "/")
	must(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	must(t, err)
	found := make(map[string]bool)
	for {
		m, ok, err := ch.Get(numbersQueue, true)
		must(t, err)
		if !ok {
			break
		}
		found[string(m.Body)] = true
	}
	missing := slices.DeleteFunc(slices.Clone(n.confirmed), func(body string) bool { return found[body] })
	if len(missing) > 0 || len(n.confirmed) == 0 {
		t.Errorf("of %d that were confirmed, %d are lost: %q", len(n.confirmed), len(missing), missing)
	}
	t.Logf("%d confirmed, %d found", len(n.confirmed), len(found))
}

// TestDeploy_TheUnitOfOneBroker runs what baton.service says.
func TestDeploy_TheUnitOfOneBroker(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	b := deployUnit(t, "baton.service", "one", dir)
	b.start()
	b.hasStatus("primary in epoch 1")
	client := publishNumbers(t, b)
	client.more(t, 50)

	_, unit := supervisionOf(t, "baton.service")
	if reload := unit["ExecReload"]; !slices.Equal(reload, []string{"/bin/kill -HUP $MAINPID"}) {
		t.Errorf("ExecReload is %q", reload)
	}
	b.signal(syscall.SIGHUP)
	b.await("the end of a reload", func() bool { return b.reloads == 1 })

	b.signal(syscall.SIGKILL)
	b.await("another start", func() bool { return b.ready == 2 })
	client.more(t, 50)
	client.check(t, b)

	if code := b.stop(); code != 0 {
		t.Errorf("exit code %d of an orderly stop", code)
	}
	// A directory that is not whole is no reason for another try.
	must(t, os.Remove(filepath.Join(dir, "store.id")))
	lives := b.started()
	b.start()
	b.await("that it is left alone", func() bool { return b.down })
	if now := b.started(); now != lives+1 || b.lastCode != 7 {
		t.Errorf("tried %d times, and ended with code %d, want one try that ends with 7", now-lives, b.lastCode)
	}
}

// TestDeploy_TheUnitOfAPair runs what baton-pair.service says, through a kill, a handover and an upgrade, under clients that go on.
func TestDeploy_TheUnitOfAPair(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	a, b := deployUnit(t, "baton-pair.service", "a", dir), deployUnit(t, "baton-pair.service", "b", dir)
	a.start()
	a.hasStatus("primary in epoch 1")
	b.start() // READY, and yet it serves nobody
	b.hasStatus(`standby: node "a" is the primary in epoch 1`)
	client := publishNumbers(t, a, b)
	client.more(t, 100)

	a.signal(syscall.SIGKILL)
	b.hasStatus("primary in epoch 2")
	a.await("a to be back", func() bool { return a.ready == 2 })
	a.hasStatus(`standby: node "b" is the primary in epoch 2`)
	client.more(t, 100)

	handOverTo(t, dir, a, 3)
	b.hasStatus("standby")
	if lives := b.started(); lives != 1 {
		t.Errorf("b was started %d times, and should have handed over within one life", lives)
	}
	client.more(t, 100)

	next, err := Build(t.Context(), t.TempDir(), "-ldflags", "-X main.release=next")
	must(t, err)
	install(t, next, b.binary)
	b.restarted()
	b.hasStatus("standby")
	client.more(t, 20)
	handOverTo(t, dir, b, 4)
	install(t, next, a.binary)
	a.restarted()
	a.hasStatus("standby")
	client.more(t, 100)
	for _, d := range []*deployed{a, b} {
		if !strings.Contains(d.log.text(), "version=next") {
			t.Errorf("%s does not run the new version", d.name)
		}
	}
	client.check(t, b)
	for _, d := range []*deployed{a, b} {
		if code := d.stop(); code != 0 {
			t.Errorf("exit code %d of %s", code, d.name)
		}
	}
}

// handOverTo has the primary hand over, and waits until d is in its place.
func handOverTo(t *testing.T, dir string, d *deployed, epoch int) {
	t.Helper()
	d.await("that it could take over", func() bool { return !strings.Contains(d.status, "cannot take over") })
	if code, out, errs := command(t, &Broker{Config: Config{Binary: d.binary}}, "ha", "handover", "--data", dir); code != exitOK {
		t.Fatalf("ha handover: exit code %d\n%s%s", code, out, errs)
	}
	d.hasStatus(fmt.Sprint("primary in epoch ", epoch))
}
