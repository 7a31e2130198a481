package core_test

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

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
				s.run(d)
				synctest.Wait() // what the loader brings belongs to the directive that needed it
				s.checkSums(d.Cmd)
				out := s.take()
				if d.Cmd == "commit" {
					out = promisesFirst(out)
				}
				return cmp.Or(out, "ok\n")
			})
		})
	})
}

// promisesFirst moves what was confirmed before what was delivered: messages that are shown once they are on record are shown by a
// goroutine of the engine's, while the store goes on confirming.
func promisesFirst(out string) string {
	var promises, rest strings.Builder
	for line := range strings.Lines(out) {
		if strings.HasPrefix(line, "confirmed ") {
			promises.WriteString(line)
		} else {
			rest.WriteString(line)
		}
	}
	return promises.String() + rest.String()
}

// script is one engine with its sessions. Everything happens on the test's goroutine, so that the output has one order.
type script struct {
	t        *testing.T
	mu       sync.Mutex // guards out: wills are published by timers
	out      strings.Builder
	store    *memstore.Store
	broker   *core.Broker
	epoch    uint32
	sessions map[string]*peer
	tag      uint64
	commands int
}

// peer is a session with what a front-end would keep for it.
type peer struct {
	script      *script
	name        string
	session     *core.Session
	consumers   map[string]*core.Consumer
	outstanding []core.Delivery
	full        bool
	link        *core.Link
}

func flags(match *core.Match) string {
	s := fmt.Sprintf("level=%d", match.Level)
	if match.Retain {
		s += " retain"
	}
	if match.ID != 0 {
		s += fmt.Sprintf(" subscription=%d%v", match.ID, match.More)
	}
	return s
}

// left is how long m may wait further, of one that expires.
func (p *peer) left(m *core.Message) string {
	if m.Expires == 0 {
		return ""
	}
	return " left=" + p.session.Left(m).String()
}

func (p *peer) Push(m *core.Message, match *core.Match) {
	p.script.printf("%s <- %s %s %s%s", p.name, m.Key, m.Body, flags(match), p.left(m))
}

func (p *peer) Send(m *core.Message, id uint16, match *core.Match, again bool) {
	dup := ""
	if again {
		dup = " again"
	}
	p.script.printf("%s <- #%d %s %s %s%s%s", p.name, id, m.Key, m.Body, flags(match), p.left(m), dup)
}

func (p *peer) Release(id uint16) { p.script.printf("%s <- release #%d", p.name, id) }
func (p *peer) TakenOver()        { p.script.printf("%s taken over", p.name) }

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

func (s *script) printf(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fmt.Fprintf(&s.out, format+"\n", args...)
}

// take returns what was printed since the last call.
func (s *script) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.out.Reset()
	return s.out.String()
}

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
	session, err := s.broker.Attach(str(d, "vhost", "/"), core.SessionOptions{Conn: name, User: str(d, "user", "guest")})
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

// list returns the values of keys=(a,b), nil if there are none.
func list(d *datadriven.TestData, key string) []string {
	for _, a := range d.CmdArgs {
		if a.Key == key {
			return a.Vals
		}
	}
	return nil
}

func (s *script) duration(d *datadriven.TestData, key string, def time.Duration) time.Duration {
	v := str(d, key, "")
	if v == "" {
		return def
	}
	n, err := time.ParseDuration(v)
	if err != nil {
		s.t.Fatal(err)
	}
	return n
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
		var info core.DeclaredQueue
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
	case "retire":
		p.consumers[str(d, "tag", "c")].Retire()
	case "active":
		s.active()
	case "get":
		err = s.get(p, d)
	case "accept", "reject", "requeue", "return":
		s.settle(p, d)
	case "commit":
		if n := num(d, "n", 0); n > 0 {
			for range n {
				s.store.FlushOne()
			}
		} else {
			s.store.Flush()
		}
	case "link", "detach", "suspend", "subscribe", "unsubscribe", "retained", "ack", "received", "released", "refused", "publish-once", "release":
		err = s.runLink(p, d)
	case "delayed":
		err = s.delayed(p, d)
	case "cancel-delayed":
		var existed bool
		s.flushed(func() {
			existed, err = p.session.CancelDelayed(ctx, str(d, "exchange", ""), uint64(num(d, "id", 0)))
		})
		s.printf("existed=%t", existed)
	case "put-vhost", "delete-vhost":
		err = s.changeVHost(d)
	case "sleep":
		time.Sleep(s.duration(d, "for", time.Second))
	case "close":
		p.session.Close(p.outstanding...)
		delete(s.sessions, p.name)
	case "crash", "restart":
		s.restart(d.Cmd == "crash")
	case "stats":
		st := s.broker.Stats()
		more := ""
		if st.Expired > 0 {
			more = fmt.Sprintf(" expired=%d", st.Expired)
		}
		s.printf("queues=%d consumers=%d ready=%d unsettled=%d published=%d delivered=%d redone=%d settled=%d unroutable=%d%s",
			st.Queues, st.Consumers, st.Ready, st.Unsettled, st.Published, st.Delivered, st.Redone, st.Settled, st.Unroutable, more)
	default:
		d.Fatalf(s.t, "unknown directive %s", d.Cmd)
	}
	if err != nil {
		s.printf("error %s: %s", core.KindOf(err), err)
	}
}

