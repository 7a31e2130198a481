package core

import (
	"fmt"
	"sync"
)

// arrivingFloor is what one session may have arriving without being counted: small messages cost no lock.
const arrivingFloor = 64 << 10

// arriving is what has come, over all sessions, of messages that are not complete yet. Admit is asked when a message is complete, so
// that nothing else bounds them together: many clients that send all of a large message but its end would fill the memory, and whoever
// made them wait would hold up the honest ones behind them. So when it is too much, one of them is ended: of those that have at least
// half the average, the one whose messages have been under way for longest. Whoever sends its message in one go is behind that one,
// and who has little is not worth it.
type arriving struct {
	limit int64

	mu    sync.Mutex // a leaf
	total int64      // of those in held that were not ended
	turn  uint64
	held  map[*Session]*holding // those above arrivingFloor
}

type holding struct {
	bytes int64
	turn  uint64 // grows with the time at which it began to hold any
	ended bool   // and is on its way out
}

// Arriving says that so many bytes of the session's incomplete messages are in memory; 0: there is none under way any more. The session may
// be told to end (SessionOptions.End) by its own or by another's call. It is called by the connection's reader.
func (s *Session) Arriving(bytes int64) {
	if bytes <= arrivingFloor {
		bytes = 0
	}
	if bytes == s.arriving || s.opt.End == nil {
		return
	}
	s.arriving = bytes
	if victim := s.broker.arriving.set(s, bytes); victim != nil {
		victim.opt.End(&Error{
			Kind: Exhausted, Op: "receive", Name: "messages under way",
			Text: fmt.Sprintf("messages of all connections that are not complete take more than %d bytes, and this connection's have been under way for longest", s.broker.arriving.limit),
		})
	}
}

// set returns the session that has to end for it, nil if none.
func (a *arriving) set(s *Session, bytes int64) (victim *Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	h := a.held[s]
	switch {
	case bytes == 0:
		if h != nil && !h.ended {
			a.total -= h.bytes
		}
		delete(a.held, s)
		return nil
	case h == nil:
		if a.held == nil {
			a.held = make(map[*Session]*holding)
		}
		a.turn++
		h = &holding{turn: a.turn}
		a.held[s] = h
	case h.ended:
		return nil
	}
	a.total += bytes - h.bytes
	h.bytes = bytes
	if a.total <= a.limit {
		return nil
	}
	return a.endLocked()
}

// endLocked chooses who has to end; nobody where there is but one. What it has does not count from now on: its connection is about to let
// go of it.
func (a *arriving) endLocked() (victim *Session) {
	counted := int64(0)
	for _, h := range a.held {
		if !h.ended {
			counted++
		}
	}
	if counted < 2 {
		return nil // what one connection may have arriving is its front-end's to bound
	}
	var first *holding
	for s, h := range a.held {
		if !h.ended && h.bytes >= a.total/counted/2 && (first == nil || h.turn < first.turn) {
			victim, first = s, h
		}
	}
	first.ended = true
	a.total -= first.bytes
	return victim
}
