package listen

import "net"

// Await returns when conn has something to read, or cannot be read any more: at
// its end, at its deadline, which is the error, or because it is closed. It holds
// no buffer meanwhile, and a goroutine that does nothing else keeps the smallest
// stack there is. It works where [CanAwait] says so, and nothing is buffered above
// the connection; one goroutine at a time reads or awaits.
func Await(conn net.Conn) error {
	if pending(conn) {
		return nil
	}
	if w := below(conn); w != nil {
		return w.wait()
	}
	return awaitSocket(conn)
}
