// Package listen opens the addresses of one front-end, runs its handler once
// per connection, and takes the connections down again, politely or at once.
//
// It guarantees:
//   - Start opens every address or none, and an address that cannot be opened
//     is one sentence that names it ([AddressError]).
//   - A handler runs for each accepted connection, in a goroutine the [Listener]
//     waits for; when the handler returns, its connection is closed.
//   - At most Options.MaxConns connections are open; one more is closed at once
//     and counted.
//   - A connection arrives with a deadline. A peer that never finishes its
//     handshake is cut without any help from the handler.
//   - An accept loop that fails for want of resources (file descriptors,
//     memory) backs off, says so once, and recovers by itself.
//
// It does not guarantee that a handler says goodbye: [Listener.Stop] ends the
// handlers' context with the cause [ErrStopping] and waits for them; what they
// tell their peers is theirs. [Listener.CloseAll] cuts the sockets and tells
// nobody anything. The caller chooses between the two, so the context given to
// Start carries values only and its end stops nothing.
//
// # Vocabulary
//
// An address is HOST:PORT as configured. ":5672" is every local address, IPv4
// and IPv6. A host name is every address it resolves to.
//
// # Registry
//
// [Registry] is the open connections of a front-end: each under an increasing
// ID with the time at which it was opened, and how many there have been. The
// Listener has one of sockets, and a front-end one of what it knows of its
// clients. A connection ends for its own reasons; the registry only tells who
// there is to be asked to, and waits.
//
// # Reader
//
// [Reader] is the read side of a connection, without a buffer while the
// connection is idle. On unix systems it borrows one from a pool only once
// bytes have arrived, so ten thousand quiet connections hold none. Elsewhere,
// and for a net.Conn that is not a plain TCP connection, a waiting Reader holds
// one buffer. So does, everywhere, one that waits for the rest of a frame: its
// owner bounds that by a read deadline.
//
// # Who owns what
//
// Start's accept loops, one per opened address, own their net.Listener. A
// handler owns its connection, except that CloseAll may close it at any time.
// Stop waits for handlers by waiting for the last registration to be removed.
package listen
