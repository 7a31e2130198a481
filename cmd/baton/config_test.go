package main

import (
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var rewrite = flag.Bool("rewrite", false, "write docs/configuration.md instead of comparing it")

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadConfig_Defaults(t *testing.T) {
	c, err := loadConfig(source{})
	if err != nil {
		t.Fatal(err)
	}
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != "./baton-data" || c.Node != host || c.HA.Enabled || c.HA.TTL != 3*time.Second ||
		!slices.Equal(c.AMQP.Listen, []string{":5672"}) || !slices.Equal(c.Admin.Listen, []string{":15672"}) ||
		!slices.Equal(c.Metrics.Listen, []string{":15692"}) || c.AMQP.FrameMax != 131072 || c.Store.FreeLow != (amount{bytes: 512 << 20}) {
		t.Errorf("defaults are\n%s", c.yaml())
	}
}

func TestLoadConfig_LaterSourcesWin(t *testing.T) {
	const file = `
# every value here is replaced by a later source, except data
data: /srv/baton
node: from-file
amqp:
  listen:
    - 127.0.0.1:1
    - "[::1]:1"
  heartbeat: 5s
  max_connections: 10
admin: {listen: :2}
metrics: {listen: off}
ha: {enabled: true}
store:
  free_low: 1GiB
  free_high: 5%
`
	c, err := loadConfig(source{
		file: writeFile(t, "baton.yaml", file),
		env: []string{
			"BATON_NODE=from-env", "BATON_AMQP_LISTEN=127.0.0.1:3, [::1]:3", "BATON_DEFAULT_USER=app", "BATON_DEFAULT_PASS=a,b=c",
			"BATON_AMQP_MAX_CONNECTIONS=20", "BATON_CONFIG=ignored-here", "PATH=/bin",
		},
		flags: map[string][]string{"node": {"from-flag"}, "amqp.listen": {":4", ":5"}, "admin.listen": {"off"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Data != "/srv/baton" || c.Node != "from-flag" || c.DefaultUser != "app" || c.DefaultPass != "a,b=c" ||
		!slices.Equal(c.AMQP.Listen, []string{":4", ":5"}) || c.AMQP.Heartbeat != 5*time.Second || c.AMQP.MaxConnections != 20 ||
		len(c.Admin.Listen) != 0 || len(c.Metrics.Listen) != 0 || !c.HA.Enabled || c.Store.FreeLow != (amount{bytes: 1 << 30}) || c.Store.FreeHigh != (amount{percent: 5}) {
		t.Errorf("effective values are\n%s", c.yaml())
	}
	for key, want := range map[string]string{
		"node": "flag --node", "default_user": "BATON_DEFAULT_USER", "log.level": "default",
	} {
		if c.origin[key] != want {
			t.Errorf("origin of %s is %q, want %q", key, c.origin[key], want)
		}
	}
	if !strings.HasSuffix(c.origin["ha.enabled"], "baton.yaml:13") {
		t.Errorf("origin of ha.enabled is %q, want line 13", c.origin["ha.enabled"])
	}
}

func TestLoadConfig_FileErrorsNameTheLine(t *testing.T) {
	for _, tt := range []struct{ name, file, want string }{
		{"unknown key", "data: x\n\nlisten: :5672\n", `:3: unknown key "listen"`},
		{"unknown key in a section", "amqp:\n  listen: :5672\n  lisen: :5673\n", `:3: unknown key "amqp.lisen"`},
		{"unknown section", "stomp:\n  listen: :1883\n", `:2: unknown key "stomp.listen"`},
		{"section as a value", "amqp: :5672\n", `:1: unknown key "amqp"`},
		{"value as a section", "data:\n  dir: x\n", `:2: unknown key "data.dir"`},
		{"dotted key", "amqp.listen: :5672\n", `:1: unknown key "amqp.listen"`},
		{"key of two lines", "data: x\n? |\n  a\n  b\n: x\n", ":2: a key must be a plain name"},
		{"key given twice", "data: x\nnode: a\ndata: y\n", ":3: "},
		{"not HOST:PORT", "amqp:\n  listen: 5672\n", `:2: amqp.listen: "5672" is not HOST:PORT`},
		{"port too large", "amqp:\n  listen: :70000\n", `:2: amqp.listen: ":70000": port "70000" is not a number from 0 to 65535`},
		{"off beside an address", "admin:\n  listen: [off, :1]\n", `:2: admin.listen: "off" stands alone`},
		{"two values for one", "node: [a, b]\n", ":1: node: takes one value, not 2"},
		{"no value", "node:\ndata: x\n", ":1: node: a value is expected here"},
		{"nested list", "amqp:\n  listen: [[a]]\n", ":2: amqp.listen: a list of plain values"},
		{"not a bool", "ha:\n  enabled: maybe\n", `:2: ha.enabled: "maybe" is neither true nor false`},
		{"not a number", "amqp:\n  frame_max: big\n", `:2: amqp.frame_max: "big" is not a whole number from 4096`},
		{"number too small", "amqp:\n  frame_max: 4095\n", ":2: amqp.frame_max: \"4095\" is not a whole number from 4096"},
		{"not a duration", "ha:\n  ttl: 3\n", `:2: ha.ttl: "3" is not a duration like`},
		{"duration too short", "ha:\n  ttl: 1ms\n", `:2: ha.ttl: "1ms" is not between 100ms and 10m0s`},
		{"duration that overflows a sum", "stop_timeout: 2562047h47m16s\n", `:1: stop_timeout: "2562047h47m16s" is not between 1ms and 1h0m0s`},
		{"message larger than a journal group", "amqp:\n  max_message_size: 129MiB\n", `:2: amqp.max_message_size: "129MiB" is not between 1B and 128MiB`},
		{"not a size", "store:\n  free_low: 1 parsec\n", ":2: store.free_low: "},
		{"all of the disk", "store:\n  free_low: 100%\n", `:2: store.free_low: "100%" is not a whole number of percent from 1% to 99%`},
		{"not a level", "log:\n  level: loud\n", `:2: log.level: "loud" is not one of debug, info, warn, error`},
		{"a second document", "data: x\n---\ndata: y\n", ":3: a second document"},
		{"an alias", "data: &d x\nnode: *d\n", ":1: data: a value is expected here"},
		{"a list of settings", "- data\n", ":1: keys and values are expected here"},
		{"not YAML", "data: [x\n", ":1: "},
		{"a tab", "amqp:\n\tlisten: x\n", ":2: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := writeFile(t, "baton.yaml", tt.file)
			_, err := loadConfig(source{file: path})
			if err == nil || !strings.Contains(err.Error(), path+tt.want) || strings.Contains(err.Error(), "\n") {
				t.Errorf("error is %v, want one line with baton.yaml%s", err, tt.want)
			}
		})
	}
}

func TestLoadConfig_EmptyFileIsFine(t *testing.T) {
	for _, file := range []string{"", "# nothing\n", "---\n"} {
		if _, err := loadConfig(source{file: writeFile(t, "baton.yaml", file)}); err != nil {
			t.Errorf("%q: %v", file, err)
		}
	}
}

func TestLoadConfig_OtherErrorsNameTheirPlace(t *testing.T) {
	for _, tt := range []struct {
		name string
		src  source
		want string
	}{
		{"a variable", source{env: []string{"BATON_HA_TTL=soon"}}, `BATON_HA_TTL: "soon" is not a duration`},
		{"an empty list variable", source{env: []string{"BATON_AMQP_LISTEN="}}, "BATON_AMQP_LISTEN: is empty: write off for none"},
		{"a flag", source{flags: map[string][]string{"amqp.listen": {"5672"}}}, `--amqp "5672" is not HOST:PORT`},
		{"a file that is not there", source{file: "no/such/file.yaml"}, "read configuration: open no/such/file.yaml"},
		{"a user without a password", source{env: []string{"BATON_DEFAULT_USER=app"}}, `no password for the default user "app"`},
		{"a node too long for a file name", source{flags: map[string][]string{"node": {strings.Repeat("n", 300)}}}, "is longer than 80 bytes: choose a shorter --node"},
		{"a node that is no file name", source{flags: map[string][]string{"node": {"a/b"}}}, `node "a/b" cannot be part of a file name`},
		{"watermarks upside down", source{env: []string{"BATON_STORE_FREE_LOW=1MiB"}}, "store.free_full 128MiB is above store.free_low 1MiB"},
		{"watermarks that never let go", source{env: []string{"BATON_STORE_FREE_HIGH=1MiB"}}, "store.free_low 512MiB is above store.free_high 1MiB"},
		{"parts upside down", source{env: []string{"BATON_STORE_FREE_LOW=5%", "BATON_STORE_FREE_HIGH=4%"}}, "store.free_low 5% is above store.free_high 4%"},
		{"half a second of keep alive", source{env: []string{"BATON_MQTT_MAX_KEEP_ALIVE=1500ms"}}, "mqtt.max_keep_alive 1.5s is not a whole number of seconds"},
		{"moved to nowhere", source{env: []string{"BATON_MQTT_SERVER_MOVED=true"}}, "mqtt.server_reference does not say where to"},
		{"half a second of heartbeat", source{env: []string{"BATON_AMQP_HEARTBEAT=1500ms"}}, "amqp.heartbeat 1.5s is not a whole number of seconds"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := loadConfig(tt.src); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want %q", err, tt.want)
			}
		})
	}
}

func TestLoadConfig_UnknownVariablesAreRemembered(t *testing.T) {
	c, err := loadConfig(source{env: []string{
		"BATON_DEFAULT_USR=app", "BATON_LISTEN=:1",
		// What Kubernetes sets for services called baton and baton-amqp.
		"BATON_SERVICE_HOST=10.0.0.1", "BATON_SERVICE_PORT_AMQP=5672", "BATON_PORT=tcp://10.0.0.1:5672",
		"BATON_PORT_5672_TCP_ADDR=10.0.0.1", "BATON_AMQP_SERVICE_HOST=10.0.0.2", "BATON_AMQP_PORT=tcp://10.0.0.2:5672",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"BATON_DEFAULT_USR", "BATON_LISTEN"}; !slices.Equal(c.ignored, want) {
		t.Errorf("ignored %v, want %v", c.ignored, want)
	}
}

func TestSettings_TableIsSound(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range settings() {
		for _, name := range []string{s.key, s.env(), "--" + s.flag} {
			if name != "--" && seen[name] {
				t.Errorf("%s is there twice", name)
			}
			seen[name] = true
		}
		if s.doc == "" || s.unit == "" || isServiceLink(s.env()) {
			t.Errorf("%s has no doc or unit, or the name of a service link", s.key)
		}
		var c Config
		if err := s.bind(&c).set([]string{s.def}); err != nil {
			t.Errorf("default of %s: %v", s.key, err)
			continue
		}
		if got := s.bind(&c).texts(); len(got) != 1 || got[0] != s.def {
			t.Errorf("default of %s is %q and prints as %q", s.key, s.def, got)
		}
	}
}

// A sum of two durations, as of stop_timeout and what follows it, must not overflow.
func TestSettings_DurationsAreBounded(t *testing.T) {
	const most = "2562047h47m16.854775807s" // math.MaxInt64
	for _, s := range settings() {
		var c Config
		if _, ok := s.bind(&c).(single[time.Duration]); !ok {
			continue
		}
		if err := s.bind(&c).set([]string{most}); err == nil {
			t.Errorf("%s accepts %s", s.key, most)
		}
	}
}

// What a reader copies from a page must start a broker.
func TestDocs_SampleFilesAreValid(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	samples := 0
	for _, page := range append(pages, "../../README.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, block := range strings.Split(strings.ReplaceAll(string(text), "\r\n", "\n"), "```yaml\n")[1:] {
			samples++
			sample, _, closed := strings.Cut(block, "```")
			code, _, stderr := baton(t, nil, "config", "check", "--config", writeFile(t, "baton.yaml", sample))
			if !closed || code != exitOK {
				t.Errorf("%s: config check: %d, %s", page, code, stderr)
			}
		}
	}
	if samples < 2 {
		t.Errorf("found %d samples, want one in configuration.md and one in getting-started.md", samples)
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "0B": 0, "1": 1, "4096": 4096, "4096B": 4096, "64KiB": 64 << 10, "512 MiB": 512 << 20, "2GiB": 2 << 30,
		"": -1, "MiB": -1, "1.5GiB": -1, "-1": -1, "1MB": -1, "9223372036854775807GiB": -1,
	} {
		n, ok := parseSize(text)
		if ok != (want >= 0) || ok && n != want {
			t.Errorf("parseSize(%q) = %d, %t; want %d", text, n, ok, want)
		}
		if ok {
			if again, ok := parseSize(formatSize(n)); !ok || again != n {
				t.Errorf("formatSize(%d) = %q", n, formatSize(n))
			}
		}
	}
}

func TestConfigurationPageIsCurrent(t *testing.T) {
	const path = "../../docs/configuration.md"
	want := configurationPage()
	if *rewrite {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if strings.ReplaceAll(string(got), "\r\n", "\n") != want {
		t.Error("docs/configuration.md differs from the settings table: run go generate ./cmd/baton")
	}
}

// A reload answers whoever asks for it with what is wrong in the file: never with a secret.
func TestConfigFile_MistakesShowNoSecret(t *testing.T) {
	for _, value := range []string{">s3cret", "|s3cret", "!s3cret", "&s3cret", "*s3cret", "@s3cret", "%s3cret", "!!int s3cret", "s3cret: x", "{s3cret", "[s3cret", "\"s3cret"} {
		_, err := loadConfig(source{file: writeFile(t, "baton.yaml", "default_user: u\ndefault_pass: "+value+"\nnode: [\n")})
		if err == nil || strings.Contains(err.Error(), "s3cret") || !strings.Contains(err.Error(), "baton.yaml:") {
			t.Errorf("default_pass: %s: %v", value, err)
		}
	}
}
