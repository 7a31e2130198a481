package mqtt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"path"
	"time"
	"unicode/utf8"

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

	// Auth decides who may connect. Required. It is asked about clients that
	// send neither user name nor password, too, if they have a certificate or
	// may not be anonymous.
	Auth auth.Authenticator

	// Anonymous lets clients in from this machine that send neither user name
	// nor password. Credentials that are sent are checked all the same. Nil lets
	// nobody in.
	Anonymous *auth.Anonymous

	// AnonymousAnywhere has Anonymous let in such clients from other machines,
	// too. Its user must be one that may come from there.
	AnonymousAnywhere bool

	// SCRAM begins a login by SCRAM-SHA-256, the method of enhanced authentication
	// that there is, for a client of which the connection is known. The error is
	// auth.ErrRefused where the client may not try. Nil: the method is not offered.
	SCRAM func(ctx context.Context, peer auth.Credentials) (*auth.SCRAMExchange, error)

	// LoginFailed is told the address of each client whose login was refused or
	// that did not finish its CONNECT in time, as listen.Rate.RecordFailure wants
	// to know. Nil: nobody is.
	LoginFailed func(net.Addr)

	// KeepUnauthorized keeps the connection of a client that publishes what it
	// may not and that cannot be told: one before MQTT 5, or with QoS 0. The
	// message is dropped either way. Otherwise the connection ends, as in RabbitMQ.
	KeepUnauthorized bool

	// MaxClientID is the longest client identifier, in bytes. Zero is 65,535,
	// the most that a packet can say.
	MaxClientID int

	// Rates returns what a connection may publish in a second; one that wants to
	// publish more is read more slowly. Zero is no limit. It is asked when a
	// connection logs in. Nil: there are no limits.
	Rates func() (messages, bytes float64)

	// VHost is where clients work whose user name does not say otherwise
	// ("vhost:user"). Zero is the default vhost, "/".
	VHost string

	// MountPoint returns the mount point of the clients that come in that way: what
	// is put before all of their topics, but those that begin with $. CheckMountPoint
	// has to have nothing against it. It is asked when a client has logged in; the levels
	// {username} and {client_id} are replaced then, and who has a name that cannot be
	// a level is refused. Nil, or an empty one: there is none.
	MountPoint func(Way) string

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

	// MaximumQoS is the highest QoS of a publication, of a will and of what a
	// subscription brings: 1 or 2. Zero is 2, a negative value leaves QoS 0 alone.
	MaximumQoS int

	// NoRetain, NoWildcards, NoSubscriptionIDs and NoShared take from clients what
	// they name: to publish with RETAIN, and to have what is retained sent; filters
	// with wildcards; subscription identifiers; and shared subscriptions.
	NoRetain, NoWildcards, NoSubscriptionIDs, NoShared bool

	// NoDelayed makes a topic that begins with $delayed/ and seconds one like any
	// other. Otherwise what is published to it goes to the topic behind that, when
	// the time is over.
	NoDelayed bool

	// SystemInterval is how often [Server.Announce] tells what has changed in the
	// $SYS tree. Zero: there is none. Version is what it says this is.
	SystemInterval time.Duration
	Version        string

	// CheckPayloadFormat refuses a publication or a will whose payload format
	// indicator says that it is UTF-8, and which is not.
	CheckPayloadFormat bool

	// ResponseInformation is what a client is told that asks for it: by custom the
	// beginning of the topics where it is answered. {client_id} in it is replaced.
	ResponseInformation string

	// Redirect sends every client that could log in to another server, as a
	// Server Reference (section 4.11): for good if Moved. Clients before MQTT 5
	// hear that this one is unavailable. Empty: nobody is sent away.
	Redirect string
	Moved    bool

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
	// down, as a Server Reference, for those with TLS or without, over WebSocket or
	// over TCP; empty where nobody takes over. Nil: nobody does.
	Elsewhere func(tls, webSocket bool) string

	// Outbox sets the marks of the write queues; see there for the zero values.
	Outbox outbox.Options

	// Log receives one line per connection that opens, ends or misbehaves; nil
	// discards them.
	Log *slog.Logger
}

