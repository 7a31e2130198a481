// Package compact keeps millions of short keys, and what belongs to them, in few large pieces of memory.
//
// # What it guarantees
//
//   - An entry of a Map costs its own size, its key rounded up to four bytes, and five to ten bytes of table; while it is made of
//     numbers alone the garbage collector looks at none of them. A Go map of strings takes three times that, and each key and each value
//     behind a pointer is an object more to mark.
//   - No call takes long, however large the Map is: its table is in parts that grow one by one. Only that keys which are gone leave
//     their memory moves all that are there, when more than half of it is lost, and so does Reuse, when an eighth is left.
//   - An entry stays where it is until Reuse is called. What Bytes has handed out is never written to again: it may be
//     held for longer than it is kept, at the price of the block it lies in.
//   - Of what was many and is few, Reuse gives back the memory; of the most that ever were at a time, it may keep eight times what is.
//
// # What it does not guarantee
//
//   - More than 16 GiB of keys or of Bytes, or more than four billion entries: it panics.
//   - Anything to callers that are not alone.
package compact
