package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"

	"github.com/batonmq/baton/protocols/listen"
)

// doors are what all addresses of the process have in common, those of the admin
// port as well as those that open with each tenure.
type doors struct {
	tls    *listen.TLS // nil: there is no certificate, and no address that needs one
	budget *listen.Budget
	rate   *listen.Rate
}

// openDoors reads the certificates.
func (c *Config) openDoors(log *slog.Logger) (*doors, error) {
	secure, err := c.openTLS(log)
	if err != nil {
		return nil, err
	}
	s := &c.Limits
	rate, err := listen.NewRate(listen.RateOptions{
		PerSecond: s.ConnectionRate, Burst: s.ConnectionBurst,
		FailuresPerSecond: s.FailedLoginRate, FailureBurst: s.FailedLoginBurst, ExemptLoopback: s.ExemptLoopback,
	})
	if err != nil {
		return nil, fmt.Errorf("limits: %w", err)
	}
	return &doors{secure, listen.NewBudget(s.MaxConnections), rate}, nil
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
