package interop

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// answerLimit bounds each wait for an answer.
const answerLimit = 5 * time.Second

// recordSilence is how long RabbitMQ is silent before a recording takes it that no more comes.
const recordSilence = 200 * time.Millisecond

// differences has what Baton answers written down where a conversation names a reason.
var differences = flag.Bool("conversations.differences", false,
	"write Baton's answers into the conversations, at the steps that name a reason why they differ from RabbitMQ's")

// TestConversations holds what Baton answers against what RabbitMQ answered, frame by
// frame. With RABBITMQ_URL=amqp://… it records anew what that broker answers.
func TestConversations(t *testing.T) {
	t.Parallel()
	addr, recording := os.Getenv("RABBITMQ_URL"), true
	if addr == "" {
		b, log := ownBroker(t) // the shared one gives too little time to a login among hundreds
		start(t, b, log)
		addr, recording = b.URL(), false
	}
	uri, err := amqp.ParseURI(addr)
	must(t, err)
	files, err := filepath.Glob("testdata/rabbitmq/*.txt")
	must(t, err)
	for _, path := range files {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			t.Parallel()
			f, err := readScript(path)
			must(t, err)
			if recording || *differences {
				t.Cleanup(func() { must(t, f.write()) })
			}
			for _, c := range f.conversations {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					hold(t, c, &run{
						addr: net.JoinHostPort(uri.Host, fmt.Sprint(uri.Port)), recording: recording,
						names: newAliases(strings.ToLower(rand.Text())), peers: map[string]*speaker{},
					})
				})
			}
		})
	}
}

// run is one time that a conversation is held.
type run struct {
	addr      string
	recording bool
	names     *aliases
	peers     map[string]*speaker
	declared  []string // requests that delete what was declared
}

func hold(t *testing.T, c *conversation, r *run) {
	t.Helper()
	defer r.close(t)
	for _, s := range c.steps {
		got, err := r.step(t.Context(), s)
		switch {
		case err != nil:
			t.Fatalf("line %d: %s\n%s: %v", s.line, s.text, strings.Join(got, "\n"), err)
		case r.recording:
			s.got = got
		case r.captures(s):
			s.ours = got
		case s.reason != "" && slices.Equal(got, s.got):
			t.Errorf("line %d: %s\nBaton does as RabbitMQ does, and needs no %s for it", s.line, s.text, s.reason)
		case !slices.Equal(got, s.want()):
			t.Fatalf("line %d: %s\nRabbitMQ\n\t%s\nBaton\n\t%s%s", s.line, s.text,
				strings.Join(s.got, "\n\t"), strings.Join(got, "\n\t"), expected(s))
		}
	}
	for _, p := range r.peers {
		left, err := r.rest(p)
		if err != nil || len(left) > 0 {
			t.Errorf("at the end nobody had waited for %q of %s: %v", left, p.name, err)
		}
	}
}

// captures reports whether what comes of s is written down instead of compared.
func (r *run) captures(s *step) bool { return r.recording || *differences && s.reason != "" }

func expected(s *step) string {
	if s.reason == "" {
		return ""
	}
	return fmt.Sprintf("\nwhich should be, because of %s,\n\t%s", s.reason, strings.Join(s.ours, "\n\t"))
}

// step does what s says and returns what came of it.
func (r *run) step(ctx context.Context, s *step) ([]string, error) {
	p, err := r.peer(ctx, s)
	if err != nil {
		return nil, err
	}
	switch s.verb {
	case "dial":
		return nil, nil
	case "cut":
		p.ended = true
		return nil, p.nc.Close()
	case "wait":
		return r.wait(p, s)
	case "quiet":
		return r.quiet(p, s.on)
	}
	if s.rest != "channel.open" {
		if err := p.ensureOpen(s.on); err != nil {
			return nil, err
		}
	}
	if s.verb == "until" {
		return r.until(p, s)
	}
	return r.request(p, s.on, r.names.sending(s.rest))
}

// peer returns the connection that s is about.
func (r *run) peer(ctx context.Context, s *step) (*speaker, error) {
	if p := r.peers[s.peer]; p != nil {
		return p, nil
	}
	p, err := dialSpeaker(ctx, s.peer, r.addr, r.names)
	if err != nil {
		return nil, err
	}
	r.peers[s.peer] = p
	if s.verb == "dial" {
		p.plain = true
		if s.rest == "" {
			return p, nil
		}
		return p, p.handshake(s.rest)
	}
	return p, p.handshake("connection.open-ok")
}

// request sends a line and returns what comes up to its answer, if it has one.
func (r *run) request(p *speaker, channel uint16, line string) (got []string, err error) {
	s, err := parseSent(line)
	if err != nil {
		return nil, err
	}
	r.remember(&s)
	if err := p.send(channel, &s); err != nil {
		return nil, err
	}
	_, silent := s.args["no-wait"]
	if s.method == nil || silent {
		return nil, nil
	}
	replies := s.method.replies()
	if len(replies) == 0 || p.plain {
		return nil, nil
	}
	replies = append(replies, "channel.close", "connection.close", "connection.close-ok", "")
	for {
		e, err := p.next(channel, answerLimit)
		if err != nil {
			return got, err
		}
		got = append(got, p.line(e))
		if slices.Contains(replies, e.method) {
			return got, nil
		}
	}
}

