// Package persistence is the store that survives the process: core.Store on a journal, which is the truth, and an index, which finds
// things in it.
//
// # What it guarantees
//
//   - What core.Store promises. A record has passed when its group is synced in the journal and Options.Guard was nil after that.
//   - One way to start: read the source's journal to its last valid group, write that group again as the first one of a segment of our
//     own, go on from there. An empty directory, an orderly end and a kill all take it.
//   - The index is never believed beyond doubt: whatever is wrong with it, the journal is read from its beginning instead, and a log
//     line says so.
//   - A segment file is removed only when nothing that lives needs it: see reclaim.go for what that means. While the journal takes more
//     than twice what lives in it and two segments, what lives is carried forward so that more can be removed: see carry.go. So it takes
//     no more than that and what is written between two checkpoints, whatever has passed through and however old the oldest message is.
//     A message counts once for each queue it lives in.
//   - Any error of a write, a sync, the guard or the index is final. It reaches every later Completion, and Failed is closed.
//   - A message whose bytes are damaged is never handed out: it is named in the log, counted in Stats, and its place is settled.
//   - A file of the history that is missing, and damage in what a start reads, refuse the start with a *DamageError that says where. The
//     index is then left as it is.
//   - Space follows what is written without waiting for the next measurement.
//
// # What it does not guarantee
//
//   - That a disk which fills up is survived. Space tells early, with room for what is under way; the store itself refuses nothing, and a
//     write that fails is final. A start on a full disk is helped by what was set aside before: see space.go.
//   - That a journal can be read from its beginning past a damaged group. A group's checksum covers messages, settles and definitions
//     alike, and only messages have one of their own: with one byte wrong, nothing tells whether a settle beside it still names the place
//     that it did. A start that needs no more than the tail does not meet it; one without its index refuses. The time
//     in which that can happen ends when the damage is found: the segment that holds it is then carried forward like the ones before it.
//   - Anything before Activated was called: no checkpoint is made and no file is removed.
//
// # Vocabulary
//
// Group, record, segment, seal, lineage and suspect have the journal's meaning, chunk and checkpoint the index's. A unit is what one
// call of Commit handed over. A batch is the units that wait for the committer. An entry is a message's place in a queue, alive from
// its publish record to its settle record. A publish is elided when it is settled in the same group: neither is written, only that
// its place is used. What is carried is written again elsewhere in the journal, and means what it meant.
//
// # Who owns what
//
// The committer goroutine owns the journal's writer and everything in committer. The checkpointer goroutine owns the index, the reading of
// what is carried forward and the removal of files. The measurer goroutine measures the disk and owns the ballast. live.mu guards what is alive; it is held for memory work only. Store.mu guards the
// batch that gathers; it is a leaf. Completions run on the committer, without any lock.
package persistence
