// Package outbox is a connection's ordered write queue: everything that leaves
// on a socket is appended here, by any goroutine, and written in that order.
//
// # What it guarantees
//
//   - Bytes are written in the order of the appends, each append in one piece.
//   - Append never blocks on the socket. It takes one lock and copies; the
//     caller may hold locks of its own.
//   - What waits is written with as few system calls as the socket's speed
//     allows: a write takes everything that was appended during the one before.
//   - An outbox with nothing to write holds no buffer and no goroutine.
//   - [Outbox.Ready] turns false at the high mark. Once it has, [Owner.Room] is
//     called when what waits has fallen to the low mark, with no lock held.
//   - [Outbox.AwaitRoom] lets an owner stop listening to a peer that asks and does
//     not read the answers, until it has read what waits for it or is lost.
//   - A peer that takes nothing for the stall timeout is given up:
//     [Owner.WriteFailed] is called once, and nothing is kept for it any more.
//   - [Outbox.Close] writes what was appended before it, within its deadline.
//
// # What it does not guarantee
//
//   - The marks bound producers that ask Ready first. Append itself refuses
//     nothing: an answer must fit whatever its size. What bounds answers is
//     AwaitRoom, between one request and the next; what can be dropped asks
//     Overfull.
//   - That a write succeeded says nothing about the peer having read it.
//   - The write deadline stays behind when there is nothing more to write, as
//     moving it costs a tenth of a small write. A connection on which somebody
//     else writes, too, must see to that itself.
//
// # Vocabulary
//
// To append is to encode a frame at the end of the [Buffer] that is next to be
// written. A large payload may be referenced instead of copied; the write then
// is a vectored one. The preflush hook is the owner's last word before a buffer
// is written, where many small facts (confirms) become one frame.
//
// # Who owns what
//
// The Outbox owns the write side of the connection and its write deadline; the
// owner closes the connection. The writer is a goroutine that exists only while
// there is something to write. It swaps the buffer out under the lock, writes
// it without the lock, and ends when it finds nothing new; Close waits for it.
package outbox
