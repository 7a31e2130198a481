package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/http/jsontable"
)

// publication is a message that a request has published.
type publication struct {
	RoutingKey *string     `json:"routing_key"`
	Properties *properties `json:"properties"`
	Payload    *string     `json:"payload"`
	Encoding   *string     `json:"payload_encoding"`
}

// admitTimeout is how long a request waits while publishers have to: those behind
// it wait for their turn.
const admitTimeout = time.Second

// publish publishes a message to the exchange of the path, waits until that has
// passed, and tells whether the message has reached anybody.
func publish(c *call) (any, error) {
	var p publication
	if err := c.decode(&p); err != nil {
		return nil, err
	}
	body, err := p.body()
	if err != nil {
		return nil, err
	}
	c.note(slog.String("routing_key", *p.RoutingKey))
	c.note(slog.Int("bytes", len(body)))
	s, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	m := &core.Message{Exchange: exchangeName(c.names["exchange"]), Key: *p.RoutingKey, Body: body}
	if err := c.direct(s, m, &p.Properties.Properties); err != nil {
		return nil, err
	}
	if err := admit(c.r.Context(), s, m); err != nil {
		return nil, err
	}
	passed := make(outcomeOf, 1)
	routed, err := s.Publish(m, passed, 1)
	switch {
	case core.KindOf(err) == core.Overflow && err != nil:
		return nil, badRequest("rejected Unable to publish message. Check queue limits.")
	case err != nil:
		return nil, channelError(err)
	case routed == 0:
		s.Confirm(passed, 1)
	}
	if err := passed.wait(c.r.Context()); err != nil {
		return nil, err
	}
	c.note(slog.Bool("routed", routed > 0))
	return verdict{status: 200, body: map[string]bool{"routed": routed > 0}}, nil
}

// outcomeOf is a completion that a request waits for.
type outcomeOf chan error

// Complete implements core.Completion.
func (o outcomeOf) Complete(_ uint64, err error) { o <- err }

func (o outcomeOf) wait(ctx context.Context) error {
	select {
	case err := <-o:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// admit waits while publishers must, but not for long.
func admit(ctx context.Context, s *core.Session, m *core.Message) error {
	ctx, cancel := context.WithTimeout(ctx, admitTimeout)
	defer cancel()
	err := s.Admit(ctx, m.Size())
	if errors.Is(err, context.DeadlineExceeded) {
		return unavailable("publishers wait for memory or disk space; nothing was published")
	}
	return err //nolint:wrapcheck // it says what was being done
}

// body is the payload as it is to be published.
func (p *publication) body() ([]byte, error) {
	for _, key := range []struct {
		name string
		has  bool
	}{
		{"routing_key", p.RoutingKey != nil},
		{"properties", p.Properties != nil},
		{"payload", p.Payload != nil},
		{"payload_encoding", p.Encoding != nil},
	} {
		if !key.has {
			return nil, missing(key.name)
		}
	}
	switch *p.Encoding {
	case "string":
		return []byte(*p.Payload), nil
	case "base64":
		body, err := base64.StdEncoding.DecodeString(*p.Payload)
		if err != nil {
			return nil, badRequest("not_base64")
		}
		return body, nil
	}
	return nil, badRequest("unsupported_encoding: %s", *p.Encoding)
}

// direct gives the message its properties, and acts on those by which the broker
// goes itself.
func (c *call) direct(s *core.Session, m *core.Message, p *field.Properties) error {
	if p.UserID != "" && p.UserID != c.actor.Name && !s.HasTag("impersonator") {
		return precondition("user_id property set to '%s' but authenticated user was '%s'", p.UserID, c.actor.Name)
	}
	var err error
	if m.Props, err = field.AppendProperties(nil, p); err != nil {
		return badRequest("properties: %s", err)
	}
	summary, err := field.CheckProperties(m.Props)
	if err != nil {
		return badRequest("properties: %s", err)
	}
	m.Persistent, m.Priority = summary.Persistent, summary.Priority
	if summary.Expiration != nil {
		lifetime, problem := field.ParseExpiration(p.Expiration)
		if problem != "" {
			return precondition("invalid expiration '%s': %s", p.Expiration, problem)
		}
		m.Expires = s.ExpiresAfter(lifetime)
	}
	d := summary.Directives()
	m.Retain, m.Once = d.Retain, d.ExactlyOnce
	var problem string
	if m.Keys, problem = d.Keys(m.Key); problem != "" {
		return precondition("%s", problem)
	}
	if d.HidesKeys() {
		m.Props, err = field.AppendWithoutHidden(nil, m.Props)
	}
	return err //nolint:wrapcheck // it says what was being done
}

func precondition(format string, args ...any) error {
	return badRequest("406 PRECONDITION_FAILED - "+format, args...)
}

// channelError is what RabbitMQ answers where a publish would close its channel.
func channelError(err error) error {
	code, ok := map[core.Kind]string{
		core.NotFound: "404 NOT_FOUND", core.Refused: "403 ACCESS_REFUSED", core.Invalid: "406 PRECONDITION_FAILED", core.TooLarge: "406 PRECONDITION_FAILED",
	}[core.KindOf(err)]
	if !ok {
		return err
	}
	return badRequest("%s - %s", code, sentence(err))
}

// properties are those of a message, as an object. What AMQP does not know is
// passed over, as in RabbitMQ.
type properties struct{ field.Properties }

// UnmarshalJSON implements json.Unmarshaler.
func (p *properties) UnmarshalJSON(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return err //nolint:wrapcheck // the JSON has been found valid
	}
	m, ok := v.(map[string]any)
	if empty, isList := v.([]any); isList && len(empty) == 0 { // as some languages write an empty object
		return nil
	}
	if !ok {
		return errors.New("properties should be an object")
	}
	r := propertyReader{values: m}
	p.Properties = field.Properties{
		Headers:     r.headers(),
		ContentType: r.text("content_type"), ContentEncoding: r.text("content_encoding"),
		DeliveryMode: uint8(r.number("delivery_mode", math.MaxUint8)), Priority: uint8(r.number("priority", math.MaxUint8)),
		CorrelationID: r.text("correlation_id"), ReplyTo: r.text("reply_to"), Expiration: r.text("expiration"),
		MessageID: r.text("message_id"), Timestamp: field.Timestamp(r.number("timestamp", math.MaxInt64)),
		Type: r.text("type"), UserID: r.text("user_id"), AppID: r.text("app_id"), ClusterID: r.text("cluster_id"),
	}
	return r.err
}

// propertyReader reads properties and keeps the first error.
type propertyReader struct {
	values map[string]any
	err    error
}

func (r *propertyReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

func (r *propertyReader) text(name string) string {
	v, has := r.values[name]
	s, ok := v.(string)
	if has && !ok {
		r.fail("not_string: %s", name)
	}
	return s
}

func (r *propertyReader) number(name string, most int64) int64 {
	v, has := r.values[name]
	if !has {
		return 0
	}
	n, _ := v.(json.Number)
	i, err := n.Int64()
	if err != nil || i < 0 || i > most {
		r.fail("not_int: %s", name)
	}
	return i
}

func (r *propertyReader) headers() field.Table {
	v, has := r.values["headers"]
	m, ok := v.(map[string]any)
	if has && !ok {
		r.fail("headers should be an object")
	}
	return jsontable.Of(m)
}
