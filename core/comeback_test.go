package core_test

import (
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

func quorum(more ...field.Field) field.Table {
	return append(field.Table{{Key: "x-queue-type", Value: "quorum"}}, more...)
}

// TestDeliveryLimits: a quorum queue lets a message come back 20 times if it says nothing else; a negative limit is none.
func TestDeliveryLimits(t *testing.T) {
	b := engine(t, core.Options{})
	s := attach(t, b)
	for _, row := range []struct {
		name string
		args field.Table
		most int // deliveries; 0: more than 40
	}{
		{"classic", nil, 0},
		{"quorum", quorum(), 21},
		{"quorum-3", quorum(field.Field{Key: "x-delivery-limit", Value: int8(3)}), 4},
		{"quorum-unlimited", quorum(field.Field{Key: "x-delivery-limit", Value: int32(-1)}), 0},
		{"classic-3", field.Table{{Key: "x-delivery-limit", Value: int64(3)}}, 4},
	} {
		if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: row.name, Durable: true, Args: row.args}); err != nil {
			t.Fatal(err)
		}
		publish(t, s, &core.Message{Key: row.name, Body: []byte("m"), Persistent: true})
		n := 0
		for ; n <= 40; n++ {
			d, _, ok, err := s.Get(t.Context(), row.name, false)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			s.Settle([]core.Delivery{d}, core.Return)
		}
		if row.most == 0 && n <= 40 || row.most > 0 && n != row.most {
			t.Errorf("%s: %d deliveries, want %d", row.name, n, row.most)
		}
	}
}

func TestQuorumQueuesHaveNamesOfTheirOwn(t *testing.T) {
	s := attach(t, engine(t, core.Options{}))
	_, err := s.DeclareQueue(t.Context(), core.QueueSpec{Durable: true, Args: quorum(field.Field{Key: "x-message-ttl", Value: "a"})})
	if err == nil || !strings.HasSuffix(err.Error(), ": Cannot declare a server-named queue for type rabbit_quorum_queue") {
		t.Error(err)
	}
}
