package api

import (
	"errors"
	"strconv"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
)

// delayedMessage is a message that an exchange keeps back.
type delayedMessage struct {
	ID  string `json:"id"`
	Due int64  `json:"due"` // milliseconds since 1970
	message
}

type delayedMessages struct {
	Total int              `json:"total"` // that are kept back
	Items []delayedMessage `json:"items"` // those that come due first
}

// What a list of delayed messages has.
const (
	delayedCount, maxDelayedCount = 100, 1000
	delayedBytes                  = 1 << 10 // of each payload
)

// listDelayed shows what an exchange keeps back: to whom may read from it.
func listDelayed(c *call) (any, error) {
	if err := c.mayUseExchange(core.Read); err != nil {
		return nil, err
	}
	count := delayedCount
	if text := c.r.URL.Query().Get("count"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return nil, badRequest("count is not a whole number")
		}
		count = min(int(n), maxDelayedCount)
	}
	list, total, err := c.primary.Broker.Delayed(c.r.Context(), c.names["vhost"], c.names["exchange"], count)
	if err != nil {
		return nil, spoken(err)
	}
	answer := delayedMessages{Total: total, Items: make([]delayedMessage, len(list))}
	for i := range list {
		d := &list[i]
		answer.Items[i] = delayedMessage{strconv.FormatUint(d.ID, 10), d.Due.UnixMilli(), messageOf(d.Message, delayedBytes, false)}
	}
	return answer, nil
}

// cancelDelayed ends a message that an exchange keeps back: for whom may delete the
// exchange, and all of them with it.
func cancelDelayed(c *call) (any, error) {
	if err := c.mayUseExchange(core.Configure); err != nil {
		return nil, err
	}
	id, err := strconv.ParseUint(c.names["id"], 10, 64)
	if err != nil {
		return nil, noObject()
	}
	existed, err := c.primary.Broker.CancelDelayed(c.r.Context(), c.names["vhost"], c.names["exchange"], id)
	return deleted(existed, spoken(err))
}

// mayUseExchange refuses actors without a right to the exchange of the path.
func (c *call) mayUseExchange(right core.Right) error {
	s, err := c.attach() // may the actor enter, and is there such a vhost
	if err != nil {
		return err
	}
	s.Close()
	if c.actor.Access == nil {
		return nil
	}
	name := c.names["exchange"]
	err = c.actor.Access(auth.Variables{}).Allow(core.Request{Class: core.ExchangeClass, Right: right, VHost: c.names["vhost"], Name: name})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, core.ErrDenied):
		return notAuthorised("ACCESS_REFUSED - " + right.String() + " access to exchange '" + name + "' in vhost '" + c.names["vhost"] +
			"' refused for user '" + c.actor.Name + "'")
	}
	return unavailable("it could not be found out whether this is allowed")
}
