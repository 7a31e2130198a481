package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Commands that list what is there. Each is a list of the API as a table; --json
// has all fields of it.

// A listColumn is what one field of the rows is shown as.
type listColumn struct {
	head, path string // the path's elements stand apart by dots
	show       func(v any) string
}

// A listing is a list of the API.
type listing struct {
	use, short, object string // the object's word in the API's path
	query              string // for people
	columns            []listColumn
}

// listings are the lists of all vhosts, or of one.
func listings() []listing {
	name, vhost := listColumn{"NAME", "name", nil}, listColumn{"VHOST", "vhost", nil}
	return []listing{
		{"queues", "List the queues; those of MQTT sessions with --mqtt", "queues", "mqtt=false", []listColumn{
			name, vhost,
			{"TYPE", "type", nil},
			{"READY", "messages_ready", nil},
			{"UNACKED", "messages_unacknowledged", nil},
			{"BYTES", "message_bytes", showBytes},
			{"CONSUMERS", "consumers", nil},
			{"IN/S", "message_stats.publish_details.rate", showRate},
			{"OUT/S", "message_stats.deliver_get_details.rate", showRate},
			{"POLICY", "policy", nil},
		}},
		{"exchanges", "List the exchanges", "exchanges", "", []listColumn{
			name, vhost,
			{"TYPE", "type", nil},
			{"DURABLE", "durable", nil},
			{"INTERNAL", "internal", nil},
			{"POLICY", "policy", nil},
			{"UNROUTABLE", "unroutable.messages", nil},
		}},
		{"bindings", "List the bindings; those of MQTT sessions are their subscriptions", "bindings", "", []listColumn{
			{"SOURCE", "source", nil}, {"DESTINATION", "destination", nil}, {"KIND", "destination_type", nil}, {"KEY", "routing_key", nil}, vhost,
		}},
		{"consumers", "List the consumers of queues", "consumers", "", []listColumn{
			{"QUEUE", "queue.name", nil},
			{"VHOST", "queue.vhost", nil},
			{"TAG", "consumer_tag", nil},
			{"CHANNEL", "channel_details.name", nil},
			{"ACK", "ack_required", nil},
			{"PREFETCH", "prefetch_count", showLimit},
			{"ACTIVITY", "activity_status", nil},
			{"UNACKED", "messages_unacknowledged", nil},
			{"WAITS FOR", "waits_for", nil},
			{"SINCE", "waits_since", showTime},
		}},
		{"sessions", "List the MQTT sessions, those of clients that are away included", "sessions", "", []listColumn{
			{"CLIENT", "client_id", nil},
			vhost,
			{"USER", "user", nil},
			{"CONNECTED", "connected", nil},
			{"AWAY SINCE", "away_since", showTime},
			{"EXPIRES", "expires_at", showTime},
			{"SUBSCRIPTIONS", "subscriptions", nil},
			{"MESSAGES", "messages", nil},
			{"UNACKED", "messages_unacknowledged", nil},
		}},
	}
}

// command lists.
func (l *listing) command(f *adminFlags) *cobra.Command {
	var vhost, match string
	var mqtt bool
	cmd := f.verbCommand(l.use, l.short, cobra.NoArgs, func(b *broker, _ []string) error {
		path := []string{"api", l.object}
		if vhost != "" {
			path = append(path, vhost)
		}
		from := apiPath(path...)
		if l.query != "" && !mqtt {
			from += "?" + l.query
		}
		var rows []map[string]any
		if err := b.get(from, &rows); err != nil {
			if missing(err) {
				err = fmt.Errorf("vhost '%s' does not exist", vhost)
			}
			return err
		}
		return l.print(b, rows, match)
	})
	cmd.Flags().StringVar(&vhost, "vhost", "", "`name` of the virtual host (default all)")
	cmd.Flags().StringVar(&match, "match", "", "only those with this `text` in what the first column shows")
	if l.query != "" {
		cmd.Flags().BoolVar(&mqtt, "mqtt", false, "MQTT sessions' queues, too")
	}
	return cmd
}

func (l *listing) print(b *broker, rows []map[string]any, match string) error {
	heads := make([]string, len(l.columns))
	for i, c := range l.columns {
		heads[i] = c.head
	}
	t, shown := newTable(heads...), []map[string]any{}
	for _, r := range rows {
		cells := make([]string, len(l.columns))
		for i, c := range l.columns {
			cells[i] = c.text(r)
		}
		if strings.Contains(cells[0], match) {
			shown = append(shown, r)
			t.row(cells...)
		}
	}
	return b.print(shown, t)
}

