package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/pprof"
	"net/netip"
	"sync"
	"time"

	"github.com/batonmq/baton/protocols/http/api"
	"github.com/batonmq/baton/protocols/listen"
)

// Deadlines of a request. The write deadline is extended by package pprof for
// profiles that take longer.
const (
	headerTimeout = 10 * time.Second
	readTimeout   = 20 * time.Second // with its body, which is small
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute

	maxHeaderBytes = 16 << 10
)

const (
	// DefaultMaxConns bounds the connections to admin, and those to metrics.
	DefaultMaxConns = 256
)

// Options say where to listen and what to tell.
type Options struct {
	// Admin are the HOST:PORT addresses that serve everything; none is allowed.
	Admin []string

	// AdminTLS are those that do so with TLS; none is allowed. TLS is required
	// with them.
	AdminTLS []string

	// TLS is what the process' listeners have in common, of which metrics tell;
	// nil: there is none.
	TLS *listen.TLS

	// Socket is the path of a unix socket that serves everything, to the user
	// of this process and to root, who are administrators there; empty: none.
	Socket string

	// SocketOptional has the server do without the socket where that cannot be
	// opened, and log why.
	SocketOptional bool

	// Metrics are the addresses that serve /metrics alone; none is allowed.
	Metrics []string

	// MaxConns bounds the open connections of each kind of address. Zero is
	// DefaultMaxConns.
	MaxConns int

	// Budget and Rate are shared with the other front-ends; nil: there are none.
	Budget *listen.Budget
	Rate   *listen.Rate

	// Proxy returns what the listeners "admin", "admin-tls" and "metrics" do about
	// the PROXY protocol. Nil: nothing.
	Proxy func(listener string) *listen.Proxy

	// Health is what /readyz tells. Required.
	Health *Health

	// Primary returns what this node serves with, nil where it does not: what
	// the management API is about. It is called per request. Nil: it never does.
	// Its listeners are the front-ends'; the admin ones are added here.
	Primary func() *api.Primary

	// Reload reads the configuration again; see [api.Options]. Nil: it cannot be.
	Reload func(dry bool) ([]api.SettingChange, error)

	// Stats returns the broker's counters; false where no broker runs, as on a
	// standby. It is called per scrape. Nil: no broker runs here.
	Stats func() (Stats, bool)

	// Failover returns what this node knows of its part in failover. It is called
	// per scrape. Nil: it takes none.
	Failover func() Failover

	// Facts, Peers and About are what the management API tells of this node and
	// of the others; see [api.Options].
	Facts func() api.NodeFacts
	Peers func() []api.Peer
	About api.About

	// Node and Version appear in the metrics' identity and in the overview.
	// Cluster is what the nodes of one directory are called together, empty: as
	// the node. Compatible is the version of RabbitMQ that clients are told.
	Node, Version, Cluster, Compatible string

	// Log receives refused and failed requests, and what administrators do; nil
	// discards them.
	Log *slog.Logger

	logins func() api.Attempts // of the management API
}

func (o *Options) validate() error {
	switch {
	case o.Health == nil:
		return errors.New("admin: no health to tell")
	case len(o.AdminTLS) > 0 && o.TLS == nil:
		return errors.New("admin: an address with TLS, and no certificate")
	case o.MaxConns < 0:
		return fmt.Errorf("admin: connection limit %d is negative", o.MaxConns)
	}
	return nil
}

