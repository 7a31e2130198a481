package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/listen"
)

// Config is the effective configuration. It is not changed after it was loaded.
type Config struct {
	Data        string
	Node        string
	ClusterName string // empty: the node's
	DefaultUser string
	DefaultPass string

	LoadDefinitions string // a file; empty: none

	StopTimeout time.Duration
	Events      string // a vhost, or off

	AMQP struct {
		Listen           []string
		TLSListen        []string
		Sockets          []string
		SocketMode       fs.FileMode
		MaxConnections   int
		FrameMax         uint32
		ChannelMax       uint16
		Heartbeat        time.Duration
		HandshakeTimeout time.Duration
		MaxMessageSize   int64
		ConsumerTimeout  time.Duration
		Product          string
		Version          string
	}
	MQTT struct {
		Listen            []string
		TLSListen         []string
		WebSocket         []string
		WebSocketTLS      []string
		Sockets           []string
		SocketMode        fs.FileMode
		Anonymous         bool
		AnonymousFrom     string
		AnonymousUser     string
		MountPoints       []string
		MaxConnections    int
		MaxPacketSize     int64
		ReceiveMaximum    uint16
		TopicAliasMaximum uint16
		MaxKeepAlive      time.Duration
		MaxSessionExpiry  time.Duration
		MaxSubscriptions  int
		MaxClientID       int
		HandshakeTimeout  time.Duration

		SessionMaxMessages int64
		SessionMaxBytes    int64
		SessionOverflow    string

		DisconnectOnUnauthorized bool

		MaxQoS                   int
		RetainAvailable          bool
		WildcardsAvailable       bool
		SubscriptionIDsAvailable bool
		SharedAvailable          bool
		Delayed                  bool
		SysInterval              time.Duration
		CheckPayloadFormat       bool
		ResponseInformation      string
		ServerReference          string
		ServerMoved              bool
	}
	Admin struct {
		Listen    []string
		TLSListen []string
		Socket    string // a path, auto or off

		MaxConnections int
	}
	Metrics struct{ Listen []string }
	HA      struct {
		Enabled   bool
		TTL       time.Duration
		Advertise []string
	}
	TLS    tlsSettings
	Proxy  proxySettings
	Limits struct {
		MaxConnections    int     // 0: as many as there are descriptors for
		ConnectionRate    float64 // rates: per second, 0 is none
		ConnectionBurst   int
		ConnectionWait    time.Duration
		FailedLoginRate   float64
		FailedLoginBurst  int
		ExemptLoopback    bool
		ClientMessageRate float64
		ClientByteRate    int64
	}
	Auth   authSettings
	Memory struct {
		Budget    int64
		Limit     int64 // 0: what the host tells
		Watermark amount
	}
	Store struct {
		FreeLow         amount
		FreeHigh        amount // 0: a quarter above FreeLow
		FreeFull        amount
		CheckpointEvery time.Duration
		CheckpointBytes int64
		SegmentSize     int64
		Salvage         bool
	}
	Log struct {
		Level, Format string
		ClientLines   int // 0: no limit
	}
	Bridges []*bridgeSettings // by name

	// origin tells, per key, which source set it last.
	origin map[string]string

	// env is the environment that it was made in.
	env []string

	// ignored are BATON_ variables that name no setting.
	ignored []string
	file    string // that was read; empty: none
}

// A source says where a Config comes from, later fields over earlier ones.
type source struct {
	file  string              // path of a YAML file; empty: none
	env   []string            // "NAME=value" pairs
	flags map[string][]string // texts by setting key, only of flags that were given
}

