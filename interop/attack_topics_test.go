package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"sync"
)

// topicAttacks are about subscriptions, patterns and retained messages.
func topicAttacks() map[string]attack {
	return map[string]attack{
		"subscriptions without end":   {size: 1, full: 1, least: 10_000, run: subscriptions},
		"subscriptions, many clients": {size: 4, full: 20, least: 10_000, run: subscriptions},
		"wildcard bomb, MQTT":         {size: 1, full: 4, least: 5, run: wildcardBomb},
		"wildcard bomb, AMQP":         {size: 1, full: 4, least: 5, run: patternBomb},
		"retained flood":              {size: 2, full: 8, least: 2000, run: retainedFlood},
		"retained, never read":        {size: 4, full: 32, least: 4, run: retainedNeverRead},
		"huge client ids":             {size: 8, full: 32, least: 100, run: hugeClientIDs},
	}
}

// subscribeAhead sends a SUBSCRIBE with so many filters, and reads the answer.
func (p *mqttPeer) subscribeMany(id uint16, qos byte, filters []string) (granted int, err error) {
	body := append(binary.BigEndian.AppendUint16(nil, id), 0)
	for _, f := range filters {
		body = append(append(body, mqttString(f)...), qos)
	}
	if err := p.send(mqttSUBSCRIBE, body...); err != nil {
		return 0, err
	}
	ack, err := p.answer(mqttSUBACK)
	if err != nil {
		return 0, err
	}
	for _, code := range ack[3:] {
		if code < 0x80 {
			granted++
		}
	}
	return granted, nil
}

// answer is expect that reads over messages.
func (p *mqttPeer) answer(head byte) ([]byte, error) {
	for {
		pk, err := p.next()
		if err != nil {
			return nil, err
		}
		if pk.head == head {
			return pk.body, nil
		}
		if pk.head&0xf0 != mqttPUBLISH {
			return nil, fmt.Errorf("%w packet %v", errProtocol, pk)
		}
	}
}

// subscriptions are a million from each client, as far as it gets them.
func subscriptions(ctx context.Context, a *assault) error {
	const most, atOnce = 1_000_000, 500
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		p, err := a.mqtt(ctx, fmt.Sprint("subscriber-", i), true)
		if err != nil {
			return err
		}
		defer p.Close() // the broker may have done so
		filters := make([]string, atOnce)
		for n := 0; n < most; n += atOnce {
			for j := range filters {
				filters[j] = fmt.Sprintf("attack/%d/%d/+/#", i, n+j)
			}
			granted, err := p.subscribeMany(1, 0, filters)
			if err != nil {
				return err
			}
			a.did.Add(atOnce)
			a.failed.Add(int64(atOnce - granted))
		}
		return nil
	})
}

// bombs are patterns over one word that all match it as often as it may be repeated:
// every mix of the word, the sign for one level and, where it may stand, that for many.
func bombs(n int, word, one, many, separator string, anywhere bool) []string {
	all := make([]string, 0, n)
	signs := []string{word, one}
	if anywhere {
		signs = []string{word, many, one} // and never two for many in a row, which are one
	}
	for code := 1; len(all) < n; code++ {
		var parts []string
		for rest := code; rest > 0; rest /= len(signs) {
			sign := signs[rest%len(signs)]
			if sign == many && len(parts) > 0 && parts[len(parts)-1] == many {
				parts = append(parts, word)
			}
			parts = append(parts, sign)
		}
		all = append(all, strings.Join(append(parts, many), separator))
	}
	return all
}

// wildcardBomb subscribes to what matches in very many ways, and publishes what does.
func wildcardBomb(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		p, err := a.mqtt(ctx, fmt.Sprint("bomber-", i), true)
		if err != nil {
			return err
		}
		defer p.Close() // the broker may have done so
		filters := bombs(10_000, "a", "+", "#", "/", false)
		for n := 0; n < len(filters); n += 500 {
			if _, err := p.subscribeMany(1, 0, filters[n:n+500]); err != nil {
				return err
			}
		}
		topic := strings.Repeat("a/", 127) + "a"
		for {
			if err := p.send(mqttPUBLISH|2, p.publishBody(topic, 1, []byte("bomb"))...); err != nil {
				return err
			}
			if _, err := p.answer(mqttPUBACK); err != nil {
				return err
			}
			a.did.Add(1)
		}
	})
}

