package main

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/batonmq/baton/protocols/amqp091"
	admin "github.com/batonmq/baton/protocols/http"
)

const (
	envPrefix = "BATON_"

	// envConfig names the file where --config does not.
	envConfig = envPrefix + "CONFIG"

	// envNoSelfKill, set to anything, leaves the kernel timer of --ha off. It is
	// for tests that look at what happens without it.
	envNoSelfKill = envPrefix + "TEST_NO_SELF_KILL"

	// maxWait is the longest that anything may be told to wait: far above what is
	// of use, and far below where sums of durations overflow.
	maxWait = time.Hour

	// maxMessageSize keeps one message, with what is written beside it, well below
	// the 1 GiB that a group of the journal can hold, and in memory for a moment.
	maxMessageSize = 128 << 20
)

// A setting is one row of the table from which the flags, the environment
// variables, the keys of the file and the manual are made.
type setting struct {
	key    string // path in the file, dots between its parts
	flag   string // long flag; empty: none
	def    string
	unit   string // what the text is
	doc    string
	list   bool // several texts: a sequence, repeated flags, commas in a variable
	secret bool // never printed
	live   bool // a reload applies it; the others wait
	held   bool // taken when the process starts: not even a takeover changes it
	own    bool // may differ from node to node without being a divergence
	bind   func(*Config) value
}

// env is the one rule from key to variable: upper case, dots become underscores, and so
// do the hyphens of bridges' names.
func (s *setting) env() string {
	return envPrefix + strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(s.key))
}

// Values of mqtt.session_overflow.
const (
	dropOldest = "drop-oldest"
	refuseNew  = "refuse-new"
)

// Values of mqtt.anonymous_from.
const (
	fromLoopback = "loopback"
	fromAnywhere = "anywhere"
)

// settings is the table, in the order in which it is printed.
func settings() []setting {
	return slices.Concat(nodeSettings(), amqpSettings(), mqttSettings(), adminSettings(), accessSettings(), storeSettings())
}

// nodeSettings are those without a section.
func nodeSettings() []setting {
	return []setting{
		{
			key: "data", flag: "data", def: "./baton-data", unit: "directory",
			doc:  "Where messages and definitions are kept. It is made when absent.",
			held: true, own: true,
			bind: func(c *Config) value { return text(&c.Data) },
		},
		{
			key: "node", flag: "node", unit: "name",
			doc:  "This node's name, at most 80 bytes. Empty is the host name. Brokers on one directory need different names.",
			held: true, own: true,
			bind: func(c *Config) value { return text(&c.Node) },
		},
		{
			key: "cluster_name", unit: "name",
			doc:  "What the brokers of one directory are called together: in the overview, in `rabbitmq_identity_info`, by which dashboards of RabbitMQ select, and to AMQP clients. Give every node on the directory the same. Empty is the node's name.",
			held: true,
			bind: func(c *Config) value { return text(&c.ClusterName) },
		},
		{
			key: "default_user", unit: "name",
			doc:  "The first user of a new store: an administrator who may do everything in the vhost `/`. Empty is `guest` with the password `guest`, who may log in from loopback addresses only. On a store that has had a user this changes nothing: `baton user` does.",
			bind: func(c *Config) value { return text(&c.DefaultUser) },
		},
		{
			key: "default_pass", unit: "text", secret: true,
			doc:  "The first password of `default_user`. Set both or neither.",
			bind: func(c *Config) value { return text(&c.DefaultPass) },
		},
		{
			key: "load_definitions", flag: "load-definitions", unit: "file",
			doc:  "Definitions in RabbitMQ's form, as `baton definitions export` writes them, that a broker takes over when it begins to serve, before clients can connect. A file is loaded once, and again when its contents have changed: what administrators change in between stays. Users, permissions, policies and parameters are replaced; an exchange or a queue that is declared otherwise stays, with a warning. What cannot be made ends the start with the object's name, but not the takeover of a standby where an earlier file was loaded. Users in it come in place of the first user.",
			bind: func(c *Config) value { return text(&c.LoadDefinitions) },
		},
		{
			key: "events", def: off, unit: "name or off",
			doc:  "The virtual host that has the exchange `amq.rabbitmq.event`, where the broker publishes what happens in it, as RabbitMQ's event exchange plugin does: usually `/`. See operations.md.",
			bind: func(c *Config) value { return filled(&c.Events) },
		},
		{
			key: "stop_timeout", def: "30s", unit: "duration",
			doc:  "How long clients have to leave when the broker stops. Then they are cut, and the process ends with code 1. At most `1h`.",
			bind: func(c *Config) value { return duration(&c.StopTimeout, time.Millisecond, maxWait) },
		},
	}
}

