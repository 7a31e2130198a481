package core

import (
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/batonmq/baton/core/field"
)

// QueueSettings is what a queue's arguments, and the policies that apply to it, amount to. It does not change once a queue has it: a new
// policy gives the queue new settings. A queue without any has none, nil, and pays for none.
//
// A nil pointer is a setting that nobody made. Times are in milliseconds, as the arguments have them.
type QueueSettings struct {
	Type string // QuorumType, or "" for a classic queue

	TTL       *int64 // how long a message may wait; 0: not at all
	Expires   *int64 // how long the queue stays without being used
	MaxLength *int64 // messages that may be ready
	MaxBytes  *int64 // bytes of their bodies
	Overflow  OverflowMode

	DeadLetterExchange *string
	DeadLetterKey      *string // nil: the key that the message has

	MaxPriority     uint8 // 0: the queue has no priorities
	SingleActive    bool
	DeliveryLimit   *int64        // how often a message may come back; negative or nil: as often as it likes
	ConsumerTimeout time.Duration // how long a consumer may take for a delivery; 0: as the front-end decides

	Retry    RetryType
	RetryMin int64 // how long a message rests that came back, for each time it did
	RetryMax int64 // at most; 0: no limit

	DedupWindow time.Duration // for how long an id of a message is remembered; 0: however old it is
	DedupSize   int64         // how many are; 0: any number
}

// The types of queue, as x-queue-type says them.
const (
	ClassicType = "classic"
	QuorumType  = "quorum"
)

// OverflowMode is what happens when a queue is full.
type OverflowMode uint8

// The modes.
const (
	DropHead         OverflowMode = iota // the oldest messages go
	RejectPublish                        // new messages are refused
	RejectPublishDLX                     // new messages are refused, and go where dead letters go
)

// RetryType is which messages rest before they are delivered again.
type RetryType uint8

// The types.
const (
	RetryDisabled RetryType = iota
	RetryAll
	RetryFailed   // those that a consumer has rejected
	RetryReturned // those that came back otherwise
)

// setting is an argument of a queue: how its value becomes part of the settings. problem is what RabbitMQ says of a value that is not
// allowed.
type setting struct {
	arg  string // without its x- a policy's key
	read func(st *QueueSettings, v any) (problem string)
}

// queueSettings are all arguments with a meaning, in the order in which RabbitMQ looks at them.
var queueSettings = [...]setting{
	{"x-expires", func(st *QueueSettings, v any) string {
		problem := readPeriod(&st.Expires, v)
		if problem == "" && *st.Expires == 0 {
			return "{value_zero,0}"
		}
		return problem
	}},
	{"x-message-ttl", func(st *QueueSettings, v any) string { return readPeriod(&st.TTL, v) }},
	{argDeadLetters, func(st *QueueSettings, v any) string { return readText(&st.DeadLetterExchange, v) }},
	{argDeadLetterKey, func(st *QueueSettings, v any) string { return readText(&st.DeadLetterKey, v) }},
	{"x-dead-letter-strategy", func(_ *QueueSettings, v any) string { // of no effect: a dead letter that a full queue refuses ends either way
		var is bool
		return readWord(&is, v, "invalid_dlx_strategy", map[string]bool{"at-most-once": false, "at-least-once": true})
	}},
	{"x-max-length", func(st *QueueSettings, v any) string { return readCount(&st.MaxLength, v) }},
	{"x-max-length-bytes", func(st *QueueSettings, v any) string { return readCount(&st.MaxBytes, v) }},
	{"x-max-priority", func(st *QueueSettings, v any) string {
		n, problem := readNumber(v)
		if problem == "" && n > math.MaxUint8 {
			return fmt.Sprintf("{max_value_exceeded,%d}", n)
		}
		st.MaxPriority = uint8(n)
		return problem
	}},
	{"x-overflow", func(st *QueueSettings, v any) string {
		return readWord(&st.Overflow, v, "invalid_overflow", map[string]OverflowMode{
			"drop-head": DropHead, "reject-publish": RejectPublish, "reject-publish-dlx": RejectPublishDLX,
		})
	}},
	{"x-queue-mode", func(_ *QueueSettings, v any) string { // of no effect
		var is bool
		return readWord(&is, v, quoted("unsupported queue mode '%s'", v), map[string]bool{"lazy": true, "default": true})
	}},
	{"x-queue-version", func(_ *QueueSettings, v any) string { // of no effect
		n, problem := readNumber(v)
		if problem == "" && n != 1 && n != 2 {
			return quoted("unsupported queue version '%s'", v)
		}
		return problem
	}},
	{"x-single-active-consumer", func(st *QueueSettings, v any) (problem string) {
		on, ok := v.(bool)
		if !ok {
			return unacceptable(v)
		}
		st.SingleActive = on
		return ""
	}},
	{argQueueType, func(st *QueueSettings, v any) string {
		return readWord(&st.Type, v, quoted("unsupported queue type '%s'", v), map[string]string{ClassicType: "", QuorumType: QuorumType})
	}},
	{"x-delivery-limit", func(st *QueueSettings, v any) string {
		n, ok := field.Int(v)
		if !ok {
			return notInteger(v)
		}
		st.DeliveryLimit = &n
		return ""
	}},
	{"x-consumer-timeout", func(st *QueueSettings, v any) string {
		var ms *int64
		if problem := readPeriod(&ms, v); problem != "" {
			return problem
		}
		st.ConsumerTimeout = time.Duration(*ms) * time.Millisecond
		return ""
	}},
	{"x-delayed-retry-type", func(st *QueueSettings, v any) string {
		return readWord(&st.Retry, v, "invalid_delayed_retry_type", map[string]RetryType{
			"disabled": RetryDisabled, "all": RetryAll, "failed": RetryFailed, "returned": RetryReturned,
		})
	}},
	{"x-delayed-retry-min", func(st *QueueSettings, v any) string { return readMillis(&st.RetryMin, v) }},
	{"x-delayed-retry-max", func(st *QueueSettings, v any) string { return readMillis(&st.RetryMax, v) }},
	{argDedupWindow, func(st *QueueSettings, v any) string {
		var ms int64
		problem := readMillis(&ms, v)
		st.DedupWindow = time.Duration(ms) * time.Millisecond
		return problem
	}},
	{argDedupSize, func(st *QueueSettings, v any) string {
		n, problem := readNumber(v)
		st.DedupSize = n
		return problem
	}},
}

