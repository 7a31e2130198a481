package main

import (
	"errors"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/listen"
)

// eventsVHost is the vhost that has the event exchange; empty: none.
func (c *Config) eventsVHost() string {
	if c.Events == off {
		return ""
	}
	return c.Events
}

// tellLogin tells of a login, as RabbitMQ does, whatever it was for. One that could not be checked is none.
func tellLogin(b *core.Broker, c *auth.Credentials, name string, err error) {
	if !b.HearsEvents() || err != nil && !errors.Is(err, auth.ErrRefused) {
		return
	}
	key := "user.authentication.success"
	if err != nil {
		key, name = "user.authentication.failure", c.Username
	}
	headers := []field.Field{{Key: "name", Value: name}, {Key: "connection_type", Value: "network"}, {Key: "auth_mechanism", Value: c.Mechanism}, {Key: "ssl", Value: c.TLS}}
	if c.RemoteAddr != nil {
		host, port := listen.HostPort(c.RemoteAddr)
		headers = append(headers, field.Field{Key: "peer_host", Value: host}, field.Field{Key: "peer_port", Value: int64(port)})
	}
	if err != nil {
		headers = append(headers, field.Field{Key: "error", Value: "refused"})
	}
	b.TellEvent(key, name, headers...)
}