// text is what a row has in the column.
func (c *listColumn) text(row map[string]any) string {
	var v any = row
	for element := range strings.SplitSeq(c.path, ".") {
		m, _ := v.(map[string]any)
		v = m[element]
	}
	if c.show != nil {
		return c.show(v)
	}
	switch v := v.(type) {
	case nil:
		return "-"
	case string:
		return v
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	text, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return string(text)
}

func showBytes(v any) string {
	n, _ := v.(float64)
	return roughSize(int64(n))
}

func showRate(v any) string {
	n, ok := v.(float64)
	if !ok {
		return "-"
	}
	return strconv.FormatFloat(n, 'f', 1, 64)
}

// showLimit shows 0 as none.
func showLimit(v any) string {
	n, _ := v.(float64)
	if n == 0 {
		return "-"
	}
	return strconv.FormatFloat(n, 'f', -1, 64)
}

// showTime shows milliseconds since 1970.
func showTime(v any) string {
	n, ok := v.(float64)
	if !ok {
		return "-"
	}
	return time.UnixMilli(int64(n)).UTC().Format(time.RFC3339)
}

// whyCommand asks why something does not happen.
func whyCommand(f *adminFlags) *cobra.Command {
	var vhost, user string
	ask := func(use, short string, args cobra.PositionalArgs, about func(args []string) url.Values) *cobra.Command {
		return f.verbCommand(use, short, args, func(b *broker, args []string) error {
			q := about(args)
			if q == nil {
				return b.why(nil)
			}
			q.Set("vhost", vhost)
			if user != "" {
				q.Set("user", user)
			}
			return b.why(q)
		})
	}
	one := func(key string) func([]string) url.Values {
		return func(args []string) url.Values { return url.Values{key: {args[0]}} }
	}
	queue := ask("queue QUEUE", "Why are the messages of a queue not consumed?", cobra.ExactArgs(1), one("queue"))
	session := ask("session CLIENT", "Why are messages not sent to an MQTT client?", cobra.ExactArgs(1), one("session"))
	connection := ask("connection NAME", "Why do a connection's messages not go on?", cobra.ExactArgs(1), one("connection"))
	publish := ask("publish EXCHANGE KEY", "Where does a message go, or why nowhere? MQTT's topics are keys of amq.topic, with dots for slashes", cobra.ExactArgs(2),
		func(args []string) url.Values { return url.Values{"exchange": {args[0]}, "routing_key": {args[1]}} })
	exchange := ask("exchange EXCHANGE", "What was published to an exchange and reached nobody?", cobra.ExactArgs(1), one("exchange"))
	publish.Flags().StringVar(&user, "as", "", "`user` of the broker's own records who publishes it (default who asks)")
	vhostFlag(&vhost, queue, session, exchange, publish)
	all := ask("why", "Say what is the matter, or why something does not happen: what is so now, and what to do", cobra.NoArgs, func([]string) url.Values { return nil })
	all.Long = all.Short + ".\n\nAlone it looks at all of the broker: alarms, queues whose consumers take nothing, queues that nobody consumes, and exchanges from where messages reach nobody."
	all.AddCommand(queue, session, connection, exchange, publish)
	return all
}

// whyAnswer is what was found.
type whyAnswer struct {
	About    string `json:"about"`
	Findings []struct {
		Code   string `json:"code"`
		Text   string `json:"text"`
		Advice string `json:"advice,omitempty"`
	} `json:"findings"`
}

func (b *broker) why(q url.Values) error {
	var a whyAnswer
	if err := b.get("/why?"+q.Encode(), &a); err != nil {
		if missing(err) && err.Error() == "Not Found" {
			err = fmt.Errorf("there is no such %s", firstOf(q, "queue", "session", "connection", "exchange", "vhost"))
		}
		return err
	}
	if b.asJSON {
		return b.print(a, nil)
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%s:\n", strconv.Quote(a.About)[1:len(strconv.Quote(a.About))-1])
	if len(a.Findings) == 0 {
		text.WriteString("  nothing stands in its way\n")
	}
	for _, f := range a.Findings {
		quoted := strconv.Quote(f.Text) // names may have what a terminal would obey
		fmt.Fprintf(&text, "  %s\n", quoted[1:len(quoted)-1])
		if f.Advice != "" {
			fmt.Fprintf(&text, "    to do: %s\n", f.Advice)
		}
	}
	return printOut(b.cmd, text.String())
}

// firstOf is the first of the keys that a query has.
func firstOf(q url.Values, keys ...string) string {
	for _, k := range keys {
		if q.Has(k) {
			return k
		}
	}
	return "object"
}