// Arguments that others name.
const (
	argQueueType     = "x-queue-type"
	argDeadLetters   = "x-dead-letter-exchange" // where a queue's dead letters go
	argDeadLetterKey = "x-dead-letter-routing-key"
	argDedupWindow   = "x-deduplication-window"
	argDedupSize     = "x-deduplication-size"
)

// parseQueueArgs returns what a queue's arguments amount to, nil for a plain queue. An argument without a meaning is passed over; one
// with a value that is not allowed is told to wrong, in RabbitMQ's order and words, and passed over if that returns nil.
func parseQueueArgs(args field.Table, wrong func(arg, problem string) error) (*QueueSettings, error) {
	if len(args) == 0 {
		return nil, nil
	}
	var st QueueSettings
	for i := range queueSettings {
		s := &queueSettings[i]
		v, ok := args.Get(s.arg)
		if !ok {
			continue
		}
		before := st
		problem := s.read(&st, v)
		if problem == "" && s.arg == argDeadLetterKey && st.DeadLetterExchange == nil {
			problem = "routing_key_but_no_dlx_defined"
		}
		if problem == "" {
			continue
		}
		st = before
		if err := wrong(s.arg, problem); err != nil {
			return nil, err
		}
	}
	if st == (QueueSettings{}) {
		return nil, nil
	}
	return &st, nil
}

// maxPeriod is the longest time that RabbitMQ takes, ten of its years in milliseconds.
const maxPeriod = 3650 * 24 * 60 * 60 * 1000

func unacceptable(v any) string { return "{unacceptable_type," + field.TypeName(v) + "}" }

func notInteger(v any) string { return `"expected integer, got ` + field.TypeName(v) + `"` }

// quoted is a text about a value, as Erlang prints texts.
func quoted(format string, v any) string { return `"` + fmt.Sprintf(format, field.Text(v)) + `"` }

// readNumber reads a number that is not negative.
func readNumber(v any) (n int64, problem string) {
	n, ok := field.Int(v)
	switch {
	case !ok:
		return 0, notInteger(v)
	case n < 0:
		return 0, "{value_negative," + strconv.FormatInt(n, 10) + "}"
	}
	return n, ""
}

func readCount(to **int64, v any) (problem string) {
	n, problem := readNumber(v)
	*to = &n
	return problem
}

func readMillis(to *int64, v any) (problem string) {
	n, problem := readNumber(v)
	if problem == "" && n > maxPeriod {
		problem = "{value_too_large," + strconv.FormatInt(n, 10) + "}"
	}
	*to = n
	return problem
}

func readPeriod(to **int64, v any) (problem string) {
	*to = new(int64)
	return readMillis(*to, v)
}

func readText(to **string, v any) (problem string) {
	s, ok := v.(string)
	if !ok {
		return unacceptable(v)
	}
	*to = &s
	return ""
}

// readWord reads one of the words that are allowed.
func readWord[T any](to *T, v any, problem string, words map[string]T) string {
	s, ok := v.(string)
	if !ok {
		return unacceptable(v)
	}
	if *to, ok = words[s]; !ok {
		return problem
	}
	return ""
}
