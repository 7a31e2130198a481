package api

import (
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

// The hashes are those that Erlang/OTP 25 computes for the same terms.
func TestPropertiesKeyIsRabbitMQs(t *testing.T) {
	for _, tt := range []struct {
		key  string
		args field.Table
		want string
	}{
		{"", nil, "~"},
		{"a.b-c_9", nil, "a.b-c_9"},
		{"~", nil, "%7E"},
		{"a b/#*ü", nil, "a+b%2F%23%2A%C3%BC"},
		{"", field.Table{{Key: "n", Value: int32(1)}}, "~~nB8TvUNv80VNiavlq1VHpQ"},
		{"k", field.Table{{Key: "s", Value: "x"}, {Key: "n", Value: int64(1)}}, "k~20Zl2ySAw1TflgQW93tp6Q"},
		{"k", field.Table{
			{Key: "a", Value: []any{"y", true}},
			{Key: "d", Value: 1.5},
			{Key: "l", Value: int64(-5_000_000_000)},
			{Key: "t", Value: field.Table{{Key: "k", Value: int8(-3)}, {Key: "u", Value: nil}}},
		}, "k~-8ujv6VKbruOQj_ohTk51Q"},
	} {
		if got := propertiesKey(&core.BindingSpec{Key: tt.key, Args: tt.args}); got != tt.want {
			t.Errorf("%q %v: %s, want %s", tt.key, tt.args, got, tt.want)
		}
	}
}
