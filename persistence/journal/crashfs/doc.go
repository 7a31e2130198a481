// Package crashfs is a file system in memory for tests of what survives a crash: only synced bytes and synced names surely do. It can
// fail any operation, and stop the world at any.
//
// What it guarantees: after Crash, every byte written before a successful Sync of its file, in a file whose name was made durable by
// SyncDir, is there. What it does not: anything about the rest. Bytes that were not synced survive in random sectors, files and
// removals that were not synced survive at random.
package crashfs
