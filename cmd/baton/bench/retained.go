package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"
)

// RetainedOptions say how many messages to have retained.
type RetainedOptions struct {
	URL    string // of the broker: mqtt, mqtts, ws or wss
	PID    int    // of the broker's process; 0: its CPU and memory are not measured
	Topics int
	Size   int           // bytes of a message
	V5     bool          // MQTT 5.0 instead of 3.1.1
	Settle time.Duration // until memory is read again
	Keep   string        // the prefix of topics that are left behind, for a start of the broker to be measured; "": they are cleared
}

func (o *RetainedOptions) validate() error {
	switch {
	case o.Topics < 1 || o.Topics > 100_000_000:
		return fmt.Errorf("topics %d is not between 1 and 100000000", o.Topics)
	case o.Size < 1 || o.Size > 1<<20:
		return fmt.Errorf("size %d is not between 1 and 1048576", o.Size)
	case o.Settle < 0 || o.Settle > time.Hour:
		return fmt.Errorf("settle %s is not between 0 and 1h", o.Settle)
	case o.PID < 0:
		return fmt.Errorf("pid %d is negative", o.PID)
	}
	return nil
}

// retainedWindow is how many messages may be unconfirmed.
const retainedWindow = 1000

// retainedRun publishes and reads the messages of topics below a prefix.
type retainedRun struct {
	RetainedOptions
	client mqttClient
	name   string
	prefix string
}

// RunRetained has a message retained on each of many topics, as the devices of a
// fleet do, and then subscribes to all of them.
func RunRetained(ctx context.Context, o RetainedOptions, progress io.Writer) (rep RetainedReport, err error) {
	if err := o.validate(); err != nil {
		return rep, err
	}
	version := mqtt311
	if o.V5 {
		version = mqtt5
	}
	cl, err := newMQTTClient(o.URL, version)
	if err != nil {
		return rep, err
	}
	rep = RetainedReport{Client: fmt.Sprintf("MQTT %s over %s", version, cl.over.scheme), Topics: o.Topics, Size: o.Size, Settle: o.Settle.Seconds()}
	if rep.Broker, err = cl.identify(ctx); err != nil {
		return rep, err
	}
	r := &retainedRun{RetainedOptions: o, client: cl, name: "baton-bench-" + rand.Text(), prefix: o.Keep}
	if r.prefix == "" {
		r.prefix = r.name
		defer func() {
			err = errors.Join(err, r.publish(context.WithoutCancel(ctx), nil)) // an empty message clears its topic
		}()
	}
	return rep, r.measure(ctx, &rep, progress)
}

func (r *retainedRun) measure(ctx context.Context, rep *RetainedReport, progress io.Writer) error {
	say := func(format string, a ...any) { _, _ = fmt.Fprintf(progress, format+"\n", a...) }
	say("publishing %d messages of %d bytes", r.Topics, r.Size)
	p, start := startProbe(r.PID), time.Now()
	err := r.publish(ctx, make([]byte, r.Size))
	rep.Published = newFigures(int64(r.Topics), time.Since(start), p.stop())
	if err != nil {
		return err
	}
	say("waiting %v for memory to settle", r.Settle)
	if err := pause(ctx, r.Settle, nil); err != nil {
		return err
	}
	rep.Resident = residentOf(r.PID).megabytes()
	say("subscribing")
	p, start = startProbe(r.PID), time.Now()
	err = r.receive(ctx)
	rep.Received = newFigures(int64(r.Topics), time.Since(start), p.stop())
	if err != nil {
		return err
	}
	if err := pause(ctx, r.Settle, nil); err != nil {
		return err
	}
	rep.AfterAll = residentOf(r.PID).megabytes()
	return nil
}

// publish publishes a message to every topic, at QoS 1.
func (r *retainedRun) publish(ctx context.Context, body []byte) error {
	c, err := r.client.dial(ctx, r.name+"-publisher", true, false, mqttBuffer)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer func() { _ = c.Close() }()
	var (
		out     []byte
		pending int
	)
	for i := 0; i < r.Topics || pending > 0; {
		for ; i < r.Topics && pending < min(retainedWindow, c.receiveMaximum); i++ {
			at := len(out)
			var idAt int
			out, idAt = appendPublish(out, r.client.version, mqttMessage{topic: r.topic(i), qos: 1, body: body})
			out[at] |= 1 // retain
			id := i%retainedWindow + 1
			out[at+idAt], out[at+idAt+1] = byte(id>>8), byte(id)
			pending++
		}
		if _, err := c.Write(out); err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		out = out[:0]
		n, err := c.confirmed()
		if err != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		pending -= n
	}
	return nil
}

// confirmed waits for at least one PUBACK and returns how many there are.
func (c *mqttConn) confirmed() (n int, err error) {
	for {
		p, ok, err := c.in.take()
		if !ok && err == nil && n == 0 {
			p, err = c.in.next()
			ok = err == nil
		}
		switch {
		case err != nil || !ok:
			return n, err
		case p.head&mqttTypeMask != mqttPuback:
			return n, p.unexpected()
		}
		if _, err := p.id(); err != nil {
			return n, err
		}
		n++
	}
}

// topic is that of one device, of three levels.
func (r *retainedRun) topic(i int) string { return fmt.Sprintf("%s/d%07d/state", r.prefix, i) }

// receive subscribes to all topics and waits for a message of each.
func (r *retainedRun) receive(ctx context.Context) error {
	c, err := r.client.dial(ctx, r.name+"-subscriber", true, false, mqttBuffer)
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { _ = c.Close() })()
	defer func() { _ = c.Close() }()
	if _, err := c.Write(appendSubscribe(r.client.version, r.prefix+"/#", 0)); err != nil {
		return err
	}
	for n := 0; n < r.Topics; {
		p, err := c.in.next()
		if err != nil {
			return errors.Join(context.Cause(ctx), fmt.Errorf("after %d of %d messages: %w", n, r.Topics, err))
		}
		switch p.head & mqttTypeMask {
		case mqttPublish:
			n++
		case mqttSuback & mqttTypeMask:
		default:
			return p.unexpected()
		}
	}
	return nil
}
