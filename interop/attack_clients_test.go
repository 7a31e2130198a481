package interop

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
)

// clientAttacks are by clients that may log in.
func clientAttacks() map[string]attack {
	return map[string]attack{
		"1 GiB announced, AMQP body":      {size: 16, full: 64, least: 100, run: giantBody},
		"16 MiB announced, AMQP channels": {size: 4, full: 16, least: 1000, run: manyBodies},
		"bodies almost sent, AMQP":        {size: 40, full: 200, least: 1, run: almostAMQP},
		"256 MiB announced, MQTT packet":  {size: 16, full: 64, least: 100, run: giantPacket},
		"packets almost sent, MQTT":       {size: 40, full: 200, least: 1, run: almostMQTT},
		"nested tables":                   {size: 4, full: 16, least: 20, run: nestedTables},
		"channels":                        {size: 4, full: 32, least: 4000, run: channelFlood},
		"queues":                          {size: 2, full: 8, least: 500, run: queueFlood},
		"consumers":                       {size: 2, full: 8, least: 2000, run: consumerFlood},
		"connections that come and go":    {size: 16, full: 64, least: 100, run: comeAndGo},
	}
}

// giantBody announces more than a message may have, is refused, and opens the channel again.
func giantBody(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, _ int) error {
		c, err := a.amqp(ctx)
		if err != nil {
			return err
		}
		defer c.Close() // the broker may have done so
		publish := append(rawFrame(1, 1, rawPublish), rawFrame(2, 1, contentHeader(1<<30))...)
		for {
			if _, err := c.Write(publish); err != nil {
				return err
			}
			if _, err := c.expect(20, 40); err != nil { // channel.close
				return err
			}
			a.did.Add(1)
			if _, err := c.Write(rawFrame(1, 1, "\x00\x14\x00\x29")); err != nil {
				return err
			}
			if err := c.call(1, rawChannel, 20, 11); err != nil {
				return err
			}
		}
	})
}

// manyBodies announces the largest body there may be on every channel.
func manyBodies(ctx context.Context, a *assault) error {
	const channels = 2000
	return a.each(ctx, a.Size, func(ctx context.Context, _ int) error {
		c, err := a.amqp(ctx)
		if err != nil {
			return err
		}
		defer c.Close() // the broker may have done so
		for n := range uint16(channels) {
			if n > 0 {
				if err := c.call(n+1, rawChannel, 20, 11); err != nil {
					return err
				}
			}
			if _, err := c.Write(append(rawFrame(1, n+1, rawPublish), rawFrame(2, n+1, contentHeader(16<<20))...)); err != nil {
				return err
			}
			a.did.Add(1)
		}
		return hangUp(c)
	})
}

// almostAMQP sends all of the largest body but its last frame.
func almostAMQP(ctx context.Context, a *assault) error {
	const size, frame = 16 << 20, rawFrameMax - 8
	return a.each(ctx, a.Size, func(ctx context.Context, _ int) error {
		c, err := a.amqp(ctx)
		if err != nil {
			return err
		}
		defer c.Close() // the broker may have done so
		if _, err := c.Write(append(rawFrame(1, 1, rawPublish), rawFrame(2, 1, contentHeader(size))...)); err != nil {
			return err
		}
		part := rawFrame(3, 1, strings.Repeat("x", frame))
		for sent := 0; sent < size-frame; sent += frame {
			if _, err := c.Write(part); err != nil {
				return err
			}
		}
		a.did.Add(1)
		return hangUp(c)
	})
}

// giantPacket announces the largest packet that the protocol knows.
func giantPacket(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		p, err := a.mqtt(ctx, fmt.Sprint("giant-", i), true)
		if err != nil {
			return err
		}
		defer p.Close() // the broker may have done so
		if _, err := p.Write([]byte("\x30\xff\xff\xff\x7f\x00\x01a\x00")); err != nil {
			return err
		}
		a.did.Add(1)
		return hangUp(p)
	})
}

