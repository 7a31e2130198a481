// Package storebench measures what durability costs in package persistence, held against what the disk allows.
//
// # What it guarantees
//
//   - The store and the bare file do the same work: the bare file gets the very groups that the store wrote, byte for byte as long, in the
//     same order, one write and one fdatasync each.
//   - They take turns in one run, a fraction of a second each, because a disk that others use changes from second to second.
//   - In the rows of a group size every message is written: it is settled only after the group that holds it has passed. In the row of
//     elision messages are settled at once, as consumers that keep up do.
//   - A figure that cannot be had on a platform is nil.
//
// # What it does not guarantee
//
//   - That groups have exactly the size asked for: that many messages are committed while the group before is being synced, and the store
//     takes what there is. Row.Group says what became of it.
//   - That nothing else uses the disk: bytes that the device wrote are everybody's. On a busy machine they are too high.
//
// # Vocabulary
//
// Payload is message bodies alone. Device bytes are what the block device counts as written, file system metadata included; process bytes
// are what the kernel's page cache attributes to this process, which counts a whole folio for a part of it that was overwritten, so that
// it says more than is written where zeros were written ahead.
package storebench
