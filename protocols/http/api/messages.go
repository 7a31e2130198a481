package api

import (
	"encoding/base64"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/auth"
)

// message is a message that waits, or did. Its fields are RabbitMQ's, but for the
// first two.
type message struct {
	Position     string         `json:"position,omitempty"`
	Deliveries   *uint32        `json:"deliveries,omitempty"` // how often it may have been delivered before
	PayloadBytes int            `json:"payload_bytes"`
	Redelivered  bool           `json:"redelivered"`
	Exchange     string         `json:"exchange"`
	RoutingKey   string         `json:"routing_key"`
	Remaining    *int           `json:"message_count,omitempty"`
	Properties   map[string]any `json:"properties"`
	Payload      string         `json:"payload"`
	Encoding     string         `json:"payload_encoding"`
}

// messageOf shows a message with at most so many bytes of its payload.
func messageOf(m *core.Message, truncate int, onlyBase64 bool) message {
	payload := m.Body[:min(truncate, len(m.Body))]
	shown := message{
		PayloadBytes: len(m.Body), Exchange: m.Exchange, RoutingKey: m.Key, Properties: propertiesOf(m.Props),
		Payload: string(payload), Encoding: "string",
	}
	if onlyBase64 || !utf8.Valid(payload) {
		shown.Payload, shown.Encoding = base64.StdEncoding.EncodeToString(payload), "base64"
	}
	return shown
}

// propertiesOf are the properties that a message has.
func propertiesOf(block []byte) map[string]any {
	m := map[string]any{}
	p, err := field.ParseProperties(block)
	if err != nil {
		return m // a front-end has checked it
	}
	for _, has := range []struct {
		flag  field.Flags
		name  string
		value any
	}{
		{field.ContentType, "content_type", p.ContentType},
		{field.ContentEncoding, "content_encoding", p.ContentEncoding},
		{field.Headers, "headers", object(p.Headers)},
		{field.DeliveryMode, "delivery_mode", p.DeliveryMode},
		{field.Priority, "priority", p.Priority},
		{field.CorrelationID, "correlation_id", p.CorrelationID},
		{field.ReplyTo, "reply_to", p.ReplyTo},
		{field.Expiration, "expiration", p.Expiration},
		{field.MessageID, "message_id", p.MessageID},
		{field.Time, "timestamp", int64(p.Timestamp)},
		{field.Type, "type", p.Type},
		{field.UserID, "user_id", p.UserID},
		{field.AppID, "app_id", p.AppID},
		{field.ClusterID, "cluster_id", p.ClusterID},
	} {
		if p.Has(has.flag) {
			m[has.name] = has.value
		}
	}
	return m
}

// attach opens a session of the actor's, in the vhost of the path: what it does there it may do by
// its own rights.
func (c *call) attach() (*core.Session, error) {
	vhost := c.names["vhost"]
	if err := c.seesVHost(vhost, administrator); err != nil {
		return nil, err
	}
	opt := core.SessionOptions{Conn: c.peer().String(), User: c.actor.Name, Tags: c.actor.Tags}
	if c.actor.Access != nil {
		opt.Access = c.actor.Access(auth.Variables{})
	}
	if !c.primary.Broker.HasVHost(vhost) {
		return nil, noObject()
	}
	s, err := c.primary.Broker.Attach(vhost, opt)
	return s, spoken(err)
}

// spoken is what RabbitMQ's API answers where a channel would be closed.
func spoken(err error) error {
	if err == nil {
		return nil
	}
	switch core.KindOf(err) { //nolint:exhaustive // the others are told as everywhere
	case core.Refused:
		return notAuthorised("ACCESS_REFUSED - " + sentence(err))
	case core.NotFound:
		return notFound("NOT_FOUND - " + sentence(err))
	case core.Locked:
		return badRequest("RESOURCE_LOCKED - %s", sentence(err))
	}
	return err
}

// What one request gets at most.
const (
	maxGot      = 10_000
	maxGotBytes = 64 << 20
)

