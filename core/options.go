package core

import (
	"fmt"
	"log/slog"
)

// Options set the engine's limits. The zero value is usable.
type Options struct {
	// Epoch is the number of this broker's tenure; it becomes part of every queue id, so that none is ever used twice. 0 means 1.
	Epoch uint32

	// MemoryBudget is how many bytes of messages may wait in memory before publishers wait. 0 means 512 MiB.
	MemoryBudget int64

	// PageAt is how many bytes of messages may be in memory before those that the store can read back leave it. 0 means 64 MiB, or
	// half of MemoryBudget where that is less.
	PageAt int64

	// PendingLimit is how many committed bytes may wait to become durable before publishers wait. 0 means 64 MiB.
	PendingLimit int64

	// OpenWindow is how many deliveries a consumer without a prefetch limit may have outstanding. 0 means 262,144.
	OpenWindow int

	// Logger is told of what an operator should know. nil discards.
	Logger *slog.Logger
}

func (o *Options) validate() error {
	if o.MemoryBudget < 0 || o.PageAt < 0 || o.PendingLimit < 0 || o.OpenWindow < 0 {
		return fmt.Errorf("core options: memory budget %d, page-at %d, pending limit %d and open window %d may not be negative",
			o.MemoryBudget, o.PageAt, o.PendingLimit, o.OpenWindow)
	}
	setDefault(&o.Epoch, 1)
	setDefault(&o.MemoryBudget, 512<<20)
	setDefault(&o.PageAt, min(64<<20, o.MemoryBudget/2))
	setDefault(&o.PendingLimit, 64<<20)
	setDefault(&o.OpenWindow, 1<<18)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return nil
}

func setDefault[T comparable](p *T, v T) {
	var zero T
	if *p == zero {
		*p = v
	}
}
