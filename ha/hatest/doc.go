// Package hatest is a shared disk in memory, for tests of package ha and of what
// is built on it: several nodes, each with its own [Files], see the same
// directory; a test can fail, delay or stop a node at every operation, and cut
// the power.
//
// What it models: what a kernel shows to everybody at once (names and data as
// written), and what survives a power cut. Unsynced data survives in any
// combination of 512-byte sectors; unsynced names survive in the order in which
// they were changed, up to any point. Locks vanish with the node that held them.
//
// What it does not model: caches of several kernels that disagree. Every read is
// fresh, whatever Disk.Freshness says.
package hatest
