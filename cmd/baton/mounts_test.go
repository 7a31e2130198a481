package main

import (
	"strings"
	"testing"

	"github.com/batonmq/baton/protocols/mqtt"
)

func TestMountPointSettings_ErrorsNameKeyAndReason(t *testing.T) {
	for _, tt := range []struct{ name, list, want string }{
		{"no end", "tenants", `mqtt.mount_point: mount point "tenants" does not end with /`},
		{"a wildcard", "a/+/", `mount point "a/+/" is not the beginning of a topic`},
		{"too deep", strings.Repeat("/", 256), "is not the beginning of a topic"},
		{"the broker's own", "$SYS/", `mount point "$SYS/" begins with $`},
		{"an unknown variable", "a/{user}/", `has the level "{user}"`},
		{"a variable in a level", "a/x-{username}/", `has the level "x-{username}": a level with braces is {username} or {client_id}`},
		{"an unknown listener", "amqp=a/", `"amqp=a/" is for "amqp", which is not one of mqtt, mqtts, ws, wss, socket`},
		{"two for one", "[ws=a/, ws=b/]", `"ws=b/" is the second one for the same listener`},
		{"two for all", "[a/, b/]", `"b/" is the second one`},
		{"nothing", `[ws=a/, ""]`, "mqtt.mount_point: has an empty text: write off for none"},
		{"for one listener, no end", "ws=a", `mount point "a" does not end with /`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			code, _, stderr := baton(t, nil, "config", "check", "--config", writeFile(t, "baton.yaml", "mqtt: {mount_point: "+quoted(tt.list)+"}\n"))
			if code != exitUsage || !strings.Contains(stderr, tt.want) || strings.Count(stderr, "\n") != 1 {
				t.Errorf("%d, %q; want one line with %q", code, stderr, tt.want)
			}
		})
	}
}

// quoted is a scalar of YAML, unless it is a sequence.
func quoted(s string) string {
	if strings.HasPrefix(s, "[") {
		return s
	}
	return `"` + s + `"`
}

func TestMountPointSettings_AreOfTheListenerOrOfAll(t *testing.T) {
	c, err := loadConfig(source{env: []string{"BATON_MQTT_MOUNT_POINT=t/{username}/,wss=web/,socket="}})
	if err != nil {
		t.Fatal(err)
	}
	of := mountPointOf(c.MQTT.MountPoints)
	for _, tt := range []struct {
		way  mqtt.Way
		want string
	}{
		{mqtt.Way{}, "t/{username}/"},
		{mqtt.Way{TLS: true}, "t/{username}/"},
		{mqtt.Way{WebSocket: true}, "t/{username}/"},
		{mqtt.Way{WebSocket: true, TLS: true}, "web/"},
		{mqtt.Way{Socket: true}, ""},
	} {
		if got := of(tt.way); got != tt.want {
			t.Errorf("%+v: %q, want %q", tt.way, got, tt.want)
		}
	}
	if mountPointOf(nil) != nil {
		t.Error("without a setting every client is asked how it came in")
	}
}

// TestServe_MountPoints publishes at two listeners, each with its own mount point,
// what an AMQP client finds below these.
func TestServe_MountPoints(t *testing.T) {
	r := startServe(t, t.TempDir(), "--config", writeFile(t, "baton.yaml", `mqtt: {mount_point: ["{username}/", "ws=guest/sensors/"]}`+"\n"))
	ch, err := r.dial(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind("q", "#", "amq.topic", false, nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"mqtt": "guest.sensors.kettle", "ws": "guest.sensors.sensors.kettle"} {
		conn := r.dialMQTT(t, name)
		if ack := exchange(t, conn, mqttLogin); ack[1] != 0 {
			t.Fatalf("%s: CONNACK % x", name, ack)
		}
		if ack := exchange(t, conn, mqttPublish); ack[1] != 1 {
			t.Fatalf("%s: PUBACK % x", name, ack)
		}
		if m, ok, err := ch.Get("q", true); err != nil || !ok || m.RoutingKey != want {
			t.Errorf("%s: routing key %q, %t, %v, want %q", name, m.RoutingKey, ok, err, want)
		}
	}
}
