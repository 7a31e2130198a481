package amqp091

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"time"

	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// goodbye logs why the connection ends, tells the client if the protocol has a
// word for it, and writes what is queued.
func (c *conn) goodbye(err error) {
	until := time.Now().Add(c.srv.opt.DrainTimeout)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = errGone
	}
	told, isFault := errors.AsType[*wire.Error](err)
	c.logEnd(err, told)
	polite := isFault || errors.Is(err, errClosed) || errors.Is(err, errHungUp)
	if isFault {
		_ = c.send(0, &wire.ConnectionClose{ // its text is cut to fit, so it can be encoded
			ReplyCode: told.Code, ReplyText: told.ReplyText(), ClassID: told.Method.Class(), MethodID: told.Method.Method(),
		})
		c.awaitCloseOK(until)
	}
	if !polite {
		_ = c.nc.Close() // which also ends the writer
	}
	if c.out.Close(time.Until(until)) == nil && polite {
		c.linger(until)
	}
}

// logEnd is the one line that every connection leaves at its end. told is what
// the client hears, nil if that is nothing.
func (c *conn) logEnd(err error, told *wire.Error) {
	level := c.endLevel(err, told)
	attrs := make([]slog.Attr, 0, 8)
	if told != nil {
		attrs = append(attrs, slog.Int("code", int(told.Code)))
	}
	if c.entry != nil {
		attrs = append(attrs, slog.Duration("duration", time.Since(c.entry.Opened)))
	}
	attrs = append(attrs, slog.Uint64("bytes_in", c.count.bytesRead.Load()), slog.Uint64("bytes_out", c.out.Written()))
	if login, ok := errors.AsType[*loginError](err); ok {
		attrs = append(attrs, slog.String("user", login.user), slog.String("mechanism", login.mechanism), slog.Any("reason", login.reason))
		c.log().LogAttrs(context.Background(), level, "login failed", attrs...)
		return
	}
	if c.session != nil {
		attrs = append(attrs, slog.String("user", c.user), slog.String("vhost", c.vhost))
	}
	attrs = append(attrs, slog.Any("reason", err))
	c.log().LogAttrs(context.Background(), level, "connection closed", attrs...)
}

// endLevel is a warning but for ends that were asked for.
func (c *conn) endLevel(err error, told *wire.Error) slog.Level {
	switch {
	case errors.Is(err, errGone) && c.count.bytesRead.Load() == 0:
		return slog.LevelDebug // as port checks do
	case errors.Is(err, errClosed), told != nil && told.Code == wire.ConnectionForced:
		return slog.LevelInfo
	}
	return slog.LevelWarn
}

// awaitCloseOK waits for the answer to connection.close and drops everything
// else (section 1.4 of the class reference, connection.close).
func (c *conn) awaitCloseOK(until time.Time) {
	_ = c.nc.SetReadDeadline(until)
	for {
		f, err := c.nextFrame()
		if err != nil {
			return
		}
		if f.Type != wire.FrameMethod || f.Channel != 0 {
			continue
		}
		switch id, _, _ := wire.ParseMethod(f.Payload); id {
		case wire.ConnectionCloseOKID:
			return
		case wire.ConnectionCloseID: // both closed at once
			_ = c.send(0, &wire.ConnectionCloseOK{})
		default:
		}
	}
}

// linger lets the last bytes arrive, for a second at most: closing a socket that has unread input
// resets the connection, and the reset overtakes what was written.
func (c *conn) linger(until time.Time) {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if soon := time.Now().Add(time.Second); soon.Before(until) {
		until = soon
	}
	_ = c.nc.SetReadDeadline(until)
	for c.in.Fill(1) == nil {
		c.in.Discard(len(c.in.Buffered()))
	}
}
