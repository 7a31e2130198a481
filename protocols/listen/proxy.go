package listen

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/pires/go-proxyproto"
)

// A Proxy says who may begin a connection with a header of the PROXY protocol,
// version 1 or 2, that names the client behind it.
type Proxy struct {
	// Trusted are the addresses of proxies. At least one.
	Trusted []netip.Prefix

	// Optional lets connections in that do not begin with a header, from any
	// address. Otherwise each has one, and comes from a trusted address.
	Optional bool
}

// trusts reports that a header from the address is to be believed.
func (p *Proxy) trusts(addr net.Addr) bool {
	if p == nil {
		return false
	}
	ip, ok := addressOf(addr)
	if !ok {
		return false
	}
	for _, t := range p.Trusted {
		if t.Contains(ip) {
			return true
		}
	}
	return false
}

// Why a connection to a listener with a Proxy is closed.
var (
	errNotProxied = errors.New("a connection to this listener comes through a proxy, and this address is none of those that are trusted")
	errNoHeader   = errors.New("the connection does not begin with a header of the PROXY protocol")
	errLongHeader = errors.New("the header of the PROXY protocol is too long")
	errDatagram   = errors.New("the header of the PROXY protocol is about datagrams")
	errNobody     = errors.New("the header of the PROXY protocol names an address that no client can have")
)

// Bounds of a header.
const (
	maxLine      = 107     // of version 1, says the specification
	fixedPart    = 16      // of version 2
	maxHeader    = 4 << 10 // of version 2, its options included: most have less than 200 bytes, with a certificate some 2 KiB
	usualHeader  = fixedPart + 216
	lengthOffset = fixedPart - 2
)

// A proxied connection is one whose ends are what a proxy says they are. It is
// the TCP connection of that proxy in all other respects.
type proxied struct {
	*net.TCPConn

	remote, local net.Addr
	early         []byte // came with the header; owned by the goroutine that reads
}

// RemoteAddr implements net.Conn.
func (p *proxied) RemoteAddr() net.Addr { return p.remote }

// LocalAddr implements net.Conn.
func (p *proxied) LocalAddr() net.Addr { return p.local }

// Read implements net.Conn.
func (p *proxied) Read(b []byte) (int, error) {
	if len(p.early) == 0 {
		return p.TCPConn.Read(b)
	}
	n := copy(b, p.early)
	if p.early = p.early[n:]; len(p.early) == 0 {
		p.early = nil
	}
	return n, nil
}

// WriteTo implements io.WriterTo, as the connection below does.
func (p *proxied) WriteTo(w io.Writer) (int64, error) {
	var before int64
	for len(p.early) > 0 {
		n, err := w.Write(p.early)
		before += int64(n)
		p.early = p.early[n:]
		if err != nil {
			return before, err
		}
	}
	n, err := p.TCPConn.WriteTo(w)
	return before + n, err
}

// pending reports that conn has bytes which its socket does not have any more:
// who reads sockets reads conn first.
func pending(conn net.Conn) bool {
	p, ok := conn.(*proxied)
	return ok && len(p.early) > 0
}

// unproxied makes of a trusted proxy's connection the one of its client, or
// reports false. It waits for the header, within the deadline of the handshake.
func (l *Listener) unproxied(ctx context.Context, conn net.Conn) (net.Conn, bool) {
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		return conn, true
	}
	p, err := readProxied(tcp, l.opt.Proxy.Optional)
	if err != nil {
		l.badHeader(conn, err)
		return conn, false
	}
	// The limits that concern addresses are for the client's, and not for the one
	// that all clients have.
	at, ok := l.enter(p.remote)
	if !ok {
		l.refuse(p, errTooOften)
		return conn, false
	}
	if err := l.opt.Budget.move(conn.RemoteAddr(), p.remote); err != nil {
		l.leave(at)
		l.refuse(p, err)
		return conn, false
	}
	if at.wait == 0 {
		return p, true
	}
	l.noteLine(p, at)
	ok = l.await(ctx, at) && p.SetDeadline(time.Now().Add(l.opt.HandshakeTimeout)) == nil
	return p, ok
}

