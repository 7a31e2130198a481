package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// rabbitmqadmin is RabbitMQ's client of the HTTP API for a shell, a program in Python.
// Images without Python have this in its place: test suites declare with it what they
// need. Without --host it asks over the admin socket, where nobody need log in.

// adminObject is a kind of object: its path in the API, where names in braces are
// arguments, and what a declaration needs beside them.
type adminObject struct {
	path     string
	needs    []string
	defaults map[string]string // JSON
}

// adminObjects are what can be declared and deleted.
func adminObjects() map[string]adminObject {
	return map[string]adminObject{
		"exchange": {"/api/exchanges/{vhost}/{name}", []string{"type"}, map[string]string{"auto_delete": "false", "durable": "true", "internal": "false", "arguments": "{}"}},
		"queue":    {"/api/queues/{vhost}/{name}", nil, map[string]string{"auto_delete": "false", "durable": "true", "arguments": "{}"}},
		"binding": {
			"/api/bindings/{vhost}/e/{source}/{destination_char}/{destination}", nil,
			map[string]string{"destination_type": `"queue"`, "routing_key": `""`, "arguments": "{}"},
		},
		"vhost":           {"/api/vhosts/{name}", nil, nil},
		"user":            {"/api/users/{name}", []string{"tags"}, nil},
		"permission":      {"/api/permissions/{vhost}/{user}", []string{"configure", "write", "read"}, nil},
		"parameter":       {"/api/parameters/{component}/{vhost}/{name}", []string{"value"}, nil},
		"policy":          {"/api/policies/{vhost}/{name}", []string{"pattern", "definition"}, map[string]string{"priority": "0", "apply-to": `"all"`}},
		"operator_policy": {"/api/operator-policies/{vhost}/{name}", []string{"pattern", "definition"}, map[string]string{"priority": "0", "apply-to": `"all"`}},
		"vhost_limit":     {"/api/vhost-limits/{vhost}/{name}", []string{"value"}, nil},
		"user_limit":      {"/api/user-limits/{user}/{name}", []string{"value"}, nil},
	}
}

// adminTool is the program as rabbitmqadmin.
type adminTool struct {
	admin      adminFlags
	host, port string
	tls        bool
	vhost      string
	format     string
	quiet      bool
	sort       string
	reverse    bool
	password   string
}

func (p *program) rabbitmqadmin() *cobra.Command {
	t := &adminTool{admin: adminFlags{env: p.env}}
	root := &cobra.Command{
		Use:           "rabbitmqadmin VERB [ARGUMENT...]",
		Short:         "What Baton understands of RabbitMQ's rabbitmqadmin",
		SilenceErrors: true, SilenceUsage: true,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return t.run(cmd, args[0], args[1:])
		},
	}
	root.Long = "Verbs: list OBJECTS [COLUMN...], show overview, declare and delete OBJECT KEY=VALUE..., publish, get, purge queue,\n" +
		"close connection, export FILE, import FILE. Objects: " + strings.Join(slices.Sorted(maps.Keys(adminObjects())), ", ") + "."
	root.Args = cobra.ArbitraryArgs
	flags := root.Flags()
	flags.StringVarP(&t.host, "host", "H", "", "`host` to connect to (default the admin socket on this machine)")
	flags.StringVarP(&t.port, "port", "P", "15672", "`port` of --host")
	flags.BoolVarP(&t.tls, "ssl", "s", false, "connect to --host with TLS")
	flags.StringVar(&t.admin.ca, "ssl-ca-cert-file", "", "PEM `file` with the authorities to trust")
	flags.StringVarP(&t.vhost, "vhost", "V", "", "`name` of the virtual host (default / where one is needed)")
	flags.StringVarP(&t.admin.user, "username", "u", "", "`name` to log in with (default guest with --host)")
	flags.StringVarP(&t.password, "password", "p", "guest", "`password` of --username")
	flags.StringVarP(&t.format, "format", "f", "table", "table, tsv, bash, raw_json or pretty_json, as a `name`")
	flags.BoolVarP(&t.quiet, "quiet", "q", false, "print no head and no confirmation")
	flags.StringVarP(&t.sort, "sort", "S", "", "`column` to sort by")
	flags.BoolVarP(&t.reverse, "sort-reverse", "R", false, "sort downwards")
	return root
}

