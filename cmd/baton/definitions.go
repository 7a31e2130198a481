package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/http/definitions"
)

// What a start takes from a file of definitions. It is loaded before anybody can
// connect, and once: that it was is on record with its contents' hash, so that what
// administrators have changed since is not changed back by a restart or a takeover. A
// file that has changed is loaded again.

// loadedNote is where that is on record: among the parameters, but of no vhost and
// somebody's, so that it is neither listed nor exported.
func loadedNote(sum string) core.Parameter {
	return core.Parameter{Component: "baton", Name: "loaded definitions", Value: []byte(sum)}
}

// checkDefinitions says what is wrong with the file, as far as that can be known
// without what it is loaded into.
func (c *Config) checkDefinitions() error {
	if c.LoadDefinitions == "" {
		return nil
	}
	_, _, err := readDefinitions(c.LoadDefinitions)
	return err
}

// readDefinitions returns a document and the hash of its file.
func readDefinitions(file string) (d *definitions.Document, sum string, err error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, "", fmt.Errorf("load_definitions: %w", err)
	}
	if d, err = definitions.Parse(text); err != nil {
		return nil, "", fmt.Errorf("load_definitions: %s: %w", file, err)
	}
	hash := sha256.Sum256(text)
	return d, hex.EncodeToString(hash[:]), nil
}

// loadDefinitions has the broker hold what the file says, unless it was loaded. A file
// that cannot be loaded is an error, which ends the start; but it does not keep a
// standby from taking over where an earlier one has been loaded.
func (c *Config) loadDefinitions(ctx context.Context, broker *core.Broker, log *slog.Logger) error {
	if c.LoadDefinitions == "" {
		return nil
	}
	file := slog.String("file", c.LoadDefinitions)
	d, sum, err := readDefinitions(c.LoadDefinitions)
	note := loadedNote(sum)
	last, loaded := broker.Parameter(note.VHost, note.Component, note.Name)
	if err == nil && loaded && string(last.Value) == sum {
		log.Info("definitions are loaded already", file)
		return nil
	}
	if err == nil {
		err = importDefinitions(ctx, broker, d, log.With(file))
		if err != nil {
			err = fmt.Errorf("load_definitions: %s: %w", c.LoadDefinitions, err)
		}
	}
	switch {
	case err != nil && loaded && c.HA.Enabled:
		log.Error("definitions are not loaded: what was loaded before is in force", file, slog.Any("err", err))
		return nil
	case err != nil:
		return &exitError{exitUsage, err}
	}
	if _, err := broker.SetParameter(ctx, note); err != nil {
		return fmt.Errorf("note that definitions are loaded: %w", err)
	}
	return nil
}

func importDefinitions(ctx context.Context, broker *core.Broker, d *definitions.Document, log *slog.Logger) error {
	report, err := definitions.Import(ctx, broker, d, definitions.Options{Keep: true})
	if err != nil {
		return err
	}
	for _, note := range report.Notes {
		log.Warn("part of the definitions is not loaded", slog.String("object", note))
	}
	log.Info("definitions loaded", slog.Int("changed", report.Changed), slog.Int("passed_over", len(report.Notes)+report.More))
	return nil
}