// amqpSettings are those of AMQP 0-9-1.
func amqpSettings() []setting {
	return []setting{
		{
			key: "amqp.listen", flag: "amqp", def: ":5672", unit: "HOST:PORT or off", list: true,
			doc:  "Where AMQP 0-9-1 clients connect. Without a host: every address, IPv4 and IPv6.",
			own:  true,
			bind: func(c *Config) value { return addresses(&c.AMQP.Listen) },
		},
		{
			key: "amqp.tls_listen", flag: "amqps", def: off, unit: "HOST:PORT or off", list: true,
			doc:  "Where AMQP 0-9-1 clients connect with TLS, usually at `:5671`. Needs `tls.cert_file`.",
			own:  true,
			bind: func(c *Config) value { return addresses(&c.AMQP.TLSListen) },
		},
		{
			key: "amqp.socket", flag: "amqp-socket", def: off, unit: "paths or off", list: true,
			doc:  "Unix sockets where AMQP 0-9-1 clients of this machine connect. They count as loopback clients. Each node has its own.",
			own:  true,
			bind: func(c *Config) value { return names(&c.AMQP.Sockets) },
		},
		{
			key: "amqp.socket_mode", def: "0660", unit: "octal",
			doc:  "The mode of the files: who may write to one may connect.",
			own:  true,
			bind: func(c *Config) value { return fileMode(&c.AMQP.SocketMode) },
		},
		{
			key: "amqp.max_connections", def: "0", unit: "connections",
			doc:  "Connections open at once, with TLS and without each; one more is refused. 0 is no limit but `limits.max_connections`.",
			bind: func(c *Config) value { return integer(&c.AMQP.MaxConnections, 0, math.MaxInt32) },
		},
		{
			key: "amqp.frame_max", def: "131072", unit: "bytes",
			doc:  "The largest frame offered to clients.",
			bind: func(c *Config) value { return integer(&c.AMQP.FrameMax, 4096, 1<<30) },
		},
		{
			key: "amqp.channel_max", def: "2047", unit: "channels",
			doc:  "The highest channel number offered to clients.",
			bind: func(c *Config) value { return integer(&c.AMQP.ChannelMax, 1, math.MaxUint16) },
		},
		{
			key: "amqp.heartbeat", def: "1m0s", unit: "duration, whole seconds",
			doc:  "The heartbeat interval suggested to clients; theirs decides. 0s suggests none.",
			bind: func(c *Config) value { return duration(&c.AMQP.Heartbeat, 0, math.MaxUint16*time.Second) },
		},
		{
			key: "amqp.handshake_timeout", def: "10s", unit: "duration",
			doc:  "How long a new connection may take to be opened by its client.",
			bind: func(c *Config) value { return duration(&c.AMQP.HandshakeTimeout, time.Millisecond, maxWait) },
		},
		{
			key: "amqp.max_message_size", def: "16MiB", unit: "size",
			doc:  "The largest message body accepted. At most `128MiB`.",
			bind: func(c *Config) value { return size(&c.AMQP.MaxMessageSize, 1, maxMessageSize) },
		},
		{
			key: "amqp.consumer_timeout", def: "0s", unit: "duration",
			doc:  "How long a client may keep a message without settling it. Then its channel is closed, up to half a minute late, and the message goes to another consumer. A queue's or a consumer's `x-consumer-timeout` comes before this. 0s is for ever.",
			bind: func(c *Config) value { return duration(&c.AMQP.ConsumerTimeout, 0, 366*24*time.Hour) },
		},
		{
			key: "amqp.product", def: amqp091.DefaultProduct, unit: "text",
			doc:  "The product that AMQP 0-9-1 clients are told. Some choose by it, and by `amqp.version`, what they do.",
			bind: func(c *Config) value { return filled(&c.AMQP.Product) },
		},
		{
			key: "amqp.version", def: amqp091.DefaultVersion, unit: "text",
			doc:  "The version of RabbitMQ that clients are told, over AMQP 0-9-1 and by the HTTP API. For the default they use both modes of `basic.qos`, and both work.",
			bind: func(c *Config) value { return filled(&c.AMQP.Version) },
		},
	}
}

