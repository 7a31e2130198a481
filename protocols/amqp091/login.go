package amqp091

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/listen"
)

const (
	// refusalDelay slows guessing down.
	refusalDelay = time.Second

	// impersonator is the tag of users that may publish in others' names.
	impersonator = "impersonator"
)

// loginError says who did not get in, for the log alone. Its reason has no secret.
type loginError struct {
	user, mechanism string // as the client says
	reason          error
}

func (e *loginError) Error() string { return e.reason.Error() }
func (e *loginError) Unwrap() error { return e.reason }

// login sends connection.start and finds out who the client is.
func (c *conn) login(ctx context.Context) (p auth.Principal, err error) {
	offered := auth.Offers(c.srv.opt.Auth, c.peer())
	err = c.send(0, &wire.ConnectionStart{
		VersionMajor: 0, VersionMinor: 9,
		ServerProperties: c.srv.properties, Mechanisms: strings.Join(offered, " "), Locales: "en_US",
	})
	if err != nil {
		return p, err
	}
	m, err := c.expect()
	if err != nil {
		return p, err
	}
	ok, is := m.(*wire.ConnectionStartOK)
	if !is {
		return p, unexpected(m, wire.ConnectionStartOKID)
	}
	if c.client, err = newClient(ok.ClientProperties); err != nil {
		return p, err
	}
	said, err := auth.Parse(ok.Mechanism, []byte(ok.Response))
	if err == nil {
		p, err = c.authenticate(ctx, said, offered)
	}
	if err != nil {
		return p, c.loginFailed(ctx, ok.Mechanism, said.Username, err)
	}
	c.srv.accepted.Add(1)
	c.user, c.mechanism = p.Name, ok.Mechanism
	if p.Access != nil {
		c.rights = auth.NewRenewable(p.Access(auth.Variables{}))
	}
	c.adopt(&p)
	return p, nil
}

// peer is what the connection tells of the client.
func (c *conn) peer() auth.Credentials {
	peer := auth.Credentials{RemoteAddr: c.nc.RemoteAddr()}
	state, secure := listen.TLSState(c.nc)
	peer.TLS = secure
	if len(state.VerifiedChains) > 0 { // else the certificate proves nothing
		peer.Certificate = state.PeerCertificates[0]
	}
	return peer
}

// authenticate finds out whose the credentials are that the client has given by
// one of the mechanisms that it was offered.
func (c *conn) authenticate(ctx context.Context, said auth.Credentials, offered []string) (auth.Principal, error) {
	if !slices.Contains(offered, said.Mechanism) {
		return auth.Principal{}, errNotOffered
	}
	credentials := c.peer()
	credentials.Mechanism, credentials.Username, credentials.Password = said.Mechanism, said.Username, said.Password
	return c.srv.opt.Auth.Authenticate(ctx, credentials)
}

// adopt takes over what of p may change while the connection is open.
func (c *conn) adopt(p *auth.Principal) {
	c.impersonator = slices.Contains(p.Tags, impersonator)
	c.expireAt(p.Expires)
}

// loginFailed is the end of a connection whose client could not be let in.
func (c *conn) loginFailed(ctx context.Context, mechanism, user string, reason error) error {
	const method = wire.ConnectionStartOKID
	failed := &loginError{user: user, mechanism: mechanism, reason: reason}
	switch {
	case errors.Is(reason, errNotOffered):
		return wire.Errorf(wire.CommandInvalid, method, "invalid authentication mechanism '%s'", mechanism)
	case errors.Is(reason, auth.ErrMechanism):
		return wire.Errorf(wire.CommandInvalid, method, "unknown authentication mechanism '%s'", mechanism)
	case errors.Is(reason, auth.ErrMalformed):
		c.srv.opt.LoginFailed(c.nc.RemoteAddr())
		return &blamed{cause: failed, told: wire.Errorf(wire.SyntaxError, method,
			"malformed response for authentication mechanism %s", mechanism)}
	case errors.Is(reason, auth.ErrRefused):
		return c.refuse(ctx, failed)
	case ctx.Err() != nil:
		return failed
	}
	return &blamed{cause: failed, told: wire.Errorf(wire.InternalError, method,
		"login could not be checked. For details see the broker logfile.")}
}

