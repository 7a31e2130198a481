package persistence

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
)

// TestClock_TheWallOfTheNextHostDoesNotCount: a broker takes over on a host whose wall clock differs by an hour from the one on which messages
// were published. What they had left to wait is what they have left, less what has passed meanwhile.
func TestClock_TheWallOfTheNextHostDoesNotCount(t *testing.T) {
	tests := []struct {
		name  string
		ahead time.Duration // the first host's wall clock, of the second one's
	}{
		{"alike", 0},
		{"the next host an hour behind", time.Hour},
		{"the next host an hour ahead", -time.Hour},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newLives(t)
				v.edit = func(o *Options) { o.wall = func() time.Time { return time.Now().Add(tt.ahead) } }
				first := v.open()
				publishFor(t, first, 10*time.Minute)
				time.Sleep(4 * time.Minute)
				v.kill(first)

				time.Sleep(time.Minute)
				v.source.Time = v.source.Time.Add(time.Minute) // the silence that the next one has observed
				v.edit = nil
				second := v.open()
				left, ok := leftOfFirst(t, second)
				if !ok || left < 5*time.Minute-time.Second || left > 5*time.Minute {
					t.Errorf("%v left (found %v), want 5 minutes", left, ok)
				}
				time.Sleep(5*time.Minute + time.Second)
				if left, ok := leftOfFirst(t, second); ok {
					t.Errorf("still there when its time is over, with %v left", left)
				}
				v.close(second)
			})
		})
	}
}

// publishFor has a message published on s that expires after d, and returns when that has passed.
func publishFor(t *testing.T, s *Store, d time.Duration) {
	t.Helper()
	b, session := sessionOn(t, s)
	defer b.Close()
	if _, err := session.DeclareQueue(t.Context(), core.QueueSpec{Name: "q", Durable: true}); err != nil {
		t.Fatal(err)
	}
	m := &core.Message{Key: "q", Body: []byte("m"), Persistent: true, Expires: session.ExpiresAfter(d)}
	if _, err := session.Publish(m, nil, 0); err != nil {
		t.Fatal(err)
	}
	commit(t, s, core.Op{Kind: core.OpNone})
}

// leftOfFirst is how long the first message of the queue may wait further.
func leftOfFirst(t *testing.T, s *Store) (left time.Duration, ok bool) {
	t.Helper()
	b, session := sessionOn(t, s)
	defer b.Close()
	d, _, ok, err := session.Get(t.Context(), "q", false)
	if err != nil {
		t.Fatal(err)
	}
	if ok {
		left = session.Left(d.Message)
		session.Close(d)
	}
	return left, ok
}

func sessionOn(t *testing.T, s *Store) (*core.Broker, *core.Session) {
	t.Helper()
	b, err := core.Open(t.Context(), s, core.Options{Epoch: uint32(s.opt.Epoch)})
	if err != nil {
		t.Fatal(err)
	}
	session, err := b.Attach(core.DefaultVHost, core.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return b, session
}
