package core_test

import (
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

// inbox takes replies until it is full.
type inbox struct {
	got  []string
	full bool
}

func (i *inbox) Reply(m *core.Message) bool {
	if i.full {
		return false
	}
	i.got = append(i.got, string(m.Body))
	return true
}

// TestReplyAddress_LeadsToItsReceiverAlone: past all queues, from any session, for as long as it is open.
func TestReplyAddress_LeadsToItsReceiverAlone(t *testing.T) {
	broker := engine(t, core.Options{})
	asks, answers := attach(t, broker), attach(t, broker)
	var box, other inbox
	a, b := asks.OpenReplies(&box), asks.OpenReplies(&other)
	if a.Key() == b.Key() || !strings.HasPrefix(a.Key(), core.ReplyQueue+".") || len(a.Key()) != len(core.ReplyQueue)+1+22 {
		t.Fatalf("addresses %q and %q", a.Key(), b.Key())
	}
	send := func(key, body string) int {
		t.Helper()
		routed, err := answers.Publish(&core.Message{Key: key, Body: []byte(body)}, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		return routed
	}
	for _, step := range []struct {
		key, body string
		routed    int
	}{
		{a.Key(), "one", 1}, {b.Key(), "two", 1}, {core.ReplyQueue, "nobody's", 0}, {core.ReplyQueue + ".", "nobody's", 0}, {a.Key() + "x", "nobody's", 0},
	} {
		if n := send(step.key, step.body); n != step.routed {
			t.Errorf("%s reached %d, want %d", step.key, n, step.routed)
		}
	}
	box.full = true
	if n := send(a.Key(), "too much"); n != 0 {
		t.Errorf("what was not taken reached %d", n)
	}
	a.Close()
	box.full = false
	if n := send(a.Key(), "late"); n != 0 || answers.IsReplyAddress(a.Key()) || !answers.IsReplyAddress(b.Key()) {
		t.Errorf("a closed address reached %d", n)
	}
	asks.Close()
	if n := send(b.Key(), "later"); n != 0 {
		t.Errorf("an address of a closed session reached %d", n)
	}
	if got := strings.Join(box.got, " ") + "|" + strings.Join(other.got, " "); got != "one|two" {
		t.Errorf("received %q", got)
	}
}