// refuse ends a connection whose login was refused: with connection.close for a
// client that asked for it, else by just hanging up (section 2.2.4). The reason
// goes into the log and never to the client.
func (c *conn) refuse(ctx context.Context, failed *loginError) error {
	c.count.loginsRefused.Add(1)
	c.srv.opt.LoginFailed(c.nc.RemoteAddr())
	delay := time.NewTimer(refusalDelay)
	defer delay.Stop()
	select {
	case <-delay.C:
	case <-ctx.Done():
	}
	if !c.client.authClose {
		return fmt.Errorf("%w: %w", errHungUp, failed)
	}
	return &blamed{cause: failed, told: wire.Errorf(wire.AccessRefused, 0,
		"Login was refused using authentication mechanism %s. For details see the broker logfile.", failed.mechanism)}
}

// expireAt ends the connection at a time; the zero time is never.
func (c *conn) expireAt(t time.Time) {
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	if !t.IsZero() {
		c.expiry = time.AfterFunc(time.Until(t), func() { c.end(errExpired) })
	}
}

// updateSecret acts on new credentials of the same user, as clients send whose
// old ones expire (connection.update-secret is RabbitMQ's). What they allow counts
// from now on; what the client does already, as consumers, goes on.
func (c *conn) updateSecret(ctx context.Context, m *wire.ConnectionUpdateSecret) error {
	credentials := c.peer()
	credentials.Mechanism, credentials.Username, credentials.Password = auth.PLAIN, c.user, m.NewSecret
	credentials.VHost = c.vhost
	p, err := c.srv.opt.Auth.Authenticate(ctx, credentials)
	var access core.Authorizer
	if err == nil {
		access, err = c.renewed(&p)
	}
	if err != nil {
		if ctx.Err() != nil {
			return err
		}
		return c.secretRefused(m.ID(), err)
	}
	if access != nil {
		c.rights.Replace(access)
	}
	c.adopt(&p)
	c.log().Info("secret updated", slog.String("user", c.user), slog.String("reason", m.Reason))
	return c.send(0, &wire.ConnectionUpdateSecretOK{})
}

// errNotEntered: the new credentials do not reach as far as the vhost.
var errNotEntered = errors.New("the new secret does not give access to the vhost")

// renewed returns what decides from now on, or why p cannot go on with the
// connection.
func (c *conn) renewed(p *auth.Principal) (core.Authorizer, error) {
	switch {
	case p.Name != c.user:
		return nil, fmt.Errorf("the new secret is that of user %q: %w", p.Name, auth.ErrRefused)
	case (p.Access == nil) != (c.rights == nil):
		// The engine was told at the beginning whether there is anything to ask.
		return nil, fmt.Errorf("the new secret is for another authenticator: %w", auth.ErrRefused)
	case p.Access == nil:
		return nil, nil
	}
	access := p.Access(auth.Variables{})
	if err := access.Enter(c.vhost); err != nil {
		return nil, fmt.Errorf("%w: %w", errNotEntered, err)
	}
	return access, nil
}

// secretRefused is the end of a connection that cannot go on with its new secret,
// which RabbitMQ tells as what is not allowed.
func (c *conn) secretRefused(method wire.MethodID, reason error) error {
	told := wire.Errorf(wire.NotAllowed, method, "Secret update failed")
	switch {
	case errors.Is(reason, errNotEntered):
		told.Text = fmt.Sprintf("access to vhost '%s' refused for user '%s'", c.vhost, c.user)
	case errors.Is(reason, auth.ErrRefused), errors.Is(reason, auth.ErrMechanism):
		c.count.loginsRefused.Add(1)
		c.srv.opt.LoginFailed(c.nc.RemoteAddr())
		told.Text = "New secret was refused by one of the backends"
	}
	return &blamed{told: told, cause: reason}
}
