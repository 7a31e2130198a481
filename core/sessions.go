package core

import (
	"fmt"
	"sync"
)

// sessions lists the connections' sessions in the order of their opening, and counts them for the limits of users and vhosts, whatever
// protocol they speak. Its lock is a leaf.
type sessions struct {
	mu          sync.Mutex
	made        uint64
	first, last *Session
	users       map[string]*usage
}

// usage counts what a user has open, across protocols. One that has nothing open has none.
type usage struct{ sessions, channels int32 }

// listing is a session's place in the list. All but id is guarded by sessions.mu.
type listing struct {
	id         uint64 // 0: it is not a connection's
	prev, next *Session
	user       *usage
	channels   int32
	over       bool // it was taken off
}

// Attach opens a session in a vhost.
func (b *Broker) Attach(vhost string, opt SessionOptions) (*Session, error) {
	const op = "open vhost"
	v := b.vhost(vhost)
	if v == nil {
		return nil, noVHost(op, vhost)
	}
	s := &Session{broker: b, vhost: v, opt: opt, rates: newRates(opt.MessageRate, opt.ByteRate)}
	seen := s.generation()
	if err := s.enter(op); err != nil {
		return nil, err
	}
	if err := b.sessions.add(s); err != nil {
		return nil, err
	}
	// Whoever changes rights ends the sessions that are listed by then. If rights changed before s was, they may be other ones now.
	if s.generation() != seen {
		if err := s.enter(op); err != nil {
			b.sessions.takeOff(s) // nobody was told of it
			return nil, err
		}
	}
	s.Moved()
	s.tell("connection.created")
	return s, nil
}

func noVHost(op, name string) error {
	return &Error{Kind: NotFound, Op: op, Name: name, Text: fmt.Sprintf("vhost %s not found", name)}
}

// add lists s if it is a connection's, within the limits of its vhost and its user.
func (t *sessions) add(s *Session) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if s.vhost.closed {
		return noVHost("open vhost", s.vhost.name)
	}
	if s.opt.Info == nil && s.opt.End == nil {
		return nil
	}
	if err := s.broker.keepsOut(s); err != nil {
		return err
	}
	use := t.users[s.opt.User]
	if use == nil {
		use = &usage{}
	}
	if err := s.withinLimits(use); err != nil {
		return err
	}
	if t.users == nil {
		t.users = map[string]*usage{}
	}
	t.users[s.opt.User] = use
	use.sessions++
	s.vhost.sessions++
	t.made++
	s.listed = listing{id: t.made, user: use, prev: t.last}
	if t.last == nil {
		t.first = s
	} else {
		t.last.listed.next = s
	}
	t.last = s
	return nil
}

// withinLimits checks the limits in RabbitMQ's order: the vhost's, then the user's. sessions.mu is held.
func (s *Session) withinLimits(use *usage) error {
	const op = "open vhost"
	if limit := s.vhost.info.Load().MaxConnections; limit >= 0 && s.vhost.sessions >= limit {
		return &Error{
			Kind: Exhausted, Op: op, Name: s.vhost.name,
			Text: fmt.Sprintf("%s: connection limit (%d) is reached", s.noEntry(), limit),
		}
	}
	if u, ok := s.broker.access.User(s.opt.User); ok && u.MaxConnections >= 0 && int(use.sessions) >= u.MaxConnections {
		return &Error{
			Kind: Exhausted, Op: op, Name: s.vhost.name,
			Text: fmt.Sprintf("connection refused for user '%s': user connection limit (%d) is reached", u.Name, u.MaxConnections),
		}
	}
	return nil
}

// remove takes s off the list. It may be called more than once.
func (t *sessions) remove(s *Session) {
	if t.takeOff(s) {
		s.tell("connection.closed")
	}
}

// takeOff reports whether s was on the list.
func (t *sessions) takeOff(s *Session) bool {
	l := &s.listed
	if l.id == 0 {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if l.over {
		return false
	}
	l.over = true
	if l.prev == nil {
		t.first = l.next
	} else {
		l.prev.listed.next = l.next
	}
	if l.next == nil {
		t.last = l.prev
	} else {
		l.next.listed.prev = l.prev
	}
	l.prev, l.next = nil, nil
	s.vhost.sessions--
	l.user.channels -= l.channels
	l.channels = 0
	if l.user.sessions--; l.user.sessions == 0 {
		delete(t.users, s.opt.User)
	}
	return true
}

// shut lets no session be opened in v any more.
func (t *sessions) shut(v *VHost) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v.closed = true
}

// end asks the connections of sessions to end.
func (t *sessions) end(which func(*Session) bool, reason error) {
	for _, s := range t.list(which) {
		s.End(reason)
	}
}

// list returns sessions in the order of their opening.
func (t *sessions) list(which func(*Session) bool) (all []*Session) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for s := t.first; s != nil; s = s.listed.next {
		if which(s) {
			all = append(all, s)
		}
	}
	return all
}

// Sessions returns the connections' sessions, in the order of their opening.
func (b *Broker) Sessions() []*Session {
	return b.sessions.list(func(*Session) bool { return true })
}

// Clients returns those of Sessions whose connections clients have opened.
func (b *Broker) Clients() []*Session {
	return b.sessions.list(func(s *Session) bool { return !s.opt.Outgoing })
}

// ID is a number that no other connection's session has while the process lives. 0: the session is not a connection's.
func (s *Session) ID() uint64 { return s.listed.id }

// Info describes the session's connection.
func (s *Session) Info() ConnectionInfo {
	if s.opt.Info == nil {
		return ConnectionInfo{Name: s.opt.Conn, User: s.opt.User, VHost: s.vhost.name}
	}
	return s.opt.Info(false)
}

// Name is the name of the session's connection.
func (s *Session) Name() string {
	if s.opt.Info == nil {
		return s.opt.Conn
	}
	return s.opt.Info(true).Name
}

// Traffic tells how much the session's connection has carried. Unlike Info it allocates nothing.
func (s *Session) Traffic() Traffic {
	if s.opt.Traffic != nil {
		return s.opt.Traffic()
	}
	i := s.Info()
	return Traffic{i.BytesIn, i.BytesOut}
}

// Over reports whether the session is closed.
func (s *Session) Over() bool {
	t := &s.broker.sessions
	t.mu.Lock()
	defer t.mu.Unlock()
	return s.listed.over
}

// End asks the session's connection to end, and tells it why. It does not wait for that.
func (s *Session) End(reason error) {
	if s.opt.End != nil {
		s.opt.End(reason)
	}
}

// OpenChannel counts one more channel of the session for its user's limit.
func (s *Session) OpenChannel() error {
	if s.listed.id == 0 {
		return nil
	}
	t := &s.broker.sessions
	t.mu.Lock()
	defer t.mu.Unlock()
	l := &s.listed
	if u, ok := s.broker.access.User(s.opt.User); ok && u.MaxChannels >= 0 && int(l.user.channels) >= u.MaxChannels {
		return &Error{
			Kind: Exhausted, Op: "open channel", Name: userName(u.Name),
			Text: fmt.Sprintf("number of channels opened for user '%s' has reached the maximum allowed user limit of (%d)",
				u.Name, u.MaxChannels),
		}
	}
	l.channels++
	l.user.channels++
	return nil
}

// CloseChannel takes back what a successful OpenChannel counted. Close takes back what is left.
func (s *Session) CloseChannel() {
	t := &s.broker.sessions
	t.mu.Lock()
	defer t.mu.Unlock()
	if l := &s.listed; l.channels > 0 {
		l.channels--
		l.user.channels--
	}
}
