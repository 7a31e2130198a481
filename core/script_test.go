package core_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/cockroachdb/datadriven"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// TestScripts runs the conversations under testdata on an engine with a memory store that passes records only when told to. Each
// directive names a session with s=NAME (default "a"); what the engine does is printed in the order in which it happens.
func TestScripts(t *testing.T) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) { //nolint:thelper // a subtest
		synctest.Test(t, func(t *testing.T) {
			s := &script{t: t}
			s.open(nil)
			defer s.shut()
			datadriven.RunTest(t, path, func(_ *testing.T, d *datadriven.TestData) string {
				s.out.Reset()
				s.run(d)
				synctest.Wait() // what the loader brings belongs to the directive that needed it
				if s.out.Len() == 0 {
					return "ok\n"
				}
				return s.out.String()
			})
		})
	})
}

// script is one engine with its sessions. Everything happens on the test's goroutine, so that the output has one order.
type script struct {
	t        *testing.T
	out      strings.Builder
	store    *memstore.Store
	broker   *core.Broker
	epoch    uint32
	sessions map[string]*peer
	tag      uint64
}

// peer is a session with what a front-end would keep for it.
type peer struct {
	script      *script
	name        string
	session     *core.Session
	consumers   map[string]*core.Consumer
	outstanding []core.Delivery
	full        bool
}

func (s *script) open(disk *memstore.Disk) {
	s.epoch++
	s.store = memstore.Open(memstore.Options{Disk: disk, Manual: true})
	b, err := core.Open(s.t.Context(), s.store, core.Options{Epoch: s.epoch, OpenWindow: 100})
	if err != nil {
		s.t.Fatal(err)
	}
	s.broker, s.sessions = b, map[string]*peer{}
}

func (s *script) shut() {
	s.broker.Close()
	_ = s.store.Close()
}

func (s *script) printf(format string, args ...any) { fmt.Fprintf(&s.out, format+"\n", args...) }

// Complete prints what was promised.
func (s *script) Complete(tag uint64, err error) {
	if err != nil {
		s.printf("promise %d broken: %v", tag, err)
		return
	}
	s.printf("confirmed %d", tag)
}

func (p *peer) Ready() bool { return !p.full }

func (p *peer) Deliver(d core.Delivery) {
	again := ""
	if d.Redelivered {
		again = " redelivered=" + strconv.Itoa(int(d.Delivered))
	}
	p.script.printf("%s/%s <- %s@%d %s%s", p.name, d.Consumer.Tag(), d.Queue(), d.Seq, d.Message.Body, again)
	p.outstanding = append(p.outstanding, d)
}

func (p *peer) Cancelled(c *core.Consumer) { p.script.printf("%s/%s cancelled", p.name, c.Tag()) }

func (s *script) peer(d *datadriven.TestData) *peer {
	name := str(d, "s", "a")
	if p := s.sessions[name]; p != nil {
		return p
	}
	session, err := s.broker.Attach(str(d, "vhost", "/"), core.SessionOptions{Conn: name, User: "guest"})
	if err != nil {
		s.t.Fatal(err)
	}
	p := &peer{script: s, name: name, session: session, consumers: map[string]*core.Consumer{}}
	s.sessions[name] = p
	return p
}

func str(d *datadriven.TestData, key, def string) string {
	for _, a := range d.CmdArgs {
		if a.Key == key && len(a.Vals) > 0 {
			return a.Vals[0]
		}
	}
	return def
}

func num(d *datadriven.TestData, key string, def int) int {
	if v := str(d, key, ""); v != "" {
		n, err := strconv.Atoi(v)
		if err != nil {
			d.Fatalf(nil, "%s: %v", key, err)
		}
		return n
	}
	return def
}

// args reads the directive's input as a table, a line each: name type value.
func args(t *testing.T, input string) (table field.Table) {
	t.Helper()
	for line := range strings.Lines(input) {
		var name, kind, value string
		if n, _ := fmt.Sscan(line, &name, &kind, &value); n < 2 {
			t.Fatalf("cannot read argument %q", line)
		}
		var v any = value
		switch kind {
		case "int":
			n, err := strconv.Atoi(value)
			if err != nil {
				t.Fatal(err)
			}
			v = int32(n)
		case "bool":
			v = value == "true"
		case "void":
			v = nil
		}
		table = append(table, field.Field{Key: name, Value: v})
	}
	return table
}

