package main

import (
	"fmt"
	"strconv"
	"strings"
)

// mask stands for a secret that is set.
const mask = "********"

// shown is what may be seen of a setting's value.
func (s *setting) shown(c *Config) []string {
	texts := s.bind(c).texts()
	if s.secret && texts[0] != "" {
		return []string{mask}
	}
	return texts
}

// yaml renders the effective values as a file that `config check` accepts, with
// the source of each beside it. A set secret is masked.
func (c *Config) yaml() string {
	var b strings.Builder
	var open []string // the sections that the last key is in
	for _, s := range c.settings() {
		parts := strings.Split(s.key, ".")
		for i, part := range parts[:len(parts)-1] {
			if i < len(open) && open[i] == part {
				continue
			}
			open = append(open[:i:i], part)
			fmt.Fprintf(&b, "%s%s:\n", strings.Repeat("  ", i), part)
		}
		open = open[:len(parts)-1]
		name, indent := parts[len(parts)-1], strings.Repeat("  ", len(parts)-1)
		fmt.Fprintf(&b, "%s%s: %s # %s\n", indent, name, yamlTexts(s.shown(c), s.list), c.origin[s.key])
	}
	return b.String()
}

// yamlTexts quotes every text, so that none is taken for something else. Go's
// quoting is YAML's for what can be in a setting.
func yamlTexts(texts []string, list bool) string {
	quoted := make([]string, len(texts))
	for i, t := range texts {
		quoted[i] = strconv.Quote(t)
	}
	if list {
		return "[" + strings.Join(quoted, ", ") + "]"
	}
	return quoted[0]
}

// configurationPage is docs/configuration.md.
func configurationPage() string {
	var b strings.Builder
	b.WriteString(pageHead)
	b.WriteString("\n| key | flag | variable | default | acts | value | meaning |\n|---|---|---|---|---|---|---|\n")
	for _, s := range settings() {
		flag := ""
		if s.flag != "" {
			flag = "`--" + s.flag + "`"
		}
		def := ""
		if s.def != "" {
			def = "`" + s.def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s | %s | %s | %s |\n", s.key, flag, s.env(), def, s.acts(), s.unit, s.doc)
	}
	b.WriteString(bridgesHead)
	b.WriteString("\n| key | default | value | meaning |\n|---|---|---|---|\n")
	for _, s := range bridgeRows("NAME") {
		def := ""
		if s.def != "" {
			def = "`" + s.def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.key, def, s.unit, s.doc)
	}
	b.WriteString("\n## Exit codes\n\n| code | meaning |\n|---|---|\n")
	for _, e := range exitCodes() {
		fmt.Fprintf(&b, "| %d | %s |\n", e.Code, e.Doc)
	}
	return b.String()
}

const bridgesHead = `
## Bridges

Connections to other MQTT brokers, each under a name of lower case letters, digits, ` + "`-` and `_`" + `; [bridge.md](bridge.md) tells what
they do. A change acts with the next takeover or start. They are in the file; what is in it may be replaced by a variable, such as ` + "`BATON_BRIDGES_CLOUD_PASSWORD`" + `.

` + "```yaml" + `
bridges:
  cloud:
    address: mqtts://broker.example.com
    username: site-7
    # password_file: /etc/baton/cloud.password
    topics:
      - sensors/# out 1 "" site-7/
      - commands/# in 2 "" site-7/
` + "```" + `
`

const pageHead = `<!-- Written by go generate ./cmd/baton from the table in cmd/baton/settings.go. Change it there. -->

# Configuration

` + "`baton serve`" + ` needs no configuration. What can be set comes from four places, later over earlier:

1. the default,
2. a YAML file: ` + "`--config FILE`" + `, or the variable ` + "`BATON_CONFIG`" + `,
3. environment variables,
4. flags.

A key's variable is the key in upper case after ` + "`BATON_`" + `, with underscores for dots: ` + "`amqp.listen`" + ` is
` + "`BATON_AMQP_LISTEN`" + `. Lists are sequences in the file, repeated flags, and texts with commas in a variable; a list
given in a later place replaces the earlier one as a whole. A key the broker does not know is an error that names
file and line; a variable it does not know is a warning, because container platforms make up such names themselves.

` + "```yaml" + `
data: /var/lib/baton
default_user: app
default_pass: choose one
amqp:
  listen: [":5672"]
metrics:
  listen: off
` + "```" + `

` + "`baton config check`" + ` says whether ` + "`serve`" + ` would accept a configuration; ` + "`baton config print`" + ` shows the effective values
and where each comes from, with secrets masked. Both take the flags of ` + "`serve`" + `. ` + "`default_pass`" + `
has no flag, because a process's arguments are visible to all users of a machine. A file that holds it should be readable
for the broker's user alone.

SIGHUP makes ` + "`serve`" + ` read everything again, and so does ` + "`baton config reload`" + `, which prints what has changed, old and new, and
with ` + "`--dry-run`" + ` only that. A configuration that is not valid, or names a file that cannot be read, changes nothing. The column
*acts* says when a change is in force:

- *now*: with the reload.
- *takeover*: when this node becomes the primary the next time, with ` + "`ha.enabled`" + `, or with its next start.
- *start*: with the next start of the process.

The files of ` + "`tls`" + ` are read again with each reload.

Durations are written like ` + "`500ms`, `3s` or `2m`" + `, sizes like ` + "`4096`, `64KiB`, `512MiB` or `2GiB`" + `.

## Settings
`
