package core

import (
	"strconv"

	"github.com/batonmq/baton/core/field"
)

// channelName is RabbitMQ's name of a channel, as lists show it.
func (s *Session) channelName(number uint16) string {
	return s.Name() + " (" + strconv.Itoa(int(number)) + ")"
}

// tell tells that the session's connection has come or gone, if it is one.
func (s *Session) tell(key string) {
	b := s.broker
	if !b.events.heard() || s.opt.Info == nil {
		return
	}
	i := s.Info()
	headers := []field.Field{
		of("name", i.Name), of("node", b.opt.Node), of("user", i.User), of("client_properties", table(i.ClientProperties)),
		of("user_provided_name", i.ClientName),
	}
	if key == "connection.created" {
		headers = append(headers, of("type", "network"), of("protocol", i.Protocol), of("host", i.Host), of("port", int64(i.Port)),
			of("peer_host", i.PeerHost), of("peer_port", int64(i.PeerPort)), of("ssl", i.TLS), of("ssl_protocol", i.TLSVersion), of("ssl_cipher", i.Cipher),
			of("peer_cert_subject", i.PeerCertSubject), of("peer_cert_issuer", i.PeerCertIssuer), of("auth_mechanism", i.AuthMechanism),
			of("timeout", int64(i.Timeout.Seconds())), of("frame_max", int64(i.FrameMax)), of("channel_max", int64(i.ChannelMax)),
			of("connected_at", i.ConnectedAt.UnixMilli()))
		if i.ClientID != "" {
			headers = append(headers, of("client_id", i.ClientID))
		}
	}
	s.vhost.tell(key, s.opt.User, headers...)
}

// TellChannel tells that a channel of the session's connection was opened or closed.
func (s *Session) TellChannel(number uint16, opened bool) {
	if !s.broker.events.heard() {
		return
	}
	key := "channel.closed"
	if opened {
		key = "channel.created"
	}
	s.vhost.tell(key, s.opt.User, of("name", s.channelName(number)), of("connection", s.Name()), of("number", int64(number)), of("user", s.opt.User))
}

// tellVHostPut tells of a vhost that was made or changed.
func (b *Broker) tellVHostPut(by string, created bool, before, now *VHostInfo) {
	if !b.events.heard() {
		return
	}
	headers := []field.Field{
		of("name", now.Name), of("description", now.Description), of("tags", texts(now.Tags)), of("default_queue_type", now.DefaultQueueType),
		of("tracing", false),
	}
	limits := []field.Field{of("name", "limits"), of("vhost", now.Name)}
	if now.MaxConnections >= 0 {
		limits = append(limits, of("max-connections", int64(now.MaxConnections)))
	}
	if now.MaxQueues >= 0 {
		limits = append(limits, of("max-queues", int64(now.MaxQueues)))
	}
	switch {
	case created:
		b.TellEvent("vhost.created", by, headers...)
	case before.MaxConnections == now.MaxConnections && before.MaxQueues == now.MaxQueues:
		b.TellEvent("vhost.updated", by, headers...)
	case len(limits) == 2:
		b.TellEvent("vhost.limits.cleared", by, limits...)
	default:
		b.TellEvent("vhost.limits.set", by, limits...)
	}
}

// tellPolicy tells of a policy, or, as RabbitMQ does, of an operator policy as of a parameter.
func (b *Broker) tellPolicy(key, by string, p *Policy) {
	if !b.events.heard() {
		return
	}
	headers := []field.Field{of("name", p.Name), of("vhost", p.VHost)}
	if p.Operator {
		key, headers = "parameter"+key[len("policy"):], append(headers, of("component", "operator_policy"))
	}
	if p.Pattern != "" {
		headers = append(headers, of("pattern", p.Pattern), of("apply-to", p.ApplyTo), of("priority", int64(p.Priority)), of("definition", table(p.Definition)))
	}
	b.TellEvent(key, by, headers...)
}

// texts is an array of a table.
func texts(list []string) []any {
	all := make([]any, len(list))
	for i, s := range list {
		all[i] = s
	}
	return all
}

// event is what is told of a parameter. Its value is the text that it is.
func (p *Parameter) event() []field.Field {
	headers := []field.Field{of("name", p.Name)}
	if p.VHost == "" {
		headers = append(headers, of("component", "global"))
	} else {
		headers = append(headers, of("component", p.Component), of("vhost", p.VHost))
	}
	if p.Value != nil {
		headers = append(headers, of("value", string(p.Value)))
	}
	return headers
}
