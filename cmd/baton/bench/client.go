package bench

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
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

// consumeSpec is how a consumer consumes. ackEvery 0 is automatic acknowledgement,
// 1 acknowledges each message alone, n > 1 the last n together.
type consumeSpec struct {
	queue    string
	prefetch int
	ackEvery int
	bodySize int
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
	consumer(ctx context.Context, s consumeSpec) (consumer, error)
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
		uri, err := amqp.ParseURI(url)
		if err != nil {
			return nil, fmt.Errorf("parse --url: %w", err)
		}
		if uri.Scheme != "amqp" {
			return nil, fmt.Errorf("the raw client does not speak %s: use --client %s", uri.Scheme, clientAMQP091)
		}
		return rawClient{uri: uri}, nil
	default:
		return nil, fmt.Errorf("unknown client %q: use %s or %s", name, clientRaw, clientAMQP091)
	}
}
