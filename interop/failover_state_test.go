package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	failoverKeys = 4 // of each kind of fact
	exists       = "exists"
)

// failoverFacts changes what has one value at a time and is kept for ever: durable
// queues, retained messages, and the subscriptions of a session.
type failoverFacts struct {
	cluster *cluster
	prefix  string
	every   time.Duration

	mu    sync.Mutex
	facts []Fact
}

func (f *failoverFacts) add(key, value string, step FactStep) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.facts = append(f.facts, Fact{key, value, step})
}

// change makes one change, which is promised when grant returns nil.
func (f *failoverFacts) change(key, value string, grant func() error) error {
	f.add(key, value, Asked)
	err := grant()
	if err == nil {
		f.add(key, value, Granted)
	}
	return err
}

// until has step called with a rising number on one connection after the other, until
// finish is closed.
func (f *failoverFacts) until(ctx context.Context, finish <-chan struct{}, connect func() (func(n int) error, func(), error)) error {
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	n := 0
	for {
		step, end, err := connect()
		if err != nil {
			return err
		}
		for err == nil {
			select {
			case <-ticker.C:
				n++
				err = step(n)
			case <-finish:
				end()
				return nil
			case <-ctx.Done():
				end()
				return context.Cause(ctx)
			}
		}
		end()
		if err = refused(err); err != nil {
			return err
		}
	}
}

func (f *failoverFacts) queue(i int) string { return fmt.Sprintf("%s.fact.%d", f.prefix, i) }

// queues declares and deletes queues.
func (f *failoverFacts) queues(ctx context.Context, finish <-chan struct{}) error {
	q := newFailoverQueue(f.cluster, f.prefix+".facts", 1, 0)
	return f.until(ctx, finish, func() (func(int) error, func(), error) {
		s, err := q.open(ctx)
		if err != nil {
			return nil, nil, err
		}
		return func(n int) error {
			limit := time.AfterFunc(4*failoverAnswer, func() { _ = s.raw.Close() }) // the error tells
			defer limit.Stop()
			name := f.queue(n % failoverKeys)
			if n/failoverKeys%2 == 0 {
				return f.change(name, exists, func() error {
					_, err := s.ch.QueueDeclare(name, true, false, false, false, nil)
					return err
				})
			}
			return f.change(name, "", func() error {
				_, err := s.ch.QueueDelete(name, false, false, false)
				return err
			})
		}, func() { _ = s.raw.Close() }, nil
	})
}

func (f *failoverFacts) retained(i int) string { return fmt.Sprintf("%s/retained/%d", f.prefix, i) }
func (f *failoverFacts) filter(i int) string   { return fmt.Sprintf("%s/filter/%d", f.prefix, i) }

// peer connects to whichever node takes it, with answers within a limit from then on.
func (f *failoverFacts) peer(ctx context.Context, id string, clean bool) (p *mqttPeer, present bool, err error) {
	_, err = f.cluster.anyNode(ctx, func(n *clusterNode) (err error) {
		if p, err = openPeer(ctx, n.MQTTURL(), 5); err != nil {
			return err
		}
		_ = p.SetDeadline(time.Now().Add(2 * failoverAnswer)) // an open socket has one
		if present, err = p.connect(id, clean); err != nil {
			return errors.Join(err, p.Close())
		}
		return nil
	})
	return p, present, err
}

// mqtt sets retained messages and changes the subscriptions of one session.
func (f *failoverFacts) mqtt(ctx context.Context, finish <-chan struct{}) error {
	known := false
	return f.until(ctx, finish, func() (func(int) error, func(), error) {
		p, present, err := f.peer(ctx, f.session(), false)
		if err == nil && known && !present {
			err = fmt.Errorf("%w: the session %s is gone", errProtocol, f.session())
		}
		if err != nil {
			return nil, nil, err
		}
		known = true
		return func(n int) error {
			_ = p.SetDeadline(time.Now().Add(2 * failoverAnswer)) // an open socket has one
			if err := f.retain(p, n); err != nil {
				return err
			}
			return f.resubscribe(p, n)
		}, func() { _ = p.Close() }, nil
	})
}

func (f *failoverFacts) session() string { return f.prefix + ".facts" }

func (f *failoverFacts) retain(p *mqttPeer, n int) error {
	topic, value := f.retained(n%failoverKeys), fmt.Sprint(n)
	if n%7 == 0 {
		value = "" // removes it
	}
	return f.change(topic, value, func() error {
		if err := p.send(mqttPUBLISH|1<<1|1, p.publishBody(topic, uint16(n%65535+1), []byte(value))...); err != nil {
			return err
		}
		return f.answer(p, mqttPUBACK)
	})
}

