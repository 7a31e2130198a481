package main

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

func queueCommand(f *adminFlags) *cobra.Command {
	var vhost string
	cmd := nounCommand("queue", "Look at the messages of queues, move and delete them, and send dead letters back",
		browseQueueCommand(f, &vhost), moveMessagesCommand(f, &vhost), redriveCommand(f, &vhost), deleteMessageCommand(f, &vhost))
	vhostFlag(&vhost, cmd.Commands()...)
	return cmd
}

// adminMessage is a message as the API shows it.
type adminMessage struct {
	Position   string         `json:"position"`
	Deliveries int            `json:"deliveries"`
	Size       int            `json:"payload_bytes"`
	Exchange   string         `json:"exchange"`
	RoutingKey string         `json:"routing_key"`
	Properties map[string]any `json:"properties"`
	Payload    string         `json:"payload"`
	Encoding   string         `json:"payload_encoding"`
}

type adminPage struct {
	Items []adminMessage `json:"items"`
	Next  string         `json:"next,omitempty"`
}

func browseQueueCommand(f *adminFlags, vhost *string) *cobra.Command {
	var count, body int
	var after string
	cmd := f.verbCommand("browse QUEUE", "Show the messages that wait in a queue, and take none out of it", cobra.ExactArgs(1), func(b *broker, args []string) error {
		q := url.Values{"count": {strconv.Itoa(count)}, "truncate": {strconv.Itoa(body)}}
		if after != "" {
			q.Set("after", after)
		}
		page := adminPage{Items: []adminMessage{}}
		if err := b.get(apiPath("api", "queues", *vhost, args[0], "messages")+"?"+q.Encode(), &page); err != nil {
			return ofQueue(err)
		}
		t := newTable("POSITION", "SIZE", "TRIES", "EXCHANGE", "ROUTING KEY", "DIED", "BODY")
		for _, m := range page.Items {
			t.row(m.Position, strconv.Itoa(m.Size), strconv.Itoa(m.Deliveries), m.Exchange, m.RoutingKey, m.died(), m.Payload)
		}
		if err := b.print(page, t); err != nil || page.Next == "" || b.asJSON {
			return err
		}
		return printOut(b.cmd, fmt.Sprintf("There may be more: --after %s\n", page.Next))
	})
	cmd.Flags().IntVar(&count, "count", 20, "`number` of messages to show, 1000 at most")
	cmd.Flags().IntVar(&body, "body", 40, "`bytes` to show of each message's body")
	cmd.Flags().StringVar(&after, "after", "", "`position` behind which to begin")
	return cmd
}

// died says why and where a dead letter died first.
func (m *adminMessage) died() string {
	headers, _ := m.Properties["headers"].(map[string]any)
	queue, ok := headers["x-first-death-queue"].(string)
	if !ok {
		return "-"
	}
	return fmt.Sprintf("%v in %s", headers["x-first-death-reason"], queue)
}

// messageSelection is which messages are meant. Its fields are those of the API.
type messageSelection struct {
	Positions  []string          `json:"positions,omitempty"`
	Count      int               `json:"count"`
	DryRun     bool              `json:"dry_run,omitempty"`
	Exchange   *string           `json:"exchange,omitempty"`
	RoutingKey *string           `json:"routing_key,omitempty"`
	Reason     *string           `json:"reason,omitempty"`
	DiedIn     *string           `json:"died_in,omitempty"`
	Headers    map[string]string `json:"headers,omitempty"`

	ToQueue      *string `json:"to_queue,omitempty"`
	ToExchange   *string `json:"to_exchange,omitempty"`
	ToRoutingKey *string `json:"to_routing_key,omitempty"`
}

// transfer is a move or a redrive: requests that move some messages each.
type transfer struct {
	messageSelection

	count int
	rate  float64
	flags map[string]*optional
}

// optional is a text that a flag may set, to nothing as well.
type optional struct {
	value string
	to    **string
}

