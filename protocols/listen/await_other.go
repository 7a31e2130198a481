//go:build !unix

package listen

import "net"

// CanAwait reports whether [Await] works: these systems do not tell that a socket
// is ready before they are given a buffer.
func CanAwait(net.Conn) bool { return false }

func awaitSocket(net.Conn) error { panic("listen: a wait for readiness where there is none") }
