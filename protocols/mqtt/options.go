package mqtt

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"path"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/mqtt/wire"
	"github.com/batonmq/baton/protocols/outbox"
)

// Options says what to serve and within which limits. Broker and Auth are
// required; every other zero value stands for the default named beside it.
type Options struct {
	// Broker is the engine. Required.
	Broker *core.Broker

	// Auth decides who may connect. Required.
	Auth auth.Authenticator

	// Anonymous lets clients in that send neither user name nor password, from
	// any address, as the user guest. Credentials that are sent are checked all
	// the same.
	Anonymous bool

	// VHost is where clients work whose user name does not say otherwise
	// ("vhost:user"). Zero is the default vhost, "/".
	VHost string

	// MaxPacketSize is the largest packet accepted from a client, in bytes with
	// its fixed header. Zero is 16 MiB. Before its CONNECT has been accepted a
	// client may send no more than 64 KiB at a time.
	MaxPacketSize uint32

	// ReceiveMaximum is how many messages of QoS 1 and 2 an MQTT 5 client may
	// have sent that are not answered. Zero is 1000.
	ReceiveMaximum uint16

	// TopicAliasMaximum is the highest topic alias that a client may use, up to
	// 65,535. Zero is 16, a negative value forbids aliases.
	TopicAliasMaximum int

	// MaxKeepAlive is the longest keep alive, in whole seconds: an MQTT 5 client
	// that wants a longer one or none is told to use this. Zero is no limit.
	MaxKeepAlive time.Duration

	// MaxSessionExpiry is how long a session may outlive its connection, in
	// whole seconds. Zero is no limit.
	MaxSessionExpiry time.Duration

	// HandshakeTimeout bounds the time from the first byte to CONNACK. Zero is
	// 10 s.
	HandshakeTimeout time.Duration

	// DrainTimeout bounds a goodbye: writing what is queued. Zero is 5 s.
	DrainTimeout time.Duration

	// Origins are the hosts whose web pages may connect over WebSocket, in the
	// syntax of path.Match. Empty is all: what protects the broker is its own
	// authentication, and no browser adds credentials to it by itself.
	Origins []string

	// Elsewhere returns where clients go on that are told that the broker shuts
	// down, as a Server Reference, for those over WebSocket or over TCP; empty where
	// nobody takes over. Nil: nobody does.
	Elsewhere func(webSocket bool) string

	// Outbox sets the marks of the write queues; see there for the zero values.
	// Its Largest is MaxPacketSize, whatever it says.
	Outbox outbox.Options

	// Log receives one line per connection that opens, ends or misbehaves; nil
	// discards them.
	Log *slog.Logger
}

const (
	// handshakePacketSize is the largest CONNECT accepted, and least what
	// MaxPacketSize can be set to.
	handshakePacketSize = 64 << 10

	maxPacketSize            = wire.MaxRemaining + wire.MaxHeader
	defaultMaxPacketSize     = 16 << 20
	defaultReceiveMaximum    = 1000
	defaultTopicAliasMaximum = 16
)

func (o *Options) validate() error {
	switch {
	case o.Broker == nil:
		return errors.New("mqtt: no broker")
	case o.Auth == nil:
		return errors.New("mqtt: no authenticator")
	case o.MaxPacketSize != 0 && (o.MaxPacketSize < handshakePacketSize || o.MaxPacketSize > maxPacketSize):
		return fmt.Errorf("mqtt: packet size limit %d is not between %d and %d", o.MaxPacketSize, handshakePacketSize, maxPacketSize)
	case o.TopicAliasMaximum > math.MaxUint16:
		return fmt.Errorf("mqtt: topic alias maximum %d is above %d", o.TopicAliasMaximum, math.MaxUint16)
	case o.MaxKeepAlive < 0 || o.MaxKeepAlive > math.MaxUint16*time.Second || o.MaxKeepAlive%time.Second != 0:
		return fmt.Errorf("mqtt: keep alive limit %v is not a whole number of seconds up to %d", o.MaxKeepAlive, math.MaxUint16)
	case o.MaxSessionExpiry < 0 || o.MaxSessionExpiry >= math.MaxUint32*time.Second || o.MaxSessionExpiry%time.Second != 0:
		return fmt.Errorf("mqtt: session expiry limit %v is not a whole number of seconds below %d",
			o.MaxSessionExpiry, uint32(math.MaxUint32))
	case o.HandshakeTimeout < 0:
		return fmt.Errorf("mqtt: handshake timeout %v is negative", o.HandshakeTimeout)
	case o.DrainTimeout < 0:
		return fmt.Errorf("mqtt: drain timeout %v is negative", o.DrainTimeout)
	}
	for _, pattern := range o.Origins {
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("mqtt: origin %q: %w", pattern, err)
		}
	}
	return nil
}

func (o *Options) setDefaults() {
	setDefault(&o.VHost, core.DefaultVHost)
	setDefault(&o.MaxPacketSize, defaultMaxPacketSize)
	setDefault(&o.ReceiveMaximum, defaultReceiveMaximum)
	setDefault(&o.TopicAliasMaximum, defaultTopicAliasMaximum)
	o.TopicAliasMaximum = max(o.TopicAliasMaximum, 0)
	setDefault(&o.MaxSessionExpiry, core.Forever)
	setDefault(&o.HandshakeTimeout, 10*time.Second)
	setDefault(&o.DrainTimeout, 5*time.Second)
	if o.Elsewhere == nil {
		o.Elsewhere = func(bool) string { return "" }
	}
	o.Outbox.Largest = int64(o.MaxPacketSize)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
