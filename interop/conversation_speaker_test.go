package interop

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// speaker is one connection of a conversation. It is read only when something is waited for,
// by the goroutine that runs the conversation.
type speaker struct {
	name     string
	nc       net.Conn
	in       *bufio.Reader
	names    *aliases
	frameMax int
	plain    bool // nothing is done that the conversation does not say
	ended    bool // the broker has closed it
	closing  bool // the broker has said that it will
	channels map[uint16]*speakerChannel
}

// speakerChannel is what the speaker knows of one of its channels; 0 is the connection's own.
type speakerChannel struct {
	open    bool
	content *content // of which not everything has arrived
	inbox   []event  // what no step has taken yet
}

// content is a method that waits for its header or body.
type content struct {
	event
	header bool
	size   uint64
	frames int
	body   strings.Builder
}

// event is something received: a method with all of its content.
type event struct {
	channel uint16
	method  string // "" for what is none
	text    string
}

// errQuiet says that nothing came in time.
var errQuiet = errors.New("nothing came")

func dialSpeaker(ctx context.Context, name, addr string, n *aliases) (*speaker, error) {
	nc, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &speaker{
		name: name, nc: nc, in: bufio.NewReaderSize(nc, 1<<18), names: n, frameMax: 131072,
		channels: map[uint16]*speakerChannel{},
	}, nil
}

// defaults are how a speaker opens its connection unless the conversation says otherwise.
const (
	defaultCapabilities = `capabilities:F={publisher_confirms:t=true exchange_exchange_bindings:t=true basic.nack:t=true ` +
		`consumer_cancel_notify:t=true connection.blocked:t=true authentication_failure_close:t=true}`
	defaultStartOK = `connection.start-ok client-properties={` + defaultCapabilities + `} mechanism=PLAIN response="\x00guest\x00guest" locale=en_US`
	defaultTuneOK  = `connection.tune-ok channel-max=2047 frame-max=131072`
	defaultOpen    = `connection.open virtual-host=/`
)

// handshake opens the connection as the defaults say, up to a method that the broker sends.
func (p *speaker) handshake(upTo string) error {
	if _, err := io.WriteString(p.nc, rawHeader); err != nil {
		return err
	}
	for _, s := range []struct{ want, send string }{
		{"connection.start", p.startOK()},
		{"connection.tune", defaultTuneOK + "\n" + defaultOpen},
		{"connection.open-ok", ""},
	} {
		e, err := p.next(0, patience)
		if err != nil || e.method != s.want {
			return errors.Join(fmt.Errorf("%s: want %s, got %q", p.name, s.want, e.text), err)
		}
		if s.want == upTo {
			return nil
		}
		for line := range strings.Lines(s.send) {
			if err := p.sendLine(0, strings.TrimSpace(line)); err != nil {
				return err
			}
		}
	}
	return nil
}

// startOK says what a client understands, which one that is plain does not.
func (p *speaker) startOK() string {
	if p.plain {
		return strings.Replace(defaultStartOK, defaultCapabilities, "", 1)
	}
	return defaultStartOK
}

func (p *speaker) channel(n uint16) *speakerChannel {
	if p.channels[n] == nil {
		p.channels[n] = &speakerChannel{}
	}
	return p.channels[n]
}

// ensureOpen opens a channel that is not, unless the conversation does that itself.
func (p *speaker) ensureOpen(n uint16) error {
	if p.plain || n == 0 || p.channel(n).open {
		return nil
	}
	if err := p.sendLine(n, "channel.open"); err != nil {
		return err
	}
	e, err := p.next(n, patience)
	if err != nil || e.method != "channel.open-ok" {
		return errors.Join(fmt.Errorf("open channel %d of %s: got %q", n, p.name, e.text), err)
	}
	p.channel(n).open = true
	return nil
}

func (p *speaker) sendLine(channel uint16, line string) error {
	s, err := parseSent(line)
	if err != nil {
		return err
	}
	return p.send(channel, &s)
}

// send writes s. That the broker has closed already is no failure: what it said is read
// later.
func (p *speaker) send(channel uint16, s *sent) error {
	b, err := s.frames(channel, p.frameMax)
	if err != nil {
		return err
	}
	if err := p.nc.SetWriteDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, _ = p.nc.Write(b)
	return nil
}