func (f *failoverFacts) resubscribe(p *mqttPeer, n int) error {
	const unsubscribe, unsuback = 0xa2, 0xb0
	filter := f.filter(n % failoverKeys)
	if n/failoverKeys%2 == 0 {
		return f.change(filter, exists, func() error {
			if err := p.send(mqttSUBSCRIBE, append(append([]byte{0, 1, 0}, mqttString(filter)...), 1)...); err != nil {
				return err
			}
			return f.answer(p, mqttSUBACK)
		})
	}
	return f.change(filter, "", func() error {
		if err := p.send(unsubscribe, append([]byte{0, 1, 0}, mqttString(filter)...)...); err != nil {
			return err
		}
		return f.answer(p, unsuback)
	})
}

// answer reads one packet, in which a broker that gives up its epoch may say so.
func (f *failoverFacts) answer(p *mqttPeer, head byte) error {
	pk, err := p.next()
	switch {
	case err != nil:
		return err
	case pk.head == mqttDISCONNECT:
		return errors.New("the broker has ended the connection")
	case pk.head != head:
		return fmt.Errorf("%w packet %v, want %02x", errProtocol, pk, head)
	}
	return nil
}

// find reads what has become of everything.
func (f *failoverFacts) find(ctx context.Context) error {
	q := newFailoverQueue(f.cluster, f.prefix+".facts", 1, 0)
	for i := range failoverKeys {
		s, err := q.open(ctx)
		if err != nil {
			return err
		}
		_, err = s.ch.QueueDeclarePassive(f.queue(i), true, false, false, false, nil)
		_ = s.raw.Close() // the channel may be closed by the answer
		e, is := errors.AsType[*amqp.Error](err)
		switch {
		case err == nil:
			f.add(f.queue(i), exists, Found)
		case is && e.Code == amqp.NotFound:
			f.add(f.queue(i), "", Found)
		default:
			return err
		}
	}
	if err := f.findRetained(ctx); err != nil {
		return fmt.Errorf("retained messages: %w", err)
	}
	if err := f.findSubscribed(ctx); err != nil {
		return fmt.Errorf("subscriptions: %w", err)
	}
	return nil
}

// findRetained subscribes to all topics.
func (f *failoverFacts) findRetained(ctx context.Context) error {
	p, _, err := f.peer(ctx, f.prefix+".reader", true)
	if err != nil {
		return err
	}
	defer p.Close()
	_ = p.SetDeadline(time.Now().Add(patience)) // an open socket has one
	if err := p.subscribe(f.prefix+"/retained/+", 1); err != nil {
		return err
	}
	found, err := f.collect(p, f.prefix+"/retained/end")
	if err != nil {
		return err
	}
	for i := range failoverKeys {
		f.add(f.retained(i), found[f.retained(i)], Found)
	}
	return nil
}

// findSubscribed publishes to what the session was subscribed to and sees what comes.
func (f *failoverFacts) findSubscribed(ctx context.Context) error {
	p, present, err := f.peer(ctx, f.session(), false)
	if err != nil || !present {
		return errors.Join(err, fmt.Errorf("the session is present: %v", present))
	}
	defer p.Close()
	_ = p.SetDeadline(time.Now().Add(patience)) // an open socket has one
	if err := p.subscribe(f.prefix+"/end", 1); err != nil {
		return err
	}
	for i := range failoverKeys {
		if err := p.send(mqttPUBLISH, p.publishBody(f.filter(i), 0, []byte(exists))...); err != nil {
			return err
		}
	}
	found, err := f.collect(p, f.prefix+"/end")
	if err != nil {
		return err
	}
	for i := range failoverKeys {
		f.add(f.filter(i), found[f.filter(i)], Found)
	}
	return nil
}

// collect publishes to the end topic and returns, by topic, what came before it and
// close behind it: nothing puts a retained message before one that is published
// after the SUBACK.
func (f *failoverFacts) collect(p *mqttPeer, end string) (map[string]string, error) {
	if err := p.send(mqttPUBLISH|1<<1, p.publishBody(end, 60000, nil)...); err != nil {
		return nil, err
	}
	found := make(map[string]string)
	ended := false
	for {
		pk, err := p.next()
		if ended && errors.Is(err, os.ErrDeadlineExceeded) {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
		if pk.head&0xf0 != mqttPUBLISH {
			continue // the answer to ours
		}
		topic, payload, err := f.message(p, pk)
		if err != nil {
			return nil, err
		}
		if topic == end {
			ended = true
			_ = p.SetReadDeadline(time.Now().Add(failoverAnswer)) // an open socket has one
			continue
		}
		found[topic] = payload
	}
}

// message reads a PUBLISH of any QoS and answers it.
func (f *failoverFacts) message(p *mqttPeer, pk mqttPacket) (topic, payload string, err error) {
	if pk.head>>1&3 == 0 {
		n := 2 + int(binary.BigEndian.Uint16(pk.body))
		body := append(pk.body[:n:n], 0, 0)
		pk.body = append(body, pk.body[n:]...)
	}
	d, err := p.delivery(pk)
	if err == nil && pk.head>>1&3 == 1 {
		err = p.send(mqttPUBACK, d.id[:]...)
	}
	return d.topic, string(d.payload), err
}
