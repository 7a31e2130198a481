package mqtt_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/auth/authtest"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// bed is a server on a real engine whose store is in memory.
type bed struct {
	t      testing.TB
	store  *memstore.Store
	broker *core.Broker
	server *mqtt.Server

	accounts *auth.Accounts // guest's, who may do everything, and whose else a test makes

	ctx     context.Context //nolint:containedctx // what Serve is given, until the test ends
	stop    context.CancelCauseFunc
	serving sync.WaitGroup
}

// setup is what a test may change.
type setup struct {
	store  memstore.Options
	broker core.Options
	server mqtt.Options

	scram bool                                    // clients may log in by SCRAM-SHA-256
	named bool                                    // clients need a name: none may be anonymous
	users func(*auth.Accounts) auth.Authenticator // in place of server.Auth
}

// newBed starts a server; it ends with the test.
func newBed(tb testing.TB, change func(*setup)) *bed {
	tb.Helper()
	var s setup
	s.server.Log = slog.New(slog.NewTextHandler(tb.Output(), nil))
	if change != nil {
		change(&s)
	}
	b := &bed{t: tb, store: memstore.Open(s.store)}
	var err error
	if b.broker, err = core.Open(tb.Context(), b.store, s.broker); err != nil {
		tb.Fatal(err)
	}
	s.server.Broker = b.broker
	b.permit(auth.DefaultUser, everything)
	if s.store.Manual {
		b.store.Flush()
	}
	if b.accounts, err = auth.NewAccounts(auth.AccountsOptions{Users: b.broker.Access()}); err != nil {
		tb.Fatal(err)
	}
	if s.scram {
		s.server.SCRAM = func(_ context.Context, peer auth.Credentials) (*auth.SCRAMExchange, error) {
			return b.accounts.SCRAM(peer), nil
		}
	}
	switch {
	case s.users != nil:
		s.server.Auth = s.users(b.accounts)
	case s.server.Auth == nil:
		s.server.Auth = authtest.Guest{}
	}
	if !s.named {
		if s.server.Anonymous, err = auth.NewAnonymous(b.accounts, auth.DefaultUser); err != nil {
			tb.Fatal(err)
		}
	}
	if b.server, err = mqtt.New(s.server); err != nil {
		tb.Fatal(err)
	}
	b.ctx, b.stop = context.WithCancelCause(context.Background())
	tb.Cleanup(func() {
		b.stop(listen.ErrCut)
		b.serving.Wait()
		b.broker.Close()
		_ = b.store.Close() // some tests have made it fail
	})
	return b
}

// everything is a permission to do all there is in the default vhost.
var everything = core.Permission{VHost: "/", Configure: ".*", Write: ".*", Read: ".*"}

// permit makes a user, if there is none, and gives it a permission. It does not
// wait for the records.
func (b *bed) permit(user string, p core.Permission) {
	b.t.Helper()
	ctx, cancel := context.WithCancel(b.t.Context())
	cancel()
	access := b.broker.Access()
	if _, ok := access.User(user); !ok {
		if _, err := access.PutUser(ctx, core.User{Name: user, MaxConnections: -1, MaxChannels: -1}); err != nil && !errors.Is(err, context.Canceled) {
			b.t.Fatal(err)
		}
	}
	p.User = user
	if _, err := access.SetPermission(ctx, p); err != nil && !errors.Is(err, context.Canceled) {
		b.t.Fatal(err)
	}
}

// inBubble runs f with a bed in a synctest bubble. It is over when f has waited
// for something for longer than any test has reason to.
func inBubble(t *testing.T, change func(*setup), f func(b *bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		b := newBed(t, change)
		late := time.AfterFunc(48*time.Hour, func() {
			t.Error("two days have passed, and what the test waits for has not happened")
			b.stop(listen.ErrCut)
		})
		defer late.Stop()
		f(b)
	})
}

// serve lets the server serve nc.
func (b *bed) serve(nc net.Conn) { b.serving.Go(func() { b.server.Serve(b.ctx, nc) }) }

// dial returns a peer that has said nothing yet.
func (b *bed) dial(v wire.Version) *peer {
	near, far := net.Pipe()
	b.serve(near)
	b.t.Cleanup(func() { _ = far.Close() })
	return &peer{t: b.t, nc: far, version: v}
}

// connect returns a peer with an open connection.
func (b *bed) connect(v wire.Version, id string, change ...func(*connectPacket)) *peer {
	b.t.Helper()
	p := b.dial(v)
	p.write(connect(v, id, change...))
	if got := p.next(); !strings.HasPrefix(got, "CONNACK 0x00") {
		b.t.Fatalf("%s is answered with %s", id, got)
	}
	return p
}

