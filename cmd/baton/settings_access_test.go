package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/protocols/auth"
)

// testCertificates makes an authority, a server's certificate and one of the client app, and returns their directory.
func testCertificates(t *testing.T) string {
	t.Helper()
	s := selfSigned{dir: filepath.Join(t.TempDir(), "tls"), hosts: []string{"localhost", "127.0.0.1"}, client: "app", days: 1}
	if err := s.write(); err != nil {
		t.Fatal(err)
	}
	return s.dir
}

func TestAccessSettings_ErrorsNameKeyAndReason(t *testing.T) {
	dir := testCertificates(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	pair := "tls: {cert_file: [" + file("server.crt") + "], key_file: [" + file("server.key") + "]"
	jwt := "auth: {backends: [jwt], jwt_resource_server_id: baton, jwt_key_file: [" + file("missing.pem") + "]}\n"
	urls := "http_user_url: http://127.0.0.1:1/u, http_vhost_url: http://127.0.0.1:1/v, http_resource_url: http://127.0.0.1:1/r, http_topic_url: http://127.0.0.1:1/t"
	for _, tt := range []struct{ name, file, want string }{
		{"TLS without a certificate", "amqp: {tls_listen: :5671}\n", "amqp.tls_listen needs a certificate: set tls.cert_file"},
		{"for MQTT", "mqtt: {tls_listen: :8883}\n", "mqtt.tls_listen needs a certificate"},
		{"for WebSocket", "mqtt: {websocket_tls: :15676}\n", "mqtt.websocket_tls needs a certificate"},
		{"for administration", "admin: {tls_listen: :15671}\n", "admin.tls_listen needs a certificate"},
		{"a certificate without its key", "tls: {cert_file: [a, b], key_file: [a]}\n", "tls.cert_file names 2 files and tls.key_file 1"},
		{"a certificate that is not there", "tls: {cert_file: no.crt, key_file: no.key}\n", "no.crt"},
		{"the key of another", "tls: {cert_file: " + file("server.crt") + ", key_file: " + file("client.key") + "}\n", "private key does not match"},
		{"client certificates without an authority", pair + ", client_auth: require}\n", "tls.client_auth is require, and tls.ca_file names no authorities"},
		{"an authority that nobody asks", pair + ", ca_file: " + file("ca.crt") + "}\n", "tls.ca_file is set, and tls.client_auth asks for no client certificates"},
		{"a revocation list that nobody asks", pair + ", crl_file: x}\n", "tls.crl_file is set, and tls.client_auth asks for no client certificates"},
		{"a revocation list that is not there", pair + ", client_auth: request, ca_file: " + file("ca.crt") + ", crl_file: no.crl}\n", "no.crl"},
		{"an unknown version", "tls: {min_version: 1.1}\n", `tls.min_version: "1.1" is not one of 1.2, 1.3`},
		{"an unknown backend", "auth: {backends: [ldap]}\n", `auth.backends: "ldap" is not one of internal, certificate, jwt, http`},
		{"a backend twice", "auth: {backends: [internal, internal]}\n", `auth.backends: "internal" is there twice`},
		{"no backend", "auth: {backends: off}\n", "auth.backends names none"},
		{"certificates that nobody asks for", "auth: {backends: [certificate, internal]}\n", "auth.backends names certificate, and tls.client_auth asks clients for none"},
		{"tokens for nobody", "auth: {backends: [jwt], jwt_jwks_file: x}\n", "auth.backends names jwt, and auth.jwt_resource_server_id is not set"},
		{"tokens without keys", "auth: {backends: [jwt], jwt_resource_server_id: baton}\n", "auth.backends names jwt, and auth.jwt_key_file, auth.jwt_secret_file, auth.jwt_jwks_file or auth.jwt_jwks_url is not set"},
		{"a token key that is not there", jwt, "auth backend jwt: "},
		{"an algorithm that there is not", "auth: {backends: [jwt], jwt_resource_server_id: b, jwt_algorithms: [none], jwt_jwks_file: x}\n", `token algorithm "none"`},
		{"a key set over plain HTTP", "auth: {backends: [jwt], jwt_resource_server_id: b, jwt_jwks_url: http://example.com/keys}\n", "is not https"},
		{"an HTTP backend without addresses", "auth: {backends: [http]}\n", "auth.backends names http, and auth.http_user_url is not set"},
		{"an HTTP backend with a certificate and no key", "auth: {http_cert_file: x}\n", "auth.http_cert_file and auth.http_key_file belong together"},
		{"an HTTP backend with a certificate that is not there", "auth: {backends: [http], " + urls + ", http_cert_file: no.crt, http_key_file: no.key}\n", "no.crt"},
		{"an HTTP backend that is no URL", "auth: {backends: [http], " + strings.Replace(urls, "http://127.0.0.1:1/t", "127.0.0.1", 1) + "}\n", "the address of topics"},
		{"an empty name", "auth: {loopback_users: [guest, \"\"]}\n", "auth.loopback_users: has an empty text"},
		{"nobody beside somebody", "auth: {loopback_users: [guest, off]}\n", `auth.loopback_users: "off" stands alone`},
		{"anonymous from anywhere as a user that may not", "mqtt: {anonymous: true, anonymous_from: anywhere}\n", `mqtt.anonymous_from is anywhere, and user "guest" may log in from loopback addresses only`},
		{"a rate that is no number", "limits: {connection_rate: NaN}\n", `limits.connection_rate: "NaN" is not a number from 0 to 1000000000`},
		{"a negative rate", "limits: {failed_login_rate: -1}\n", `limits.failed_login_rate: "-1" is not a number`},
		{"a password without a user", "default_pass: x\n", "default_pass is set and default_user is not"},
		{"a watermark of nothing", "memory: {watermark: 1KiB}\n", "memory.watermark: \"1KiB\" is not between 1MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := baton(t, nil, "config", "check", "--config", writeFile(t, "baton.yaml", tt.file))
			if code != exitUsage || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%d, %q; want one line with %q", code, stderr, tt.want)
			}
		})
	}
}

