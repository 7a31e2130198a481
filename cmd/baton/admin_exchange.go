package main

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func exchangeCommand(f *adminFlags) *cobra.Command {
	var vhost string
	delayed := nounCommand("delayed", "List and cancel the messages that an exchange of the type x-delayed-message keeps back",
		listDelayedCommand(f, &vhost), cancelDelayedCommand(f, &vhost))
	vhostFlag(&vhost, delayed.Commands()...)
	return nounCommand("exchange", "Look after exchanges", delayed)
}

// adminDelayed is a message that is kept back, as the API shows it.
type adminDelayed struct {
	ID         string         `json:"id"`
	Due        int64          `json:"due"` // milliseconds
	Size       int            `json:"payload_bytes"`
	RoutingKey string         `json:"routing_key"`
	Properties map[string]any `json:"properties"`
	Payload    string         `json:"payload"`
	Encoding   string         `json:"payload_encoding"`
}

func listDelayedCommand(f *adminFlags, vhost *string) *cobra.Command {
	var count int
	cmd := f.verbCommand("list EXCHANGE", "List those that come due first", cobra.ExactArgs(1), func(b *broker, args []string) error {
		var answer struct {
			Total int            `json:"total"`
			Items []adminDelayed `json:"items"`
		}
		if err := b.get(apiPath("api", "exchanges", *vhost, args[0], "delayed")+"?count="+strconv.Itoa(count), &answer); err != nil {
			return ofQueue(err)
		}
		t := newTable("ID", "DUE", "SIZE", "ROUTING KEY", "BODY")
		for _, m := range answer.Items {
			body := m.Payload
			if len(body) > 40 {
				body = body[:40]
			}
			t.row(m.ID, time.UnixMilli(m.Due).UTC().Format(time.RFC3339), strconv.Itoa(m.Size), m.RoutingKey, body)
		}
		if err := b.print(answer, t); err != nil || b.asJSON || len(answer.Items) == answer.Total {
			return err
		}
		return printOut(b.cmd, fmt.Sprintf("%d of %d messages\n", len(answer.Items), answer.Total))
	})
	cmd.Flags().IntVar(&count, "count", 20, "`number` of messages to show, 1000 at most")
	return cmd
}

func cancelDelayedCommand(f *adminFlags, vhost *string) *cobra.Command {
	return f.verbCommand("cancel EXCHANGE ID...", "Cancel messages: they are never routed", cobra.MinimumNArgs(2), func(b *broker, args []string) error {
		for _, id := range args[1:] {
			err := b.del(apiPath("api", "exchanges", *vhost, args[0], "delayed", id), nil)
			if e, ok := errors.AsType[*answerError](err); ok && e.Code == "Object Not Found" {
				err = fmt.Errorf("exchange '%s' in vhost '%s' keeps no message %s back (any more)", args[0], *vhost, id)
			}
			if err != nil {
				return ofQueue(err)
			}
			if err := b.say("message %s of exchange '%s' is cancelled", id, args[0]); err != nil {
				return err
			}
		}
		return nil
	})
}