const (
	// handshakePacketSize is the largest CONNECT accepted, and least what
	// MaxPacketSize can be set to.
	handshakePacketSize = 64 << 10

	// A client identifier of minClientID bytes has to be accepted [MQTT-3.1.3-5];
	// a string has maxClientID at most.
	minClientID = 23
	maxClientID = math.MaxUint16

	maxPacketSize            = wire.MaxRemaining + wire.MaxHeader
	defaultMaxPacketSize     = 16 << 20
	defaultReceiveMaximum    = 1000
	defaultTopicAliasMaximum = 16
	maximumQoS               = 2
)

func (o *Options) validate() error {
	switch {
	case o.Broker == nil:
		return errors.New("mqtt: no broker")
	case o.Auth == nil:
		return errors.New("mqtt: no authenticator")
	case o.MaxClientID != 0 && (o.MaxClientID < minClientID || o.MaxClientID > maxClientID):
		return fmt.Errorf("mqtt: client identifier limit %d is not between %d and %d", o.MaxClientID, minClientID, maxClientID)
	case o.AnonymousAnywhere && o.Anonymous == nil:
		return errors.New("mqtt: anonymous clients from anywhere, and nobody to let them in")
	case o.MaxPacketSize != 0 && (o.MaxPacketSize < handshakePacketSize || o.MaxPacketSize > maxPacketSize):
		return fmt.Errorf("mqtt: packet size limit %d is not between %d and %d", o.MaxPacketSize, handshakePacketSize, maxPacketSize)
	case o.TopicAliasMaximum > math.MaxUint16:
		return fmt.Errorf("mqtt: topic alias maximum %d is above %d", o.TopicAliasMaximum, math.MaxUint16)
	case o.MaxKeepAlive < 0 || o.MaxKeepAlive > math.MaxUint16*time.Second || o.MaxKeepAlive%time.Second != 0:
		return fmt.Errorf("mqtt: keep alive limit %v is not a whole number of seconds up to %d", o.MaxKeepAlive, math.MaxUint16)
	case o.MaxSessionExpiry < 0 || o.MaxSessionExpiry >= math.MaxUint32*time.Second || o.MaxSessionExpiry%time.Second != 0:
		return fmt.Errorf("mqtt: session expiry limit %v is not a whole number of seconds below %d",
			o.MaxSessionExpiry, uint32(math.MaxUint32))
	case o.MaximumQoS > maximumQoS:
		return fmt.Errorf("mqtt: maximum QoS %d is above %d", o.MaximumQoS, maximumQoS)
	case len(o.Redirect) > math.MaxUint16 || !utf8.ValidString(o.Redirect):
		return fmt.Errorf("mqtt: the server to redirect to is not UTF-8 of at most %d bytes", math.MaxUint16)
	case len(o.ResponseInformation) > math.MaxUint16 || !utf8.ValidString(o.ResponseInformation):
		return fmt.Errorf("mqtt: response information is not UTF-8 of at most %d bytes", math.MaxUint16)
	case o.Moved && o.Redirect == "":
		return errors.New("mqtt: the server has moved, and nothing says where to")
	case o.SystemInterval < 0:
		return fmt.Errorf("mqtt: interval %v of the $SYS tree is negative", o.SystemInterval)
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
	setDefault(&o.MaxClientID, maxClientID)
	if o.LoginFailed == nil {
		o.LoginFailed = func(net.Addr) {}
	}
	if o.Rates == nil {
		o.Rates = func() (messages, bytes float64) { return 0, 0 }
	}
	setDefault(&o.MaxPacketSize, defaultMaxPacketSize)
	setDefault(&o.ReceiveMaximum, defaultReceiveMaximum)
	setDefault(&o.TopicAliasMaximum, defaultTopicAliasMaximum)
	o.TopicAliasMaximum = max(o.TopicAliasMaximum, 0)
	setDefault(&o.MaximumQoS, maximumQoS)
	o.MaximumQoS = max(o.MaximumQoS, 0)
	setDefault(&o.MaxSessionExpiry, core.Forever)
	setDefault(&o.HandshakeTimeout, 10*time.Second)
	setDefault(&o.DrainTimeout, 5*time.Second)
	if o.Elsewhere == nil {
		o.Elsewhere = func(bool, bool) string { return "" }
	}
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
