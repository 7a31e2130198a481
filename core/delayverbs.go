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
// it keeps in all. After a start it waits until the broker knows them all.
func (b *Broker) Delayed(ctx context.Context, vhost, exchange string, limit int) (list []DelayedMessage, total int, err error) {
	d, err := b.delaysOf(ctx, "list", vhost, exchange)
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
// any more: it may have come due.
func (b *Broker) CancelDelayed(ctx context.Context, vhost, exchange string, id uint64) (existed bool, err error) {
	d, err := b.delaysOf(ctx, "cancel", vhost, exchange)
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
			p = b.commit(false, Op{Kind: OpSettle, Queue: d.id, Ranges: []Range{{First: e.seq, Last: e.seq}}})
		}
	}
	d.mu.Unlock()
	return i >= 0, p.wait(ctx)
}

// delaysOf returns what an exchange keeps back, once that is known.
func (b *Broker) delaysOf(ctx context.Context, op, vhost, exchange string) (*delays, error) {
	v := b.vhost(vhost)
	if v == nil {
		return nil, noVHost(op, vhost)
	}
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
