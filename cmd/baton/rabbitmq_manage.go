package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// The verbs of RabbitMQ's control tool that look at what is declared, or change it: what
// is asked of it when containers and test suites are set up.

// listVerbs list what the API does, in the vhost of -p.
func listVerbs() []toolVerb {
	list := func(verb, path string, columns ...string) toolVerb {
		return toolVerb{verb + " [COLUMN...]", "List " + strings.ReplaceAll(strings.TrimPrefix(verb, "list_"), "_", " "), cobra.ArbitraryArgs, func(c *toolCall, args []string) error {
			if len(args) > 0 {
				columns = args
			}
			return c.list(strings.ReplaceAll(strings.TrimPrefix(verb, "list_"), "_", " "), c.vhostPath(path), columns)
		}}
	}
	return []toolVerb{
		list("list_queues", "/api/queues/{vhost}", "name", "messages"),
		list("list_exchanges", "/api/exchanges/{vhost}", "name", "type"),
		list("list_bindings", "/api/bindings/{vhost}", "source_name", "source_kind", "destination_name", "destination_kind", "routing_key", "arguments"),
		list("list_channels", "/api/channels", "name", "user", "consumer_count", "messages_unacknowledged"),
		list("list_consumers", "/api/consumers/{vhost}", "queue_name", "channel_name", "consumer_tag", "ack_required", "prefetch_count", "active", "arguments"),
		list("list_policies", "/api/policies/{vhost}", "vhost", "name", "pattern", "apply-to", "definition", "priority"),
		list("list_operator_policies", "/api/operator-policies/{vhost}", "vhost", "name", "pattern", "apply-to", "definition", "priority"),
		list("list_parameters", "/api/parameters", "component", "name", "value"),
		list("list_global_parameters", "/api/global-parameters", "name", "value"),
		list("list_permissions", "/api/vhosts/{vhost}/permissions", "user", "configure", "write", "read"),
		list("list_vhost_limits", "/api/vhost-limits/{vhost}", "vhost", "value"),
		list("list_feature_flags", "/api/feature-flags", "name", "state"),
	}
}

// vhostPath is a path of the API with the vhost of -p in it.
func (c *toolCall) vhostPath(path string) string {
	return strings.ReplaceAll(path, "{vhost}", strings.TrimPrefix(apiPath(c.vhost), "/"))
}

// columnPaths are where the API has columns that the tools call otherwise.
func columnPaths(column string) []string {
	switch column {
	case "source_name", "destination_name":
		return []string{strings.TrimSuffix(column, "_name")}
	case "destination_kind":
		return []string{"destination_type"}
	case "queue_name":
		return []string{"queue", "name"}
	case "channel_name", "channel_pid":
		return []string{"channel_details", "name"}
	}
	return []string{column}
}

// toolCell returns a row's value.
func toolCell(row map[string]json.RawMessage, name string) json.RawMessage {
	if name == "source_kind" {
		return json.RawMessage(`"exchange"`)
	}
	path := columnPaths(name)
	v := row[path[0]]
	for _, key := range path[1:] {
		var inner map[string]json.RawMessage
		if json.Unmarshal(v, &inner) != nil {
			return nil
		}
		v = inner[key]
	}
	return v
}

