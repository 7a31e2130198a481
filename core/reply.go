package core

import (
	"strings"
	"sync"
)

// ReplyQueue is what clients call the queue from which they consume replies that go past all queues: each has an address of its own.
const ReplyQueue = "amq.rabbitmq.reply-to"

// addressPrefix is what such addresses begin with. No queue can have such a name: it is reserved.
const addressPrefix = ReplyQueue + "."

// ReplyReceiver is where a front-end takes replies. Reply is called by any goroutine, without locks; it neither blocks nor calls the engine. It reports whether
// it has taken m: not if too much waits for the client already, or the address was closed meanwhile.
type ReplyReceiver interface {
	Reply(m *Message) bool
}

// ReplyAddress is a routing key of the default exchange, in every vhost, that leads to one receiver. Nobody can guess it, and nothing keeps what is
// sent there: a message that the receiver does not take has reached nobody.
type ReplyAddress struct {
	session  *Session
	key      string
	receiver ReplyReceiver
}

// OpenReplies makes an address for the session's replies. It is open until it or the session is closed.
func (s *Session) OpenReplies(r ReplyReceiver) *ReplyAddress {
	a := &ReplyAddress{session: s, key: GeneratedName(addressPrefix), receiver: r}
	if s.addresses == nil {
		s.addresses = map[*ReplyAddress]struct{}{}
	}
	s.addresses[a] = struct{}{}
	s.broker.replies.add(a)
	return a
}

// Key is the routing key.
func (a *ReplyAddress) Key() string { return a.key }

// Close closes the address. A message that is being handed over may still arrive.
func (a *ReplyAddress) Close() {
	delete(a.session.addresses, a)
	a.session.broker.replies.remove(a)
}

// IsReplyAddress reports whether a routing key leads to a receiver of replies.
func (s *Session) IsReplyAddress(key string) bool {
	return strings.HasPrefix(key, addressPrefix) && s.broker.replies.find(key) != nil
}

// replies are the addresses that are open. Its lock is a leaf.
type replies struct {
	mu    sync.RWMutex
	byKey map[string]*ReplyAddress
}

func (r *replies) add(a *ReplyAddress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey == nil {
		r.byKey = map[string]*ReplyAddress{}
	}
	r.byKey[a.key] = a
}

func (r *replies) remove(a *ReplyAddress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.byKey, a.key)
}

func (r *replies) find(key string) *ReplyAddress {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byKey[key]
}

// reply hands m to the receiver of replies that its key leads to, if it does lead to one, and returns the number of those that have taken it.
func (s *Session) reply(m *Message) int {
	if !strings.HasPrefix(m.Key, addressPrefix) {
		return 0
	}
	a := s.broker.replies.find(m.Key)
	switch {
	case a == nil:
		return 0
	case !a.receiver.Reply(s.keep(m)):
		s.broker.dropped.Add(1)
		return 0
	}
	return 1
}
