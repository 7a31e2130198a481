package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/batonmq/baton/protocols/http/api"
)

// configReloadCommand asks a broker that runs to read its configuration again.
func configReloadCommand(env []string) *cobra.Command {
	f := &adminFlags{env: env}
	dry := false
	cmd := f.verbCommand("reload", "Have a running broker read its configuration again", cobra.NoArgs, func(b *broker, _ []string) error {
		var answer struct {
			Applied bool                `json:"applied"`
			Changes []api.SettingChange `json:"changes"`
		}
		if err := b.do(http.MethodPost, "/api/config/reload", map[string]bool{"dry_run": dry}, &answer, nil); err != nil {
			return err
		}
		if !b.asJSON && len(answer.Changes) == 0 {
			return b.say("nothing has changed")
		}
		t := newTable("SETTING", "OLD", "NEW", "FROM", "ACTS")
		waiting := 0
		for _, c := range answer.Changes {
			if c.Acts != actsNow {
				waiting++
			}
			t.row(c.Key, c.Old, c.New, c.From, actsText(c.Acts))
		}
		if err := b.print(answer, t); err != nil || b.asJSON {
			return err
		}
		said := fmt.Sprintf("%d applied", len(answer.Changes)-waiting)
		if dry {
			said = fmt.Sprintf("nothing was applied; %d would be", len(answer.Changes)-waiting)
		}
		return printOut(b.cmd, fmt.Sprintf("%s, %d wait\n", said, waiting))
	})
	cmd.Long = "Have a running broker read its configuration again, from the file, variables and flags that it was started with, and print what has\n" +
		"changed in it. What can change while it runs is in force when the command ends; the rest waits. A configuration that serve would not\n" +
		"accept changes nothing, and the command says where it is wrong. SIGHUP does the same, and says so in the log."
	cmd.Flags().BoolVar(&dry, "dry-run", false, "print what would change, and change nothing")
	f.add(cmd)
	return cmd
}

// actsText is when a change acts, for a person.
func actsText(acts string) string {
	switch acts {
	case actsAtTakeover:
		return "at the next start or takeover"
	case actsAtStart:
		return "at the next start"
	}
	return acts
}
