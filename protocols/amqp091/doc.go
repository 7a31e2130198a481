// Package amqp091 is the AMQP 0-9-1 front-end: it speaks the protocol, with
// RabbitMQ's extensions and RabbitMQ's words, and turns what clients say into
// calls of a core.Session.
//
// # What it guarantees
//
//   - Every …-ok is sent after the engine has kept its promise; every confirm
//     after the record of its message has passed, and after the basic.return of
//     a message that was returned. Confirms of one channel are sent in order.
//   - Deliveries of one channel carry growing tags in the order in which they
//     are sent. What is outstanding when its channel or connection ends goes
//     back to its place in its queue.
//   - A message is not delivered once its expiration is over, and a delivery
//     carries the property as it was published. 0 is: now or never.
//   - A channel error closes the channel and nothing else; a connection error
//     closes the connection with the protocol's own reply code. A client that
//     does not speak the protocol is cut, with one line in the log.
//   - A client is let in by the authenticators alone, by one of the mechanisms
//     that they offer it, and does what their authorizer allows. A refusal is
//     403 and closes the channel; where there is none, 530 and the connection.
//     Its text names the object and the user, never the cause, which is in the
//     log. Secrets are in neither.
//   - When its credentials expire, its user or its vhost is deleted, or somebody
//     ends it, a connection is closed with 320 and the reason, whatever it waits
//     for. New credentials (connection.update-secret) count at once, for what is
//     asked from then on.
//   - A client that waits because of an alarm, and understands
//     connection.blocked, is told so and when it goes on. Heartbeats are sent
//     meanwhile, and none are missed.
//   - A delivery that is outstanding for longer than its consumer, its queue or
//     Options allow closes its channel, half a minute late at most, and goes back.
//   - A transaction, with the messages and the acknowledgements of one channel, is
//     one unit over any number of queues: commit-ok is sent when all of it has
//     passed, behind the basic.return of what was returned, and after a crash all of
//     it has happened or nothing. Until then nobody sees any of it.
//   - Replies to a channel that consumes core.ReplyQueue (direct reply-to) go past
//     all queues to that channel alone, at an address that nobody can guess. A
//     mandatory one comes back that was not handed over.
//   - Every connection leaves one line in the log at its end, with the reason; one
//     whose login failed with who it claimed to be. Of its channel errors it leaves
//     a few.
//   - A connection uses no more memory than its limits say: frame_max for the
//     read buffer, the outbox's high mark and one delivery for the write side
//     (four times the mark and one message for answers that the client asks for
//     and does not read), and for messages under way what has arrived of them and
//     as much again, or all once a quarter has come, never what their headers
//     announce. What may have arrived of a connection's incomplete messages, where
//     half of the room for the rest counts as arrived, is bounded, on all its
//     channels together, by four times the sum of MaxMessageSize and FrameMax; a
//     connection that goes further is closed with 506. What its transactions have
//     published is bounded by four times MaxMessageSize: a channel that goes further
//     is closed with 406. Of a complete message there is one copy, whatever its size:
//     its body is written from there.
//   - An idle connection costs one parked goroutine, and a timer if heartbeats
//     were agreed on. It holds no buffers.
//
// # What it does not guarantee
//
//   - A transaction of which a full queue refuses a message is committed without it,
//     and its channel closed with 406, as in RabbitMQ.
//   - Of a transaction, what is put back and what is retained for subscribers is
//     not part of the unit, but comes behind it. Messages are routed when they are
//     committed, not when they are sent.
//   - A reply is kept nowhere: it is lost with either connection. One that comes
//     while a client has not read about what AwaitRoom of package outbox lets wait
//     reaches nobody.
//   - A consumer goes on when the right to read its queue is taken away: consuming
//     is asked for once. Tags count as they were at the login, but for
//     impersonator, which new credentials give and take.
//   - Mechanisms of several steps (connection.secure) are not offered.
//   - The headers CC and BCC are not acted on yet: a message goes where its
//     routing key leads it and nowhere else, and consumers see both headers.
//   - A message whose expiration is over may wait behind one whose expiration is
//     not, as in RabbitMQ, and counts as ready as long as it does.
//   - Messages under way are not part of the engine's memory budget: with many
//     connections their sum is bounded by the number of connections alone.
//   - A connection that is cut (the store failed, the peer is gone) hears no
//     goodbye.
//
// # Vocabulary
//
// Soft and hard errors are those that close the channel and the connection
// (AMQP 0-9-1 section 2.2.7 and 1.2 of the class reference). An outstanding
// delivery is one that was sent, with a tag, and not yet settled. A publication
// is a message of which not everything has arrived. Replies are what comes to a
// consumer of core.ReplyQueue. A connection is blocking while
// an alarm is set, and blocked once it has published meanwhile and waits.
//
// # Who owns what
//
// A connection's reader goroutine, which is the one that called Serve, owns all
// protocol state: channels, publications, what was negotiated. The latter does not
// change once the handshake is over, so that lists of connections may read it,
// beside counters, from any goroutine. Three things are shared, each behind its own mutex: a channel's outstanding deliveries and
// consumers (channel.mu), because queues deliver from any goroutine; the confirms
// that wait to be sent (conn.confirmMu), because the store's committer completes
// them; and which channels there are (conn.channelsMu), because the server's timer
// looks for what is overdue in them. Lock order: conn.channelsMu, queue →
// channel.mu → outbox → conn.confirmMu. None is held while the engine is called.
// The timer closes nothing: it wakes the reader.
//
// Whoever else wants the connection to end interrupts it: the context that the
// reader runs under is cancelled with the reason, and the reader says goodbye
// as that reason demands.
package amqp091
