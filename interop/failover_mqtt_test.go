package interop

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// failoverSession is a publisher and a subscriber with durable sessions that follow
// the primary from node to node. Libraries and their state are those of mqttCrash. All
// of them use TCP: a WebSocket library says goodbye before it lets go of a broker that
// does not answer.
type failoverSession struct {
	*mqttCrash
	cluster *cluster
	window  int
	every   time.Duration
	end     atomic.Int64 // the last message of all; 0: not yet known
	over    chan struct{}
	once    sync.Once
}

func newFailoverSession(c *cluster, what mqttCrashCase, window int, every time.Duration) *failoverSession {
	f := &failoverSession{mqttCrash: newMQTTCrash(c.t, what, ""), cluster: c, window: window, every: every, over: make(chan struct{})}
	f.prefix = "failover." + rand.Text() // names of runs have signs that mean something in a topic
	return f
}

func (f *failoverSession) topic() string { return f.prefix + "/0" }

// failoverLink is one connection to whichever node took it.
type failoverLink struct {
	raw   *cuttable // nil: no node took it
	ended chan struct{}
}

// cut is safe while the library works on the connection.
func (l *failoverLink) cut() {
	l.raw.broken.Store(true)
	_ = l.raw.Close() // it may have ended
}

// open makes a connection: dial gets the link to make it with, and tells whether the
// broker knew the session. known says whether it must.
func (f *failoverSession) open(ctx context.Context, id string, known bool, dial func(mqttLink) (bool, error)) (*failoverLink, error) {
	var l *failoverLink
	tried := known
	var present bool
	epoch, err := f.cluster.anyNode(ctx, func(n *clusterNode) error {
		l = &failoverLink{ended: make(chan struct{})}
		var limit *time.Timer
		ended := sync.OnceFunc(func() { close(l.ended) })
		link := mqttLink{n.MQTTURL(), id, func(nc net.Conn) net.Conn {
			l.raw = &cuttable{Conn: nc}
			limit = time.AfterFunc(2*failoverAnswer, l.cut)
			return l.raw
		}, ended}
		var err error
		present, err = dial(link)
		if limit != nil {
			limit.Stop()
		}
		if err != nil {
			if l.raw != nil {
				tried = true // the broker may have made the session
			}
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("connect %s: %w", id, err)
	}
	if known && !present || present && !tried {
		return nil, fmt.Errorf("%w: the session of %s is present at epoch %d: %v", errProtocol, id, epoch, present)
	}
	go func() { // ends with the connection
		select {
		case <-f.cluster.superseded(ctx, epoch):
			l.cut()
		case <-l.ended:
		}
	}()
	return l, nil
}

// subscribe receives until the last message has come.
func (f *failoverSession) subscribe(ctx context.Context, ready chan<- struct{}) error {
	known, subscribed := false, false
	for {
		var r mqttReceiver
		l, err := f.open(ctx, f.subID(), known, func(link mqttLink) (present bool, err error) {
			f.rec.Add(Event{Kind: Started, Consumer: true})
			r, present, err = f.sub(ctx, link, f.receive)
			return present, err
		})
		if err != nil {
			return err
		}
		known = true
		if !subscribed {
			if err := r.subscribe(f.prefix+"/+", f.qos); err != nil {
				l.cut()
				continue
			}
			subscribed = true
			close(ready)
		}
		select {
		case <-l.ended:
			r.close()
		case <-f.over:
			r.close()
			return nil
		case <-ctx.Done():
			r.close()
			return context.Cause(ctx)
		}
	}
}

// receive is called by the subscriber's one goroutine.
func (f *failoverSession) receive(payload []byte, dup bool) {
	message := messageOf(payload)
	f.rec.Add(Event{Kind: Delivered, Message: message, Redelivered: dup})
	if int64(message) == f.end.Load() {
		f.once.Do(func() { close(f.over) })
	}
}

// publish publishes until finish is closed, and then the last message.
func (f *failoverSession) publish(ctx context.Context, finish <-chan struct{}) error {
	known := false
	for {
		var s mqttSender
		l, err := f.open(ctx, f.pubID(), known, func(link mqttLink) (present bool, err error) {
			f.out.begin()
			f.rec.Add(Event{Kind: Started})
			ended := link.onEnd
			link.onEnd = func() { f.out.end(); ended() }
			s, present, err = f.pub(ctx, link)
			return present, err
		})
		if err != nil {
			return err
		}
		known = true
		done, err := f.publishOn(ctx, s, l.ended, finish)
		s.close()
		if err != nil || done {
			return err
		}
	}
}

// publishOn returns true when the last message was answered, and false when the
// connection ended.
func (f *failoverSession) publishOn(ctx context.Context, s mqttSender, ended, finish <-chan struct{}) (bool, error) {
	ticker := time.NewTicker(f.every)
	defer ticker.Stop()
	last, alive := f.out.await(f.window - 1)
	for alive && (f.end.Load() == 0 || int64(last) < f.end.Load()) {
		select {
		case <-ticker.C:
		case <-finish:
			f.end.CompareAndSwap(0, int64(last)+1)
		case <-ended:
			return false, nil
		case <-ctx.Done():
			return false, context.Cause(ctx)
		}
		if err := s.send(f.topic(), f.qos, binary.BigEndian.AppendUint64(make([]byte, 0, 64), uint64(last+1))[:64]); err != nil {
			return false, gone(ctx, ended) // what the library has taken is in its store
		}
		last, alive = f.out.await(f.window - 1)
	}
	_, alive = f.out.await(0)
	return alive, nil
}

// gone waits for the end of a connection on which the library takes nothing more.
func gone(ctx context.Context, ended <-chan struct{}) error {
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