// message makes what a publish directive describes.
func (p *peer) message(d *datadriven.TestData, body string) *core.Message {
	props, err := field.AppendProperties(nil, &field.Properties{Headers: args(p.script.t, d.Input), Expiration: str(d, "expiration", "")})
	if err != nil {
		p.script.t.Fatal(err)
	}
	m := &core.Message{
		Exchange: str(d, "to", ""), Key: str(d, "key", ""), Keys: list(d, "keys"), Body: []byte(body), Props: props,
		Persistent: d.HasArg("persistent"), Once: d.HasArg("once"), Retain: d.HasArg("retain"),
		Priority: uint8(num(d, "priority", 0)),
	}
	m.Delay = p.script.duration(d, "later", 0).Milliseconds()
	if life := p.script.duration(d, "expires", -1); life >= 0 {
		m.Expires = p.session.ExpiresAfter(life)
	}
	return m
}

// runLink runs the directives of a subscriber. What waits for a record is flushed, so that the directive can end.
func (s *script) runLink(p *peer, d *datadriven.TestData) (err error) {
	id := uint16(num(d, "id", 0))
	switch d.Cmd {
	case "link":
		return s.link(p, d)
	case "detach":
		p.link.Detach(d.HasArg("goodbye"), nil)
	case "suspend":
		p.link.Suspend()
	case "subscribe":
		spec := subscription(s.t, d)
		var results []core.Subscribed
		s.flushed(func() { results, err = p.link.Subscribe(s.t.Context(), []core.SubscriptionSpec{spec}) })
		if err == nil {
			err = results[0].Err
		}
	case "unsubscribe":
		var existed []bool
		s.flushed(func() {
			existed, err = p.link.Unsubscribe(s.t.Context(), []core.Filter{{Share: str(d, "share", ""), Key: str(d, "key", "")}})
		})
		s.printf("existed=%t", existed[0])
	case "retained":
		p.link.SendRetained(subscription(s.t, d), 0)
	case "ack":
		s.printf("known=%t", p.link.Ack(id))
	case "received":
		s.tag++
		var known bool
		known, err = p.link.Received(id, s, s.tag)
		s.printf("known=%t tag=%d", known, s.tag)
	case "released":
		s.printf("known=%t", p.link.Released(id))
	case "refused":
		s.printf("known=%t", p.link.Refused(id))
	case "publish-once":
		s.tag++
		err = p.link.PublishOnce(p.message(d, str(d, "body", "m")), id, s, s.tag, s.tag+1000)
	case "release":
		s.tag++
		err = p.link.ReleaseReceived(id, s, s.tag, s.tag+1000)
	}
	return err
}

func subscription(t *testing.T, d *datadriven.TestData) core.SubscriptionSpec {
	t.Helper()
	key, share, queue := str(d, "key", ""), str(d, "share", ""), ""
	if share != "" {
		queue = "share-" + share + "-" + key
	}
	return core.SubscriptionSpec{
		Share: share, Queue: queue,
		Key: key, Level: core.Level(num(d, "level", 0)), NoLocal: d.HasArg("no-local"), AsPublished: d.HasArg("as-published"),
		NoSystem: strings.HasPrefix(key, "#") || strings.HasPrefix(key, "*"), ID: uint32(num(d, "id", 0)),
	}
}

