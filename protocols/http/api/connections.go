package api

import (
	"log/slog"
	"strings"
	"time"
	"unicode"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/http/history"
)

// connection is what RabbitMQ tells of one, as far as it is known here. What has
// no value is null there, too.
type connection struct {
	Name             string         `json:"name"`
	Type             string         `json:"type"`
	Protocol         string         `json:"protocol"`
	User             string         `json:"user"`
	Performer        string         `json:"user_who_performed_action"`
	VHost            string         `json:"vhost"`
	Node             string         `json:"node"`
	State            string         `json:"state"`
	AuthMechanism    *string        `json:"auth_mechanism"`
	PeerHost         string         `json:"peer_host"`
	PeerPort         int            `json:"peer_port"`
	Host             string         `json:"host"`
	Port             int            `json:"port"`
	TLS              bool           `json:"ssl"`
	TLSVersion       *string        `json:"ssl_protocol"`
	Cipher           *string        `json:"ssl_cipher"`
	PeerCertSubject  *string        `json:"peer_cert_subject"`
	PeerCertIssuer   *string        `json:"peer_cert_issuer"`
	PeerCertValidity *string        `json:"peer_cert_validity"`
	KeyExchange      *string        `json:"ssl_key_exchange"` // null: the cipher's name says it
	Hash             *string        `json:"ssl_hash"`         // likewise
	Channels         int            `json:"channels"`
	ChannelMax       int            `json:"channel_max"`
	FrameMax         int            `json:"frame_max"`
	Timeout          int            `json:"timeout"` // seconds
	ClientProperties map[string]any `json:"client_properties"`
	GivenName        string         `json:"user_provided_name,omitempty"`
	VariableMap      map[string]any `json:"variable_map,omitempty"` // of MQTT
	ConnectedAt      int64          `json:"connected_at"`           // milliseconds
	BytesIn          uint64         `json:"recv_oct"`
	PacketsIn        uint64         `json:"recv_cnt"`
	BytesOut         uint64         `json:"send_oct"`
	PacketsOut       uint64         `json:"send_cnt"`
	Pending          int64          `json:"send_pend"`
	BytesInDetails   history.Detail `json:"recv_oct_details"`
	BytesOutDetails  history.Detail `json:"send_oct_details"`
}

// trafficOf are the numbers of a connection that are sampled: those that come in
// and those that go out.
func trafficOf(t core.Traffic, into *[2]int64) {
	into[0], into[1] = int64(t.BytesIn), int64(t.BytesOut)
}

