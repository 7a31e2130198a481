package amqp091

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/outbox"
)

// Options says what to serve and within which limits. Broker and Auth are
// required; every other zero value stands for the default named beside it.
type Options struct {
	// Broker is the engine. Required.
	Broker *core.Broker

	// Auth decides who may connect. Required.
	Auth auth.Authenticator

	// LoginFailed is told of the address that a login failed from, or that did not
	// finish its handshake in time. Nil: nobody is.
	LoginFailed func(net.Addr)

	// Rates returns how much a connection may publish in a second. Zero is no
	// limit. It is asked when a connection is opened. Nil: there are no limits.
	Rates func() (messages, bytes float64)

	// FrameMax is the largest frame offered, between 4096 and 1 GiB. Zero is
	// 131072.
	FrameMax uint32

	// ChannelMax is the highest channel number offered. Zero is 2047.
	ChannelMax uint16

	// Heartbeat is the interval suggested to clients, in whole seconds; theirs
	// decides. Zero is one minute, a negative value suggests none.
	Heartbeat time.Duration

	// HandshakeTimeout bounds the time from the first byte to connection.open.
	// Zero is 10 s.
	HandshakeTimeout time.Duration

	// DrainTimeout bounds a goodbye: writing what is queued and waiting for the
	// client's close-ok. Zero is 5 s.
	DrainTimeout time.Duration

	// ConsumerTimeout is how long a delivery may be outstanding before its channel
	// is closed, where neither its consumer nor its queue says. Zero is for ever.
	ConsumerTimeout time.Duration

	// MaxMessageSize is the largest body accepted, in bytes. Zero is 16 MiB.
	MaxMessageSize int64

	// Outbox sets the marks of the write queues; see there for the zero values.
	Outbox outbox.Options

	// Product and Version are what clients are told. They choose between
	// behaviours by it, so they are a personality rather than a fact. Zero is
	// DefaultProduct and DefaultVersion, for which clients use both modes of
	// basic.qos.
	Product string
	Version string

	// ClusterName is told to clients, too. Zero is baton.
	ClusterName string

	// Log receives one line per connection that opens, ends or misbehaves; nil
	// discards them.
	Log *slog.Logger
}

// Defaults that are also limits.
const (
	defaultFrameMax       = 131072
	maxFrameMax           = 1 << 30
	defaultChannelMax     = 2047
	defaultMaxMessageSize = 16 << 20
)

// What clients are told unless Options say otherwise.
const (
	DefaultProduct = "RabbitMQ"
	DefaultVersion = "3.13.7"
)

// maxPersonality is how long each of Product, Version and ClusterName may be:
// connection.start has to fit the frames of a client that has not said how large
// they may be.
const maxPersonality = 255

// maxMessageSize is what the limit of a message may be set to.
const maxMessageSize = 128 << 20

func (o *Options) validate() error {
	switch {
	case o.Broker == nil:
		return errors.New("amqp: no broker")
	case o.Auth == nil:
		return errors.New("amqp: no authenticator")
	case o.FrameMax != 0 && (o.FrameMax < wire.MinFrameMax || o.FrameMax > maxFrameMax):
		return fmt.Errorf("amqp: frame_max %d is not between %d and %d", o.FrameMax, wire.MinFrameMax, maxFrameMax)
	case o.Heartbeat > math.MaxUint16*time.Second || o.Heartbeat%time.Second != 0:
		return fmt.Errorf("amqp: heartbeat %v is not a whole number of seconds up to %d", o.Heartbeat, math.MaxUint16)
	case o.HandshakeTimeout < 0:
		return fmt.Errorf("amqp: handshake timeout %v is negative", o.HandshakeTimeout)
	case o.ConsumerTimeout < 0:
		return fmt.Errorf("amqp: consumer timeout %v is negative", o.ConsumerTimeout)
	case o.DrainTimeout < 0:
		return fmt.Errorf("amqp: drain timeout %v is negative", o.DrainTimeout)
	case o.MaxMessageSize < 0 || o.MaxMessageSize > maxMessageSize:
		return fmt.Errorf("amqp: message size limit %d is not between 0 and %d", o.MaxMessageSize, maxMessageSize)
	case max(len(o.Product), len(o.Version), len(o.ClusterName)) > maxPersonality:
		return fmt.Errorf("amqp: product, version or cluster name is longer than %d bytes", maxPersonality)
	}
	return nil
}

func (o *Options) setDefaults() {
	setDefault(&o.FrameMax, defaultFrameMax)
	setDefault(&o.ChannelMax, defaultChannelMax)
	setDefault(&o.Heartbeat, time.Minute)
	o.Heartbeat = max(o.Heartbeat, 0)
	setDefault(&o.HandshakeTimeout, 10*time.Second)
	setDefault(&o.DrainTimeout, 5*time.Second)
	setDefault(&o.MaxMessageSize, defaultMaxMessageSize)
	setDefault(&o.Product, DefaultProduct)
	setDefault(&o.Version, DefaultVersion)
	setDefault(&o.ClusterName, "baton")
	if o.LoginFailed == nil {
		o.LoginFailed = func(net.Addr) {}
	}
	if o.Rates == nil {
		o.Rates = func() (messages, bytes float64) { return 0, 0 }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// maxArriving is how much may have arrived of a connection's messages that are
// not complete: four of the largest, properties included. Only a client that
// sends on many channels at once comes near it. There is no way to let one
// channel wait and hear the others.
func (o *Options) maxArriving() int64 { return 4 * (o.MaxMessageSize + int64(o.FrameMax)) }

// maxPending is how much a connection's transactions may have published: what a
// client sends that never commits. It is one unit of the store in the end, which
// takes less than 1 GiB.
func (o *Options) maxPending() int64 { return 4 * o.MaxMessageSize }

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}

// platform is what server-properties say the broker runs on.
func platform() string { return runtime.Version() + " " + runtime.GOOS + "/" + runtime.GOARCH }
