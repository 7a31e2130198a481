package core_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// TestRetainedKeysComeBack_AlsoFromOlderRecords has messages retained whose records say their keys in every way there is: in the record's own
// key, in its value because that is a hash, and in both, as versions before wrote it.
func TestRetainedKeysComeBack_AlsoFromOlderRecords(t *testing.T) {
	long := strings.Repeat("long.", 150) + "key"
	keys := []string{"a.b", "", "ä..#", long, "older"}
	disk := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), disk, core.Options{})
	if err != nil {
		t.Fatal(err)
	}
	s := attach(t, b)
	for _, key := range keys {
		publish(t, s, &core.Message{Exchange: core.TopicExchange, Key: key, Body: []byte("kept"), Persistent: true, Retain: true})
	}
	older, err := field.AppendTable(nil, field.Table{
		{Key: "vhost", Value: "/"}, {Key: "key", Value: "older"}, {Key: "place", Value: int64(len(keys))},
	})
	if err != nil {
		t.Fatal(err)
	}
	name := append(binary.AppendUvarint([]byte("t\x01/"), uint64(len("older"))), "older"...)
	disk.Commit([]core.Op{{Kind: core.OpDefine, Key: string(name), Value: older}})
	b.Close()
	if err := disk.Close(); err != nil {
		t.Fatal(err)
	}

	again := memstore.Open(memstore.Options{Disk: disk.Disk()})
	records := 0
	for d, err := range again.Recover(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Key[0] == 't' {
			records++
			if short := len(d.Key) > 3 && d.Key[1:3] == "\x01/" && !strings.Contains(d.Key, "older"); short && len(d.Value) > 24 {
				t.Errorf("the value of %q takes %d bytes", d.Key, len(d.Value))
			}
		}
	}
	if records != len(keys) {
		t.Errorf("%d records of %d messages", records, len(keys))
	}
	if b, err = core.Open(t.Context(), again, core.Options{Epoch: 2}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		b.Close()
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	})
	s = attach(t, b)
	for i, key := range keys {
		publish(t, s, &core.Message{Exchange: core.TopicExchange, Key: key, Persistent: true, Retain: true}) // it clears what is kept
		if got, want := b.Stats().Retained, len(keys)-i-1; got != want {
			t.Errorf("%d messages are retained after %q was cleared, want %d", got, key, want)
		}
	}
}