// mqttSettings are those of MQTT.
func mqttSettings() []setting {
	return []setting{
		{
			key: "mqtt.listen", flag: "mqtt", def: ":1883", unit: "HOST:PORT or off", list: true,
			doc:  "Where MQTT clients connect: versions 3.1, 3.1.1 and 5.0.",
			own:  true,
			bind: func(c *Config) value { return addresses(&c.MQTT.Listen) },
		},
		{
			key: "mqtt.tls_listen", flag: "mqtts", def: off, unit: "HOST:PORT or off", list: true,
			doc:  "Where MQTT clients connect with TLS, usually at `:8883`. Needs `tls.cert_file`.",
			own:  true,
			bind: func(c *Config) value { return addresses(&c.MQTT.TLSListen) },
		},
		{
			key: "mqtt.websocket", flag: "ws", def: ":15675", unit: "HOST:PORT or off", list: true,
			doc:  "Where MQTT clients connect over WebSocket, at the path `/ws`.",
			own:  true,
			bind: func(c *Config) value { return addresses(&c.MQTT.WebSocket) },
		},
		{
			key: "mqtt.websocket_tls", flag: "wss", def: off, unit: "HOST:PORT or off", list: true,
			doc:  "Where MQTT clients connect over WebSocket with TLS, usually at `:15676`. Needs `tls.cert_file`.",
			own:  true,
			bind: func(c *Config) value { return addresses(&c.MQTT.WebSocketTLS) },
		},
		{
			key: "mqtt.socket", flag: "mqtt-socket", def: off, unit: "paths or off", list: true,
			doc:  "Unix sockets where MQTT clients of this machine connect. They count as loopback clients. Each node has its own.",
			own:  true,
			bind: func(c *Config) value { return names(&c.MQTT.Sockets) },
		},
		{
			key: "mqtt.socket_mode", def: "0660", unit: "octal",
			doc:  "The mode of the files: who may write to one may connect.",
			own:  true,
			bind: func(c *Config) value { return fileMode(&c.MQTT.SocketMode) },
		},
		{
			key: "mqtt.anonymous", flag: "mqtt-anonymous", def: "false", unit: "true or false",
			doc:  "Let MQTT clients in that send no user name and no password, from where `mqtt.anonymous_from` says, as `mqtt.anonymous_user`.",
			bind: func(c *Config) value { return boolean(&c.MQTT.Anonymous) },
		},
		{
			key: "mqtt.anonymous_from", def: fromLoopback, unit: fromLoopback + " or " + fromAnywhere,
			doc:  "From which addresses clients without a name are let in. A proxy on this machine makes all its clients loopback clients.",
			bind: func(c *Config) value { return oneOf(&c.MQTT.AnonymousFrom, fromLoopback, fromAnywhere) },
		},
		{
			key: "mqtt.anonymous_user", unit: "name",
			doc:  "The user as whom clients without a name act, with that user's permissions. Empty is the first user: `default_user`, or `guest`.",
			bind: func(c *Config) value { return text(&c.MQTT.AnonymousUser) },
		},
		{
			key: "mqtt.mount_point", def: off, unit: "TOPIC/, LISTENER=TOPIC/ or off", list: true,
			doc:  "What is put before all topics of MQTT clients, which do not see it: for all, and for one of `mqtt`, `mqtts`, `ws`, `wss` and `socket` in its place, where `socket=` has none. The levels `{username}` and `{client_id}` are the client's. See mqtt.md.",
			bind: func(c *Config) value { return mountPoints(&c.MQTT.MountPoints) },
		},
		{
			key: "mqtt.disconnect_on_unauthorized", def: "true", unit: "true or false",
			doc:  "End the connection of a client that publishes where it may not and cannot be told: one before MQTT 5, or at QoS 0. `false` drops the message alone. MQTT 5 clients are told at QoS 1 and 2 (0x87), and go on, either way.",
			bind: func(c *Config) value { return boolean(&c.MQTT.DisconnectOnUnauthorized) },
		},
		{
			key: "mqtt.max_connections", def: "0", unit: "connections",
			doc:  "Connections open at once, over TCP and over WebSocket, with TLS and without each; one more is refused. 0 is no limit but `limits.max_connections`.",
			bind: func(c *Config) value { return integer(&c.MQTT.MaxConnections, 0, math.MaxInt32) },
		},
		{
			key: "mqtt.max_packet_size", def: "16MiB", unit: "size",
			doc:  "The largest packet accepted. At least `64KiB`, at most `128MiB`.",
			bind: func(c *Config) value { return size(&c.MQTT.MaxPacketSize, 64<<10, maxMessageSize) },
		},
		{
			key: "mqtt.receive_maximum", def: "1000", unit: "messages",
			doc:  "How many messages of QoS 1 and 2 an MQTT 5 client may have sent that are not answered.",
			bind: func(c *Config) value { return integer(&c.MQTT.ReceiveMaximum, 1, math.MaxUint16) },
		},
		{
			key: "mqtt.topic_alias_maximum", def: "16", unit: "aliases",
			doc:  "How many topic aliases an MQTT 5 client may use.",
			bind: func(c *Config) value { return integer(&c.MQTT.TopicAliasMaximum, 0, math.MaxUint16) },
		},
		{
			key: "mqtt.max_keep_alive", def: "0s", unit: "duration, whole seconds",
			doc:  "The longest keep alive: an MQTT 5 client that wants a longer one or none is given this. 0s is no limit.",
			bind: func(c *Config) value { return duration(&c.MQTT.MaxKeepAlive, 0, math.MaxUint16*time.Second) },
		},
		{
			key: "mqtt.max_session_expiry", def: "0s", unit: "duration, whole seconds",
			doc:  "How long a session may outlive its connection. 0s is no limit.",
			bind: func(c *Config) value { return duration(&c.MQTT.MaxSessionExpiry, 0, (math.MaxUint32-1)*time.Second) },
		},
		{
			key: "mqtt.max_qos", def: "2", unit: "0, 1 or 2",
			doc:  "The highest QoS. A subscription that asks for more is granted this; a client that publishes more is disconnected (MQTT 5: 0x9B), one whose will has more is refused.",
			bind: func(c *Config) value { return integer(&c.MQTT.MaxQoS, 0, 2) },
		},
		{
			key: "mqtt.retain_available", def: "true", unit: "true or false",
			doc:  "Let MQTT clients publish with RETAIN and get what is retained. Otherwise who publishes so is disconnected (MQTT 5: 0x9A), who has such a will is refused.",
			bind: func(c *Config) value { return boolean(&c.MQTT.RetainAvailable) },
		},
		{
			key: "mqtt.wildcards_available", def: "true", unit: "true or false",
			doc:  "Let MQTT clients subscribe with wildcards. Otherwise an MQTT 5 client that does is disconnected (0xA2), others are refused the filter.",
			bind: func(c *Config) value { return boolean(&c.MQTT.WildcardsAvailable) },
		},
		{
			key: "mqtt.subscription_ids_available", def: "true", unit: "true or false",
			doc:  "Let MQTT 5 clients use subscription identifiers. Otherwise one that does is disconnected (0xA1).",
			bind: func(c *Config) value { return boolean(&c.MQTT.SubscriptionIDsAvailable) },
		},
		{
			key: "mqtt.shared_available", def: "true", unit: "true or false",
			doc:  "Let MQTT clients have shared subscriptions (`$share/NAME/FILTER`). Otherwise an MQTT 5 client that asks for one is disconnected (0x9E), others are refused the filter.",
			bind: func(c *Config) value { return boolean(&c.MQTT.SharedAvailable) },
		},
		{
			key: "mqtt.delayed", def: "true", unit: "true or false",
			doc:  "What is published to `$delayed/SECONDS/TOPIC` goes to TOPIC when the time is over. Otherwise that is a topic like any other.",
			bind: func(c *Config) value { return boolean(&c.MQTT.Delayed) },
		},
		{
			key: "mqtt.sys_interval", def: "10s", unit: "duration",
			doc:  "How often clients that have subscribed to `$SYS/broker/…` are told what has changed there. `0s` tells nobody anything.",
			bind: func(c *Config) value { return duration(&c.MQTT.SysInterval, 0, maxWait) },
		},
		{
			key: "mqtt.check_payload_format", def: "false", unit: "true or false",
			doc:  "Refuse what an MQTT 5 client publishes as UTF-8 (payload format indicator 1) and is not (0x99).",
			bind: func(c *Config) value { return boolean(&c.MQTT.CheckPayloadFormat) },
		},
		{
			key: "mqtt.response_information", unit: "text",
			doc:  "The Response Information for MQTT 5 clients that request it, such as `responses/{client_id}/`: where they let themselves be answered. Empty: none.",
			bind: func(c *Config) value { return text(&c.MQTT.ResponseInformation) },
		},
		{
			key: "mqtt.server_reference", unit: "HOST:PORT, or several with spaces between",
			doc:  "Send MQTT 5 clients there as soon as they have logged in (0x9C), and refuse others: this server takes no MQTT clients any more. Empty: it does.",
			bind: func(c *Config) value { return text(&c.MQTT.ServerReference) },
		},
		{
			key: "mqtt.server_moved", def: "false", unit: "true or false",
			doc:  "Clients sent to `mqtt.server_reference` are to stay there (0x9D).",
			bind: func(c *Config) value { return boolean(&c.MQTT.ServerMoved) },
		},
		{
			key: "mqtt.max_subscriptions", def: "10000", unit: "subscriptions",
			doc:  "How many subscriptions one session may have; one more is refused.",
			bind: func(c *Config) value { return integer(&c.MQTT.MaxSubscriptions, 1, math.MaxInt32) },
		},
		{
			key: "mqtt.session_max_messages", def: "0", unit: "messages",
			doc:  "How many messages of QoS 1 and 2 may wait for a session, and for a shared subscription. 0 is no limit. A policy may set a lower one.",
			bind: func(c *Config) value { return integer(&c.MQTT.SessionMaxMessages, 0, math.MaxInt32) },
		},
		{
			key: "mqtt.session_max_bytes", def: "0B", unit: "size",
			doc:  "How many bytes of payload may wait for a session, and for a shared subscription. 0B is no limit. A policy may set a lower one.",
			bind: func(c *Config) value { return size(&c.MQTT.SessionMaxBytes, 0, math.MaxInt64) },
		},
		{
			key: "mqtt.session_overflow", def: dropOldest, unit: dropOldest + " or " + refuseNew,
			doc:  "What happens when as much waits for a session as may: the oldest messages go, or new ones are refused, and an MQTT 5 client that publishes one is told (0x97), whoever else gets it.",
			bind: func(c *Config) value { return oneOf(&c.MQTT.SessionOverflow, dropOldest, refuseNew) },
		},
		{
			key: "mqtt.max_client_id", def: "1024", unit: "bytes",
			doc:  "The longest client identifier accepted. A session takes two and a half times as much memory.",
			bind: func(c *Config) value { return integer(&c.MQTT.MaxClientID, 23, math.MaxUint16) },
		},
		{
			key: "mqtt.handshake_timeout", def: "10s", unit: "duration",
			doc:  "How long a new connection may take to send its CONNECT.",
			bind: func(c *Config) value { return duration(&c.MQTT.HandshakeTimeout, time.Millisecond, maxWait) },
		},
	}
}

