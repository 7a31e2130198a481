package core

import (
	"time"

	"github.com/batonmq/baton/core/field"
)

// Receiver is where a front-end takes what a consumer is given. Its methods are called by any goroutine, with the queue's lock held:
// they append to the connection's outbox, never block and never call the engine.
type Receiver interface {
	// Ready reports whether the outbox has room. After a false, the front-end calls Session.Resume once there is room again.
	Ready() bool
	// Deliver hands d over. The front-end keeps d until it settles it, or drops it when the consumer was made with NoAck.
	Deliver(d Delivery)
	// Cancelled tells that the queue is gone, and with it the consumer. Outstanding deliveries need no settling, though it does no harm.
	Cancelled(c *Consumer)
}

// ConsumerSpec asks for a consumer.
type ConsumerSpec struct {
	Queue     string
	Tag       string // the client's name for it
	Channel   uint16 // the number of the client's channel, for lists; 0: its protocol has none
	NoAck     bool   // what is delivered is settled at once; windows do not apply
	Exclusive bool   // refuse, and be refused beside, other consumers
	Args      field.Table
	Receiver  Receiver
	Copies    int     // with NoAck: the receiver keeps nothing of a message whose body is shorter than that, but copies it
	Window    *Window // the consumer's own credit; nil: as much as Options.OpenWindow
	Shared    *Window // credit it shares with others, also needed for a delivery; nil: none
	OnReady   func()  // called with the queue's lock held before the first delivery; may be nil
}

// Consumer is a session's subscription to one queue.
type Consumer struct {
	spec     ConsumerSpec
	session  *Session
	queue    *Queue
	priority int64 // those of a higher one are served first
	final    bool  // may get what its client never acknowledges
	open     bool  // counts in the broker's openBytes: it has no prefetch limit of its own, or the client's, which may be anything
	lent     bool  // its window is not the client's, which has set no limit

	// guarded by queue.mu
	listed    bool // in the queue's list of consumers that may have credit
	cancelled bool
	retired   bool   // it was the active one, and gets nothing any more
	lack      Lack   // why it is not listed, where it may be served
	since     uint32 // when it was found so, in seconds of the broker's life
}

// Tag is the name the client gave the consumer.
func (c *Consumer) Tag() string { return c.spec.Tag }

// Active reports whether the consumer may be served: a queue with a single active consumer has others wait.
func (c *Consumer) Active() bool {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	return !c.cancelled && !c.retired && (!c.queue.single || c.queue.active == c)
}

// Retire is called when the consumer's channel ends, before what is outstanding goes back to the queue; Cancel is called afterwards. No
// delivery happens after it returns. If the consumer is its queue's single active one, the next becomes active with Cancel only, and so
// gets first what this one leaves.
func (c *Consumer) Retire() {
	if !c.queue.retire(c) {
		c.Cancel()
	}
}

// Receiver is where the consumer's deliveries go.
func (c *Consumer) Receiver() Receiver { return c.spec.Receiver }

// Cancel ends the consumer. No delivery happens after it returns; outstanding ones stay so until they are settled. An auto-delete
// queue goes with its last consumer. It may be called more than once.
func (c *Consumer) Cancel() {
	delete(c.session.consumers, c)
	last := c.queue.drop(c)
	c.session.stall.remove(c)
	c.session.broker.openStall.remove(c)
	c.session.broker.doubt.stall.remove(c)
	if c.spec.Shared != nil {
		c.spec.Shared.stall.remove(c)
	}
	if last {
		c.queue.vhost.deleteUnused(c.queue)
		delete(c.session.exclusive, c.queue)
	}
}

func (c *Consumer) ended() bool {
	c.queue.mu.Lock()
	defer c.queue.mu.Unlock()
	return c.cancelled
}

// take claims credit for one delivery, all or nothing. When there is none c waits where it was missing and will be woken.
func (c *Consumer) take() bool {
	if c.final && !c.session.broker.doubt.spares(c) {
		return c.lacks(LacksCertainty)
	}
	if r := c.spec.Receiver; !r.Ready() {
		c.session.stall.add(c)
		if !r.Ready() { // room made before c was listed woke nobody
			return c.lacks(LacksRoom)
		}
	}
	if c.spec.NoAck {
		return true
	}
	if c.open && !c.takeOpen() {
		return c.lacks(LacksMemory)
	}
	if !c.spec.Window.take(c) {
		return c.lacks(LacksCredit)
	}
	if s := c.spec.Shared; s != nil && !s.take(c) {
		c.spec.Window.used.Add(-1) // c waits in the shared window; nobody else waits in its own
		return c.lacks(LacksShared)
	}
	return true
}

// takeOpen reports whether a consumer without a prefetch limit may have one more, given what all of its kind have.
func (c *Consumer) takeOpen() bool {
	b := c.session.broker
	if b.mayOpen(c) {
		return true
	}
	b.openStall.add(c)
	return b.mayOpen(c)
}

// mayOpen compares what the consumers without a prefetch limit have outstanding with what they may have.
func (b *Broker) mayOpen(c *Consumer) bool {
	return b.openBytes.Load() < b.opt.OpenBytes || c.spec.Window.used.Load() < OpenFloor
}

// grant gives the credit of n settled deliveries of so many bytes back. No lock may be held.
func (c *Consumer) grant(n int, bytes int64) {
	if c.spec.NoAck {
		return
	}
	b := c.session.broker
	if c.open {
		b.openBytes.Add(-bytes)
	}
	c.spec.Window.grant(n)
	if c.open { // after the window, which tells who is below OpenFloor
		b.openStall.wake(b.mayOpen)
	}
	if c.spec.Shared != nil {
		c.spec.Shared.grant(n)
	}
}

// Delivery is one message in a consumer's hands. The front-end keeps it by value and gives it back to Session.Settle.
type Delivery struct {
	Message     *Message  // nil after Unload
	Consumer    *Consumer // nil for what Get returned
	Seq         Seq
	Tag         uint64 // the front-end's own: by which its client knows it
	Delivered   uint32 // how often it may have been delivered before
	Redelivered bool   // it may have been delivered before

	queue   *Queue
	size    uint32 // of the message that was unloaded
	body    uint32 // likewise of its body
	lane    uint8  // the priority of the lane that it came from
	durable bool
}

// Unload lets go of the message, for a front-end that has encoded it and has many others to keep until their clients answer. If it comes
// back to its queue it is read back before it is delivered again. false says that the store does not have it yet, and may be asked
// again later; a message that it will never have stays.
func (d *Delivery) Unload() bool {
	switch {
	case d.Message == nil || !d.durable:
		return true
	case !d.Message.Stored():
		return false
	}
	d.size, d.body, d.Message = uint32(d.Message.Size()), uint32(len(d.Message.Body)), nil
	return true
}

// Size is the message's.
func (d *Delivery) Size() int {
	if d.Message == nil {
		return int(d.size)
	}
	return d.Message.Size()
}

func (d *Delivery) bodySize() int {
	if d.Message == nil {
		return int(d.body)
	}
	return len(d.Message.Body)
}

// Queue is the name of the queue the message came from.
func (d *Delivery) Queue() string { return d.queue.spec.Name }

// ConsumerTimeout is how long the queue lets consumers take for a delivery; 0: it does not say.
func (d *Delivery) ConsumerTimeout() time.Duration {
	if st := d.queue.settings.Load(); st != nil {
		return st.ConsumerTimeout
	}
	return 0
}