// loadConfig reads, merges and validates the configuration. Its errors name the
// place: file and line, variable, or flag.
func loadConfig(src source) (*Config, error) {
	c := &Config{origin: make(map[string]string), env: src.env}
	all := settings()
	for _, s := range all {
		if err := c.set(s, []string{s.def}, "default"); err != nil {
			return nil, fmt.Errorf("default of %s: %w", s.key, err)
		}
	}
	if src.file != "" {
		if err := c.loadFile(src.file); err != nil {
			return nil, err
		}
	}
	all = c.settings()
	if err := c.loadEnv(src.env, all); err != nil {
		return nil, err
	}
	for _, s := range all {
		if texts, ok := src.flags[s.key]; ok {
			if err := c.set(s, texts, "flag --"+s.flag); err != nil {
				return nil, fmt.Errorf("--%s %w", s.flag, err)
			}
		}
	}
	if err := c.complete(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Config) set(s setting, texts []string, origin string) error {
	if s.list && len(texts) == 1 && texts[0] == "" {
		return fmt.Errorf("is empty: write %s for none", off)
	}
	if err := s.bind(c).set(texts); err != nil {
		if s.secret { // the text itself must not reach a log
			return errors.New("has a bad value")
		}
		return err
	}
	c.origin[s.key] = origin
	return nil
}

// loadFile applies the YAML file. Its keys are those of the settings table, so
// that a file says the same as variables and flags do.
func (c *Config) loadFile(path string) error {
	c.file = path
	text, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	leaves, err := parseYAML(path, text)
	if err != nil {
		return err
	}
	for _, leaf := range leaves {
		if err := c.addBridge(leaf.key); err != nil {
			return err
		}
	}
	all := c.settings()
	for _, leaf := range leaves {
		i := slices.IndexFunc(all, func(s setting) bool { return s.key == leaf.key })
		if i < 0 {
			return leaf.errorf("unknown key %q", leaf.key)
		}
		if err := c.set(all[i], leaf.texts, fmt.Sprintf("%s:%d", path, leaf.line)); err != nil {
			return leaf.errorf("%s: %w", leaf.key, err)
		}
	}
	return nil
}

// loadEnv applies BATON_ variables. One that names no setting is remembered and
// not refused: container platforms invent names of this form for services.
func (c *Config) loadEnv(env []string, all []setting) error {
	byName := make(map[string]setting, len(all))
	for _, s := range all {
		byName[s.env()] = s
	}
	for _, pair := range env {
		name, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || name == envConfig {
			continue
		}
		s, ok := byName[name]
		if !ok {
			if !isServiceLink(name) && name != envNoSelfKill {
				c.ignored = append(c.ignored, name)
			}
			continue
		}
		texts := []string{text}
		if s.list {
			texts = splitList(text)
		}
		if err := c.set(s, texts, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	slices.Sort(c.ignored)
	return nil
}

// splitList reads a list in a variable: separated by commas.
func splitList(s string) []string {
	texts := strings.Split(s, ",")
	for i := range texts {
		texts[i] = strings.TrimSpace(texts[i])
	}
	return texts
}

// isServiceLink reports a variable that Kubernetes or Docker sets for a service
// called baton or baton-…, as BATON_SERVICE_HOST or BATON_PORT_5672_TCP_ADDR.
func isServiceLink(name string) bool {
	return strings.Contains(name, "_SERVICE_HOST") || strings.Contains(name, "_SERVICE_PORT") ||
		strings.HasSuffix(name, "_PORT") || strings.Contains(name, "_PORT_")
}

// maxNode is the longest name of a node. It becomes part of a file name, of at
// most 255 bytes, in which each of its bytes may be written as three.
const maxNode = 80

// complete fills in what depends on the host and checks what no single value
// shows.
func (c *Config) complete() error {
	if c.Node == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("find the host name for this node: %w: set --node", err)
		}
		c.Node = host
	}
	if len(c.Node) > maxNode {
		return fmt.Errorf("node \"%.20s…\" is longer than %d bytes: choose a shorter --node", c.Node, maxNode)
	}
	if !fs.ValidPath(c.Node) || strings.ContainsAny(c.Node, `/\`) || c.Node == "." {
		return fmt.Errorf("node %q cannot be part of a file name: choose another --node", c.Node)
	}
	if c.Data == "" {
		return errors.New("no data directory: set --data")
	}
	for _, check := range []func() error{c.checkUsers, c.Auth.check, c.checkTLS, c.Proxy.check, c.checkBridges} {
		if err := check(); err != nil {
			return err
		}
	}
	for _, d := range []struct {
		key   string
		value time.Duration
	}{
		{"amqp.heartbeat", c.AMQP.Heartbeat},
		{"mqtt.max_keep_alive", c.MQTT.MaxKeepAlive},
		{"mqtt.max_session_expiry", c.MQTT.MaxSessionExpiry},
	} {
		if d.value%time.Second != 0 {
			return fmt.Errorf("%s %v is not a whole number of seconds", d.key, d.value)
		}
	}
	if c.MQTT.ServerMoved && c.MQTT.ServerReference == "" {
		return errors.New("mqtt.server_moved is set, and mqtt.server_reference does not say where to")
	}
	store := &c.Store
	for _, w := range []struct {
		low, high         amount
		lowName, highName string
	}{
		{store.FreeFull, store.FreeLow, "store.free_full", "store.free_low"},
		{store.FreeLow, store.FreeHigh, "store.free_low", "store.free_high"},
	} {
		if w.high != (amount{}) && w.low.above(w.high) {
			return fmt.Errorf("%s %v is above %s %v", w.lowName, w.low, w.highName, w.high)
		}
	}
	return nil
}

// checkTLS finds what the addresses and the settings of tls contradict in.
func (c *Config) checkTLS() error {
	if _, err := c.TLS.options(); err != nil {
		return err
	}
	switch asked := c.TLS.ClientAuth != listen.ClientAuthNone.String(); {
	case asked && c.TLS.CAFile == "":
		return fmt.Errorf("tls.client_auth is %s, and tls.ca_file names no authorities of client certificates", c.TLS.ClientAuth)
	case !asked && c.TLS.CAFile != "":
		return fmt.Errorf("tls.ca_file is set, and tls.client_auth asks for no client certificates: set it to %s or %s", listen.ClientAuthRequest, listen.ClientAuthRequire)
	case !asked && len(c.TLS.CRLFiles) > 0:
		return fmt.Errorf("tls.crl_file is set, and tls.client_auth asks for no client certificates: set it to %s or %s", listen.ClientAuthRequest, listen.ClientAuthRequire)
	}
	for _, l := range []struct {
		key       string
		addresses []string
	}{
		{"amqp.tls_listen", c.AMQP.TLSListen},
		{"mqtt.tls_listen", c.MQTT.TLSListen},
		{"mqtt.websocket_tls", c.MQTT.WebSocketTLS},
		{"admin.tls_listen", c.Admin.TLSListen},
	} {
		if len(l.addresses) > 0 && len(c.TLS.CertFiles) == 0 {
			return fmt.Errorf("%s needs a certificate: set tls.cert_file and tls.key_file, or make some for a try with baton tls self-signed", l.key)
		}
	}
	return nil
}

// checkFiles reads the files that the settings name, as serve would. It goes
// beyond what loading does, so that other commands need none of them.
func (c *Config) checkFiles() error {
	if _, err := c.openTLS(nil); err != nil {
		return err
	}
	if c.Auth.uses(backendJWT) {
		if err := auth.CheckJWT(c.Auth.jwt(nil)); err != nil {
			return fmt.Errorf("auth backend %s: %w", backendJWT, err)
		}
	}
	if c.Auth.uses(backendHTTP) {
		h, err := auth.NewHTTP(c.Auth.http(nil)) // it asks nothing yet
		if err != nil {
			return fmt.Errorf("auth backend %s: %w", backendHTTP, err)
		}
		h.Close()
	}
	if err := c.checkDefinitions(); err != nil {
		return err
	}
	return c.checkBridgeFiles()
}

// socket is the path of the admin socket, once there is a data directory; empty:
// none.
func (c *Config) socket() string {
	switch c.Admin.Socket {
	case off:
		return ""
	case auto:
		return adminSocket(c.Node, c.Data, c.env)
	}
	return c.Admin.Socket
}

// logLevel is the configured level; the table lets no other text through.
func (c *Config) logLevel() slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.Log.Level))
	return l
}
