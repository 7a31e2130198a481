package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync/atomic"

	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/http/api"
	"github.com/batonmq/baton/protocols/listen"
)

const (
	socketName = "admin socket"

	// maxSocketConns bounds the connections to the socket: its users are few.
	maxSocketConns = 64
)

// openSocket opens the admin socket for its owner alone. The file of one that
// nobody answers on any more is replaced.
func openSocket(ctx context.Context, path string) (net.Listener, error) {
	if err := ownDirectory(filepath.Dir(path)); err != nil {
		return nil, &listen.AddressError{Name: socketName, Addr: path, Err: err, Socket: true}
	}
	return listen.OpenSocket(ctx, socketName, path, 0o600)
}

// ownDirectory makes the directory where it is absent, and sees to it that nobody
// else can put anything into it.
func ownDirectory(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make its directory: %w", err)
	}
	return checkOwned(dir)
}

type refusedKey struct{}

// identify notes in the context of a connection who is at its other end.
func (s *Server) identify(ctx context.Context, conn net.Conn) context.Context {
	uid, err := peerUID(conn)
	p, ok := socketPrincipal(uid, err)
	if !ok {
		s.log.Warn("admin socket refused", slog.Int("uid", uid), slog.Any("err", err))
		return context.WithValue(ctx, refusedKey{}, true)
	}
	return api.WithPrincipal(ctx, p)
}

// socketPrincipal is who may administrate, as far as the system tells: the
// broker's own user and root.
func socketPrincipal(uid int, err error) (p auth.Principal, ok bool) {
	p = auth.Principal{Name: fmt.Sprintf("uid %d via socket", uid), Tags: []string{"administrator"}}
	switch {
	case errors.Is(err, errNoPeerUID): // who could open the file may do this
		p.Name = "local via socket"
	case err != nil:
		return auth.Principal{}, false
	case uid == 0:
		p.Name = "root via socket"
	case uid != os.Geteuid():
		return auth.Principal{}, false
	}
	return p, true
}

// errNoPeerUID is what peerUID returns where the system does not tell.
var errNoPeerUID = errors.New("the system does not tell who is at the other end of a socket")

// ownersOnly refuses whom identify did.
func ownersOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Context().Value(refusedKey{}) != nil {
			http.Error(w, "the admin socket is for the broker's own user and for root", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// limitConns returns a ConnState that closes connections beyond a limit.
func limitConns(limit int32) func(net.Conn, http.ConnState) {
	var open atomic.Int32
	return func(conn net.Conn, s http.ConnState) {
		switch s {
		case http.StateNew:
			if open.Add(1) > limit {
				_ = conn.Close() // the server sees that, and says StateClosed
			}
		case http.StateClosed, http.StateHijacked:
			open.Add(-1)
		case http.StateActive, http.StateIdle:
		}
	}
}