// changeVerbs change one thing each. Texts are those of RabbitMQ's tool.
func (t *rabbitTool) changeVerbs() []toolVerb {
	one := cobra.ExactArgs
	return []toolVerb{
		{"add_user NAME PASSWORD", "Make a user", one(2), addUser},
		{"change_password NAME PASSWORD", "Give a user another password", one(2), func(c *toolCall, args []string) error {
			return c.changeUser("Changing password for user %q ...", args[0], func(u map[string]any) {
				delete(u, "password_hash")
				delete(u, "hashing_algorithm")
				u["password"] = args[1]
			})
		}},
		{"set_user_tags NAME [TAG...]", "Give a user tags in place of those it has", cobra.MinimumNArgs(1), func(c *toolCall, args []string) error {
			return c.changeUser("Setting tags for user %q ...", args[0], func(u map[string]any) { u["tags"] = args[1:] })
		}},
		{"delete_user NAME", "Delete a user", one(1), func(c *toolCall, args []string) error {
			return c.change(http.MethodDelete, apiPath("api", "users", args[0]), nil, "Deleting user %q ...", args[0])
		}},
		{"add_vhost NAME", "Make a virtual host", one(1), func(c *toolCall, args []string) error {
			return c.change(http.MethodPut, apiPath("api", "vhosts", args[0]), struct{}{}, "Adding vhost %q ...", args[0])
		}},
		{"delete_vhost NAME", "Delete a virtual host", one(1), func(c *toolCall, args []string) error {
			return c.change(http.MethodDelete, apiPath("api", "vhosts", args[0]), nil, "Deleting vhost %q ...", args[0])
		}},
		{"set_permissions USER CONFIGURE WRITE READ", "Give a user rights in the virtual host", one(4), func(c *toolCall, args []string) error {
			body := map[string]string{"configure": args[1], "write": args[2], "read": args[3]}
			return c.change(http.MethodPut, apiPath("api", "permissions", c.vhost, args[0]), body, "Setting permissions for user %q in vhost %q ...", args[0], c.vhost)
		}},
		{"clear_permissions USER", "Take a user's rights in the virtual host away", one(1), func(c *toolCall, args []string) error {
			return c.change(http.MethodDelete, apiPath("api", "permissions", c.vhost, args[0]), nil, "Clearing permissions for user %q in vhost %q ...", args[0], c.vhost)
		}},
		{"set_topic_permissions USER EXCHANGE WRITE READ", "Narrow a user's use of a topic exchange", one(4), func(c *toolCall, args []string) error {
			body := map[string]string{"exchange": args[1], "write": args[2], "read": args[3]}
			return c.change(http.MethodPut, apiPath("api", "topic-permissions", c.vhost, args[0]), body, "Setting topic permissions on %q for user %q in vhost %q ...", args[1], args[0], c.vhost)
		}},
		{"set_policy NAME PATTERN DEFINITION", "Set a policy", one(3), func(c *toolCall, args []string) error { return c.setPolicy("policies", args) }},
		{"clear_policy NAME", "Take a policy back", one(1), func(c *toolCall, args []string) error {
			return c.change(http.MethodDelete, apiPath("api", "policies", c.vhost, args[0]), nil, "Clearing policy %q on vhost %q ...", args[0], c.vhost)
		}},
		{"set_operator_policy NAME PATTERN DEFINITION", "Set an operator policy", one(3), func(c *toolCall, args []string) error { return c.setPolicy("operator-policies", args) }},
		{"clear_operator_policy NAME", "Take an operator policy back", one(1), func(c *toolCall, args []string) error {
			return c.change(http.MethodDelete, apiPath("api", "operator-policies", c.vhost, args[0]), nil, "Clearing operator policy %q on vhost %q ...", args[0], c.vhost)
		}},
		{"set_parameter COMPONENT NAME VALUE", "Set a parameter", one(3), func(c *toolCall, args []string) error {
			value, err := jsonArgument(args[2])
			if err != nil {
				return err
			}
			return c.change(http.MethodPut, apiPath("api", "parameters", args[0], c.vhost, args[1]), map[string]any{"value": value},
				"Setting runtime parameter %q for component %q in vhost %q ...", args[1], args[0], c.vhost)
		}},
		{"clear_parameter COMPONENT NAME", "End a parameter", one(2), func(c *toolCall, args []string) error {
			return c.change(http.MethodDelete, apiPath("api", "parameters", args[0], c.vhost, args[1]), nil,
				"Clearing runtime parameter %q for component %q on vhost %q ...", args[1], args[0], c.vhost)
		}},
		{"set_global_parameter NAME VALUE", "Set a global parameter", one(2), func(c *toolCall, args []string) error {
			value, err := jsonArgument(args[1])
			if err != nil {
				return err
			}
			return c.change(http.MethodPut, apiPath("api", "global-parameters", args[0]), map[string]any{"value": value}, "Setting global runtime parameter %q ...", args[0])
		}},
		{"clear_global_parameter NAME", "End a global parameter", one(1), func(c *toolCall, args []string) error {
			return c.change(http.MethodDelete, apiPath("api", "global-parameters", args[0]), nil, "Clearing global runtime parameter %q ...", args[0])
		}},
		{"set_cluster_name NAME", "Name the cluster", one(1), func(c *toolCall, args []string) error {
			return c.change(http.MethodPut, "/api/cluster-name", map[string]string{"name": args[0]}, "Setting cluster name to %s ...", args[0])
		}},
		{"set_vhost_limits LIMITS", "Set limits of the virtual host", one(1), func(c *toolCall, args []string) error {
			value, err := jsonArgument(args[0])
			if err != nil {
				return err
			}
			return c.change(http.MethodPut, apiPath("api", "parameters", "vhost-limits", c.vhost, "limits"), map[string]any{"value": value}, "Setting vhost limits for %q ...", c.vhost)
		}},
		{"delete_queue NAME", "Delete a queue", one(1), func(c *toolCall, args []string) error {
			return c.change(http.MethodDelete, apiPath("api", "queues", c.vhost, args[0]), nil, "Deleting queue %q on vhost %q ...", args[0], c.vhost)
		}},
		{"purge_queue NAME", "Drop what waits in a queue", one(1), func(c *toolCall, args []string) error {
			return c.change(http.MethodDelete, apiPath("api", "queues", c.vhost, args[0], "contents"), nil, "Purging queue %q in vhost %q ...", args[0], c.vhost)
		}},
		{"enable_feature_flag NAME", "Do nothing: all are enabled", one(1), func(c *toolCall, args []string) error {
			if args[0] == "all" {
				return nil
			}
			return c.change(http.MethodPut, apiPath("api", "feature-flags", args[0], "enable"), struct{}{}, "Enabling feature flag %q ...", args[0])
		}},
		{"export_definitions FILE", "Write all that is declared to a file", one(1), func(c *toolCall, args []string) error {
			return c.ask(func(b *broker) error { return exportDefinitions(b, "", args[0]) })
		}},
		{"import_definitions FILE", "Make what a file of definitions says", one(1), func(c *toolCall, args []string) error {
			return c.ask(func(b *broker) error { return importDefinitionsFile(b, "", args[0]) })
		}},
	}
}

