package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/ha/storagecheck"
)

func (p *program) storageCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "storage",
		Short: "Check whether a directory can be shared by a primary and its standbys",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(storageCheckCommand())
	return cmd
}

func storageCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check DIR",
		Short: "Try out whether the file system of DIR keeps what failover needs of it",
		Long: "Try out, in the directory DIR, what a primary and its standbys do to each other: synced writes that are read elsewhere, names that\n" +
			"only one can have, locks that end with their process. With --pair the command waits for a second one on the same directory, on\n" +
			"another host, and they check what the two see of each other. What is written is removed again.\n\n" +
			"Exits with 0 when the directory can be shared, else with 5.",
		Args: cobra.ExactArgs(1),
	}
	opt := storagecheck.Options{}
	cmd.Flags().BoolVar(&opt.Pair, "pair", false, "check with a second command, on another host")
	cmd.Flags().IntVar(&opt.Rounds, "rounds", 100, "how often each thing is tried")
	cmd.Flags().DurationVar(&opt.TTL, "ha-ttl", 3*time.Second, "the ha.ttl that the brokers will have; what takes longer has failed")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opt.Dir = args[0]
		report, err := storagecheck.Run(cmd.Context(), opt)
		if err != nil {
			return noStore(opt.Dir, err)
		}
		out, err := reportText(&report, *asJSON)
		if err == nil {
			err = printOut(cmd, out)
		}
		if err == nil && !report.OK {
			err = &exitError{exitData, fmt.Errorf("%s cannot be shared: %s", opt.Dir, report.Reason())}
		}
		return err
	}
	return cmd
}

func reportText(r *storagecheck.Report, asJSON bool) (string, error) {
	if asJSON {
		return jsonText(r)
	}
	var b strings.Builder
	err := r.Write(&b)
	return b.String(), err
}

// quickRounds is how often a start tries each thing on a directory that this node
// has not checked. `baton storage check` is the thorough one.
const quickRounds = 8

// checked is what a node remembers of a directory that it found fit to be shared.
// It is checked again when it is reached by another path, or reads differently.
type checked struct {
	Dir        string    `json:"dir"`
	Host       string    `json:"host"`
	Freshness  string    `json:"freshness"`
	DoubtLocks bool      `json:"doubt_locks"`
	At         time.Time `json:"at"`
}

// checkStorage refuses a directory that a primary and its standbys cannot share,
// and tells whether its locks are to be doubted. A verdict is kept beside the
// directory's other files; one against it is not, so that what was mended counts.
func checkStorage(ctx context.Context, c *Config, log *slog.Logger) (doubtLocks bool, err error) {
	now, err := describeStorage(c.Data)
	if err != nil {
		return false, err
	}
	path := filepath.Join(c.Data, "ha", "checked", "n-"+url.PathEscape(c.Node))
	if known, ok := readChecked(path); ok && known.Dir == now.Dir && known.Host == now.Host && known.Freshness == now.Freshness {
		return known.DoubtLocks, nil
	}
	report, err := storagecheck.Run(ctx, storagecheck.Options{Dir: c.Data, Rounds: quickRounds, TTL: c.HA.TTL})
	if err != nil {
		return false, fmt.Errorf("check whether %s can be shared: %w", c.Data, err)
	}
	if !report.OK {
		return false, &exitError{exitData, fmt.Errorf("%s cannot be shared by a primary and its standbys: %s; baton storage check %s tells more: "+
			"use another file system, or serve without --ha", c.Data, report.Reason(), c.Data)}
	}
	log.Info("the directory can be shared", slog.String("data", c.Data), slog.String("reads", report.Freshness), slog.Bool("doubt_locks", report.DoubtLocks))
	now.DoubtLocks, now.At = report.DoubtLocks, time.Now().UTC()
	return now.DoubtLocks, writeChecked(path, now)
}

func describeStorage(dir string) (checked, error) {
	var now checked
	fresh, err := ha.OSFiles().Fresh(dir)
	if err == nil {
		now.Dir, err = filepath.Abs(dir)
	}
	if err == nil {
		now.Host, err = os.Hostname()
	}
	now.Freshness = fresh.String()
	return now, err
}

// readChecked returns false for a file that is not there, or cannot be made sense
// of: the check is made again.
func readChecked(path string) (c checked, ok bool) {
	b, err := os.ReadFile(path)
	return c, err == nil && json.Unmarshal(b, &c) == nil
}

func writeChecked(path string, c checked) error {
	b, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode the verdict: %w", err)
	}
	err = os.MkdirAll(filepath.Dir(path), 0o750)
	if err == nil {
		err = os.WriteFile(path, append(b, '\n'), 0o600)
	}
	if err != nil {
		return fmt.Errorf("keep the verdict: %w", err)
	}
	return nil
}
