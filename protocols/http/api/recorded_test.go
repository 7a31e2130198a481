package api

import (
	"bufio"
	"encoding/json"
	"net"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

// untold is what RabbitMQ tells and Baton does not, and why. A name stands for
// what is below it, too.
var untold = []struct{ path, name, why string }{
	{"*", "garbage_collection", "there is no collector of one connection's own"},
	{"*", "reductions", "work is not counted in steps"},
	{"*", "contexts[].cowboy_opts", "options of another web server"},
	{"/api/overview", "message_stats.disk_reads", "reads of messages are not counted"},
	{"/api/overview", "message_stats.disk_writes", "one write of the journal is many messages"},
	{"/api/nodes/{node}", "queue_index_", "there is no index of each queue"},
	{"/api/nodes/{node}", "io_read_", "reads are not counted"},
	{"/api/nodes/{node}", "io_seek_", "nothing seeks"},
	{"/api/nodes/{node}", "io_reopen_", "files are not opened again"},
	{"/api/nodes/{node}", "io_write_avg_time", "a write is timed together with its flush: io_sync_avg_time"},
	{"/api/nodes/{node}", "io_sync_avg_time_details", "the rate of an average says nothing"},
	{"/api/nodes/{node}", "mnesia_", "there is no such database"},
	{"/api/nodes/{node}", "msg_store_", "there is no such store"},
	{"/api/nodes/{node}", "metrics_gc_queue_length", "there is no such queue"},
	{"/api/nodes/{node}", "net_ticktime", "nodes do not speak to each other"},
	{"/api/nodes/{node}", "ra_open_file_metrics", "there is no such log"},
	{"/api/nodes/{node}/memory", "memory.", "parts of the heap are not told apart by what they are for"},
	{"/api/nodes/{node}/memory/relative", "memory.", "likewise"},
}

// TestFieldsOfRabbitMQ compares answers with the names and types that RabbitMQ
// 3.10.8 was recorded with, having one connection with two channels.
func TestFieldsOfRabbitMQ(t *testing.T) {
	f := newFixture(t)
	f.serveEverything(t)
	excused := map[int]bool{}
	answers := map[string]any{}
	file, err := os.Open("testdata/rabbitmq-3.10-live.txt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = file.Close() })
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		path, rest, _ := strings.Cut(lines.Text(), " ")
		name, kind, ok := strings.Cut(rest, " ")
		if !ok {
			t.Fatalf("not a line of the recording: %q", lines.Text())
		}
		answer, asked := answers[path]
		if !asked {
			w := f.as(t, "adm", "GET", strings.ReplaceAll(path, "{node}", "node-a"), "")
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != 200 {
				t.Fatalf("%s: %d %s", path, w.Code, w.Body)
			}
			answers[path] = answer
		}
		got, told := valueAt(answer, name)
		if told {
			if k := typeOf(got); k != kind && k != "null" && kind != "null" {
				t.Errorf("%s: %s is a %s, and RabbitMQ's a %s", path, name, k, kind)
			}
			continue
		}
		i := slices.IndexFunc(untold, func(u struct{ path, name, why string }) bool {
			return (u.path == "*" || u.path == path) && strings.HasPrefix(name, u.name)
		})
		if i < 0 {
			t.Errorf("%s: no %s", path, name)
			continue
		}
		excused[i] = true
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	for i, u := range untold {
		if !excused[i] {
			t.Errorf("%s %s is told, or not RabbitMQ's", u.path, u.name)
		}
	}
}

// serveEverything has the fixture know all there is to know.
func (f *fixture) serveEverything(t *testing.T) {
	t.Helper()
	f.open = []Listener{{Protocol: "http", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 15672}}}
	f.primary.Listeners = []Listener{
		{Protocol: "amqp", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5672}},
		{Protocol: "mqtt/ssl", Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8883}, TLS: true},
	}
	f.facts = NodeFacts{Groups: 4, GroupSeconds: 0.1, MemoryUsed: 7}
	f.attach(t, core.ConnectionInfo{Name: "a", User: "mgt", VHost: "v1", Channels: 2, ClientName: "x", AuthMechanism: "PLAIN"})
}

// valueAt follows a name whose levels have dots between them, and [] after those
// that are lists.
func valueAt(v any, name string) (any, bool) {
	for key := range strings.SplitSeq(name, ".") {
		if l, ok := v.([]any); ok && len(l) > 0 {
			v = l[0]
		}
		key, isList := strings.CutSuffix(key, "[]")
		m, _ := v.(map[string]any)
		var ok bool
		if v, ok = m[key]; !ok {
			return nil, false
		}
		if l, is := v.([]any); isList && is && len(l) == 0 {
			return nil, false
		}
	}
	return v, true
}

func typeOf(v any) string {
	switch v.(type) {
	case bool:
		return "boolean"
	case float64:
		return "number"
	case string:
		return "string"
	case []any:
		return "list"
	case nil:
		return "null"
	}
	return "object"
}
