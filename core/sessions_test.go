package core_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/batonmq/baton/core"
)

// connection is what a front-end keeps of one, as far as the list of sessions goes.
type connection struct {
	session *core.Session
	reasons []error
}

func connect(t *testing.T, b *core.Broker, vhost, user string) (*connection, error) {
	t.Helper()
	c := &connection{}
	var err error
	c.session, err = b.Attach(vhost, core.SessionOptions{
		User: user,
		Info: func(bool) core.ConnectionInfo { return core.ConnectionInfo{Name: user + "@" + vhost} },
		End:  func(reason error) { c.reasons = append(c.reasons, reason) },
	})
	return c, err
}

func connected(t *testing.T, b *core.Broker, vhost, user string) *connection {
	t.Helper()
	c, err := connect(t, b, vhost, user)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// limited is a broker with a vhost and two users that have limits.
func limited(t *testing.T) *core.Broker {
	t.Helper()
	b := engine(t, core.Options{})
	for _, err := range []error{
		second(b.Access().PutVHost(t.Context(), core.VHostInfo{Name: "v", MaxConnections: 3, MaxQueues: -1})),
		second(b.Access().PutUser(t.Context(), core.User{Name: "alice", MaxConnections: 2, MaxChannels: 3})),
		second(b.Access().PutUser(t.Context(), core.User{Name: "bob", MaxConnections: -1, MaxChannels: -1})),
		second(b.Access().PutUser(t.Context(), core.User{Name: "none", MaxConnections: 0, MaxChannels: 0})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func TestConnectionsAreLimitedByVHostAndUser(t *testing.T) {
	b := limited(t)
	first := connected(t, b, "v", "alice")
	connected(t, b, "/", "alice")
	_, err := connect(t, b, "/", "alice")
	checkText(t, err, core.Exhausted, "connection refused for user 'alice': user connection limit (2) is reached")
	_, err = connect(t, b, "/", "none")
	checkText(t, err, core.Exhausted, "connection refused for user 'none': user connection limit (0) is reached")
	connected(t, b, "v", "bob")
	connected(t, b, "v", "a user of another backend")
	_, err = connect(t, b, "v", "alice") // both limits are reached: the vhost's comes first
	checkText(t, err, core.Exhausted, "access to vhost 'v' refused for user 'alice': connection limit (3) is reached")
	_, err = connect(t, b, "w", "alice")
	checkText(t, err, core.NotFound, "vhost w not found")
	if _, err := b.Attach("v", core.SessionOptions{User: "alice"}); err != nil {
		t.Errorf("a session that is no connection's: %v", err)
	}
	first.session.Close()
	first.session.Close()
	connected(t, b, "v", "alice")
	if _, err = connect(t, b, "v", "bob"); core.KindOf(err) != core.Exhausted {
		t.Errorf("what was closed twice counted twice: %v", err)
	}
}

func TestChannelsAreLimitedByUser(t *testing.T) {
	b := limited(t)
	one, two := connected(t, b, "/", "alice").session, connected(t, b, "v", "alice").session
	for _, s := range []*core.Session{one, two, two} {
		if err := s.OpenChannel(); err != nil {
			t.Fatal(err)
		}
	}
	const text = "number of channels opened for user 'alice' has reached the maximum allowed user limit of (3)"
	checkText(t, one.OpenChannel(), core.Exhausted, text)
	two.CloseChannel()
	if err := one.OpenChannel(); err != nil {
		t.Error(err)
	}
	checkText(t, one.OpenChannel(), core.Exhausted, text)
	two.Close() // with a channel open
	if err := one.OpenChannel(); err != nil {
		t.Error(err)
	}
	checkText(t, one.OpenChannel(), core.Exhausted, text)
	for range 5 { // no more than were opened
		one.CloseChannel()
	}
	for range 3 {
		if err := one.OpenChannel(); err != nil {
			t.Error(err)
		}
	}
	checkText(t, one.OpenChannel(), core.Exhausted, text)
}

func TestAttachAsksWhetherTheUserMayEnter(t *testing.T) {
	b := limited(t)
	rec := &recorder{deny: "enter v"}
	_, err := b.Attach("v", core.SessionOptions{User: "alice", Access: rec})
	checkText(t, err, core.Refused, "access to vhost 'v' refused for user 'alice'")
	if !errors.Is(err, core.ErrDenied) {
		t.Errorf("the cause is lost: %v", err)
	}
	_, err = b.Attach("none", core.SessionOptions{User: "alice", Access: rec})
	checkText(t, err, core.NotFound, "vhost none not found")
	if want := []string{"enter v"}; !slices.Equal(rec.asked, want) {
		t.Errorf("asked %q, want %q", rec.asked, want)
	}
}

// Rights that are taken away while a session is opened take effect: it is either ended or not opened.
func TestRightsTakenAwayDuringAttachAreNoticed(t *testing.T) {
	b := limited(t)
	rec := &recorder{}
	rec.visit = func(string) {
		rec.visit = nil
		rec.generation, rec.deny = 1, "enter /"
	}
	_, err := b.Attach("/", core.SessionOptions{User: "alice", Access: rec, End: func(error) {}})
	if core.KindOf(err) != core.Refused {
		t.Errorf("attach: %v", err)
	}
	if n := len(b.Sessions()); n != 0 {
		t.Errorf("%d sessions are listed", n)
	}
}

// Nobody gets into a vhost that is deleted while it is asked whether he may.
func TestVHostDeletedDuringAttachIsNotFound(t *testing.T) {
	b := limited(t)
	rec := &recorder{}
	rec.visit = func(string) {
		if err := second(b.Access().DeleteVHost(t.Context(), "v")); err != nil {
			t.Error(err)
		}
	}
	_, err := b.Attach("v", core.SessionOptions{User: "alice", Access: rec})
	checkText(t, err, core.NotFound, "vhost v not found")
}

func TestSessionsAreListedInOrder(t *testing.T) {
	b := limited(t)
	list := func(want ...*connection) {
		t.Helper()
		var last uint64
		got := b.Sessions()
		for i, s := range got {
			if i >= len(want) || s != want[i].session || s.ID() <= last {
				t.Fatalf("session %d of %d is %s with id %d", i, len(want), s.Info().Name, s.ID())
			}
			last = s.ID()
		}
		if len(got) != len(want) {
			t.Fatalf("%d sessions, want %d", len(got), len(want))
		}
	}
	list()
	one, two, three := connected(t, b, "/", "bob"), connected(t, b, "v", "bob"), connected(t, b, "/", "carol")
	unlisted := attach(t, b)
	list(one, two, three)
	if unlisted.ID() != 0 || two.session.Info().Name != "bob@v" {
		t.Errorf("id %d, %q", unlisted.ID(), two.session.Info().Name)
	}
	unlisted.Close()
	two.session.Close()
	list(one, three)
	three.session.Close()
	four := connected(t, b, "/", "bob")
	list(one, four)
	one.session.Close()
	four.session.Close()
	list()
}

func TestConnectionsEndWithTheirUserOrVHost(t *testing.T) {
	b := limited(t)
	alice, other, bob := connected(t, b, "v", "alice"), connected(t, b, "/", "alice"), connected(t, b, "v", "bob")
	if err := second(b.Access().DeleteUser(t.Context(), "alice")); err != nil {
		t.Fatal(err)
	}
	if err := second(b.Access().DeleteUser(t.Context(), "alice")); err != nil { // nobody is told twice
		t.Fatal(err)
	}
	for _, c := range []*connection{alice, other} {
		if len(c.reasons) != 1 {
			t.Fatalf("told %v", c.reasons)
		}
		checkText(t, c.reasons[0], core.Closing, "user 'alice' is deleted")
		c.session.Close()
	}
	if len(bob.reasons) != 0 {
		t.Errorf("bob was told %v", bob.reasons)
	}
	if err := second(b.Access().DeleteVHost(t.Context(), "v")); err != nil {
		t.Fatal(err)
	}
	if len(bob.reasons) != 1 {
		t.Fatalf("told %v", bob.reasons)
	}
	checkText(t, bob.reasons[0], core.Closing, "vhost 'v' is deleted")
}

func TestSessionKnowsTheTagsOfItsUser(t *testing.T) {
	s, err := engine(t, core.Options{}).Attach("/", core.SessionOptions{Tags: []string{"impersonator"}})
	if err != nil {
		t.Fatal(err)
	}
	if !s.HasTag("impersonator") || s.HasTag("administrator") {
		t.Error("tags are mixed up")
	}
}