func (tr *transfer) addFlags(cmd *cobra.Command) {
	tr.flags = map[string]*optional{}
	flags := cmd.Flags()
	flags.IntVar(&tr.count, "count", 0, "`number` of messages to move at most (default all that wait now)")
	flags.Float64Var(&tr.rate, "rate", 0, "`messages` to move in a second at most (default as fast as can be)")
	flags.BoolVar(&tr.DryRun, "dry-run", false, "only say how many would be moved")
	flags.StringSliceVar(&tr.Positions, "position", nil, "only the messages at these `positions`, as browse shows them")
	flags.StringToStringVar(&tr.Headers, "header", nil, "only messages with a header, as `name=value`")
	tr.optional(cmd, &tr.Exchange, "exchange", "only messages that were published to an `exchange`")
	tr.optional(cmd, &tr.RoutingKey, "routing-key", "only messages with a routing `key`")
	tr.optional(cmd, &tr.Reason, "reason", "only what died first for a `reason`: rejected, expired, maxlen or delivery_limit")
	tr.optional(cmd, &tr.DiedIn, "died-in", "only what died first in a `queue`")
}

func (tr *transfer) optional(cmd *cobra.Command, to **string, name, usage string) {
	o := &optional{to: to}
	tr.flags[name] = o
	cmd.Flags().StringVar(&o.value, name, "", usage)
}

// read takes what the flags that were given say.
func (tr *transfer) read(cmd *cobra.Command) error {
	for name, o := range tr.flags {
		if cmd.Flags().Changed(name) {
			*o.to = &o.value
		}
	}
	if tr.count < 0 || tr.rate < 0 {
		return &exitError{exitUsage, errors.New("--count and --rate may not be negative")}
	}
	return nil
}

func moveMessagesCommand(f *adminFlags, vhost *string) *cobra.Command {
	var tr transfer
	cmd := f.verbCommand("move QUEUE --to-queue QUEUE | --to-exchange EXCHANGE", "Move messages that wait in a queue elsewhere", cobra.ExactArgs(1),
		func(b *broker, args []string) error {
			if err := tr.read(b.cmd); err != nil {
				return err
			}
			return tr.run(b, apiPath("api", "queues", *vhost, args[0], "move"))
		})
	tr.addFlags(cmd)
	tr.optional(cmd, &tr.ToQueue, "to-queue", "move them into a `queue`, as they are")
	tr.optional(cmd, &tr.ToExchange, "to-exchange", "publish them to an `exchange`")
	tr.optional(cmd, &tr.ToRoutingKey, "to-routing-key", "publish them with this `key` (default their own)")
	cmd.MarkFlagsOneRequired("to-queue", "to-exchange")
	cmd.MarkFlagsMutuallyExclusive("to-queue", "to-exchange")
	return cmd
}

func redriveCommand(f *adminFlags, vhost *string) *cobra.Command {
	var tr transfer
	cmd := f.verbCommand("redrive QUEUE", "Send dead letters back to where they died", cobra.ExactArgs(1), func(b *broker, args []string) error {
		if err := tr.read(b.cmd); err != nil {
			return err
		}
		return tr.run(b, apiPath("api", "queues", *vhost, args[0], "redrive"))
	})
	cmd.Long = "Send dead letters that wait in a queue back into the queues in which they died first, with the exchange and the routing key that\n" +
		"they had there. What is no dead letter, or died in a queue that does not exist any more, stays where it is. What arrives in\n" +
		"the queue meanwhile is not sent back. It can be interrupted at any time: each message is in one of the two queues."
	tr.addFlags(cmd)
	return cmd
}

// transferred is what came of it.
type transferred struct {
	Waiting int  `json:"waiting"`
	Moved   int  `json:"moved"`
	Kept    int  `json:"kept"`
	Passed  int  `json:"passed"`
	More    bool `json:"more"`
	DryRun  bool `json:"dry_run,omitempty"`
}

// maxTransfer is how many messages one request moves: what the API allows.
const maxTransfer = 1000

