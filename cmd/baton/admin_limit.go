package main

import (
	"fmt"
	"slices"
	"strconv"

	"github.com/spf13/cobra"
)

// limitKinds are what has limits.
func limitKinds() []string { return []string{"user", "vhost"} }

func limitCommand(f *adminFlags) *cobra.Command {
	const about = "Those of a user are max-connections and max-channels, those of a vhost max-connections and max-queues."
	set := f.verbCommand("set user|vhost NAME LIMIT VALUE", "Set a limit of a user or a virtual host", limitArgs(4), setLimit)
	unset := f.verbCommand("clear user|vhost NAME LIMIT", "Take a limit away", limitArgs(3), func(b *broker, args []string) error {
		if err := b.del(apiPath("api", args[0]+"-limits", args[1], args[2]), nil); err != nil {
			return noSuch(err, args)
		}
		return b.say("%s '%s' has no limit %s", args[0], args[1], args[2])
	})
	set.Long, unset.Long = set.Short+".\n"+about, unset.Short+".\n"+about
	return nounCommand("limit", "List, set and clear limits of users and virtual hosts",
		f.verbCommand("list", "List the limits that are set", cobra.NoArgs, listLimits), set, unset)
}

// limitArgs wants n arguments of which the first says what has the limit.
func limitArgs(n int) cobra.PositionalArgs {
	return cobra.MatchAll(cobra.ExactArgs(n), func(_ *cobra.Command, args []string) error {
		if !slices.Contains(limitKinds(), args[0]) {
			return fmt.Errorf("%q is neither user nor vhost", args[0])
		}
		return nil
	})
}

func listLimits(b *broker, _ []string) error {
	type row struct {
		Kind  string `json:"kind"`
		Name  string `json:"name"`
		Limit string `json:"limit"`
		Value int    `json:"value"`
	}
	rows, t := []row{}, newTable("KIND", "NAME", "LIMIT", "VALUE")
	for _, kind := range limitKinds() {
		var all []struct {
			User  string         `json:"user"`
			VHost string         `json:"vhost"`
			Value map[string]int `json:"value"`
		}
		if err := b.get(apiPath("api", kind+"-limits"), &all); err != nil {
			return err
		}
		for _, l := range all {
			for _, limit := range []string{"max-channels", "max-connections", "max-queues"} {
				if n, ok := l.Value[limit]; ok {
					rows = append(rows, row{kind, l.User + l.VHost, limit, n})
					t.row(kind, l.User+l.VHost, limit, strconv.Itoa(n))
				}
			}
		}
	}
	return b.print(rows, t)
}

func setLimit(b *broker, args []string) error {
	n, err := strconv.Atoi(args[3])
	if err != nil || n < 0 {
		return &exitError{exitUsage, fmt.Errorf("%q is not a whole number from 0 on", args[3])}
	}
	if err := b.put(apiPath("api", args[0]+"-limits", args[1], args[2]), map[string]int{"value": n}); err != nil {
		return noSuch(err, args)
	}
	return b.say("%s '%s' has the limit %s = %d", args[0], args[1], args[2], n)
}

func noSuch(err error, args []string) error {
	if missing(err) {
		return fmt.Errorf("%s '%s' does not exist", args[0], args[1])
	}
	return err
}
