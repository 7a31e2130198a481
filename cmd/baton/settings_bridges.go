package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/batonmq/baton/protocols/mqtt/remote"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// bridgeSettings are those below bridges and a bridge's name.
type bridgeSettings struct {
	name string

	Address                               []string
	VHost, Version, ClientID              string
	Username, Password, PasswordFile      string
	BridgeBit, CleanStart                 bool
	KeepAlive                             time.Duration
	Topics                                []string
	NotificationTopic                     string
	MaxInflight                           int
	StartDelay, RetryDelay, MaxRetryDelay time.Duration
	CAFile, CertFile, KeyFile, ServerName string
}

// bridgesKey is the section whose names are not fixed.
const bridgesKey = "bridges"

// settings are the table and the rows of the bridges that there are.
func (c *Config) settings() []setting {
	all := settings()
	for _, b := range c.Bridges {
		all = append(all, bridgeRows(b.name)...)
	}
	return all
}

// bridge returns the settings of a bridge. Those of one that is not there are nobody's.
func (c *Config) bridge(name string) *bridgeSettings {
	if i := slices.IndexFunc(c.Bridges, func(b *bridgeSettings) bool { return b.name == name }); i >= 0 {
		return c.Bridges[i]
	}
	return &bridgeSettings{name: name}
}

// addBridge makes the bridge that a key is about, unless it is there.
func (c *Config) addBridge(key string) error {
	section, rest, _ := strings.Cut(key, ".")
	name, _, ok := strings.Cut(rest, ".")
	if section != bridgesKey || !ok || slices.ContainsFunc(c.Bridges, func(b *bridgeSettings) bool { return b.name == name }) {
		return nil
	}
	c.Bridges = append(c.Bridges, &bridgeSettings{name: name})
	slices.SortFunc(c.Bridges, func(a, b *bridgeSettings) int { return cmp.Compare(a.name, b.name) })
	for _, s := range bridgeRows(name) {
		if s.def == "" {
			c.origin[s.key] = "default"
			continue
		}
		if err := c.set(s, []string{s.def}, "default"); err != nil {
			return fmt.Errorf("default of %s: %w", s.key, err)
		}
	}
	return nil
}

// bridgeRows are the rows of the table for one bridge.
func bridgeRows(name string) []setting {
	row := func(key, def, unit, doc string, bind func(*bridgeSettings) value) setting {
		return setting{
			key: bridgesKey + "." + name + "." + key, def: def, unit: unit, doc: doc,
			bind: func(c *Config) value { return bind(c.bridge(name)) },
		}
	}
	list := func(s setting) setting { s.list = true; return s }
	secret := func(s setting) setting { s.secret = true; return s }
	return []setting{
		list(row("address", "", "mqtt://HOST:PORT or mqtts://HOST:PORT", "Where the other broker is. Several are tried in this order. Required.",
			func(b *bridgeSettings) value { return someTexts(&b.Address, remote.CheckAddress) })),
		list(row("topics", "", "PATTERN [out, in or both [QOS [LOCAL-PREFIX [REMOTE-PREFIX]]]]", "What is carried, in the words of Mosquitto's `topic`. Required.",
			func(b *bridgeSettings) value {
				return someTexts(&b.Topics, func(s string) error { _, err := remote.ParseTopic(s); return err })
			})),
		row("vhost", "/", "name", "The virtual host of this broker that the bridge works in.", func(b *bridgeSettings) value { return filled(&b.VHost) }),
		row("version", "5", "5 or 3.1.1", "The version of MQTT.", func(b *bridgeSettings) value { return oneOf(&b.Version, "5", "3.1.1") }),
		row("bridge_bit", "true", "true or false", "With version 3.1.1, tell the other broker that this is a bridge, as Mosquitto's do. One that refuses that is asked again without it.",
			func(b *bridgeSettings) value { return boolean(&b.BridgeBit) }),
		row("client_id", "", "text", "The bridge's client identifier there, the same on every node of this broker. Empty is `baton-`, a part of the store's identifier, and the bridge's name.",
			func(b *bridgeSettings) value { return text(&b.ClientID) }),
		row("username", "", "text", "The user there.", func(b *bridgeSettings) value { return text(&b.Username) }),
		secret(row("password", "", "text", "Its password.", func(b *bridgeSettings) value { return text(&b.Password) })),
		row("password_file", "", "path", "A file whose first line is the password. It is read when the bridge starts.", func(b *bridgeSettings) value { return text(&b.PasswordFile) }),
		row("clean_start", "false", "true or false", "Have no session there: what comes in while there is no connection is lost.", func(b *bridgeSettings) value { return boolean(&b.CleanStart) }),
		row("keep_alive", "60s", "duration, whole seconds", "The keep alive.", func(b *bridgeSettings) value { return duration(&b.KeepAlive, time.Second, math.MaxUint16*time.Second) }),
		row("max_inflight", "1000", "messages", "How many messages of QoS 1 and 2 may be on their way out, not answered.", func(b *bridgeSettings) value { return integer(&b.MaxInflight, 1, math.MaxUint16) }),
		row("notification_topic", "", "topic", "Where both brokers have a retained message that is `1` while the bridge is connected, else `0`. Empty: nowhere.",
			func(b *bridgeSettings) value { return text(&b.NotificationTopic) }),
		row("start_delay", "0s", "duration", "How long to wait before the first connection.", func(b *bridgeSettings) value { return duration(&b.StartDelay, 0, maxWait) }),
		row("retry_delay", "1s", "duration", "How long to wait before the second one; it doubles each time.", func(b *bridgeSettings) value { return duration(&b.RetryDelay, time.Millisecond, maxWait) }),
		row("max_retry_delay", "60s", "duration", "How long at most.", func(b *bridgeSettings) value { return duration(&b.MaxRetryDelay, time.Millisecond, maxWait) }),
		row("ca_file", "", "path", "With `mqtts`, the authorities to trust, in PEM. Empty: the system's.", func(b *bridgeSettings) value { return text(&b.CAFile) }),
		row("cert_file", "", "path", "With `mqtts`, the bridge's certificate, in PEM.", func(b *bridgeSettings) value { return text(&b.CertFile) }),
		row("key_file", "", "path", "Its key.", func(b *bridgeSettings) value { return text(&b.KeyFile) }),
		row("server_name", "", "name", "With `mqtts`, the name in the other broker's certificate. Empty: the address's.", func(b *bridgeSettings) value { return text(&b.ServerName) }),
	}
}

