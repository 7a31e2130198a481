package amqp091

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
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
				u.push(core.Delivery{Message: msg, Seq: core.Seq(tag), Tag: tag})
				list = append(list, tag)
				continue
			case op < 95:
				if got, ok = u.take(pick, got); known {
					want, list = []uint64{pick}, slices.Delete(list, i, i+1)
				}
			case op < 97: // and put back, as a transaction does
				if len(list) > 0 {
					got, _ = u.takeUpTo(list[len(list)/2], got)
					got, _ = u.take(list[len(list)-1], got)
				}
				rng.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
				u.putBack(got)
				continue
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
	d := core.Delivery{Message: new(core.Message), Seq: 1}
	d.Tag = 1
	u.push(d)
	var taken []core.Delivery
	for tag := uint64(2); tag < 200_000; tag++ {
		d.Tag = tag
		u.push(d)
		taken, _ = u.take(tag, taken[:0])
	}
	if u.len() != 1 || cap(u.items) > 4*keepItems {
		t.Errorf("%d outstanding take room for %d", u.len(), cap(u.items))
	}
	u.take(1, taken)
	for d.Tag = 200_000; d.Tag < 300_000; d.Tag++ {
		u.push(d)
	}
	if u.takeAll(nil); cap(u.items) > keepItems {
		t.Errorf("an empty one keeps room for %d", cap(u.items))
	}
}

// TestUnsettledUnloadsTheOldest: what a client does not answer for takes no more
// memory than wholeBytes, and comes back whole.
func TestUnsettledUnloadsTheOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.Open(memstore.Options{})
		b, err := core.Open(t.Context(), store, core.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			b.Close()
			_ = store.Close()
		})
		s, err := b.Attach("/", core.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.DeclareQueue(t.Context(), core.QueueSpec{Name: "q", Durable: true}); err != nil {
			t.Fatal(err)
		}
		const n, size = 1000, 1 << 10
		for i := range n {
			body := bytes.Repeat([]byte{byte(i)}, size)
			if _, err := s.Publish(&core.Message{Key: "q", Body: body, Persistent: i%10 != 0}, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		synctest.Wait()
		var u unsettled
		get := func() {
			for {
				d, _, ok, err := s.Get(t.Context(), "q", false)
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					return
				}
				if d.Message.Body[0] != byte(d.Seq-1) || len(d.Message.Body) != size {
					t.Fatalf("message %d has another's body", d.Seq)
				}
				d.Tag = uint64(len(u.items) + 1)
				u.push(d)
			}
		}
		whole := func() (count int) {
			for i := range u.items {
				if d := &u.items[i]; d.Message != nil && d.Message.Persistent {
					count++
				}
			}
			return count
		}
		get()
		if got := whole(); got == 0 || got > wholeBytes/size || u.bytes > wholeBytes+2*size {
			t.Errorf("%d of %d persistent messages are whole, %d bytes are counted", got, n, u.bytes)
		}
		s.Settle(u.takeAll(nil), core.Requeue)
		if u.bytes != 0 {
			t.Errorf("%d bytes are counted of none", u.bytes)
		}
		get()
		if u.len() != n {
			t.Errorf("%d of %d came again", u.len(), n)
		}
		var ds []core.Delivery
		for tag := uint64(n); tag > 0; tag -= 2 {
			ds, _ = u.take(tag, ds)
		}
		if ds = u.takeAll(ds); len(ds) != n || u.bytes != 0 {
			t.Errorf("%d of %d were taken, %d bytes are counted", len(ds), n, u.bytes)
		}
		s.Settle(ds, core.Accept)
		if st := b.Stats(); st.Unsettled != 0 || st.Ready != 0 || st.HeldBytes > 4<<10 {
			t.Errorf("at the end: %+v", st)
		}
	})
}

// TestAPublicationGrowsWithWhatArrives: an announcement allocates nothing, no more
// than twice what has arrived is held until a quarter has.
func TestAPublicationGrowsWithWhatArrives(t *testing.T) {
	p := publication{size: 16 << 20, properties: []byte("\x00\x00"), state: awaitBody}
	arrived := len(p.properties)
	part := []byte(strings.Repeat("x", 4088))
	for p.missing() > 0 {
		chunk := part[:min(len(part), p.missing())]
		arrived += len(chunk)
		p.reserve(p.room(arrived))
		p.block = append(p.block, chunk...)
		if all := len(p.properties) + p.size; cap(p.block) > 2*arrived && (arrived < all/4 || cap(p.block) != all) {
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
	for kind, want := range map[core.Kind]struct{ onChannel, onOpen wire.ReplyCode }{
		core.Internal:        {541, 541},
		core.NotFound:        {404, 530},
		core.Inequivalent:    {406, 406},
		core.InUse:           {406, 406},
		core.Invalid:         {406, 406},
		core.TooLarge:        {406, 406},
		core.Unauthenticated: {403, 403},
		core.Refused:         {403, 530},
		core.Locked:          {405, 405},
		core.Exhausted:       {406, 530},
		core.Overflow:        {406, 406},
		core.Unsupported:     {540, 540},
		core.Closing:         {320, 320},
	} {
		if got := replyCode(wire.QueueDeclareID, kind); got != want.onChannel {
			t.Errorf("%v: %d for a method on a channel, want %d", kind, got, want.onChannel)
		}
		if got := replyCode(wire.ConnectionOpenID, kind); got != want.onOpen {
			t.Errorf("%v: %d for connection.open, want %d", kind, got, want.onOpen)
		}
		if got := replyCode(wire.ChannelOpenID, kind); got != want.onChannel && (kind != core.Exhausted || got != want.onOpen) {
			t.Errorf("%v: %d for channel.open", kind, got)
		}
	}
	e := fault(wire.QueueBindID, &core.Error{Kind: core.NotFound, Op: "bind", Name: "queue 'q'"})
	if e == nil || e.ReplyText() != "NOT_FOUND - bind queue 'q': not found" || e.Method != wire.QueueBindID {
		t.Errorf("an error without a text becomes %+v", e)
	}
}

// TestReasonsOfAlarms are RabbitMQ's words.
func TestReasonsOfAlarms(t *testing.T) {
	for alarms, want := range map[core.Alarms]string{
		{Memory: true}:             "low on memory",
		{Disk: true}:               "low on disk",
		{Memory: true, Disk: true}: "low on memory & disk",
	} {
		if got := lowOn(alarms); got != want {
			t.Errorf("%+v is %q, want %q", alarms, got, want)
		}
	}
}