// until repeats a request until its answer contains what it should, and returns the last
// with all that came besides.
func (r *run) until(p *speaker, s *step) (all []string, err error) {
	text, line, _ := strings.Cut(s.rest, ": ")
	limit := time.Now().Add(answerLimit)
	for {
		if err := p.ensureOpen(s.on); err != nil {
			return nil, err
		}
		got, err := r.request(p, s.on, r.names.sending(line))
		all = append(all, got...)
		if err != nil || len(got) > 0 && strings.Contains(got[len(got)-1], text) {
			return all, err
		}
		if time.Now().After(limit) {
			return all, fmt.Errorf("it did not become %q", text)
		}
		all = all[:len(all)-1]
	}
}

// wait returns what comes unasked: as much as was recorded, or until no more comes.
func (r *run) wait(p *speaker, s *step) (got []string, err error) {
	limit := answerLimit
	for r.captures(s) || len(got) < len(s.want()) {
		e, err := p.next(s.on, limit)
		if r.captures(s) && (len(got) > 0 || s.reason != "") && (errors.Is(err, errQuiet) || errors.Is(err, io.EOF)) {
			return got, nil
		}
		if errors.Is(err, errQuiet) && !r.captures(s) { // which the caller finds out
			return got, nil
		}
		if err != nil {
			return got, err
		}
		got = append(got, p.line(e))
		if r.captures(s) {
			limit = recordSilence
		}
	}
	return got, nil
}

// quiet returns what has come by the time that a request is answered after which it would
// have come.
func (r *run) quiet(p *speaker, channel uint16) (got []string, err error) {
	if r.recording {
		e, err := p.next(channel, recordSilence)
		if errors.Is(err, errQuiet) {
			return nil, nil
		}
		return []string{p.line(e)}, err
	}
	for range 2 {
		lines, err := r.request(p, channel, "basic.cancel consumer-tag=nobody")
		got = append(got, lines...)
		n := len(got) - 1
		if err != nil || !strings.HasSuffix(got[n], "basic.cancel-ok consumer-tag=nobody") {
			return got, err // the channel has been closed
		}
		got = got[:n]
	}
	return got, nil
}

// line is how a conversation writes an event.
func (p *speaker) line(e event) string {
	if e.channel == 0 {
		return p.name + "< " + e.text
	}
	return fmt.Sprintf("%s%d< %s", p.name, e.channel, e.text)
}

// rest returns what nobody has waited for.
func (r *run) rest(p *speaker) (left []string, err error) {
	for n, c := range p.channels {
		if n > 0 && c.open && !p.ended && !p.closing && !p.plain {
			if left, err = r.quiet(p, n); err != nil {
				return left, err
			}
		}
		for _, e := range c.inbox {
			left = append(left, p.line(e))
		}
	}
	return left, nil
}

// remember notes what deletes what s declares.
func (r *run) remember(s *sent) {
	if s.method == nil {
		return
	}
	kind, verb, _ := strings.Cut(s.method.name, ".")
	if name, _ := s.args[kind].(string); verb == "declare" && strings.Contains(name, r.names.suffix) {
		r.declared = append(r.declared, fmt.Sprintf("%s.delete %s=%s", kind, kind, renderText(name)))
	}
}

// close ends the connections and deletes what was declared, as others use the broker too.
func (r *run) close(t *testing.T) {
	t.Helper()
	for _, p := range r.peers {
		_ = p.nc.Close()
	}
	p, err := dialSpeaker(context.WithoutCancel(t.Context()), "Z", r.addr, newAliases(r.names.suffix))
	must(t, err)
	defer p.nc.Close()
	must(t, p.handshake("connection.open-ok"))
	for _, line := range r.declared {
		must(t, p.ensureOpen(1))
		if _, err := r.request(p, 1, line); err != nil {
			t.Errorf("%s: %v", line, err)
		}
	}
}

// TestConversationReasons: each reason that a conversation names is explained, and each
// that is explained is named.
func TestConversationReasons(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../docs/rabbitmq-differences.md")
	must(t, err)
	named := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^### `([-\\w]+)`$").FindAllStringSubmatch(string(text), -1) {
		named[m[1]] = false
	}
	files, err := filepath.Glob("testdata/rabbitmq/*.txt")
	must(t, err)
	for _, path := range files {
		f, err := readScript(path)
		must(t, err)
		for _, c := range f.conversations {
			for _, s := range c.steps {
				if _, ok := named[s.reason]; !ok && s.reason != "" {
					t.Errorf("%s: %s: line %d: docs/rabbitmq-differences.md does not explain %s", path, c.name, s.line, s.reason)
				}
				named[s.reason] = true
			}
		}
	}
	for reason, used := range named {
		if !used {
			t.Errorf("docs/rabbitmq-differences.md explains %s, which no conversation names", reason)
		}
	}
}
