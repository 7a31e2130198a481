package main

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// adminCommands are the commands that ask a running broker, through its admin
// socket or its admin port, to tell or to change something. Of the environment
// they read what says where the broker is, and passwords.
func adminCommands(env []string) []*cobra.Command {
	var all []*cobra.Command
	nouns := []func(*adminFlags) *cobra.Command{
		statusCommand, whyCommand,
		userCommand, vhostCommand, permissionCommand, topicPermissionCommand, limitCommand, connectionCommand, exchangeCommand, queueCommand, policyCommand, alarmCommand, maintenanceCommand, definitionsCommand, importCommand,
		func(f *adminFlags) *cobra.Command { return listConnectionsCommand(f, "connections") },
	}
	for _, l := range listings() {
		nouns = append(nouns, l.command)
	}
	for _, noun := range nouns {
		f := &adminFlags{env: env}
		cmd := noun(f)
		f.add(cmd)
		all = append(all, cmd)
	}
	return all
}

// nounCommand groups the verbs of a noun.
func nounCommand(use, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use:   use,
		Short: short,
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// An adminVerb does one thing with a broker that can be asked.
type adminVerb func(b *broker, args []string) error

// verbCommand is a command that runs a verb.
func (f *adminFlags) verbCommand(use, short string, args cobra.PositionalArgs, verb adminVerb) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			b, err := f.broker(cmd)
			if err != nil {
				return err
			}
			defer b.http.CloseIdleConnections()
			return verb(b, args)
		},
	}
}

// apiPath joins elements, which may be any text, to a path of the API.
func apiPath(elements ...string) string {
	escaped := make([]string, len(elements))
	for i, e := range elements {
		escaped[i] = url.PathEscape(e)
		if e == "." || e == ".." { // which are a path's own words, and would lead elsewhere
			escaped[i] = strings.ReplaceAll(e, ".", "%2E")
		}
	}
	return "/" + strings.Join(escaped, "/")
}

// say confirms a change.
func (b *broker) say(format string, args ...any) error {
	text := fmt.Sprintf(format, args...)
	if !b.asJSON {
		return printOut(b.cmd, text+"\n")
	}
	return b.print(struct {
		Done string `json:"done"`
	}{text}, nil)
}

// print shows v to a script, or the table to a person.
func (b *broker) print(v any, table *table) error {
	if b.asJSON {
		text, err := jsonText(v)
		if err != nil {
			return err
		}
		return printOut(b.cmd, text)
	}
	return printOut(b.cmd, table.String())
}

// A table is rows under a head.
type table struct {
	text strings.Builder
	w    *tabwriter.Writer
}

func newTable(head ...string) *table {
	t := new(table)
	t.w = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', 0)
	t.row(head...)
	return t
}

// row adds one. What a terminal would obey, and an empty text, are shown as
// quotes show them.
func (t *table) row(cells ...string) {
	for i, cell := range cells {
		if quoted := fmt.Sprintf("%q", cell); cell == "" || quoted != `"`+cell+`"` {
			cells[i] = quoted
		}
	}
	_, _ = fmt.Fprintln(t.w, strings.Join(cells, "\t")) // a strings.Builder takes everything
}

func (t *table) String() string {
	_ = t.w.Flush() // likewise
	return t.text.String()
}

// listText is a list in a cell.
func listText(texts []string) string {
	if len(texts) == 0 {
		return "-"
	}
	return strings.Join(texts, ",")
}

// limitsText is limits in a cell, in the order of their names.
func limitsText(limits map[string]int) string {
	b, err := json.Marshal(limits) // sorts
	if err != nil || len(limits) == 0 {
		return "-"
	}
	return strings.NewReplacer(`"`, "", "{", "", "}", "", ":", "=").Replace(string(b))
}
