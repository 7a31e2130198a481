// Package core is the broker's engine: virtual hosts, exchanges, queues, bindings, consumers, and the sessions through which
// front-ends use them. It speaks no protocol, opens no file and knows no clock but the one it is given.
//
// # What it guarantees
//
//   - A queue hands out its messages in the order of their places (Seq). A message that is put back returns to its place. One with
//     priorities (x-max-priority) does so for each priority, and hands out the highest first.
//   - A durable message's record is with the store before anyone can see the message, so whatever a client does about it is recorded
//     after it.
//   - A message with several routing keys goes wherever any of them leads, once, and is recorded with all of them.
//   - A Completion runs once for every publish or definition it was given with, in the order of the calls, when the record has
//     passed (see Store). Nothing else is a promise.
//   - What one publish causes in several queues is one unit, which passes whole or not at all; nobody sees any of it before its records are
//     with the store.
//   - What is handed to a consumer is within its windows. A slow consumer stops its own queue and nothing else.
//   - Consumers of a higher priority are served first, equals in turn. Where one consumer is active at a time, the next one gets nothing
//     before what its predecessor held is back in the queue, if that ended with its channel: it sees all of that, in order. If it was
//     cancelled, what it has goes on being its own.
//   - A message is not handed out once its time is over (Message.Expires), by the broker's clock, which no restart and no other host sets
//     forward or back. Nobody need ask for it to go: it goes when it has become a queue's next message.
//   - A message that a queue drops because its time is over, because it was rejected or came back too often, or because the queue is too long, is published again
//     where the queue has a dead-letter exchange: at least once, in the order in which a queue's messages died, with RabbitMQ's x-death.
//     Its place ends in the same unit. One that has come round to where it died by itself ends.
//   - A queue is never longer than it may be by more than what is under way: dropping what is in the store alone takes a read.
//   - What is kept for a subscriber is handed to one link at a time. When that ends, all that its client has not answered for goes to the
//     next one under the same id, in order and within its window, marked as handed over before if it was; what is handed over exactly
//     once has the same id after a crash, too. Nothing that the old link still says is recorded once the new one is.
//   - A message that matches a shared subscription goes to one of those who have it: to the next in turn that has credit. What one had
//     and has not answered for when its link ends goes to the others, marked as handed over before, but for what is handed over exactly
//     once: that stays with the subscriber it went to, and ends with it. While all are away it waits, on record as in any queue if one of
//     them outlives its links. A shared subscription ends with the last subscriber that has it.
//   - Whose link or consumers ended with the broker has a minute to come back: until then no will is published because of it, and no
//     durable auto-delete queue goes. Exclusive queues end with their connection, and so with the broker.
//   - An exchange that delays routes a message when it is due by the broker's clock, not before, in the order in which messages come due, and
//     on one record with its leaving the exchange. The topic exchange does so with messages whose publishers want that (Message.Delay). A persistent one in a durable exchange is confirmed when its delay is on record.
//   - An exchange or a queue that de-duplicates takes one message of an id, however many come at once, for its window and up to its number of
//     ids. An owner whose policy goes forgets its ids. The id is on record with the first message, whatever befalls the broker; who publishes another is confirmed after that. Where the
//     id is to survive, nobody who is kept a message for sees that one before it does. Who was told that it has passed finds it in its queue.
//   - A subscriber, its messages and its will are its user's: a session of another user cannot have it, end it, or publish into it but
//     by what it has subscribed to.
//   - Who subscribes to retained messages is sent those that are kept, and what is published meanwhile, in one order: the last that is
//     seen of a key is what it holds, where all is sent at one level. No more of them is in memory than one batch.
//   - What waits in memory is bounded: messages that the store can read back leave memory when the budget is half used; when the
//     rest reaches the budget, publishers wait whose last message went to a queue that holds more than a sixteenth of what is left up to
//     a quarter more, and all of them at that. What is handed out counts elsewhere: for a link, and for a consumer without a prefetch
//     limit, in Options.OpenBytes. A front-end may let go of the message of what is out (Delivery.Unload): it is read back if it returns.
//   - What has arrived of messages that are not complete is bounded over all sessions, where front-ends say how much it is
//     (Session.Arriving): whose have been under way for longest is ended.
//   - With an Authorizer, a session's verb asks for its rights before anything else, in RabbitMQ's order: one that is refused has changed
//     nothing and does not tell whether what it named exists. No lock is held while the answer is awaited. What was allowed is remembered
//     for publishing and getting, as long as the Authorizer's generation is the same; what was refused is not.
//   - Who opens an address for replies gets what is published there at memory speed and once at most; a publisher is told if it was not taken.
//   - A change of Access is one unit: a user comes and goes with all its permissions. Its subscribers go before it does, in as many units
//     as they need: a broker that dies in between leaves the user, so that no other of that name has any of them. The deletion of a vhost is on record before anything
//     of it goes; it takes as many units as it needs, and a broker that finds one unfinished finishes it before anybody can see it.
//     Nothing that is left in use of a vhost afterwards is recorded, or seen by a vhost that is made under the same name.
//   - A policy is in force when the call that sets it returns, for what exists as for what is declared later, and after a restart. What
//     applies to a queue or an exchange is one policy and one operator policy, whatever else matches. A queue that is longer than a new
//     policy allows is cut at once; what is in the store alone is read back for that, and goes a moment later.
//   - A parameter is kept for whom it is meant as it was set; it means nothing here. It ends with its vhost.
//   - To browse a queue takes nothing out of it and reads the store without any lock; a page is bounded. A message that is moved or sent
//     back to where it died gets its new place and loses its old one in one unit.
//   - To look at queues, exchanges, bindings, consumers and channels costs who publishes and consumes nothing but the moment in which the
//     numbers of one of them are copied: however long a list is, no lock is held from one of its items to the next.
//   - Why a consumer can be given no more, and since when, is known while it is so. A queue of which no consumer has taken anything for half
//     a minute, though something is ready, is found without looking at any other. What the log is told of that, of messages that reach
//     nobody, and of subscribers that are too slow for what nobody keeps, are a few lines a minute at most, and of each fewer and fewer.
//   - Connections are counted for the limits of their user and their vhost, and channels for those of their user, whatever protocol they
//     speak. Who is connected when its user or its vhost is deleted is asked to end, and nobody gets in in between.
//   - Publishers wait while the memory or the disk alarm holds, or longer than their session's rates ask for; consumers go on. Who waits
//     longer than a moment is told why, and when it goes on.
//
// # What it does not guarantee
//
//   - A message may be delivered before its record has passed, but for one that is to arrive exactly once or has an id to be taken once: a
//     consumer sees it at memory speed, and after a crash it may come again, marked redelivered, or, if nobody was promised anything about it, not at all.
//   - A time to live that a policy brings does not concern what was in the queue before, unless that had one already: it did not note when
//     it arrived, as in RabbitMQ.
//   - What Move looks at and leaves is out of consumers' reach meanwhile, and then returns to its place: they may get others first.
//   - Which consumer was the active one is not on record: after a restart or a fail-over it is the first that comes.
//   - What is out of a shared subscription that ends meanwhile is not handed over again if the link breaks before the client has answered.
//     What waits in one that was not on record when it was published ends with the process, also if somebody has joined since that is.
//   - A message that is handed over exactly once out of a shared subscription is stored a second time, for the one it goes to.
//   - A list is not one moment: it is read while the broker goes on. What passes through exchanges is not counted, but for what reaches
//     nobody from there.
//   - Order is per queue. Two queues bound to the same exchange may show two publishers' messages in different order.
//   - A will is published by nobody who could be told to wait. One that comes due while publishers must is held back, with its record,
//     and looked at once a second; when its owner comes back first it is published at that moment. So wills are late rather than lost,
//     and very many at once take no more memory than they had.
//   - A delayed message that is due while publishers must wait is held back, but where they wait for memory alone and it takes none, and looked at once a second. So are all after a start, until those
//     on record have been read through. Who is to be told that a message reaches nobody is not told that of one that is delayed.
//   - An id under which a message goes out at least once is not on record: after a crash the message comes under another one, about half
//     the ring of ids away from those that its client may still answer for.
//   - Retained messages that are still to be sent for a subscription are not on record: the rest of them ends with the process.
//   - A message with an id to be taken once goes at once to those who get it at most once: they see it twice if the broker dies before the id
//     is on record and its publisher, who was not answered, sends it again.
//   - A transient message, or a persistent one in a transient queue, ends with the process.
//   - A message whose time is over may wait behind one of its priority whose time is not, and counts as ready. After a start the next message
//     of each queue is read in the background: what is over is there until that has come to its queue.
//   - A time to live that a queue is given later does not hold for what is in it already, if nobody needed to know when that arrived.
//   - Dead letters are published by nobody who could be told to wait, or told that a full queue refuses them: it does without. Of a queue's
//     messages that die of themselves no more than about a thousand are under way, and none while more waits to be written than
//     publishers may have; what is rejected is bounded by what its consumers may have.
//   - What a full queue refuses and is a dead letter (reject-publish-dlx) was never in a queue: until it has been published it ends with the
//     process. Its publisher was told that it was refused.
//   - Changes are no unit: a broker that dies while many are made has a first part of them.
//   - A change of Access can be read before its record has passed: if its caller was not answered it may be undone by a crash.
//   - Rights are asked for when a client asks for something. Who has lost them keeps its consumers and subscriptions, until it asks again.
//     To come back is to ask again for all subscriptions: those that are denied end, and what has waited for them alone is dropped, but
//     for what the client may have seen already. Of which it cannot be found out whether they are allowed stay. A lower limit ends nobody.
//   - Limits count what is connected to this broker: users of other backends have none of their own.
//   - What was handed to a consumer is its own: its time may be over before the consumer answers. When it comes back it goes.
//
// # Vocabulary
//
// A Broker has VHosts; a VHost has Exchanges, Queues and Bindings between them. A Session is one connection's view of a VHost: every verb
// a client has is one of its methods. A Consumer is a Session's subscription to one Queue; what it is given are Deliveries, and what it
// does about them is to Settle. A Window is credit: how many deliveries may be outstanding. An entry is a message's place in a queue, in
// its lane: an ordinary queue has one lane, one with priorities has one for each that was used. A Subscriber is what outlives the
// connection of a client that comes back, a Link one connection's hold on it; a share is a shared subscription, whose members are Subscribers. A message is out while the client has not answered for it,
// and carried when it waits for the next link. Exchange, routing key, binding, prefetch have the meaning of AMQP 0-9-1, the larger of the
// models spoken here.
//
// Access is who may use the broker: Users, Permissions, TopicPermissions, and what is known of VHosts. It keeps them; what a pattern or a
// hash means is for others to say (Options.CompilePattern, for those of policies), and so is what a user may do: an Authorizer answers Requests, each for a Right to an exchange, a queue
// or a topic. Alarms are why publishers wait.
//
// # Who owns what
//
// No object here has a goroutine of its own. Callers bring theirs: connection readers call Session methods; the store's committer
// calls Completions. The Broker has six goroutines: one that routes delayed messages, one that loads messages back from the store ahead of consumers, one that replays
// retained messages to who has subscribed, one that looks after space, the dead-letterer, and the expirer; and for a while after a start
// one that looks at what is next in the queues, and, where events are to be told, one that publishes them. That sleeps until the alarm that is due first:
// a queue sets one for its next message if that expires, and so does each retained message that does.
//
// Lock order: Access.mu → VHost.mu → Subscriber.gate → retained.mu → replays.mu → dedups.mu → delays.mu → Queue.mu of a share → Queue.mu of any other → Subscriber.mu,
// Window.mu → the front-end's outbox. Publishing takes no vhost lock: routing reads immutable snapshots. The store's own lock is a leaf, and nothing is called back
// under it; so is that of the list of sessions.
package core
