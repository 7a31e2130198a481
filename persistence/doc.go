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
//   - A segment file is removed only when nothing that lives needs it: see reclaim.go for what that means.
//   - Any error of a write, a sync, the guard or the index is final. It reaches every later Completion, and Failed is closed.
//   - A message whose bytes are damaged is never handed out: it is named in the log and counted in Stats.
//
// # What it does not guarantee
//
//   - Disk space in proportion to what lives: a segment goes when nothing in it lives, so one old message keeps its segment and
//     everything that ended its neighbours.
//   - That a disk which fills up is survived. Space tells early; a write that fails is final.
//   - Anything before Activated was called: no checkpoint is made and no file is removed.
//
// # Vocabulary
//
// Group, record, segment, seal, lineage and suspect have the journal's meaning, chunk and checkpoint the index's. A unit is what one
// call of Commit handed over. A batch is the units that wait for the committer. An entry is a message's place in a queue, alive from
// its publish record to its settle record. A publish is elided when it is settled in the same group: neither is written, only that
// its place is used.
//
// # Who owns what
//
// The committer goroutine owns the journal's writer and everything in committer. The checkpointer goroutine owns the index, the
// measuring of space and the removal of files. live.mu guards what is alive; it is held for memory work only. Store.mu guards the
// batch that gathers; it is a leaf. Completions run on the committer, without any lock.
package persistence
