// Package storagecheck tries out whether a directory keeps what package ha assumes
// of it, on the mount that it is given: from two processes on one host, or from
// two hosts.
//
// # What it guarantees
//
//   - The very operations are tried that ha.Run uses ([ha.OSFiles]): synced writes,
//     fresh reads, exclusive links and renames, locks.
//   - A check that fails was seen to fail: the report says with what figures.
//   - It writes below one directory of its own in the one it checks, and removes
//     that when it ends.
//
// # What it does not guarantee
//
//   - That what passed today passes always. It cannot cut the power, fail a server
//     over or partition a network; that synced data persists is assumed, and only
//     whether it takes as long as it must is looked at.
//   - Two processes on one host share its caches. What two hosts see, only a check
//     with Options.Pair tells.
//
// # How it works
//
// One side leads, the other does what it is asked. They talk through two files in
// the directory itself, one written by each, in the way that is being checked: a
// directory on which they cannot talk has failed. Alone, the other side is a child
// of this process: the program is started again, with a variable set by which
// [Child] knows, so a main function that uses this package calls Child first. With
// Options.Pair the first of two commands leads and the second, on whatever host,
// joins.
//
// Caches below the kernel's are provoked, not waited for: a client may keep what a
// file held when its name was looked up, or how long the file was, so files are
// looked up first and changed then. Names are raced for a few at a time, begun
// together, so that both sides are under way at once.
//
// # Vocabulary
//
//	lead, partner  the two sides
//	box            the file by which one side talks to the other
//	cell           a page that one side writes and the other reads freshly
//	plain          without O_DIRECT, as a program does that knows nothing of this
//	round          one try of many
package storagecheck
