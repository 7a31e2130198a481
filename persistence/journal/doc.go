// Package journal is the truth about what the broker has promised: append-only segment files of groups of records, and the reading of
// them. FORMAT.md in the parent folder draws every byte.
//
// # What it guarantees
//
//   - A group is on stable storage, whole, when Append has returned; a crash before that leaves all of it or none of it readable.
//   - A group cannot be taken for another: its checksum is seeded with the store, the epoch and the position it was written for.
//   - What is read is either what was written, or a *DamageError that names file, offset and what was expected there. A torn tail (an
//     invalid frame with nothing valid behind it, at the end of the last segment of an epoch, beyond what is known to be promised) is
//     the one thing that is cut, and Tail.Torn says where. On a disk that keeps what it has synced nobody was told anything about it.
//     The lease may know of less than was promised in the end, so that a promise can be in what is cut if, and only if, the disk lost
//     or damaged bytes that it had synced, in the newest groups: there they look like a write that was under way.
//   - A message's record carries a checksum of its own, so that one message can be read back alone and verified.
//
// # What it does not guarantee
//
//   - That a group has passed. Who may promise is decided elsewhere; Append only makes bytes durable.
//   - That a zombie stops writing. Its bytes lie beyond its epoch's seal and are not read.
//   - What records mean. The package encodes and decodes them; persistence gives them effect.
//
// # Vocabulary
//
//	segment   a file, written by one epoch, numbered from 1 without gaps
//	group     one frame: what one write and one sync made durable together
//	record    one fact in a group
//	position  (epoch, offset): a place in the stream of an epoch's groups, not counting segment headers
//	seal      the position at which an epoch's journal ends to be history
//	lineage   the seals of all earlier epochs, oldest first
//	kept      the segments that existed when a segment was begun; a segment that is missing must be absent there or listed as
//	          reclaimed after it
//	suspect   the position below which every entry may have been delivered although no record says so: the start of the last life that
//	          followed an unclean end
//
// # Who owns what
//
// A Writer belongs to one goroutine. A Reader belongs to one goroutine. Segment files that are open for reading may be read by many.
// No mmap anywhere: an I/O error is an error value, never a signal.
package journal