// runAdminTool exits with 1 where something is wrong, as RabbitMQ's program.
func (p *program) runAdminTool(ctx context.Context, root *cobra.Command) exitCode {
	root.SetArgs(p.args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	if err := root.ExecuteContext(ctx); err != nil {
		_, _ = fmt.Fprintln(p.stderr, "*** "+err.Error()) // nowhere to say that this failed
		return exitFailure
	}
	return exitOK
}

// isAdminTool says whether the program was called as rabbitmqadmin.
func (p *program) isAdminTool() bool {
	return strings.TrimSuffix(filepath.Base(p.name), ".exe") == "rabbitmqadmin"
}

func (t *adminTool) run(cmd *cobra.Command, verb string, args []string) error {
	if t.host != "" {
		scheme := "http"
		if t.tls {
			scheme = "https"
		}
		t.admin.url = scheme + "://" + t.host + ":" + t.port
		if t.admin.user == "" {
			t.admin.user = "guest"
		}
	}
	if t.admin.user != "" {
		t.admin.env = append(slices.Clone(t.admin.env), envAdminPassword+"="+t.password)
	}
	b, err := t.admin.broker(cmd)
	if err != nil {
		return err
	}
	defer b.http.CloseIdleConnections()
	switch verb {
	case "list", "show":
		return t.list(b, args)
	case "declare", "delete":
		return t.change(b, verb, args)
	case "publish":
		return t.publish(b, args)
	case "get":
		return t.get(b, args)
	case "purge":
		return t.end(b, args, "queue", "/api/queues/{vhost}/{name}/contents", "purged")
	case "close":
		return t.end(b, args, "connection", "/api/connections/{name}", "closed")
	case "export":
		if len(args) == 1 {
			return exportDefinitions(b, t.vhost, args[0])
		}
	case "import":
		if len(args) == 1 {
			return importDefinitionsFile(b, t.vhost, args[0])
		}
	}
	return fmt.Errorf("action %s with %q is not among what Baton understands of rabbitmqadmin (--help lists it)", verb, args)
}

// arguments reads KEY=VALUE pairs.
func (t *adminTool) arguments(args []string) (map[string]string, error) {
	given := map[string]string{"vhost": t.vhost}
	if t.vhost == "" {
		given["vhost"] = "/"
	}
	for _, arg := range args {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("argument %q not in the format name=value", arg)
		}
		given[key] = value
	}
	return given, nil
}

// adminPath puts what was given into a path, and takes it out of what was given.
func adminPath(path string, given map[string]string) (string, error) {
	elements := strings.Split(strings.TrimPrefix(path, "/"), "/")
	for i, e := range elements {
		key, ok := strings.CutPrefix(e, "{")
		if !ok {
			continue
		}
		key = strings.TrimSuffix(key, "}")
		value, ok := given[key]
		if !ok {
			return "", fmt.Errorf("mandatory argument %q required", key)
		}
		delete(given, key)
		elements[i] = value
	}
	return apiPath(elements...), nil
}

// adminValue is an argument in a body: what JSON it is, where the API wants more than a text.
func adminValue(key, text string) (json.RawMessage, error) {
	switch key {
	case "durable", "auto_delete", "internal", "tracing":
		text = strings.ToLower(text) // as Python writes them, too
		fallthrough
	case "arguments", "definition", "value", "properties", "priority", "count":
		if !json.Valid([]byte(text)) {
			return nil, fmt.Errorf("%s: %q is no JSON", key, text)
		}
		return json.RawMessage(text), nil
	}
	return json.Marshal(text) //nolint:wrapcheck // a text can be written
}

