package listen

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
	"time"
)

// An AddressError is an address that could not be opened, or that stopped
// working. Its text is one sentence for an operator.
type AddressError struct {
	Name string // the front-end
	Addr string // as configured
	Err  error

	Socket bool // Addr is the path of a unix socket
}

func (e *AddressError) Error() string {
	what := fmt.Sprintf("listen for %s on %s", e.Name, e.Addr)
	switch {
	case e.Socket:
	case e.InUse():
		return what + ": the port is in use: stop the program that holds it, or choose another address"
	case errors.Is(e.Err, syscall.EACCES):
		return what + ": not permitted: choose a port above 1023, or grant the right to bind low ports"
	case isUnavailable(e.Err):
		return what + ": this host has no such address: choose one of its own, or leave the host out"
	}
	return what + ": " + e.Err.Error()
}

func (e *AddressError) Unwrap() error { return e.Err }

// InUse reports that another socket holds the port.
func (e *AddressError) InUse() bool { return isInUse(e.Err) }

// keepAlive finds a peer that vanished within about two minutes, also where the
// protocol's own heartbeats are off, without waking sleeping radios much.
func keepAlive() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: true, Idle: time.Minute, Interval: 15 * time.Second, Count: 4}
}

// HostPort takes the address of a connection's end apart. One that is not of IP
// is its own host, without a port.
func HostPort(addr net.Addr) (host string, port int) {
	host, digits, err := net.SplitHostPort(addr.String())
	if err != nil {
		return addr.String(), 0
	}
	if port, err = strconv.Atoi(digits); err != nil {
		return addr.String(), 0
	}
	return host, port
}

// Open opens every address for a server with accept loops of its own, or none
// and returns an AddressError. An address is opened as Start does it.
func Open(ctx context.Context, name string, addresses []string) (_ []net.Listener, err error) {
	var open []net.Listener
	defer func() {
		if err != nil {
			for _, ln := range open {
				_ = ln.Close() // nothing was accepted on it
			}
		}
	}()
	for _, addr := range addresses {
		lns, err := openAddress(ctx, addr)
		open = append(open, lns...)
		if err != nil {
			return nil, &AddressError{Name: name, Addr: addr, Err: err}
		}
	}
	return open, nil
}

// openAddress opens HOST:PORT: one socket for both families where the host is
// empty, else one per address the host has. A family this machine lacks is
// passed over as long as one address opens: "localhost" names ::1 also where
// IPv6 is off. What it returns is open, also beside an error.
func openAddress(ctx context.Context, addr string) ([]net.Listener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	// TCP_NODELAY is already on: package net sets it on every TCP connection.
	lc := listenConfig()
	if host == "" {
		ln, err := lc.Listen(ctx, "tcp", addr)
		if err != nil {
			return nil, err
		}
		return []net.Listener{ln}, nil
	}
	ips, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		return nil, err
	}
	var open []net.Listener
	var absent error
	for _, ip := range ips {
		ln, err := lc.Listen(ctx, "tcp", net.JoinHostPort(ip.String(), port))
		switch {
		case err == nil:
			open = append(open, ln)
		case isUnavailable(err):
			absent = err
		default:
			return open, err
		}
	}
	if len(open) == 0 {
		return nil, absent
	}
	return open, nil
}
