package api

import (
	"bytes"
	"errors"
	"log/slog"
	"net/url"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

// Changes of queues, exchanges and bindings. Each is made by a session of the
// actor's: it may do what the same user may do over AMQP.

// A flag is a truth, which may be written as a text, as in RabbitMQ.
type flag bool

// UnmarshalJSON implements json.Unmarshaler.
func (f *flag) UnmarshalJSON(text []byte) error {
	switch string(bytes.Trim(text, `"`)) {
	case "true":
		*f = true
	case "false", "null":
		*f = false
	default:
		return errors.New("not_boolean: " + string(text))
	}
	return nil
}

// arguments are a JSON object as a table. An empty list is an empty object, as
// some languages write it.
type arguments field.Table

// UnmarshalJSON implements json.Unmarshaler.
func (a *arguments) UnmarshalJSON(text []byte) error {
	if bytes.Equal(bytes.Join(bytes.Fields(text), nil), []byte("[]")) {
		*a = nil
		return nil
	}
	var d definition
	if err := d.UnmarshalJSON(text); err != nil {
		return errors.New("arguments should be an object")
	}
	for _, f := range d {
		if f.Value == nil {
			return errors.New("null_not_allowed: " + f.Key)
		}
	}
	*a = arguments(d)
	return nil
}

// enter opens the session for a change in the vhost of the path.
func (c *call) enter() (*core.Session, error) {
	s, err := c.attach()
	if err == nil {
		return s, nil
	}
	if p, ok := errors.AsType[*problem](err); ok && p.Code == noObject().Code {
		err = notFound("vhost_not_found")
	}
	return nil, err
}

// told is what a client is told of an error of a change: what AMQP's reply text
// says behind the name of its code.
func told(err error) error {
	if err == nil {
		return nil
	}
	switch core.KindOf(err) { //nolint:exhaustive // the others are told as everywhere
	case core.Refused:
		return notAuthorised(sentence(err))
	case core.Locked:
		return badRequest("%s", sentence(err))
	}
	return err
}

// putQueue declares a queue. It is never exclusive: the session that would own it
// ends with the request.
func putQueue(c *call) (any, error) {
	var body struct {
		Durable    flag      `json:"durable"`
		AutoDelete flag      `json:"auto_delete"`
		Arguments  arguments `json:"arguments"`
		Node       *string   `json:"node"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Node != nil && *body.Node != c.api.opt.Node {
		return nil, badRequest("Node %s could not be contacted", *body.Node)
	}
	name := c.names["queue"]
	if name == "" {
		return nil, badRequest("a queue needs a name")
	}
	s, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	isNew := c.primary.Broker.Queue(c.names["vhost"], name) == nil
	_, err = s.DeclareQueue(c.r.Context(), core.QueueSpec{
		Name: name, Durable: bool(body.Durable), AutoDelete: bool(body.AutoDelete), Args: field.Table(body.Arguments),
	})
	return createdOrDone(isNew), told(err)
}

// deleteQueue deletes the queue of the path, or says that there is none, what AMQP
// does not.
func deleteQueue(c *call) (any, error) {
	s, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := c.theQueue(); err != nil {
		return nil, err
	}
	ifUnused, ifEmpty := c.query.Get("if-unused") == "true", c.query.Get("if-empty") == "true"
	n, err := s.DeleteQueue(c.r.Context(), c.names["queue"], ifUnused, ifEmpty, false)
	c.note(slog.Int("messages", n))
	return done, told(err)
}

// purgeQueue drops what waits in the queue of the path.
func purgeQueue(c *call) (any, error) {
	s, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if _, err := c.theQueue(); err != nil {
		return nil, err
	}
	n, err := s.PurgeQueue(c.r.Context(), c.names["queue"], false)
	c.note(slog.Int("messages", n))
	return done, told(err)
}

// actOnQueue answers what RabbitMQ does with mirrors: there is nothing to
// synchronise here.
func actOnQueue(c *call) (any, error) {
	if _, err := c.theQueue(); err != nil {
		return nil, err
	}
	var body struct {
		Action *string `json:"action"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	switch {
	case body.Action == nil:
		return nil, missing("action")
	case *body.Action != "sync" && *body.Action != "cancel_sync":
		return nil, badRequest("unknown: %s", *body.Action)
	}
	return done, nil
}

func putExchange(c *call) (any, error) {
	body := struct {
		Type       string    `json:"type"`
		Durable    flag      `json:"durable"`
		AutoDelete flag      `json:"auto_delete"`
		Internal   flag      `json:"internal"`
		Arguments  arguments `json:"arguments"`
	}{Type: "direct"}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	s, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	name := exchangeName(c.names["exchange"])
	isNew := c.exchange("exchange") == nil
	return createdOrDone(isNew), told(s.DeclareExchange(c.r.Context(), core.ExchangeSpec{
		Name: name, Kind: body.Type, Durable: bool(body.Durable), AutoDelete: bool(body.AutoDelete),
		Internal: bool(body.Internal), Args: field.Table(body.Arguments),
	}))
}

func deleteExchange(c *call) (any, error) {
	s, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	x, err := c.theExchange()
	if err != nil {
		return nil, err
	}
	return done, told(s.DeleteExchange(c.r.Context(), x.Name(), c.query.Get("if-unused") == "true", false))
}

// postBinding binds the two objects of the path. The answer says where the binding
// is to be found.
func postBinding(c *call) (any, error) {
	var body struct {
		RoutingKey string    `json:"routing_key"`
		Arguments  arguments `json:"arguments"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	spec := core.BindingSpec{
		Source: exchangeName(c.names["exchange"]), Dest: c.names["queue"], Key: body.RoutingKey, Args: field.Table(body.Arguments),
	}
	if to, ok := c.names["destination"]; ok {
		spec.Dest, spec.DestExchange = exchangeName(to), true
	}
	c.note(slog.String("routing_key", spec.Key))
	s, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	if err := s.Bind(c.r.Context(), spec); err != nil {
		return nil, told(err)
	}
	c.w.Header().Set("Location", url.PathEscape(spec.Dest)+"/"+url.PathEscape(propertiesKey(&spec)))
	return created, nil
}

func deleteBinding(c *call) (any, error) {
	s, err := c.enter()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	spec, err := c.theBinding()
	if err != nil {
		return nil, err
	}
	if q := c.primary.Broker.Queue(c.names["vhost"], spec.Dest); !spec.DestExchange && spec.Source != "" && q != nil && q.IsSubscribers() {
		return nil, badRequest("%s is a subscription of an MQTT session: its client alone ends it", spec.Key)
	}
	c.note(slog.String("routing_key", spec.Key))
	return done, told(s.Unbind(c.r.Context(), *spec))
}