// adminSettings are about who watches the broker, and about standbys.
func adminSettings() []setting {
	return []setting{
		{
			key: "admin.listen", flag: "admin", def: ":15672", unit: "HOST:PORT or off", list: true,
			doc:  "Where the HTTP API, health, metrics and, for loopback peers, profiles are served.",
			held: true, own: true,
			bind: func(c *Config) value { return addresses(&c.Admin.Listen) },
		},
		{
			key: "admin.tls_listen", def: off, unit: "HOST:PORT or off", list: true,
			doc:  "The same with TLS, usually at `:15671`. Needs `tls.cert_file`.",
			held: true, own: true,
			bind: func(c *Config) value { return addresses(&c.Admin.TLSListen) },
		},
		{
			key: "admin.socket", flag: "admin-socket", def: auto, unit: "path, auto or off",
			doc:  "The Unix socket at which `baton user` and the like administrate this node: for its own system user and root, without a password. `auto` is a file in the user's runtime directory that is called after the node, where commands find it; if it cannot be made, the broker does without and says so.",
			held: true, own: true,
			bind: func(c *Config) value { return filled(&c.Admin.Socket) },
		},
		{
			key: "admin.max_connections", def: strconv.Itoa(admin.DefaultMaxConns), unit: "connections",
			doc:  "Connections open at once at `admin.listen`, at `admin.tls_listen`, and at `metrics.listen`, each; one more is refused.",
			held: true,
			bind: func(c *Config) value { return integer(&c.Admin.MaxConnections, 1, math.MaxInt32) },
		},
		{
			key: "metrics.listen", flag: "metrics", def: ":15692", unit: "HOST:PORT or off", list: true,
			doc:  "Where metrics alone are served.",
			held: true, own: true,
			bind: func(c *Config) value { return addresses(&c.Metrics.Listen) },
		},
		{
			key: "ha.enabled", flag: "ha", def: "false", unit: "true or false",
			doc:  "Share the data directory: be its primary, or read along as a standby and take over when the primary ends, instead of ending with code 5. See failover.md.",
			held: true,
			bind: func(c *Config) value { return boolean(&c.HA.Enabled) },
		},
		{
			key: "ha.ttl", flag: "ha-ttl", def: "3s", unit: "duration",
			doc:  "How long a lease may go without renewal. Give every node on the directory the same.",
			held: true,
			bind: func(c *Config) value { return duration(&c.HA.TTL, 100*time.Millisecond, 10*time.Minute) },
		},
		{
			key: "ha.advertise", def: auto, unit: "URLs or auto", list: true, held: true, own: true,
			doc:  "Where clients reach this node while it is the primary, as `amqp://HOST:PORT`, `mqtt://HOST:PORT`, `ws://HOST:PORT` or, with TLS, `amqps`, `mqtts`, `wss`, and its management API as `http://HOST:PORT` or `https://HOST:PORT`: what other nodes, `baton ha status` and the MQTT 5 Server Reference name. `auto` is what the listening addresses say, with the host name where they name none; an API for this machine alone is left out.",
			bind: func(c *Config) value { return urls(&c.HA.Advertise) },
		},
	}
}