// change declares or deletes an object.
func (t *adminTool) change(b *broker, verb string, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("%s what?", verb)
	}
	o, ok := adminObjects()[args[0]]
	if !ok {
		return fmt.Errorf("do not know how to %s %q", verb, args[0])
	}
	given, err := t.arguments(args[1:])
	if err != nil {
		return err
	}
	method, path := http.MethodPut, o.path
	if args[0] == "binding" {
		method, given["destination_char"] = http.MethodPost, "q"
		if given["destination_type"] == "exchange" {
			given["destination_char"] = "e"
		}
		if verb == "delete" {
			path += "/{properties_key}"
		}
	}
	if path, err = adminPath(path, given); err != nil {
		return err
	}
	if verb == "delete" {
		if err := b.del(path, nil); err != nil {
			return err
		}
		return t.say(b, "%s deleted", args[0])
	}
	body, err := o.body(given)
	if err != nil {
		return err
	}
	if err := b.do(method, path, body, nil, nil); err != nil {
		return err
	}
	return t.say(b, "%s declared", args[0])
}

// body is what a declaration says beside its path.
func (o *adminObject) body(given map[string]string) (map[string]json.RawMessage, error) {
	body := map[string]json.RawMessage{}
	for key, value := range o.defaults {
		body[key] = json.RawMessage(value)
	}
	delete(given, "vhost")
	for key, value := range given {
		var err error
		if body[key], err = adminValue(key, value); err != nil {
			return nil, err
		}
	}
	for _, key := range o.needs {
		if body[key] == nil {
			return nil, fmt.Errorf("mandatory argument %q required", key)
		}
	}
	return body, nil
}

// end purges a queue, or closes a connection.
func (t *adminTool) end(b *broker, args []string, kind, path, ended string) error {
	if len(args) == 0 || args[0] != kind {
		return fmt.Errorf("a %s is what can be %s", kind, ended)
	}
	given, err := t.arguments(args[1:])
	if err != nil {
		return err
	}
	if path, err = adminPath(path, given); err != nil {
		return err
	}
	if err := b.del(path, nil); err != nil {
		return err
	}
	return t.say(b, "%s %s", kind, ended)
}

func (t *adminTool) publish(b *broker, args []string) error {
	given, err := t.arguments(args)
	if err != nil {
		return err
	}
	if _, ok := given["exchange"]; !ok {
		given["exchange"] = "amq.default"
	}
	path, err := adminPath("/api/exchanges/{vhost}/{exchange}/publish", given)
	if err != nil {
		return err
	}
	if _, ok := given["payload"]; !ok {
		text, err := io.ReadAll(b.cmd.InOrStdin())
		if err != nil {
			return fmt.Errorf("read the payload: %w", err)
		}
		given["payload"] = string(text)
	}
	o := adminObject{needs: []string{"routing_key"}, defaults: map[string]string{"properties": "{}", "payload_encoding": `"string"`}}
	body, err := o.body(given)
	if err != nil {
		return err
	}
	var answer struct {
		Routed bool `json:"routed"`
	}
	if err := b.do(http.MethodPost, path, body, &answer, nil); err != nil {
		return err
	}
	if !answer.Routed {
		return t.say(b, "Message published but NOT routed")
	}
	return t.say(b, "Message published")
}

func (t *adminTool) get(b *broker, args []string) error {
	given, err := t.arguments(args)
	if err != nil {
		return err
	}
	path, err := adminPath("/api/queues/{vhost}/{queue}/get", given)
	if err != nil {
		return err
	}
	o := adminObject{defaults: map[string]string{"count": "1", "ackmode": `"ack_requeue_true"`, "encoding": `"auto"`}}
	body, err := o.body(given)
	if err != nil {
		return err
	}
	var rows []map[string]json.RawMessage
	if err := b.do(http.MethodPost, path, body, &rows, nil); err != nil {
		return err
	}
	return t.print(b, rows, []string{"routing_key", "exchange", "message_count", "payload", "payload_bytes", "payload_encoding", "redelivered"})
}

