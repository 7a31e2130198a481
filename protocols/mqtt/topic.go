package mqtt

import (
	"strconv"
	"strings"

	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

const (
	// delayedPrefix, seconds and a slash before a topic have the publication
	// delayed, as EMQX has it.
	delayedPrefix = "$delayed/"

	// maxDelay is the longest delay, in seconds: their milliseconds fit 32 bits.
	maxDelay = 4294967
)

// maxLevels is how many levels a topic or a filter may have: as many as the
// longest routing key that AMQP can have stands for. A level of a retained
// message or of a subscription takes hundreds of bytes of memory, and must
// not be had for the one of a slash.
const maxLevels = 256

// tooDeep reports whether a topic or a filter has too many levels.
func tooDeep(topic string) bool { return strings.Count(topic, "/") >= maxLevels }

// A destination is where a publication goes, and when.
type destination struct {
	key   string // the routing key
	delay uint32 // in seconds
}

// milliseconds are the delay as the engine has it.
func (d *destination) milliseconds() int64 { return int64(d.delay) * 1000 }

// destination reads the topic of a publication or a will.
func (c *conn) destination(topic string) (to destination, err error) {
	if tooDeep(topic) {
		return to, wire.Errorf(wire.TopicNameInvalid, "the topic has more than %d levels", maxLevels)
	}
	if rest, ok := strings.CutPrefix(topic, delayedPrefix); ok && !c.srv.opt.NoDelayed {
		if topic, to.delay, err = splitDelay(rest); err != nil {
			return to, err
		}
	}
	full, ok := c.mounted(topic)
	if !ok {
		return to, wire.Errorf(wire.TopicNameInvalid, "the topic is too long below the mount point")
	}
	to.key = bridge.Key(full)
	return to, nil
}

// splitDelay takes seconds and topic apart. The topic is one that has no delay.
func splitDelay(s string) (topic string, delay uint32, err error) {
	digits, topic, ok := strings.Cut(s, "/")
	n, bad := strconv.ParseUint(digits, 10, 32)
	switch {
	case !ok || topic == "":
		err = wire.Errorf(wire.TopicNameInvalid, "no topic behind the delay in topic %q", delayedPrefix+s)
	case bad != nil || n > maxDelay:
		err = wire.Errorf(wire.TopicNameInvalid, "the delay %q is not a number of seconds up to %d", digits, maxDelay)
	case strings.HasPrefix(topic, delayedPrefix):
		err = wire.Errorf(wire.TopicNameInvalid, "a delay behind the delay in topic %q", delayedPrefix+s)
	}
	return topic, uint32(n), err
}
