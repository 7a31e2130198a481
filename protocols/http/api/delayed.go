package api

import (
	"strconv"
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
	count := delayedCount
	if text := c.r.URL.Query().Get("count"); text != "" {
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return nil, badRequest("count is not a whole number")
		}
		count = min(int(n), maxDelayedCount)
	}
	s, err := c.attach()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	list, total, err := s.Delayed(c.r.Context(), c.names["exchange"], count)
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
	id, err := strconv.ParseUint(c.names["id"], 10, 64)
	if err != nil {
		return nil, noObject()
	}
	s, err := c.attach()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	existed, err := s.CancelDelayed(c.r.Context(), c.names["exchange"], id)
	return deleted(existed, spoken(err))
}
