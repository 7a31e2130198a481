package bench

import (
	"context"
	"fmt"
	"time"
)

// identify returns what the broker calls itself under the topic that many brokers
// retain their version in. A PINGREQ behind the subscription tells when a broker
// without such a topic has nothing more to say.
func (c mqttClient) identify(ctx context.Context) (string, error) {
	mc, err := c.dial(ctx, unique(), true, false, mqttSmallBuffer)
	if err != nil {
		return "", err
	}
	defer mc.Close() // nothing is lost on it
	if err := mc.SetDeadline(time.Now().Add(handshakeLimit)); err != nil {
		return "", err
	}
	const topic = "$SYS/broker/version"
	ask := appendSubscribe(c.version, topic, 0)
	if _, err := mc.Write(appendPacket(ask, mqttPingreq, nil)); err != nil {
		return "", fmt.Errorf("ask the broker for its version: %w", err)
	}
	name := "unknown"
	for {
		p, err := mc.in.next()
		if err != nil {
			return "", fmt.Errorf("ask the broker for its version: %w", err)
		}
		switch p.head & mqttTypeMask {
		case mqttPublish:
			body := p.body[min(len(p.body), 2+len(topic)):]
			if c.version == mqtt5 && len(body) > 0 {
				body = body[min(len(body), 1+int(body[0])):] // properties of less than 128 bytes
			}
			name = string(body)
		case mqttPingresp:
			return name, nil
		}
	}
}
