package core

import (
	"fmt"
	"log/slog"
)

// Options set the engine's limits. The zero value is usable.
type Options struct {
	// Epoch is the number of this broker's tenure; it becomes part of every queue id, so that none is ever used twice. 0 means 1.
	Epoch uint32

	// MemoryBudget is how many bytes of messages may wait in memory before publishers wait: those to long queues, and at a quarter more all of them. 0
	// means 512 MiB.
	MemoryBudget int64

	// PageAt is how many bytes of messages may be in memory before those that the store can read back leave it. 0 means 64 MiB, or
	// half of MemoryBudget where that is less.
	PageAt int64

	// PendingLimit is how many committed bytes may wait to become durable before publishers wait. 0 means 64 MiB.
	PendingLimit int64

	// OpenWindow is how many deliveries a consumer without a prefetch limit may have outstanding, and how many a session may get without
	// settling them. 0 means 262,144.
	OpenWindow int

	// OpenBytes is how many bytes all consumers without a prefetch limit, and all links of subscribers, may have outstanding together;
	// beyond that each of them goes on until it has OpenFloor. 0 means half of MemoryBudget.
	OpenBytes int64

	// ArrivingBytes is how much may have arrived, over all sessions, of messages that are not complete; see Session.Arriving. 0 means a
	// quarter of MemoryBudget, or 64 MiB where that is more.
	ArrivingBytes int64

	// Subscriptions is how many subscriptions one subscriber may have. 0 means 10,000.
	Subscriptions int

	// Waiting limits what waits in the queue of each subscriber, and of each shared subscription. A policy that applies to such a queue limits
	// it, too: the lower number counts, and what the policy says happens when the queue is full.
	Waiting WaitingLimits

	// Events is the vhost that has the event exchange, where what happens in the broker is published; empty: nothing is. Node is what the
	// events call this node.
	Events, Node string

	// CompilePattern makes the pattern of a policy ready to tell which names it matches. nil: patterns are Go's regular expressions.
	CompilePattern func(pattern string) (matches func(name string) bool, err error)

	// GiveWay is called about once in a millisecond by publishers whose message takes longer than that to route, and returns when they
	// are to go on. nil: they do so at once.
	GiveWay func()

	// Logger is told of what an operator should know. nil discards.
	Logger *slog.Logger
}

// WaitingLimits limit a queue. Zero is no limit.
type WaitingLimits struct {
	Messages, Bytes int64 // as QueueSettings.MaxLength and MaxBytes
	Overflow        OverflowMode
}

// OpenFloor is how many deliveries a consumer without a prefetch limit, or a link, may have outstanding whatever others have.
const OpenFloor = 256

func (o *Options) validate() error {
	for name, v := range map[string]int64{
		"memory budget": o.MemoryBudget, "page-at": o.PageAt, "pending limit": o.PendingLimit,
		"open window": int64(o.OpenWindow), "open bytes": o.OpenBytes, "arriving bytes": o.ArrivingBytes,
		"subscriptions": int64(o.Subscriptions), "waiting messages": o.Waiting.Messages, "waiting bytes": o.Waiting.Bytes,
	} {
		if v < 0 {
			return fmt.Errorf("core options: %s is %d and may not be negative", name, v)
		}
	}
	setDefault(&o.Epoch, 1)
	setDefault(&o.MemoryBudget, 512<<20)
	setDefault(&o.PageAt, min(64<<20, o.MemoryBudget/2))
	setDefault(&o.PendingLimit, 64<<20)
	setDefault(&o.OpenWindow, 1<<18)
	setDefault(&o.OpenBytes, o.MemoryBudget/2)
	setDefault(&o.ArrivingBytes, max(o.MemoryBudget/4, 64<<20))
	setDefault(&o.Subscriptions, 10_000)
	if o.CompilePattern == nil {
		o.CompilePattern = compileGo
	}
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
