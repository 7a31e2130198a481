package core

import (
	"sync"
	"sync/atomic"
	"time"
)

// stirs tells what of the broker's numbers has changed since somebody looked last, so that to look costs as much as has changed: of a
// hundred thousand sessions, and their queues, nearly all are silent.
//
// Time is divided into turns, and a look begins a new one. A queue is on the list once in a turn, with what its numbers were before the
// first change of it. So the sum of all queues' numbers is that of the last look and what those on the list differ by.
type stirs struct {
	turn  atomic.Int64 // its name: when it began, in Unix milliseconds; no two have the same
	first atomic.Int64 // the name of the one that the first look began; 0: there was none

	looking sync.Mutex // who reads sum and the list sees whole turns. Above every queue.mu
	sum     QueueStats // of all queues there were, as they were when the turn began; guarded by looking

	mu       sync.Mutex // a leaf
	queues   []stirredQueue
	sessions []*Session
}

// stirredQueue is a queue whose numbers have changed in this turn.
type stirredQueue struct {
	queue *Queue
	was   QueueStats // before that
}

// stirred is a queue's, or a session's, place in the list. It is guarded by queue.mu.
type stirred struct {
	turn  int64 // the last one in which it was on the list; negative: it never was, and was made in this one
	place int32 // on that list
}

// stir is called before the queue's numbers change. mu is held.
func (q *Queue) stir() {
	if s := &q.vhost.broker.stirs; q.stirred.turn != s.turn.Load() {
		s.add(q)
	}
}

// begin notes in which turn a new queue was made.
func (s *stirs) begin(q *Queue) {
	if q.stirred.turn == 0 { // else it has messages already
		q.stirred.turn = -s.turn.Load()
	}
}

func (s *stirs) add(q *Queue) {
	s.mu.Lock()
	defer s.mu.Unlock()
	q.stirred = stirred{turn: s.turn.Load(), place: int32(len(s.queues))}
	s.queues = append(s.queues, stirredQueue{q, q.stats})
}

// next begins a turn, and returns what changed in the last one.
func (s *stirs) next(now time.Time) ([]stirredQueue, []*Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	queues, sessions := s.queues, s.sessions
	s.queues, s.sessions = nil, nil // a list is as long as what moves, so that no peak is kept
	s.turn.Store(max(s.turn.Load()+1, now.UnixMilli()))
	s.first.CompareAndSwap(0, s.turn.Load())
	return queues, sessions
}

// read returns what a queue of an earlier turn's list amounts to when this one begins, which is now as far as it is not on this one's.
func (s *stirs) read(q *Queue) QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stirred.turn == s.turn.Load() {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.queues[q.stirred.place].was
	}
	return q.stats
}

// total sums the numbers of all queues, and of those that are gone, but for what these do not have any more.
func (s *stirs) total() QueueStats {
	s.looking.Lock()
	defer s.looking.Unlock()
	sum := s.sum
	for i := 0; ; i++ {
		e, ok := s.at(i)
		if !ok {
			return sum
		}
		e.queue.mu.Lock()
		is := e.queue.stats
		e.queue.mu.Unlock()
		sum.add(is)
		sum.take(e.was)
	}
}

func (s *stirs) at(i int) (e stirredQueue, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i < len(s.queues) {
		return s.queues[i], true
	}
	return e, false
}

// A Look is told what has changed since the look before. Its functions may be nil.
type Look struct {
	Queue   func(q *Queue, was, is QueueStats)
	Session func(s *Session, was, is Traffic) // of a connection; one that is new had none
}

// Look tells which queues' and connections' numbers have changed. Whoever runs the broker has one look every few seconds: what one was told of,
// no other is, and what has moved is held until somebody looks.
func (b *Broker) Look(now time.Time, l Look) {
	s := &b.stirs
	s.looking.Lock()
	defer s.looking.Unlock()
	queues, sessions := s.next(now)
	for _, e := range queues {
		is := s.read(e.queue)
		s.sum.add(is)
		s.sum.take(e.was)
		if l.Queue != nil {
			l.Queue(e.queue, e.was, is)
		}
	}
	for _, session := range sessions {
		was, is := session.looked, session.Traffic()
		session.looked = is
		if l.Session != nil {
			l.Session(session, was, is)
		}
	}
}

// Stirred returns which look has begun the turn in which the queue's numbers have changed last, or in which it was made. The time before
// the first look counts for the turn behind it.
func (q *Queue) Stirred() time.Time {
	q.mu.Lock()
	defer q.mu.Unlock()
	turn := max(q.stirred.turn, -q.stirred.turn)
	return time.UnixMilli(max(turn, q.vhost.broker.stirs.first.Load()))
}

// Gone reports whether the queue is deleted.
func (q *Queue) Gone() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.deleted
}

// firstTurn is the name of the turn before the first look.
const firstTurn = 1

// Moved notes that the session's connection has read or written. It is called by any goroutine, after what Traffic tells has changed.
func (s *Session) Moved() {
	if turn := s.broker.stirs.turn.Load(); s.moved.Load() != turn {
		s.stir(turn)
	}
}

func (s *Session) stir(turn int64) {
	if s.listed.id == 0 || s.moved.Swap(turn) == turn {
		return
	}
	all := &s.broker.stirs
	all.mu.Lock()
	defer all.mu.Unlock()
	all.sessions = append(all.sessions, s)
}
