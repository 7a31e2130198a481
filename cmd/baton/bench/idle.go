package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"time"

	"golang.org/x/sync/errgroup"
)

// connectors is how many connections are opened at the same time.
const connectors = 64

// IdleOptions say how many connections to open, and how long to look at them.
type IdleOptions struct {
	URL         string // of the broker: mqtt, mqtts, ws or wss
	PID         int    // of the broker's process; 0: its CPU and memory are not measured
	Connections int
	V5          bool          // MQTT 5.0 instead of 3.1.1
	KeepAlive   time.Duration // that clients announce; whole seconds
	Settle      time.Duration // from the last CONNACK, or PINGRESP, until memory is read
	Idle        time.Duration // for how long the processor time of silence is measured
	Ping        bool          // each client sends a PINGREQ before memory is read once more
	Insecure    bool          // the broker's certificate is not verified
}

func (o *IdleOptions) validate() error {
	switch {
	case o.Connections < 1 || o.Connections > 1_000_000:
		return fmt.Errorf("connections %d is not between 1 and 1000000", o.Connections)
	case o.KeepAlive < 0 || o.KeepAlive > 65535*time.Second:
		return fmt.Errorf("keep-alive %s is not between 0 and 65535s", o.KeepAlive)
	case o.Settle < 0 || o.Settle > time.Hour:
		return fmt.Errorf("settle %s is not between 0 and 1h", o.Settle)
	case o.Idle < 0 || o.Idle > time.Hour:
		return fmt.Errorf("idle %s is not between 0 and 1h", o.Idle)
	case o.PID < 0:
		return fmt.Errorf("pid %d is negative", o.PID)
	}
	return nil
}

// fleet is the generator's side of idle connections.
type fleet struct {
	client mqttClient
	name   string
	conns  []*mqttConn
}

// RunIdle opens connections, which stay open and silent, and measures what they
// cost the broker. What the broker holds for them is the growth of its resident
// set, divided by their number: its garbage, its pools and the allocator's waste
// are in it.
func RunIdle(ctx context.Context, o IdleOptions, progress io.Writer) (IdleReport, error) {
	if err := o.validate(); err != nil {
		return IdleReport{}, err
	}
	if err := allowFiles(o.Connections); err != nil {
		return IdleReport{}, err
	}
	version := mqtt311
	if o.V5 {
		version = mqtt5
	}
	cl, err := newMQTTClient(o.URL, version)
	if err != nil {
		return IdleReport{}, err
	}
	cl.keepAlive = uint16(o.KeepAlive / time.Second)
	cl.over.insecure = o.Insecure
	rep := IdleReport{
		Client: fmt.Sprintf("MQTT %s over %s", version, cl.over.scheme), Connections: o.Connections,
		KeepAlive: o.KeepAlive.Seconds(), Password: cl.user != "", Settle: o.Settle.Seconds(),
	}
	if rep.Broker, err = cl.identify(ctx); err != nil {
		return rep, err
	}
	f := &fleet{client: cl, name: "baton-bench-" + rand.Text(), conns: make([]*mqttConn, o.Connections)}
	defer f.close()
	return rep, f.measure(ctx, o, &rep, progress)
}

func (f *fleet) measure(ctx context.Context, o IdleOptions, rep *IdleReport, progress io.Writer) error {
	say := func(format string, a ...any) { _, _ = fmt.Fprintf(progress, format+"\n", a...) }
	before := residentOf(o.PID)
	say("opening %d connections", o.Connections)
	p, start := startProbe(o.PID), time.Now()
	if err := f.each(ctx, f.open); err != nil {
		p.stop()
		return err
	}
	took := time.Since(start)
	rep.connected(took, p.stop())
	say("connected in %v; waiting %v for memory to settle", took.Round(time.Millisecond), o.Settle)
	if err := pause(ctx, o.Settle, nil); err != nil {
		return err
	}
	rep.Resident = residentOf(o.PID).per(before, o.Connections)
	if o.Idle > 0 {
		say("measuring %v of silence", o.Idle)
		p, start = startProbe(o.PID), time.Now()
		err := pause(ctx, o.Idle, nil)
		rep.silent(time.Since(start), p.stop())
		if err != nil {
			return err
		}
	}
	if !o.Ping {
		return nil
	}
	say("a PINGREQ on each; waiting %v again", o.Settle)
	if err := f.each(ctx, f.ping); err != nil {
		return err
	}
	if err := pause(ctx, o.Settle, nil); err != nil {
		return err
	}
	rep.AfterPing = residentOf(o.PID).per(before, o.Connections)
	return nil
}

// each calls do for all connections, as many at a time as there are connectors.
func (f *fleet) each(ctx context.Context, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for part := range connectors {
		g.Go(func() error {
			for i := part; i < len(f.conns); i += connectors {
				if err := do(ctx, i); err != nil {
					return fmt.Errorf("connection %d of %d: %w", i+1, len(f.conns), err)
				}
			}
			return nil
		})
	}
	return g.Wait()
}

func (f *fleet) open(ctx context.Context, i int) error {
	c, err := f.client.dial(ctx, clientID(f.name, i), true, false, 64)
	if err != nil {
		return err
	}
	c.in = nil // its buffer would be the generator's own memory
	f.conns[i] = c
	return nil
}

func (f *fleet) ping(ctx context.Context, i int) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := f.conns[i]
	c.in = newMQTTReader(c, 64)
	_, err := c.call(appendPacket(nil, mqttPingreq, nil), mqttPingresp)
	c.in = nil
	return err
}

// close says goodbye, which saves the broker's log a line about each.
func (f *fleet) close() {
	_ = f.each(context.Background(), func(_ context.Context, i int) error {
		if c := f.conns[i]; c != nil {
			_, writeErr := c.Write(appendPacket(nil, mqttDisconnect, nil))
			return errors.Join(writeErr, c.Close())
		}
		return nil
	})
}
