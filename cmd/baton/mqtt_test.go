package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/coder/websocket"
	amqp "github.com/rabbitmq/amqp091-go"
)

// Packets of MQTT 5: CONNECT as client c, with and without a login, a SUBSCRIBE
// to sensors/#, and a PUBLISH of QoS 1.
var (
	mqttAnonymous = []byte("\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01c")
	mqttLogin     = []byte("\x10\x1c\x00\x04MQTT\x05\xc2\x00\x00\x00\x00\x01c\x00\x05guest\x00\x05guest")
	mqttSubscribe = []byte("\x82\x0f\x00\x01\x00\x00\x09sensors/#\x01")
	mqttPublish   = []byte("\x32\x16\x00\x0esensors/kettle\x00\x01\x00hot")
)

// dialMQTT returns a connection over TCP, or over a WebSocket.
func (r *running) dialMQTT(t *testing.T, name string) net.Conn {
	t.Helper()
	r.ready(t)
	if name == "ws" {
		ws, resp, err := websocket.Dial(t.Context(), "ws://"+r.addr(t, "ws")+"/ws", &websocket.DialOptions{Subprotocols: []string{"mqtt"}})
		if err != nil {
			t.Fatal(err)
		}
		if resp.Body != nil {
			_ = resp.Body.Close()
		}
		t.Cleanup(func() { _ = ws.CloseNow() })
		return websocket.NetConn(t.Context(), ws, websocket.MessageBinary)
	}
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.addr(t, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// exchange sends packets and returns the next answer, without its fixed header.
func exchange(t *testing.T, conn net.Conn, send ...[]byte) []byte {
	t.Helper()
	if _, err := conn.Write(bytes.Join(send, nil)); err != nil {
		t.Fatal(err)
	}
	head := make([]byte, 2)
	if _, err := io.ReadFull(conn, head); err != nil {
		t.Fatal(err)
	}
	body := make([]byte, head[1]) // all answers here are short
	if _, err := io.ReadFull(conn, body); err != nil {
		t.Fatal(err)
	}
	return body
}

// TestServe_ProtocolsMeet publishes by each protocol what the other receives.
func TestServe_ProtocolsMeet(t *testing.T) {
	r := startServe(t, t.TempDir())
	ch, err := r.dial(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("q", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind("q", "sensors.#", "amq.topic", false, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"mqtt", "ws"} {
		conn := r.dialMQTT(t, name)
		if ack := exchange(t, conn, mqttLogin); ack[1] != 0 {
			t.Fatalf("%s: CONNACK % x", name, ack)
		}
		if ack := exchange(t, conn, mqttPublish); len(ack) != 2 {
			t.Fatalf("%s: PUBACK % x", name, ack)
		}
		d, ok, err := ch.Get("q", true)
		if err != nil || !ok || d.RoutingKey != "sensors.kettle" || string(d.Body) != "hot" || d.DeliveryMode != amqp.Persistent {
			t.Fatalf("%s: %t %v %+v", name, ok, err, d)
		}
		exchange(t, conn, mqttSubscribe)
		if err := ch.PublishWithContext(t.Context(), "amq.topic", "sensors.lamp", false, false, amqp.Publishing{Body: []byte("on")}); err != nil {
			t.Fatal(err)
		}
		if got := exchange(t, conn); !strings.Contains(string(got), "sensors/lamp") || !strings.HasSuffix(string(got), "on") {
			t.Errorf("%s: PUBLISH %q", name, got)
		}
		_ = conn.Close()
		if _, err := ch.QueuePurge("q", false); err != nil {
			t.Fatal(err)
		}
	}
	if _, metrics := r.get(t, "/metrics"); !strings.Contains(metrics, "\nrabbitmq_global_messages_received_total{protocol=\"amqp091\"} 2\n") ||
		!strings.Contains(metrics, "\nrabbitmq_global_messages_received_total{protocol=\"mqtt\"} 2\n") {
		t.Error("the metrics do not count both protocols")
	}
	conn := r.dialMQTT(t, "mqtt")
	exchange(t, conn, mqttLogin)
	r.stop()
	if d := exchange(t, conn); d[0] != 0x8B {
		t.Errorf("goodbye % x", d)
	}
	if code := r.exit(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}

func TestServe_MQTTAnonymous(t *testing.T) {
	for _, anonymous := range []bool{false, true} {
		r := startServe(t, t.TempDir(), fmt.Sprintf("--mqtt-anonymous=%t", anonymous))
		want := byte(0x86)
		if anonymous {
			want = 0
		}
		if ack := exchange(t, r.dialMQTT(t, "mqtt"), mqttAnonymous); ack[1] != want {
			t.Errorf("anonymous %t: CONNACK % x", anonymous, ack)
		}
	}
}

// TestServe_SessionLimits fills the session of a client that is away: the next
// message is refused, and counted.
func TestServe_SessionLimits(t *testing.T) {
	file := writeFile(t, "baton.yaml", "mqtt: {session_max_messages: 2, session_max_bytes: 1KiB, session_overflow: refuse-new}\n")
	r := startServe(t, t.TempDir(), "--config", file)
	away := r.dialMQTT(t, "mqtt")
	exchange(t, away, []byte("\x10\x21\x00\x04MQTT\x05\xc0\x00\x00\x05\x11\x00\x00\x0e\x10\x00\x01a\x00\x05guest\x00\x05guest"))
	exchange(t, away, mqttSubscribe)
	_ = away.Close()
	conn := r.dialMQTT(t, "mqtt")
	exchange(t, conn, mqttLogin)
	for i, want := range []byte{0, 0, 0x97} {
		ack := exchange(t, conn, mqttPublish)
		if len(ack) == 2 {
			ack = append(ack, 0)
		}
		if ack[2] != want {
			t.Errorf("message %d: PUBACK % x", i+1, ack)
		}
	}
	if _, metrics := r.get(t, "/metrics"); !strings.Contains(metrics, "\nbaton_messages_overflowed_total 1\n") {
		t.Error("the metrics do not count what was refused")
	}
}
