package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/protocols/http/api"
	"github.com/batonmq/baton/protocols/mqtt/remote"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

const twoBridges = `bridges:
  site-7:
    address: [mqtt://127.0.0.1, "mqtts://b.example.com:8884"]
    version: 3.1.1
    username: u
    topics:
      - sensors/# out 2 "" site/
      - '"" both 1 here there'
    retry_delay: 2s
  cloud:
    address: mqtts://cloud.example.com
    password: s3cret
    topics: commands/# in
`

func TestBridgeSettings(t *testing.T) {
	file := writeFile(t, "baton.yaml", twoBridges)
	c, err := loadConfig(source{file: file, env: []string{"BATON_BRIDGES_SITE_7_PASSWORD=from the environment"}})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Bridges) != 2 || c.Bridges[0].name != "cloud" || c.Bridges[1].name != "site-7" {
		t.Fatalf("bridges are %+v", c.Bridges)
	}
	opt, err := c.bridge("site-7").options()
	if err != nil {
		t.Fatal(err)
	}
	if opt.Version != wire.V311 || opt.Password != "from the environment" || opt.RetryMin != 2*time.Second || opt.RetryMax != time.Minute ||
		opt.KeepAlive != time.Minute || len(opt.Addresses) != 2 || opt.VHost != "/" {
		t.Errorf("options are %+v", opt)
	}
	want := []remote.Topic{
		{Pattern: "sensors/#", Direction: remote.Out, QoS: 2, RemotePrefix: "site/"},
		{Direction: remote.Both, QoS: 1, LocalPrefix: "here", RemotePrefix: "there"},
	}
	for i := range want {
		if opt.Topics[i] != want[i] {
			t.Errorf("topic %d is %+v, want %+v", i, opt.Topics[i], want[i])
		}
	}

	printed := c.yaml()
	if strings.Contains(printed, "s3cret") || strings.Contains(printed, "from the environment") {
		t.Errorf("a password is printed:\n%s", printed)
	}
	again, err := loadConfig(source{file: writeFile(t, "printed.yaml", strings.ReplaceAll(printed, mask, "x"))})
	if err != nil {
		t.Fatalf("%v in\n%s", err, printed)
	}
	if again.hash() != c.hash() {
		t.Error("what is printed says something else")
	}
	other, err := loadConfig(source{file: writeFile(t, "other.yaml", strings.Replace(twoBridges, "2s", "3s", 1))})
	if err != nil {
		t.Fatal(err)
	}
	if other.hash() == c.hash() {
		t.Error("nodes with other bridges have the same configuration")
	}
	none, err := loadConfig(source{})
	if err != nil {
		t.Fatal(err)
	}
	if all := changed(none, c); !slices.ContainsFunc(all, func(s api.SettingChange) bool { return s.Key == "bridges.cloud.address" }) {
		t.Errorf("changed are %+v", all)
	}
	if all := changed(c, none); !slices.ContainsFunc(all, func(s api.SettingChange) bool { return s.Key == "bridges.cloud.address" }) {
		t.Errorf("changed are %+v", all)
	}
}

func TestBridgeSettings_ThatAreWrong(t *testing.T) {
	const good = "bridges:\n  b:\n    address: mqtt://h\n    topics: a out\n"
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.pem")
	if err := os.WriteFile(bad, []byte("no certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"none", good, ""},
		{"name", "bridges:\n  B.x:\n    address: mqtt://h\n", `unknown key "B.x"`},
		{"no settings", "bridges:\n  b: x\n", `unknown key "bridges.b"`},
		{"key", good + "    addresses: x\n", `unknown key "bridges.b.addresses"`},
		{"no address", "bridges:\n  b:\n    topics: a\n", "bridges.b: there is no address"},
		{"address", "bridges:\n  b:\n    address: h:1883\n", "mqtt://HOST:PORT"},
		{"address with a user", "bridges:\n  b:\n    address: mqtt://u:s3cret@h\n", "has a user in it"},
		{"no topics", "bridges:\n  b:\n    address: mqtt://h\n", "bridges.b: there are no topics"},
		{"topic", "bridges:\n  b:\n    address: mqtt://h\n    topics: a up\n", `"up" is none of out, in and both`},
		{"version", good + "    version: 4\n", `"4" is not one of 5, 3.1.1`},
		{"keep alive", good + "    keep_alive: 1500ms\n", "not a whole number of seconds"},
		{"two passwords", good + "    password: s3cret\n    password_file: x\n", "password and password_file are both set"},
		{"password without a user", good + "    password: s3cret\n    version: 3.1.1\n", "no password without a user name"},
		{"TLS without mqtts", good + "    ca_file: x\n", "for mqtts addresses"},
		{"half a pair", strings.Replace(good, "mqtt:", "mqtts:", 1) + "    cert_file: x\n", "cert_file and key_file need each other"},
		{"password file", good + "    password_file: " + filepath.Join(dir, "none") + "\n", "read the password"},
		{"authorities", strings.Replace(good, "mqtt:", "mqtts:", 1) + "    ca_file: " + bad + "\n", "no certificate is in"},
		{"waits", good + "    retry_delay: 2m\n", "is shorter than the first"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := loadConfig(source{file: writeFile(t, "baton.yaml", tt.text)})
			if err == nil {
				err = c.checkFiles()
			}
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "s3cret") {
				t.Error("the error shows a password")
			}
		})
	}
}
