// Package ha decides which broker on a shared directory is the primary, and
// takes the right to make promises away from every other one. It knows no
// protocol, no queue and no journal record: only numbered epochs and the small
// files that tell who held which.
//
// # What it guarantees
//
//   - One history. A promise (a confirm, a PUBACK, a declare-ok) given in any
//     epoch that was active is part of the source that a later epoch is told to
//     continue, provided the promise was given the way [Tenure.Guard] asks:
//     records written, synced, guarded, then promised.
//   - A zombie is silent. Once a successor has marked the fence of an epoch,
//     every Guard of that epoch that begins afterwards fails, however long its
//     process was stopped and whatever it believed about locks and clocks.
//   - No clock, timer or operating system lock carries any of this. They only
//     decide how soon a standby moves and how early a second broker is refused.
//   - Damage is named, not guessed around: a file that should be there and is
//     not, an active file whose two copies are both bad, a file of another
//     store or of a newer format ends the start with one sentence.
//
// # What it assumes
//
//   - A synced write is seen by a later fresh read (below), on every host.
//   - Renaming a directory and linking a file are atomic, and never replace
//     what is already there (a directory that is not empty, any file).
//   - What was synced is still there after a power cut.
//   - Nobody removes claim directories. Their numbers are the order of history.
//
// # What it does not do
//
//   - It does not stop a process. A tenure that is lost closes [Tenure.Lost] and
//     fails every Guard; the caller must stop promising, cut its sockets without
//     goodbyes and exit.
//   - A standby takes its turn when the holder's process is gone or has released
//     the epoch. It does not yet act on a process that is frozen, nor on a host
//     that vanished while its lock lingers on a file server.
//   - It does not protect the bytes of the journal. A zombie may go on writing
//     its own files; nobody reads them beyond the seal.
//   - Without Options.Standby a late renewal is only a warning: a laptop that
//     slept goes on serving, and is still held off by its fence if another took
//     over meanwhile.
//
// # Vocabulary
//
//	epoch    a number, from 1 and without gaps, that one broker claims once
//	claim    the directory ha/eNNNNNNNNNN, put in place filled, by one rename
//	lease    the holder's sign of life and progress; liveness, never history
//	fence    a page of zeros; a successor that writes to it ends the epoch
//	active   the proof that an epoch became primary, and the lineage it continues
//	seal     (epoch, offset): that epoch's journal is history up to the offset
//	lineage  the seals that together are the history before an epoch
//	source   the highest epoch that was active: what a new epoch continues
//	tenure   one epoch's life in the process that holds it
//	floor    below this epoch nothing need be read or marked
//
// # Files
//
//	store.id               made once, by linking a filled file; every file names it
//	ha/floor               the floor, written by an epoch after it became active
//	ha/eNNNNNNNNNN/lease   written only by the holder
//	ha/eNNNNNNNNNN/fence   zeros at birth, written only by successors
//	ha/eNNNNNNNNNN/active  zeros at birth, written once by the holder
//	ha/eNNNNNNNNNN/lock    locked while the holder's process lives: a hint
//	ha/claim-NONCE-N       a claim being filled; one that a crash or a lost race
//	                       left behind is harmless, and stays: what a cached name
//	                       leads to may have become a claim
//	journal/eNNNNNNNNNN-*  only their names are read, for the numbers in them
//
// A journal segment of an epoch that ha/ does not know is damage: the claim is
// gone, and with it a lineage. Segments of epochs that were claimed and never
// active are not: their writers died before they could promise.
//
// The layouts are drawn in format.go. Claim directories are never removed and
// never reused: a number that could come back would let a zombie pass for its
// own successor.
//
// # Fresh reads
//
// Network file systems promise nothing about a cached read, an attribute or a
// directory listing. So what another may write exists, in its final size, from
// the moment its claim appears, and is read as whole pages past the cache
// (O_DIRECT). On a file system private to one kernel the page cache is fresh and
// is used. Where neither is known to hold, standing by is refused.
package ha
