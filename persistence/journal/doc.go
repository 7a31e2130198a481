// Package journal is the truth about what the broker has promised: append-only segment files of groups of records, and the reading of
// them. FORMAT.md in the parent folder draws every byte.
//
// # What it guarantees
//
//   - A group is on stable storage, whole, when Append has returned; a crash before that leaves all of it or none of it readable.
//   - A group cannot be taken for another: its checksum is seeded with the store, the epoch and the position it was written for.
//   - What is read is either what was written, or damage that is named with file, offset and what was there. A torn tail (an
//     invalid frame with nothing valid behind it, at the end of the last segment of an epoch, beyond what is known to be promised) is
//     the one thing that is cut, and Tail.Torn says where. On a disk that keeps what it has synced nobody was told anything about it.
//     The lease may know of less than was promised in the end, so that a promise can be in what is cut if, and only if, the disk lost
//     or damaged bytes that it had synced, in the newest groups: there they look like a write that was under way.
//   - Every record carries a checksum of its own, and a message's record two, so that one message can be read back alone and verified, and
//     so that damage is known by record. See sum.go for what covers what.
//   - A damaged group that the journal is known to go on behind (a valid group follows, or the segment is known to end there) is read
//     record by record: Group.Lost says what could not be read, and is all that is missing. While the group's own checksum holds, the kind
//     of each lost record is known, and the places of a message whose body is damaged. Where it does not, lengths cannot be relied
//     on either: a record is what the checksum at its beginning says, the next one is looked for where none is, and a stretch between
//     two is what remains to be anything; unless with the right length it is a whole record, or the message's own checksum tells that it
//     is a message. What it means that something is lost is not decided here.
//   - Any other damage ends the reading with a *DamageError: the tail, a missing segment, a segment's header. With History.Salvage the reading
//     goes on, and it is told of each.
//   - On a network file system what another host has made may appear late. What the lease names, a segment or an offset, is waited for before
//     it is called damage (see Lateness); what it does not name is seen because opening, reading and asking for the size pass every cache.
//
// # What it does not guarantee
//
//   - That a group has passed. Who may promise is decided elsewhere; Append only makes bytes durable.
//   - That a zombie stops writing. Its bytes lie beyond its epoch's seal and are not read.
//   - What records mean. The package encodes and decodes them; persistence gives them effect.
//
// # Zeros ahead
//
// A group costs one write and one fdatasync. If the file grows with it, the file system writes its own journal too: size, extents, bitmaps.
// If it overwrites zeros that are durable, nothing but the group is written. Zeros however are bytes that the disk writes beside the
// groups. Measured with one file on ext4 (Linux 6.18, network disk; microseconds per group, and bytes that the device wrote per byte
// of a group):
//
//	group     grow          fallocate    zeros made before   zeros made meanwhile
//	 1 KiB    341 µs  8.7                210 µs  4.8         245 µs  8.2
//	 4 KiB    409 µs  3.4                211 µs  1.8         191 µs  3.3
//	16 KiB    399 µs  1.5    412 µs 1.7  213 µs  1.2         203 µs  2.4
//	32 KiB    394 µs  1.2                225 µs  1.1         212 µs  2.2
//	64 KiB    432 µs  1.12   558 µs 1.2  248 µs  1.06        242 µs  2.1
//	128 KiB   508 µs  1.06   591 µs 1.1  280 µs  1.03        325 to 511 µs  2.1
//
// The last column is what there is: somebody has to write the zeros. Where groups are short the wait is what publishers feel, as
// they send no more before their confirm, and metadata is as long as a group: zeros halve the wait, and also the CPU time, at up to one
// and a half times the bytes, at about as many below 4 KiB. Where groups are long the disk's rate is what counts, and metadata is little beside
// a group. So zeros are written ahead while groups are shorter than 24 KiB on average, and a segment grows otherwise. fallocate gains
// nothing: the blocks it gives are marked as unwritten, and writing to them changes metadata.
//
//   - They are written in the segment that is being written, behind its groups, by a goroutine of the Writer's that has a file handle of its
//     own: as much at a time as the segment holds already, at least a 256th of a full one and at most a 16th (256 KiB and 4 MiB of 64 MiB).
//     So a small store stays small, no file exists that no header speaks of, and there is nothing to take over, to rename or to
//     reclaim. Between two syncs are 512 KiB, so that a group waits for no more of them. A group never waits for zeros: where there are none
//     yet, it makes the file longer.
//   - Nothing depends on them. They end as a group would be expected, where its length is 0, which is none; the reader takes zeros up to the
//     end of the file for the end of the journal, whether it was synced, cut by a crash, or given back. A zombie fills its own file beyond
//     its own groups, which is beyond its seal. What is left of them is cut off when a segment ends or is closed, never below what
//     Append has returned for; after an error it is left.
//   - They count as used space, and none are written when space is short. A full disk or quota ends them for the segment; any other error is
//     final.
//   - They are written on ext2 to 4 and XFS. A file system that copies on write takes new blocks for what is overwritten, and what one on
//     a network does is not known: segments grow there.
//   - Segments are not recycled, which would spare the zeros: another process may be reading the file, and a file that was removed stays
//     whole for it.
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
// A Writer belongs to one goroutine, but for Ahead; the goroutine that writes zeros ahead is the Writer's, and ends before its Close
// returns. A Reader belongs to one goroutine. Segment files that are open for reading may be read by many.
// No mmap anywhere: an I/O error is an error value, never a signal.
package journal
