package core

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// DelayedMessage is a message that an exchange keeps back.
type DelayedMessage struct {
	ID      uint64 // which no other of its exchange ever has
	Due     time.Time
	Message *Message
}

// Delayed returns the messages that an exchange keeps back and that come due first, in that order and limit of them at most, and how many
// it keeps in all. After a start it waits until the broker knows them all. It asks for the right to read.
func (s *Session) Delayed(ctx context.Context, exchange string, limit int) (list []DelayedMessage, total int, err error) {
	d, err := s.delaysOf(ctx, "list", Read, exchange)
	if err != nil {
		return nil, 0, err
	}
	d.mu.Lock()
	all := slices.Clone(d.heap)
	d.mu.Unlock()
	slices.SortFunc(all, func(a, b delayed) int { return cmp.Or(cmp.Compare(a.due, b.due), cmp.Compare(a.seq, b.seq)) })
	first := all[:min(len(all), max(0, limit))]
	if _, err := d.load(first); err != nil {
		return nil, 0, err
	}
	for i := range first {
		if e := &first[i]; e.msg != nil { // else it came due meanwhile, or is damaged
			list = append(list, DelayedMessage{ID: uint64(e.seq), Due: time.UnixMilli(e.due), Message: e.msg})
		}
	}
	return list, len(all), nil
}

// CancelDelayed ends a message that an exchange keeps back. It returns when that has passed. existed is false if there is none of that id
// any more: it may have come due. It asks for the right to configure, with which its user could delete the exchange, and all of them with it.
func (s *Session) CancelDelayed(ctx context.Context, exchange string, id uint64) (existed bool, err error) {
	d, err := s.delaysOf(ctx, "cancel", Configure, exchange)
	if err != nil {
		return false, err
	}
	d.mu.Lock()
	i := d.heap.find(Seq(id))
	var p promise
	if i >= 0 {
		e := d.heap.remove(i)
		d.taken(&e)
		if e.durable {
			p = s.broker.commit(false, Op{Kind: OpSettle, Queue: d.id, Ranges: []Range{{First: e.seq, Last: e.seq}}})
		}
	}
	d.mu.Unlock()
	return i >= 0, p.wait(ctx)
}

// delaysOf returns what an exchange keeps back, once that is known.
func (s *Session) delaysOf(ctx context.Context, op string, right Right, exchange string) (*delays, error) {
	exchange = cleanName(exchange)
	if err := s.allow(op, ExchangeClass, right, exchange, ""); err != nil {
		return nil, err
	}
	v := s.vhost
	x := v.exchange(exchange)
	if x == nil {
		return nil, v.noExchange(op, exchange)
	}
	d := x.delays
	if d == nil {
		object := v.exchangeName(exchange)
		return nil, &Error{
			Kind: Invalid, Op: op, Name: object,
			Text: fmt.Sprintf("%s keeps no messages back: its type is %s, not %s", object, x.spec.Kind, kindDelayed),
		}
	}
	select {
	case <-d.ready:
		return d, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