func (l *Listener) badHeader(conn net.Conn, err error) {
	level := slog.LevelWarn
	if errors.Is(err, io.EOF) {
		level = slog.LevelDebug // a proxy that looks whether the port is open
	} else {
		l.unnamed.Add(1)
	}
	if suppressed, ok := l.complaints.next(l.log, level); ok {
		l.log.LogAttrs(context.Background(), level, "PROXY header refused",
			slog.String("peer", conn.RemoteAddr().String()), slog.Any("err", err), suppressed)
	}
}

// readProxied reads the header. Without one the connection is the peer's own, if
// that is optional.
func readProxied(conn *net.TCPConn, optional bool) (*proxied, error) {
	p := &proxied{TCPConn: conn, remote: conn.RemoteAddr(), local: conn.LocalAddr()}
	header, rest, err := splitHeader(conn)
	switch {
	case errors.Is(err, errNoHeader) && optional:
		p.early = rest
		return p, nil
	case err != nil:
		return nil, err
	}
	if len(rest) > 0 {
		p.early = bytes.Clone(rest) // and let the header go
	}
	h, err := proxyproto.Read(newHeaderReader(header))
	if err != nil {
		return nil, fmt.Errorf("read the header of the PROXY protocol: %w", err)
	}
	return p, p.name(h)
}

// newHeaderReader has the library see the header and nothing else: as all of it is
// there, it waits for none.
func newHeaderReader(header []byte) *bufio.Reader {
	return bufio.NewReaderSize(bytes.NewReader(header), len(header))
}

// splitHeader reads until it has a header, and returns what has come with it.
// With errNoHeader all that has come is the rest.
func splitHeader(conn io.Reader) (header, rest []byte, err error) {
	b := make([]byte, 0, usualHeader)
	for {
		size, err := headerSize(b)
		switch {
		case err != nil:
			return nil, b, err
		case size > 0 && size <= len(b):
			return b[:size], b[size:], nil
		case size > cap(b):
			b = append(make([]byte, 0, size), b...)
		}
		n, err := conn.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if n == 0 && err != nil {
			if len(b) > 0 && errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, b, err
		}
	}
}

// headerSize tells from the bytes that have come how long the header is that they
// begin with; 0: more are needed to tell.
func headerSize(b []byte) (int, error) {
	begins := func(signature []byte) bool {
		return bytes.HasPrefix(signature, b[:min(len(b), len(signature))])
	}
	switch {
	case begins(proxyproto.SIGV1):
		end := bytes.IndexByte(b, '\n') + 1
		if end > maxLine || end == 0 && len(b) >= maxLine {
			return 0, errLongHeader
		}
		return end, nil
	case begins(proxyproto.SIGV2):
		if len(b) < fixedPart {
			return 0, nil
		}
		size := fixedPart + int(binary.BigEndian.Uint16(b[lengthOffset:]))
		if size > maxHeader {
			return 0, errLongHeader
		}
		return size, nil
	}
	return 0, errNoHeader
}

// name takes the ends of the connection from the header. They stay the socket's
// where it names none: the proxy speaks for itself, or its client is on the
// proxy's own machine. That is not this one unless the proxy is here, too: what
// is granted to local clients is not for those of another machine.
func (p *proxied) name(h *proxyproto.Header) error {
	if h.Command.IsLocal() {
		return nil
	}
	if h.TransportProtocol.IsDatagram() {
		return errDatagram
	}
	remote, local, ok := h.TCPAddrs()
	if !ok || remote.IP.IsLoopback() && !isLoopback(p.remote) {
		return nil
	}
	if remote.IP.IsUnspecified() || remote.IP.IsMulticast() || remote.IP.Equal(net.IPv4bcast) {
		return errNobody
	}
	p.remote, p.local = remote, local
	return nil
}

func isLoopback(addr net.Addr) bool {
	ip, ok := addressOf(addr)
	return ok && ip.IsLoopback()
}