// Other commands need no certificate, and one that cannot be read does not keep them from working.
func TestAccessSettings_FilesAreReadByThoseThatServe(t *testing.T) {
	file := writeFile(t, "baton.yaml", "tls: {cert_file: no.crt, key_file: no.key}\namqp: {tls_listen: :0}\n")
	if code, _, stderr := baton(t, nil, "config", "print", "--config", file); code != exitOK {
		t.Errorf("config print: %d, %s", code, stderr)
	}
	data := filepath.Join(t.TempDir(), "data")
	code, _, stderr := baton(t, nil, "serve", "--data", data, "--config", file)
	if code != exitUsage || !strings.Contains(stderr, "no.crt") {
		t.Errorf("serve: %d, %s", code, stderr)
	}
	if _, err := os.Stat(data); err == nil {
		t.Error("serve has made a data directory before it looked")
	}
}

func TestAccessSettings_AllOfThemAreUnderstood(t *testing.T) {
	dir := testCertificates(t)
	file := func(name string) string { return filepath.Join(dir, name) }
	secret := writeFile(t, "secret", strings.Repeat("s", 32))
	ca, cert, key := file("ca.crt"), file("server.crt"), file("server.key")
	c, err := loadConfig(source{
		env: []string{"BATON_AUTH_BACKENDS=jwt, certificate,internal", "BATON_MQTT_ANONYMOUS_FROM=anywhere", "BATON_MQTT_ANONYMOUS_USER=sensor", "BATON_MEMORY_WATERMARK=1GiB"},
		flags: map[string][]string{
			"amqp.tls_listen": {":1"}, "mqtt.tls_listen": {":2"}, "mqtt.websocket_tls": {":3"},
			"tls.cert_file": {cert}, "tls.key_file": {key}, "tls.ca_file": {ca},
			"mqtt.anonymous": {"true"}, "admin.socket": {"off"},
		},
		file: writeFile(t, "baton.yaml", `
admin: {tls_listen: :4}
tls: {client_auth: require, min_version: 1.3, refuse_stale_crl: true}
limits:
  max_connections: 1000
  connection_rate: 0.5
  connection_burst: 7
  connection_wait: 3s
  failed_login_rate: 2
  failed_login_burst: 3
  exempt_loopback: false
  client_message_rate: 100
  client_byte_rate: 1MiB
auth:
  loopback_users: off
  certificate_name_from: subject_alternative_name
  certificate_san_type: email
  jwt_key_file: ["k1=`+cert+`", "`+cert+`"]
  jwt_secret_file: ["a=b=`+secret+`"]
  jwt_jwks_refresh: 5m
  jwt_algorithms: [HS256, ES256]
  jwt_resource_server_id: baton
  jwt_issuer: issuer
  jwt_allow_no_expiry: true
  jwt_leeway: 1m
  jwt_username_claims: [name]
  jwt_scope_prefix: ""
  jwt_additional_scopes: [realm_access.roles]
  jwt_two_part_topics: true
  http_method: get
  http_timeout: 1s
  http_concurrency: 2
  http_allow_ttl: 0s
  http_cache_size: 10
memory: {limit: 2GiB}
`),
	})
	if err != nil {
		t.Fatal(err)
	}
	var open []string
	for _, e := range c.entrances() {
		if len(e.addresses) > 0 {
			open = append(open, e.scheme+e.addresses[0])
		}
	}
	if want := []string{"amqp:5672", "amqps:1", "mqtt:1883", "mqtts:2", "ws:15675", "wss:3"}; !slices.Equal(open, want) {
		t.Errorf("open are %v, want %v", open, want)
	}
	l := &c.Limits
	if l.MaxConnections != 1000 || l.ConnectionRate != 0.5 || l.ConnectionBurst != 7 || l.ConnectionWait != 3*time.Second || l.FailedLoginRate != 2 || l.FailedLoginBurst != 3 ||
		l.ExemptLoopback || l.ClientMessageRate != 100 || l.ClientByteRate != 1<<20 {
		t.Errorf("limits %+v", l)
	}
	if c.anonymousUser() != "sensor" || c.socket() != "" || c.Memory.Watermark.of(c.Memory.Limit) != 1<<30 || len(c.Auth.LoopbackUsers) != 0 {
		t.Errorf("effective values are\n%s", c.yaml())
	}
	jwt := c.Auth.jwt(nil)
	keys := []auth.JWTKey{{ID: "k1", PEMFile: cert}, {PEMFile: cert}, {ID: "a", SecretFile: "b=" + secret}}
	if !slices.Equal(jwt.Keys, keys) || *jwt.ScopePrefix != "" || jwt.RefreshInterval != 5*time.Minute || !jwt.AllowNoExpiry || jwt.Leeway != time.Minute ||
		!slices.Equal(jwt.UsernameClaims, []string{"name"}) || !slices.Equal(jwt.Algorithms, []string{"HS256", "ES256"}) || !jwt.TwoPartTopics {
		t.Errorf("jwt %+v", jwt)
	}
	asked := c.Auth.http(nil)
	if asked.Method != c.Auth.HTTP.Method || asked.Timeout != time.Second || asked.MaxConcurrent != 2 || asked.AllowTTL >= 0 || asked.DenyTTL != 15*time.Second ||
		asked.MaxAnswers != 10 {
		t.Errorf("http %+v", asked)
	}
}

