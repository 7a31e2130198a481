package api

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

// deleteMessage deletes the message at a position, if it waits.
func deleteMessage(c *call) (any, error) {
	at, ok := parsePosition(c.names["position"])
	if !ok {
		return nil, noObject()
	}
	m, err := c.move(core.MoveSpec{Places: []core.Position{at}})
	if err == nil && m.Moved == 0 && m.More {
		return nil, unavailable("too much waits before it to get there at once")
	}
	return deleted(m.Moved > 0, err)
}

// selection is which messages a request means.
type selection struct {
	Positions  []string                   `json:"positions"`
	Count      wholeNumber                `json:"count"`
	DryRun     bool                       `json:"dry_run"`
	Exchange   *string                    `json:"exchange"` // that the message was published to
	RoutingKey *string                    `json:"routing_key"`
	Reason     *string                    `json:"reason"` // of the first death, and where that was
	DiedIn     *string                    `json:"died_in"`
	Headers    map[string]json.RawMessage `json:"headers"` // all of them
}

// spec is the selection as the engine takes it.
func (sel *selection) spec() (core.MoveSpec, error) {
	spec := core.MoveSpec{Count: int(sel.Count), DryRun: sel.DryRun}
	for _, text := range sel.Positions {
		at, ok := parsePosition(text)
		if !ok {
			return spec, badRequest("%q is not a position", text)
		}
		spec.Places = append(spec.Places, at)
	}
	headers := map[string]string{}
	for name, value := range sel.Headers {
		headers[name] = plainText(value)
	}
	for name, want := range map[string]*string{"x-first-death-reason": sel.Reason, "x-first-death-queue": sel.DiedIn} {
		if want != nil {
			headers[name] = *want
		}
	}
	if len(headers) == 0 && sel.Exchange == nil && sel.RoutingKey == nil {
		return spec, nil
	}
	spec.Only = func(m *core.Message) bool {
		return (sel.Exchange == nil || m.Exchange == *sel.Exchange) && (sel.RoutingKey == nil || m.Key == *sel.RoutingKey) && hasHeaders(m, headers)
	}
	return spec, nil
}

// plainText is a JSON string without its quotes, and another value as it is.
func plainText(value json.RawMessage) string {
	var s string
	if json.Unmarshal(value, &s) == nil {
		return s
	}
	return string(value)
}

// hasHeaders reports whether a message has headers with these values, written as text.
func hasHeaders(m *core.Message, want map[string]string) bool {
	if len(want) == 0 {
		return true
	}
	p, err := field.ParseProperties(m.Props)
	if err != nil {
		return false
	}
	for name, text := range want {
		if v, ok := p.Headers.Get(name); !ok || field.Text(v) != text {
			return false
		}
	}
	return true
}

// moved is what came of a move.
type moved struct {
	Waiting int  `json:"waiting"` // messages that waited at the beginning
	Moved   int  `json:"moved"`
	Kept    int  `json:"kept"`   // that found no way
	Passed  int  `json:"passed"` // that were not meant
	More    bool `json:"more"`   // there may be others that are meant
}

// moveMessages has messages of a queue go elsewhere.
func moveMessages(c *call) (any, error) {
	var body struct {
		selection

		ToQueue      *string `json:"to_queue"`
		ToExchange   *string `json:"to_exchange"`
		ToRoutingKey *string `json:"to_routing_key"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if (body.ToQueue == nil) == (body.ToExchange == nil) {
		return nil, badRequest("give to_queue or to_exchange")
	}
	spec, err := body.spec()
	if err != nil {
		return nil, err
	}
	spec.To = core.Destination{Kind: core.ToExchange, Key: body.ToRoutingKey}
	if body.ToQueue != nil {
		spec.To.Kind, spec.To.Queue = core.ToQueue, *body.ToQueue
		c.note(slog.String("to_queue", *body.ToQueue))
	} else {
		spec.To.Exchange = *body.ToExchange
		c.note(slog.String("to_exchange", *body.ToExchange))
	}
	return c.moveAnswer(spec)
}

// redrive has dead letters go back to where they died first.
func redrive(c *call) (any, error) {
	var sel selection
	if err := c.decode(&sel); err != nil {
		return nil, err
	}
	spec, err := sel.spec()
	if err != nil {
		return nil, err
	}
	spec.To = core.Destination{Kind: core.ToOrigin}
	return c.moveAnswer(spec)
}

func (c *call) moveAnswer(spec core.MoveSpec) (any, error) {
	m, err := c.move(spec)
	if err != nil {
		return nil, err
	}
	return verdict{status: http.StatusOK, body: moved(m)}, nil
}

// move moves messages of the path's queue.
func (c *call) move(spec core.MoveSpec) (core.Moved, error) {
	spec.Queue = c.names["queue"]
	s, err := c.attach()
	if err != nil {
		return core.Moved{}, err
	}
	defer s.Close()
	m, err := s.Move(c.r.Context(), spec)
	c.note(slog.Int("moved", m.Moved))
	return m, spoken(err)
}
