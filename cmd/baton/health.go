package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// healthTimeout is shorter than a container platform waits for its check.
const healthTimeout = 3 * time.Second

func (p *program) healthCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Ask the broker on this machine whether it is live, or ready",
		Long: "Ask the admin address of the broker on this machine whether it is live, or with --ready whether it serves clients.\n" +
			"Exits with 0 for yes and 1 for no. A standby is live and not ready.",
		Args: cobra.NoArgs,
	}
	ready := cmd.Flags().Bool("ready", false, "ask whether it serves clients")
	load := p.addSettings(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		c, err := load()
		if err != nil {
			return err
		}
		if len(c.Admin.Listen) == 0 {
			return &exitError{exitUsage, errors.New("the admin address is off, so nobody can be asked: set --admin")}
		}
		path := "/livez"
		if *ready {
			path = "/readyz"
		}
		answer, err := askHealth(cmd.Context(), c.Admin.Listen[0], path)
		if err != nil {
			return err
		}
		return printOut(cmd, answer+"\n")
	}
	return cmd
}

// askHealth returns the answer of the admin address, an error unless it is 200.
func askHealth(ctx context.Context, addr, path string) (string, error) {
	code, body, err := askAdmin(ctx, addr, path)
	if err != nil {
		return "", err
	}
	answer := strings.TrimSpace(string(body))
	if code != http.StatusOK {
		return "", fmt.Errorf("%s answers %d: %s", addr, code, answer)
	}
	return answer, nil
}

// readyState returns what /readyz says, ready or not.
func readyState(ctx context.Context, addr string) ([]byte, error) {
	_, body, err := askAdmin(ctx, addr, "/readyz")
	return body, err
}

// askAdmin returns the answer of the admin address. Where the address is "any", it
// is asked on the loopback: that is how package net dials it.
func askAdmin(ctx context.Context, addr, path string) (code int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://baton"+path, http.NoBody)
	if err != nil {
		return 0, nil, fmt.Errorf("ask %s: %w", addr, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err // without the URL, whose host is made up
		}
		return 0, nil, fmt.Errorf("no broker answers on %s: %w", addr, err)
	}
	defer func() { _ = resp.Body.Close() }() // the answer has been read
	body, err = io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer of %s: %w", addr, err)
	}
	return resp.StatusCode, body, nil
}
