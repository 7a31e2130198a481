package mqtt

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/batonmq/baton/protocols/listen"
	"github.com/batonmq/baton/protocols/mqtt/bridge"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// A mount point is put before all topics of a client, response topics included, and
// taken off what the client is sent: to it they begin behind that. Nothing below the mount point that
// begins with $ is a topic of the client's: [MQTT-4.7.2-1] would have to hide it
// from some of its filters, of which the engine knows the whole alone. So it is
// hidden from all.

// Variables of mount points, each of which is a whole level.
const (
	usernameLevel = "{username}"
	clientIDLevel = "{client_id}"
)

// errMounted is why a publication is dropped.
var errMounted = errors.New("a client with a mount point has no topics that begin with $")

// A mount is the mount point of a connection.
type mount struct{ prefix string }

// A Way is how a client comes in: over TLS or without, over WebSocket or not; and
// Socket tells a unix socket from TCP.
type Way struct{ TLS, WebSocket, Socket bool }

// way is how the client has come in.
func (c *conn) way() (w Way) {
	_, w.WebSocket = c.nc.(*webSocket)
	_, w.TLS = listen.TLSState(c.nc)
	w.Socket = c.nc.LocalAddr().Network() == "unix"
	return w
}

// CheckMountPoint returns what is wrong with a mount point of [Options.MountPoint].
func CheckMountPoint(prefix string) error {
	switch {
	case prefix == "":
		return nil
	case !wire.ValidTopic(prefix) || tooDeep(prefix):
		return fmt.Errorf("mount point %q is not the beginning of a topic", prefix)
	case prefix[0] == '$':
		return fmt.Errorf("mount point %q begins with $", prefix)
	case !strings.HasSuffix(prefix, "/"):
		return fmt.Errorf("mount point %q does not end with /", prefix)
	}
	for level := range strings.SplitSeq(prefix, "/") {
		if strings.ContainsAny(level, "{}") && level != usernameLevel && level != clientIDLevel {
			return fmt.Errorf("mount point %q has the level %q: a level with braces is %s or %s", prefix, level, usernameLevel, clientIDLevel)
		}
	}
	return nil
}

// mountPoint is the mount point of the client, which has logged in. One whose name
// cannot be the level that it has to be is not let in.
func (c *conn) mountPoint() (*mount, error) {
	if c.srv.opt.MountPoint == nil {
		return nil, nil //nolint:nilnil // no mount point is no error
	}
	prefix := c.srv.opt.MountPoint(c.way())
	if prefix == "" {
		return nil, nil //nolint:nilnil // likewise
	}
	levels := strings.Split(prefix, "/")
	for i, level := range levels {
		var code wire.ReasonCode
		switch level {
		case usernameLevel:
			levels[i], code = c.user, wire.NotAuthorized
		case clientIDLevel:
			levels[i], code = c.clientID, wire.ClientIDNotValid
		default:
			continue
		}
		if bridge.Word(levels[i]) == "" || i == 0 && levels[i][0] == '$' {
			return nil, wire.Errorf(code, "%q cannot be the level %s of the mount point", levels[i], level)
		}
	}
	prefix = strings.Join(levels, "/")
	if !wire.ValidTopic(prefix) { // a name may be no text, or long
		return nil, wire.Errorf(wire.NotAuthorized, "the mount point is not the beginning of a topic")
	}
	return &mount{prefix}, nil
}

// mounted is a topic of the client, or a filter without $share, as everybody else
// knows it; false if it has become too long. Those that begin with $ stay as they
// are: see conn.reserved.
func (c *conn) mounted(topic string) (full string, ok bool) {
	if c.mount == nil || strings.HasPrefix(topic, "$") {
		return topic, true
	}
	full = c.mount.prefix + topic
	return full, len(full) <= math.MaxUint16 && !tooDeep(full)
}

// mountResponse puts the mount point before the response topic of a publication or
// a will, so that whoever answers reaches the client ![MQTT-3.3.2-15]. One that the
// client cannot have, since it begins with $, is left out.
func (c *conn) mountResponse(p *wire.PublishProperties) (err error) {
	if c.mount == nil || !p.Has(wire.ResponseTopic) {
		return nil
	}
	full, ok := c.mounted(string(p.ResponseTopic))
	if !ok {
		return wire.Errorf(wire.TopicNameInvalid, "the response topic is too long below the mount point")
	}
	*p, err = wire.ParseProperties(wire.MapResponseTopic(p.Section, func([]byte) ([]byte, bool) {
		return []byte(full), full[0] != '$'
	}))
	return err
}

// visible is a topic as the client knows it; false if it
// knows none. The subscription may have been one for more: a/b/# matches a/b and
// a/b/, too, and what has waited may be that of a former mount point.
func (m *mount) visible(topic []byte) (own []byte, ok bool) {
	if n := len(m.prefix); len(topic) > n && string(topic[:n]) == m.prefix {
		return topic[n:], topic[n] != '$'
	}
	return topic, isSystemTopic(topic)
}

// visibleResponse is a property section with its response topic as the client knows
// it: without one of which it knows nothing. m may be nil.
func (m *mount) visibleResponse(section []byte) []byte {
	if m == nil {
		return section
	}
	return wire.MapResponseTopic(section, m.visible)
}

// isSystemTopic is isSystem of a topic.
func isSystemTopic(topic []byte) bool {
	n := len(systemWord)
	return len(topic) >= n && string(topic[:n]) == systemWord && (len(topic) == n || topic[n] == '/')
}

// outside reports whether a binding pattern is for what is not below the mount
// point: a subscription of the session's from when the client had another.
func (m *mount) outside(pattern string) bool {
	return !strings.HasPrefix(pattern, bridge.Key(m.prefix)) && !isSystem(pattern)
}

// reserved returns why a routing key, or a binding pattern, is not the client's to
// have; nil: it is, as far as its beginning goes.
func (c *conn) reserved(key string) error {
	switch {
	case key == "" || key[0] != '$':
		return nil
	case isSystem(key):
		return errSystemTopic
	case c.mount != nil:
		return errMounted
	}
	return nil
}

// mayOwn reports that conn.reserved has nothing against a routing key.
func (c *conn) mayOwn(key string) bool { return c.reserved(key) == nil }

// isReserved reports that err is one of conn.reserved.
func isReserved(err error) bool { return errors.Is(err, errSystemTopic) || errors.Is(err, errMounted) }
