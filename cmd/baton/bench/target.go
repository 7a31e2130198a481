package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// Target is a broker to be measured.
type Target struct {
	Name string // what the report calls it
	AMQP string // amqp://user:password@host:port/vhost; "": it is not spoken to over AMQP
	MQTT string // mqtt://user:password@host:port; also mqtts, ws and wss; "": likewise
	PID  int    // of the broker's process; 0: its CPU and memory are not measured
}

// parseTarget reads what --with says: name=URL[,URL][,pid].
func parseTarget(text string) (Target, error) {
	name, rest, found := strings.Cut(text, "=")
	t := Target{Name: name}
	if !found || name == "" {
		return t, fmt.Errorf("--with %q is not of the form name=URL[,URL][,pid]", text)
	}
	for part := range strings.SplitSeq(rest, ",") {
		if pid, err := strconv.Atoi(part); err == nil {
			t.PID = pid
			continue
		}
		u, err := url.Parse(part)
		if err != nil {
			return t, fmt.Errorf("--with %s: %w", name, err)
		}
		switch u.Scheme {
		case "amqp", "amqps":
			t.AMQP = part
		case "mqtt", "mqtts", "tcp", "ws", "wss":
			t.MQTT = part
		default:
			return t, fmt.Errorf("--with %s: %q is neither a process id nor the URL of AMQP or MQTT", name, part)
		}
	}
	return t, t.validate()
}

func (t Target) validate() error {
	if t.AMQP == "" && t.MQTT == "" {
		return fmt.Errorf("broker %s has no URL", t.Name)
	}
	if t.PID < 0 {
		return fmt.Errorf("pid %d is negative", t.PID)
	}
	if t.PID > 0 {
		if _, err := readProc(t.PID); err != nil && !errors.Is(err, errNoProc) {
			return err
		}
	}
	return nil
}

// protocols are what a row speaks, or a broker.
type protocols uint8

const (
	overAMQP protocols = 1 << iota
	overMQTT
)

func (p protocols) String() string {
	switch p {
	case overAMQP:
		return "AMQP"
	case overMQTT:
		return "MQTT"
	}
	return "AMQP and MQTT"
}

// broker is a target, with clients that know its addresses.
type broker struct {
	Target
	speaks protocols
	amqp   client
	mqtt   mqttClient
	id     identity
}

// identity is what a broker says it is.
type identity struct{ product, copyright string }

// reach makes the target's clients and asks the broker what it is.
func (t Target) reach(ctx context.Context, o Options) (*broker, error) {
	if err := t.validate(); err != nil {
		return nil, err
	}
	b := &broker{Target: t}
	var err error
	if t.AMQP != "" {
		b.speaks |= overAMQP
		if b.amqp, err = newClient(o.Client, t.AMQP); err != nil {
			return nil, err
		}
		if b.id, err = identify(t.AMQP); err != nil {
			return nil, err
		}
	}
	if t.MQTT != "" {
		b.speaks |= overMQTT
		if b.mqtt, err = newMQTTClient(t.MQTT, o.version()); err != nil {
			return nil, err
		}
		if b.id.product == "" {
			b.id.product, err = b.mqtt.identify(ctx)
		}
	}
	return b, err
}
