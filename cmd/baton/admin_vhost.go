package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func vhostCommand(f *adminFlags) *cobra.Command {
	return nounCommand("vhost", "List, add and delete virtual hosts",
		f.verbCommand("list", "List the virtual hosts", cobra.NoArgs, listVHosts),
		addVHostCommand(f),
		f.verbCommand("delete NAME", "Delete a virtual host with everything in it, and end its connections", cobra.ExactArgs(1), deleteVHost),
	)
}

type adminVHost struct {
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
	QueueType   string   `json:"default_queue_type"`
}

func listVHosts(b *broker, _ []string) error {
	vhosts := []adminVHost{}
	if err := b.get("/api/vhosts", &vhosts); err != nil {
		return err
	}
	t := newTable("NAME", "DESCRIPTION", "TAGS", "QUEUE TYPE")
	for _, v := range vhosts {
		t.row(v.Name, v.Description, listText(v.Tags), v.QueueType)
	}
	return b.print(vhosts, t)
}

func addVHostCommand(f *adminFlags) *cobra.Command {
	var v adminVHost
	cmd := f.verbCommand("add NAME", "Add a virtual host", cobra.ExactArgs(1), func(b *broker, args []string) error {
		v.Name = args[0]
		err := b.get(apiPath("api", "vhosts", v.Name), &struct{}{})
		if err == nil {
			return fmt.Errorf("vhost '%s' exists already", v.Name)
		}
		if !missing(err) {
			return err
		}
		if v.Tags == nil {
			v.Tags = []string{}
		}
		if err := b.put(apiPath("api", "vhosts", v.Name), v); err != nil {
			return err
		}
		return b.say("vhost '%s' is added", v.Name)
	})
	cmd.Flags().StringVar(&v.Description, "description", "", "what it is for, a `text`")
	cmd.Flags().StringSliceVar(&v.Tags, "tags", nil, "`tags`, with commas between them")
	cmd.Flags().StringVar(&v.QueueType, "default-queue-type", "", "`type` of queues that are declared without one")
	return cmd
}

func deleteVHost(b *broker, args []string) error {
	err := b.del(apiPath("api", "vhosts", args[0]), nil)
	if missing(err) {
		return fmt.Errorf("vhost '%s' does not exist", args[0])
	}
	if err != nil {
		return err
	}
	return b.say("vhost '%s' is deleted with everything in it", args[0])
}
