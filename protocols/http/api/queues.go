package api

import (
	"cmp"
	"slices"
	"strings"

	"github.com/batonmq/baton/core"
)

// queueBasics are what a queue is, which is all that a list without statistics
// has.
type queueBasics struct {
	Name       string         `json:"name"`
	VHost      string         `json:"vhost"`
	Type       string         `json:"type"`
	Durable    bool           `json:"durable"`
	AutoDelete bool           `json:"auto_delete"`
	Exclusive  bool           `json:"exclusive"`
	Node       string         `json:"node"`
	State      string         `json:"state"`
	Arguments  map[string]any `json:"arguments"`
	GovernedBy string         `json:"policy,omitempty"` // null where there are statistics
}

// queueTotals are the numbers that a list without statistics has where they are
// asked for.
type queueTotals struct {
	queueBasics

	Messages int `json:"messages"`
	Ready    int `json:"messages_ready"`
	Unacked  int `json:"messages_unacknowledged"`
}

// queue is what RabbitMQ tells of one, as far as it is known here. Numbers of
// bytes are those of payloads.
type queue struct {
	queueTotals

	ReadyInMemory int    `json:"messages_ready_ram"`
	InMemory      int    `json:"messages_ram"`
	PagedOut      int    `json:"messages_paged_out"`
	Bytes         int64  `json:"message_bytes"`
	ReadyBytes    int64  `json:"message_bytes_ready"`
	BytesInMemory int64  `json:"message_bytes_ram"`
	BytesPagedOut int64  `json:"message_bytes_paged_out"`
	HeadTime      *int64 `json:"head_message_timestamp"`
	Memory        int64  `json:"memory"`

	Consumers         int     `json:"consumers"`
	ConsumerCapacity  float64 `json:"consumer_capacity"`
	ConsumerUtilised  float64 `json:"consumer_utilisation"`
	StalledSince      int64   `json:"stalled_since,omitempty"` // Baton's own: milliseconds, when a consumer took something last, if none can take what is ready
	ExclusiveConsumer *string `json:"exclusive_consumer_tag"`
	ActiveConsumer    *string `json:"single_active_consumer_tag"`

	Policy           *string        `json:"policy"`
	OperatorPolicy   *string        `json:"operator_policy"`
	PolicyDefinition map[string]any `json:"effective_policy_definition"`

	Owner *owner `json:"owner_pid_details,omitempty"` // of an exclusive queue

	lengthRates

	IdleSince string      `json:"idle_since,omitempty"` // when it was seen to change last, unless that is now
	Stats     *queueStats `json:"message_stats,omitempty"`
	MQTT      *mqttQueue  `json:"mqtt,omitempty"` // Baton's own
}

// owner is the connection that an exclusive queue belongs to.
type owner struct {
	Name     string `json:"name"`
	PeerHost string `json:"peer_host"`
	PeerPort int    `json:"peer_port"`
}

// mqttQueue says what a queue is that MQTT has made.
type mqttQueue struct {
	ClientID string `json:"client_id,omitempty"` // whose session's it is
	Shared   bool   `json:"shared_subscription"`
}

// queueStats are counters since the queue was made or the broker started.
type queueStats struct {
	Publish      uint64 `json:"publish"`
	Deliver      uint64 `json:"deliver"`
	DeliverNoAck uint64 `json:"deliver_no_ack"`
	Get          uint64 `json:"get"`
	GetNoAck     uint64 `json:"get_no_ack"`
	GetEmpty     uint64 `json:"get_empty"`
	DeliverGet   uint64 `json:"deliver_get"`
	Redeliver    uint64 `json:"redeliver"`
	Ack          uint64 `json:"ack"`

	counterRates
}

func statsOf(s *core.QueueStats) queueStats {
	return queueStats{
		Publish: s.Published, Deliver: s.DeliveredManual(), DeliverNoAck: s.DeliveredAuto, Get: s.Got, GetNoAck: s.GotAuto,
		GetEmpty: s.GotNothing, DeliverGet: s.Delivered, Redeliver: s.Redone, Ack: s.Acknowledged(),
	}
}