func orNull(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

func (c *call) connectionOf(s *core.Session, i *core.ConnectionInfo) connection {
	conn := connection{
		Name: i.Name, Type: "network", Protocol: i.Protocol, User: i.User, Performer: i.User, VHost: i.VHost,
		Node: c.api.opt.Node, State: i.State, AuthMechanism: orNull(i.AuthMechanism),
		PeerHost: i.PeerHost, PeerPort: i.PeerPort, Host: i.Host, Port: i.Port,
		TLS: i.TLS, TLSVersion: orNull(i.TLSVersion), Cipher: orNull(i.Cipher),
		PeerCertSubject: orNull(i.PeerCertSubject), PeerCertIssuer: orNull(i.PeerCertIssuer),
		Channels: i.Channels, ChannelMax: i.ChannelMax, FrameMax: i.FrameMax, Timeout: int(i.Timeout / time.Second),
		ClientProperties: object(i.ClientProperties), GivenName: i.ClientName, ConnectedAt: i.ConnectedAt.UnixMilli(),
		BytesIn: i.BytesIn, PacketsIn: i.PacketsIn, BytesOut: i.BytesOut, PacketsOut: i.PacketsOut,
		Pending: i.Pending,
	}
	var traffic [2]int64
	trafficOf(core.Traffic{BytesIn: i.BytesIn, BytesOut: i.BytesOut}, &traffic)
	details := c.primary.Sampler.connection(s, c.windows.data, traffic[:])
	conn.BytesInDetails, conn.BytesOutDetails = details[0], details[1]
	if conn.State == "" {
		conn.State = "running"
	}
	if i.ConnectedAt.IsZero() {
		conn.ConnectedAt = 0
	}
	if i.ClientID != "" {
		conn.VariableMap = map[string]any{"client_id": i.ClientID}
		if _, ok := conn.ClientProperties["client_id"]; !ok {
			conn.ClientProperties["client_id"] = i.ClientID
		}
	}
	return conn
}

// connections lists those that which lets pass.
func (c *call) connections(which func(*core.ConnectionInfo) bool) list {
	l := list{}
	for _, s := range c.primary.Broker.Sessions() {
		if info := s.Info(); which(&info) {
			l = append(l, c.connectionOf(s, &info))
		}
	}
	return l
}

func listConnections(c *call) (any, error) {
	all := c.is(monitoring)
	return c.connections(func(i *core.ConnectionInfo) bool { return all || i.User == c.actor.Name }), nil
}

// listConnectionsOfVHost tells them to administrators and to those who may use
// the vhost; the latter see their own, unless they are monitoring.
func listConnectionsOfVHost(c *call) (any, error) {
	vhost := c.names["vhost"]
	if err := c.seesVHost(vhost, administrator); err != nil {
		return nil, err
	}
	if err := c.exist(); err != nil {
		return nil, err
	}
	all := c.is(monitoring)
	return c.connections(func(i *core.ConnectionInfo) bool {
		return i.VHost == vhost && (all || i.User == c.actor.Name)
	}), nil
}

func listConnectionsOfUser(c *call) (any, error) {
	if err := c.seesUser(c.names["user"], monitoring); err != nil {
		return nil, err
	}
	type brief struct {
		Name  string `json:"name"`
		VHost string `json:"vhost"`
		User  string `json:"user"`
		Node  string `json:"node"`
	}
	l := list{}
	for _, s := range c.primary.Broker.Sessions() {
		if i := s.Info(); i.User == c.names["user"] {
			l = append(l, brief{i.Name, i.VHost, i.User, c.api.opt.Node})
		}
	}
	return l, nil
}

// session returns the connection of the path to those who may see it. Others
// learn the same whether it exists or not.
func (c *call) session(r role) (*core.Session, *core.ConnectionInfo, error) {
	for _, s := range c.primary.Broker.Sessions() {
		if i := s.Info(); i.Name == c.names["connection"] {
			return s, &i, c.seesUser(i.User, r)
		}
	}
	if !c.is(r) {
		return nil, nil, notAuthorised("User not authorised to access object")
	}
	return nil, nil, noObject()
}

func getConnection(c *call) (any, error) {
	s, info, err := c.session(monitoring)
	if err != nil {
		return nil, err
	}
	return c.connectionOf(s, info), nil
}

func closeConnection(c *call) (any, error) {
	s, info, err := c.session(administrator)
	if err != nil {
		return nil, err
	}
	reason := c.reason()
	c.note(slog.String("user", info.User))
	c.note(slog.String("vhost", info.VHost))
	c.note(slog.String("reason", reason))
	s.End(closing(info.Name, reason))
	return done, nil
}

func closeConnectionsOfUser(c *call) (any, error) {
	if err := c.seesUser(c.names["user"], administrator); err != nil {
		return nil, err
	}
	reason, n := c.reason(), 0
	for _, s := range c.primary.Broker.Sessions() {
		if i := s.Info(); i.User == c.names["user"] {
			s.End(closing(i.Name, reason))
			n++
		}
	}
	c.note(slog.Int("connections", n))
	c.note(slog.String("reason", reason))
	return done, nil
}

func closing(name, reason string) error {
	return &core.Error{Kind: core.Closing, Op: "close", Name: "connection " + name, Text: reason}
}

// maxReason is what fits into a protocol's reason, with something before it.
const maxReason = 200

// reason is what the client is told: what the request says, without what a
// terminal would obey.
func (c *call) reason() string {
	said := strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return -1
	}, strings.ToValidUTF8(c.r.Header.Get("X-Reason"), ""))
	for len(said) > maxReason {
		runes := []rune(said)
		said = string(runes[:len(runes)-1])
	}
	if said == "" {
		return "Closed via management plugin"
	}
	return said
}
