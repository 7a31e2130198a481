package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// Options describe a bridge. Broker, Name, ClientID, Addresses and Topics are required;
// every other zero value stands for what is named beside it.
type Options struct {
	Broker *core.Broker
	Name   string // of lower case letters, digits, - and _
	VHost  string // where it works here; empty: "/"

	// Addresses are those of the far broker, as mqtt://HOST:PORT and mqtts://HOST:PORT.
	// They are tried in this order.
	Addresses []string
	TLS       *tls.Config // of mqtts; nil: the system's authorities

	Version    wire.Version // V5 or V311; zero: V5
	NoBit      bool         // do not say that it is a bridge, by the version's bit; of V311
	ClientID   string
	Username   string // empty: none
	Password   string
	CleanStart bool          // keep no session there
	KeepAlive  time.Duration // whole seconds; zero: 60 s

	Topics []Topic

	// Notify is a topic at which both brokers are told, retained, whether the bridge is
	// connected: "1" or "0". Empty: nobody is told.
	Notify string

	Window        int           // how many messages may be on their way out; zero: 1000
	MaxPacketSize uint32        // that is accepted; zero: 16 MiB
	StartDelay    time.Duration // before the first try
	RetryMin      time.Duration // before the next try; zero: 1 s
	RetryMax      time.Duration // at most; zero: 60 s

	Log *slog.Logger // nil: none

	// Dial opens a connection; nil: over TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

func (o *Options) setDefaults() {
	if o.VHost == "" {
		o.VHost = "/"
	}
	if o.Version == 0 {
		o.Version = wire.V5
	}
	if o.KeepAlive == 0 {
		o.KeepAlive = time.Minute
	}
	if o.Window == 0 {
		o.Window = 1000
	}
	if o.MaxPacketSize == 0 {
		o.MaxPacketSize = 16 << 20
	}
	if o.RetryMin == 0 {
		o.RetryMin = time.Second
	}
	if o.RetryMax == 0 {
		o.RetryMax = max(time.Minute, o.RetryMin)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Dial == nil {
		o.Dial = new(net.Dialer).DialContext
	}
}

// Validate says what is wrong with the options, but for what takes a broker.
func (o *Options) Validate() error {
	switch {
	case !IsName(o.Name):
		return fmt.Errorf("the name %q is not of lower case letters, digits, - and _", o.Name)
	case len(o.Addresses) == 0:
		return errors.New("there is no address")
	case o.Version != 0 && o.Version != wire.V5 && o.Version != wire.V311:
		return fmt.Errorf("version %v is neither 5.0 nor 3.1.1", o.Version)
	case o.Password != "" && o.Username == "" && o.Version == wire.V311: // section 3.1.2.9 of 3.1.1
		return errors.New("MQTT 3.1.1 has no password without a user name")
	case o.KeepAlive < 0 || o.KeepAlive%time.Second != 0 || o.KeepAlive > maxKeepAlive:
		return fmt.Errorf("keep alive %v is not a whole number of seconds up to %v", o.KeepAlive, maxKeepAlive)
	case len(o.Topics) == 0:
		return errors.New("there are no topics")
	case o.Notify != "" && !wire.ValidTopic(o.Notify):
		return fmt.Errorf("%q is not a topic", o.Notify)
	case o.RetryMax != 0 && o.RetryMax < o.RetryMin:
		return fmt.Errorf("the longest wait %v is shorter than the first, %v", o.RetryMax, o.RetryMin)
	case o.Window < 0 || o.Window > maxWindow:
		return fmt.Errorf("%d messages on their way are not between 1 and %d", o.Window, maxWindow)
	}
	for _, a := range o.Addresses {
		if _, _, err := parseAddress(a); err != nil {
			return err
		}
	}
	for i := range o.Topics {
		if err := o.Topics[i].validate(); err != nil {
			return fmt.Errorf("topic %q: %w", o.Topics[i].Pattern, err)
		}
	}
	return nil
}

const (
	maxKeepAlive = (1<<16 - 1) * time.Second
	maxWindow    = 1<<16 - 1
)

// IsName reports whether s can be a bridge's name.
func IsName(s string) bool {
	return s != "" && len(s) <= 64 && !strings.ContainsFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
	})
}

// CheckAddress says what is wrong with an address.
func CheckAddress(text string) error {
	_, _, err := parseAddress(text)
	return err
}

// parseAddress reads an address, whose port may be left out.
func parseAddress(text string) (hostPort string, secure bool, err error) {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "" || u.Scheme != "mqtt" && u.Scheme != "mqtts" {
		return "", false, errors.New("an address is not mqtt://HOST:PORT or mqtts://HOST:PORT") // it may have a password in it
	}
	if u.User != nil {
		return "", false, fmt.Errorf("address mqtt://…@%s has a user in it: there are settings for that", u.Host)
	}
	port := u.Port()
	if secure = u.Scheme == "mqtts"; port == "" {
		port = map[bool]string{false: "1883", true: "8883"}[secure]
	}
	return net.JoinHostPort(u.Hostname(), port), secure, nil
}
