package main

import (
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// maxDays is the longest that certificates for a try are made for.
const maxDays = 3650

func (p *program) tlsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tls",
		Short: "Make certificates for a try, or check those there are",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(selfSignedCommand(), p.tlsCheckCommand())
	return cmd
}

func selfSignedCommand() *cobra.Command {
	var s selfSigned
	cmd := &cobra.Command{
		Use:   "self-signed",
		Short: "Make an authority, a server certificate and a client certificate",
		Long: "Make an authority, a server certificate for the hosts and a client certificate, each with its key,\n" +
			"and say what to put into the configuration. No file is overwritten.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.days < 1 || s.days > maxDays {
				return &exitError{exitUsage, fmt.Errorf("--days %d is not between 1 and %d", s.days, maxDays)}
			}
			if len(s.hosts) == 0 {
				s.hosts = defaultHosts()
			}
			for _, host := range s.hosts {
				if net.ParseIP(host) == nil && (host == "" || strings.ContainsAny(host, ":/@ ")) {
					return &exitError{exitUsage, fmt.Errorf("--host %q is neither a name nor an address: leave scheme and port out", host)}
				}
			}
			dir, err := filepath.Abs(s.dir) // for the configuration of a broker that runs elsewhere
			if err != nil {
				return fmt.Errorf("find directory %s: %w", s.dir, err)
			}
			s.dir = dir
			if err := s.write(); err != nil {
				return err
			}
			return printOut(cmd, s.advice())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&s.dir, "out", "baton-tls", "`directory` for the files, made when absent")
	flags.StringArrayVar(&s.hosts, "host", nil, "`name` or address by which clients reach the server; repeatable (default localhost, 127.0.0.1, ::1 and the host name)")
	flags.StringVar(&s.client, "client", "guest", "`name` of the user whom the client certificate is for")
	flags.IntVar(&s.days, "days", 365, "how many `days` the certificates are valid")
	return cmd
}

func (p *program) tlsCheckCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read the configured certificates as serve would, and say what clients may object to",
		Long: "Read the configured certificates as serve would, print what they are for and how long they last, and say\n" +
			"what clients may object to. It fails where there is something.",
		Args: cobra.NoArgs,
	}
	load := p.addSettings(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		text, problems, err := c.TLS.inspect(time.Now())
		if err != nil {
			return err
		}
		if err := printOut(cmd, text); err != nil {
			return err
		}
		if problems > 0 {
			return errors.New("some of this will not work")
		}
		return nil
	}
	return cmd
}
