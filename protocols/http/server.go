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

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/batonmq/baton/protocols/listen"
)

// Deadlines of a request. The write deadline is extended by package pprof for
// profiles that take longer.
const (
	headerTimeout = 10 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 2 * time.Minute

	maxHeaderBytes = 16 << 10
)

// maxScrapes bounds the scrapes in flight: each holds a snapshot and its text.
const maxScrapes = 4

// Options say where to listen and what to tell.
type Options struct {
	// Admin are the HOST:PORT addresses that serve everything; none is allowed.
	Admin []string

	// Metrics are the addresses that serve /metrics alone; none is allowed.
	Metrics []string

	// Health is what /readyz tells. Required.
	Health *Health

	// Stats returns the broker's counters; false where no broker runs, as on a
	// standby. It is called per scrape. Nil: no broker runs here.
	Stats func() (Stats, bool)

	// Takeover returns how long each part of this node's last takeover took, by
	// name; none where it has made none. Nil: it makes none.
	Takeover func() map[string]time.Duration

	// Node and Version appear in the metrics' identity.
	Node, Version string

	// Log receives refused and failed requests; nil discards them.
	Log *slog.Logger
}

func (o *Options) validate() error {
	if o.Health == nil {
		return errors.New("admin: no health to tell")
	}
	return nil
}

func (o *Options) setDefaults() {
	if o.Stats == nil {
		o.Stats = func() (Stats, bool) { return Stats{}, false }
	}
	if o.Takeover == nil {
		o.Takeover = func() map[string]time.Duration { return nil }
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
}

// A Server is the open admin and metrics addresses.
type Server struct {
	log            *slog.Logger
	admin, metrics *http.Server
	adminAddrs     []net.Addr
	metricsAddrs   []net.Addr

	serving sync.WaitGroup // one per address
}

// Start opens all addresses and answers on them until Close.
func Start(ctx context.Context, opt Options) (*Server, error) {
	if err := opt.validate(); err != nil {
		return nil, err
	}
	opt.setDefaults()
	adminLns, err := listen.Open(ctx, "admin", opt.Admin)
	if err != nil {
		return nil, err
	}
	metricsLns, err := listen.Open(ctx, "metrics", opt.Metrics)
	if err != nil {
		for _, ln := range adminLns {
			_ = ln.Close() // nothing was accepted on it
		}
		return nil, err
	}
	s := &Server{log: opt.Log}
	scrape := promhttp.HandlerFor(newRegistry(&opt), promhttp.HandlerOpts{
		ErrorLog:            slog.NewLogLogger(opt.Log.Handler(), slog.LevelError),
		MaxRequestsInFlight: maxScrapes,
	})
	s.admin = s.newServer(adminMux(opt.Health, scrape))
	s.metrics = s.newServer(metricsMux(scrape))
	s.adminAddrs = s.serve("admin", s.admin, adminLns)
	s.metricsAddrs = s.serve("metrics", s.metrics, metricsLns)
	return s, nil
}

// AdminAddrs returns the opened addresses that serve everything.
func (s *Server) AdminAddrs() []net.Addr { return s.adminAddrs }

// MetricsAddrs returns the opened addresses that serve metrics alone.
func (s *Server) MetricsAddrs() []net.Addr { return s.metricsAddrs }

// Close stops accepting, lets requests in flight finish until ctx ends, cuts
// the others and waits for the server's goroutines.
func (s *Server) Close(ctx context.Context) error {
	var errs []error
	for _, srv := range []*http.Server{s.admin, s.metrics} {
		if err := srv.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("close admin connections: %w", err), srv.Close())
		}
	}
	s.serving.Wait()
	return errors.Join(errs...)
}

func (s *Server) newServer(h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      writeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeaderBytes,
		// Debug: a scanner's broken requests are not the broker's trouble.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
}

// serve answers on each listener from a goroutine of the server.
func (s *Server) serve(name string, srv *http.Server, lns []net.Listener) []net.Addr {
	addrs := make([]net.Addr, len(lns))
	for i, ln := range lns {
		addrs[i] = ln.Addr()
		s.log.Info("listening", slog.String("listener", name), slog.String("addr", addrs[i].String()))
		s.serving.Go(func() {
			if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
				s.log.Error("cannot answer on this address any more",
					slog.String("listener", name), slog.String("addr", ln.Addr().String()), slog.Any("err", err))
			}
		})
	}
	return addrs
}

func adminMux(health *Health, scrape http.Handler) *http.ServeMux {
	mux := metricsMux(scrape)
	mux.HandleFunc("GET /livez", livez)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) { readyz(w, health.State()) })
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
		if err != nil || !peer.Addr().Unmap().IsLoopback() {
			http.Error(w, "profiles are for loopback peers only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}
