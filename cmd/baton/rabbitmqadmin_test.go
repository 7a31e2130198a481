package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Under the name rabbitmqadmin the program does what test suites ask of that.
func TestRabbitmqadmin(t *testing.T) {
	b := startAdminBroker(t)
	file := filepath.Join(t.TempDir(), "definitions.json")
	host, port, _ := strings.Cut(strings.TrimPrefix(b.url, "http://"), ":")
	login := []string{"--host", host, "--port", port, "-u", "adm", "-p", "adm-pw"}
	for _, step := range []struct {
		args string // separated by |
		code exitCode
		want string // all of standard output, or a part of the error
	}{
		{"declare|vhost|name=v", 0, "vhost declared\n"},
		{"-V|v|declare|permission|user=adm|configure=.*|write=.*|read=.*", 0, "permission declared\n"},
		{"declare|permission|vhost=v|user=adm|configure=.*|write=.*", 1, `mandatory argument "read" required`},
		{"-V|v|declare|exchange|name=x|type=topic|durable=True", 0, "exchange declared\n"},
		{"-V|v|declare|exchange|name=y", 1, `mandatory argument "type" required`},
		{`-V|v|declare|queue|name=q|arguments={"x-max-length": 5}`, 0, "queue declared\n"},
		{"-V|v|declare|queue|name=p|arguments={", 1, `arguments: "{" is no JSON`},
		{"-V|v|declare|queue|name=p|durable=maybe", 1, `durable: "maybe" is no JSON`},
		{"-V|v|declare|binding|source=x|destination=q|routing_key=k.#", 0, "binding declared\n"},
		{"-V|v|declare|binding|source=x|destination=amq.fanout|destination_type=exchange", 0, "binding declared\n"},
		{"declare|user|name=u|password=pw|tags=management", 0, "user declared\n"},
		{`declare|policy|vhost=v|name=p|pattern=^q|definition={"max-length":7}|apply-to=queues|priority=3`, 0, "policy declared\n"},
		{`declare|operator_policy|vhost=v|name=p|pattern=^q|definition={"max-length":7}`, 0, "operator_policy declared\n"},
		{`declare|parameter|vhost=v|component=own|name=n|value={"a":1}`, 0, "parameter declared\n"},
		{"declare|vhost_limit|vhost=v|name=max-queues|value=9", 0, "vhost_limit declared\n"},
		{"declare|cat|name=c", 1, `do not know how to declare "cat"`},
		{"declare|queue|q", 1, `argument "q" not in the format name=value`},
		{"-V|v|publish|exchange=x|routing_key=k.a|payload=hello", 0, "Message published\n"},
		{"-V|v|publish|exchange=x|routing_key=other|payload=hello", 0, "Message published but NOT routed\n"},
		{"-V|v|-f|tsv|-q|get|queue=q|ackmode=ack_requeue_false", 0, "k.a\tx\t0\thello\t5\tstring\tfalse\n"},
		{"-V|v|-f|tsv|list|queues|name|vhost|policy", 0, "name\tvhost\tpolicy\nq\tv\tp\n"},
		{"-V|v|-f|bash|list|queues", 0, "q\n"},
		{"-V|v|-f|kvp|list|queues", 1, "--format kvp"},
		{"-V|v|-f|tsv|-q|list|bindings|source|destination|routing_key|-S|destination", 0, "x\tamq.fanout\t\n\tq\tq\nx\tq\tk.#\n"},
		{"-f|tsv|-q|list|users", 0, "adm\t[\"administrator\"]\nu\t[\"management\"]\n"},
		{"-f|raw_json|-V|v|list|policies", 0, `[{"apply-to":"queues","definition":{"max-length":7},"name":"p","pattern":"^q","priority":3,"vhost":"v"}]` + "\n"},
		{"list|vhosts", 0, "name\n/\nv\n"},
		{"-f|tsv|-q|show|overview|cluster_name", 0, "node-a\n"},
		{"-V|v|purge|queue|name=q", 0, "queue purged\n"},
		{"close|connection|name=nobody", 1, "Not Found"},
		{"export|" + file, 0, "definitions are in " + file + "\n"},
		{"-V|v|delete|queue|name=q", 0, "queue deleted\n"},
		{"import|" + file, 0, "definitions of " + file + " are imported\n"},
		{"-V|v|delete|binding|source=x|destination_type=queue|destination=q|properties_key=k.%23", 0, "binding deleted\n"},
		{"-q|-V|v|delete|exchange|name=x", 0, ""},
		{"delete|user|name=u", 0, "user deleted\n"},
		{"delete|vhost|name=v", 0, "vhost deleted\n"},
		{"delete|vhost|name=v", 1, "Not Found"},
		{"dance", 1, "not among what Baton understands of rabbitmqadmin"},
	} {
		code, stdout, stderr := runTool(t, nil, "/usr/local/bin/rabbitmqadmin", append(login, strings.Split(step.args, "|")...)...)
		if code != step.code || code == 0 && stdout != step.want || code != 0 && !strings.Contains(stderr, step.want) {
			t.Errorf("%s: %d, %q, %q; want %d, %q", step.args, code, stdout, stderr, step.code, step.want)
		}
	}
	if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), `"x-max-length": 5`) {
		t.Errorf("%s, %v", text, err)
	}
	// Without a host nobody need log in.
	if code, stdout, stderr := runTool(t, []string{"BATON_ADMIN_SOCKET=" + b.socket}, "rabbitmqadmin", "declare", "vhost", "name=w"); code != exitOK || !b.HasVHost("w") {
		t.Errorf("%d %s %s", code, stdout, stderr)
	}
}
