package mqtt

import (
	"context"
	"fmt"

	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/mqtt/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// Enhanced authentication (section 4.12) has one method, SCRAM-SHA-256:
//
//	CONNECT or AUTH 0x19, client-first  ->
//	                                    <-  AUTH 0x18, server-first
//	AUTH 0x18, client-final             ->
//	                                    <-  CONNACK or AUTH 0x00, server-final
//
// A CONNECT without data is asked for client-first by an AUTH without data.
// CONNECT's user name, which is no part of the method, may name a vhost; a user
// in it has to be the one that the method finds.

// enhanced finds out by CONNECT's method who the client is; one without a method
// does not come here, and is sent no AUTH [MQTT-4.12.0-6]. ack gets the last of
// the method's data. An error ends the connection [MQTT-4.12.0-4].
func (c *conn) enhanced(ctx context.Context, p *wire.Connect, ack *wire.Connack) (auth.Principal, error) {
	var user string
	c.vhost, user = c.srv.splitUserName(p.UserName)
	exchange, err := c.exchange(ctx, p.AuthenticationMethod)
	if err != nil {
		return auth.Principal{}, err
	}
	data := p.AuthenticationData
	for first := true; ; first = false {
		var reply []byte
		if !first || data != nil {
			var done bool
			if reply, done, err = exchange.Next(data); err != nil {
				return auth.Principal{}, c.loginRefused(ctx, wire.NotAuthorized, err)
			}
			if done {
				ack.AuthenticationMethod, ack.AuthenticationData = auth.SCRAMSHA256, reply // [MQTT-4.12.0-5]
				break
			}
		}
		c.sendAuth(wire.ContinueAuthentication, reply) // [MQTT-4.12.0-2]
		if data, err = c.awaitAuth(); err != nil {
			return auth.Principal{}, err
		}
	}
	principal := exchange.Principal()
	if user != "" && user != principal.Name {
		return auth.Principal{}, c.loginRefused(ctx, wire.NotAuthorized,
			fmt.Errorf("user %q has authenticated as %q: %w", user, principal.Name, auth.ErrRefused))
	}
	c.srv.accepted.Add(1)
	c.user, c.byMethod = principal.Name, true
	return principal, nil
}

// exchange begins an exchange by a method, if that is offered [MQTT-4.12.0-1].
func (c *conn) exchange(ctx context.Context, method string) (*auth.SCRAMExchange, error) {
	if method != auth.SCRAMSHA256 || c.srv.opt.SCRAM == nil {
		return nil, wire.Errorf(wire.BadAuthenticationMethod, "the authentication method is not offered")
	}
	exchange, err := c.srv.opt.SCRAM(ctx, c.credentials())
	switch {
	case err == nil:
		return exchange, nil
	case isRefusal(err):
		return nil, c.loginRefused(ctx, wire.NotAuthorized, err)
	}
	return nil, err
}

// sendAuth queues an AUTH. Data that is nil is left out.
func (c *conn) sendAuth(reason wire.ReasonCode, data []byte) {
	a := wire.Auth{Reason: reason, Method: auth.SCRAMSHA256, Data: data} // [MQTT-4.12.0-5]
	c.out.Append(func(b *outbox.Buffer) {
		// A client whose limit does not hold it waits in vain, until its time is over.
		b.B, _ = wire.AppendAuth(b.B, &a, c.acceptMax)
	})
}

// awaitAuth reads the client's next message of the method, before CONNACK.
func (c *conn) awaitAuth() ([]byte, error) {
	for {
		b := c.in.Buffered()
		f, n, err := wire.ParseFrame(b, c.sendMax)
		switch {
		case err != nil:
			return nil, err
		case n == 0:
			if err := c.fill(b); err != nil {
				return nil, err
			}
			continue
		}
		c.in.Discard(n)
		switch f.Type {
		case wire.AUTH:
		case wire.DISCONNECT:
			return nil, fmt.Errorf("%w: the client has given up its authentication", errHungUp)
		default: // [MQTT-3.1.2-30]
			return nil, wire.Errorf(wire.ProtocolError, "%s before CONNACK", f.Type)
		}
		a, err := decodeAuth(f, c.version)
		if err == nil && a.Reason != wire.ContinueAuthentication { // [MQTT-4.12.0-3]
			err = wire.Errorf(wire.ProtocolError, "AUTH before CONNACK has reason code %#02x", uint8(a.Reason))
		}
		return a.Data, err
	}
}

// decodeAuth decodes an AUTH, which has to name the method of CONNECT: the one
// there is [MQTT-4.12.0-5] [MQTT-4.12.1-1].
func decodeAuth(f wire.Frame, v wire.Version) (wire.Auth, error) {
	a, err := wire.DecodeAuth(f, v)
	if err == nil && a.Method != auth.SCRAMSHA256 {
		err = wire.Errorf(wire.BadAuthenticationMethod, "AUTH with another method than CONNECT")
	}
	return a, err
}

// reauthenticate acts on AUTH on an open connection (section 4.12.1). What the
// client does meanwhile it does as who it was. It has to prove to be that user
// again; else the connection ends [MQTT-4.12.1-2].
func (c *conn) reauthenticate(ctx context.Context, f wire.Frame) error {
	a, err := decodeAuth(f, c.version)
	switch {
	case !c.byMethod && a.Method != "": // [MQTT-4.12.0-7]
		return wire.Errorf(wire.ProtocolError, "AUTH without an authentication method in CONNECT")
	case err != nil:
		return err
	case a.Reason == wire.ReAuthenticate && c.again == nil:
		if c.again, err = c.exchange(ctx, a.Method); err != nil {
			return err
		}
		if a.Data == nil {
			c.sendAuth(wire.ContinueAuthentication, nil)
			return nil
		}
	case a.Reason != wire.ContinueAuthentication || c.again == nil:
		return wire.Errorf(wire.ProtocolError, "AUTH with reason code %#02x out of turn", uint8(a.Reason))
	}
	reply, done, err := c.again.Next(a.Data)
	switch {
	case err != nil:
		return c.loginRefused(ctx, wire.NotAuthorized, err)
	case !done:
		c.sendAuth(wire.ContinueAuthentication, reply)
		return nil
	}
	principal := c.again.Principal()
	c.again = nil
	if principal.Name != c.user {
		return c.loginRefused(ctx, wire.NotAuthorized,
			fmt.Errorf("user %q has authenticated again as %q: %w", c.user, principal.Name, auth.ErrRefused))
	}
	c.sendAuth(wire.Success, reply)
	return nil
}