// run asks again and again, at the rate that is wanted, until what waited at the beginning has had its turn.
func (tr *transfer) run(b *broker, path string) error {
	var sum transferred
	for begun := time.Now(); ; {
		var last transferred
		tr.Count = tr.step(&sum)
		if err := b.do(http.MethodPost, path, tr.messageSelection, &last, nil); err != nil {
			if err = ofQueue(err); sum.Moved > 0 {
				err = fmt.Errorf("%d messages were moved; then: %w", sum.Moved, err)
			}
			return err
		}
		if sum.Waiting == 0 {
			sum.Waiting = last.Waiting
		}
		sum.Moved += last.Moved
		sum.Kept, sum.Passed, sum.More, sum.DryRun = last.Kept, last.Passed, last.More, tr.DryRun
		if tr.DryRun || !last.More || last.Moved == 0 || sum.Moved+sum.Kept+sum.Passed >= sum.Waiting || tr.count > 0 && sum.Moved >= tr.count {
			return tr.report(b, &sum)
		}
		if err := tr.pace(b, begun, sum.Moved); err != nil {
			return fmt.Errorf("interrupted after %d messages were moved", sum.Moved)
		}
	}
}

// step is how many messages the next request moves.
func (tr *transfer) step(sum *transferred) int {
	n := maxTransfer
	if tr.DryRun {
		n = 0 // as many as one request counts
	}
	if tr.rate > 0 && !tr.DryRun {
		n = min(n, max(1, int(tr.rate/4)))
	}
	if tr.count > 0 && (n == 0 || tr.count-sum.Moved < n) {
		n = tr.count - sum.Moved
	}
	if rest := sum.Waiting - sum.Moved; sum.Waiting > 0 && rest < n {
		n = rest
	}
	return n
}

// pace waits until so many messages may have been moved.
func (tr *transfer) pace(b *broker, begun time.Time, moved int) error {
	ctx := b.cmd.Context()
	if tr.rate > 0 {
		select {
		case <-time.After(time.Until(begun.Add(time.Duration(float64(moved) / tr.rate * float64(time.Second))))):
		case <-ctx.Done():
		}
	}
	return ctx.Err()
}

func (tr *transfer) report(b *broker, sum *transferred) error {
	if b.asJSON {
		return b.print(sum, nil)
	}
	text := fmt.Sprintf("%d messages moved", sum.Moved)
	if sum.DryRun {
		text = fmt.Sprintf("%d messages would be moved", sum.Moved)
	}
	if sum.Kept > 0 {
		text += fmt.Sprintf(", %d stay because nothing takes them", sum.Kept)
	}
	if sum.Passed > 0 {
		text += fmt.Sprintf(", %d others stay", sum.Passed)
	}
	if sum.More && tr.count == 0 {
		text += ", and there may be more"
	}
	return printOut(b.cmd, text+"\n")
}

func deleteMessageCommand(f *adminFlags, vhost *string) *cobra.Command {
	return f.verbCommand("delete-message QUEUE POSITION...", "Delete messages that wait in a queue", cobra.MinimumNArgs(2), func(b *broker, args []string) error {
		for _, at := range args[1:] {
			err := b.del(apiPath("api", "queues", *vhost, args[0], "messages", at), nil)
			if e, ok := errors.AsType[*answerError](err); ok && e.Code == "Object Not Found" {
				err = fmt.Errorf("no message waits at position %s of queue '%s' in vhost '%s'", at, args[0], *vhost)
			}
			if err != nil {
				return ofQueue(err)
			}
			if err := b.say("the message at position %s of queue '%s' is deleted", at, args[0]); err != nil {
				return err
			}
		}
		return nil
	})
}

// ofQueue says an error of a channel for a person.
func ofQueue(err error) error {
	e, ok := errors.AsType[*answerError](err)
	switch {
	case !ok:
		return err
	case e.Code == "Object Not Found":
		return errors.New("there is no such virtual host")
	}
	for _, code := range []string{"NOT_FOUND - ", "ACCESS_REFUSED - ", "RESOURCE_LOCKED - "} {
		e.Reason = strings.TrimPrefix(e.Reason, code)
	}
	return err
}
