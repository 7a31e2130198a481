package bench

import (
	"context"
	"fmt"
)

// streamProducer publishes copies of one message on a connection of its own. publish
// is called by one goroutine, confirms by another.
type streamProducer interface {
	// publish writes n copies, without waiting for anything but the socket.
	publish(n int) error
	// confirms reports confirmed messages, as many at a time as arrived together,
	// until the connection ends; a nack is an error.
	confirms(report func(n int)) error
	Close() error
}

// producer is a streamProducer that can also take one step at a time.
type producer interface {
	streamProducer
	// roundTrip publishes one copy and waits until it is confirmed. A producer is
	// used either with confirms or with roundTrip, as its confirmMode says.
	roundTrip() error
}

// consumer receives and settles messages on a connection of its own.
type consumer interface {
	// deliveries reports delivered messages, as many at a time as arrived
	// together, until the connection ends.
	deliveries(report func(n int)) error
	Close() error
}

// amqpConsumer is a consumer that may stay behind what is confirmed.
type amqpConsumer interface {
	consumer
	// confirmed tells how many more messages the producer has confirmed; any
	// goroutine may call it.
	confirmed(n int)
}

// consumeSpec is how a consumer consumes. ackEvery 0 is automatic acknowledgement,
// 1 acknowledges each message alone, n > 1 the last n together.
//
// A consumer with behind n > 0 acknowledges a message only when it and the n that were
// published next are confirmed. With a prefetch of less than n it so receives nothing
// that is not confirmed: a broker cannot spare itself the writing of a message because
// it was consumed meanwhile.
type consumeSpec struct {
	queues   []string
	prefetch int
	ackEvery int
	behind   int
	bodySize int
	many     bool // there are many such consumers: small buffers, and time between reads
}

// confirmMode is how a producer learns that its messages arrived.
type confirmMode int

const (
	confirmNone   confirmMode = iota // it does not
	confirmStream                    // confirms reports them
	confirmEach                      // roundTrip waits for each
)

// client opens producers and consumers; the two implementations differ in what
// they cost, not in what they ask of a broker.
type client interface {
	producer(ctx context.Context, m message, mode confirmMode) (producer, error)
	consumer(ctx context.Context, s consumeSpec) (amqpConsumer, error)
}

// Names of the clients, as --client takes them.
const (
	clientRaw     = "raw"
	clientAMQP091 = "amqp091"
)

func newClient(name, url string) (client, error) {
	switch name {
	case clientAMQP091:
		return libraryClient{url: url}, nil
	case clientRaw:
		return newRawClient(url)
	default:
		return nil, fmt.Errorf("unknown client %q: use %s or %s", name, clientRaw, clientAMQP091)
	}
}
