package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"sync/atomic"
	"time"
)

// maxSocketPath is the longest path that every system can open a socket at
// (sockaddr_un of the BSDs, with its zero byte), and with what removeStale adds.
const maxSocketPath = 103 - len(staleSuffix)

// staleSuffix is what the name of a socket ends with while it is being looked at.
const staleSuffix = ".old"

// socketDialTimeout is how long it may take to find out whether somebody
// answers on a socket that is there already.
const socketDialTimeout = time.Second

// OpenSocket opens a unix socket whose file has the mode: who may write to that
// may connect. The file of one that nobody answers on any more is replaced. An
// error is an [AddressError].
func OpenSocket(ctx context.Context, name, path string, mode fs.FileMode) (net.Listener, error) {
	ln, err := openSocket(ctx, path, mode)
	if err != nil {
		return nil, &AddressError{Name: name, Addr: path, Err: err, Socket: true}
	}
	return ln, nil
}

func openSocket(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	if n := len(path); n > maxSocketPath {
		return nil, fmt.Errorf("the path has %d bytes, and a socket's may have %d: choose a shorter one", n, maxSocketPath)
	}
	if err := removeStale(ctx, path); err != nil {
		return nil, err
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	file, err := os.Lstat(path)
	if err == nil {
		err = os.Chmod(path, mode)
	}
	if err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	// By then there may be another broker's of this name: see Close.
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	return &socketListener{Listener: ln, path: path, file: file}, nil
}

// removeStale removes the file of a socket that nobody answers on. It is moved
// out of the way first, and only then looked at: another broker that opens the
// same one in between has a file that is not touched, or that is put back.
func removeStale(ctx context.Context, path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return errors.New("a file of this name is there, and it is no socket")
	}
	if err := abandoned(ctx, path); err != nil {
		return err
	}
	moved := path + staleSuffix
	if err := os.Rename(path, moved); err != nil {
		return fmt.Errorf("move away what is left of an earlier one: %w", err)
	}
	if err := abandoned(ctx, moved); err != nil {
		return errors.Join(err, os.Rename(moved, path))
	}
	if err := os.Remove(moved); err != nil {
		return fmt.Errorf("remove what is left of an earlier one: %w", err)
	}
	return nil
}

// abandoned returns nil if nobody listens on the socket any more, which is when
// the system says so: one that does not answer may be busy.
func abandoned(ctx context.Context, path string) error {
	ctx, cancel := context.WithTimeout(ctx, socketDialTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "unix", path)
	switch {
	case err == nil:
		_ = conn.Close() // it was opened to see who is there
		return errors.New("another broker answers on it")
	case isRefused(err):
		return nil
	}
	return fmt.Errorf("find out whether somebody answers on it: %w", err)
}

// A socketListener is an open unix socket.
type socketListener struct {
	net.Listener

	path string
	file fs.FileInfo
}

// Close closes the socket, and removes its file if that is this one's still:
// another broker may have taken its place.
func (s *socketListener) Close() error {
	now, err := os.Lstat(s.path)
	if err == nil && os.SameFile(now, s.file) {
		err = os.Remove(s.path)
	}
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, s.Listener.Close())
}

// namedPeers are the connections of a unix socket with a remote address of their
// own: that of its clients has no name, and what is listed and logged needs one.
type namedPeers struct {
	net.Listener

	accepted atomic.Uint64
}

// Accept implements net.Listener.
func (n *namedPeers) Accept() (net.Conn, error) {
	conn, err := n.Listener.Accept()
	if err != nil {
		return nil, err
	}
	name := "unix:" + strconv.FormatUint(n.accepted.Add(1), 10)
	return &namedPeer{UnixConn: conn.(*net.UnixConn), remote: &net.UnixAddr{Name: name, Net: "unix"}}, nil
}

// A namedPeer is one of them.
type namedPeer struct {
	*net.UnixConn

	remote *net.UnixAddr
}

// RemoteAddr implements net.Conn.
func (p *namedPeer) RemoteAddr() net.Addr { return p.remote }
