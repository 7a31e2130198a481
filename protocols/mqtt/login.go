package mqtt

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// refusalDelay slows guessing down.
const refusalDelay = time.Second

// What credentials may have. A user name has a vhost's before it, perhaps; a
// password may be a token.
const (
	maxUserName = 1 << 10
	maxPassword = 32 << 10
)

// login finds out who the client is and where it wants to work. ack gets what a
// method of enhanced authentication has to say at its end.
func (c *conn) login(ctx context.Context, p *wire.Connect, ack *wire.Connack) (auth.Principal, error) {
	switch limit := c.srv.opt.MaxClientID; {
	case len(c.clientID) > limit: // [MQTT-3.1.3-8] [MQTT-3.1.3-5] lets a server have a limit, from 23 on
		return auth.Principal{}, wire.Errorf(wire.ClientIDNotValid, "the client identifier has more than %d bytes", limit)
	case len(p.UserName) > maxUserName:
		return auth.Principal{}, wire.Errorf(wire.BadUserNameOrPassword, "the user name has more than %d bytes", maxUserName)
	case len(p.Password) > maxPassword:
		return auth.Principal{}, wire.Errorf(wire.BadUserNameOrPassword, "the password has more than %d bytes", maxPassword)
	}
	if p.AuthenticationMethod != "" {
		return c.enhanced(ctx, p, ack)
	}
	var user string
	c.vhost, user = c.srv.splitUserName(p.UserName)
	principal, err := c.authenticate(ctx, p, user)
	switch {
	case err == nil:
		c.srv.accepted.Add(1)
		c.user = principal.Name
		return principal, nil
	case isRefusal(err):
		return auth.Principal{}, c.loginRefused(ctx, wire.BadUserNameOrPassword, err)
	case ctx.Err() != nil:
		return auth.Principal{}, err
	}
	return auth.Principal{}, fmt.Errorf("%w (%w)", wire.Errorf(wire.ServerUnavailable, "login could not be checked"), err)
}

// splitUserName reads the name of a vhost off a user name, as RabbitMQ has it:
// everything up to the last colon. Where there is no such vhost the colon is
// part of the name.
func (s *Server) splitUserName(name string) (vhost, user string) {
	if i := strings.LastIndexByte(name, ':'); i > 0 && s.opt.Broker.HasVHost(name[:i]) {
		return name[:i], name[i+1:]
	}
	return s.opt.VHost, name
}

// authenticate asks Options.Auth, also about a client that gives neither name
// nor password: its certificate may do. Where it does not, the client may be let
// in as nobody in particular.
func (c *conn) authenticate(ctx context.Context, p *wire.Connect, user string) (auth.Principal, error) {
	credentials := c.credentials()
	credentials.Username, credentials.Password = user, string(p.Password)
	opt := &c.srv.opt
	anonymous := !p.HasUserName && !p.HasPassword && opt.Anonymous != nil &&
		(opt.AnonymousAnywhere || auth.IsLocal(credentials.RemoteAddr))
	if !anonymous || credentials.Certificate != nil {
		principal, err := opt.Auth.Authenticate(ctx, credentials)
		if !anonymous || !isRefusal(err) {
			return principal, err
		}
	}
	credentials.Mechanism = auth.ANONYMOUS
	return opt.Anonymous.Authenticate(ctx, credentials)
}

// credentials are what the connection tells about the client.
func (c *conn) credentials() auth.Credentials {
	credentials := auth.Credentials{RemoteAddr: c.nc.RemoteAddr(), ClientID: c.clientID, VHost: c.vhost}
	if state, ok := listen.TLSState(c.nc); ok {
		credentials.TLS = true
		if len(state.VerifiedChains) > 0 { // else the certificate proves nothing
			credentials.Certificate = state.PeerCertificates[0]
		}
	}
	return credentials
}

// isRefusal reports that the client is to blame, and not who was asked about it.
// MQTT has no mechanisms, so one that nobody knows is missing credentials.
func isRefusal(err error) bool {
	return errors.Is(err, auth.ErrRefused) || errors.Is(err, auth.ErrMechanism)
}

// loginRefused counts and delays a refusal. The reason is for the log alone.
func (c *conn) loginRefused(ctx context.Context, code wire.ReasonCode, reason error) error {
	c.srv.refused.Add(1)
	c.srv.opt.LoginFailed(c.nc.RemoteAddr())
	delay := time.NewTimer(refusalDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-ctx.Done():
	}
	return fmt.Errorf("%w (%w)", wire.Errorf(code, "login was refused"), reason)
}

// attach opens the principal's session.
func (c *conn) attach(principal *auth.Principal) error {
	opt := core.SessionOptions{
		User: c.user, Tags: principal.Tags,
		Info: c.info, Traffic: c.traffic, End: c.end, Blocked: c.noteBlocked,
	}
	opt.MessageRate, opt.ByteRate = c.srv.opt.Rates()
	if principal.Access != nil {
		opt.Access = principal.Access(auth.Variables{ClientID: c.clientID, Word: bridge.Word})
	}
	var err error
	c.session, err = c.srv.opt.Broker.Attach(c.vhost, opt)
	c.moves.Store(c.session)
	return noEntry(err)
}

// noEntry is the answer to a CONNECT that the engine has refused, where that is
// another one than to other packets.
func noEntry(err error) error {
	e, ok := errors.AsType[*core.Error](err)
	switch {
	case !ok:
		return err
	case e.Kind == core.NotFound: // the vhost; section 4.13 has no code for it
		return fmt.Errorf("%w (%w)", wire.Errorf(wire.NotAuthorized, "%s", sentence(e)), err)
	case e.Kind == core.Refused && e.Err != nil && !errors.Is(e.Err, core.ErrDenied):
		return fmt.Errorf("%w (%w)", wire.Errorf(wire.ServerUnavailable, "permissions could not be checked"), err)
	}
	return err
}

// expireAt ends the connection when the login has lost its force.
func (c *conn) expireAt(t time.Time) {
	if t.IsZero() {
		return
	}
	c.expiry = time.AfterFunc(time.Until(t), func() {
		c.interrupt(endedFor(&wire.Error{Code: wire.MaximumConnectTime, Text: "the login has expired"}))
	})
}

// end ends the connection because an administrator wants it to. It is called by
// any goroutine, and returns at once.
func (c *conn) end(reason error) {
	e := &wire.Error{Code: wire.AdministrativeAction, Text: reason.Error()}
	if r, ok := errors.AsType[*core.Error](reason); ok {
		e.Text = sentence(r)
		if r.Name == "user '"+c.user+"'" { // that is gone
			e.Code = wire.NotAuthorized
		}
	}
	c.interrupt(endedFor(e))
}
