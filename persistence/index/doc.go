// Package index finds things in the journal. It keeps definitions, queues, the chunks of their entries and what is known of the
// journal's segments, all as of one position of the journal: the last finished checkpoint. It is made of what the journal says and can
// be made again from it, so it never carries a promise and never answers when it is in doubt.
//
// # What it guarantees
//
//   - A checkpoint is there as a whole or not at all. Its values are written under new keys and synced, then one root that accounts for
//     them all, synced; only then are the values it replaces deleted. Whatever happens between two of these steps, Open finds the old
//     root with all its values or the new one with all of its.
//   - Open compares every key that is there with the root's count and sum, kind by kind. Reading a value compares it with the checksum in
//     its key. The pass over the keys takes short values along, for whoever reads a kind first: most are read at a start. So an index never has fewer, more, or other values than the root accounts for
//     without saying so.
//   - In doubt there is no root: Root returns false and Reason says why, the slot has been emptied, and the caller rebuilds from the
//     journal. Damage that is found later closes Failed and condemns the slot, so that the next Open starts empty.
//   - A slot belongs to one process at a time wherever file locks work, also across hosts. Where they do not exclude, the mark
//     in the slot's state file shows a second process before the next checkpoint.
//
// # What it does not guarantee
//
//   - That the last checkpoint is found after a crash or damage: an older one, or none, may be.
//   - That anything is found at all. The journal must be kept from the position of the last root that was synced (what Apply returned
//     nil for), and a caller that finds an older root must be able to read on from there or rebuild.
//   - That it takes less room than some multiple of what lives in it: Badger compacts when it is written to, not when it rests.
//
// # Vocabulary
//
// A slot is one process's directory below Options.Dir; a node adopts whichever is most advanced and free, so that a container that
// comes back under a new host name finds its index. A checkpoint is one call of Apply. A generation is its number: every value of
// a checkpoint has a key that ends in it. The root is the record that says which generation is finished and what there is.
//
// # Why Badger, and how far it is trusted
//
// Badger's writes go through memory maps: a damaged byte in its log makes later entries disappear without a word, a flush or a
// compaction that fails shows in its Logger alone, a full disk is a SIGBUS. Therefore the root's count and sum and a checksum of our
// own on every value (see key.go); therefore a Logger that ends the index at the first error, and a check for space before each
// checkpoint; therefore the count of opens that never came to a good end (see slot.go), because a damaged table can
// end the process inside Badger, where nothing can be caught. The options are explained in badger.go. No type of Badger leaves this
// package.
//
// # Who owns what
//
// An Index is used by many goroutines for Chunk and Chunks and by one at a time for everything else. It owns Badger's goroutines and
// its slot's lock until Close; after Abandon it owns them until the process ends.
package index
