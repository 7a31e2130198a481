// Package core is the broker's engine: virtual hosts, exchanges, queues, bindings, consumers, and the sessions through which
// front-ends use them. It speaks no protocol, opens no file and knows no clock but the one it is given.
//
// # What it guarantees
//
//   - A queue hands out its messages in the order of their places (Seq). A message that is put back returns to its place.
//   - A durable message's record is with the store before anyone can see the message, so whatever a client does about it is recorded
//     after it.
//   - A Completion runs once for every publish or definition it was given with, in the order of the calls, when the record has
//     passed (see Store). Nothing else is a promise.
//   - What is handed to a consumer is within its windows. A slow consumer stops its own queue and nothing else.
//   - What waits in memory is bounded: messages that the store can read back leave memory when the budget is half used; when the
//     rest reaches the budget, publishers wait.
//
// # What it does not guarantee
//
//   - A message may be delivered before its record has passed: a consumer sees it at memory speed, and after a crash it may come
//     again, marked redelivered, or, if nobody was promised anything about it, not at all.
//   - Order is per queue. Two queues bound to the same exchange may show two publishers' messages in different order.
//   - A transient message, or a persistent one in a transient queue, ends with the process.
//
// # Vocabulary
//
// A Broker has VHosts; a VHost has Exchanges, Queues and Bindings between them. A Session is one connection's view of a VHost: every
// verb a client has is one of its methods. A Consumer is a Session's subscription to one Queue; what it is given are Deliveries, and
// what it does about them is to Settle. A Window is credit: how many deliveries may be outstanding. An entry is a message's place in
// a queue. Exchange, routing key, binding, prefetch have the meaning of AMQP 0-9-1, the larger of the models spoken here.
//
// # Who owns what
//
// No object here has a goroutine of its own. Callers bring theirs: connection readers call Session methods; the store's committer
// calls Completions. The Broker has two goroutines: one that loads messages back from the store ahead of consumers, and one that
// looks after time and space.
//
// Lock order: VHost.mu → Queue.mu → Window.mu → the front-end's outbox. Publishing takes no vhost lock: routing reads immutable
// snapshots. The store's own lock is a leaf, and nothing is called back under it.
package core