// getMessages takes messages out of a queue, and puts them back where ackmode says
// so: RabbitMQ's own way of looking at them.
func getMessages(c *call) (any, error) {
	var body struct {
		Count    *wholeNumber `json:"count"`
		AckMode  *string      `json:"ackmode"`
		Encoding *string      `json:"encoding"`
		Truncate *wholeNumber `json:"truncate"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	switch {
	case body.AckMode == nil:
		return nil, missing("ackmode")
	case body.Count == nil:
		return nil, missing("count")
	case body.Encoding == nil:
		return nil, missing("encoding")
	case !slices.Contains([]string{"auto", "base64"}, *body.Encoding):
		return nil, badRequest("Unsupported encoding. Please use auto or base64.")
	}
	after, ok := map[string]core.Outcome{
		"ack_requeue_true": core.Requeue, "reject_requeue_true": core.Requeue, "ack_requeue_false": core.Accept, "reject_requeue_false": core.Reject,
	}[*body.AckMode]
	if !ok {
		return nil, badRequest("ackmode is not ack_requeue_true, reject_requeue_true, ack_requeue_false or reject_requeue_false")
	}
	truncate := math.MaxInt
	if body.Truncate != nil {
		truncate = max(0, int(*body.Truncate))
	}
	count := int(*body.Count)
	if count < 0 || count > maxGot {
		count = maxGot
	}
	s, err := c.attach()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	l := list{}
	var got []core.Delivery
	for size := 0; len(l) < count && size < maxGotBytes; {
		d, remaining, ok, err := s.Get(c.r.Context(), c.names["queue"], after == core.Accept)
		if err != nil {
			s.Settle(got, core.Requeue)
			return nil, spoken(err)
		}
		if !ok {
			break
		}
		shown := messageOf(d.Message, truncate, *body.Encoding == "base64")
		shown.Redelivered, shown.Remaining = d.Redelivered, &remaining
		l, size = append(l, shown), size+d.Message.Size()
		if after != core.Accept {
			got = append(got, d)
		}
	}
	c.note(slog.String("ackmode", *body.AckMode))
	c.note(slog.Int("count", len(l)))
	s.Settle(got, after)
	return verdict{status: http.StatusOK, body: l}, nil
}

// A wholeNumber may be a JSON string, as in RabbitMQ.
type wholeNumber int64

// UnmarshalJSON implements json.Unmarshaler.
func (n *wholeNumber) UnmarshalJSON(text []byte) error {
	v, err := strconv.ParseInt(strings.Trim(string(text), `"`), 10, 32)
	*n = wholeNumber(v)
	if err != nil {
		return fmt.Errorf("%s is not a whole number", text)
	}
	return nil
}

// browsed is a page of a queue.
type browsed struct {
	Items []message `json:"items"`
	Next  string    `json:"next,omitempty"` // where the next page begins: ?after=; none if there is nothing more
}

// browse shows what waits in a queue and takes nothing out of it. Of each payload
// it shows 1,024 bytes, or as many as truncate says.
func browse(c *call) (any, error) {
	q := c.r.URL.Query()
	spec := core.BrowseSpec{Queue: c.names["queue"]}
	truncate := 1 << 10
	for name, to := range map[string]*int{"count": &spec.Count, "bytes": &spec.Bytes, "truncate": &truncate} {
		if !q.Has(name) {
			continue
		}
		n, err := strconv.ParseInt(q.Get(name), 10, 32)
		if err != nil || n < 0 {
			return nil, badRequest("%s is not a whole number", name)
		}
		*to = int(n)
	}
	if text := q.Get("after"); text != "" {
		var ok bool
		if spec.After, ok = parsePosition(text); !ok {
			return nil, badRequest("after is not a position")
		}
	}
	s, err := c.attach()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	page, err := s.Browse(c.r.Context(), spec)
	if err != nil {
		return nil, spoken(err)
	}
	answer := browsed{Items: make([]message, len(page.Messages))}
	for i := range page.Messages {
		b := &page.Messages[i]
		answer.Items[i] = messageOf(b.Message, truncate, false)
		answer.Items[i].Position, answer.Items[i].Deliveries, answer.Items[i].Redelivered = b.String(), &b.Delivered, b.Delivered > 0
		if page.More {
			answer.Next = b.String()
		}
	}
	return answer, nil
}

func parsePosition(text string) (at core.Position, ok bool) {
	priority, seq, has := strings.Cut(text, ".")
	if !has {
		priority, seq = "0", text
	}
	p, err := strconv.ParseUint(priority, 10, 8)
	if err != nil {
		return at, false
	}
	n, err := strconv.ParseUint(seq, 10, 64)
	return core.Position{Priority: uint8(p), Seq: core.Seq(n)}, err == nil && n > 0
}
