package amqp091

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/outbox"
)

const (
	// handshakeFrameMax holds until tune-ok. The specification's 4096 are too
	// few for the tokens that some clients send as passwords.
	handshakeFrameMax = 8192

	// refusalDelay slows guessing down.
	refusalDelay = time.Second
)

// clientProperties is what of connection.start-ok matters later.
type clientProperties struct {
	name         string // connection_name, for people
	product      string
	cancelNotify bool // understands basic.cancel from the server
	authClose    bool // wants connection.close when its login is refused
}

// handshake takes a new connection to the point where channels can be opened
// (section 2.2.4): header, start, tune, open.
func (c *conn) handshake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.srv.opt.HandshakeTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := c.nc.SetReadDeadline(deadline); err != nil {
		return err
	}
	for _, step := range []func(context.Context) error{c.preface, c.login, c.tune, c.open} {
		switch err := step(ctx); {
		case err == nil:
		case errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(deadline):
			return fmt.Errorf("%w: no handshake within %v", errHungUp, c.srv.opt.HandshakeTimeout)
		default:
			return err
		}
	}
	if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if ctx.Err() != nil { // its deadline may just have been lifted
		return ctx.Err()
	}
	c.log.Info("connection opened", slog.String("user", c.user), slog.String("name", c.client.name),
		slog.String("product", c.client.product))
	return nil
}

// preface reads the protocol header. A stranger is answered with the header of
// the version spoken here (section 4.2.2).
func (c *conn) preface(context.Context) error {
	for {
		b := c.in.Buffered()
		p, n := wire.ParsePreface(b)
		switch p {
		case wire.PrefaceAMQP091:
			c.in.Discard(n)
			return nil
		case wire.PrefaceIncomplete:
			if err := c.fill(len(b) + 1); err != nil {
				return err
			}
		default:
			c.out.Append(func(b *outbox.Buffer) { b.B = append(b.B, wire.ProtocolHeader...) })
			return fmt.Errorf("%w: the client speaks %v", errHungUp, p)
		}
	}
}

// expect returns the client's next method, of channel 0.
func (c *conn) expect() (wire.Method, error) {
	for {
		f, err := c.nextFrame()
		switch {
		case err != nil:
			return nil, err
		case f.Type == wire.FrameHeartbeat:
			continue
		case f.Type != wire.FrameMethod:
			return nil, wire.Errorf(wire.UnexpectedFrame, 0, "expected method frame, got non method frame instead")
		case f.Channel != 0:
			return nil, wire.Errorf(wire.ChannelError, 0, "method on channel %d before the connection is open", f.Channel)
		}
		m, err := wire.DecodeMethod(f.Payload)
		if m, ok := m.(*wire.ConnectionClose); ok {
			return nil, c.closedByClient(m)
		}
		return m, err
	}
}

func unexpected(m wire.Method, want wire.MethodID) error {
	return wire.Errorf(wire.CommandInvalid, m.ID(), "expected %s, got %s", want, m.ID())
}

// login sends connection.start and finds out who the client is.
func (c *conn) login(ctx context.Context) error {
	mechanisms := auth.Offers(c.srv.opt.Auth, auth.Credentials{RemoteAddr: c.nc.RemoteAddr()})
	err := c.send(0, &wire.ConnectionStart{
		VersionMajor: 0, VersionMinor: 9,
		ServerProperties: c.srv.properties, Mechanisms: strings.Join(mechanisms, " "), Locales: "en_US",
	})
	if err != nil {
		return err
	}
	m, err := c.expect()
	if err != nil {
		return err
	}
	ok, is := m.(*wire.ConnectionStartOK)
	if !is {
		return unexpected(m, wire.ConnectionStartOKID)
	}
	c.client = parseClientProperties(ok.ClientProperties)

	principal, err := c.authenticate(ctx, ok.Mechanism, ok.Response)
	switch {
	case err == nil:
		c.user = principal.Name
		return nil
	case errors.Is(err, auth.ErrMechanism):
		return wire.Errorf(wire.CommandInvalid, m.ID(), "unknown authentication mechanism '%s'", ok.Mechanism)
	case errors.Is(err, auth.ErrMalformed):
		return wire.Errorf(wire.SyntaxError, m.ID(), "malformed response for authentication mechanism %s", ok.Mechanism)
	case errors.Is(err, auth.ErrRefused):
		return c.refuse(ctx, ok.Mechanism, err)
	}
	if ctx.Err() != nil {
		return err
	}
	e := wire.Errorf(wire.InternalError, m.ID(), "login could not be checked. For details see the broker logfile.")
	return fmt.Errorf("%w (%w)", e, err)
}

