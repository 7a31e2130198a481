package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"sync"
	"time"
)

// answers remembers what a backend said, each for its time, and has one question
// under way for all who ask the same.
type answers struct {
	secret   [sha256.Size]byte // of this process: without it, a key says nothing of the password in it
	allowTTL time.Duration
	denyTTL  time.Duration

	// Two, so that a flood of wrong passwords drives out only its like.
	allowed *recent[answerKey, remembered]
	denied  *recent[answerKey, remembered]

	mu      sync.Mutex
	flights map[answerKey]*flight
}

// An answerKey stands for a question and all its parameters.
type answerKey [sha256.Size]byte

// remembered is an answer of one of the two kinds.
type remembered struct {
	answer  answer
	expires time.Time
}

// A flight is a question under way. Its result is there when done is closed.
type flight struct {
	done   chan struct{}
	answer answer
	err    error
}

func newAnswers(allowTTL, denyTTL time.Duration, most int) *answers {
	a := &answers{
		allowTTL: allowTTL,
		denyTTL:  denyTTL,
		allowed:  newRecent[answerKey, remembered](most),
		denied:   newRecent[answerKey, remembered](most),
		flights:  make(map[answerKey]*flight),
	}
	_, _ = rand.Read(a.secret[:]) // never fails
	return a
}

// get returns the remembered answer, the one under way, or what ask returns.
// ask's context does not end with ctx: others may have joined.
func (a *answers) get(ctx context.Context, q *question, ask func(context.Context) (answer, error)) (answer, error) {
	key := a.keyOf(q)
	a.mu.Lock() // held for the memory, too: else an answer could arrive between the two looks
	if got, ok := a.recall(key); ok {
		a.mu.Unlock()
		return got, nil
	}
	if f := a.flights[key]; f != nil {
		a.mu.Unlock()
		select {
		case <-f.done:
			return f.answer, f.err
		case <-ctx.Done():
			return answer{}, context.Cause(ctx)
		}
	}
	f := &flight{done: make(chan struct{})}
	a.flights[key] = f
	a.mu.Unlock()

	asked := time.Now() // the answer is as old as its question
	f.answer, f.err = ask(context.WithoutCancel(ctx))
	a.mu.Lock()
	delete(a.flights, key)
	if f.err == nil {
		a.remember(key, f.answer, asked)
	}
	a.mu.Unlock()
	close(f.done)
	return f.answer, f.err
}

func (a *answers) keyOf(q *question) answerKey {
	h := hmac.New(sha256.New, a.secret[:])
	h.Write([]byte(q.url))
	h.Write([]byte{0}) // in no address
	h.Write([]byte(q.form.String()))
	return answerKey(h.Sum(nil))
}

func (a *answers) recall(key answerKey) (answer, bool) {
	for _, m := range []*recent[answerKey, remembered]{a.allowed, a.denied} {
		if r, ok := m.get(key); ok && time.Now().Before(r.expires) {
			return r.answer, true
		}
	}
	return answer{}, false
}

func (a *answers) remember(key answerKey, got answer, asked time.Time) {
	m, ttl := a.denied, a.denyTTL
	if got.allowed {
		m, ttl = a.allowed, a.allowTTL
	}
	if ttl > 0 {
		m.put(key, remembered{answer: got, expires: asked.Add(ttl)})
	}
}
