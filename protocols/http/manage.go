package admin

import (
	"fmt"
	"strings"

	"github.com/batonmq/baton/protocols/http/api"
)

// newAPI returns the management API of this node. It answers while the node is the
// primary, and points to the one that is otherwise.
func newAPI(opt *Options, own func() []api.Listener) (*api.API, error) {
	return api.New(api.Options{
		Node: opt.Node, Version: opt.Version, Log: opt.Log, LoginFailed: opt.Rate.RecordFailure,
		Primary: func() *api.Primary {
			if opt.Health.State().Role != RolePrimary {
				return nil
			}
			p := opt.Primary()
			if p != nil {
				with := *p
				with.Listeners = append(own(), p.Listeners...)
				p = &with
			}
			return p
		},
		Absent: func() string { return absent(opt.Health.State()) },
		Totals: func() api.Totals {
			s, _ := opt.Stats() // none while the broker is being closed
			return Totals(&s)
		},
		Facts: opt.Facts, Peers: opt.Peers, About: opt.About,
	})
}

// absent says why a node does not serve, and which one does.
func absent(s State) string {
	if b := s.Standby; b != nil && b.Primary != "" {
		text := "this node is a standby; the primary is " + b.Primary
		if len(b.Addresses) > 0 {
			text += " at " + strings.Join(b.Addresses, " ")
		}
		return text
	}
	reason := s.Reason
	if reason == "" {
		reason = "it does not serve any more"
	}
	return fmt.Sprintf("this node is %s: %s", s.Role, reason)
}

// Totals are the counters that the overview shows.
func Totals(s *Stats) api.Totals {
	return api.Totals{
		Connections: s.Connections, Channels: s.Channels, Consumers: s.Consumers, Exchanges: s.Exchanges, Queues: s.Queues,
		Ready: s.Ready, Unacked: s.Unacked,
		ConnectionsOpenedTotal: s.ConnectionsOpenedTotal, ConnectionsClosedTotal: s.ConnectionsClosedTotal,
		ChannelsOpenedTotal: s.ChannelsOpenedTotal, ChannelsClosedTotal: s.ChannelsClosedTotal,
		PublishedTotal: s.ReceivedTotal, ConfirmedTotal: s.ConfirmedTotal,
		DroppedTotal: s.UnroutableDroppedTotal, ReturnedTotal: s.UnroutableReturnedTotal,
		DeliveredManualTotal: s.DeliveredConsumeManualTotal, DeliveredAutoTotal: s.DeliveredConsumeAutoTotal,
		GotManualTotal: s.DeliveredGetManualTotal, GotAutoTotal: s.DeliveredGetAutoTotal, GotNothingTotal: s.GetEmptyTotal,
		DeliveredTotal: s.DeliveredTotal, RedeliveredTotal: s.RedeliveredTotal, AcknowledgedTotal: s.AcknowledgedTotal,
	}
}
