package bench

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

const (
	// mqttWindow is how many messages above QoS 0 a publisher has under way.
	mqttWindow = 1000
	// fanOut is how many subscribers share a topic in the fan-out rows.
	fanOut = 200
	// fanOutBacklog bounds the deliveries under way to many subscribers.
	fanOutBacklog = 100_000
	// dropWait is how long nothing must arrive before messages of QoS 0 that are
	// under way count as dropped.
	dropWait = 200 * time.Millisecond
)

// MQTTOptions say what to run over MQTT. Client is ignored: there is one.
type MQTTOptions struct {
	Options
	V5 bool // MQTT 5.0 instead of 3.1.1
}

func (o MQTTOptions) version() mqttVersion {
	if o.V5 {
		return mqtt5
	}
	return mqtt311
}

// mqttScenario is one row of the report.
type mqttScenario struct {
	ID          string
	Name        string // as --scenario takes it
	Note        string
	QoS         byte
	Subscribers int
	Persistent  bool
}

// Names that --scenario takes, besides scenarioAll.
const (
	scenarioQoS0   = "qos0"
	scenarioQoS1   = "qos1"
	scenarioQoS2   = "qos2"
	scenarioFanOut = "fanout"
)

func mqttScenarios() []mqttScenario {
	return []mqttScenario{
		{ID: "m1", Name: scenarioQoS0, Note: "QoS 0", Subscribers: 1},
		{ID: "m2", Name: scenarioQoS1, Note: "QoS 1 clean session", QoS: 1, Subscribers: 1},
		{ID: "m2", Name: scenarioQoS1, Note: "QoS 1 persistent session", QoS: 1, Subscribers: 1, Persistent: true},
		{ID: "m3", Name: scenarioQoS2, Note: "QoS 2 clean session", QoS: 2, Subscribers: 1},
		{ID: "m4", Name: scenarioFanOut, Note: "QoS 0 to 200, per delivery", Subscribers: fanOut},
		{ID: "m4", Name: scenarioFanOut, Note: "QoS 1 to 200, per delivery", QoS: 1, Subscribers: fanOut},
	}
}

// selectMQTT returns the rows that a comma-separated list of names asks for.
func selectMQTT(list string) ([]mqttScenario, error) {
	known := []string{scenarioAll}
	all := mqttScenarios()
	for _, s := range all {
		known = append(known, s.Name)
	}
	known = slices.Compact(known)
	wanted := strings.Split(list, ",")
	for i, w := range wanted {
		wanted[i] = strings.TrimSpace(w)
		if !slices.Contains(known, wanted[i]) {
			return nil, fmt.Errorf("unknown scenario %q: use %s", wanted[i], strings.Join(known, ", "))
		}
	}
	return slices.DeleteFunc(all, func(s mqttScenario) bool {
		return !slices.Contains(wanted, s.Name) && !slices.Contains(wanted, scenarioAll)
	}), nil
}

// RunMQTT executes the selected rows one after the other and writes a progress line
// for each run.
func RunMQTT(ctx context.Context, o MQTTOptions, progress io.Writer) (Report, error) {
	if err := o.validate(); err != nil {
		return Report{}, err
	}
	rows, err := selectMQTT(o.Scenario)
	if err != nil {
		return Report{}, err
	}
	cl, err := newMQTTClient(o.URL, o.version())
	if err != nil {
		return Report{}, err
	}
	o.Client = "MQTT " + o.version().String()
	rep := newReport(o.Options)
	if rep.Broker, err = cl.identify(ctx); err != nil {
		return rep, err
	}
	loads := make([]load, 0, len(rows))
	for _, s := range rows {
		l := load{Row: Row{ID: s.ID, Scenario: s.Note, Size: 64}}
		if o.Size > 0 {
			l.Size = o.Size
		}
		l.run = func(ctx context.Context) (Figures, error) { return runMQTTOnce(ctx, o, cl, s, l.Size) }
		loads = append(loads, l)
	}
	return rep, measureRows(ctx, o.Options, loads, &rep, progress)
}

// identify returns what the broker calls itself under the topic that many brokers
// retain their version in. A PINGREQ behind the subscription tells when a broker
// without such a topic has nothing more to say.
func (c mqttClient) identify(ctx context.Context) (string, error) {
	mc, err := c.dial(ctx, "baton-bench-"+rand.Text(), true, false, mqttSmallBuffer)
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

func runMQTTOnce(ctx context.Context, o MQTTOptions, cl mqttClient, s mqttScenario, size int) (fig Figures, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, o.warmUp()+o.Duration+stallLimit,
		errors.New("the broker stalled: the run took much longer than was asked for"))
	defer cancel()
	defer func() { err = firstCause(ctx, err) }()
	return runMQTTStream(ctx, o, cl, s, size)
}

func runMQTTStream(ctx context.Context, o MQTTOptions, cl mqttClient, s mqttScenario, size int) (fig Figures, err error) {
	name := "baton-bench-" + rand.Text()
	m := mqttMessage{topic: name + "/load", qos: s.QoS, body: randomBody(size)}
	subs, err := openSubscribers(ctx, cl, s, name, m.topic)
	if s.Persistent {
		defer func() {
			for i := range s.Subscribers {
				// Also after ctx has ended.
				err = errors.Join(err, cl.forget(context.WithoutCancel(ctx), subscriberID(name, i)))
			}
		}()
	}
	if err != nil {
		return Figures{}, err
	}
	pub, err := cl.publisher(ctx, name, m)
	if err != nil {
		return Figures{}, errors.Join(err, subs.Close())
	}
	b := bounds{backlog: min(backlog, fanOutBacklog/s.Subscribers), copies: s.Subscribers, total: o.MaxMessages}
	if s.QoS > 0 {
		b.window = min(mqttWindow, pub.receiveMaximum)
	}
	f := newFlow(b)
	if s.QoS == 0 {
		stop := giveUpWhenStuck(f)
		defer stop()
	}
	fig, err = stream(ctx, o.Options, f, pub, subs, size)
	fig.Dropped = f.snapshot().dropped
	return fig, err
}

func subscriberID(name string, i int) string { return fmt.Sprintf("%s-%d", name, i) }

func openSubscribers(ctx context.Context, cl mqttClient, s mqttScenario, name, topic string) (mqttSubscribers, error) {
	buffer := mqttBuffer
	if s.Subscribers > 1 {
		buffer = mqttSmallBuffer
	}
	var subs mqttSubscribers
	for i := range s.Subscribers {
		sub, err := cl.subscriber(ctx, subscriberID(name, i), topic, s.QoS, s.Persistent, buffer)
		if err != nil {
			return nil, errors.Join(err, subs.Close())
		}
		subs = append(subs, sub)
	}
	return subs, nil
}

// giveUpWhenStuck lets the flow go on whenever messages were dropped, until stop.
func giveUpWhenStuck(f *flow) (stop func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(dropWait)
		defer tick.Stop()
		var last counts
		for {
			select {
			case <-tick.C:
				last = f.giveUp(last)
			case <-done:
				return
			}
		}
	}()
	return func() {
		close(done)
		<-ended
	}
}
