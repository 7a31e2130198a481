// Package crashfs is a file system in memory for tests of what survives a crash: only synced bytes and synced names surely do. It can
// fail any operation, let a write fall short, hang or be slow, and stop the world at any step.
//
// What it guarantees: after Crash, every byte written before a successful Sync of its file, in a file whose name was made durable by
// SyncDir, is there. What it does not: anything about the rest. Bytes that were not synced survive in random sectors, and so, apart from
// them, does the length of a file that has become longer or shorter: what it is longer by is zeros then. Files and removals that were not
// synced survive at random. A sector that was being written may be there in part, new bytes before old ones.
package crashfs
