package mqtt

import (
	"strings"

	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// What CONNACK says is not offered is checked here. Clients before MQTT 5 were
// not told; what they do all the same ends their connection, as it does for
// those that were, but for a subscription: that is refused by SUBACK.

// offersMessage returns what is wrong with a publication or a will that wants
// more than is offered.
func (s *Server) offersMessage(qos uint8, retain bool) error {
	switch {
	case int(qos) > s.opt.MaximumQoS: // section 3.2.2.3.4, [MQTT-3.2.2-12] of a will
		return wire.Errorf(wire.QoSNotSupported, "QoS %d, the maximum is %d", qos, s.opt.MaximumQoS)
	case retain && s.opt.NoRetain: // section 3.2.2.3.5, [MQTT-3.2.2-13] of a will
		return wire.Errorf(wire.RetainNotSupported, "retained messages are not available")
	}
	return nil
}

// offersSubscription returns what is wrong with a SUBSCRIBE of MQTT 5 that wants
// what CONNACK has said is not available (sections 3.2.2.3.11 to 3.2.2.3.13).
// A QoS above the maximum is not wrong [MQTT-3.2.2-10].
func (c *conn) offersSubscription(p *wire.Subscribe) error {
	opt := &c.srv.opt
	if c.version != wire.V5 {
		return nil
	}
	if opt.NoSubscriptionIDs && p.Identifier != 0 {
		return wire.Errorf(wire.SubscriptionIDNotSupported, "subscription identifiers are not available")
	}
	for i := range p.Subscriptions {
		switch c.srv.offersFilter(p.Subscriptions[i].Filter) {
		case wire.WildcardNotSupported:
			return wire.Errorf(wire.WildcardNotSupported, "subscriptions with wildcards are not available")
		case wire.SharedNotSupported:
			return wire.Errorf(wire.SharedNotSupported, "shared subscriptions are not available")
		default:
		}
	}
	return nil
}

// offersFilter tells why a filter that is well formed is refused; Success if it
// is not.
func (s *Server) offersFilter(filter string) wire.ReasonCode {
	share, topics, _ := wire.SplitShared(filter)
	switch {
	case s.opt.NoShared && share != "":
		return wire.SharedNotSupported
	case s.opt.NoWildcards && hasWildcard(topics): // [MQTT-3.1.1 3.8.3-2]
		return wire.WildcardNotSupported
	}
	return wire.Success
}

// granted is the QoS of a subscription that asks for qos.
func (s *Server) granted(qos uint8) uint8 { return min(qos, uint8(s.opt.MaximumQoS)) }

func hasWildcard(filter string) bool { return strings.ContainsAny(filter, "+#") }

// elsewhere is the reason that the client is given in place of code, and where
// it should go on (section 4.11): a broker that shuts down may know who takes
// over, and one that was told to knows where it sends everybody.
func (c *conn) elsewhere(code wire.ReasonCode) (reason wire.ReasonCode, reference string) {
	switch code {
	case wire.ServerShuttingDown:
		way := c.way()
		if reference = c.srv.opt.Elsewhere(way.TLS, way.WebSocket); reference != "" {
			return wire.UseAnotherServer, reference
		}
	case wire.UseAnotherServer, wire.ServerMoved:
		return code, c.srv.opt.Redirect
	default:
	}
	return code, ""
}

// stays returns why a client that has logged in, with this will or none, is not
// served: the settings send it away, or its will wants more than is offered.
func (s *Server) stays(will *wire.Will) error {
	switch {
	case s.opt.Moved:
		return wire.Errorf(wire.ServerMoved, "the server has moved")
	case s.opt.Redirect != "":
		return wire.Errorf(wire.UseAnotherServer, "use another server for now")
	case will != nil:
		return s.offersMessage(will.QoS, will.Retain)
	}
	return nil
}
