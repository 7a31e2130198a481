package api

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
)

// A role is what a verb asks of its actor's tags.
type role uint8

const (
	anyone        role = iota // who has not logged in
	management                // may use the API at all
	monitoring                // sees all vhosts and connections
	administrator             // may do everything
)

// mayBe refuses actors without the role.
func (c *call) mayBe(r role) error {
	if r == anyone || c.is(r) {
		return nil
	}
	if !c.is(management) {
		r = management
	}
	return notAuthorised(map[role]string{
		management: "Not management user", monitoring: "Not monitor user", administrator: "Not administrator user",
	}[r])
}

func (c *call) is(r role) bool {
	tags := []string{"administrator"}
	if r <= monitoring {
		tags = append(tags, "monitoring")
	}
	if r <= management {
		tags = append(tags, "policymaker", "management")
	}
	return slices.ContainsFunc(c.actor.Tags, func(t string) bool { return slices.Contains(tags, t) })
}

// mayEnter reports whether the actor may use a vhost.
func (c *call) mayEnter(vhost string) (bool, error) {
	if c.actor.Access == nil {
		return true, nil
	}
	err := c.actor.Access(auth.Variables{}).Enter(vhost)
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, core.ErrDenied):
		return false, nil
	}
	c.api.opt.Log.Error("cannot find out who may enter a vhost", slog.String("vhost", vhost), slog.Any("err", err))
	return false, unavailable("it could not be found out whether this is allowed")
}

// seesVHost refuses actors without the role that may not use a vhost either.
func (c *call) seesVHost(vhost string, r role) error {
	if c.is(r) {
		return nil
	}
	ok, err := c.mayEnter(vhost)
	if err == nil && !ok {
		err = notAuthorised("User not authorised to access virtual host")
	}
	return err
}

// seesUser refuses actors without the role that are not that user.
func (c *call) seesUser(name string, r role) error {
	if c.is(r) || c.actor.Name == name {
		return nil
	}
	return notAuthorised("User not authorised to access object")
}

// login finds out who calls: who the request says and proves, else who the
// connection does.
func (c *call) login() error {
	cred, ok := c.credentials()
	if !ok || c.primary == nil {
		if p, ok := c.r.Context().Value(principalKey{}).(auth.Principal); ok {
			c.actor = p
			return nil
		}
		c.w.Header().Set("WWW-Authenticate", `Basic realm="Baton Management"`)
		return notAuthorized()
	}
	p, err := c.primary.Auth.Authenticate(c.r.Context(), cred)
	if err == nil {
		c.api.logins.accepted.Add(1)
		c.actor = p
		return nil
	}
	c.api.logins.refused.Add(1)
	c.api.opt.Log.Warn("admin login refused", slog.String("peer", cred.RemoteAddr.String()), slog.Any("err", err))
	if !errors.Is(err, auth.ErrRefused) && !errors.Is(err, auth.ErrMechanism) {
		return unavailable("the login could not be checked")
	}
	if c.api.opt.LoginFailed != nil {
		c.api.opt.LoginFailed(cred.RemoteAddr)
	}
	c.w.Header().Set("WWW-Authenticate", `Basic realm="Baton Management"`)
	c.w.Header().Set("Connection", "close") // so that guesses cost a connection each, which the listener counts
	return notAuthorized()
}

// credentials are those that the request carries.
func (c *call) credentials() (auth.Credentials, bool) {
	header := c.r.Header.Get("Authorization")
	if header == "" {
		return auth.Credentials{}, false
	}
	cred := auth.Credentials{RemoteAddr: c.peer(), TLS: c.r.TLS != nil}
	if scheme, token, ok := strings.Cut(header, " "); ok && strings.EqualFold(scheme, "Bearer") {
		cred.Password = strings.TrimSpace(token)
		return cred, true
	}
	cred.Username, cred.Password, _ = c.r.BasicAuth() // what cannot be read is nobody's name
	return cred, true
}

// peer is the address at the other end of the connection.
func (c *call) peer() net.Addr {
	if local, ok := c.r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr); ok {
		return local
	}
	addr, _ := netip.ParseAddrPort(c.r.RemoteAddr)
	return net.TCPAddrFromAddrPort(addr)
}