func TestSplitKeyFile(t *testing.T) {
	for text, want := range map[string][2]string{
		"key.pem":        {"", "key.pem"},
		"k1=key.pem":     {"k1", "key.pem"},
		"k1=/etc/a=b":    {"k1", "/etc/a=b"},
		"/etc/a=b.pem":   {"", "/etc/a=b.pem"},
		"=key.pem":       {"", "key.pem"},
		`C:\a=b\key.pem`: {"", `C:\a=b\key.pem`},
	} {
		if kid, path := splitKeyFile(text); kid != want[0] || path != want[1] {
			t.Errorf("%s: %q, %q", text, kid, path)
		}
	}
}

func TestAdvertise_NamesTheListenersWithTLS(t *testing.T) {
	dir := testCertificates(t)
	c, err := loadConfig(source{flags: map[string][]string{
		"amqp.listen": {"off"}, "amqp.tls_listen": {"broker.test:5671"}, "mqtt.listen": {"127.0.0.1:1883"}, "mqtt.tls_listen": {"broker.test:8883"},
		"mqtt.websocket": {"off"}, "mqtt.websocket_tls": {"broker.test:15676"}, "admin.listen": {"127.0.0.1:15672"}, "admin.tls_listen": {"broker.test:15671"},
		"tls.cert_file": {filepath.Join(dir, "server.crt")}, "tls.key_file": {filepath.Join(dir, "server.key")},
	}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"amqps://broker.test:5671", "mqtt://127.0.0.1:1883", "mqtts://broker.test:8883", "wss://broker.test:15676", "https://broker.test:15671"}
	if got := c.advertise(); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	for _, a := range want { // and it is what ha.advertise takes
		if err := urls(new([]string)).set([]string{a}); err != nil {
			t.Error(err)
		}
	}
}
