package amqp091

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/amqp091/wire"
)

// TestUnsettledAgainstAList drives the structure and a plain sorted list with
// the same random operations.
func TestUnsettledAgainstAList(t *testing.T) {
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var u unsettled
		var list []uint64
		var got []core.Delivery
		tag := uint64(0)
		msg := new(core.Message)
		for range 2000 {
			got = got[:0]
			var want []uint64
			pick := rng.Uint64N(tag + 2) // some known, some not
			i, known := slices.BinarySearch(list, pick)
			ok := true
			switch op := rng.IntN(100); {
			case op < 60:
				tag += 1 + rng.Uint64N(2) // gaps, as no_ack consumers make them
				u.push(tag, core.Delivery{Message: msg, Seq: core.Seq(tag)})
				list = append(list, tag)
				continue
			case op < 95:
				if got, ok = u.take(pick, got); known {
					want, list = []uint64{pick}, slices.Delete(list, i, i+1)
				}
			case op < 99:
				if got, ok = u.takeUpTo(pick, got); known {
					want = slices.Clone(list[:i+1])
					list = list[i+1:]
				}
			default:
				got = u.takeAll(got)
				want, list, known = list, nil, true
			}
			var tags []uint64
			for _, d := range got {
				tags = append(tags, uint64(d.Seq))
			}
			if ok != known || !slices.Equal(tags, want) || u.len() != len(list) {
				t.Fatalf("seed %d: took %v %v, %d left, want %v %v, %d left", seed, tags, ok, u.len(), want, known, len(list))
			}
		}
	}
}

// TestUnsettledIsBoundedByWhatIsOutstanding: one delivery that is never settled
// does not keep the places of all that were settled after it.
func TestUnsettledIsBoundedByWhatIsOutstanding(t *testing.T) {
	var u unsettled
	d := core.Delivery{Message: new(core.Message)}
	u.push(1, d)
	var taken []core.Delivery
	for tag := uint64(2); tag < 200_000; tag++ {
		u.push(tag, d)
		taken, _ = u.take(tag, taken[:0])
	}
	if u.len() != 1 || cap(u.items) > 4*keepItems {
		t.Errorf("%d outstanding take room for %d", u.len(), cap(u.items))
	}
	u.take(1, taken)
	for tag := uint64(200_000); tag < 300_000; tag++ {
		u.push(tag, d)
	}
	if u.takeAll(nil); cap(u.items) > keepItems {
		t.Errorf("an empty one keeps room for %d", cap(u.items))
	}
}

// TestConfirmsStayInOrderAroundANack: clients take a multiple ack for all tags
// below it, so it may not pass over a nack.
func TestConfirmsStayInOrderAroundANack(t *testing.T) {
	for _, row := range []struct {
		name     string
		rejected []uint64
		passed   []uint64
		want     []wire.Method
	}{
		{"none", nil, []uint64{3}, []wire.Method{&wire.BasicAck{DeliveryTag: 3, Multiple: true}}},
		{"one by one", nil, []uint64{1, 2}, []wire.Method{&wire.BasicAck{DeliveryTag: 1}, &wire.BasicAck{DeliveryTag: 2}}},
		{"in the middle", []uint64{3}, []uint64{5}, []wire.Method{
			&wire.BasicAck{DeliveryTag: 2, Multiple: true}, &wire.BasicNack{DeliveryTag: 3}, &wire.BasicAck{DeliveryTag: 5, Multiple: true},
		}},
		{"first and last", []uint64{1, 4}, []uint64{4}, []wire.Method{
			&wire.BasicNack{DeliveryTag: 1}, &wire.BasicAck{DeliveryTag: 3, Multiple: true}, &wire.BasicNack{DeliveryTag: 4},
		}},
		{"not before its turn", []uint64{3}, []uint64{2, 3}, []wire.Method{
			&wire.BasicAck{DeliveryTag: 2, Multiple: true}, &wire.BasicNack{DeliveryTag: 3},
		}},
	} {
		ch := &channel{c: &conn{}, id: 1}
		ch.confirms.rejected = row.rejected
		var b []byte
		for _, tag := range row.passed {
			ch.confirms.passed.Store(tag)
			b = ch.appendConfirms(b)
		}
		var got []wire.Method
		for len(b) > 0 {
			f, n, err := wire.ParseFrame(b, 4096)
			if err != nil || n == 0 {
				t.Fatal(err)
			}
			m, err := wire.DecodeMethod(f.Payload)
			if err != nil {
				t.Fatal(err)
			}
			got, b = append(got, m), b[n:]
		}
		if !reflect.DeepEqual(got, row.want) {
			t.Errorf("%s: got %v, want %v", row.name, got, row.want)
		}
	}
}

// TestAPublicationGrowsWithWhatArrives: an announcement allocates nothing, and
// no more than twice what has arrived is held.
func TestAPublicationGrowsWithWhatArrives(t *testing.T) {
	p := publication{size: 16 << 20, properties: []byte("\x00\x00"), state: awaitBody}
	arrived := len(p.properties)
	part := []byte(strings.Repeat("x", 4088))
	for p.missing() > 0 {
		chunk := part[:min(len(part), p.missing())]
		p.reserve(len(chunk))
		p.block = append(p.block, chunk...)
		if arrived += len(chunk); cap(p.block) > 2*arrived {
			t.Fatalf("%d bytes arrived, %d are held", arrived, cap(p.block))
		}
	}
	if len(p.block) != arrived || cap(p.block) != arrived {
		t.Errorf("%d bytes arrived, block is %d of %d", arrived, len(p.block), cap(p.block))
	}
	if string(p.block[:4]) != "\x00\x00xx" {
		t.Errorf("block starts with %q", p.block[:4])
	}
}

// TestEveryKindHasItsReplyCode holds the table of codes.
func TestEveryKindHasItsReplyCode(t *testing.T) {
	for kind, want := range map[core.Kind]wire.ReplyCode{
		core.Internal: 541, core.NotFound: 404, core.Inequivalent: 406, core.InUse: 406, core.Invalid: 406, core.TooLarge: 406,
		core.Unauthenticated: 403, core.Refused: 403, core.Locked: 405, core.Exhausted: 406, core.Overflow: 406,
		core.Unsupported: 540, core.Closing: 320,
	} {
		if got := replyCode(kind); got != want {
			t.Errorf("%v: %d, want %d", kind, got, want)
		}
	}
	e := fault(wire.QueueBindID, &core.Error{Kind: core.NotFound, Op: "bind", Name: "queue 'q'"})
	if e == nil || e.ReplyText() != "NOT_FOUND - bind queue 'q': not found" || e.Method != wire.QueueBindID {
		t.Errorf("an error without a text becomes %+v", e)
	}
}