func (s *script) run(d *datadriven.TestData) {
	p := s.peer(d)
	ctx := s.t.Context()
	var err error
	switch d.Cmd {
	case "queue":
		var info core.QueueInfo
		info, err = p.session.DeclareQueue(ctx, core.QueueSpec{
			Name: str(d, "name", ""), Durable: d.HasArg("durable"), Exclusive: d.HasArg("exclusive"),
			AutoDelete: d.HasArg("auto-delete"), Passive: d.HasArg("passive"), NoWait: true, Args: args(s.t, d.Input),
		})
		if err == nil {
			s.printf("%s messages=%d consumers=%d", info.Name, info.Messages, info.Consumers)
		}
	case "exchange":
		err = p.session.DeclareExchange(ctx, core.ExchangeSpec{
			Name: str(d, "name", ""), Kind: str(d, "kind", "direct"), Durable: d.HasArg("durable"),
			AutoDelete: d.HasArg("auto-delete"), Internal: d.HasArg("internal"), Passive: d.HasArg("passive"),
			NoWait: true, Args: args(s.t, d.Input),
		})
	case "bind", "unbind":
		spec := core.BindingSpec{
			Source: str(d, "from", ""), Dest: str(d, "to", ""), DestExchange: d.HasArg("to-exchange"),
			Key: str(d, "key", ""), Args: args(s.t, d.Input), NoWait: true,
		}
		if d.Cmd == "bind" {
			err = p.session.Bind(ctx, spec)
		} else {
			err = p.session.Unbind(ctx, spec)
		}
	case "delete-queue":
		var n int
		n, err = p.session.DeleteQueue(ctx, str(d, "name", ""), d.HasArg("if-unused"), d.HasArg("if-empty"), true)
		if err == nil {
			s.printf("deleted with %d messages", n)
		}
	case "delete-exchange":
		err = p.session.DeleteExchange(ctx, str(d, "name", ""), d.HasArg("if-unused"), true)
	case "purge":
		var n int
		n, err = p.session.PurgeQueue(ctx, str(d, "name", ""), true)
		if err == nil {
			s.printf("purged %d", n)
		}
	case "publish":
		err = s.publish(p, d)
	case "consume":
		err = s.consume(p, d)
	case "window":
		p.consumers[str(d, "tag", "c")].SetWindowForTest(num(d, "limit", 0))
	case "outbox":
		if p.full = d.HasArg("full"); !p.full {
			p.session.Resume()
		}
	case "cancel":
		p.consumers[str(d, "tag", "c")].Cancel()
	case "get":
		err = s.get(p, d)
	case "accept", "reject", "requeue":
		s.settle(p, d)
	case "commit":
		if n := num(d, "n", 0); n > 0 {
			for range n {
				s.store.FlushOne()
			}
		} else {
			s.store.Flush()
		}
	case "close":
		p.session.Close(p.outstanding...)
		delete(s.sessions, p.name)
	case "crash", "restart":
		s.restart(d.Cmd == "crash")
	case "stats":
		st := s.broker.Stats()
		s.printf("queues=%d consumers=%d ready=%d unsettled=%d published=%d delivered=%d redone=%d settled=%d unroutable=%d",
			st.Queues, st.Consumers, st.Ready, st.Unsettled, st.Published, st.Delivered, st.Redone, st.Settled, st.Unroutable)
	default:
		d.Fatalf(s.t, "unknown directive %s", d.Cmd)
	}
	if err != nil {
		s.printf("error %s: %s", core.KindOf(err), err)
	}
}

func (s *script) publish(p *peer, d *datadriven.TestData) error {
	bodies := d.CmdArgs
	for i := 1; i <= max(1, num(d, "n", 1)); i++ {
		body := str(d, "body", "m")
		if num(d, "n", 0) > 0 {
			body += strconv.Itoa(i)
		}
		s.tag++
		tag := s.tag
		var c core.Completion
		if slices.ContainsFunc(bodies, func(a datadriven.CmdArg) bool { return a.Key == "confirm" }) {
			c = s
		}
		props, err := field.AppendProperties(nil, &field.Properties{Headers: args(s.t, d.Input)})
		if err != nil {
			return err
		}
		m := &core.Message{
			Exchange: str(d, "to", ""), Key: str(d, "key", ""), Body: []byte(body), Props: props, Persistent: d.HasArg("persistent"),
		}
		routed, err := p.session.Publish(m, c, tag)
		if err != nil {
			return err
		}
		if routed == 0 {
			s.printf("unroutable %s", body)
			p.session.Confirm(c, tag)
		}
	}
	return nil
}

func (s *script) consume(p *peer, d *datadriven.TestData) error {
	tag := str(d, "tag", "c")
	spec := core.ConsumerSpec{
		Queue: str(d, "queue", ""), Tag: tag, NoAck: d.HasArg("no-ack"), Exclusive: d.HasArg("exclusive"), Receiver: p,
		OnReady: func() { s.printf("%s/%s ready", p.name, tag) },
	}
	if n := num(d, "window", 0); n > 0 {
		spec.Window = core.NewWindow(n)
	}
	c, err := p.session.Consume(s.t.Context(), spec)
	if err == nil {
		p.consumers[tag] = c
	}
	return err
}

func (s *script) get(p *peer, d *datadriven.TestData) error {
	got, remaining, ok, err := p.session.Get(s.t.Context(), str(d, "queue", ""), d.HasArg("no-ack"))
	switch {
	case err != nil:
	case !ok:
		s.printf("empty remaining=%d", remaining)
	default:
		s.printf("%s@%d %s redelivered=%t remaining=%d", got.Queue(), got.Seq, got.Message.Body, got.Redelivered, remaining)
		if !d.HasArg("no-ack") {
			p.outstanding = append(p.outstanding, got)
		}
	}
	return err
}

// settle takes places of the session's outstanding deliveries: n=COUNT oldest, or place=SEQ of queue=NAME, or all.
func (s *script) settle(p *peer, d *datadriven.TestData) {
	outcome := map[string]core.Outcome{"accept": core.Accept, "reject": core.Reject, "requeue": core.Requeue}[d.Cmd]
	var take, keep []core.Delivery
	n, place := num(d, "n", 0), num(d, "place", 0)
	for _, o := range p.outstanding {
		if place > 0 && int(o.Seq) == place && o.Queue() == str(d, "queue", o.Queue()) || place == 0 && (n == 0 || len(take) < n) {
			take = append(take, o)
		} else {
			keep = append(keep, o)
		}
	}
	p.outstanding = keep
	p.session.Settle(take, outcome)
}

// restart opens a new engine on what the store kept: after a crash only what had passed.
func (s *script) restart(crash bool) {
	disk := s.store.Disk()
	if crash {
		s.store.Crash()
	} else {
		for _, name := range sortedKeys(s.sessions) {
			p := s.sessions[name]
			p.session.Close(p.outstanding...)
		}
		s.out.Reset()
		if err := s.store.Close(); err != nil {
			s.t.Fatal(err)
		}
	}
	s.broker.Close()
	s.open(disk)
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
