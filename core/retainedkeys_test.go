package core_test

import (
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/persistence/memstore"
)

// retainedKeys are some of every kind: the last is longer than a store must know keys.
func retainedKeys() []string {
	return []string{"a.b", "", "ä..#", strings.Repeat("long.", 150) + "key", strings.Repeat("longer.", 200) + "key"}
}

// reopened closes a broker and its store, and opens both again.
func reopened(t *testing.T, b *core.Broker, s *memstore.Store, epoch uint32) (*core.Broker, *memstore.Store) {
	t.Helper()
	b.Close()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = memstore.Open(memstore.Options{Disk: s.Disk()})
	b, err := core.Open(t.Context(), s, core.Options{Epoch: epoch})
	if err != nil {
		t.Fatal(err)
	}
	return b, s
}

func retain(t *testing.T, b *core.Broker, key, body string) {
	t.Helper()
	publish(t, attach(t, b), &core.Message{Exchange: core.TopicExchange, Key: key, Body: []byte(body), Persistent: true, Retain: true})
}

// clearAll clears what is retained, key by key.
func clearAll(t *testing.T, b *core.Broker, keys []string) {
	t.Helper()
	for i, key := range keys {
		retain(t, b, key, "")
		if got, want := b.Stats().Retained, len(keys)-i-1; got != want {
			t.Errorf("%d messages are retained after %q was cleared, want %d", got, key, want)
		}
	}
}

// retainedRecords counts the definitions that say which place is the message of a key.
func retainedRecords(t *testing.T, disk *memstore.Disk) (n int) {
	t.Helper()
	s := memstore.Open(memstore.Options{Disk: disk})
	defer s.Crash()
	for d, err := range s.Recover(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if d.Key[0] == 't' {
			n++
		}
	}
	return n
}

// TestRetainedKeysComeBack: the store says what a message is retained for, and a record of its own where the key is too long for that.
func TestRetainedKeysComeBack(t *testing.T) {
	s := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), s, core.Options{Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	keys := retainedKeys()
	for _, key := range keys {
		retain(t, b, key, "first")
		retain(t, b, key, "kept")
	}
	b, s = reopened(t, b, s, 2)
	if got := b.Stats().Retained; got != len(keys) {
		t.Errorf("%d messages came back, want %d", got, len(keys))
	}
	b.Close()
	if n := retainedRecords(t, s.Disk()); n != 1 {
		t.Errorf("there are %d records, want that of the long key", n)
	}
	s = memstore.Open(memstore.Options{Disk: s.Disk()})
	if b, err = core.Open(t.Context(), s, core.Options{Epoch: 3}); err != nil {
		t.Fatal(err)
	}
	clearAll(t, b, keys)
	b, s = reopened(t, b, s, 4)
	if got := b.Stats().Retained; got != 0 {
		t.Errorf("%d messages came back that were cleared", got)
	}
	b.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := retainedRecords(t, s.Disk()); n != 0 {
		t.Errorf("%d records are left", n)
	}
}

// TestRetainedKeysComeBack_FromOlderRecords has messages retained as versions before wrote them, in a queue of which the store knows no keys. Their
// records say them in every way there was: in the record's own key, in its value because that is a hash, and in both.
func TestRetainedKeysComeBack_FromOlderRecords(t *testing.T) {
	s := memstore.Open(memstore.Options{})
	b, err := core.Open(t.Context(), s, core.Options{Epoch: 1})
	if err != nil {
		t.Fatal(err)
	}
	b.Close()
	const queue core.QueueID = 1<<32 | 1000
	table := func(f ...field.Field) []byte {
		v, err := field.AppendTable(nil, f)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	vhost := field.Field{Key: "vhost", Value: "/"}
	ops := []core.Op{{Kind: core.OpDefine, Key: "k\x01/", Queue: queue, Value: table(vhost)}}
	keys := append(retainedKeys(), "older")
	for i, key := range keys {
		name := append(binary.AppendUvarint([]byte("t\x01/"), uint64(len(key))), key...)
		value := []field.Field{{Key: "place", Value: int64(i + 1)}}
		if len(name) > 512 {
			sum := sha256.Sum256(name)
			name = append(name[:1], sum[:]...)
		}
		if len(key) > 500 || key == "older" {
			value = append([]field.Field{vhost, {Key: "key", Value: key}}, value...)
		}
		ops = append(ops,
			core.Op{Kind: core.OpPublish, Queue: queue, Seq: core.Seq(i + 1), Msg: &core.Message{
				Exchange: core.TopicExchange, Key: key, Body: []byte("kept"), Persistent: true, Retain: true,
			}},
			core.Op{Kind: core.OpDefine, Key: string(name), Value: table(value...)})
	}
	s.Commit(ops)
	b, s = reopened(t, b, s, 2)
	for _, key := range keys[:2] {
		retain(t, b, key, "replaced")
	}
	keys = append(keys, "new")
	retain(t, b, "new", "kept")
	b, s = reopened(t, b, s, 3)
	if got := b.Stats().Retained; got != len(keys) {
		t.Errorf("%d messages came back, want %d", got, len(keys))
	}
	clearAll(t, b, keys)
	b.Close()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if n := retainedRecords(t, s.Disk()); n != 0 {
		t.Errorf("%d records are left", n)
	}
}
