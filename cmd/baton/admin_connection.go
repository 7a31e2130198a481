package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"
)

func connectionCommand(f *adminFlags) *cobra.Command {
	return nounCommand("connection", "List and close clients' connections", listConnectionsCommand(f, "list"), closeConnectionCommand(f))
}

// adminConnection is what a list shows of one.
type adminConnection struct {
	Name        string `json:"name"`
	User        string `json:"user"`
	VHost       string `json:"vhost"`
	Protocol    string `json:"protocol"`
	State       string `json:"state"`
	Channels    int    `json:"channels"`
	TLS         bool   `json:"ssl"`
	Client      string `json:"user_provided_name"`
	ConnectedAt int64  `json:"connected_at"` // milliseconds
	Properties  struct {
		ClientID string `json:"client_id"`
	} `json:"client_properties"`
}

const connectionColumns = "?columns=name,user,vhost,protocol,state,channels,ssl,user_provided_name,connected_at,client_properties.client_id"

func listConnectionsCommand(f *adminFlags, use string) *cobra.Command {
	var vhost string
	cmd := f.verbCommand(use, "List the open connections", cobra.NoArgs, func(b *broker, _ []string) error {
		from := "/api/connections"
		if vhost != "" {
			from = apiPath("api", "vhosts", vhost, "connections")
		}
		conns := []adminConnection{}
		if err := b.get(from+connectionColumns, &conns); err != nil {
			if missing(err) {
				err = fmt.Errorf("vhost '%s' does not exist", vhost)
			}
			return err
		}
		t := newTable("NAME", "USER", "VHOST", "PROTOCOL", "STATE", "CHANNELS", "TLS", "CLIENT", "SINCE")
		for _, c := range conns {
			client := c.Client
			if client == "" {
				client = c.Properties.ClientID
			}
			if client == "" {
				client = "-"
			}
			t.row(c.Name, c.User, c.VHost, c.Protocol, c.State, strconv.Itoa(c.Channels), strconv.FormatBool(c.TLS), client,
				time.UnixMilli(c.ConnectedAt).UTC().Format(time.RFC3339))
		}
		return b.print(conns, t)
	})
	cmd.Flags().StringVar(&vhost, "vhost", "", "`name` of the virtual host (default all)")
	return cmd
}

func closeConnectionCommand(f *adminFlags) *cobra.Command {
	var reason, of string
	cmd := f.verbCommand("close [NAME...]", "Close connections, and tell the clients why", cobra.ArbitraryArgs, func(b *broker, args []string) error {
		if (of == "") == (len(args) == 0) {
			return &exitError{exitUsage, errors.New("name connections as `baton connection list` does, or give --all-of USER")}
		}
		header := http.Header{}
		if reason != "" {
			header.Set("X-Reason", reason)
		}
		if of != "" {
			if err := b.del(apiPath("api", "connections", "username", of), header); err != nil {
				return err
			}
			return b.say("the connections of user '%s' are being closed", of)
		}
		for _, name := range args {
			err := b.del(apiPath("api", "connections", name), header)
			if missing(err) {
				err = fmt.Errorf("there is no connection '%s'", name)
			}
			if err != nil {
				return err
			}
			if err := b.say("connection '%s' is being closed", name); err != nil {
				return err
			}
		}
		return nil
	})
	cmd.Flags().StringVar(&reason, "reason", "", "`text` that the client is told")
	cmd.Flags().StringVar(&of, "all-of", "", "close all connections of a `user`")
	return cmd
}
