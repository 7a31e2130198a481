package api

import (
	"context"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
)

// Options say what there is to administrate.
type Options struct {
	// Node is the node's name; Cluster is what the brokers of one directory are
	// called together, empty: as the node.
	Node, Cluster string

	Version string // the broker's

	// Primary returns what this node serves with; nil while it does not serve.
	// It is called with each request. Required.
	Primary func() *Primary

	// Absent says why this node does not serve, and which one does. Required.
	Absent func() Absence

	// Ready says why clients cannot be sent to this node; empty: they can. Nil:
	// they can while it serves.
	Ready func() string

	// Listeners returns the open addresses of this node, whether it serves or
	// not. Nil: there are none but those of the Primary.
	Listeners func() []Listener

	// Certificates are the server's own. Nil: there are none.
	Certificates func() []*x509.Certificate

	// Attempts returns the logins of clients so far, by protocol. Nil: there
	// were none.
	Attempts func() []Attempts

	// Totals returns the counters of the overview. Nil: there are none.
	Totals func() Totals

	// Facts returns what is true of the process and its machine, whether it
	// serves or not. Nil: nothing is known.
	Facts func() NodeFacts

	// Peers returns the other brokers of the same directory. Nil: there are none.
	Peers func() []Peer

	// About describes this node.
	About About

	// Reload reads the configuration again, applies what is live of it unless
	// dry, and returns what has changed. Nil: it cannot be.
	Reload func(dry bool) ([]SettingChange, error)

	// LoginFailed is told of the address that a wrong password came from. Nil:
	// nobody is.
	LoginFailed func(net.Addr)

	// Log receives the audit and what fails; nil discards both.
	Log *slog.Logger
}

// Primary is a node's broker while it serves.
type Primary struct {
	Broker *core.Broker       // required
	Auth   auth.Authenticator // decides who gets in; required

	// Account returns a user of the broker's own, as if it had logged in from an
	// address. Nil: nobody can ask what another user may do.
	Account func(name string, from net.Addr) (auth.Principal, error)

	// Compatible is the version of RabbitMQ that clients are told. Empty: the
	// broker's own.
	Compatible string

	// Listeners are the open addresses for clients.
	Listeners []Listener

	// Sampler knows how fast the broker's numbers change. Nil: nobody does.
	Sampler *Sampler

	// SetMemoryWatermark changes until the end of the process how much memory
	// may be in use before publishers wait; a negative number restores what is
	// configured. Nil: it cannot be changed.
	SetMemoryWatermark func(bytes int64) error

	// Maintain begins or ends a maintenance, and Maintenance tells how it is.
	// Nil: there is none.
	Maintain    func(MaintenanceOrder) error
	Maintenance func() MaintenanceState
}

// A Listener is an open address.
type Listener struct {
	Protocol string // "amqp", "amqp/ssl", "mqtt", "http" …
	Addr     net.Addr
	TLS      bool
}

// Totals are counters over the whole broker. Those that end in Total only grow
// while the process lives.
type Totals struct {
	Connections, Channels, Consumers, Exchanges, Queues int

	Ready, Unacked int64 // messages

	ConnectionsOpenedTotal, ConnectionsClosedTotal      uint64
	ChannelsOpenedTotal, ChannelsClosedTotal            uint64
	QueuesDeclaredTotal                                 uint64 // those that were there already included
	QueuesCreatedTotal, QueuesDeletedTotal              uint64
	PublishedTotal, ConfirmedTotal                      uint64
	DroppedTotal, ReturnedTotal                         uint64 // that reached no queue
	DeliveredManualTotal, DeliveredAutoTotal            uint64 // to consumers, by who acknowledges
	GotManualTotal, GotAutoTotal, GotNothingTotal       uint64
	DeliveredTotal, RedeliveredTotal, AcknowledgedTotal uint64
}

func (o *Options) validate() error {
	if o.Primary == nil || o.Absent == nil {
		return errors.New("api: nobody says what is served, or why nothing is")
	}
	return nil
}

func (o *Options) setDefaults() {
	if o.Cluster == "" {
		o.Cluster = o.Node
	}
	if o.Facts == nil {
		o.Facts = func() NodeFacts { return NodeFacts{} }
	}
	if o.Ready == nil {
		o.Ready = func() string {
			if o.Primary() == nil {
				return o.Absent().Reason
			}
			return ""
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// API answers the requests below /api, and /alarms.
type API struct {
	opt    Options
	routes []route
	origin *http.CrossOriginProtection
	logins logins
	turn   chan struct{} // holds one token while somebody changes something, or hashes
}

var _ http.Handler = (*API)(nil)

// New returns the API.
func New(opt Options) (*API, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	opt.setDefaults()
	return &API{opt: opt, routes: routes(), origin: http.NewCrossOriginProtection(), turn: make(chan struct{}, 1)}, nil
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &call{api: a, w: w, r: r, query: r.URL.Query()}
	c.reply(c.serve())
}

type principalKey struct{}

// WithPrincipal returns a context whose requests are p's where they name nobody:
// their connection proves who is at its other end.
func WithPrincipal(ctx context.Context, p auth.Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}
