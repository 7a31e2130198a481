// Package mqtt is the MQTT front-end: it speaks versions 3.1, 3.1.1 and 5.0,
// over TCP and over WebSocket, and turns what clients say into calls of a
// core.Session and its subscriber.
//
// # What it guarantees
//
//   - CONNACK, SUBACK and UNSUBACK are sent after what they say is on record;
//     PUBACK and PUBREC after the message is, PUBCOMP after the release. Each
//     kind is sent in the order of what it answers [MQTT-4.6.0-2]
//     [MQTT-4.6.0-3] [MQTT-4.6.0-4].
//   - A message of QoS 1 is delivered until the client answers for it, one of
//     QoS 2 exactly once, across connections and restarts of the broker, as long
//     as the session lives. What comes again comes in order, within the receive
//     maximum of the connection there is, and with DUP. Messages of one topic arrive in the order in which
//     one publisher sent them.
//   - A message that matches a shared subscription, $share/name/filter, is sent to
//     one of the sessions that have it: in turn, to those within their receive
//     maximum. It waits while all are away. One of QoS 1 that is not answered when
//     the connection ends is sent to another, with DUP; one of QoS 2 stays with the
//     session it was sent to, and ends with it [MQTT-4.8.2-3] [MQTT-4.8.2-4]
//     [MQTT-4.8.2-5] [MQTT-4.8.2-6]. Clients of every version may share.
//   - A message that has waited longer than its expiry interval is not sent; what
//     is sent carries what is left of it [MQTT-3.3.2-5] [MQTT-3.3.2-6], across
//     connections and restarts. A message of QoS 2 that was sent before goes on,
//     with 0 left, until the client has answered [MQTT-4.3.3-7].
//   - What is published to $delayed/SECONDS/TOPIC is answered for when it is on
//     record, and published to TOPIC when it is due: not before, in the order in
//     which it is due, and once whatever befalls the broker, if it is QoS 1 or 2.
//     To all that asks about topics, rights included, its topic is TOPIC. Its
//     expiry interval begins then, and it is retained then; a will's delay begins
//     when the will is published.
//   - A client with a mount point (Options.MountPoint) has all of its topics below
//     that, wills, delayed and retained messages, response topics and shared filters included, does
//     not see it, and reaches nothing else: what is published elsewhere is never sent
//     to it, whatever its session has subscribed to before. It has no topics that
//     begin with $ but $SYS, which is that of all.
//   - Clients that take each other over, having one client identifier, are slowed
//     after five turns in a row, progressively, and logged once. It costs those that wait
//     a timer each, which are few, and nobody else anything.
//   - The $SYS tree is told to those who subscribe to it and to nobody else: no
//     wildcard in its place [MQTT-4.7.2-1], no queue, no disk, and nothing is counted while nobody
//     has. What clients publish there is dropped.
//   - Topics and properties cross over to AMQP and back as package bridge says.
//   - A client that breaks the protocol is disconnected with the reason code
//     that the specification asks for, where its version has one, and with one
//     line in the log.
//   - Nobody gets in whom Options.Auth or, without a name, Options.Anonymous has
//     not let in, and nothing is done that the user may not do: not the session,
//     the will, a publication, a subscription, nor a retained message for one
//     that was refused. The table below has the answers. What the engine could not
//     find out is refused.
//   - A connection ends when its login expires, its user or its vhost is deleted,
//     or an administrator wants it to, with the reason and, if user and vhost are
//     still there, with its will. It is
//     never ended for a silence that the broker has caused: by an alarm, by a
//     limit of its rate, or by a slow disk.
//   - The log has one line for each connection that opens and one why it ends, and
//     no password in either. What a client says of itself is cut to 512 bytes there.
//   - A connection uses no more memory than its limits say: for a packet under
//     way about twice what has arrived of it, never what its header announces;
//     the outbox's high mark, 256 KiB of QoS 2 whose identifiers pass, and one
//     message for the write side, and four times
//     the mark and one message for answers that the client does not read.
//     Before it is let in it may send 64 KiB at a time, of that 1 KiB of user name
//     and 32 KiB of password.
//   - An idle connection costs one parked goroutine, with the smallest stack there
//     is. It holds no buffers on TCP, two small ones on WebSocket.
//   - A client before MQTT 5 that says it is another broker, as Mosquitto's bridges do
//     (wire.BridgeBit), gets RETAIN as it was published, and not what it has published
//     itself.
//
// # What it does not guarantee
//
//   - A message of QoS 0 is dropped, and counted, for a client that does not
//     read fast enough, and for one that is away.
//   - A session that is away has no part of a shared subscription's messages set
//     aside for it, nor does one that comes back have those of QoS 1 again that it
//     had not answered, unless it is its turn. What it has not answered when the
//     shared subscription ends, as the last session gives it up, is not sent again
//     after a connection that breaks.
//   - The packet identifier of a QoS 1 message is not recorded: after a crash of
//     the broker the message comes again under another one ![MQTT-4.4.0-1].
//   - A will that comes due while publishers must wait, because memory or the
//     disk is full, is published later: when they go on, or when its client
//     connects again.
//   - A refusal has a reason string in CONNACK, DISCONNECT, SUBACK, PUBACK and
//     PUBREC, where the broker knows more than the reason code says: in the latter
//     three unless the client does not want any, in all where the packet does not
//     become larger than the client accepts. There are no user properties.
//   - A response topic that begins with $ or is not below a client's mount point is not
//     told to it, as it could not answer there.
//   - A mount point does not keep client identifiers apart, as a vhost does, and its
//     messages that cannot be shown to a member of a shared subscription (below $, or
//     of a/b and a/b/ for a/b/#) go to no other.
//   - Topic aliases are sent to clients that take some, up to 128, for topics of 4
//     to 256 bytes, in the order in which these come first. A topic that comes
//     after all are given away has none: aliases do not change hands.
//   - Options may take from clients what the protocol leaves to servers. MQTT 5
//     clients are told in CONNACK, and disconnected if they do it all the same;
//     others are not told, and disconnected, or refused the filter.
//   - A delayed message of QoS 0 is in memory alone. Who publishes one is not told
//     whether it will reach anybody.
//   - A topic or a filter of more than 256 levels is not accepted.
//   - Enhanced authentication has SCRAM-SHA-256 alone, without channel binding, for
//     users that have a verifier.
//   - The limit that MaxSessionExpiry sets, and the one on keep alive, reach
//     clients before MQTT 5 unannounced: their CONNACK has no room for it.
//   - A connection that is cut (the store failed, the peer is gone) hears no
//     goodbye.
//   - Rights are asked for when a client wants something. Who loses them keeps its
//     subscriptions, which it may always end, and what they bring. Tags, and who
//     somebody is, are those of the login.
//   - To the broker, a client behind a proxy on this machine comes from this machine.
//
// # Who may do what
//
// A client works in the vhost that its user name begins with ("vhost:user", at
// the last colon), if there is such a vhost, else in Options.VHost. One that
// sends neither user name nor password is who its certificate says, where
// Options.Auth takes that for a login, else Options.Anonymous. What needs which
// right is core's to say; the answers are these:
//
//	                                     MQTT 5            3.x
//	login refused                        CONNACK 0x86      CONNACK 4
//	login or rights cannot be checked    CONNACK 0x88      CONNACK 3
//	no such vhost, no right to it, to    CONNACK 0x87      CONNACK 5
//	the session or the will, or the
//	session is another user's
//	too many connections or queues       CONNACK 0x97      CONNACK 3
//	client identifier too long           CONNACK 0x85      CONNACK 2
//	will of more QoS, or retained, than  CONNACK 0x9B,     CONNACK 3
//	there is                             0x9A
//	sent to another server, see          CONNACK 0x9C,     CONNACK 3
//	Options.Redirect                     0x9D
//	publication, QoS 1 and 2             PUBACK, PUBREC    the connection ends (*)
//	                                     0x87
//	publication, QoS 0                   DISCONNECT        the connection ends (*)
//	                                     0x87 (*)
//	subscription                         SUBACK 0x87       SUBACK 0x80
//	login expired                        DISCONNECT 0xA0   the connection ends
//	user deleted                         DISCONNECT 0x87   the connection ends
//	ended by an administrator, or the    DISCONNECT 0x98   the connection ends
//	vhost deleted
//
// (*) or, with Options.KeepUnauthorized, the message is dropped and answered as if
// it had not been [MQTT-3.1.1 3.3.5-2].
//
// A client of MQTT 5 may name SCRAM-SHA-256 as its authentication method in place
// of a password: it is then asked by AUTH, and may authenticate again, as the
// same user, as long as the connection is open. Its vhost is the one that
// CONNECT's user name begins with, if it has one. Another method is answered with
// 0x8C in CONNACK, or 0x82 in DISCONNECT when it has come again; a login that is
// refused with 0x87 in either.
//
// # Shutdown and wills
//
// A client has a will once its CONNECT is on record. One that is given up or
// overtaken before that was not accepted, and its will is forgotten
// [MQTT-3.1.2-7] [MQTT-3.1.1 3.1.2-8].
//
// A broker that stops publishes no wills. Section 3.1.2.5 lets a server defer
// them until its restart, and that is what happens: the connections were never
// detached, so the broker that comes next finds them broken off, and gives each
// client time to return before its will is published. A planned restart is no
// reason to report every device as lost.
//
// # Silence
//
// Most clients are silent nearly always, and there may be a hundred thousand of
// them: a connection that has said nothing for a few seconds dozes. Its reader ends
// and leaves a new goroutine that waits for the socket in its place, because
// a stack that has grown with a packet stays as large: 4 to 8 KiB in place of 2.
// A client that pings has nothing else to say: its connection dozes at once.
// Buffers, the reader's context and its timer go with it. On systems other than unix
// nothing dozes.
//
// There is no heap of timers for the keep alive: what dozes has it as its read
// deadline, for which the runtime's poller has room in any case, in heaps that are
// one for each processor. Those who talk have a timer; it takes 150 bytes, and
// nothing is done for a packet but to note when it came.
//
// # Vocabulary
//
// Session is used as the engine does: one connection's view of a vhost. What
// the MQTT specifications call session is the engine's subscriber, and this
// connection's hold on it is the link. A publication is a PUBLISH that comes
// in, a delivery one that goes out. Answers are PUBACK, PUBREC, PUBREL and
// PUBCOMP, in both directions. 3.x stands for versions 3.1 and 3.1.1.
//
// Statements of the form [MQTT-x.y.z-n] refer to MQTT 5.0, those of the form
// [MQTT-3.1.1 x.y.z-n] to MQTT 3.1.1; docs/mqtt-conformance.md has them all.
//
// # Who owns what
//
// A connection's reader owns all protocol state: aliases, what was negotiated,
// which identifiers are in use. It is a goroutine: first the one that called Start,
// later the last that has waited for the socket. There is one at a time, and what
// one has written the next one sees.
// Everybody else appends to the outbox and changes nothing but atomic counters:
// publishers and queues that deliver, and the store's committer that completes
// answers. Whoever else wants the connection to end interrupts it: the reason is
// noted, the context that the reader runs under, if it does not doze, is cancelled
// with it, a read deadline in the past ends its wait, and the reader says
// goodbye as that reason demands.
package mqtt
