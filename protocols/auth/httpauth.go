package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/batonmq/baton/core"
)

// HTTPOptions say where the backend is and how it is asked.
type HTTPOptions struct {
	// The addresses of the four questions, all required.
	UserURL, VHostURL, ResourceURL, TopicURL string

	Method        string        // GET or POST; empty: POST, which leaves no passwords in the backend's log
	TLS           ClientTLS     // for https addresses
	Timeout       time.Duration // of a question, waiting for its turn included; zero: 5 s
	MaxConcurrent int           // questions under way at a time, of which logins are three quarters at most; zero: 32

	// For how long an answer holds. Zero: 15 s; negative: for the one question.
	AllowTTL, DenyTTL time.Duration
	MaxAnswers        int // to remember of either kind; those not used are forgotten first; zero: 20,000

	Logger *slog.Logger // nil: nothing is logged

	transport http.RoundTripper // in place of the network, for tests
}

// Values of HTTPOptions that are zero.
const (
	defaultHTTPTimeout    = 5 * time.Second
	defaultHTTPConcurrent = 32
	defaultHTTPTTL        = 15 * time.Second
	defaultHTTPAnswers    = 20_000
)

func (o *HTTPOptions) validate() error {
	for _, a := range []struct{ what, url string }{
		{"the address of users", o.UserURL},
		{"the address of vhosts", o.VHostURL},
		{"the address of resources", o.ResourceURL},
		{"the address of topics", o.TopicURL},
	} {
		if _, err := checkURL("http backend: "+a.what, a.url); err != nil {
			return err
		}
	}
	o.Method = strings.ToUpper(o.Method)
	switch {
	case o.Method != "" && o.Method != http.MethodGet && o.Method != http.MethodPost:
		return fmt.Errorf("http backend: method %q: want get or post", o.Method)
	case o.Timeout < 0 || o.MaxConcurrent < 0 || o.MaxAnswers < 0:
		return errors.New("http backend: the timeout and the bounds of questions and answers are not negative")
	}
	if o.Method == "" {
		o.Method = http.MethodPost
	}
	setDefault(&o.Timeout, defaultHTTPTimeout)
	setDefault(&o.MaxConcurrent, defaultHTTPConcurrent)
	setDefault(&o.AllowTTL, defaultHTTPTTL)
	setDefault(&o.DenyTTL, defaultHTTPTTL)
	setDefault(&o.MaxAnswers, defaultHTTPAnswers)
	return nil
}

func setDefault[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}

// HTTP asks a web service about users and about all they do, with the requests
// and answers of RabbitMQ's rabbitmq_auth_backend_http:
//
//	user      username password [vhost client_id]            allow [tag ...] | deny
//	vhost     username vhost ip tags [client_id]             allow | deny
//	resource  username vhost resource name permission tags [client_id]
//	topic     username vhost resource=topic name permission tags routing_key
//	          variable_map.username variable_map.vhost [variable_map.client_id]
//
// vhost of the user question and client_id are sent where they are known: of
// MQTT clients.
//
// Any other answer, none in time, and every redirect mean that it could not be
// found out. Answers are remembered for their TTL, and equal questions wait for
// one answer; what was not found out is not remembered. A password is kept as a
// part of a keyed hash, and is in no error.
type HTTP struct {
	opt     HTTPOptions
	backend *backend
	answers *answers

	tick  time.Duration // of generations; zero: every question has its own
	start time.Time
	asked atomic.Uint64
}

var _ Authenticator = (*HTTP)(nil)

// NewHTTP returns the authenticator. It asks nothing yet.
func NewHTTP(opt HTTPOptions) (*HTTP, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	b, err := newBackend(&opt)
	if err != nil {
		return nil, err
	}
	if u, _ := url.Parse(opt.UserURL); inClear(u) && opt.Logger != nil {
		opt.Logger.Warn("passwords go to the http backend unencrypted, use https", slog.String("url", redact(u)))
	}
	h := &HTTP{opt: opt, backend: b, start: time.Now()}
	// Whoever remembers an answer by the generation has it for a tick more than
	// it is remembered here, which together is the TTL.
	if shorter := min(opt.AllowTTL, opt.DenyTTL); shorter > 0 {
		h.tick = max(shorter/4, 1)
	}
	h.answers = newAnswers(opt.AllowTTL-h.tick, opt.DenyTTL-h.tick, opt.MaxAnswers)
	return h, nil
}

// Close gives up the connections to the backend.
func (h *HTTP) Close() { h.backend.client.CloseIdleConnections() }

