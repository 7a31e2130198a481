package mqtt

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// maxLogged is how much of what a client says is put into a line of the log.
const maxLogged = 512

func clipped(s string) string {
	if len(s) <= maxLogged {
		return s
	}
	return strings.ToValidUTF8(s[:maxLogged], "") + "…"
}

// errAttr is an error that may quote the client.
func errAttr(err error) slog.Attr { return slog.String("err", clipped(err.Error())) }

// log returns a logger that names the connection. It is made for each line:
// most connections log two in their life.
func (c *conn) log() *slog.Logger {
	attrs := make([]any, 1, 4) // for one With: each copies what the logger has
	attrs[0] = slog.String("conn", c.nc.RemoteAddr().String())
	if c.clientID != "" {
		attrs = append(attrs, slog.String("client", clipped(c.clientID)))
	}
	if c.user != "" {
		attrs = append(attrs, slog.String("user", clipped(c.user)), slog.String("vhost", c.vhost))
	}
	return c.srv.opt.Log.With(attrs...)
}

// logOpened tells of a connection that is open.
func (c *conn) logOpened() {
	security := "none"
	if state, ok := listen.TLSState(c.nc); ok {
		security = listen.TLSVersion(state.Version)
	}
	c.log().Info("connection opened", slog.String("protocol", c.protocol()), slog.String("tls", security))
}

// logFault tells of a connection that ends for a reason that has a code.
func (c *conn) logFault(err error, code wire.ReasonCode) {
	switch {
	case code == wire.ServerShuttingDown, code == wire.SessionTakenOver, code == wire.UseAnotherServer, code == wire.ServerMoved,
		errors.Is(err, errEnded):
		c.log().Info("connection closed by the broker", errAttr(err))
	case code == wire.BadUserNameOrPassword:
		c.log().Warn("login refused", errAttr(err))
	default:
		c.log().Warn("connection closed for an error", errAttr(err))
	}
}

// goodbye logs why the connection ends, tells the client if the protocol has a
// word for it, writes what is queued, and closes the connection, whether the
// client has heard it or not [MQTT-3.14.4-2] [MQTT-4.13.2-1] [MQTT-3.2.2-7].
func (c *conn) goodbye(err error) {
	until := time.Now().Add(c.srv.opt.DrainTimeout)
	e := fault(err)
	polite := true
	switch {
	case errors.Is(err, errDisconnected):
		c.log().Info("connection closed", slog.String("reason", c.left.Reason.String()))
	case e != nil:
		c.logFault(err, e.Code)
		c.tell(e)
	case errors.Is(err, errHungUp):
		c.log().Warn("connection refused", errAttr(err))
	case errors.Is(err, io.EOF) && c.bytesIn.Load() == 0:
		c.log().Debug("connection ended before a byte came") // as port checks do
		polite = false
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		c.log().Warn("client went away without disconnecting")
		polite = false
	default:
		c.log().Warn("connection cut", errAttr(err))
		polite = false
	}
	if !polite {
		_ = c.nc.Close() // which also ends the writer
	}
	if c.out.Close(time.Until(until)) == nil && polite {
		c.linger(until)
	}
}

// tell says why the connection ends, where the client's version has a packet
// for that: CONNACK while it waits for one, else DISCONNECT [MQTT-3.14.0-1].
func (c *conn) tell(e *wire.Error) {
	if !c.connected {
		c.refuse(e)
		return
	}
	d := wire.Disconnect{ReasonString: e.Text}
	d.Reason, d.ServerReference = c.elsewhere(disconnectReason(e.Code)) // [MQTT-4.13.1-1]
	c.out.Append(func(b *outbox.Buffer) {
		c.told = true
		// A client whose limit does not even hold a bare one hears nothing.
		b.B, _ = wire.AppendDisconnect(b.B, c.version, &d, c.acceptMax)
	})
}

// disconnectReason is code as DISCONNECT can say it: some are CONNACK's alone
// (table 3-10) [MQTT-3.14.2-1].
func disconnectReason(code wire.ReasonCode) wire.ReasonCode {
	switch code {
	case wire.BadAuthenticationMethod: // another one than CONNECT's [MQTT-4.12.1-1]
		return wire.ProtocolError
	case wire.BadUserNameOrPassword, wire.Banned:
		return wire.NotAuthorized
	default:
		return code
	}
}

// linger lets the last bytes arrive, for a second at most: closing a socket
// that has unread input resets the connection, and the reset overtakes what was
// written.
func (c *conn) linger(until time.Time) {
	if soon := time.Now().Add(time.Second); soon.Before(until) {
		until = soon
	}
	if ws, ok := c.nc.(*webSocket); ok {
		ws.finish(until)
		return
	}
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(until)
	for c.in.Fill(1) == nil {
		c.in.Discard(len(c.in.Buffered()))
	}
}
