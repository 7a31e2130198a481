// Package remote is a bridge to another MQTT broker: it carries the messages of
// chosen topics there, or here, or both, over a connection that it opens itself,
// as a client of the other broker. It speaks MQTT 5.0 and 3.1.1. (Package bridge
// is another one: it translates between topics and routing keys.)
//
// # Vocabulary
//
// Far is the other broker, local this one. What goes out is published here and
// carried there, what comes in the other way. A rule ([Topic]) is a filter with a
// direction, a QoS, and a prefix on either side.
//
// # What it guarantees
//
//   - A message of QoS 1 or 2 that this broker has confirmed to its publisher and
//     that a rule carries out with QoS 1 or 2 is kept in a queue of the bridge's own,
//     which is durable: it waits there while the far broker is away, across restarts
//     and failovers, until that has answered for it. A rule begins to collect when the
//     bridge is first started with it, connected or not.
//   - A message of QoS 1 or 2 that comes in is answered (PUBACK, PUBREC) after it is on
//     record here with all that it causes. One that could not be is not answered, and
//     the far broker sends it again.
//   - With QoS 2 a message arrives exactly once, in both directions and across kill -9
//     and failover of either side, as long as the far broker keeps the bridge's session.
//     Its packet identifiers are on record.
//   - With QoS 1 a message may arrive more than once, and only then: what was sent and
//     not answered for when the connection ended is sent again, in either direction, with
//     DUP and, on its way out after a crash, under another identifier.
//   - Messages of a topic arrive in the order in which one publisher sent them; those
//     that come again may come after later ones.
//   - Properties and RETAIN pass unaltered, the expiry interval with what is left of it.
//   - What the bridge brings in it does not carry out again. With MQTT 5 the far broker
//     does not send back what the bridge carried there (No Local), with 3.1.1 neither if
//     it knows bridges (see below).
//   - Bridges run where the broker is the primary: they start when it becomes that,
//     and end with it. A standby opens no connection. Every node must call itself the
//     same: the client identifier is the configuration's, or made of the store's.
//   - A far broker that is gone is tried again and again, each address in turn, after
//     waits that double up to a limit and are spread, until a connection has lasted. One
//     that is silent for one and a
//     half keep alives is gone.
//   - No password is in a log line, nor in an error.
//
// # What it does not guarantee
//
//   - Messages of QoS 0, and those of rules with QoS 0, are dropped while there is no
//     connection or it does not keep up.
//   - What the far broker refuses for good (a topic that the bridge may not use, a packet
//     larger than it accepts) is dropped, counted and logged; a refusal for want of room
//     (0x97) ends the connection, and the message is sent again. Likewise what comes in and
//     can never be published here, and what no rule has a place for, is answered and
//     dropped.
//   - If the far broker has lost the session (or with CleanStart) it may get again, as
//     new messages, what it did not answer for, and what it had for the bridge is lost.
//     Then, and for a rule that is new, what is retained is sent anew.
//   - A broker before MQTT 5 that does not know bridges sends back what a rule of both
//     directions carried there: each such message is seen twice here. It ends with that.
//   - Bridges that form a ring, over other brokers or beside each other, carry messages
//     round and round where their prefixes let them: No Local sees one hop.
//   - Response topics are not mapped by prefixes. Topic aliases are not used.
//   - A message that more than one rule matches is carried once, by the first one, with the
//     highest QoS of them. If its rule goes while it waits, it goes by another that matches,
//     or it is dropped, and counted.
//   - A bridge that is taken out of the configuration leaves nothing behind: what waited
//     for it is dropped, which is logged.
//
// # Who knows that it is a bridge
//
// A client of version 3.1.1 says that it is a bridge by the highest bit of the
// protocol version, which is Mosquitto's invention: such a client gets RETAIN as it
// was published, and not what it has published itself. A broker that does not know
// this refuses the connection, and the bridge comes again without it.
//
// # The queue
//
// It is called mqtt-bridge- and the bridge's name, is shown among the queues, and is
// nobody else's to consume, bind or delete. Policies apply to it, those on its length too:
// what they drop was confirmed to its publisher and does not arrive. How many messages are
// on their way is limited by Window and by what the far broker accepts.
//
// # Why a codec and not a client library
//
// The packet identifiers of QoS 2 have to be on record in the same unit as what they are
// about, and an answer has to wait for that: the engine's Link does both, for
// whichever side of a connection asks. Libraries keep them in stores of their own. So the
// bridge is the mirror of package mqtt's connection, on the same codec, for both
// versions.
//
// # Who owns what
//
// [Start] starts one goroutine, which connects, reads, and waits, one connection after
// another; [Bridge.Stop] waits for it. It owns all protocol state. The engine appends to the
// outbox and changes atomic counters. A timer sends PINGREQ.
package remote
