package auth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/batonmq/baton/core"
)

func newInternal(tb testing.TB, u Users, opt InternalOptions) *Internal {
	tb.Helper()
	i, err := NewInternal(newAccounts(tb, u), opt)
	if err != nil {
		tb.Fatal(err)
	}
	return i
}

func hashOf(tb testing.TB, password string) string {
	tb.Helper()
	hash, err := HashPassword(password)
	if err != nil {
		tb.Fatal(err)
	}
	return hash
}

// cheap is a hash that costs the tests nothing.
const cheap = "rabbit_password_hashing_sha256:" + rabbitTest12

func TestInternal(t *testing.T) {
	u := &users{all: map[string]core.User{
		"new":     {Name: "new", Password: hashOf(t, "s3cret"), Tags: []string{"administrator", "custom"}},
		"rabbit":  {Name: "rabbit", Password: cheap},
		"mqtt":    {Name: "mqtt", Password: mosquitto7},
		"guest":   {Name: "guest", Password: cheap},
		"nologin": {Name: "nologin"},
		"broken":  {Name: "broken", Password: "hunter2"},
	}}
	i := newInternal(t, u, InternalOptions{})
	here, there := tcpAddr("127.0.0.1"), tcpAddr("192.0.2.1")
	for _, tt := range []struct {
		name                          string
		mechanism, username, password string
		from                          net.Addr
		err                           error
	}{
		{name: "a hash made here", mechanism: PLAIN, username: "new", password: "s3cret", from: there},
		{name: "a hash of RabbitMQ", mechanism: AMQPLAIN, username: "rabbit", password: "test12", from: there},
		{name: "a hash of Mosquitto, without a mechanism", username: "mqtt", password: "secret", from: there},
		{name: "guest from here", mechanism: PLAIN, username: "guest", password: "test12", from: here},
		{name: "guest from there", mechanism: PLAIN, username: "guest", password: "test12", from: there, err: ErrNotLoopback},
		{name: "guest from there with a wrong password", mechanism: PLAIN, username: "guest", password: "x", from: there, err: ErrBadCredentials},
		{name: "a wrong password", mechanism: PLAIN, username: "new", password: "secret", from: there, err: ErrBadCredentials},
		{name: "a wrong password for an imported hash", mechanism: PLAIN, username: "rabbit", password: "test13", from: there, err: ErrBadCredentials},
		{name: "an unknown user", mechanism: PLAIN, username: "nobody", password: "s3cret", from: there, err: ErrBadCredentials},
		{name: "an empty password", mechanism: PLAIN, username: "new", from: there, err: ErrBadCredentials},
		{name: "a user without a hash", mechanism: PLAIN, username: "nologin", password: "x", from: there, err: ErrBadCredentials},
		{name: "a user without a hash and no password", mechanism: PLAIN, username: "nologin", from: there, err: ErrBadCredentials},
		{name: "a user whose record is broken", mechanism: PLAIN, username: "broken", password: "hunter2", from: here, err: ErrBadCredentials},
		{name: "nothing", from: here, err: ErrBadCredentials},
		{name: "another mechanism", mechanism: EXTERNAL, username: "new", password: "s3cret", from: there, err: ErrMechanism},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 2 { // the second time from memory
				p, err := i.Authenticate(t.Context(), Credentials{Mechanism: tt.mechanism, Username: tt.username, Password: tt.password, RemoteAddr: tt.from})
				if !errors.Is(err, tt.err) || (tt.err != nil) != (p.Name == "") {
					t.Fatalf("Authenticate = %+v, %v; want %v", p, err, tt.err)
				}
				if tt.err != nil {
					if tt.password != "" && len(tt.password) > 1 && strings.Contains(err.Error(), tt.password) {
						t.Errorf("error %q tells the password", err)
					}
					return
				}
				if want := u.all[tt.username]; p.Name != tt.username || !slices.Equal(p.Tags, want.Tags) || p.Access == nil {
					t.Errorf("principal %+v of user %+v", p, want)
				}
			}
		})
	}
}

