package mqtt_test

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// TestAnnouncedPacketsTakeNoMemory has clients that announce a packet as large
// as it may be, or larger, send a little of it and hang up: what the connection
// has allocated is in proportion to that little.
func TestAnnouncedPacketsTakeNoMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector has its own idea of memory")
	}
	const most = 192 << 10 // with all that a connection and its log take; half of it is for a large PUBLISH
	b := newBed(t, func(s *setup) { s.server = mqtt.Options{MaxPacketSize: 64 << 20, Log: slog.New(slog.DiscardHandler)} })
	serve := func(said ...[]byte) uint64 {
		client := record(said...)
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		b.server.Serve(context.WithoutCancel(t.Context()), client)
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	lengths := map[string]string{"as large as may be": "\xf0\xff\xff\x1f", "larger": "\xff\xff\xff\x7f", "of a MiB": "\x80\x80\x40"}
	for _, v := range both {
		for _, hello := range []bool{true, false} { // or the packet comes in place of CONNECT
			for kind := byte(1); kind < 16; kind++ {
				for name, length := range lengths {
					first := kind << 4
					if kind == 6 || kind == 8 || kind == 10 {
						first |= 2
					}
					for _, arrived := range []string{"", "\x00\x01t\x00", "\xff\xff" + strings.Repeat("x", 1000), "\x00\x01t\xff\xff\xff\x7f" + strings.Repeat("x", 1000)} {
						said := [][]byte{append([]byte{first}, length+arrived...)}
						if hello {
							said = append([][]byte{connect(v, "c")}, said...)
						}
						what := fmt.Sprintf("%s of %s, %s, of which %d bytes arrive", wire.PacketType(kind), v, name, len(arrived))
						if n := serve(said...); n > most {
							t.Errorf("%s: %d bytes allocated", what, n)
						}
					}
				}
			}
		}
	}
}