func (s *script) link(p *peer, d *datadriven.TestData) (err error) {
	expiry, err := time.ParseDuration(str(d, "expiry", "0s"))
	if err != nil {
		return err
	}
	spec := core.SubscriberSpec{
		Name: str(d, "name", p.name), Queue: "subscriber-" + str(d, "name", p.name), Fresh: d.HasArg("fresh"),
		Expiry: expiry, Window: num(d, "window", 0), Receiver: p,
	}
	if body := str(d, "will", ""); body != "" {
		delay, err := time.ParseDuration(str(d, "delay", "0s"))
		if err != nil {
			return err
		}
		var lifetime *time.Duration
		if life := s.duration(d, "expires", -1); life >= 0 {
			lifetime = &life
		}
		spec.Will = &core.Will{Lifetime: lifetime, Message: &core.Message{Exchange: core.TopicExchange, Key: "wills", Body: []byte(body)}, Delay: delay}
		spec.Will.Message.Delay = s.duration(d, "later", 0).Milliseconds()
	}
	var present bool
	s.flushed(func() { p.link, present, err = p.session.Subscriber(s.t.Context(), spec) })
	if err == nil {
		s.printf("present=%t", present)
		p.link.Start()
	}
	return err
}

// flushed runs f, which waits for a record, and passes everything meanwhile.
func (s *script) flushed(f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	synctest.Wait()
	s.store.Flush()
	<-done
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
		m := p.message(d, body)
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
	if v := str(d, "priority", ""); v != "" {
		kind := str(d, "type", "int")
		spec.Args = args(s.t, "x-priority "+kind+" "+v)
	}
	c, err := p.session.Consume(s.t.Context(), spec)
	if err == nil {
		p.consumers[tag] = c
	}
	return err
}

// active lists the consumers that may be served.
func (s *script) active() {
	for _, name := range sortedKeys(s.sessions) {
		p := s.sessions[name]
		for _, tag := range sortedKeys(p.consumers) {
			if p.consumers[tag].Active() {
				s.printf("%s/%s is active", name, tag)
			}
		}
	}
}

func (s *script) get(p *peer, d *datadriven.TestData) error {
	got, remaining, ok, err := p.session.Get(s.t.Context(), str(d, "queue", ""), d.HasArg("no-ack"))
	switch {
	case err != nil:
	case !ok:
		s.printf("empty remaining=%d", remaining)
	default:
		s.printf("%s@%d %s redelivered=%t remaining=%d", got.Queue(), got.Seq, got.Message.Body, got.Redelivered, remaining)
		if d.HasArg("properties") {
			s.properties(&got)
		}
		if !d.HasArg("no-ack") {
			p.outstanding = append(p.outstanding, got)
		}
	}
	return err
}

// properties prints what a message says of itself, the headers line by line. Times are left out.
func (s *script) properties(d *core.Delivery) {
	m := d.Message
	p, err := field.ParseProperties(d.Properties())
	if err != nil {
		s.t.Fatal(err)
	}
	s.printf("  exchange=%q key=%q expiration=%q", m.Exchange, m.Key, p.Expiration)
	for _, h := range p.Headers {
		list, ok := h.Value.([]any)
		if !ok {
			s.printf("  %s: %s", h.Key, field.Text(h.Value))
			continue
		}
		for _, v := range list {
			s.printf("  %s: %s", h.Key, timeOf.ReplaceAllString(field.Text(v), "time=T"))
		}
	}
}

var timeOf = regexp.MustCompile(`time=\d+`)

// delayed prints what an exchange keeps back.
func (s *script) delayed(p *peer, d *datadriven.TestData) error {
	list, total, err := p.session.Delayed(s.t.Context(), str(d, "exchange", ""), num(d, "limit", 100))
	for _, m := range list {
		s.printf("%d in %s %s", m.ID, m.Due.Sub(s.store.Now()).Round(time.Millisecond), m.Message.Body)
	}
	if err == nil {
		s.printf("total=%d", total)
	}
	return err
}

// settle takes places of the session's outstanding deliveries: n=COUNT oldest, or place=SEQ of queue=NAME, or all.
func (s *script) settle(p *peer, d *datadriven.TestData) {
	outcome := map[string]core.Outcome{"accept": core.Accept, "reject": core.Reject, "requeue": core.Requeue, "return": core.Return}[d.Cmd]
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
		s.broker.Drain()
		for _, name := range sortedKeys(s.sessions) {
			p := s.sessions[name]
			p.session.Close(p.outstanding...)
		}
		s.take()
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
