package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manCommand writes the manual pages, which packages install.
func manCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "man DIR",
		Short: "Write the manual pages of all commands",
		Long:  "Write a page of section 1 for each command into DIR, which is made if it does not exist.\nRead them with man -l DIR/baton.1.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := os.MkdirAll(args[0], 0o755); err != nil {
				return fmt.Errorf("make the directory of the pages: %w", err)
			}
			root := cmd.Root()
			root.DisableAutoGenTag = true // the same pages whenever they are written
			if err := doc.GenManTree(root, &doc.GenManHeader{Title: "BATON", Section: "1", Source: "Baton", Manual: "Baton"}, args[0]); err != nil {
				return fmt.Errorf("write the pages: %w", err)
			}
			pages, err := filepath.Glob(filepath.Join(args[0], "baton*.1"))
			if err != nil {
				return fmt.Errorf("count the pages: %w", err)
			}
			return printOut(cmd, fmt.Sprintf("%d pages are in %s\n", len(pages), args[0]))
		},
	}
}
