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
//     than twice what lives in it and a quarter of a segment, what lives is carried forward so that more can be removed: see carry.go. So
//     it takes no more than that, the segment being written, and what is written between two checkpoints, whatever has passed through
//     and however old the oldest message is. A message counts once for each queue it lives in.
//   - What a start has to read again is bounded: while more than Options.TailBytes lie behind the last checkpoint, Space says so, and
//     publishers wait. A start takes its time for queues, sessions, chunks and that tail, not for messages.
//   - What waits costs memory by the chunk, not by the message, beyond a fixed number of chunks: see paging.go. A purge or the end of a
//     queue reads none of them.
//   - Finish ends the journal in order without waiting for the index, and Close does the rest: the index is this node's own, so that
//     nobody who continues the journal depends on it. The root that Close makes lies before the mark of the end, as for any
//     checkpoint: whatever has become of the journal meanwhile, that is part of its history.
//   - Any error of a write, a sync, the guard or the index is final. It reaches every later Completion, and Failed is closed.
//   - A message whose bytes are damaged is never handed out: it is named in the log, counted in Stats, and its place is settled. So it is
//     whether a Load or a start meets it, and the messages and records beside it are not harmed.
//   - Damage in anything else that a start reads refuses the start with a *DamageError that says where, and what was there as far as is
//     known: a settle or a mark, because what is over would come back; a definition; the tail, of which nobody knows what it
//     held; a file of the history that is missing. The index is then left as it is. With Options.Salvage the start goes on without what is
//     damaged, and the log names what that is. See damage.go.
//   - Space follows what is written without waiting for the next measurement. What was low is low until the upper watermark is reached.
//   - A disk that does not answer makes what is committed wait, and nothing fail; Stalled tells how long it has been.
//   - Copy makes another store of the journal of one that is running: see backup.go.
//
// # What it does not guarantee
//
//   - That a disk which fills up is survived. Space tells early, with room for what is under way; the store itself refuses nothing, and a
//     write that fails is final. A start on a full disk is helped by what was set aside before: see space.go.
//   - That damage which nobody reads is known. Verify reads everything.
//   - That a message is lost alone. While a group's own header is damaged too, so that two places in it are, what lies between may
//     have been anything, and refuses a start that reads it. A segment that holds damage is carried forward soon after that was found, and
//     a process that ends before that meets the damage again.
//   - Anything before Activated was called: no checkpoint is made and no file is removed.
//
// # Vocabulary
//
// Group, record, segment, seal, lineage and suspect have the journal's meaning, chunk and checkpoint the index's. A unit is what one
// call of Commit handed over. A batch is the units that wait for the committer. An entry is a message's place in a queue, alive from
// its publish record to its settle record. A publish is elided when it is settled in the same group: neither is written, only, with
// the next record of anything, that its place is used. What is carried is written again elsewhere in the journal, and means what it meant.
//
// # Who owns what
//
// The committer goroutine owns the journal's writer and everything in committer. The checkpointer goroutine owns the index, the reading of
// what is carried forward and the removal of files. The measurer goroutine measures the disk and owns the ballast. live.mu guards what is alive; it is held for memory work only. Store.mu guards the
// batch that gathers; it is a leaf. Completions run on the committer, without any lock.
package persistence
