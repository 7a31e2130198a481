package failpoint

// Point is a moment.
type Point string

// The points, in the order in which a broker meets them.
const (
	// TakeoverClaimed: an epoch is claimed, no fence is marked.
	TakeoverClaimed Point = "takeover.claimed"
	// TakeoverMarked: all fences are marked, the source is not chosen.
	TakeoverMarked Point = "takeover.marked"
	// TakeoverChosen: the source is chosen, its journal is not read.
	TakeoverChosen Point = "takeover.chosen"
	// TakeoverSealed: the source's journal is read to its last group, nothing of our own is written.
	TakeoverSealed Point = "takeover.sealed"
	// TakeoverAdopted: the first segment is written, with the last group of the source.
	TakeoverAdopted Point = "takeover.adopted"
	// TakeoverOpened: the engine is open, the epoch is not active.
	TakeoverOpened Point = "takeover.opened"
	// TakeoverActivated: the epoch is active, no port is open.
	TakeoverActivated Point = "takeover.activated"

	// JournalWritten: a group is written and not synced.
	JournalWritten Point = "journal.written"
	// JournalSynced: a group is synced, the guard is not asked.
	JournalSynced Point = "journal.synced"
	// JournalPassed: a group has passed, none of its promises is made.
	JournalPassed Point = "journal.passed"

	// LeaseRenewing: the lease is about to be written.
	LeaseRenewing Point = "lease.renewing"
	// LeaseRenewed: the lease is written, and nobody in this process knows.
	LeaseRenewed Point = "lease.renewed"

	// CheckpointBegun: a checkpoint is about to be written to the index.
	CheckpointBegun Point = "checkpoint.begun"
	// CheckpointWritten: its chunks are written, its root is not.
	CheckpointWritten Point = "checkpoint.written"
)