// someTexts is a list of at least one text that check accepts.
func someTexts(p *[]string, check func(string) error) value { return list{p, "", check} }

// checkBridges finds what single values do not show. It reads no file.
func (c *Config) checkBridges() error {
	for _, b := range c.Bridges {
		opt, err := b.plainOptions()
		if err == nil {
			err = opt.Validate()
		}
		if err != nil {
			return fmt.Errorf("%s.%s: %w", bridgesKey, b.name, err)
		}
	}
	return nil
}

// plainOptions are the options, but for what is in files and in the broker.
func (b *bridgeSettings) plainOptions() (remote.Options, error) {
	opt := remote.Options{
		Name: b.name, VHost: b.VHost, Addresses: b.Address, Version: wire.V5, NoBit: !b.BridgeBit, ClientID: b.ClientID,
		Username: b.Username, Password: b.Password, CleanStart: b.CleanStart, KeepAlive: b.KeepAlive, Notify: b.NotificationTopic,
		Window: b.MaxInflight, StartDelay: b.StartDelay, RetryMin: b.RetryDelay, RetryMax: b.MaxRetryDelay,
	}
	if b.Version == "3.1.1" {
		opt.Version = wire.V311
	}
	for _, line := range b.Topics {
		t, err := remote.ParseTopic(line)
		if err != nil {
			return opt, err
		}
		opt.Topics = append(opt.Topics, t)
	}
	secure := slices.ContainsFunc(b.Address, func(a string) bool { return strings.HasPrefix(a, "mqtts:") })
	switch {
	case b.Password != "" && b.PasswordFile != "":
		return opt, errors.New("password and password_file are both set")
	case (b.CertFile == "") != (b.KeyFile == ""):
		return opt, errors.New("cert_file and key_file need each other")
	case !secure && b.CAFile+b.CertFile+b.ServerName != "":
		return opt, errors.New("ca_file, cert_file and server_name are for mqtts addresses")
	}
	return opt, nil
}

// options are plainOptions and what is in files.
func (b *bridgeSettings) options() (opt remote.Options, err error) {
	if opt, err = b.plainOptions(); err != nil {
		return opt, err
	}
	if b.PasswordFile != "" {
		if opt.Password, err = readPasswordFile(b.PasswordFile); err != nil {
			return opt, err
		}
	}
	opt.TLS = &tls.Config{MinVersion: tls.VersionTLS12, ServerName: b.ServerName}
	if b.CAFile != "" {
		pem, err := os.ReadFile(b.CAFile)
		if err != nil {
			return opt, fmt.Errorf("read ca_file: %w", err)
		}
		opt.TLS.RootCAs = x509.NewCertPool()
		if !opt.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return opt, fmt.Errorf("no certificate is in %s", b.CAFile)
		}
	}
	if b.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(b.CertFile, b.KeyFile)
		if err != nil {
			return opt, fmt.Errorf("read cert_file and key_file: %w", err)
		}
		opt.TLS.Certificates = []tls.Certificate{pair}
	}
	return opt, nil
}

// checkBridgeFiles reads the files that the bridges' settings name, and tells of a
// password that would be sent without TLS over a network.
func (c *Config) checkBridgeFiles() error {
	for _, b := range c.Bridges {
		if _, err := b.options(); err != nil {
			return fmt.Errorf("%s.%s: %w", bridgesKey, b.name, err)
		}
	}
	return nil
}

// plainly reports whether the bridge's password can be read on its way.
func (b *bridgeSettings) plainly() bool {
	return b.Password+b.PasswordFile != "" && slices.ContainsFunc(b.Address, func(a string) bool {
		rest, plain := strings.CutPrefix(a, "mqtt://")
		host, _, err := net.SplitHostPort(rest)
		return plain && !isLoopback(map[bool]string{true: host, false: rest}[err == nil])
	})
}

// clientIDOf is the identifier of a bridge that is not given one: the same on every node
// of a store, and another one than those of other stores.
func clientIDOf(store [16]byte, name string) string {
	return "baton-" + hex.EncodeToString(store[:4]) + "-" + name
}