// connectPacket is a CONNECT to be sent.
type connectPacket struct {
	name       string
	level      byte
	flags      byte
	keepAlive  uint16
	properties string // of MQTT 5
	id         string
	tail       string // will, user name, password
}

// connect returns a CONNECT with Clean Start.
func connect(v wire.Version, id string, change ...func(*connectPacket)) []byte {
	c := connectPacket{name: "MQTT", level: byte(v), flags: 2, id: id}
	if v == wire.V31 {
		c.name = "MQIsdp"
	}
	for _, f := range change {
		f(&c)
	}
	body := text(c.name) + string([]byte{c.level, c.flags, byte(c.keepAlive >> 8), byte(c.keepAlive)})
	if c.level >= 5 {
		body += section(c.properties)
	}
	return packet(0x10, body+text(c.id)+c.tail)
}

// Changes to a CONNECT.

// resume asks for the session there was, and for it to outlive the connection.
func resume(c *connectPacket) {
	c.flags &^= 2
	if c.level == 5 {
		c.properties += long(wire.SessionExpiry, 3600)
	}
}

// durable is resume with a clean start.
func durable(c *connectPacket) {
	if c.level == 5 {
		c.properties += long(wire.SessionExpiry, 3600)
	}
}

func properties(s string) func(*connectPacket) {
	return func(c *connectPacket) { c.properties += s }
}

func keepAlive(seconds uint16) func(*connectPacket) {
	return func(c *connectPacket) { c.keepAlive = seconds }
}

func login(name, password string) func(*connectPacket) {
	return func(c *connectPacket) {
		c.flags |= 0xC0
		c.tail += text(name) + text(password)
	}
}

func will(topic, payload string, qos byte, retain bool, properties string) func(*connectPacket) {
	return func(c *connectPacket) {
		c.flags |= 4 | qos<<3
		if retain {
			c.flags |= 0x20
		}
		w := text(topic) + text(payload)
		if c.level == 5 {
			w = section(properties) + w
		}
		c.tail = w + c.tail
	}
}

// Fields of packets.

func text(s string) string { return string([]byte{byte(len(s) >> 8), byte(len(s))}) + s }

func section(s string) string { return string(binary.AppendUvarint(nil, uint64(len(s)))) + s }

func octet(id wire.Property, v byte) string { return string([]byte{byte(id), v}) }

func short(id wire.Property, v uint16) string {
	return string(binary.BigEndian.AppendUint16([]byte{byte(id)}, v))
}

func long(id wire.Property, v uint32) string {
	return string(binary.BigEndian.AppendUint32([]byte{byte(id)}, v))
}

func str(id wire.Property, v string) string { return string([]byte{byte(id)}) + text(v) }

func user(name, value string) string {
	return string([]byte{byte(wire.User)}) + text(name) + text(value)
}

// packet puts a fixed header before a body.
func packet(first byte, body string) []byte { return append([]byte{first}, section(body)...) }

// Packets of the client, by the version it speaks.

// publish sends a PUBLISH. Its properties are for MQTT 5.
func (p *peer) publish(topic, payload string, qos byte, id uint16, properties ...string) {
	p.t.Helper()
	p.publishFlags(qos<<1, topic, payload, id, properties...)
}

func (p *peer) publishFlags(flags byte, topic, payload string, id uint16, properties ...string) {
	p.t.Helper()
	p.write(publishPacket(p.version, flags, topic, payload, id, properties...))
}

func publishPacket(v wire.Version, flags byte, topic, payload string, id uint16, properties ...string) []byte {
	body := text(topic)
	if flags&6 != 0 {
		body += string([]byte{byte(id >> 8), byte(id)})
	}
	if v == wire.V5 {
		body += section(strings.Join(properties, ""))
	}
	return packet(0x30|flags, body+payload)
}

// ack sends a PUBACK, PUBREC, PUBREL or PUBCOMP.
func (p *peer) ack(t wire.PacketType, id uint16, reason ...wire.ReasonCode) {
	p.t.Helper()
	a := wire.Ack{PacketID: id}
	if len(reason) > 0 {
		a.Reason = reason[0]
	}
	p.write(wire.AppendAck(nil, t, p.version, a))
}

// subscribe sends a SUBSCRIBE with the same options for all filters, and
// returns what it is answered with.
func (p *peer) subscribe(id uint16, options byte, filters ...string) string {
	p.t.Helper()
	return p.subscribeWith(id, "", options, filters...)
}

func (p *peer) subscribeWith(id uint16, properties string, options byte, filters ...string) string {
	p.t.Helper()
	p.write(subscribePacket(p.version, id, properties, options, filters...))
	return p.next()
}