// patternBomb does so with the patterns of AMQP, where # may stand anywhere.
func patternBomb(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		c, err := a.amqp(ctx)
		if err != nil {
			return err
		}
		defer c.Close() // the broker may have done so
		queue := fmt.Sprint("bomb-", i)
		// Exclusive, so that it goes with the attacker.
		if err := c.call(1, "\x00\x32\x00\x0a\x00\x00"+shortstr(queue)+"\x04\x00\x00\x00\x00", 50, 11); err != nil {
			return err
		}
		patterns := bombs(5_000, "a", "*", "#", ".", true)
		patterns = append(patterns, strings.TrimSuffix(strings.Repeat("#.a.", 60), "."))
		for _, pattern := range patterns {
			if err := c.call(1, "\x00\x32\x00\x14\x00\x00"+shortstr(queue)+shortstr("amq.topic")+shortstr(pattern)+"\x00\x00\x00\x00\x00", 50, 21); err != nil {
				return err
			}
		}
		if err := c.call(1, "\x00\x55\x00\x0a\x00", 85, 11); err != nil {
			return err
		}
		key := strings.Repeat("a.", 126) + "a"
		publish := rawFrame(1, 1, "\x00\x3c\x00\x28\x00\x00"+shortstr("amq.topic")+shortstr(key)+"\x00")
		publish = append(append(publish, rawFrame(2, 1, contentHeader(1))...), rawFrame(3, 1, "x")...)
		for {
			if _, err := c.Write(publish); err != nil {
				return err
			}
			if _, err := c.expect(60, 80); err != nil {
				return err
			}
			a.did.Add(1)
		}
	})
}

// retainedFlood has the broker keep as many messages as it will.
func retainedFlood(ctx context.Context, a *assault) error {
	const atOnce, payload = 100, 1000
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		p, err := a.mqtt(ctx, fmt.Sprint("retainer-", i), true)
		if err != nil {
			return err
		}
		defer p.Close() // the broker may have done so
		body := bytes.Repeat([]byte("r"), payload)
		for n := 0; ; n += atOnce {
			var block []byte
			for j := range atOnce {
				block = append(block, mqttPacket{mqttPUBLISH | 2 | 1, p.publishBody(fmt.Sprintf("retained/%d/%d", i, n+j), uint16(j+1), body)}.bytes()...)
			}
			if _, err := p.Write(block); err != nil {
				return err
			}
			for range atOnce {
				if _, err := p.expect(mqttPUBACK); err != nil {
					return err
				}
			}
			a.did.Add(atOnce)
		}
	})
}

// retainedNeverRead asks for all that is kept, again and again, and reads nothing.
func retainedNeverRead(ctx context.Context, a *assault) error {
	const kept = 1000
	p, err := a.mqtt(ctx, "retainer", true)
	if err != nil {
		return err
	}
	body := bytes.Repeat([]byte("r"), 32<<10)
	for n := range kept {
		if err := p.send(mqttPUBLISH|2|1, p.publishBody(fmt.Sprint("retained/", n), 1, body)...); err != nil {
			return err
		}
		if _, err := p.expect(mqttPUBACK); err != nil {
			return err
		}
	}
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		p, err := a.mqtt(ctx, fmt.Sprint("deaf-", i), true)
		if err != nil {
			return err
		}
		defer p.Close() // the broker may have done so
		for {
			for _, filter := range []string{"retained/#", "+/#", "#", "retained/+"} {
				if err := p.send(mqttSUBSCRIBE, append(append([]byte{0, 1, 0}, mqttString(filter)...), byte(i%2))...); err != nil {
					return err
				}
				a.did.Add(1)
			}
		}
	})
}

// hugeClientIDs are sessions that outlive their connection, with the longest names there may be.
func hugeClientIDs(ctx context.Context, a *assault) error {
	var mu sync.Mutex
	session := 0
	return a.each(ctx, a.Size, func(ctx context.Context, _ int) error {
		mu.Lock()
		session++
		id := fmt.Sprintf("%08d", session) + strings.Repeat("i", 65_000)
		mu.Unlock()
		nc, err := a.dial(ctx, a.MQTT)
		if err != nil {
			return err
		}
		defer nc.Close() // the broker may have done so
		if _, err := nc.Write(connectPacket(5, id, false, 1<<31).bytes()); err != nil {
			return err
		}
		a.did.Add(1)
		ack := make([]byte, 4)
		if _, err := io.ReadFull(nc, ack); err != nil {
			return err
		}
		if ack[3] != 0 {
			return fmt.Errorf("CONNACK %#x", ack[3])
		}
		return nil
	})
}