func (o *Options) setDefaults() {
	if o.MaxConns == 0 {
		o.MaxConns = DefaultMaxConns
	}
	if o.Primary == nil {
		o.Primary = func() *api.Primary { return nil }
	}
	if o.Proxy == nil {
		o.Proxy = func(string) *listen.Proxy { return nil }
	}
	if o.Stats == nil {
		o.Stats = func() (Stats, bool) { return Stats{}, false }
	}
	if o.Failover == nil {
		o.Failover = func() Failover { return Failover{} }
	}
	if o.Cluster == "" {
		o.Cluster = o.Node
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// A Server is the open admin and metrics addresses, and the admin socket.
type Server struct {
	opt                     Options
	log                     *slog.Logger
	admin, adminTLS, scrape *listen.Listener // nil: no address of this kind
	servers                 []*http.Server
	closed                  chan struct{}
	closeOnce               sync.Once

	serving sync.WaitGroup // one per server, and per listener
}

// Start opens all addresses and answers on them until Close.
func Start(ctx context.Context, opt Options) (*Server, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	opt.setDefaults()
	s := &Server{opt: opt, log: opt.Log, closed: make(chan struct{})}
	manage, err := newAPI(&opt, s.listeners)
	if err != nil {
		return nil, err
	}
	opt.logins = manage.Logins
	scrape := newScrapes(&opt)
	if err := s.open(ctx, adminMux(opt.Health, scrape, manage), metricsMux(scrape)); err != nil {
		return nil, errors.Join(err, s.Close(context.WithoutCancel(ctx)))
	}
	return s, nil
}

// open opens what the options name.
func (s *Server) open(ctx context.Context, admin, metrics http.Handler) (err error) {
	adminDoor, metricsDoor := newDoor(), newDoor()
	s.serve(s.newServer(admin, adminDoor.state), adminDoor)
	s.serve(s.newServer(metrics, metricsDoor.state), metricsDoor)
	if s.admin, err = s.listen(ctx, "admin", s.opt.Admin, adminDoor, nil); err != nil {
		return err
	}
	if s.adminTLS, err = s.listen(ctx, "admin-tls", s.opt.AdminTLS, adminDoor, s.opt.TLS); err != nil {
		return err
	}
	if s.scrape, err = s.listen(ctx, "metrics", s.opt.Metrics, metricsDoor, nil); err != nil {
		return err
	}
	if s.opt.Socket == "" {
		return nil
	}
	ln, err := openSocket(ctx, s.opt.Socket)
	switch {
	case err != nil && s.opt.SocketOptional:
		s.log.Warn("no admin socket", slog.Any("err", err))
		return nil
	case err != nil:
		return err
	}
	s.log.Info("listening", slog.String("listener", socketName), slog.String("addr", s.opt.Socket))
	socket := s.newServer(ownersOnly(admin), limitConns(maxSocketConns))
	socket.ConnContext = s.identify
	s.serve(socket, ln)
	return nil
}

// listen opens addresses whose connections go through the door.
func (s *Server) listen(ctx context.Context, name string, addresses []string, d *door, secure *listen.TLS) (*listen.Listener, error) {
	if len(addresses) == 0 {
		return nil, nil //nolint:nilnil // off is no listener and no error
	}
	l, err := listen.Start(ctx, listen.Options{
		Name: name, Addresses: addresses, Handler: d.handle, MaxConns: s.opt.MaxConns, HandshakeTimeout: headerTimeout,
		TLS: secure, ALPN: []string{"http/1.1"}, Budget: s.opt.Budget, Rate: s.opt.Rate, Proxy: s.opt.Proxy(name), Log: s.log,
	})
	if err != nil {
		return nil, err
	}
	s.serving.Go(func() {
		select {
		case err := <-l.Failed():
			s.log.Error("cannot answer on this address any more", slog.String("listener", name), slog.Any("err", err))
		case <-s.closed:
		}
	})
	return l, nil
}

// AdminAddrs returns the opened addresses that serve everything.
func (s *Server) AdminAddrs() []net.Addr { return addrs(s.admin) }

// AdminTLSAddrs returns those that do so with TLS.
func (s *Server) AdminTLSAddrs() []net.Addr { return addrs(s.adminTLS) }

// MetricsAddrs returns the opened addresses that serve metrics alone.
func (s *Server) MetricsAddrs() []net.Addr { return addrs(s.scrape) }

func addrs(l *listen.Listener) []net.Addr {
	if l == nil {
		return nil
	}
	return l.Addrs()
}

// listeners are the admin addresses as the overview lists them.
func (s *Server) listeners() []api.Listener {
	var all []api.Listener
	for _, addr := range s.AdminAddrs() {
		all = append(all, api.Listener{Protocol: "http", Addr: addr})
	}
	for _, addr := range s.AdminTLSAddrs() {
		all = append(all, api.Listener{Protocol: "https", Addr: addr, TLS: true})
	}
	for _, addr := range s.MetricsAddrs() {
		all = append(all, api.Listener{Protocol: "http/prometheus", Addr: addr})
	}
	return all
}

// Close stops accepting, lets requests in flight finish until ctx ends, cuts
// the others and waits for the server's goroutines. It may be called again.
func (s *Server) Close(ctx context.Context) error {
	var errs []error
	for _, srv := range s.servers {
		if err := srv.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("close admin connections: %w", err), srv.Close())
		}
	}
	s.closeOnce.Do(func() { close(s.closed) })
	for _, l := range []*listen.Listener{s.admin, s.adminTLS, s.scrape} {
		if l != nil {
			l.CloseAll() // what is left is in its handshake
			errs = append(errs, l.Stop(context.WithoutCancel(ctx)))
		}
	}
	s.serving.Wait()
	return errors.Join(errs...)
}

func (s *Server) newServer(h http.Handler, state func(net.Conn, http.ConnState)) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		ConnState:         state,
		// Debug: a scanner's broken requests are not the broker's trouble.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// serve answers what comes through ln from a goroutine of the server.
func (s *Server) serve(srv *http.Server, ln net.Listener) {
	s.servers = append(s.servers, srv)
	s.serving.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			s.log.Error("cannot answer on this address any more", slog.String("addr", ln.Addr().String()), slog.Any("err", err))
		}
	})
}

func adminMux(health *Health, scrape, manage http.Handler) *http.ServeMux {
	mux := metricsMux(scrape)
	mux.Handle("/api/", manage)
	mux.Handle("/alarms", manage)
	mux.Handle("/why", manage)
	for _, path := range []string{"/livez", "/isLive"} {
		mux.HandleFunc("GET "+path, livez)
	}
	for _, path := range []string{"/readyz", "/isReady"} {
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) { readyz(w, health.State()) })
	}
	for path, h := range map[string]http.HandlerFunc{
		"/debug/pprof/":        pprof.Index,
		"/debug/pprof/cmdline": pprof.Cmdline,
		"/debug/pprof/profile": pprof.Profile,
		"/debug/pprof/symbol":  pprof.Symbol,
		"/debug/pprof/trace":   pprof.Trace,
	} {
		mux.Handle(path, loopbackOnly(h))
	}
	return mux
}

func metricsMux(scrape http.Handler) *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", scrape)
	mux.Handle("GET /metrics/", scrape)
	return mux
}

func livez(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n")) // a peer that went away needs no answer
}

func readyz(w http.ResponseWriter, state State) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !state.Ready() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(state) // a peer that went away needs no answer
}

// loopbackOnly keeps profiles, which show memory and cost time, on this machine.
func loopbackOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, err := netip.ParseAddrPort(r.RemoteAddr)
		_, socket := r.Context().Value(http.LocalAddrContextKey).(*net.UnixAddr)
		if !socket && (err != nil || !peer.Addr().Unmap().IsLoopback()) {
			http.Error(w, "profiles are for loopback peers only", http.StatusForbidden)
			return
		}
		// A profile takes longer than a request may, and ends when its connection cannot be read.
		_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // fails only on a connection that is gone
		next.ServeHTTP(w, r)
	})
}
