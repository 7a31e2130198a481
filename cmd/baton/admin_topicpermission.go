package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

type adminTopicPermission struct {
	VHost    string `json:"vhost"`
	User     string `json:"user"`
	Exchange string `json:"exchange"`
	Write    string `json:"write"`
	Read     string `json:"read"`
}

func (p adminTopicPermission) owner() (user, vhost string) { return p.User, p.VHost }

func topicPermissionCommand(f *adminFlags) *cobra.Command {
	var vhost string
	set := f.verbCommand("set USER EXCHANGE WRITE READ", "Narrow a user's use of a topic exchange to the routing keys that the patterns match",
		cobra.ExactArgs(4), func(b *broker, args []string) error {
			err := b.put(apiPath("api", "topic-permissions", vhost, args[0]),
				map[string]string{"exchange": args[1], "write": args[2], "read": args[3]})
			if err != nil {
				return noUserOrVHost(err, args[0], vhost)
			}
			return b.say("user '%s' has topic permissions on exchange '%s' in vhost '%s'", args[0], args[1], vhost)
		})
	unset := f.verbCommand("clear USER [EXCHANGE]", "Let a user use a topic exchange, or all of them, without topic permissions again",
		cobra.RangeArgs(1, 2), func(b *broker, args []string) error {
			err := b.del(apiPath(append([]string{"api", "topic-permissions", vhost}, args...)...), nil)
			if missing(err) {
				return fmt.Errorf("user '%s' has no such topic permissions in vhost '%s'", args[0], vhost)
			}
			if err != nil {
				return err
			}
			return b.say("user '%s' has no such topic permissions in vhost '%s' any more", args[0], vhost)
		})
	vhostFlag(&vhost, set, unset)
	return nounCommand("topic-permission", "List, set and clear which routing keys users may use",
		permissionListCommand(f, "topic-permissions", func(rows []adminTopicPermission) *table {
			t := newTable("VHOST", "USER", "EXCHANGE", "WRITE", "READ")
			for _, p := range rows {
				t.row(p.VHost, p.User, p.Exchange, p.Write, p.Read)
			}
			return t
		}), set, unset)
}
