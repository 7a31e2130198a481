package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/persistence"
)

// handoverTimeout is how long a command waits for the successor, beside the time
// that the primary's clients have to leave.
const handoverTimeout = time.Minute

func (p *program) haCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ha",
		Short: "Look at a primary and its standbys, hand over, repair, drill",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(haStatusCommand(), haHandoverCommand(), haRepairCommand(), p.haDrillCommand())
	return cmd
}

// dataFlag adds --data with the default of serve's.
func dataFlag(cmd *cobra.Command) *string {
	for _, s := range settings() {
		if s.key == "data" {
			return cmd.Flags().String(s.flag, s.def, "the data `directory` that the brokers share")
		}
	}
	panic("no setting is called data")
}

func haStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell who is the primary of a data directory, and who could take over",
		Long: "Watch the data directory until the primary and the standbys have shown that they live, or for a ttl and a tenth.\n" +
			"Nothing is written. Exits with 0 when a primary serves, else with 1.",
		Args: cobra.NoArgs,
	}
	dir := dataFlag(cmd)
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		st, err := ha.ReadStatus(cmd.Context(), ha.Options{Dir: *dir, Node: "status"})
		if err != nil {
			return noStore(*dir, err)
		}
		out := statusText(&st)
		if *asJSON {
			if out, err = jsonText(st); err != nil {
				return err
			}
		}
		if err := printOut(cmd, out); err != nil {
			return err
		}
		if !serving(&st) {
			return &exitError{exitFailure, fmt.Errorf("no primary serves in %s", *dir)}
		}
		return nil
	}
	return cmd
}

// noStore gives the error of a command that looks at a directory its exit code.
func noStore(dir string, err error) error {
	err = dirError(dir, err)
	if codeOf(err) != exitFailure || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &exitError{exitData, err}
}

func serving(st *ha.Status) bool { return st.Alive && st.State == "serving" && !st.FenceMarked }

func jsonText(v any) (string, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the answer: %w", err)
	}
	return string(b) + "\n", nil
}

// statusText is the status as a person reads it.
func statusText(st *ha.Status) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "directory\t%s (store %s)\n", st.Dir, st.StoreID) // a strings.Builder takes everything
	if st.Epoch == 0 {
		_, _ = fmt.Fprintf(w, "primary\tnone yet\n")
	} else {
		_, _ = fmt.Fprintf(w, "primary\t%s\n", primaryText(st))
		_, _ = fmt.Fprintf(w, "lease\tttl %v, %s, lock %s\n", st.TTL, ageText(st), st.Lock)
	}
	if st.Active != 0 {
		_, _ = fmt.Fprintf(w, "history\tepoch %d, promised up to %d, after %d earlier epochs\n", st.Active, st.Promised, len(st.Lineage))
	}
	if t := st.Takeover; t != nil {
		_, _ = fmt.Fprintf(w, "last takeover\t%v (%s): stop %v, claim %v, mark %v, open %v, activate %v\n",
			round(t.Total()), t.Why, round(t.Stop), round(t.Claim), round(t.Mark), round(t.Open), round(t.Activate))
	}
	_ = w.Flush()
	b.WriteString("\n")
	_, _ = fmt.Fprintf(w, "node\trole\talive\teligible\tread up to\treached at\n")
	for i := range st.Nodes {
		p := &st.Nodes[i]
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n",
			p.Node, p.Role, yesNo(p.Alive), eligibleText(st, p), positionText(p), strings.Join(p.Advertise, " "))
	}
	_ = w.Flush()
	return b.String()
}

func primaryText(st *ha.Status) string {
	text := fmt.Sprintf("node %q (pid %d), epoch %d, %s", st.Node, st.PID, st.Epoch, st.State)
	switch {
	case st.FenceMarked:
		text += ", fenced: a successor has taken over"
	case !st.Alive && st.State != "released" && st.State != "failed":
		text += ", not alive"
	}
	return text
}

func ageText(st *ha.Status) string {
	if st.Alive {
		return fmt.Sprintf("renewed %v ago", round(st.LeaseAge))
	}
	return fmt.Sprintf("not renewed for at least %v", round(st.LeaseAge))
}

