// Package api is the broker's management API: RabbitMQ's paths below /api, with
// its names, fields, status codes and error bodies, and /alarms, which is Baton's
// own. One handler serves the admin addresses and the admin socket.
//
// It guarantees:
//   - A 2xx of a change is a promise: what it says has passed, or was so before.
//     Changes are made one at a time, so none is lost between two administrators.
//   - Only the node that serves answers. Everywhere else a request gets 503 and
//     learns which node to ask: "primary" and "addresses" in the body, and the
//     header Baton-Primary with the addresses of the API there. Nothing is decided
//     from what a standby knows.
//   - What is about a node itself it answers in any role: its own part of the
//     overview, nodes, and health/checks. One that does not serve knows no users,
//     so it tells that to everybody, and nothing that /readyz and the metrics of
//     the same address do not tell. As a check it is well unless asked whether it
//     serves.
//   - Who may not do something learns that before anything about it: whether an
//     object exists is told to those only who may see it.
//   - A request costs a bounded amount: 1 MiB of body, 32 MiB of definitions, one password hash at a
//     time, patterns that match in linear time.
//   - Every change, made or refused, is one log line with who asked, from where,
//     for what, and how it ended. No line and no error has a password or a hash
//     in it; hashes are in the answers to administrators alone.
//
// It does not guarantee:
//   - one moment for a list: it is put together while the broker goes on.
//   - that a change which was answered with 503 was not made: it may be waiting
//     for the disk. Each of them can be asked for again.
//   - counters that outlive the process: they are totals since it started, and
//     rates are over the last [SampleEvery].
//   - a past of everything: package history says whose is kept, and for how long.
//
// # Who may do what
//
// A user needs one of RabbitMQ's tags to get in: administrator, monitoring,
// policymaker or management. An administrator may do everything. Monitoring sees
// what is not secret of all vhosts; it does not close other users' connections.
// The others see vhosts in which they have a permission, and their own connections.
// Credentials are those of HTTP basic authentication, or a token (Bearer); what a
// request says counts before what its connection proves, which is [WithPrincipal].
// A page of another site that a browser shows cannot change anything: there are no
// CORS headers, and requests that come across sites are refused.
//
// # Where it differs from RabbitMQ
//
//   - Wrong types are 400 with a reason where RabbitMQ has a 500. What it takes and
//     cannot use is refused: unknown hashing algorithms and queue types, damaged
//     hashes, and tracing, which there is none of here.
//   - What is put needs a name in UTF-8: any other could not be listed.
//   - Limits of users are seen by monitoring and the user. Operator policies and limits
//     of vhosts are changed by administrators alone, also as parameters.
//   - A negative limit is no limit, and is not listed.
//   - A health check node-is-quorum-critical, and mirror-sync-critical, fails on a
//     primary that is to have standbys while none would take over.
//   - aliveness-test sends a message as RabbitMQ 3.10 does, and is the one GET that
//     leaves something: its queue. It has no audit line.
//   - The cluster's name is the global parameter cluster_name, or what the
//     configuration says; clients of AMQP are told the latter. rebalance/queues has
//     nothing to do. Logins are counted by protocol, and not by address. There is
//     no /api/login: no cookie proves anything here.
//   - The nodes are the brokers of one directory. Of the others is told what they
//     say of themselves there: role, eligible, caught_up, behind_bytes, addresses.
//     proc_used counts goroutines, which have no limit; a write of the disk is one
//     of the journal, with its flush. What is not known here has no field:
//     recorded_test.go has the list, with reasons.
//   - Every list can be paginated, filtered, sorted and reduced to columns.
//   - An import of definitions is looked at as a whole before anything is changed, and
//     what keeps it from being made is told of with its object: package definitions
//     says more, also of what it passes over.
//   - Parameters of any component are kept, where RabbitMQ refuses those of which it
//     has no plugin; none of them has an effect here but operator policies and the
//     limits of vhosts. Their values are not logged: passwords may be in them.
//   - What passes through exchanges is not counted, but for what reaches nobody, nor by which channel messages
//     go to which queue: they have no message_stats, and incoming, outgoing,
//     publishes and deliveries are empty. A queue's counters begin with the queue,
//     or with the process, and count its own part of each message.
//   - Numbers of bytes are those of payloads. Bytes that are out with consumers are
//     not counted. consumer_utilisation and consumer_capacity are about the last
//     minute, in steps of five seconds.
//   - A consumer has messages_unacknowledged and, while it can be given no more,
//     waits_for and waits_since; a queue stalled_since, while no consumer takes what
//     is ready; an exchange unroutable, once something has reached nobody from there,
//     which names the last publisher to users with the monitoring tag.
//   - A queue of an MQTT session or shared subscription says so in mqtt, and has its
//     subscriptions as bindings of amq.topic. ?mqtt=false leaves those queues out of
//     a list, and mqtt=true all others. MQTT connections have no channels.
//   - bulk-delete deletes all or, if one of the users does not exist, none.
//   - What somebody may do with messages is what the same user may do over AMQP:
//     administrators too need permissions in the vhost for it. Beside RabbitMQ's
//     POST …/get, which takes messages out and puts them back, a queue has
//     GET …/messages, which takes none out, DELETE …/messages/{position}, and POST
//     …/move and …/redrive, of which each moves 1,000 messages at most and says
//     whether there may be more.
//   - GET /api/sessions, …/{vhost} and …/{vhost}/{client} show MQTT sessions: to
//     whom has the monitoring tag all, to others their own. GET /why tells what
//     keeps the messages of a queue, a session or a connection from going on, what
//     has reached nobody from an exchange, and where a message would go, for which an
//     administrator may ask for another user. To whom has the monitoring tag it tells,
//     asked about nothing, what is the matter anywhere.
//   - GET /api/exchanges/{vhost}/{exchange}/delayed shows what an exchange keeps
//     back, to whom may read from it; DELETE …/delayed/{id} cancels a message, for
//     whom may configure the exchange.
//   - POST …/get returns 10,000 messages or 64 MiB at most.
//   - hash_password answers with an argon2id hash, which describes itself. It takes
//     the password in the body of a POST only: paths are logged.
//   - The overview of a user without the monitoring tag has its own connections and
//     channels, and no numbers of queues and exchanges.
//
// # Vocabulary
//
// A route is a path with its verbs, which are HTTP's methods. A call is one request
// on its way through a verb. An actor is who calls. A problem is an answer with
// RabbitMQ's error body.
//
// # Who owns what
//
// The [API] owns no goroutine and keeps nothing between calls: the broker that it
// administrates is asked for with each call. What was a while ago is known to the
// [Sampler], whose goroutine belongs to whoever runs the broker. A call belongs to the goroutine of its
// request.
package api