// next returns the next event of a channel, or of the connection once that is ending,
// or errQuiet.
func (p *speaker) next(channel uint16, limit time.Duration) (event, error) {
	if err := p.nc.SetReadDeadline(time.Now().Add(limit)); err != nil {
		return event{}, err
	}
	for {
		if e, ok := p.take(channel); ok {
			return e, nil
		}
		if p.ended {
			return event{}, io.EOF
		}
		if err := p.read(); err != nil {
			return event{}, err
		}
	}
}

// take returns what has been read already.
func (p *speaker) take(channel uint16) (event, bool) {
	for _, n := range []uint16{channel, 0} {
		c := p.channel(n)
		if len(c.inbox) > 0 && (n == channel || p.closing || p.ended) {
			e := c.inbox[0]
			c.inbox = c.inbox[1:]
			return e, true
		}
	}
	return event{}, false
}

// read reads one frame and puts what it completes into its channel's inbox.
func (p *speaker) read() error {
	head, err := p.peek(7)
	if err != nil {
		return err
	}
	switch {
	case head == nil:
		return nil
	case bytes.HasPrefix(head, []byte("AMQP")):
		if head, err = p.peek(8); head != nil {
			p.put(event{text: fmt.Sprintf("header %q", head)})
			_, err = p.in.Discard(8)
		}
		return err
	}
	typ, channel, size := head[0], binary.BigEndian.Uint16(head[1:]), int(binary.BigEndian.Uint32(head[3:]))
	if size+8 > p.frameMax {
		return fmt.Errorf("a frame of %d octets, of which at most %d were agreed on", size+8, p.frameMax)
	}
	frame, err := p.peek(7 + size + 1)
	if frame == nil {
		return err
	}
	if frame[7+size] != 0xCE {
		return fmt.Errorf("a frame ends with %#x", frame[7+size])
	}
	payload := bytes.Clone(frame[7 : 7+size])
	if _, err := p.in.Discard(7 + size + 1); err != nil {
		return err
	}
	return p.frame(typ, channel, payload)
}

// peek returns the next n octets, or nil once the connection has ended: by a reset too.
func (p *speaker) peek(n int) ([]byte, error) {
	b, err := p.in.Peek(n)
	switch {
	case err == nil:
		return b, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, errQuiet
	}
	p.ended = true
	p.put(event{text: "end"})
	return nil, nil
}

// put makes e known and does what any client does about it.
func (p *speaker) put(e event) {
	c := p.channel(e.channel)
	c.inbox = append(c.inbox, e)
	switch e.method {
	case "channel.close":
		c.open, c.content = false, nil
		if !p.plain {
			_, _ = p.nc.Write(rawFrame(1, e.channel, "\x00\x14\x00\x29"))
		}
	case "channel.close-ok":
		c.open = false
	case "channel.open-ok":
		c.open = true
	case "connection.close":
		p.closing = true
		if !p.plain {
			_, _ = p.nc.Write(rawFrame(1, 0, "\x00\x0a\x00\x33"))
		}
	case "connection.close-ok":
		p.closing = true
	}
}

func (p *speaker) frame(typ byte, channel uint16, payload []byte) error {
	c := p.channel(channel)
	switch typ {
	case 1:
		if c.content != nil {
			return fmt.Errorf("a method amid the content of %s", c.content.method)
		}
		return p.method(channel, payload)
	case 2:
		return p.contentHeader(c, payload)
	case 3:
		return p.contentBody(c, payload)
	case 8:
		if channel != 0 || len(payload) > 0 {
			return errors.New("a heartbeat on a channel, or with a payload")
		}
		return nil
	}
	return fmt.Errorf("a frame of type %d", typ)
}