// Authenticate asks about a user. An empty password is refused unasked: to some
// directories behind such backends, it is that of anybody.
func (h *HTTP) Authenticate(ctx context.Context, c Credentials) (Principal, error) {
	if !c.byPassword() {
		return Principal{}, fmt.Errorf("http backend in mechanism %s: %w", c.Mechanism, ErrMechanism)
	}
	if c.Username == "" || c.Password == "" {
		return Principal{}, fmt.Errorf("user %q from %v without a name or a password: %w", c.Username, c.RemoteAddr, ErrBadCredentials)
	}
	q := question{url: h.opt.UserURL, tagged: true}
	q.add("username", c.Username)
	q.add("password", c.Password)
	q.addKnown("vhost", c.VHost)
	q.addKnown("client_id", c.ClientID)
	a, err := h.ask(ctx, &q)
	switch {
	case err != nil:
		return Principal{}, fmt.Errorf("ask the http backend about user %q from %v: %w", c.Username, c.RemoteAddr, err)
	case !a.allowed:
		return Principal{}, fmt.Errorf("http backend: user %q from %v: %w", c.Username, c.RemoteAddr, ErrBadCredentials)
	}
	known := asker{http: h, user: c.Username, tags: strings.Join(a.tags, " "), ip: addressOf(c.RemoteAddr)}
	return Principal{
		Name: c.Username,
		Tags: a.tags,
		Access: func(v Variables) core.Authorizer {
			of := known
			of.clientID = v.ClientID
			return &of
		},
	}, nil
}

// ask returns a remembered answer or the backend's.
func (h *HTTP) ask(ctx context.Context, q *question) (answer, error) {
	return h.answers.get(ctx, q, func(ctx context.Context) (answer, error) {
		ctx, cancel := context.WithTimeout(ctx, h.opt.Timeout)
		defer cancel()
		return h.backend.ask(ctx, q)
	})
}

// addressOf returns the peer's address without a port; RabbitMQ's word where
// there is none.
func addressOf(addr net.Addr) string {
	if addr != nil {
		if host, _, err := net.SplitHostPort(addr.String()); err == nil {
			if ip := net.ParseIP(host); ip != nil {
				return ip.String()
			}
		}
	}
	return "unknown"
}

// An asker is a user's Authorizer: everything is asked.
type asker struct {
	http     *HTTP
	user     string
	tags     string
	ip       string
	clientID string
}

var _ core.Authorizer = (*asker)(nil)

// Enter asks about a vhost.
func (a *asker) Enter(vhost string) error {
	q := question{url: a.http.opt.VHostURL}
	q.add("username", a.user)
	q.add("vhost", vhost)
	q.add("ip", a.ip)
	q.add("tags", a.tags)
	q.addKnown("client_id", a.clientID)
	return a.decide(&q)
}

// Allow asks about a resource or a topic.
func (a *asker) Allow(r core.Request) error {
	q := question{url: a.http.opt.ResourceURL}
	resource := "queue"
	switch r.Class {
	case core.QueueClass:
	case core.ExchangeClass:
		resource = "exchange"
	case core.TopicClass:
		resource, q.url = "topic", a.http.opt.TopicURL
	}
	q.add("username", a.user)
	q.add("vhost", r.VHost)
	q.add("resource", resource)
	q.add("name", r.Name)
	q.add("permission", r.Right.String())
	q.add("tags", a.tags)
	if r.Class == core.TopicClass {
		q.add("routing_key", r.Key)
		q.add("variable_map.username", a.user)
		q.add("variable_map.vhost", r.VHost)
		q.addKnown("variable_map.client_id", a.clientID)
	} else {
		q.addKnown("client_id", a.clientID)
	}
	return a.decide(&q)
}

func (a *asker) decide(q *question) error {
	// There is no context here: the timeout is what bounds the wait.
	got, err := a.http.ask(context.Background(), q)
	switch {
	case err != nil:
		return fmt.Errorf("ask the http backend about user %q: %w", a.user, err)
	case !got.allowed:
		return fmt.Errorf("http backend: user %q: %w", a.user, core.ErrDenied)
	}
	return nil
}

// Generation grows with time, so that no answer is used longer than its TTL.
func (a *asker) Generation() uint64 {
	h := a.http
	if h.tick == 0 {
		return h.asked.Add(1)
	}
	return 1 + uint64(time.Since(h.start)/h.tick)
}

// Topics is true: the backend may have a rule for any.
func (a *asker) Topics(string, string) bool { return true }
