//go:build !race

// The race detector has memory of its own.

package amqp091_test

import (
	"log/slog"
	"runtime"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// TestIdleConnectionsAreCheap: what a quiet connection of a user with permissions
// takes of the heap and of stacks, a channel and the client's end of the socket
// included.
func TestIdleConnectionsAreCheap(t *testing.T) {
	const n, most = 500, 10 << 10
	b := newBed(t, func(s *setup) {
		s.auth = internal
		s.server.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelError}))
	})
	b.limit(core.User{MaxConnections: -1, MaxChannels: -1}, -1)
	_, addr := serveTCP(t, b)
	properties := append(clientProperties(),
		field.Field{Key: "platform", Value: "Go 1.26 linux/amd64"}, field.Field{Key: "version", Value: "1.2.3"},
		field.Field{Key: "copyright", Value: "Copyright (c) somebody, and a few others"},
		field.Field{Key: "information", Value: "Licensed under a licence that has a long name"},
		field.Field{Key: "connection_name", Value: "idle"})
	open := func(count int) {
		for range count {
			p := dialAddr(t, addr)
			p.login(properties, "alice", "test12")
			p.next(0) // tune
			p.open("/", 60)
			p.expect(0, &wire.ConnectionOpenOK{})
			p.openChannel(1)
			p.buf = nil
		}
	}
	open(n / 10) // pools and code become warm
	before := footprint()
	open(n)
	each := (footprint() - before) / n
	t.Logf("%d bytes for each of %d idle connections", each, n)
	if each > most {
		t.Errorf("want at most %d bytes", most)
	}
}

// footprint is what is alive in the heap, and stacks.
func footprint() int64 {
	var m runtime.MemStats
	for range 3 { // what a finalizer or a pool lets go of goes with the next one
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}