func subscribePacket(v wire.Version, id uint16, properties string, options byte, filters ...string) []byte {
	var body strings.Builder
	body.WriteString(string([]byte{byte(id >> 8), byte(id)}))
	if v == wire.V5 {
		body.WriteString(section(properties))
	}
	for _, f := range filters {
		body.WriteString(text(f) + string([]byte{options}))
	}
	return packet(0x82, body.String())
}

func (p *peer) unsubscribe(id uint16, filters ...string) string {
	p.t.Helper()
	p.write(unsubscribePacket(p.version, id, "", filters...))
	return p.next()
}

func unsubscribePacket(v wire.Version, id uint16, properties string, filters ...string) []byte {
	var body strings.Builder
	body.WriteString(string([]byte{byte(id >> 8), byte(id)}))
	if v == wire.V5 {
		body.WriteString(section(properties))
	}
	for _, f := range filters {
		body.WriteString(text(f))
	}
	return packet(0xA2, body.String())
}

// disconnect leaves in good order, and waits for the end.
func (p *peer) disconnect() {
	p.t.Helper()
	p.write([]byte{0xE0, 0})
	p.gone()
}

// peer is the client's end of a connection, driven by a script.
type peer struct {
	t       testing.TB
	nc      net.Conn
	version wire.Version
	buf     []byte // read and not yet parsed
}

func (p *peer) write(b []byte) {
	p.t.Helper()
	if _, err := p.nc.Write(b); err != nil {
		p.t.Fatalf("peer writes: %v", err)
	}
}

// frame returns the next packet.
func (p *peer) frame() (wire.Frame, error) {
	for {
		f, n, err := wire.ParseFrame(p.buf, math.MaxUint32)
		if err != nil {
			return wire.Frame{}, err
		}
		if n > 0 {
			f.Body = append([]byte(nil), f.Body...)
			p.buf = p.buf[n:]
			return f, nil
		}
		chunk := make([]byte, 64<<10)
		n, err = p.nc.Read(chunk)
		p.buf = append(p.buf, chunk[:n]...)
		if n == 0 && err != nil {
			return wire.Frame{}, err
		}
	}
}

// patience is how long a peer waits for what does not come: in a bubble, where the
// engine's timers let time pass for ever, it would not be told of otherwise.
const patience = 25 * time.Hour

// awaited is frame, for who is sure that there is something to come.
func (p *peer) awaited() (wire.Frame, error) {
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	defer func() { _ = p.nc.SetReadDeadline(time.Time{}) }()
	return p.frame()
}

// next returns the next packet in words.
func (p *peer) next() string {
	p.t.Helper()
	f, err := p.awaited()
	if err != nil {
		p.t.Fatalf("peer waits for a packet: %v", err)
	}
	return describe(f, p.version)
}

// expect waits for exactly these packets.
func (p *peer) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if got := p.next(); got != w {
			p.t.Fatalf("peer got\n\t%s, want\n\t%s", got, w)
		}
	}
}

// expectBoth waits for two packets, whichever comes first: what a client publishes to itself, and the answer to that.
func (p *peer) expectBoth(a, b string) {
	p.t.Helper()
	switch first, second := p.next(), p.next(); {
	case first == a && second == b, first == b && second == a:
	default:
		p.t.Fatalf("peer got\n\t%s and\n\t%s, want\n\t%s and\n\t%s", first, second, a, b)
	}
}

// silence fails if anything arrives within d.
func (p *peer) silence(d time.Duration) {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(d))
	defer func() { _ = p.nc.SetReadDeadline(time.Time{}) }()
	f, err := p.frame()
	if err == nil {
		p.t.Fatalf("peer wants silence, got %s", describe(f, p.version))
	}
	if e, ok := errors.AsType[net.Error](err); !ok || !e.Timeout() {
		p.t.Fatalf("peer wants silence, got %v", err)
	}
}

// gone waits for the end of the connection.
func (p *peer) gone() {
	p.t.Helper()
	f, err := p.awaited()
	if err == nil {
		p.t.Fatalf("peer wants the end of the connection, got %s", describe(f, p.version))
	}
	if !errors.Is(err, io.EOF) {
		p.t.Fatalf("peer wants the end of the connection, got %v", err)
	}
}

// dropped waits for the end of the connection, and before it for the reason
// where the client's version has a packet for that.
func (p *peer) dropped(reason wire.ReasonCode) {
	p.t.Helper()
	if p.version == wire.V5 {
		if got, want := p.next(), fmt.Sprintf("DISCONNECT %#02x", byte(reason)); got != want {
			p.t.Fatalf("peer got %s, want %s", got, want)
		}
	}
	p.gone()
}

