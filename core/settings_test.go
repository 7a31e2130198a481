package core

import (
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/batonmq/baton/core/field"
)

// TestQueueArguments: what each argument amounts to, and what RabbitMQ 3.10 says of values that it does not take. Where there is no such
// argument in that version, or it takes anything, the words are those of its like.
func TestQueueArguments(t *testing.T) {
	arg := func(name string, v any) field.Table { return field.Table{{Key: name, Value: v}} }
	for _, c := range []struct {
		args    field.Table
		want    QueueSettings
		problem string // with the argument in front
	}{
		{args: nil},
		{args: arg("x-anything", "is kept")},
		{args: arg("x-expires", int32(1)), want: QueueSettings{Expires: new(int64(1))}},
		{args: arg("x-expires", int32(0)), problem: "x-expires: {value_zero,0}"},
		{args: arg("x-expires", int8(-1)), problem: "x-expires: {value_negative,-1}"},
		{args: arg("x-expires", int64(315_360_000_000)), want: QueueSettings{Expires: new(int64(315_360_000_000))}},
		{args: arg("x-expires", int64(315_360_000_001)), problem: "x-expires: {value_too_large,315360000001}"},
		{args: arg("x-expires", "10"), problem: `x-expires: "expected integer, got longstr"`},
		{args: arg("x-message-ttl", uint16(0)), want: QueueSettings{TTL: new(int64(0))}},
		{args: arg("x-message-ttl", int16(-1)), problem: "x-message-ttl: {value_negative,-1}"},
		{args: arg("x-message-ttl", 1.5), problem: `x-message-ttl: "expected integer, got double"`},
		{args: arg("x-message-ttl", nil), problem: `x-message-ttl: "expected integer, got void"`},
		{args: arg("x-message-ttl", int64(8_640_000_000_000)), problem: "x-message-ttl: {value_too_large,8640000000000}"},
		{args: arg("x-max-length", int64(8_640_000_000_000)), want: QueueSettings{MaxLength: new(int64(8_640_000_000_000))}},
		{args: arg("x-max-length", []byte("x")), problem: `x-max-length: "expected integer, got binary"`},
		{args: arg("x-max-length-bytes", uint8(0)), want: QueueSettings{MaxBytes: new(int64(0))}},
		{args: arg("x-max-length-bytes", int32(-5)), problem: "x-max-length-bytes: {value_negative,-5}"},
		{args: arg("x-max-priority", uint32(255)), want: QueueSettings{MaxPriority: 255}},
		{args: arg("x-max-priority", int32(256)), problem: "x-max-priority: {max_value_exceeded,256}"},
		{args: arg("x-max-priority", int32(-1)), problem: "x-max-priority: {value_negative,-1}"},
		{args: arg("x-overflow", "drop-head")},
		{args: arg("x-overflow", "reject-publish"), want: QueueSettings{Overflow: RejectPublish}},
		{args: arg("x-overflow", "reject-publish-dlx"), want: QueueSettings{Overflow: RejectPublishDLX}},
		{args: arg("x-overflow", "drop-tail"), problem: "x-overflow: invalid_overflow"},
		{args: arg("x-overflow", true), problem: "x-overflow: {unacceptable_type,bool}"},
		{args: arg("x-dead-letter-exchange", ""), want: QueueSettings{DeadLetterExchange: new("")}},
		{args: arg("x-dead-letter-routing-key", "k"), problem: "x-dead-letter-routing-key: routing_key_but_no_dlx_defined"},
		{args: arg("x-dead-letter-routing-key", int32(1)), problem: "x-dead-letter-routing-key: {unacceptable_type,signedint}"},
		{
			args: field.Table{{Key: "x-dead-letter-routing-key", Value: "k"}, {Key: "x-dead-letter-exchange", Value: "x"}},
			want: QueueSettings{DeadLetterExchange: new("x"), DeadLetterKey: new("k")},
		},
		{args: arg("x-dead-letter-strategy", "at-most-once")},
		{args: arg("x-dead-letter-strategy", "at-least-once")},
		{args: arg("x-dead-letter-strategy", "never"), problem: "x-dead-letter-strategy: invalid_dlx_strategy"},
		{args: arg("x-queue-type", "classic")},
		{args: arg("x-queue-type", "quorum"), want: QueueSettings{Type: QuorumType}},
		{args: arg("x-queue-type", "lazy"), problem: `x-queue-type: "unsupported queue type 'lazy'"`},
		{args: arg("x-queue-type", int32(1)), problem: "x-queue-type: {unacceptable_type,signedint}"},
		{args: arg("x-queue-mode", "lazy")},
		{args: arg("x-queue-mode", "a"), problem: `x-queue-mode: "unsupported queue mode 'a'"`},
		{args: arg("x-queue-version", int64(2))},
		{args: arg("x-queue-version", int32(0)), problem: `x-queue-version: "unsupported queue version '0'"`},
		{args: arg("x-single-active-consumer", true), want: QueueSettings{SingleActive: true}},
		{args: arg("x-single-active-consumer", false)},
		{args: arg("x-single-active-consumer", "true"), problem: "x-single-active-consumer: {unacceptable_type,longstr}"},
		{args: arg("x-delivery-limit", int32(-1)), want: QueueSettings{DeliveryLimit: new(int64(-1))}},
		{args: arg("x-delivery-limit", "a"), problem: `x-delivery-limit: "expected integer, got longstr"`},
		{args: arg("x-consumer-timeout", int32(1500)), want: QueueSettings{ConsumerTimeout: 1500 * time.Millisecond}},
		{args: arg("x-consumer-timeout", int32(-1)), problem: "x-consumer-timeout: {value_negative,-1}"},
		{args: arg("x-delayed-retry-type", "all"), want: QueueSettings{Retry: RetryAll}},
		{args: arg("x-delayed-retry-type", "some"), problem: "x-delayed-retry-type: invalid_delayed_retry_type"},
		{args: arg("x-delayed-retry-min", int32(10)), want: QueueSettings{RetryMin: 10}},
		{args: arg("x-delayed-retry-max", int32(-1)), problem: "x-delayed-retry-max: {value_negative,-1}"},
		{args: arg("x-deduplication-window", int32(1000)), want: QueueSettings{DedupWindow: time.Second}},
		{args: arg("x-deduplication-size", int32(-1)), problem: "x-deduplication-size: {value_negative,-1}"},
		{ // the first in RabbitMQ's order is told
			args:    field.Table{{Key: "x-overflow", Value: "a"}, {Key: "x-message-ttl", Value: "a"}, {Key: "x-expires", Value: "a"}},
			problem: `x-expires: "expected integer, got longstr"`,
		},
	} {
		got, err := parseQueueArgs(c.args, func(arg, problem string) error { return errors.New(arg + ": " + problem) })
		switch {
		case c.problem != "":
			if err == nil || err.Error() != c.problem {
				t.Errorf("%v: %v, want %s", c.args, err, c.problem)
			}
		case err != nil:
			t.Errorf("%v: %v", c.args, err)
		case got == nil && c.want != QueueSettings{} || got != nil && !reflect.DeepEqual(*got, c.want):
			t.Errorf("%v: %+v, want %+v", c.args, got, c.want)
		}
	}
}

// TestQueueArgumentsOfBefore: a queue keeps arguments that a broker before this one took for anything, and goes without them.
func TestQueueArgumentsOfBefore(t *testing.T) {
	var said []string
	args := field.Table{{Key: "x-consumer-timeout", Value: "soon"}, {Key: "x-max-length", Value: int32(5)}}
	got, err := parseQueueArgs(args, func(arg, _ string) error { said = append(said, arg); return nil })
	if err != nil || !reflect.DeepEqual(got, &QueueSettings{MaxLength: new(int64(5))}) || !reflect.DeepEqual(said, []string{"x-consumer-timeout"}) {
		t.Errorf("%+v, %v, said %q", got, err, said)
	}
}
