package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/batonmq/baton/protocols/listen"
)

// doors are what all addresses of the process have in common, those of the admin
// port as well as those that open with each tenure.
type doors struct {
	tls    *listen.TLS // nil: there is no certificate, and no address that needs one
	budget *listen.Budget
	rate   *listen.Rate

	client atomic.Pointer[clientRates]
}

// clientRates are what a connection may publish in a second; 0: as much as it likes.
type clientRates struct{ messages, bytes float64 }

// openDoors reads the certificates.
func (c *Config) openDoors(log *slog.Logger) (*doors, error) {
	secure, err := c.openTLS(log)
	if err != nil {
		return nil, err
	}
	rate, err := listen.NewRate(c.rateOptions())
	if err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	d := &doors{tls: secure, budget: listen.NewBudget(c.Limits.MaxConnections), rate: rate}
	live := c.live()
	return d, d.limit(&live)
}

func (c *Config) rateOptions() listen.RateOptions {
	s := &c.Limits
	return listen.RateOptions{
		PerSecond: s.ConnectionRate, Burst: s.ConnectionBurst, MaxWait: s.ConnectionWait,
		FailuresPerSecond: s.FailedLoginRate, FailureBurst: s.FailedLoginBurst, ExemptLoopback: s.ExemptLoopback,
	}
}

// limit puts limits in force. What clients may publish
// concerns those that log in from now on.
func (d *doors) limit(l *liveSettings) error {
	if err := d.rate.Configure(l.rate); err != nil {
		return fmt.Errorf("limits: %w", err)
	}
	d.budget.SetLimit(l.maxConnections)
	d.client.Store(&l.client)
	return nil
}

// rates are those of a client that logs in now.
func (d *doors) rates() (messages, bytes float64) {
	r := d.client.Load()
	return r.messages, r.bytes
}

// watch has changed certificates read again until stop is called.
func (d *doors) watch(ctx context.Context) (stop func()) {
	if d.tls == nil {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() { d.tls.Watch(ctx) })
	return func() {
		cancel()
		watch.Wait()
	}
}

// reload reads the certificates again, whether they seem changed or not.
func (d *doors) reload() error {
	if d.tls == nil {
		return nil
	}
	return d.tls.Reload()
}

// allLoopback reports that no other machine reaches the addresses. Of a name that
// is not known without a resolver.
func allLoopback(addresses []string) bool {
	for _, a := range addresses {
		host, _, err := net.SplitHostPort(a)
		if err != nil || host != "localhost" && !net.ParseIP(host).IsLoopback() {
			return false
		}
	}
	return true
}