// describe puts a packet of the server in words. Reason strings are left out.
func describe(f wire.Frame, v wire.Version) string {
	r := reader{b: f.Body}
	var s string
	switch f.Type {
	case wire.CONNACK:
		present := r.octet()
		s = fmt.Sprintf("CONNACK %#02x", r.octet())
		if present != 0 {
			s += " present"
		}
		s += r.section(v)
	case wire.PUBLISH:
		s = fmt.Sprintf("PUBLISH %s", r.text())
		if qos := f.Flags >> 1 & 3; qos > 0 {
			s += fmt.Sprintf(" q%d #%d", qos, r.short())
		}
		if f.Flags&8 != 0 {
			s += " dup"
		}
		if f.Flags&1 != 0 {
			s += " retain"
		}
		s += r.section(v)
		s += fmt.Sprintf(" %q", r.rest())
	case wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP:
		s = fmt.Sprintf("%s #%d", f.Type, r.short())
		if len(r.b) > 0 {
			s += fmt.Sprintf(" %#02x", r.octet()) + r.section(v)
		}
	case wire.SUBACK, wire.UNSUBACK:
		s = fmt.Sprintf("%s #%d", f.Type, r.short()) + r.section(v)
		for _, code := range []byte(r.rest()) {
			s += fmt.Sprintf(" %#02x", code)
		}
	case wire.DISCONNECT:
		s = fmt.Sprintf("DISCONNECT %#02x", r.octet()) + r.section(v)
	case wire.AUTH:
		s = fmt.Sprintf("AUTH %#02x", r.octet()) + r.section(v)
	default:
		s = f.Type.String()
	}
	if len(r.b) > 0 || r.cut || v == wire.V5 && !reasonsListed(f) {
		return fmt.Sprintf("malformed %s % x", f.Type, f.Body)
	}
	return s
}

// reasonsListed reports whether a packet of MQTT 5 has reason codes that its
// table lists.
func reasonsListed(f wire.Frame) bool {
	var reasons []byte
	switch r := (reader{b: f.Body}); f.Type {
	case wire.CONNACK:
		r.octet()
		reasons = []byte{r.octet()}
	case wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP:
		if r.short(); len(r.b) > 0 {
			reasons = []byte{r.octet()}
		}
	case wire.SUBACK, wire.UNSUBACK:
		r.short()
		r.section(wire.V5)
		reasons = []byte(r.rest())
	case wire.DISCONNECT, wire.AUTH:
		reasons = []byte{r.octet()}
	default:
	}
	return !slices.ContainsFunc(reasons, func(b byte) bool { return strings.IndexByte(listed[f.Type], b) < 0 })
}

// reader takes fields off a body.
type reader struct {
	b   []byte
	cut bool // it ended too early
}

func (r *reader) take(n int) []byte {
	if len(r.b) < n {
		r.cut, r.b = true, nil
		return make([]byte, n)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *reader) octet() byte   { return r.take(1)[0] }
func (r *reader) short() uint16 { return binary.BigEndian.Uint16(r.take(2)) }
func (r *reader) text() string  { return string(r.take(int(r.short()))) }
func (r *reader) rest() string  { return string(r.take(len(r.b))) }

func (r *reader) varint() int {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.cut = true
		return 0
	}
	r.take(n)
	return int(v)
}

// section takes a property section, where the version has one and the packet
// did not end before it.
func (r *reader) section(v wire.Version) (s string) {
	if v != wire.V5 || len(r.b) == 0 {
		return ""
	}
	q := reader{b: r.take(r.varint())}
	for len(q.b) > 0 {
		switch id := wire.Property(q.octet()); id {
		case wire.PayloadFormat, wire.SharedAvailable, wire.WildcardAvailable, wire.SubscriptionIDs, wire.RetainAvailable, wire.MaximumQoS:
			s += fmt.Sprintf(" %d=%d", id, q.octet())
		case wire.ReceiveMaximum, wire.TopicAliasMaximum, wire.TopicAlias, wire.ServerKeepAlive:
			s += fmt.Sprintf(" %d=%d", id, q.short())
		case wire.MessageExpiry, wire.SessionExpiry, wire.MaximumPacketSize:
			s += fmt.Sprintf(" %d=%d", id, binary.BigEndian.Uint32(q.take(4)))
		case wire.SubscriptionIdentifier:
			s += fmt.Sprintf(" id=%d", q.varint())
		case wire.User:
			s += fmt.Sprintf(" %s:%s", q.text(), q.text())
		case wire.ReasonString:
			q.text()
		default:
			s += fmt.Sprintf(" %d=%q", id, q.text())
		}
	}
	r.cut = r.cut || q.cut
	return s
}