func eligibleText(st *ha.Status, p *ha.Peer) string {
	switch {
	case p.Role != ha.RoleStandby:
		return "-"
	case p.Eligible():
		text := "yes"
		if st.ConfigHash != "" && p.ConfigHash != st.ConfigHash {
			text += ", configured differently"
		}
		return text
	case !p.Alive:
		return "no: it is not alive"
	}
	return "no: " + p.Reason
}

func positionText(p *ha.Peer) string {
	if p.Role != ha.RoleStandby {
		return "-"
	}
	text := fmt.Sprintf("%d:%d", p.Position.Epoch, p.Position.Offset)
	if !p.CaughtUp {
		text += fmt.Sprintf(" (%d bytes behind, for %v)", p.BehindBytes, round(p.Behind))
	}
	return text
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// round leaves of a duration what a person reads.
func round(d time.Duration) time.Duration {
	switch {
	case d >= time.Second:
		return d.Round(10 * time.Millisecond)
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

func haHandoverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "handover",
		Short: "Have the primary hand over to a standby, in order",
		Long: "Ask the primary of the data directory to hand over, and wait until its successor serves.\n" +
			"The primary says goodbye to its clients, closes its store and stands by again. It is asked only when a standby is eligible.",
		Args: cobra.NoArgs,
	}
	dir := dataFlag(cmd)
	timeout := cmd.Flags().Duration("timeout", handoverTimeout, "how long to wait for the successor")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		ctx, cancel := context.WithTimeoutCause(cmd.Context(), *timeout, fmt.Errorf("no successor serves after %v; see baton ha status", *timeout))
		defer cancel()
		begun := time.Now()
		before, after, err := ha.Handover(ctx, ha.Options{Dir: *dir, Node: "handover"})
		if err != nil {
			return noStore(*dir, err)
		}
		return printOut(cmd, fmt.Sprintf("node %q has taken over from node %q: epoch %d after %d, asked %v ago\n",
			after.Node, before.Node, after.Epoch, before.Epoch, round(time.Since(begun))))
	}
	return cmd
}

func haRepairCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "repair",
		Short: "Find what is missing or broken below ha/ in a data directory, and make it anew",
		Long: "Find what keeps the data directory from being served because a file below ha/ is missing or broken, and say what would be done.\n" +
			"With --apply it is done: files are made anew, from the journal where that tells. Nothing is removed, and no message is touched.\n" +
			"No broker may serve the directory. A copy of the directory is always the better way back. Exits with 1 when something was found\n" +
			"that is not repaired.",
		Args: cobra.NoArgs,
	}
	dir := dataFlag(cmd)
	apply := cmd.Flags().Bool("apply", false, "carry out what is found")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		found, err := ha.Repair(cmd.Context(), ha.RepairOptions{
			Dir: *dir, Apply: *apply, Journal: journalLineage(*dir), Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)),
		})
		if err != nil {
			return noStore(*dir, err)
		}
		out := repairText(&found)
		if *asJSON {
			if out, err = jsonText(found); err != nil {
				return err
			}
		}
		return errors.Join(printOut(cmd, out), unrepaired(&found))
	}
	return cmd
}

// journalLineage asks the journal in dir what a lost active file said.
func journalLineage(dir string) func(uint64) ([16]byte, []ha.Seal, error) {
	return func(epoch uint64) ([16]byte, []ha.Seal, error) {
		store, lineage, err := persistence.LineageOf(dir, epoch)
		return store, convertSeals[ha.Seal](lineage), err
	}
}

func unrepaired(r *ha.RepairReport) error {
	switch {
	case len(r.Findings) == 0 || r.Applied:
		return nil
	case !r.Repairable():
		return &exitError{exitDamage, errors.New("not all of that can be repaired: restore the directory from a copy")}
	}
	return &exitError{exitFailure, errors.New("nothing was changed: baton ha repair --apply carries it out")}
}

func repairText(r *ha.RepairReport) string {
	if len(r.Findings) == 0 {
		return "nothing is missing or broken\n"
	}
	var b strings.Builder
	for _, f := range r.Findings {
		fmt.Fprintf(&b, "%s: %s\n", f.Path, f.Problem)
		if f.Repair == "" {
			b.WriteString("  cannot be repaired\n")
			continue
		}
		fmt.Fprintf(&b, "  repair: %s\n", f.Repair)
		if f.GivesUp != "" {
			fmt.Fprintf(&b, "  gives up: %s\n", f.GivesUp)
		}
	}
	if r.Applied {
		b.WriteString("all of that is repaired\n")
	}
	return b.String()
}
