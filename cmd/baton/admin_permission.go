package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// defaultVHost is the one that commands are about where none is named.
const defaultVHost = "/"

func permissionCommand(f *adminFlags) *cobra.Command {
	var vhost string
	set := f.verbCommand("set USER CONFIGURE WRITE READ", "Allow a user the names that the patterns match, in place of what it may",
		cobra.ExactArgs(4), func(b *broker, args []string) error {
			err := b.put(apiPath("api", "permissions", vhost, args[0]), map[string]string{"configure": args[1], "write": args[2], "read": args[3]})
			if err != nil {
				return noUserOrVHost(err, args[0], vhost)
			}
			return b.say("user '%s' has permissions in vhost '%s'", args[0], vhost)
		})
	unset := f.verbCommand("clear USER", "Take all permissions in a virtual host away from a user", cobra.ExactArgs(1), func(b *broker, args []string) error {
		err := b.del(apiPath("api", "permissions", vhost, args[0]), nil)
		if missing(err) {
			return fmt.Errorf("user '%s' has no permissions in vhost '%s'", args[0], vhost)
		}
		if err != nil {
			return err
		}
		return b.say("user '%s' has no permissions in vhost '%s' any more", args[0], vhost)
	})
	vhostFlag(&vhost, set, unset)
	return nounCommand("permission", "List, set and clear what users may do",
		permissionListCommand(f, "permissions", func(rows []adminPermission) *table {
			t := newTable("VHOST", "USER", "CONFIGURE", "WRITE", "READ")
			for _, p := range rows {
				t.row(p.VHost, p.User, p.Configure, p.Write, p.Read)
			}
			return t
		}), set, unset)
}

func vhostFlag(vhost *string, cmds ...*cobra.Command) {
	for _, cmd := range cmds {
		cmd.Flags().StringVar(vhost, "vhost", defaultVHost, "`name` of the virtual host")
	}
}

// noUserOrVHost says what the API's answer leaves open.
func noUserOrVHost(err error, user, vhost string) error {
	if e, ok := errors.AsType[*answerError](err); ok && e.Reason == "vhost_or_user_not_found" {
		return fmt.Errorf("there is no user '%s', or no vhost '%s'", user, vhost)
	}
	return err
}

type adminPermission struct {
	VHost     string `json:"vhost"`
	User      string `json:"user"`
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

// owner tells of whom a row is, and where.
func (p adminPermission) owner() (user, vhost string) { return p.User, p.VHost }

// permissionListCommand lists permissions of a kind: all, one user's, or one
// virtual host's.
func permissionListCommand[T interface{ owner() (user, vhost string) }](f *adminFlags, kind string, show func([]T) *table) *cobra.Command {
	var vhost string
	cmd := f.verbCommand("list [USER]", "List them: all, or those of a user", cobra.MaximumNArgs(1), func(b *broker, args []string) error {
		from := apiPath("api", kind)
		if len(args) == 1 {
			from = apiPath("api", "users", args[0], kind)
		}
		var all []T
		if err := b.get(from, &all); err != nil {
			if missing(err) {
				err = fmt.Errorf("user '%s' does not exist", args[0])
			}
			return err
		}
		rows := []T{}
		for _, r := range all {
			if _, in := r.owner(); vhost == "" || in == vhost {
				rows = append(rows, r)
			}
		}
		return b.print(rows, show(rows))
	})
	cmd.Flags().StringVar(&vhost, "vhost", "", "`name` of the virtual host (default all)")
	return cmd
}