// list prints a list of the API, or the overview as one row.
func (t *adminTool) list(b *broker, args []string) error {
	if len(args) == 0 {
		return errors.New("list what?")
	}
	path := apiPath("api", strings.ReplaceAll(args[0], "_", "-"))
	switch args[0] {
	case "queues", "exchanges", "bindings", "policies", "consumers":
		if t.vhost != "" {
			path = apiPath("api", args[0], t.vhost)
		}
	}
	if t.sort != "" {
		path += fmt.Sprintf("?sort=%s&sort_reverse=%t", t.sort, t.reverse)
	}
	var text json.RawMessage
	if err := b.get(path, &text); err != nil {
		return err
	}
	var rows []map[string]json.RawMessage
	if json.Unmarshal(text, &rows) != nil {
		row := map[string]json.RawMessage{}
		if err := json.Unmarshal(text, &row); err != nil {
			return fmt.Errorf("%s is no broker's admin address: %w", b.where, err)
		}
		rows = []map[string]json.RawMessage{row}
	}
	columns := args[1:]
	if len(columns) == 0 {
		columns = adminColumns(args[0])
	}
	return t.print(b, rows, columns)
}

// adminColumns are what a list shows where nothing else is asked for.
func adminColumns(what string) []string {
	switch what {
	case "queues":
		return []string{"name", "messages"}
	case "exchanges":
		return []string{"name", "type"}
	case "bindings":
		return []string{"source", "destination", "routing_key"}
	case "connections":
		return []string{"name", "user", "channels"}
	case "users":
		return []string{"name", "tags"}
	case "permissions":
		return []string{"vhost", "user", "configure", "write", "read"}
	case "policies", "operator_policies":
		return []string{"vhost", "name", "pattern", "apply-to", "definition", "priority"}
	case "parameters":
		return []string{"vhost", "component", "name", "value"}
	case "overview":
		return []string{"rabbitmq_version", "cluster_name", "object_totals", "queue_totals"}
	case "consumers":
		return []string{"consumer_tag", "queue.name", "channel_details.name"}
	}
	return []string{"name"}
}

func (t *adminTool) say(b *broker, format string, args ...any) error {
	if t.quiet {
		return nil
	}
	return printOut(b.cmd, fmt.Sprintf(format, args...)+"\n")
}

// print shows rows in the format that was asked for.
func (t *adminTool) print(b *broker, rows []map[string]json.RawMessage, columns []string) error {
	switch t.format {
	case "raw_json", "pretty_json":
		text, err := json.Marshal(rows)
		if err == nil && t.format == "pretty_json" {
			var pretty bytes.Buffer
			err = json.Indent(&pretty, text, "", "  ")
			text = pretty.Bytes()
		}
		if err != nil {
			return fmt.Errorf("encode the list: %w", err)
		}
		return printOut(b.cmd, string(text)+"\n")
	case "bash":
		names := make([]string, len(rows))
		for i, row := range rows {
			names[i] = cellText(row["name"])
		}
		return printOut(b.cmd, strings.Join(names, " ")+"\n")
	case "tsv":
		var s strings.Builder
		if !t.quiet {
			s.WriteString(strings.Join(columns, "\t") + "\n")
		}
		for _, row := range rows {
			s.WriteString(strings.Join(adminCells(row, columns), "\t") + "\n")
		}
		return printOut(b.cmd, s.String())
	case "table":
		table := newTable(columns...)
		for _, row := range rows {
			table.row(adminCells(row, columns)...)
		}
		return printOut(b.cmd, table.String())
	}
	return fmt.Errorf("--format %s: Baton prints table, tsv, bash, raw_json and pretty_json", t.format)
}

func adminCells(row map[string]json.RawMessage, columns []string) []string {
	cells := make([]string, len(columns))
	for i, name := range columns {
		v, inner, nested := strings.Cut(name, ".")
		cell := row[v]
		if nested {
			var in map[string]json.RawMessage
			_ = json.Unmarshal(cell, &in) // what has nothing in it shows nothing
			cell = in[inner]
		}
		cells[i] = cellText(cell)
	}
	return cells
}
