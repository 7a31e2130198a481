// Package listen opens the addresses of one front-end, runs its handler once
// per connection, and takes the connections down again, politely or at once.
//
// It guarantees:
//   - Start opens every address and socket or none, and one that cannot be opened
//     is one sentence that names it ([AddressError]).
//   - A handler runs for each accepted connection, in a goroutine the [Listener]
//     waits for; when the handler returns, its connection is closed. With
//     Options.Start in place of a handler the connection is over when that says so.
//   - At most Options.MaxConns connections are open, and those of all listeners
//     that share a [Budget] are within it; one more is closed at once and
//     counted. One address cannot keep the others out: it leaves the last
//     quarter of a budget to them, and its [Rate] is its own.
//   - Connections that come faster than their address's [Rate] wait for their turn,
//     in order, unread, as long as they may; those for which that is not enough,
//     or for which there is no room, are closed at once and counted. A storm from
//     one address makes nobody wait who comes from another.
//   - A connection arrives with a deadline. A peer that never finishes its
//     handshake, TLS and protocol together, is cut without any help from the
//     handler.
//   - With Options.TLS a handler sees no connection whose handshake did not
//     succeed, and no client certificate that is not verified and, as far as the
//     revocation lists know, unrevoked; nor by resuming an earlier session.
//   - With Options.Proxy the ends of a connection are those that a trusted proxy
//     names, for whoever asks: the limits, TLS, the handler. Nobody else can name
//     any. A header is at most 4 KiB, comes within the deadline of the handshake,
//     and holds up nobody but its connection; what comes behind it is not lost.
//   - New certificates, authorities and revocation lists are for new connections;
//     open ones go on. Files that cannot be used change nothing but the log.
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
// A socket is the path of a unix socket. Who may write to its file may connect; to
// limits and rules by address all who do are one address, that is local and has no
// rate, and each has a name of its own in the log. A file that is there already is
// replaced if it is that of a socket on which the system says nobody listens.
// Where several brokers of one machine stand by for each other, each needs a path
// of its own.
//
// # Registry
//
// [Registry] is the open connections of a front-end: each under an increasing
// ID with the time at which it was opened, and how many there have been. The
// Listener has one of sockets, and a front-end one of what it knows of its
// clients. A connection ends for its own reasons; the registry only tells who
// there is to be asked to, and waits.
//
// # TLS
//
// A [TLS] is made of files and made again when they change: on demand
// ([TLS.Reload]) or seen by polling ([TLS.Watch]). What was read at one moment is
// fixed, is what a connection's handshake is made with from begin to end, and
// has the keys of its session tickets: with it, the sessions end that clients
// might resume. Versions 1.2 and 1.3 are spoken, in the former only with
// ephemeral keys and authenticated encryption (ECDHE; AES-GCM or
// ChaCha20-Poly1305); key exchanges are Go's, the hybrid post-quantum ones first.
//
// A certificate whose issuer has no revocation list counts as not revoked. A
// list is trusted if an authority in the CA file has signed it, so an
// intermediate authority that publishes one has its certificate there; it is
// then trusted by itself, and still refused when a list of its root revokes it.
// Online queries (OCSP), indirect and delta lists other than as additions are
// not known.
//
// # Limits
//
// An address, to a Budget or a Rate, is an IPv4 address or an IPv6 /64. Behind a
// proxy that is the proxy's, unless Options.Proxy trusts that to name the client's:
// then the Rate is asked, and the share in a Budget counted, once the header has
// come. A connection that waits for its turn counts as open, costs its descriptor
// and a goroutine, and has its place also if its peer gives up meanwhile, which is
// not looked at. Nobody begins to wait while half of the budget is spent, and of
// MaxConns those that wait take no more than they leave to others. A failure is a login that did not succeed, which
// front-ends report by [Rate.RecordFailure], or a handshake of TLS that failed
// for a reason an attacker can bring about; one that only looked whether the port
// is open is not blamed. What a login costs is spent only where [Rate.Try] lets the
// address try: connections that were open before it failed too often are no way
// around that.
//
// # PROXY protocol
//
// Versions 1 and 2 of HAProxy's specification are understood, of the latter the
// addresses and not the options. A proxy that speaks for itself (LOCAL, UNKNOWN),
// or for a client by a unix socket or a loopback address of its own machine,
// leaves the connection the socket's ends: what is granted to local clients is for
// those of this machine. A header about datagrams, of an unspecified family, or
// with a source that no client can have is refused.
//
// The specification forbids to guess whether there is a header (its section 2).
// Where it is optional that is only done for trusted addresses, of which the
// operator says that they relay for clients with a header, or connect without one.
//
// # Reader
//
// [Reader] is the read side of a connection, without a buffer while the
// connection is idle. On unix systems it borrows one from a pool only once
// bytes have arrived, so ten thousand quiet connections hold none, with TLS or
// without. Elsewhere, and for a net.Conn that is neither TCP nor TLS, a waiting
// Reader holds one buffer. So does, everywhere, one that waits for the rest of a
// frame: its owner bounds that by a read deadline.
//
// [Await] waits without a Reader, and on a new goroutine, for connections that are
// silent for long and many.
//
// An idle connection with a Reader, its goroutine included, was measured (linux, amd64) at 4
// KiB of resident memory plain and 15 KiB with TLS 1.3 (12 KiB with 1.2; 3 KiB
// more where the client has a certificate). crypto/tls keeps the room of the
// longest record it has read: 24 KiB more after the peer sent full ones. A
// handshake that does not go on holds 8 KiB, or 42 KiB after a first record made
// to be large.
//
// # Turns
//
// Of connections whose peers always have something for the broker, as many work
// at a time as there are processors, for two milliseconds each, and those
// that were waiting for their sockets go before the next ([Reader], [TakeTurns]).
// So what an honest client waits for does not grow with the number of those
// that keep the broker busy. It grows with what their goroutines do in one go,
// between two frames; what takes long there calls [GiveWay]. Of those who connect
// faster than once in two milliseconds, each is accepted when the one before it
// has had its first go.
//
// # Who owns what
//
// Start's accept loops, one per opened address, own their net.Listener. A
// handler owns its connection, except that CloseAll may close it at any time.
// Stop waits for handlers by waiting for the last registration to be removed.
// The line of those that wait for their turn is the process's, as the pools of
// read buffers are; the goroutine that calls the first of them exists as long as
// any reader is busy.
package listen
