package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// RabbitMQ's plugins, as its tool for them tells of them: entry points of containers, charts and configuration management ask whether one is
// enabled, and enable it otherwise. What they add is a part of Baton, or there is nothing like it: nothing can be turned on or off here.

// builtInPlugins are those whose work Baton does, in the order of their names.
func builtInPlugins() []string {
	return []string{
		"rabbitmq_auth_backend_cache", "rabbitmq_auth_backend_http", "rabbitmq_auth_backend_oauth2", "rabbitmq_auth_mechanism_ssl",
		"rabbitmq_consistent_hash_exchange", "rabbitmq_delayed_message_exchange", "rabbitmq_event_exchange", "rabbitmq_management",
		"rabbitmq_management_agent", "rabbitmq_message_deduplication", "rabbitmq_mqtt", "rabbitmq_prometheus", "rabbitmq_random_exchange",
		"rabbitmq_web_dispatch", "rabbitmq_web_mqtt",
	}
}

func pluginVerbs() []toolVerb {
	return []toolVerb{
		{"list [PATTERN]", "List RabbitMQ's plugins whose work Baton does", cobra.MaximumNArgs(1), listPlugins},
		{"is_enabled PLUGIN...", "Say whether Baton does the work of RabbitMQ's plugins", cobra.MinimumNArgs(1), pluginsEnabled},
		{"directories", "Say where plugins are: nowhere", cobra.NoArgs, func(c *toolCall, _ []string) error {
			return c.show(map[string]string{"result": "ok"}, "Baton has no plugins: what RabbitMQ's do is built in.\n")
		}},
		{"enable [PLUGIN...]", "Do nothing, where Baton does the work of the plugins", cobra.ArbitraryArgs, enablePlugins},
		{"set [PLUGIN...]", "The same: the others are still there", cobra.ArbitraryArgs, enablePlugins},
		{"disable PLUGIN...", "Refuse to: nothing can be left out", cobra.MinimumNArgs(1), func(_ *toolCall, args []string) error {
			for _, name := range args {
				if hasPlugin(name) {
					return fmt.Errorf("%s is a part of Baton, and cannot be disabled; listeners can be, in the configuration", name)
				}
			}
			return nil
		}},
	}
}

// pluginFlags are those of the tool for plugins alone, which change nothing: there is nothing to be resolved without the broker, and none
// of what there is is there because of another.
func (t *rabbitTool) pluginFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	for _, name := range []string{"offline", "online", "all"} {
		flags.Bool(name, false, "understood, and of no consequence")
	}
	flags.BoolVarP(&t.minimal, "minimal", "m", false, "names alone")
	flags.BoolP("enabled", "E", false, "understood, and of no consequence: all are")
	flags.BoolP("implicitly-enabled", "e", false, "understood, and of no consequence: all are")
	flags.BoolP("verbose", "v", false, "understood, and of no consequence")
}

func hasPlugin(name string) bool { return slices.Contains(builtInPlugins(), name) }

// listPlugins does so without asking the broker, as it cannot have others.
func listPlugins(c *toolCall, args []string) error {
	pattern := ".*"
	if len(args) == 1 {
		pattern = args[0]
	}
	wanted, err := regexp.Compile(pattern)
	if err != nil {
		return &exitError{exitToolUsage, fmt.Errorf("%q is no pattern: %w", pattern, err)}
	}
	names := []string{}
	for _, p := range builtInPlugins() {
		if wanted.MatchString(p) {
			names = append(names, p)
		}
	}
	if c.format == "json" {
		return c.showPlugins(names)
	}
	if err := c.tell("Listing plugins with pattern %q ...", pattern); err != nil {
		return err
	}
	var s strings.Builder
	if !c.minimal && !c.quiet && !c.silent {
		s.WriteString(" Configured: E = explicitly enabled; e = implicitly enabled\n | Status: * = running\n |/\n")
	}
	for _, name := range names {
		if !c.minimal {
			s.WriteString("[E*] ")
		}
		s.WriteString(name)
		if !c.minimal {
			s.WriteString(" " + version())
		}
		s.WriteByte('\n')
	}
	return c.show(nil, s.String())
}

// showPlugins is RabbitMQ's JSON of them.
func (c *toolCall) showPlugins(names []string) error {
	type plugin struct {
		Enabled        string `json:"enabled"`
		Name           string `json:"name"`
		Running        bool   `json:"running"`
		RunningVersion string `json:"running_version"`
		Version        string `json:"version"`
	}
	plugins := []plugin{}
	for _, name := range names {
		plugins = append(plugins, plugin{"enabled", name, true, version(), version()})
	}
	format := "normal"
	if c.minimal {
		format = "minimal"
	}
	return c.show(map[string]any{"format": format, "plugins": plugins, "status": "running"}, "")
}

func pluginsEnabled(c *toolCall, args []string) error {
	for _, name := range args {
		if !hasPlugin(name) {
			return fmt.Errorf("plugin %s is not enabled: Baton does the work of %s", name, strings.Join(builtInPlugins(), ", "))
		}
	}
	return c.show(map[string]string{"result": "ok"}, fmt.Sprintf("Plugin %s is enabled\n", strings.Join(args, ", ")))
}

func enablePlugins(c *toolCall, args []string) error {
	for _, name := range args {
		if !hasPlugin(name) {
			return &exitError{exitToolPlugins, fmt.Errorf("plugin %s: Baton has nothing like it; it does the work of %s", name, strings.Join(builtInPlugins(), ", "))}
		}
	}
	return c.tell("Nothing to do: the work of these plugins is a part of Baton.")
}
