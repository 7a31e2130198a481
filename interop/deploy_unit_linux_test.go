package interop

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// deploy is the folder of what a broker is deployed with.
const deploy = "../docs/deploy"

// directives are those of systemd.exec(5), systemd.kill(5), systemd.service(5) and systemd.unit(5) that the units use. systemd passes over what it
// does not know.
var directives = map[string][]string{
	"Unit": {"Description", "Documentation", "After", "Wants", "Conflicts", "RequiresMountsFor", "StartLimitIntervalSec"},
	"Service": {
		"Type", "NotifyAccess", "TimeoutStartSec", "ExecStart", "ExecReload", "Restart", "RestartSec", "RestartPreventExitStatus", "WatchdogSec",
		"WatchdogSignal", "TimeoutAbortSec", "KillMode", "TimeoutStopSec", "User", "Group", "StateDirectory", "StateDirectoryMode",
		"RuntimeDirectory", "ConfigurationDirectory", "UMask", "LimitNOFILE", "LimitCORE", "OOMScoreAdjust", "NoNewPrivileges",
		"CapabilityBoundingSet", "AmbientCapabilities", "ProtectSystem", "ReadWritePaths", "ProtectHome", "PrivateTmp", "PrivateDevices",
		"ProtectClock", "ProtectControlGroups", "ProtectHostname", "ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables",
		"ProtectProc", "LockPersonality", "MemoryDenyWriteExecute", "RemoveIPC", "RestrictAddressFamilies", "RestrictNamespaces",
		"RestrictRealtime", "RestrictSUIDSGID", "SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber",
	},
	"Install": {"WantedBy"},
}

// readUnit returns the directives of a unit of ours, by their names.
func readUnit(t *testing.T, name string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, "systemd", name))
	if err != nil {
		t.Fatal(err)
	}
	found, section := make(map[string][]string), ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok || !slices.Contains(directives[section], key) {
				t.Errorf("%s: no directive of [%s]: %s", name, section, line)
			}
			found[key] = append(found[key], value)
		}
	}
	return found
}

// supervisionOf is what a supervisor has to know of a unit. It understands the values
// that ours have, and no others.
func supervisionOf(t *testing.T, name string) (supervision, map[string][]string) {
	t.Helper()
	u := readUnit(t, name)
	one := func(key string) string {
		if len(u[key]) != 1 {
			t.Fatalf("%s has %q for %s, want one value", name, u[key], key)
		}
		return u[key][0]
	}
	span := func(key string) time.Duration {
		d, err := time.ParseDuration(one(key))
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	how := supervision{
		command: strings.Fields(one("ExecStart")), notify: one("Type") == "notify", restart: one("Restart") == "always",
		after: span("RestartSec"), watchdog: span("WatchdogSec"), stopLimit: span("TimeoutStopSec"),
	}
	for code := range strings.FieldsSeq(one("RestartPreventExitStatus")) {
		n, err := strconv.Atoi(code)
		if err != nil {
			t.Fatal(err)
		}
		how.prevent = append(how.prevent, n)
	}
	if how.command[0] != "/usr/bin/baton" {
		t.Errorf("%s starts %s", name, how.command[0])
	}
	for i, arg := range how.command { // the unit's own file, as it is
		if file, ok := strings.CutPrefix(arg, "/etc/baton/"); ok {
			how.command[i] = filepath.Join(deploy, "systemd", file)
		}
	}
	return how, u
}
