package interop

import (
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Exit codes that scripts rely on.
const (
	exitOK   = 0
	exitNo   = 1 // health: not live, or not ready
	exitData = 5 // the data directory is held by another broker
)

// SIGTERM tells clients, ends with 0, and what was promised is there afterwards.
func TestTerminateDrainsAndLosesNothing(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	start(t, b, log)
	ch := channel(t, b.URL())
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	definitions(t, ch)
	const messages = 500
	must(t, ch.Confirm(false))
	var last *amqp.DeferredConfirmation
	for i := range messages {
		var err error
		last, err = ch.PublishWithDeferredConfirm("kept.x", "some.key", false, false,
			amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, i)})
		must(t, err)
	}
	if !last.Wait() {
		t.Fatal("the last publish was refused")
	}
	if code, err := b.Terminate(); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v; want 0\nits log:\n%s", code, err, log.text())
	}
	if e := within(t, "the goodbye", closed); e.Code != amqp.ConnectionForced || !e.Server {
		t.Errorf("clients were told %v, want 320", e)
	}

	start(t, b, log)
	ch = channel(t, b.URL())
	must(t, ch.ExchangeDeclarePassive("kept.x", "topic", true, false, false, false, nil))
	in := consume(t, ch, "kept.q", true)
	for i := range messages {
		if d := within(t, "delivery", in); string(d.Body) != fmt.Sprint(i) {
			t.Fatalf("message %q, want %d", d.Body, i)
		}
	}
	_, err := ch.QueueDeclarePassive("gone.q", false, false, false, false, nil)
	expectRefusal(t, err, amqp.NotFound)
}

// definitions declares a durable queue bound to a durable exchange, and a transient
// queue.
func definitions(t *testing.T, ch *amqp.Channel) {
	t.Helper()
	must(t, ch.ExchangeDeclare("kept.x", "topic", true, false, false, false, nil))
	_, err := ch.QueueDeclare("kept.q", true, false, false, false, nil)
	must(t, err)
	must(t, ch.QueueBind("kept.q", "some.*", "kept.x", false, nil))
	_, err = ch.QueueDeclare("gone.q", false, false, false, false, nil)
	must(t, err)
}

// The -ok of a durable definition is a promise like a confirm.
func TestKilledBrokerKeepsDefinitions(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	start(t, b, log)
	ch := channel(t, b.URL())
	definitions(t, ch)
	for _, q := range []string{"deleted.q", "purged.q"} {
		_, err := ch.QueueDeclare(q, true, false, false, false, nil)
		must(t, err)
	}
	must(t, ch.Publish("", "purged.q", false, false, amqp.Publishing{DeliveryMode: amqp.Persistent}))
	if n, err := ch.QueuePurge("purged.q", false); err != nil || n != 1 {
		t.Fatalf("purged %d, %v", n, err)
	}
	_, err := ch.QueueDelete("deleted.q", false, false, false)
	must(t, err)
	must(t, b.Kill())

	start(t, b, log)
	conn := dial(t, b.URL())
	ch = openChannel(t, conn)
	publish(t, ch, "kept.x", "some.key", "routed")
	if got := bodies(t, ch, "kept.q"); got != "routed" {
		t.Errorf("through the recovered binding: %q", got)
	}
	if q, err := ch.QueueDeclarePassive("purged.q", true, false, false, false, nil); err != nil || q.Messages != 0 {
		t.Errorf("the purged queue holds %d messages, %v", q.Messages, err)
	}
	for _, q := range []string{"deleted.q", "gone.q"} {
		_, err := openChannel(t, conn).QueueDeclarePassive(q, true, false, false, false, nil)
		expectRefusal(t, err, amqp.NotFound)
	}
}

// command runs the binary to its end.
func command(t *testing.T, b *Broker, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), b.Binary, args...)
	cmd.Env = foreignEnv()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		if _, ended := errors.AsType[*exec.ExitError](err); !ended {
			t.Fatal(err)
		}
	}
	return cmd.ProcessState.ExitCode(), out.String(), errs.String()
}

func TestSecondBrokerOnADirectoryIsRefused(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	start(t, b, log)
	second, err := NewBroker(Config{Binary: b.Binary, Dir: b.Dir, Log: newLogFile(t, "second.log")})
	must(t, err)
	code, _, stderr := command(t, b, append([]string{"serve", "--data", second.Dir, "--node", "second"}, second.listenFlags()...)...)
	if code != exitData {
		t.Errorf("exit code %d, want %d", code, exitData)
	}
	// Its log goes to the same place; the sentence is what names the program.
	var sentences []string
	for line := range strings.Lines(stderr) {
		if strings.HasPrefix(line, "baton: ") {
			sentences = append(sentences, strings.TrimSpace(line))
		}
	}
	if len(sentences) != 1 || !strings.Contains(sentences[0], b.Dir) {
		t.Errorf("sentences %q, want one that names %s", sentences, b.Dir)
	}
	settled(t, channel(t, b.URL())) // the first is as well as before
}

func TestHealth(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	expect := func(want int, args ...string) {
		t.Helper()
		args = append([]string{"health", "--admin", b.Admin}, args...)
		if code, out, stderr := command(t, b, args...); code != want {
			t.Errorf("%v: exit code %d, want %d (%s%s)", args, code, want, out, stderr)
		}
	}
	expect(exitNo)
	start(t, b, log)
	expect(exitOK)
	expect(exitOK, "--ready")
	if code, err := b.Terminate(); err != nil || code != exitOK {
		t.Fatalf("exit code %d, %v", code, err)
	}
	expect(exitNo)
}

// BenchmarkStart is a start on an empty directory until clients can connect, the
// process' own start included; the goal is 300 ms.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		b.StopTimer()
		broker, log := ownBroker(b)
		b.StartTimer()
		start(b, broker, log)
		b.StopTimer()
		if err := broker.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}