func TestInternal_LoopbackOnlyIsAList(t *testing.T) {
	u := &users{all: map[string]core.User{"guest": {Name: "guest", Password: cheap}, "local": {Name: "local", Password: cheap}}}
	for _, tt := range []struct {
		list []string
		want map[string]bool // who is let in from elsewhere
	}{
		{nil, map[string]bool{"guest": false, "local": true}},
		{[]string{}, map[string]bool{"guest": true, "local": true}},
		{[]string{"local", "other"}, map[string]bool{"guest": true, "local": false}},
	} {
		a, err := NewAccounts(AccountsOptions{Users: u, LoopbackOnly: tt.list})
		if err != nil {
			t.Fatal(err)
		}
		i, err := NewInternal(a, InternalOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range tt.want {
			_, err := i.Authenticate(t.Context(), Credentials{Username: name, Password: "test12", RemoteAddr: tcpAddr("192.0.2.1")})
			if (err == nil) != want {
				t.Errorf("loopback only %q: %s from elsewhere: %v", tt.list, name, err)
			}
		}
	}
}

func TestInternal_StormHashesOncePerUser(t *testing.T) {
	const clients, names = 2000, 4
	u := &users{all: map[string]core.User{}}
	for n := range names {
		name := fmt.Sprint("user", n)
		u.set(core.User{Name: name, Password: hashOf(t, name)})
	}
	i := newInternal(t, u, InternalOptions{})
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			name := fmt.Sprint("user", c%names)
			if p, err := i.Authenticate(t.Context(), Credentials{Username: name, Password: name}); err != nil || p.Name != name {
				t.Errorf("login %d: %+v, %v", c, p, err)
			}
		})
	}
	wg.Wait()
	if s := i.Stats(); s.Hashed != names || s.Remembered != names {
		t.Errorf("%d logins of %d users: %+v", clients, names, s)
	}
}

func TestInternal_WrongPasswordsAreNotRemembered(t *testing.T) {
	u := &users{all: map[string]core.User{"u": {Name: "u", Password: cheap}}}
	i := newInternal(t, u, InternalOptions{})
	for n := range 3 {
		if _, err := i.Authenticate(t.Context(), Credentials{Username: "u", Password: "wrong"}); !errors.Is(err, ErrBadCredentials) {
			t.Fatal(err)
		}
		if s := i.Stats(); s.Hashed != uint64(n+1) || s.Remembered != 0 {
			t.Errorf("after %d wrong passwords: %+v", n+1, s)
		}
	}
}

func TestInternal_WhatWasRememberedEndsWithTheHash(t *testing.T) {
	other := hashOf(t, "other")
	for name, change := range map[string]func(*users){
		"a new password":   func(u *users) { u.set(core.User{Name: "u", Password: other}) },
		"no password":      func(u *users) { u.set(core.User{Name: "u"}) },
		"the user deleted": func(u *users) { u.remove("u") },
	} {
		t.Run(name, func(t *testing.T) {
			u := &users{all: map[string]core.User{"u": {Name: "u", Password: cheap}}}
			i := newInternal(t, u, InternalOptions{})
			login := func() error {
				_, err := i.Authenticate(t.Context(), Credentials{Username: "u", Password: "test12"})
				return err
			}
			if err := errors.Join(login(), login()); err != nil {
				t.Fatal(err)
			}
			change(u)
			if err := login(); !errors.Is(err, ErrBadCredentials) {
				t.Errorf("the old password: %v, want ErrBadCredentials", err)
			}
			u.set(core.User{Name: "u", Password: cheap})
			if err := login(); err != nil {
				t.Errorf("the old hash again: %v", err)
			}
		})
	}
}

func TestInternal_MemoryIsBounded(t *testing.T) {
	u := &users{all: map[string]core.User{}}
	i := newInternal(t, u, InternalOptions{Remembered: 10})
	for n := range 100 {
		name := fmt.Sprint("user", n)
		u.set(core.User{Name: name, Password: cheap})
		for _, name := range []string{name, "user0"} {
			if _, err := i.Authenticate(t.Context(), Credentials{Username: name, Password: "test12"}); err != nil {
				t.Fatal(err)
			}
		}
		if s := i.Stats(); s.Remembered > 10 {
			t.Fatalf("%d credentials are remembered, 10 are allowed", s.Remembered)
		}
	}
	if s := i.Stats(); s.Hashed != 100 {
		t.Errorf("%d hashes for 100 users: user0 was forgotten though it came again and again", s.Hashed)
	}
}

