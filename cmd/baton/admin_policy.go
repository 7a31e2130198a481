package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// adminPolicy is a policy as the API has it.
type adminPolicy struct {
	VHost      string          `json:"vhost,omitempty"`
	Name       string          `json:"name,omitempty"`
	Pattern    string          `json:"pattern"`
	ApplyTo    string          `json:"apply-to"`
	Priority   int             `json:"priority"`
	Definition json.RawMessage `json:"definition"`
}

// policyFlags say which policies are meant.
type policyFlags struct {
	vhost    string
	operator bool
}

// kind is how the API calls them, and noun how a person does.
func (f *policyFlags) kind() string {
	if f.operator {
		return "operator-policies"
	}
	return "policies"
}

func (f *policyFlags) noun() string {
	if f.operator {
		return "operator policy"
	}
	return "policy"
}

func policyCommand(f *adminFlags) *cobra.Command {
	var pf policyFlags
	cmd := nounCommand("policy", "List, set and clear settings of queues and exchanges by their names",
		listPoliciesCommand(f, &pf), setPolicyCommand(f, &pf), clearPolicyCommand(f, &pf))
	for _, verb := range cmd.Commands() {
		verb.Flags().BoolVar(&pf.operator, "operator", false, "operator policies: limits beside what users' policies and arguments say")
	}
	return cmd
}

func listPoliciesCommand(f *adminFlags, pf *policyFlags) *cobra.Command {
	var vhost string
	cmd := f.verbCommand("list", "List the policies", cobra.NoArgs, func(b *broker, _ []string) error {
		from := apiPath("api", pf.kind())
		if vhost != "" {
			from = apiPath("api", pf.kind(), vhost)
		}
		all := []adminPolicy{}
		if err := b.get(from, &all); err != nil {
			if missing(err) {
				err = fmt.Errorf("vhost '%s' does not exist", vhost)
			}
			return err
		}
		t := newTable("VHOST", "NAME", "PATTERN", "APPLY TO", "PRIORITY", "DEFINITION")
		for _, p := range all {
			t.row(p.VHost, p.Name, p.Pattern, p.ApplyTo, strconv.Itoa(p.Priority), definitionText(p.Definition))
		}
		return b.print(all, t)
	})
	cmd.Flags().StringVar(&vhost, "vhost", "", "`name` of the virtual host (default all)")
	return cmd
}

// definitionText is settings in a cell, in the order of their names.
func definitionText(text json.RawMessage) string {
	var settings map[string]json.RawMessage
	if json.Unmarshal(text, &settings) != nil {
		return string(text)
	}
	var words []string
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		var s string
		if json.Unmarshal(settings[key], &s) != nil {
			s = string(settings[key])
		}
		words = append(words, key+"="+s)
	}
	return listText(words)
}

func setPolicyCommand(f *adminFlags, pf *policyFlags) *cobra.Command {
	var p adminPolicy
	cmd := f.verbCommand("set NAME PATTERN DEFINITION", "Set a policy, in place of the one of its name", cobra.ExactArgs(3), func(b *broker, args []string) error {
		p.Pattern, p.Definition = args[1], json.RawMessage(args[2])
		if !strings.HasPrefix(strings.TrimSpace(args[2]), "{") || !json.Valid(p.Definition) {
			return &exitError{exitUsage, fmt.Errorf(`%q is no JSON object, as '{"max-length": 1000}'`, args[2])}
		}
		if err := b.put(apiPath("api", pf.kind(), pf.vhost, args[0]), p); err != nil {
			return pf.refused(err)
		}
		return b.say("%s '%s' is set in vhost '%s'", pf.noun(), args[0], pf.vhost)
	})
	cmd.Long = "Set a policy, in place of the one of its name. It gives the settings of DEFINITION, a JSON object, to the queues and exchanges\n" +
		"whose names the regular expression PATTERN is found in: at once, and to those that are declared later. Of several policies\n" +
		"that apply to a queue only that with the highest priority counts, and beside it one operator policy, set with --operator."
	cmd.Example = `  baton policy set short '^tmp\.' '{"message-ttl": 60000, "max-length": 1000}' --apply-to queues
  baton policy set limit '.*' '{"max-length-bytes": 1073741824}' --operator`
	cmd.Flags().StringVar(&p.ApplyTo, "apply-to", "all", "`what` it applies to: all, queues, classic_queues, quorum_queues or exchanges")
	cmd.Flags().IntVar(&p.Priority, "priority", 0, "`number`: of several policies the one with the highest counts")
	vhostFlag(&pf.vhost, cmd)
	return cmd
}

func clearPolicyCommand(f *adminFlags, pf *policyFlags) *cobra.Command {
	cmd := f.verbCommand("clear NAME", "Take a policy back", cobra.ExactArgs(1), func(b *broker, args []string) error {
		err := b.del(apiPath("api", pf.kind(), pf.vhost, args[0]), nil)
		if missing(err) {
			return fmt.Errorf("there is no %s '%s' in vhost '%s'", pf.noun(), args[0], pf.vhost)
		}
		if err != nil {
			return err
		}
		return b.say("%s '%s' is gone from vhost '%s'", pf.noun(), args[0], pf.vhost)
	})
	vhostFlag(&pf.vhost, cmd)
	return cmd
}

// refused says for a person why a policy was not set.
func (f *policyFlags) refused(err error) error {
	e, ok := errors.AsType[*answerError](err)
	switch {
	case !ok:
		return err
	case missing(err):
		return fmt.Errorf("vhost '%s' does not exist", f.vhost)
	}
	e.Reason = strings.TrimSpace(strings.TrimPrefix(e.Reason, "Validation failed"))
	return e
}
