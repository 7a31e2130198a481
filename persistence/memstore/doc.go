// Package memstore is core.Store in memory: a small real store for tests, under the same contract as the one on disk.
//
// # What it guarantees
//
//   - Everything core.Store promises, as storetest checks it, with memory in the place of the disk. What survives is a Disk: a Store
//     is opened on it, and after Close or Crash the next one is, as a process would start again on its directory.
//   - A Disk holds what has passed and nothing else. After Crash everything that still waited is gone, no Completion runs any more,
//     and the next Store counts what it finds as delivered once.
//   - One Store at a time: opening a second one on a Disk makes the first fail with its next pass, as a fence would.
//   - With Options.Manual nothing passes but by Flush, FlushOne and Close, so that a script decides when a commit is durable.
//   - It can be used inside a testing/synctest bubble: its one goroutine waits on a channel.
//
// # What it does not guarantee
//
//   - Nothing survives the process.
//   - It has no bound: a Disk keeps every body in memory.
//
// # Vocabulary
//
// A unit is what one call of Commit handed over. To pass a unit is to apply it to the Disk; its Completions run afterwards.
//
// # Who owns what
//
// A Store that is not manual owns one goroutine, the committer, which Close and Crash wait for. Completions run on the committer, or
// on the goroutine that called Flush, FlushOne or Close. Because this package imports core, tests inside package core use it from
// package core_test.
package memstore
