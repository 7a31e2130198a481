package admin

import (
	"crypto/x509"
	"fmt"
	"strings"

	"github.com/batonmq/baton/protocols/http/api"
)

// newAPI returns the management API of this node. It answers while the node is the
// primary, and points to the one that is otherwise.
func newAPI(opt *Options, own func() []api.Listener) (*api.API, error) {
	return api.New(api.Options{
		Node: opt.Node, Cluster: opt.Cluster, Version: opt.Version, Log: opt.Log, LoginFailed: opt.Rate.RecordFailure,
		Primary: func() *api.Primary {
			if opt.Health.State().Role != RolePrimary {
				return nil
			}
			return opt.Primary()
		},
		Absent:    func() api.Absence { return absent(opt.Health.State()) },
		Ready:     func() string { return unready(opt.Health.State()) },
		Listeners: own,
		Certificates: func() []*x509.Certificate {
			if opt.TLS == nil {
				return nil
			}
			return opt.TLS.Stats().Certificates
		},
		Attempts: func() []api.Attempts { return attempts(opt.Stats) },
		Reload:   opt.Reload,
		Totals: func() api.Totals {
			s, _ := opt.Stats() // none while the broker is being closed
			return Totals(&s)
		},
		Facts: opt.Facts, Peers: opt.Peers, About: opt.About,
	})
}

// attempts are the logins of clients, by protocol.
func attempts(stats func() (Stats, bool)) (all []api.Attempts) {
	s, _ := stats() // none while the broker is being closed
	for _, p := range s.Protocols {
		all = append(all, api.Attempts{Protocol: p.Name, Accepted: p.LoginsAcceptedTotal, Refused: p.LoginsRefusedTotal})
	}
	return all
}

// unready is why clients cannot be sent to a node; empty: they can.
func unready(s State) string {
	if s.Ready() {
		return ""
	}
	return absent(s).Reason
}

// absent says why a node does not serve, and which one does.
func absent(s State) api.Absence {
	a := api.Absence{Role: string(s.Role)}
	if b := s.Standby; b != nil && b.Primary != "" {
		a.Reason, a.Primary, a.Addresses = "this node is a standby; the primary is "+b.Primary, b.Primary, b.Addresses
		if len(b.Addresses) > 0 {
			a.Reason += " at " + strings.Join(b.Addresses, " ")
		}
		return a
	}
	reason := s.Reason
	if reason == "" {
		reason = "it does not serve any more"
	}
	a.Reason = fmt.Sprintf("this node is %s: %s", s.Role, reason)
	return a
}

// Totals are the counters that the overview shows.
func Totals(s *Stats) api.Totals {
	return api.Totals{
		Connections: s.Connections, Channels: s.Channels, Consumers: s.Consumers, Exchanges: s.Exchanges, Queues: s.Queues,
		Ready: s.Ready, Unacked: s.Unacked,
		ConnectionsOpenedTotal: s.ConnectionsOpenedTotal, ConnectionsClosedTotal: s.ConnectionsClosedTotal,
		ChannelsOpenedTotal: s.ChannelsOpenedTotal, ChannelsClosedTotal: s.ChannelsClosedTotal,
		QueuesDeclaredTotal: s.QueuesDeclaredTotal, QueuesCreatedTotal: s.QueuesCreatedTotal, QueuesDeletedTotal: s.QueuesDeletedTotal,
		PublishedTotal: s.ReceivedTotal, ConfirmedTotal: s.ConfirmedTotal,
		DroppedTotal: s.UnroutableDroppedTotal, ReturnedTotal: s.UnroutableReturnedTotal,
		DeliveredManualTotal: s.DeliveredConsumeManualTotal, DeliveredAutoTotal: s.DeliveredConsumeAutoTotal,
		GotManualTotal: s.DeliveredGetManualTotal, GotAutoTotal: s.DeliveredGetAutoTotal, GotNothingTotal: s.GetEmptyTotal,
		DeliveredTotal: s.DeliveredTotal, RedeliveredTotal: s.RedeliveredTotal, AcknowledgedTotal: s.AcknowledgedTotal,
	}
}