// storeSettings are about memory, disk and log.
func storeSettings() []setting {
	return []setting{
		{
			key: "memory.budget", def: "512MiB", unit: "size",
			doc:  "How much memory waiting messages may take before those publishers wait whose messages lie in long queues. All wait at a quarter more.",
			bind: func(c *Config) value { return size(&c.Memory.Budget, 1<<20, math.MaxInt64) },
		},
		{
			key: "memory.limit", def: "0B", unit: "size",
			doc:  "How much memory the process may take. The heap's garbage is collected more often to stay below nine tenths of it, and below nine tenths of `memory.watermark` while two thirds of that are enough for what is not garbage, unless `GOMEMLIMIT` is set. `0B` is that of the control group or, without one, of the machine, on Linux; elsewhere it is no limit.",
			held: true, own: true,
			bind: func(c *Config) value { return size(&c.Memory.Limit, 0, math.MaxInt64) },
		},
		{
			key: "memory.watermark", def: "60%", unit: "size or percent",
			doc:  "How much memory may be in use, of `memory.limit` or in bytes, before publishers wait. They go on at nine tenths of it. Garbage does not count.",
			live: true, own: true,
			bind: func(c *Config) value { return space(&c.Memory.Watermark, 1<<20) },
		},
		{
			key: "store.free_low", def: "512MiB", unit: "size or percent",
			doc:  "Free disk space below which publishers wait. Raised to `store.free_full`, two journal files and 64 MiB where it is less; the log says so.",
			bind: func(c *Config) value { return space(&c.Store.FreeLow, 1) },
		},
		{
			key: "store.free_high", def: "0B", unit: "size or percent",
			doc:  "Free disk space at which publishers that wait go on. `0B` is a quarter more than `store.free_low`.",
			bind: func(c *Config) value { return space(&c.Store.FreeHigh, 0) },
		},
		{
			key: "store.free_full", def: "128MiB", unit: "size or percent",
			doc:  "Free disk space below which no new durable queue, exchange or binding is accepted either.",
			bind: func(c *Config) value { return space(&c.Store.FreeFull, 1) },
		},
		{
			key: "store.checkpoint_every", def: "5s", unit: "duration",
			doc:  "How long a change may wait to reach the index. Longer means a longer start after a crash.",
			bind: func(c *Config) value { return duration(&c.Store.CheckpointEvery, time.Millisecond, maxWait) },
		},
		{
			key: "store.checkpoint_bytes", def: "32MiB", unit: "size",
			doc:  "How much journal may be written before it reaches the index.",
			bind: func(c *Config) value { return size(&c.Store.CheckpointBytes, 4096, math.MaxInt64) },
		},
		{
			key: "store.segment_size", def: "64MiB", unit: "size",
			doc:  "The size at which a new journal file is begun.",
			bind: func(c *Config) value { return size(&c.Store.SegmentSize, 4096, math.MaxInt32) },
		},
		{
			key: "store.salvage", flag: "salvage", def: "false", unit: "true or false",
			doc:  "Start without what is damaged in the journal, instead of ending with code 7, and log what that is: settled messages may come back, definitions may be missing. For one start.",
			own:  true,
			bind: func(c *Config) value { return boolean(&c.Store.Salvage) },
		},
		{
			key: "log.level", flag: "log-level", def: "info", unit: "debug, info, warn or error", live: true,
			doc:  "The least important lines that are logged.",
			own:  true,
			bind: func(c *Config) value { return oneOf(&c.Log.Level, "debug", "info", "warn", "error") },
		},
		{
			key: "log.format", flag: "log-format", def: "text", unit: "text or json",
			doc:  "The form of a log line.",
			held: true, own: true,
			bind: func(c *Config) value { return oneOf(&c.Log.Format, "text", "json") },
		},
		{
			key: "log.client_lines", def: "1000", unit: "lines", live: true,
			doc:  "How many lines of one kind, such as `connection opened`, clients can have written in ten seconds, three quarters of them from one address; more are counted, and their number is logged. Lines of level error, administrative changes and what is not about a client's connection are always written. 0 is no limit.",
			own:  true,
			bind: func(c *Config) value { return integer(&c.Log.ClientLines, 0, math.MaxInt32) },
		},
	}
}