// A login that waits for room gives up with its context, and those who waited
// for the same one go on without it.
func TestInternal_WaitsAreBoundedByTheContext(t *testing.T) {
	u := &users{all: map[string]core.User{"u": {Name: "u", Password: cheap}}}
	i := newInternal(t, u, InternalOptions{Hashing: 1})
	if !i.budget.TryAcquire(i.whole) {
		t.Fatal("no room though nobody logs in")
	}
	c := Credentials{Username: "u", Password: "test12"}
	leaving, leave := context.WithCancelCause(t.Context())
	left := make(chan error)
	go func() { _, err := i.Authenticate(leaving, c); left <- err }()
	ch := awaitCheck(i, i.key(cheap, c))

	follower, unfollow := context.WithCancel(t.Context())
	unfollow()
	if _, err := i.Authenticate(follower, c); !errors.Is(err, context.Canceled) || errors.Is(err, ErrRefused) {
		t.Errorf("a follower whose context ended: %v", err)
	}
	stayed := make(chan error)
	go func() { _, err := i.Authenticate(t.Context(), c); stayed <- err }()

	cause := errors.New("the handshake took too long")
	leave(cause)
	if err := <-left; !errors.Is(err, cause) || errors.Is(err, ErrRefused) {
		t.Errorf("the one who led: %v, want %v", err, cause)
	}
	<-ch.done
	i.budget.Release(i.whole)
	if err := <-stayed; err != nil {
		t.Errorf("the one who stayed: %v", err)
	}
	if s := i.Stats(); s.Hashed != 1 {
		t.Errorf("%+v, want one hash", s)
	}
}

// awaitCheck returns the check of that key, once there is one.
func awaitCheck(i *Internal, k loginKey) *check {
	for {
		i.mu.Lock()
		ch := i.checks[k]
		i.mu.Unlock()
		if ch != nil {
			return ch
		}
		runtime.Gosched()
	}
}

// The work of a refusal does not tell whether there is such a user: it takes at
// least the memory of a default hash, whatever is stored.
func TestInternal_RefusalsCostADefaultHash(t *testing.T) {
	u := &users{all: map[string]core.User{
		"new":     {Name: "new", Password: hashOf(t, "x")},
		"rabbit":  {Name: "rabbit", Password: cheap},
		"nologin": {Name: "nologin"},
		"broken":  {Name: "broken", Password: "hunter2"},
	}}
	i := newInternal(t, u, InternalOptions{})
	for _, name := range []string{"new", "rabbit", "nologin", "broken", "nobody"} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := i.Authenticate(t.Context(), Credentials{Username: name, Password: "wrong"}); !errors.Is(err, ErrBadCredentials) {
			t.Error(err)
		}
		runtime.ReadMemStats(&after)
		kib := (after.TotalAlloc - before.TotalAlloc) / 1024
		if kib < argonMemory || kib > argonMemory+1024 {
			t.Errorf("%s: a refusal takes %d KiB, want one hash of %d", name, kib, argonMemory)
		}
	}
}

// BenchmarkInternal_Remembered is a login of a client that comes back.
func BenchmarkInternal_Remembered(b *testing.B) {
	u := &users{all: map[string]core.User{"u": {Name: "u", Password: hashOf(b, "s3cret")}}}
	i := newInternal(b, u, InternalOptions{})
	c := Credentials{Mechanism: PLAIN, Username: "u", Password: "s3cret", RemoteAddr: tcpAddr("192.0.2.1")}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := i.Authenticate(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkInternal_Storm is 10 000 logins of 100 users at once, after a
// takeover: nothing is remembered yet.
func BenchmarkInternal_Storm(b *testing.B) {
	const clients, names = 10_000, 100
	u := &users{all: map[string]core.User{}}
	for n := range names {
		name := fmt.Sprint("user", n)
		u.set(core.User{Name: name, Password: hashOf(b, name)})
	}
	for b.Loop() {
		i := newInternal(b, u, InternalOptions{})
		var wg sync.WaitGroup
		for c := range clients {
			wg.Go(func() {
				name := fmt.Sprint("user", c%names)
				if _, err := i.Authenticate(b.Context(), Credentials{Username: name, Password: name}); err != nil {
					b.Error(err)
				}
			})
		}
		wg.Wait()
		if s := i.Stats(); s.Hashed != names {
			b.Fatalf("%d logins of %d users: %+v", clients, names, s)
		}
	}
}