func (p *speaker) method(channel uint16, payload []byte) error {
	r := reader{b: payload}
	id := fmt.Sprintf("%d.%d", r.integer(2), r.integer(2))
	m := methods()[id]
	if m == nil {
		return fmt.Errorf("unknown method %s", id)
	}
	values := r.args(m.args)
	if err := r.end(); err != nil {
		return fmt.Errorf("%s: %w", m.name, err)
	}
	switch m.name {
	case "connection.start":
		hideProduct(values[2].([]pair))
	case "basic.nack": // how many it covers is chance, and requeue means nothing to publishers
		values[1], values[2] = "*", "*"
	}
	e := event{channel, m.name, p.names.received(m.name + renderArgs(m.args, values))}
	if slices.Contains(contentMethods, m.name) {
		p.channel(channel).content = &content{event: e}
		return nil
	}
	p.put(e)
	return nil
}

// hideProduct hides what any two brokers have to differ in.
func hideProduct(serverProperties []pair) {
	for i, p := range serverProperties {
		switch p.key {
		case "cluster_name", "copyright", "information", "platform", "version":
			serverProperties[i].v = "*"
		}
	}
}

func (p *speaker) contentHeader(c *speakerChannel, payload []byte) error {
	if c.content == nil || c.content.header {
		return errors.New("a content header that belongs to no method")
	}
	text, size, err := renderHeader(payload)
	c.content.header, c.content.size = true, size
	c.content.text += " |" + p.names.received(text) + " | "
	if size == 0 {
		p.contentEnds(c)
	}
	return err
}

func (p *speaker) contentBody(c *speakerChannel, payload []byte) error {
	if c.content == nil || !c.content.header {
		return errors.New("a content body that belongs to no header")
	}
	c.content.body.Write(payload)
	c.content.frames++
	switch have := uint64(c.content.body.Len()); {
	case len(payload) == 0 || have > c.content.size:
		return fmt.Errorf("a body frame of %d octets where %d of %d are there then", len(payload), have, c.content.size)
	case have == c.content.size:
		p.contentEnds(c)
	}
	return nil
}

func (p *speaker) contentEnds(c *speakerChannel) {
	e := c.content.event
	e.text += p.names.received(renderBody(c.content.body.String()))
	if c.content.frames > 1 {
		e.text += fmt.Sprintf(" in %d frames", c.content.frames)
	}
	c.content = nil
	p.put(e)
}

// aliases are the names of one run of a conversation. A conversation says $q and is then on its
// own on a broker that others use too; what a broker makes up is numbered in the order in
// which it appears.
type aliases struct {
	suffix string
	own    *regexp.Regexp    // what sending makes of a conversation's names
	made   map[string]string // by what the broker made up: what the conversation calls it
	given  map[string]string // the other way
}

func newAliases(suffix string) *aliases {
	own := regexp.MustCompile(`([a-z][a-z0-9]*)\.` + suffix)
	return &aliases{suffix: suffix, own: own, made: map[string]string{}, given: map[string]string{}}
}

var (
	ownName = regexp.MustCompile(`\$([a-z][a-z0-9]*)`)
	madeUp  = regexp.MustCompile(`"?amq\.(?:gen-|ctag-|rabbitmq\.reply-to\.)[-\w.=+/]+"?`)
	called  = regexp.MustCompile(`(amq\.(?:gen-|ctag-|rabbitmq\.reply-to\.))#(\d+)`)
)

// sending puts real names into a line.
func (n *aliases) sending(line string) string {
	line = ownName.ReplaceAllString(line, "${1}."+n.suffix)
	return called.ReplaceAllStringFunc(line, func(s string) string {
		if name := n.given[s]; name != "" {
			return strconv.Quote(name)
		}
		return s
	})
}

// received takes them out again.
func (n *aliases) received(text string) string {
	text = n.own.ReplaceAllString(text, `$$${1}`)
	text = deathTime.ReplaceAllString(text, "time:T=*")
	return madeUp.ReplaceAllStringFunc(text, func(s string) string {
		s = strings.Trim(s, `"`)
		if n.made[s] == "" {
			kind := s[:strings.IndexAny(s, "-")+1]
			if strings.HasPrefix(s, "amq.rabbitmq") {
				kind = "amq.rabbitmq.reply-to."
			}
			name := kind + "#" + strconv.Itoa(len(n.made)+1)
			n.made[s], n.given[name] = name, s
		}
		return n.made[s]
	})
}

// deathTime is when a message died, in x-death.
var deathTime = regexp.MustCompile(`\btime:T=\d+`)
