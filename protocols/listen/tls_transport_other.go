//go:build !unix

package listen

import "net"

// transport returns the connection for TLS to be put on, with so many bytes for
// the handshake. Its reads wait: these systems' RawConn does not wait for
// readiness, so a read needs its buffer beforehand.
func transport(conn net.Conn, handshake int) net.Conn {
	return &inlet{Conn: conn, left: handshake}
}

func below(net.Conn) waiter { return nil }
