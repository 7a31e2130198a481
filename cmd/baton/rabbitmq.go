package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// Exit codes of RabbitMQ's tools, which scripts look at.
const (
	exitToolUsage       exitCode = 64
	exitToolUnavailable exitCode = 69
	exitToolPlugins     exitCode = 70 // it does not know a plugin
)

// A rabbitTool is the program under the name of one of RabbitMQ's tools: a link to
// it called rabbitmqctl does, through the admin socket, what test suites, health
// checks and container entry points want of that tool. It is no second way to
// administrate: what it does not know, `baton` does.
type rabbitTool struct {
	name    string
	admin   adminFlags
	node    string // as RabbitMQ writes it, perhaps with a name before an @
	vhost   string
	seconds int // 0: as long as it takes
	quiet   bool
	silent  bool // also without the heads of tables
	format  string

	priority, applyTo string // of set_policy
	within            int    // of check_certificate_expiration
	unit              string
	minimal           bool // of a list of plugins
}

// defaultToolTimeout is RabbitMQ's for awaiting a start.
const defaultToolTimeout = 5 * time.Minute

// rabbitTools are the names that the program answers to.
func rabbitTools() []string {
	return []string{"rabbitmqctl", "rabbitmq-diagnostics", "rabbitmq-upgrade", "rabbitmq-plugins"}
}

// rabbitTool is the command of the tool that the program was called as; nil: of none.
func (p *program) rabbitTool() *cobra.Command {
	name := strings.TrimSuffix(filepath.Base(p.name), ".exe")
	if !slices.Contains(rabbitTools(), name) {
		return nil
	}
	t := &rabbitTool{name: name, admin: adminFlags{env: p.env}}
	root := &cobra.Command{
		Use:               name,
		Short:             "What Baton understands of RabbitMQ's " + name,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.ArbitraryArgs,
		RunE:              t.unknown,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	t.addFlags(root)
	switch name {
	case "rabbitmq-plugins":
		t.pluginFlags(root)
	case "rabbitmq-diagnostics":
		root.PersistentFlags().IntVar(&t.within, "within", 4, "`number` of units within which no certificate may expire")
		root.PersistentFlags().StringVar(&t.unit, "unit", "weeks", "days, weeks, months or years, as a `name`")
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &exitError{exitToolUsage, err} })
	for _, v := range t.verbs() {
		root.AddCommand(&cobra.Command{Use: v.use, Short: v.short, Args: toolArgs(v.args), RunE: func(cmd *cobra.Command, args []string) error {
			return t.run(cmd, v.run, args)
		}})
	}
	return root
}

func (t *rabbitTool) addFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.StringVarP(&t.node, "node", "n", "", "`name` of the broker on this machine; what is before an @ does not count (default the only one there is)")
	flags.StringVarP(&t.vhost, "vhost", "p", "/", "`name` of the virtual host")
	flags.IntVarP(&t.seconds, "timeout", "t", 0, "`seconds` to wait at most")
	flags.BoolVarP(&t.quiet, "quiet", "q", false, "print the result alone")
	flags.BoolVarP(&t.silent, "silent", "s", false, "print the result alone, tables without their heads")
	flags.BoolVar(&t.silent, "no-table-headers", false, "the same")
	flags.StringVar(&t.priority, "priority", "0", "`number` of a policy: the highest counts")
	flags.StringVar(&t.applyTo, "apply-to", "all", "`what` a policy applies to: all, queues, classic_queues, quorum_queues or exchanges")
	flags.StringVar(&t.format, "formatter", "table", "table or json, as a `name`")
}

// runTool is program.run under another name.
func (p *program) runTool(ctx context.Context, root *cobra.Command) exitCode {
	root.SetArgs(p.args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	_, _ = fmt.Fprintln(p.stderr, "Error: "+err.Error()) // nowhere to say that this failed
	e, ok := errors.AsType[*exitError](err)
	switch {
	case ok && (e.code == exitToolUsage || e.code == exitUsage):
		return exitToolUsage
	case ok && e.code == exitToolPlugins:
		return exitToolPlugins
	}
	return exitToolUnavailable
}

func toolArgs(check cobra.PositionalArgs) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if err := check(cmd, args); err != nil {
			return &exitError{exitToolUsage, err}
		}
		return nil
	}
}

// unknown says where else the verb may be found.
func (t *rabbitTool) unknown(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return cmd.Help()
	}
	try := ""
	for _, noun := range []string{"topic_permission", "permission", "user", "vhost", "connection", "limit", "policy", "queue"} {
		if strings.Contains(args[0], noun) || noun == "policy" && strings.Contains(args[0], "policies") {
			try = " " + strings.ReplaceAll(noun, "_", "-")
			break
		}
	}
	return &exitError{exitToolUsage, fmt.Errorf("%q is not among what Baton understands of %s (%s --help lists it); see `baton%s --help`",
		args[0], t.name, t.name, try)}
}

// A toolCall is one verb on its way to a broker.
type toolCall struct {
	*rabbitTool

	cmd *cobra.Command
}

func (t *rabbitTool) run(cmd *cobra.Command, verb func(*toolCall, []string) error, args []string) error {
	if t.format != "table" && t.format != "json" {
		return &exitError{exitToolUsage, fmt.Errorf("--formatter %s: Baton prints table and json", t.format)}
	}
	if t.seconds > 0 {
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), time.Duration(t.seconds)*time.Second, fmt.Errorf("no answer within %d s", t.seconds))
		defer cancel()
		cmd.SetContext(ctx)
	}
	_, node, named := strings.Cut(t.node, "@")
	if !named {
		node = t.node
	}
	t.admin.node = node
	return verb(&toolCall{t, cmd}, args)
}

// ask has f talk to the broker.
func (c *toolCall) ask(f func(*broker) error) error {
	b, err := c.admin.broker(c.cmd)
	if err != nil {
		return err
	}
	defer b.http.CloseIdleConnections()
	return f(b)
}

func (c *toolCall) get(path string, v any) error {
	return c.ask(func(b *broker) error { return b.get(path, v) })
}

// tell says what happens, unless that is not wanted.
func (c *toolCall) tell(format string, args ...any) error {
	if c.quiet || c.silent || c.format == "json" {
		return nil
	}
	_, err := fmt.Fprintf(c.cmd.OutOrStdout(), format+"\n", args...)
	return err
}

// show prints v to a script, or the text to a person.
func (c *toolCall) show(v any, text string) error {
	if c.format == "json" {
		s, err := jsonText(v)
		if err != nil {
			return err
		}
		text = s
	}
	_, err := io.WriteString(c.cmd.OutOrStdout(), text)
	return err
}