// queueOf tells all there is to tell of a queue.
func (c *call) queueOf(of *core.Queue, i *core.QueueInfo) queue {
	stats := statsOf(&i.QueueStats)
	lengths, counters, idle := c.queueRates(of, &i.QueueStats)
	stats.counterRates = counters
	q := queue{
		lengthRates: lengths, IdleSince: idle,
		queueTotals:   c.totalsOf(i),
		ReadyInMemory: i.InMemory, InMemory: i.InMemory + i.Unsettled, PagedOut: i.Ready - i.InMemory,
		Bytes: i.ReadyBytes, ReadyBytes: i.ReadyBytes, BytesInMemory: i.InMemoryBytes, BytesPagedOut: i.ReadyBytes - i.InMemoryBytes,
		Memory: i.Memory(), Consumers: i.Consumers, ConsumerCapacity: i.Capacity, ConsumerUtilised: i.Capacity,
		Policy: orNull(i.Policy.Policy), OperatorPolicy: orNull(i.Policy.Operator), PolicyDefinition: object(i.Policy.Definition),
		Stats: &stats,
	}
	if i.HeadTime != 0 {
		q.HeadTime = &i.HeadTime
	}
	if i.Stalled {
		q.StalledSince = i.StalledSince.UnixMilli()
	}
	switch {
	case i.ExclusiveConsumer:
		q.ExclusiveConsumer = &i.ActiveTag
	case i.SingleActive:
		q.ActiveConsumer = orNull(i.ActiveTag)
	}
	if i.Exclusive && i.Owner != nil {
		conn := i.Owner.Info()
		q.Owner = &owner{conn.Name, conn.PeerHost, conn.PeerPort}
	}
	if i.Subscriber != "" || i.Shared {
		q.MQTT = &mqttQueue{i.Subscriber, i.Shared}
	}
	return q
}

func (c *call) basicsOf(i *core.QueueInfo) queueBasics {
	return queueBasics{
		Name: i.Name, VHost: i.VHost, Type: i.Type, Durable: i.Durable, AutoDelete: i.AutoDelete, Exclusive: i.Exclusive,
		Node: c.api.opt.Node, State: "running", Arguments: object(i.Args), GovernedBy: i.Policy.Policy,
	}
}

func (c *call) totalsOf(i *core.QueueInfo) queueTotals {
	return queueTotals{c.basicsOf(i), i.Ready + i.Unsettled + i.Resting, i.Ready, i.Unsettled}
}

// aQueue is a queue in a list.
type aQueue struct{ *core.Queue }

var _ item = aQueue{}

func (q aQueue) name() string { return q.Name() }

// row implements item. A list says less where the query wants no statistics.
func (q aQueue) row(c *call) any {
	info, ok := q.Info()
	switch {
	case !ok:
		return nil
	case c.query.Get("disable_stats") != "true":
		return c.queueOf(q.Queue, &info)
	case c.query.Get("enable_queue_totals") == "true":
		return c.totalsOf(&info)
	}
	return c.basicsOf(&info)
}

func listQueues(c *call) (any, error) {
	vhosts, err := c.vhosts()
	if err != nil {
		return nil, err
	}
	l := list{}
	for i := range vhosts {
		l = append(l, c.queues(vhosts[i].Name)...)
	}
	return l, nil
}

// listQueuesOfVHost has those of MQTT sessions, too, as RabbitMQ does; the query
// mqtt=false leaves them out, and mqtt=true the others.
func listQueuesOfVHost(c *call) (any, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	return c.queues(c.names["vhost"]), nil
}

// queues lists a vhost's.
func (c *call) queues(vhost string) list {
	want, l := c.query.Get("mqtt"), list{}
	for _, q := range c.sortedQueues(vhost) {
		if want == "" || (want == "true") == q.IsSubscribers() {
			l = append(l, aQueue{q})
		}
	}
	return l
}

// sortedQueues returns a vhost's in the order of their names.
func (c *call) sortedQueues(vhost string) []*core.Queue {
	return slices.SortedFunc(c.primary.Broker.Queues(vhost), func(a, b *core.Queue) int { return strings.Compare(a.Name(), b.Name()) })
}

// looksInto refuses actors that may not see what is in the vhost of the path.
func (c *call) looksInto() error {
	if err := c.seesVHost(c.names["vhost"], monitoring); err != nil {
		return err
	}
	if !c.primary.Broker.HasVHost(c.names["vhost"]) {
		return noObject()
	}
	return nil
}

// theQueue is the queue of the path.
func (c *call) theQueue() (*core.Queue, error) {
	if err := c.looksInto(); err != nil {
		return nil, err
	}
	q := c.primary.Broker.Queue(c.names["vhost"], c.names["queue"])
	if q == nil {
		return nil, noObject()
	}
	return q, nil
}

// queueWithConsumers is what there is to see of one queue alone.
type queueWithConsumers struct {
	queue

	ConsumerDetails []consumer `json:"consumer_details"`
	Deliveries      []any      `json:"deliveries"` // per channel: not counted
	Incoming        []any      `json:"incoming"`   // per exchange: not counted
}

func getQueue(c *call) (any, error) {
	q, err := c.theQueue()
	if err != nil {
		return nil, err
	}
	info, ok := q.Info()
	if !ok {
		return nil, noObject()
	}
	one := queueWithConsumers{c.queueOf(q, &info), []consumer{}, []any{}, []any{}}
	seen := seenConnections{}
	for _, k := range q.Consumers() {
		one.ConsumerDetails = append(one.ConsumerDetails, c.consumerOf(q, &k, seen.of(k.Session)))
	}
	slices.SortStableFunc(one.ConsumerDetails, func(a, b consumer) int { return cmp.Compare(a.Channel.Name, b.Channel.Name) })
	return one, nil
}
