package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/batonmq/baton/protocols/listen"
)

// proxySettings are the settings below proxy_protocol.
type proxySettings struct {
	Trusted  []string // addresses or networks
	Required []string // names of listeners
	Optional []string
}

// listenerNames are those of all that open TCP ports, as they are in the log.
func listenerNames() []string {
	return append(schemes(), listenAdmin, listenAdminTLS, listenMetrics)
}

// Listeners of the admin port.
const (
	listenAdmin    = "admin"
	listenAdminTLS = "admin-tls"
	listenMetrics  = "metrics"
)

func proxyRows() []setting {
	return []setting{
		{
			key: "proxy_protocol.trusted", def: off, unit: "addresses, networks or off", list: true, held: true,
			doc:  "Proxies that are believed which client they speak for, by the PROXY protocol (version 1 or 2), as `10.0.0.5` or `10.0.1.0/24`. See security.md.",
			bind: func(c *Config) value { return networks(&c.Proxy.Trusted) },
		},
		{
			key: "proxy_protocol.required", def: off, unit: "listeners or off", list: true, held: true,
			doc:  "Listeners that take connections from these proxies only, each of which has to begin with a header: of `amqp`, `amqps`, `mqtt`, `mqtts`, `ws`, `wss`, `admin`, `admin-tls`, `metrics`.",
			bind: func(c *Config) value { return someOf(&c.Proxy.Required, listenerNames()...) },
		},
		{
			key: "proxy_protocol.optional", def: off, unit: "listeners or off", list: true, held: true,
			doc:  "Listeners where a connection from these proxies may begin with a header, and others, from any address, come without.",
			bind: func(c *Config) value { return someOf(&c.Proxy.Optional, listenerNames()...) },
		},
	}
}

// networks is a list of addresses and networks, or off.
func networks(p *[]string) value {
	return list{p, off, func(s string) error {
		_, err := parseNetwork(s)
		return err
	}}
}

func parseNetwork(s string) (netip.Prefix, error) {
	if ip, err := netip.ParseAddr(s); err == nil && ip.Zone() == "" {
		ip = ip.Unmap()
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		return p, fmt.Errorf("%q is neither an address like 10.0.0.5 nor a network like 10.0.1.0/24", s)
	}
	return p.Masked(), nil
}

// check finds what the settings contradict in.
func (s *proxySettings) check() error {
	for _, name := range s.Required {
		if slices.Contains(s.Optional, name) {
			return fmt.Errorf("proxy_protocol.required and proxy_protocol.optional both name %s", name)
		}
	}
	switch listeners := len(s.Required) + len(s.Optional); {
	case listeners > 0 && len(s.Trusted) == 0:
		return errors.New("proxy_protocol.required or proxy_protocol.optional is set, and proxy_protocol.trusted names no proxy")
	case listeners == 0 && len(s.Trusted) > 0:
		return errors.New("proxy_protocol.trusted is set, and neither proxy_protocol.required nor proxy_protocol.optional names a listener")
	}
	return nil
}

// of is what a listener does about the protocol; nil: nothing.
func (s *proxySettings) of(listener string) *listen.Proxy {
	optional := slices.Contains(s.Optional, listener)
	if !optional && !slices.Contains(s.Required, listener) {
		return nil
	}
	p := &listen.Proxy{Optional: optional}
	for _, text := range s.Trusted {
		if network, err := parseNetwork(text); err == nil { // the table lets no other text through
			p.Trusted = append(p.Trusted, network)
		}
	}
	return p
}
