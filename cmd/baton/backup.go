package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/persistence"
)

func (p *program) backupCommand() *cobra.Command {
	return p.copyCommand(&cobra.Command{
		Use:   "backup DATA TARGET",
		Short: "Copy the store of a data directory while a broker serves it, or not",
		Long: "Copy the store of the data directory DATA to the directory TARGET, which is made, or is empty.\n\n" +
			"The broker that serves DATA needs not be stopped, nor does it notice. The copy holds every message that was confirmed\n" +
			"before the backup began and was not acknowledged before it ended, and none that was acknowledged before it began.\n" +
			"Every checksum is verified, of what is read and of what was written; damage ends the backup with the damage exit code.\n" +
			"Deliveries count as after a crash: what was waiting may be delivered once more, marked as redelivered.",
	}, "%s holds the store of %s as of now")
}

func (p *program) restoreCommand() *cobra.Command {
	return p.copyCommand(&cobra.Command{
		Use:   "restore BACKUP DATA",
		Short: "Make a data directory from a backup",
		Long: "Copy the backup BACKUP to the directory DATA, which is made, or is empty, for serve --data DATA.\n\n" +
			"The backup stays as it is, and can be restored again. Every checksum is verified. What is made is another store than the\n" +
			"one that the backup was made of: see that no broker goes on serving that one, or messages are delivered by both.",
	}, "%s is ready to be served; it is a copy of %s")
}

// copyCommand completes a command that copies one directory's store to another, and says done when it has.
func (p *program) copyCommand(cmd *cobra.Command, done string) *cobra.Command {
	cmd.Args = cobra.ExactArgs(2)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		from, to := args[0], args[1]
		log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
		begun := time.Now()
		made, err := copyStore(cmd.Context(), from, to, log)
		if err != nil {
			return dirError(to, err)
		}
		return printOut(cmd, fmt.Sprintf("copied and verified %d journal files, %d groups, %d bytes in %v\n"+done+"\n",
			made.Segments, made.Groups, made.Bytes, time.Since(begun).Round(time.Millisecond), to, from))
	}
	return cmd
}

// takeovers bounds how often a copy begins again because another broker took over while it was being made.
const takeovers = 3

// copyStore makes to the directory of a store that goes on from the history of from's. What it leaves after an error, no broker starts on.
func copyStore(ctx context.Context, from, to string, log *slog.Logger) (persistence.Copied, error) {
	if _, err := os.Stat(from); err != nil {
		return persistence.Copied{}, fmt.Errorf("look at the store: %w", err)
	}
	if err := checkTarget(to); err != nil {
		return persistence.Copied{}, err
	}
	made, err := copyHistory(ctx, from, to, log)
	if err != nil {
		return made, errors.Join(err, clearTarget(to))
	}
	return made, nil
}

// copyHistory copies the journal, and declares the copy history only if what is history of the original was so all the time.
func copyHistory(ctx context.Context, from, to string, log *slog.Logger) (persistence.Copied, error) {
	for try := 1; ; try++ {
		id, src, err := ha.Inspect(from)
		if errors.Is(err, ha.ErrEmpty) {
			return persistence.Copied{}, &exitError{exitData, fmt.Errorf("%w; name the data directory of a broker, or a backup", err)}
		}
		if err != nil {
			return persistence.Copied{}, err
		}
		target := ha.NewStoreID()
		made, err := persistence.Copy(ctx, persistence.CopyOptions{
			Dir: from, StoreID: id, Source: sourceOf(src), Target: to, TargetID: target, Logger: log,
		})
		_, now, lookErr := ha.Inspect(from)
		switch taken := lookErr == nil && now.Epoch != src.Epoch; {
		case taken && try < takeovers:
			log.Info("another broker took over meanwhile: the copy begins again", slog.Uint64("epoch", now.Epoch))
			if err := clearTarget(to); err != nil {
				return made, err
			}
			continue
		case taken:
			return made, fmt.Errorf("copy %s: brokers took over %d times meanwhile: see that one of them serves, and try again", from, try)
		case err != nil || lookErr != nil:
			return made, errors.Join(err, lookErr)
		}
		return made, ha.Found(to, target, ha.Source{
			Epoch: made.Source.Epoch, Lineage: convertSeals[ha.Seal](made.Source.Lineage),
			HighestSegment: made.Source.Segment, Promised: made.Source.Promised, BrokerTime: made.Source.Time,
		})
	}
}

func sourceOf(src ha.Source) persistence.Source {
	return persistence.Source{
		Epoch: src.Epoch, Lineage: convertSeals[persistence.Seal](src.Lineage),
		Segment: src.HighestSegment, Promised: src.Promised, Time: src.BrokerTime,
	}
}

// checkTarget refuses a directory that holds anything: a copy is never mixed with something else.
func checkTarget(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return &exitError{exitData, fmt.Errorf("look at the target: %w", err)}
	case len(entries) > 0:
		return &exitError{exitData, fmt.Errorf("the target %s is not empty (it holds %s): choose a new directory", dir, entries[0].Name())}
	}
	return nil
}

// clearTarget removes what a copy has made in a directory that was empty.
func clearTarget(dir string) error {
	return errors.Join(os.RemoveAll(filepath.Join(dir, "journal")), os.RemoveAll(filepath.Join(dir, "ha")))
}
