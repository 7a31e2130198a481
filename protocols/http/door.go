package admin

import (
	"context"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/batonmq/baton/protocols/listen"
)

// A door hands the connections that listeners have let in to an http.Server: those
// know limits and TLS, this one requests. To the server it is a net.Listener, and
// its handle is the listeners' handler.
type door struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}

	mu   sync.Mutex
	gone map[net.Conn]chan struct{} // closed when the server is done with the connection
}

var (
	_ net.Listener   = (*door)(nil)
	_ listen.Handler = (*door)(nil).handle
)

func newDoor() *door {
	return &door{conns: make(chan net.Conn), closed: make(chan struct{}), gone: map[net.Conn]chan struct{}{}}
}

// handle returns when the server is done with the connection.
func (d *door) handle(_ context.Context, conn net.Conn) {
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return // it is closed already
	}
	gone := make(chan struct{})
	d.mu.Lock()
	d.gone[conn] = gone
	d.mu.Unlock()
	select {
	case d.conns <- conn:
		<-gone
	case <-d.closed:
		d.leave(conn)
	}
}

// state is the server's ConnState.
func (d *door) state(conn net.Conn, s http.ConnState) {
	if s == http.StateClosed || s == http.StateHijacked {
		d.leave(conn)
	}
}

func (d *door) leave(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if gone, ok := d.gone[conn]; ok {
		close(gone)
		delete(d.gone, conn)
	}
}

// Accept returns the next connection.
func (d *door) Accept() (net.Conn, error) {
	select {
	case conn := <-d.conns:
		return conn, nil
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

// Close lets no connection through any more.
func (d *door) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}

// Addr is no address: the listeners have those.
func (d *door) Addr() net.Addr { return &net.TCPAddr{} }
