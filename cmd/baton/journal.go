package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/persistence"
)

func (p *program) journalCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "journal",
		Short: "Verify a data directory, or rebuild its index",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(journalVerifyCommand(), journalRebuildCommand())
	return cmd
}

func journalVerifyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify DATA",
		Short: "Read a data directory's journal and indexes, and tell what is damaged",
		Long: "Read everything that is history in the data directory DATA, verify every checksum, and hold every index against the journal:\n" +
			"each entry must point to the record of that queue and place. Nothing is changed, and a broker may be running; the index that it\n" +
			"uses is left out then, and so is what it writes meanwhile. Indexes are copied to the system's temporary directory to be read.\n\n" +
			"The exit code is 0 when nothing is damaged, else 1. Every damaged place is printed with its file, the offset in it, what it held,\n" +
			"and what a start makes of it.",
		Args: cobra.ExactArgs(1),
	}
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opt, err := inspectStore(cmd, args[0])
		if err != nil {
			return err
		}
		found, err := persistence.Verify(cmd.Context(), persistence.VerifyOptions{
			Dir: opt.Dir, StoreID: opt.StoreID, Source: *opt.Source, Logger: opt.Logger,
		})
		if err != nil {
			return err
		}
		if *asJSON {
			b, err := json.MarshalIndent(found, "", "  ")
			if err != nil {
				return fmt.Errorf("encode what was found: %w", err)
			}
			err = printOut(cmd, string(b)+"\n")
			return errors.Join(err, damageFound(opt.Dir, found))
		}
		return errors.Join(printOut(cmd, verifiedText(found)), damageFound(opt.Dir, found))
	}
	return cmd
}

func damageFound(dir string, v *persistence.Verified) error {
	if v.Sound() {
		return nil
	}
	return &exitError{exitFailure, fmt.Errorf("%d damaged places in %s", len(v.Damage), dir)}
}

// verifiedText is what was found as a person reads it.
func verifiedText(v *persistence.Verified) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprintln(w, "segment\tgroups\trecords\tbytes\t") // a strings.Builder takes everything
	for _, s := range v.Segments {
		_, _ = fmt.Fprintf(w, "%s\t%d\t%d\t%d\t\n", s.File, s.Groups, s.Records, s.Bytes)
	}
	_, _ = fmt.Fprintf(w, "%d segments\t%d\t%d\t%d\t\n", len(v.Segments), v.Groups, v.Records, v.Bytes)
	_ = w.Flush()
	fmt.Fprintf(&b, "\n%d queues with %d messages, %d definitions\n", v.Queues, v.Messages, v.Definitions)
	for _, x := range v.Indexes {
		fmt.Fprintf(&b, "index %s: %s", x.Slot, x.State)
		if x.Position != "" {
			fmt.Fprintf(&b, " (up to %s, %d chunks of %d queues)", x.Position, x.Chunks, x.Queues)
		}
		b.WriteByte('\n')
	}
	for _, note := range v.Notes {
		fmt.Fprintf(&b, "note: %s\n", note)
	}
	for _, d := range v.Damage {
		fmt.Fprintf(&b, "DAMAGED: %s at offset %d", d.File, d.Offset)
		if d.Length > 0 {
			fmt.Fprintf(&b, ", %d bytes", d.Length)
		}
		fmt.Fprintf(&b, ", held %s: %s; %s\n", d.Held, d.Error, d.Means)
	}
	if v.Sound() {
		b.WriteString("nothing is damaged\n")
	}
	return b.String()
}

func journalRebuildCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "rebuild-index DATA",
		Short: "Make this node's index anew from the journal",
		Long: "Read the journal in the data directory DATA from its beginning and make the index that the next start on this host uses from it.\n" +
			"A start does the same by itself when its index is missing, damaged or older. No broker may be running on the directory.",
		Args: cobra.ExactArgs(1),
	}
	node := cmd.Flags().String("node", "", "the `name` given to serve with --node (default the host name)")
	salvage := cmd.Flags().Bool("salvage", false, "go on without what is damaged, and say what that is")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opt, err := inspectStore(cmd, args[0])
		if err != nil {
			return err
		}
		if opt.Node = *node; opt.Node == "" {
			if opt.Node, err = os.Hostname(); err != nil {
				return fmt.Errorf("find a name for this node: %w", err)
			}
		}
		opt.Salvage = *salvage
		if err := persistence.RebuildIndex(cmd.Context(), *opt); err != nil {
			return dirError(args[0], err)
		}
		return printOut(cmd, "the index is rebuilt\n")
	}
	return cmd
}

// inspectStore learns which store dir holds and what of it is history.
func inspectStore(cmd *cobra.Command, dir string) (*persistence.Options, error) {
	id, src, err := ha.Inspect(dir)
	if errors.Is(err, ha.ErrEmpty) {
		return nil, &exitError{exitData, fmt.Errorf("%w; name the data directory of a broker", err)}
	}
	if err != nil {
		return nil, dirError(dir, err)
	}
	history := sourceOf(src)
	return &persistence.Options{
		Dir: dir, StoreID: id, Source: &history, Logger: slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil)),
	}, nil
}
