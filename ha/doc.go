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
//   - What was synced is still there after a power cut, and of the names given in
//     one directory and not synced it takes the last ones: file systems with a
//     journal keep their order. Claims that several brokers make within one sync
//     would leave a gap otherwise.
//   - Nobody removes claim directories. Their numbers are the order of history.
//
// # What it does not do
//
//   - It does not stop a process. A tenure that is lost closes [Tenure.Lost] and
//     fails every Guard; the caller must stop promising, cut its sockets without
//     goodbyes and exit. With Options.SelfKill the kernel ends a process that
//     cannot, because it is frozen.
//   - It does not keep a frozen primary from finishing what it had begun: a
//     delivery that had passed its check of [Tenure.Fresh] may go out when the
//     process is resumed. Nothing that a client may rely on does.
//   - It does not protect the bytes of the journal. A zombie may go on writing
//     its own files; nobody reads them beyond the seal.
//   - Without Options.Standby a late renewal is only a warning: a laptop that
//     slept goes on serving, and is still held off by its fence if another took
//     over meanwhile.
//   - NFS has not been tried. What it must do is what package storagecheck tries.
//
// # When a standby acts
//
// It watches the highest claim, in whatever state, so that a takeover that is slow
// is not overtaken while it renews its lease. It contends when
//
//   - the lease says released or failed: at once;
//   - the claim's lock is free: at once, or with Options.DoubtLocks when the
//     counter stands still for two renewals, too;
//   - the counter stands still for the holder's ttl and a tenth of it, on the
//     standby's own monotonic clock, whatever the lock says: the host is gone, or
//     the process is stopped.
//
// It looks every 25 ms where one kernel owns the file system, and on Linux as soon as
// that kernel tells that the lease was written or the lock's file closed; elsewhere
// every tenth of a ttl. It contends only while it is eligible: Options.Preflight returns nil, follow
// reports no error, and a filled claim lies in store for it. Before it claims, the
// preflight is made once more. Of several standbys those go first that have caught
// up, then by name; each further one waits a fifteenth of a ttl longer, and some
// jitter. A node whose last claims were never active waits longer with each of
// them, from a quarter of a ttl to twenty; others need not.
//
// # How it is used
//
//		ha.Run(ctx, opt, follow, active)
//
//	  - follow(ctx, s *Standby) is a standby's life. It asks s.Source, as often as it
//	    likes, which epoch to follow, with which lineage, and how far that has
//	    promised by now; s.Holder who is primary; it tells s.Report how far it has
//	    come and whether anything is wrong. When ctx ends it returns soon, and leaves
//	    what it has built where active finds it.
//	  - active(ctx, t *Tenure) is a primary's life: open the store as t.Source says,
//	    t.NameSegment before the first promise in a segment, t.Activate, t.Guard after
//	    every fdatasync, t.Promised after that; t.Settle beside that, once clients are
//	    served; t.Fresh before every delivery that no client acknowledges. It returns nil
//	    after an orderly end, which it also makes when t.HandoverRequested is closed;
//	    t.Successor says whom to send clients to. It may call t.Release before it returns,
//	    as soon as the journal is complete and nothing more can be promised.
//	  - An error that is ErrLost ends the process, with an exit code that has its
//	    supervisor start it again. ErrNamesake, ErrHeld, ErrStale, ErrDamage and
//	    ErrNewer say what a person has to do. So does [NeedsChild], of a main
//	    function that wants SelfKill.
//	  - [ReadStatus], [Handover] and [Repair] are for commands that take no part.
//
// # What is durable when
//
// A takeover waits for the disk three times, where one kernel owns the file system:
//
//	shown: the claim, the marks on the fences      then synced, all at the same time
//	shown: the journal's first segment, its group  then synced, file and directory
//	shown: the first copy of the active file,      then synced, together
//	       the segment's name in the lease
//
// and then reads its own fence. That what is shown counts before it is durable is safe:
// who reads it there, a primary its fence, a contender a claim, is a process of that
// same kernel, and the power cut that could take it away ends them all. What must
// not come back in another order after a power cut is kept in order: the claim before
// a journal segment of it, since a segment without a claim is damage; the journal's
// first group before the active file that makes it history; all of that before a
// promise. The second copy of the active file, the state in the lease and the floor
// are needed by no promise, and come when clients are served (Settle); only the
// floor must not be durable before the marks below it, and those are.
//
// Where other hosts' kernels write, too, showing is a synced write, one after the other.
//
// An end in order gives the epoch back when the journal is complete: its last group has
// passed and nobody is left who could write or promise. That is all that a successor
// depends on. It reads no index but its own, so the last checkpoint and the close of
// this node's, which can take seconds, come after the release. A Guard that
// began before the release may still succeed, as the guard of any group that was
// synced before the fence was marked: the successor finds that group in the journal.
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
//	ha/origin              only in a directory that was founded from a copy: the
//	                       lowest epoch that it has a claim of. It is the floor
//	                       where that was torn, and never changed
//	ha/eNNNNNNNNNN/lease   written only by the holder
//	ha/eNNNNNNNNNN/fence   zeros at birth, written only by successors
//	ha/eNNNNNNNNNN/active  zeros at birth, written once by the holder
//	ha/eNNNNNNNNNN/request zeros at birth, written by who asks the holder to hand over
//	ha/eNNNNNNNNNN/lock    locked while the holder's process lives: a hint
//	ha/claim-NONCE-N       a claim being filled, or in store; one that a crash or a
//	                       lost race left behind is harmless, and stays: what a
//	                       cached name leads to may have become a claim
//	ha/standby/n-NODE      presence of a node with Standby, written and locked by it
//	journal/eNNNNNNNNNN-*  only their names are read, for the numbers in them
//
// A journal segment of an epoch that ha/ does not know is damage: the claim is
// gone, and with it a lineage. Segments of epochs that were claimed and never
// active are not: their writers died before they could promise.
//
// The layouts are drawn in format.go and presence.go. Claim directories are never removed and
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
//
// O_DIRECT passes the kernel's cache, not always that of a client in user space:
// see [StaleReason]. Where such a cache is known to be on, standing by is refused;
// package storagecheck finds those that are not known. One that is turned on while
// brokers run is found at the next start.
package ha
