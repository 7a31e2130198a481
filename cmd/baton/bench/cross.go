package bench

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
)

// topicExchange is what MQTT's messages go through in brokers that speak both protocols,
// with a dot where the topic has a slash.
const topicExchange = "amq.topic"

// crossRow publishes over MQTT what is consumed over AMQP.
func crossRow(o Options) row {
	size := cmp.Or(o.Size, 64)
	l := line{name: "x1", about: "MQTT QoS 1 to a durable AMQP queue, ack every 50", size: size}
	return single(l, overAMQP|overMQTT, func(ctx context.Context, r *run) (Figures, error) { return cross(ctx, r, size) })
}

func cross(ctx context.Context, r *run, size int) (fig Figures, err error) {
	name := unique()
	defer func() { err = errors.Join(firstCause(ctx, err), remove(r.on.AMQP, "", []string{name})) }()
	if err := declareQueues(r.on.AMQP, []string{name}, true); err != nil {
		return Figures{}, err
	}
	err = withChannel(r.on.AMQP, func(ch *amqp.Channel) error {
		return ch.QueueBind(name, name+".load", topicExchange, false, nil)
	})
	if err != nil {
		return Figures{}, fmt.Errorf("bind queue %s to %s: %w", name, topicExchange, err)
	}
	cons, err := r.on.amqp.consumer(ctx, consumeSpec{queues: []string{name}, prefetch: confirmPrefetch, ackEvery: ackTogether, bodySize: size})
	if err != nil {
		return Figures{}, err
	}
	m := mqttMessage{topic: name + "/load", qos: 1, body: randomBody(size)}
	pub, err := r.on.mqtt.publisher(ctx, name, m, mqttBuffer)
	if err != nil {
		return Figures{}, errors.Join(err, cons.Close())
	}
	b := bounds{window: min(mqttWindow, pub.receiveMaximum), backlog: backlog, total: r.MaxMessages}
	return r.stream(ctx, []lane{{
		flow: newFlow(b), producers: []streamProducer{pub}, consumers: []consumer{cons}, batch: batchOf(size),
	}})
}
