package main

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// otherTexts are values of which each setting accepts one that is not its default.
func otherTexts() []string {
	return []string{
		"true", "false", "2", "1", "100000", "70000", "2s", "11s", "32MiB", "2GiB", "77%", "0600", "loopback", "anywhere", "127.0.0.1:1", "x/",
		"refuse-new", "request", "1.3", "debug", "json", "get", "http", "email", "subject_alternative_name", "amqp://h:1", "amqp", "10.0.0.0/8", "4096",
		"require", "lenient", "other",
	}
}

// another returns a configuration that differs from the default in one setting.
func another(t *testing.T, s setting) *Config {
	t.Helper()
	for _, text := range otherTexts() {
		c, err := loadConfig(source{})
		if err != nil {
			t.Fatal(err)
		}
		before := s.bind(c).texts()
		if s.bind(c).set([]string{text}) == nil && !slices.Equal(s.bind(c).texts(), before) {
			return c
		}
	}
	t.Fatalf("no text here is another value of %s", s.key)
	return nil
}

// What the table, and with it the manual, says is live is what a reload applies: no setting more and none less.
func TestSettings_TheTableSaysWhatIsLive(t *testing.T) {
	c, err := loadConfig(source{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range settings() {
		applies := !reflect.DeepEqual(c.live(), another(t, s).live())
		if applies != s.live {
			t.Errorf("%s: a reload applies it: %t; the table says live: %t", s.key, applies, s.live)
		}
		if s.live && s.held {
			t.Errorf("%s is live and held", s.key)
		}
	}
}

func TestConfig_WithLiveTakesWhatIsLiveAndNothingElse(t *testing.T) {
	running, err := loadConfig(source{})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range settings() {
		other := another(t, s)
		next := running.withLive(other)
		want := running
		if s.live {
			want = other
		}
		if !slices.Equal(s.bind(next).texts(), s.bind(want).texts()) {
			t.Errorf("%s is %q", s.key, s.bind(next).texts())
		}
		if keys := changed(running, other); len(keys) != 1 || keys[0].Key != s.key || keys[0].Acts != s.acts() {
			t.Errorf("with another %s, changed are %+v", s.key, keys)
		}
	}
}

// reloadable is a broker with an admin socket and a file.
func reloadable(t *testing.T, text string, args ...string) (r *running, file, socket string) {
	t.Helper()
	file, socket = writeFile(t, "baton.yaml", text), filepath.Join(t.TempDir(), "s")
	return startServe(t, t.TempDir(), append([]string{"--config", file, "--admin-socket", socket}, args...)...), file, socket
}

func rewriteFile(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestConfigReload_ShowsAppliesAndRefuses(t *testing.T) {
	r, file, socket := reloadable(t, "node: a\ndefault_user: app\ndefault_pass: first\n")
	r.ready(t)
	reload := func(want exitCode, texts []string, args ...string) string {
		t.Helper()
		code, stdout, stderr := baton(t, nil, append([]string{"config", "reload", "--admin-socket", socket}, args...)...)
		for _, text := range texts {
			if !strings.Contains(strings.Join(strings.Fields(stdout+stderr), " "), text) {
				t.Errorf("config reload %v does not say %q:\n%s%s", args, text, stdout, stderr)
			}
		}
		if code != want {
			t.Errorf("config reload %v: code %d, want %d: %s%s", args, code, want, stdout, stderr)
		}
		return stdout
	}
	reload(exitOK, []string{"nothing has changed"})
	rewriteFile(t, file, "node: b\ndefault_user: app\ndefault_pass: second\nlog: {level: debug}\nmemory: {watermark: 1GiB}\nmqtt:\n  max_qos: 1\n")
	diff := []string{
		"node a b " + file + ":1 at the next start", "log.level info debug " + file + ":4 now", "memory.watermark 60% 1GiB " + file + ":5 now",
		"default_pass ******** ********", "mqtt.max_qos 2 1 " + file + ":7 at the next start or takeover",
	}
	reload(exitOK, append(diff, "nothing was applied; 2 would be, 3 wait"), "--dry-run")
	if strings.Contains(r.log.String(), "level=DEBUG") {
		t.Error("a dry run has changed the log level")
	}
	if out := reload(exitOK, append(diff, "2 applied, 3 wait")); strings.Contains(out, "second") {
		t.Errorf("a secret is printed:\n%s", out)
	}
	r.log.await(t, `msg="memory watermark" watermark=1073741824`)
	r.log.await(t, `msg=administration .*action="reload configuration" .*dry_run=false applied="\[memory.watermark log.level\]"`)
	if out := reload(exitOK, []string{"0 applied, 3 wait"}); strings.Contains(out, "log.level") {
		t.Errorf("what is in force is shown as changed:\n%s", out)
	}

	rewriteFile(t, file, "node: a\nlog:\n  level: warn\n  lines: 5\n")
	reload(exitFailure, []string{file + `:4: unknown key "log.lines"`})
	rewriteFile(t, file, "node: a\nlog: {level: warn}\nauth: {backends: [jwt], jwt_resource_server_id: b, jwt_key_file: /no/such/file}\n")
	reload(exitFailure, []string{"/no/such/file"})
	rewriteFile(t, file, "node: a\nlog: {level: debug}\n")
	if out := reload(exitOK, nil); strings.Contains(out, "log.level") {
		t.Errorf("a refused file has changed the log level:\n%s", out)
	}
}

// TestConfigReload_OnAStandby: it has a configuration of its own, and nobody there whose password could be checked.
func TestConfigReload_OnAStandby(t *testing.T) {
	data := t.TempDir()
	serve := func(name, level string) (*running, string) {
		file, socket := writeFile(t, "baton.yaml", "log: {level: "+level+"}\n"), filepath.Join(t.TempDir(), "s")
		return start(t, "serve", "--ha", "--ha-ttl", "1s", "--node", name, "--data", data, "--amqp", "127.0.0.1:0", "--mqtt", "off", "--ws", "off",
			"--admin", "127.0.0.1:0", "--metrics", "off", "--config", file, "--admin-socket", socket), socket
	}
	one, _ := serve("one", "info")
	one.ready(t)
	two, socket := serve("two", "debug")
	two.awaitFit(t)
	if code, out, errs := baton(t, nil, "config", "reload", "--admin-socket", socket); code != exitOK || !strings.Contains(out, "nothing has changed") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if code, _ := two.get(t, "/api/config/reload"); code != 503 {
		t.Errorf("without a socket: %d", code)
	}
}