// change asks for one change, and says what is asked for.
func (c *toolCall) change(method, path string, body any, saying string, args ...any) error {
	if err := c.tell(saying, args...); err != nil {
		return err
	}
	return c.ask(func(b *broker) error { return b.do(method, path, body, nil, nil) })
}

// addUser makes a user; one that is there already keeps what it has, as in RabbitMQ.
func addUser(c *toolCall, args []string) error {
	path := apiPath("api", "users", args[0])
	switch err := c.get(path, nil); {
	case err == nil:
		return fmt.Errorf("user %q already exists", args[0])
	case !missing(err):
		return err
	}
	return c.change(http.MethodPut, path, map[string]any{"password": args[1], "tags": []string{}}, "Adding user %q ...", args[0])
}

// changeUser changes one thing of a user; the rest stays.
func (c *toolCall) changeUser(saying, name string, f func(map[string]any)) error {
	path := apiPath("api", "users", name)
	var u map[string]any
	if err := c.get(path, &u); err != nil {
		if missing(err) {
			err = fmt.Errorf("user %q does not exist", name)
		}
		return err
	}
	body := map[string]any{"tags": u["tags"], "password_hash": u["password_hash"], "hashing_algorithm": u["hashing_algorithm"]}
	f(body)
	return c.change(http.MethodPut, path, body, saying, name)
}

func (c *toolCall) setPolicy(kind string, args []string) error {
	definition, err := jsonArgument(args[2])
	if err != nil {
		return err
	}
	priority, err := strconv.Atoi(c.priority)
	if err != nil {
		return &exitError{exitToolUsage, fmt.Errorf("--priority %s is no number", c.priority)}
	}
	body := map[string]any{"pattern": args[1], "definition": definition, "priority": priority, "apply-to": c.applyTo}
	return c.change(http.MethodPut, apiPath("api", kind, c.vhost, args[0]), body,
		"Setting policy %q for pattern %q to %q with priority %q for vhost %q ...", args[0], args[1], args[2], c.priority, c.vhost)
}

func jsonArgument(text string) (json.RawMessage, error) {
	if !json.Valid([]byte(text)) {
		return nil, &exitError{exitToolUsage, fmt.Errorf("%q is no JSON", text)}
	}
	return json.RawMessage(text), nil
}

// clusterStatus is about one broker: those that stand by are not asked for anything.
func clusterStatus(c *toolCall, _ []string) error {
	var o toolOverview
	var a adminAlarms
	err := c.ask(func(b *broker) error {
		return errors.Join(b.get("/api/overview", &o), b.get("/alarms", &a))
	})
	if err != nil {
		return err
	}
	if c.format == "json" {
		return c.show(map[string]any{
			"cluster_name": o.Cluster, "disk_nodes": []string{o.Node}, "ram_nodes": []string{}, "running_nodes": []string{o.Node},
			"alarms": a.names(), "partitions": map[string]any{}, "versions": map[string]any{o.Node: map[string]string{"rabbitmq_version": o.Version}},
		}, "")
	}
	return c.show(nil, fmt.Sprintf("Basics\n\nCluster name: %s\n\nDisk Nodes\n\n%s\n\nRunning Nodes\n\n%s\n\nAlarms\n\n%s\n\nNetwork Partitions\n\n(none)\n",
		o.Cluster, o.Node, o.Node, listText(a.names())))
}