func (c *conn) authenticate(ctx context.Context, mechanism, response string) (auth.Principal, error) {
	credentials, err := auth.Parse(mechanism, []byte(response))
	if err != nil {
		return auth.Principal{}, err
	}
	credentials.RemoteAddr = c.nc.RemoteAddr()
	return c.srv.opt.Auth.Authenticate(ctx, credentials)
}

// refuse ends a connection whose login was refused: with connection.close for a
// client that asked for it, else by just hanging up (section 2.2.4). The reason
// goes into the log and never to the client.
func (c *conn) refuse(ctx context.Context, mechanism string, reason error) error {
	c.count.loginsRefused.Add(1)
	delay := time.NewTimer(refusalDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-ctx.Done():
	}
	if !c.client.authClose {
		return fmt.Errorf("%w: %w", errHungUp, reason)
	}
	e := wire.Errorf(wire.AccessRefused, 0,
		"Login was refused using authentication mechanism %s. For details see the broker logfile.", mechanism)
	return fmt.Errorf("%w (%w)", e, reason)
}

func parseClientProperties(t field.Table) (p clientProperties) {
	p.name = lookup[string](t, "connection_name")
	p.product = lookup[string](t, "product")
	capabilities := lookup[field.Table](t, "capabilities")
	p.cancelNotify = lookup[bool](capabilities, "consumer_cancel_notify")
	p.authClose = lookup[bool](capabilities, "authentication_failure_close")
	return p
}

// lookup returns the value of key if it is a T.
func lookup[T any](t field.Table, key string) T {
	v, _ := t.Get(key)
	value, _ := v.(T)
	return value
}

// tune agrees on limits: the client may lower what is offered.
func (c *conn) tune(context.Context) error {
	opt := &c.srv.opt
	err := c.send(0, &wire.ConnectionTune{
		ChannelMax: opt.ChannelMax, FrameMax: opt.FrameMax, Heartbeat: c.srv.heartbeatSeconds(),
	})
	if err != nil {
		return err
	}
	m, err := c.expect()
	if err != nil {
		return err
	}
	ok, is := m.(*wire.ConnectionTuneOK)
	if !is {
		return unexpected(m, wire.ConnectionTuneOKID)
	}
	if err := checkTuned("frame_max", wire.MinFrameMax, uint64(opt.FrameMax), uint64(ok.FrameMax)); err != nil {
		return err
	}
	if err := checkTuned("channel_max", 1, uint64(opt.ChannelMax), uint64(ok.ChannelMax)); err != nil {
		return err
	}
	c.frameMax, c.channelMax = ok.FrameMax, ok.ChannelMax
	c.in.SetLimit(int(ok.FrameMax))
	c.heart.interval = time.Duration(ok.Heartbeat) * time.Second
	return nil
}

// checkTuned checks a limit that the client chose; its 0 means none, which is
// more than is offered.
func checkTuned(name string, least, most, chosen uint64) error {
	than, which, bound := "higher", "maximum", most
	switch {
	case chosen == 0 || chosen > most:
	case chosen < least:
		than, which, bound = "lower", "minimum", least
	default:
		return nil
	}
	return wire.Errorf(wire.NotAllowed, wire.ConnectionTuneOKID,
		"negotiated %s = %d is %s than the %s allowed value (%d)", name, chosen, than, which, bound)
}

// open attaches the connection to its vhost.
func (c *conn) open(context.Context) error {
	m, err := c.expect()
	if err != nil {
		return err
	}
	open, is := m.(*wire.ConnectionOpen)
	if !is {
		return unexpected(m, wire.ConnectionOpenID)
	}
	name := c.nc.RemoteAddr().String() + " -> " + c.nc.LocalAddr().String() // RabbitMQ's form
	c.session, err = c.srv.opt.Broker.Attach(open.VirtualHost, core.SessionOptions{Conn: name, User: c.user})
	if err == nil {
		return c.send(0, &wire.ConnectionOpenOK{})
	}
	if e := fault(m.ID(), err); e != nil {
		return e
	}
	return err
}

// updateSecret checks a new password of the same user, as clients send whose
// credentials expire (a RabbitMQ extension).
func (c *conn) updateSecret(ctx context.Context, m *wire.ConnectionUpdateSecret) error {
	_, err := c.srv.opt.Auth.Authenticate(ctx, auth.Credentials{
		Username: c.user, Password: m.NewSecret, RemoteAddr: c.nc.RemoteAddr(),
	})
	if err != nil {
		e := wire.Errorf(wire.NotAllowed, m.ID(), "New secret was refused by one of the backends")
		return fmt.Errorf("%w (%w)", e, err)
	}
	return c.send(0, &wire.ConnectionUpdateSecretOK{})
}
