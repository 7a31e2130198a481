package amqp091

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/outbox"
)

// handshakeFrameMax holds until tune-ok. The specification's 4096 are too few for
// the tokens that some clients send as passwords.
const handshakeFrameMax = 8192

// handshake takes a new connection to the point where channels can be opened
// (section 2.2.4): header, start, tune, open.
func (c *conn) handshake(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.srv.opt.HandshakeTimeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	if err := c.nc.SetReadDeadline(deadline); err != nil {
		return err
	}
	if err := c.negotiate(ctx); err != nil {
		late := errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
		if !late || time.Now().Before(deadline) {
			return err
		}
		if _, ours := errors.AsType[*loginError](err); !ours { // the client was waited for, not an authenticator
			c.srv.opt.LoginFailed(c.nc.RemoteAddr())
		}
		return fmt.Errorf("%w: no handshake within %v: %w", errHungUp, c.srv.opt.HandshakeTimeout, err)
	}
	if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	if ctx.Err() != nil { // its deadline may just have been lifted
		return ctx.Err()
	}
	return nil
}

func (c *conn) negotiate(ctx context.Context) error {
	if err := c.preface(); err != nil {
		return err
	}
	p, err := c.login(ctx)
	if err != nil {
		return err
	}
	if err := c.tune(); err != nil {
		return err
	}
	return c.open(p)
}

// preface reads the protocol header. A stranger is answered with the header of
// the version spoken here (section 4.2.2).
func (c *conn) preface() error {
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

// tune agrees on limits: the client may lower what is offered.
func (c *conn) tune() error {
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

// open attaches the connection of p to its vhost.
func (c *conn) open(p auth.Principal) error {
	m, err := c.expect()
	if err != nil {
		return err
	}
	open, is := m.(*wire.ConnectionOpen)
	if !is {
		return unexpected(m, wire.ConnectionOpenID)
	}
	c.vhost = open.VirtualHost
	opt := core.SessionOptions{
		User: c.user, Tags: p.Tags, Info: c.info, Traffic: c.traffic, Channels: c.channelInfos, End: c.end, Blocked: c.tellBlocked,
	}
	opt.MessageRate, opt.ByteRate = c.srv.opt.Rates()
	if c.rights != nil {
		opt.Access = c.rights
	}
	if c.session, err = c.srv.opt.Broker.Attach(c.vhost, opt); err != nil {
		return blame(m.ID(), err)
	}
	c.moves.Store(c.session)
	c.logOpen()
	return c.send(0, &wire.ConnectionOpenOK{})
}
