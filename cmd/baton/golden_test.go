package main

import (
	"encoding/binary"
	"flag"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

var writeGolden = flag.Bool("golden-store", false, "make the golden store anew instead of opening it")

// goldenStore is a data directory, without an index, that a broker of the first version of the format has written. Every later version
// opens it. It is made anew only with a new version of the format, beside the old one.
const goldenStore = "../../persistence/testdata/store-1"

// TestGoldenStore: a store that was written by this format is served, with its queues, messages, sessions and retained messages.
func TestGoldenStore(t *testing.T) {
	if *writeGolden {
		makeGoldenStore(t)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(goldenStore)); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := baton(t, nil, "journal", "verify", dir); code != exitOK {
		t.Errorf("verify: %d\n%s%s", code, out, errs)
	}
	r := startServe(t, dir)
	ch, err := r.dial(t).Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclarePassive("events", "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	var got []string
	for {
		d, ok, err := ch.Get("orders", true)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			break
		}
		got = append(got, string(d.Body))
		if d.Headers["n"] != int32(len(got)+1) || d.ContentType != "text/plain" || d.RoutingKey != "order.new" || d.Redelivered != (len(got) == 1) {
			t.Errorf("%+v", d)
		}
	}
	if want := []string{"second", "third"}; !slices.Equal(got, want) {
		t.Errorf("the queue holds %q, want %q", got, want)
	}
	conn, present := r.goldenSession(t, "golden")
	if !present {
		t.Error("the session is gone")
	}
	for _, want := range []struct{ topic, body string }{{"sensors/lamp", "on"}, {"sensors/kettle", "offline"}} {
		if p := exchange(t, conn); !strings.Contains(string(p), want.topic) || !strings.HasSuffix(string(p), want.body) {
			t.Errorf("the session got %q, want %v", p, want)
		}
	}
	other, _ := r.goldenSession(t, "other")
	exchange(t, other, mqttPacket(0x82, []byte{0, 1, 0}, mqttText("sensors/#"), []byte{1}))
	if p := exchange(t, other); !strings.Contains(string(p), "sensors/lamp") || !strings.HasSuffix(string(p), "on") {
		t.Errorf("the retained message is %q", p)
	}
}

// makeGoldenStore lets a broker write one.
func makeGoldenStore(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	r := startServe(t, dir)
	session, _ := r.goldenSession(t, "golden")
	exchange(t, session, mqttPacket(0x82, []byte{0, 1, 0}, mqttText("sensors/#"), []byte{2}))
	_ = session.Close()
	other, _ := r.goldenSession(t, "other")
	exchange(t, other, mqttPacket(0x33, mqttText("sensors/lamp"), []byte{0, 1, 0}, []byte("on")))
	exchange(t, other, mqttPacket(0x32, mqttText("sensors/kettle"), []byte{0, 2, 0}, []byte("offline")))
	r.fillGoldenQueue(t)
	r.stop()
	if code := r.exit(t); code != exitOK {
		t.Fatal(code)
	}
	if err := os.RemoveAll(goldenStore); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries { // the index can be made again, and the ballast is empty space
		if e.Name() != "store.id" && e.Name() != "ha" && e.Name() != "journal" {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.CopyFS(goldenStore, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	size := int64(0)
	err = filepath.WalkDir(goldenStore, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	if err != nil || size > 200<<10 {
		t.Errorf("the golden store takes %d bytes: %v", size, err)
	}
}

// fillGoldenQueue publishes three messages, of which the first is acknowledged and the second was delivered once.
func (r *running) fillGoldenQueue(t *testing.T) {
	t.Helper()
	conn := r.dial(t)
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.ExchangeDeclare("events", "topic", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := ch.QueueDeclare("orders", true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind("orders", "order.#", "events", false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	for i, body := range []string{"first", "second", "third"} {
		confirm, err := ch.PublishWithDeferredConfirmWithContext(t.Context(), "events", "order.new", false, false, amqp.Publishing{
			DeliveryMode: amqp.Persistent, Body: []byte(body), ContentType: "text/plain", Headers: amqp.Table{"n": int32(i + 1)},
		})
		if err != nil {
			t.Fatal(err)
		}
		if acked, err := confirm.WaitContext(t.Context()); err != nil || !acked {
			t.Fatal(acked, err)
		}
	}
	for _, ack := range []bool{true, false} {
		if _, ok, err := ch.Get("orders", ack); err != nil || !ok {
			t.Fatal(ok, err)
		}
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
}

// goldenSession connects as a client whose session does not expire, and tells whether there was one.
func (r *running) goldenSession(t *testing.T, client string) (net.Conn, bool) {
	t.Helper()
	conn := r.dialMQTT(t, "mqtt")
	ack := exchange(t, conn, mqttPacket(0x10, mqttText("MQTT"), []byte{5, 0xc0, 0, 0, 5, 0x11, 0xff, 0xff, 0xff, 0xff},
		mqttText(client), mqttText("guest"), mqttText("guest")))
	if ack[1] != 0 {
		t.Fatalf("CONNACK % x", ack)
	}
	return conn, ack[0] == 1
}

// mqttPacket is a packet of at most 127 bytes.
func mqttPacket(first byte, parts ...[]byte) []byte {
	body := slices.Concat(parts...)
	return append([]byte{first, byte(len(body))}, body...)
}

func mqttText(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}
