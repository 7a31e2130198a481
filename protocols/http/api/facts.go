package api

import "time"

// NodeFacts are what is true of a node's process and its machine at a moment.
// What is not known is 0, unless it says so.
type NodeFacts struct {
	Uptime     time.Duration // of the process
	Processors int           // that it may use

	MemoryUsed, MemoryWatermark int64 // bytes; publishers wait above the watermark; 0: there is none
	MemoryLimit                 int64 // what the process may take
	Memory                      MemoryParts

	DiskFree, DiskWatermark int64 // bytes; negative: not known; publishers wait below the watermark

	FilesUsed, FilesLimit     int // descriptors
	SocketsUsed, SocketsLimit int // connections of clients

	Goroutines, Runnable int

	ContextSwitches             int64 // so far; negative: not known
	Collections, CollectedBytes uint64

	Groups, GroupBytes uint64  // writes of the journal, each with its flush
	GroupSeconds       float64 // that they took
}

// MemoryParts are what the memory of the process consists of, in bytes.
type MemoryParts struct {
	Objects  int64 // of the heap, that live or are garbage
	Free     int64 // of the heap, not given back yet
	Stacks   int64
	Runtime  int64 // what it needs for itself
	Mapped   int64 // all of that: taken from the system and not given back
	Program  int64 // what is resident beside
	Resident int64 // 0: not known
}

// About describes a node; nothing of it changes.
type About struct {
	PID         int
	DataDir     string
	ConfigFiles []string
	LogFiles    []string // names of streams in angle brackets
}
