package interop

import (
	"bytes"
	"context"
	"fmt"
	"strings"
)

// deafClients do not read what they are sent.
func deafClients() map[string]attack {
	return map[string]attack{
		"a consumer that never reads, AMQP":   {size: 4, full: 32, least: 1000, run: deafConsumer},
		"a subscriber that never reads, MQTT": {size: 4, full: 32, least: 1000, run: deafSubscriber},
		"returns that nobody reads":           {size: 4, full: 32, least: 100, run: repeatAMQP("\x00\x3c\x00\x28\x00\x00\x00"+shortstr("nobody")+"\x01", 2000)},
		"answers that nobody reads, AMQP":     {size: 4, full: 32, least: 100, run: repeatAMQP("\x00\x32\x00\x0a\x00\x00"+shortstr("attacked")+"\x01\x00\x00\x00\x00", 0)},
		"gets that nobody reads, AMQP":        {size: 4, full: 32, least: 100, run: repeatAMQP("\x00\x3c\x00\x46\x00\x00"+shortstr("attacked")+"\x01", 0)},
		"answers that nobody reads, MQTT":     {size: 4, full: 32, least: 100, run: deafPinger},
		"acknowledgements that nobody reads":  {size: 4, full: 32, least: 100, run: deafPublisher},
	}
}

// deafConsumer publishes to itself, on another connection, and does not read.
func deafConsumer(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		c, err := a.amqp(ctx)
		if err != nil {
			return err
		}
		defer c.Close() // the broker may have done so
		queue := fmt.Sprint("deaf-", i)
		// Not durable, gone with its consumer, which needs no acknowledgement.
		if err := c.call(1, "\x00\x32\x00\x0a\x00\x00"+shortstr(queue)+"\x08\x00\x00\x00\x00", 50, 11); err != nil {
			return err
		}
		if err := c.call(1, "\x00\x3c\x00\x14\x00\x00"+shortstr(queue)+"\x00\x02\x00\x00\x00\x00", 60, 21); err != nil {
			return err
		}
		out, err := a.amqp(ctx)
		if err != nil {
			return err
		}
		defer out.Close() // the broker may have done so
		const size = 4000
		publish := rawFrame(1, 1, "\x00\x3c\x00\x28\x00\x00\x00"+shortstr(queue)+"\x00")
		publish = append(append(publish, rawFrame(2, 1, contentHeader(size))...), rawFrame(3, 1, strings.Repeat("x", size))...)
		for {
			if _, err := out.Write(publish); err != nil {
				return err
			}
			a.did.Add(1)
		}
	})
}

func deafSubscriber(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		in, err := a.mqtt(ctx, fmt.Sprint("deaf-", i), i%4 != 0)
		if err != nil {
			return err
		}
		defer in.Close() // the broker may have done so
		topic := fmt.Sprint("deaf/", i)
		if err := in.subscribe(topic, byte(i%2)); err != nil {
			return err
		}
		out, err := a.mqtt(ctx, fmt.Sprint("loud-", i), true)
		if err != nil {
			return err
		}
		defer out.Close() // the broker may have done so
		body := bytes.Repeat([]byte("x"), 4000)
		for {
			if err := out.send(mqttPUBLISH|2, out.publishBody(topic, 1, body)...); err != nil {
				return err
			}
			if _, err := out.expect(mqttPUBACK); err != nil {
				return err
			}
			a.did.Add(1)
		}
	})
}

// repeatAMQP sends a method, with a body if it has one, and reads no answer.
func repeatAMQP(method string, body int) func(context.Context, *assault) error {
	const atOnce = 16
	return func(ctx context.Context, a *assault) error {
		frames := rawFrame(1, 1, method)
		if body > 0 {
			frames = append(append(frames, rawFrame(2, 1, contentHeader(uint64(body)))...), rawFrame(3, 1, strings.Repeat("x", body))...)
		}
		block := bytes.Repeat(frames, atOnce)
		return a.each(ctx, a.Size, func(ctx context.Context, _ int) error {
			c, err := a.amqp(ctx)
			if err != nil {
				return err
			}
			defer c.Close() // the broker may have done so
			if err := c.declare("attacked"); err != nil {
				return err
			}
			for {
				if _, err := c.Write(block); err != nil {
					return err
				}
				a.did.Add(atOnce)
			}
		})
	}
}

func deafPinger(ctx context.Context, a *assault) error {
	const atOnce = 256
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		p, err := a.mqtt(ctx, fmt.Sprint("pinger-", i), true)
		if err != nil {
			return err
		}
		defer p.Close() // the broker may have done so
		for block := bytes.Repeat(mqttPacket{mqttPINGREQ, nil}.bytes(), atOnce); ; a.did.Add(atOnce) {
			if _, err := p.Write(block); err != nil {
				return err
			}
		}
	})
}

// deafPublisher keeps to the receive maximum of the broker that it would see: one
// message at a time, of an identifier that it uses again once it must be free.
func deafPublisher(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		p, err := a.mqtt(ctx, fmt.Sprint("publisher-", i), true)
		if err != nil {
			return err
		}
		defer p.Close() // the broker may have done so
		for n := 0; ; n++ {
			if err := p.send(mqttPUBLISH|2, p.publishBody("nobody/listens", uint16(n%60_000)+1, []byte("x"))...); err != nil {
				return err
			}
			a.did.Add(1)
		}
	})
}