// almostMQTT sends all of the largest packet but its last byte.
func almostMQTT(ctx context.Context, a *assault) error {
	const size = 16<<20 - 16
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		p, err := a.mqtt(ctx, fmt.Sprint("almost-", i), true)
		if err != nil {
			return err
		}
		defer p.Close() // the broker may have done so
		head := append(binary.AppendUvarint([]byte{mqttPUBLISH}, size), 0, 1, 'a', 0)
		if _, err := p.Write(head); err != nil {
			return err
		}
		block := strings.Repeat("x", 64<<10)
		for sent := 4; sent < size-1; {
			n, err := io.WriteString(p, block[:min(len(block), size-1-sent)])
			if err != nil {
				return err
			}
			sent += n
		}
		a.did.Add(1)
		return hangUp(p)
	})
}

// nestedTables are arguments of a queue, as deep as a frame takes them.
func nestedTables(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		c, err := a.amqp(ctx)
		if err != nil {
			return err
		}
		defer c.Close() // the broker may have done so
		if _, err := c.Write(rawFrame(1, 1, "\x00\x32\x00\x0a\x00\x00"+shortstr(fmt.Sprint("nested-", i))+"\x04"+nestedTable(rawFrameMax-100))); err != nil {
			return err
		}
		a.did.Add(1)
		if _, err := c.expect(50, 11); err != nil {
			return err
		}
		// And as headers, which nobody looks at but a headers exchange.
		table := nestedTable(rawFrameMax - 100)
		header := string(binary.BigEndian.AppendUint64([]byte("\x00\x3c\x00\x00"), 0)) + "\x20\x00" + table
		for range 100 {
			publish := "\x00\x3c\x00\x28\x00\x00" + shortstr("amq.headers") + "\x00\x00"
			if _, err := c.Write(append(rawFrame(1, 1, publish), rawFrame(2, 1, header)...)); err != nil {
				return err
			}
			a.did.Add(1)
		}
		return c.call(1, "\x00\x32\x00\x28\x00\x00"+shortstr(fmt.Sprint("nested-", i))+"\x00", 50, 41)
	})
}

// channelFlood opens every channel there may be.
func channelFlood(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, _ int) error {
		c, err := a.amqp(ctx)
		if err != nil {
			return err
		}
		for n := uint16(2); n < 2047; n++ {
			if err := c.call(n, rawChannel, 20, 11); err != nil {
				return err
			}
			a.did.Add(1)
		}
		return hangUp(c)
	})
}

// queueFlood declares durable queues without end.
func queueFlood(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		c, err := a.amqp(ctx)
		if err != nil {
			return err
		}
		defer c.Close() // the broker may have done so
		for n := 0; ; n++ {
			if err := c.declare(fmt.Sprintf("flood-%d-%d", i, n)); err != nil {
				return err
			}
			a.did.Add(1)
		}
	})
}

// consumerFlood consumes from one queue as often as it may.
func consumerFlood(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		c, err := a.amqp(ctx)
		if err != nil {
			return err
		}
		defer c.Close() // the broker may have done so
		queue := fmt.Sprint("consumed-", i)
		if err := c.call(1, "\x00\x32\x00\x0a\x00\x00"+shortstr(queue)+"\x04\x00\x00\x00\x00", 50, 11); err != nil {
			return err
		}
		for n := range 100_000 {
			if err := c.call(1, "\x00\x3c\x00\x14\x00\x00"+shortstr(queue)+shortstr(fmt.Sprint("c", n))+"\x00\x00\x00\x00\x00", 60, 21); err != nil {
				return err
			}
			a.did.Add(1)
		}
		return hangUp(c)
	})
}

// comeAndGo logs in and hangs up, as a client that is started again and again.
func comeAndGo(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		var (
			nc  net.Conn
			err error
		)
		if i%2 == 0 {
			nc, err = a.amqp(ctx)
		} else {
			nc, err = a.mqtt(ctx, fmt.Sprint("visitor-", i), true)
		}
		if err != nil {
			return err
		}
		a.did.Add(1)
		return nc.Close()
	})
}
