package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	admin "github.com/batonmq/baton/protocols/http"
)

// runTool runs the program under another name.
func runTool(t *testing.T, env []string, name string, args ...string) (code exitCode, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	p := program{name: name, args: args, env: env, stdout: &out, stderr: &errs}
	code = p.run(t.Context())
	return code, out.String(), errs.String()
}

// Under the name of one of RabbitMQ's tools the program understands its words, and
// exits with its codes.
func TestRabbitTool(t *testing.T) {
	b := startAdminBroker(t)
	env := []string{"BATON_ADMIN_SOCKET=" + b.socket}
	const ctl, diagnostics, plugins = "/usr/sbin/rabbitmqctl", "rabbitmq-diagnostics.exe", "rabbitmq-plugins"
	for _, step := range []struct {
		name, args string
		code       exitCode
		want       string // all of standard output, or a part of the error
	}{
		{ctl, "ping", 0, "Ping succeeded\n"},
		{ctl, "await_startup -t 5", 0, ""},
		{ctl, "-q set_vm_memory_high_watermark 0.0001", 0, ""},
		{diagnostics, "check_local_alarms", 69, "There are alarms in effect on the node"},
		{ctl, "set_vm_memory_high_watermark 0.4", 0, "Setting memory threshold to 0.4 ...\n"},
		{diagnostics, "check_local_alarms -q", 0, "No alarm is set.\n"},
		{ctl, "set_vm_memory_high_watermark absolute 2MB", 0, "Setting memory threshold to 2MB ...\n"},
		{diagnostics, "check_local_alarms", 69, "alarms in effect"},
		{ctl, "-s set_vm_memory_high_watermark absolute 2G", 0, ""},
		{ctl, "set_vm_memory_high_watermark 1.5", 64, "is no fraction"},
		{ctl, "set_vm_memory_high_watermark NaN", 64, "is no fraction"},
		{ctl, "set_vm_memory_high_watermark absolute 2TiB", 64, "is no size"},
		{ctl, "set_vm_memory_high_watermark", 64, "accepts between 1 and 2 arg(s)"},
		{ctl, "set_vm_memory_high_watermark relative 1", 64, "give a fraction"},
		{ctl, "list_vhosts", 0, "Listing vhosts ...\nname\n/\n"},
		{ctl, "list_users -q", 0, "name\ttags\nadm\t[\"administrator\"]\n"},
		{ctl, "-s list_users name", 0, "adm\n"},
		{ctl, "list_users name --formatter json", 0, "[\n  {\n    \"name\": \"adm\"\n  }\n]\n"},
		{ctl, "list_users --formatter csv", 64, "Baton prints table and json"},
		{ctl, "rename_user x y", 64, "see `baton user --help`"},
		{ctl, "add_user x y", 0, "Adding user \"x\" ...\n"},
		{ctl, "add_user x z", 69, "user \"x\" already exists"},
		{ctl, "-q set_user_tags x management own", 0, ""},
		{ctl, "-q change_password x z", 0, ""},
		{ctl, "-q change_password nobody z", 69, "user \"nobody\" does not exist"},
		{ctl, "-s list_users", 0, "adm\t[\"administrator\"]\nx\t[\"management\",\"own\"]\n"},
		{ctl, "add_vhost v", 0, "Adding vhost \"v\" ...\n"},
		{ctl, "-q set_permissions -p v x .* ^w r$", 0, ""},
		{ctl, "-s list_permissions -p v", 0, "x\t.*\t^w\tr$\n"},
		{ctl, "-q set_topic_permissions -p v x amq.topic a b", 0, ""},
		{ctl, "-q clear_permissions -p v x", 0, ""},
		{ctl, `-q set_policy -p v --priority 3 --apply-to queues p ^q {"max-length":5}`, 0, ""},
		{ctl, "-s list_policies -p v", 0, "v\tp\t^q\tqueues\t{\"max-length\":5}\t3\n"},
		{ctl, "set_policy p ^q nope", 64, "is no JSON"},
		{ctl, "set_policy --priority x p ^q {}", 64, "is no number"},
		{ctl, "-q clear_policy -p v p", 0, ""},
		{ctl, `-q set_operator_policy -p v o ^q {"max-length":5}`, 0, ""},
		{ctl, "-q clear_operator_policy -p v o", 0, ""},
		{ctl, `-q set_parameter -p v own n {"a":1}`, 0, ""},
		{ctl, "-s list_parameters name value", 0, "n\t{\"a\":1}\n"},
		{ctl, "-q clear_parameter -p v own n", 0, ""},
		{ctl, "-q set_global_parameter g 1", 0, ""},
		{ctl, "-s list_global_parameters", 0, "g\t1\n"},
		{ctl, "-q clear_global_parameter g", 0, ""},
		{ctl, `-q set_vhost_limits -p v {"max-queues":7}`, 0, ""},
		{ctl, "-s list_vhost_limits -p v", 0, "v\t{\"max-queues\":7}\n"},
		{ctl, "-s list_exchanges -p v name type", 0, "\tdirect\namq.direct\tdirect\namq.fanout\tfanout\namq.headers\theaders\namq.match\theaders\namq.rabbitmq.trace\ttopic\namq.topic\ttopic\n"},
		{ctl, "list_queues -p v", 0, "Listing queues ...\nname\tmessages\n"},
		{ctl, "-s list_queues -p nope", 69, "Not Found"},
		{ctl, "-s list_bindings -p v", 0, ""},
		{ctl, "-s list_channels", 0, ""},
		{ctl, "-s list_consumers -p v", 0, ""},
		{ctl, "enable_feature_flag all", 0, ""},
		{ctl, "-q enable_feature_flag quorum_queue", 0, ""},
		{ctl, "-q delete_vhost v", 0, ""},
		{ctl, "-q delete_user x", 0, ""},
		{ctl, "cluster_status -q", 0, "Basics\n\nCluster name: node-a\n\nDisk Nodes\n\nnode-a\n\nRunning Nodes\n\nnode-a\n\nAlarms\n\n-\n\nNetwork Partitions\n\n(none)\n"},
		{ctl, "set_cluster_name pair", 0, "Setting cluster name to pair ...\n"},
		{ctl, "cluster_status -q", 0, "Basics\n\nCluster name: pair\n\nDisk Nodes\n\nnode-a\n\nRunning Nodes\n\nnode-a\n\nAlarms\n\n-\n\nNetwork Partitions\n\n(none)\n"},
		{ctl, "node_health_check", 0, "The broker serves clients.\n"},
		{ctl, "wait /run/pid -t 5", 0, ""},
		{diagnostics, "check_port_listener 1", 69, "Error: No active listener\n"},
		{diagnostics, "check_port_listener x", 69, "Invalid port"},
		{diagnostics, "check_protocol_listener http", 0, "A listener of http is open.\n"},
		{diagnostics, "check_protocol_listener amqp", 69, "Error: No active listener\n"},
		{diagnostics, "check_virtual_hosts", 0, "All virtual hosts are served.\n"},
		{diagnostics, "check_alarms --formatter json", 0, "{\n  \"result\": \"ok\"\n}\n"},
		{diagnostics, "check_certificate_expiration --within 2 --unit months", 0, "No certificate expires within 2 months.\n"},
		{diagnostics, "check_certificate_expiration --unit moons", 69, "Time unit not recognised"},
		{diagnostics, "check_if_node_is_quorum_critical", 0, "The service would not end with this node.\n"},
		{diagnostics, "is_booting", 0, "The broker is not booting.\n"},
		{diagnostics, "alarms", 0, "No alarm is set.\n"},
		{diagnostics, "server_version", 0, "1\n"},
		{diagnostics, "-s list_node_auth_attempt_stats", 0, "http\t0\t0\t0\n"},
		{plugins, "is_enabled rabbitmq_management rabbitmq_mqtt --offline", 0, "Plugin rabbitmq_management, rabbitmq_mqtt is enabled\n"},
		{plugins, "is_enabled rabbitmq_stomp", 69, "plugin rabbitmq_stomp is not enabled"},
		{plugins, "-q enable --offline rabbitmq_management", 0, ""},
		{plugins, "enable rabbitmq_shovel", 70, "plugin rabbitmq_shovel: Baton has nothing like it"},
		{plugins, "disable rabbitmq_shovel", 0, ""},
		{plugins, "disable rabbitmq_mqtt", 69, "cannot be disabled"},
		{plugins, "list -q -m -E _mqtt", 0, "rabbitmq_mqtt\nrabbitmq_web_mqtt\n"},
		{plugins, "list -s _mqtt", 0, "[E*] rabbitmq_mqtt " + version() + "\n[E*] rabbitmq_web_mqtt " + version() + "\n"},
		{plugins, "list (", 64, "is no pattern"},
		{ctl, "check_running", 64, "not among what Baton understands of rabbitmqctl"},
		{ctl, "--bogus", 64, "unknown flag: --bogus"},
		{diagnostics, "check_running", 0, "The broker serves clients.\n"},
		{diagnostics, "list_users", 64, "not among what Baton understands of rabbitmq-diagnostics"},
		{diagnostics, "check_port_connectivity", 0, "Successfully connected to all ports.\n"},
	} {
		code, stdout, stderr := runTool(t, env, step.name, strings.Fields(step.args)...)
		if code != step.code || code == 0 && stdout != step.want || code != 0 && !strings.Contains(stderr, step.want) {
			t.Errorf("%s %s: %d, %q, %q; want %d, %q", step.name, step.args, code, stdout, stderr, step.code, step.want)
		}
	}
	if got := b.Alarms(); got != (core.Alarms{}) {
		t.Errorf("alarms %+v", got)
	}
	if _, stdout, _ := runTool(t, env, ctl, "status"); !strings.Contains(stdout, "Node name: node-a\n") || !strings.Contains(stdout, "Alarms\n\n(none)\n") {
		t.Errorf("the status is\n%s", stdout)
	}

	b.health.Set(admin.State{Role: admin.RoleStandby, Standby: &admin.Standby{Primary: "node-b"}})
	for args, want := range map[string]string{"check_running": "standby", "await_startup -t 1": "no answer within 1 s", "status": "cannot do this now"} {
		if code, _, stderr := runTool(t, env, diagnostics, strings.Fields(args)...); code != 69 || !strings.Contains(stderr, want) {
			t.Errorf("%s at a standby: %d, %q", args, code, stderr)
		}
	}
	if code, _, stderr := runTool(t, nil, ctl, "-n", "rabbit@nobody", "ping"); code != 69 || !strings.Contains(stderr, `no broker called "nobody" answers`) {
		t.Errorf("without a broker: %d, %q", code, stderr)
	}
}
