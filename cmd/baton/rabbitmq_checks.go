package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
)

// The verbs of RabbitMQ's diagnostics, which probes and entry points of containers call. Those that check something ask the health checks of
// the API, so that a script learns the same by either way: the exit code is 0 where all is well, and else 69 with the reason.

func diagnosticVerbs() []toolVerb {
	none, one := cobra.NoArgs, cobra.ExactArgs(1)
	const serves, mayGo = "The broker serves clients.\n", "The service would not end with this node.\n"
	return []toolVerb{
		{"check_running", "Say whether the broker serves clients", none, healthCheck("is-in-service", serves)},
		{"is_running", "Say whether the broker serves clients", none, healthCheck("is-in-service", serves)},
		{"check_virtual_hosts", "Say whether the broker serves all virtual hosts", none, healthCheck("virtual-hosts", "All virtual hosts are served.\n")},
		{"check_alarms", "Say whether publishers wait for memory or disk", none, healthCheck("alarms", "No alarm is set.\n")},
		{"check_local_alarms", "Say whether publishers wait for memory or disk", none, healthCheck("local-alarms", "No alarm is set.\n")},
		{"check_port_listener PORT", "Say whether a port is open", one, healthCheck("port-listener", "A listener of %s is open.\n")},
		{"check_protocol_listener PROTOCOL", "Say whether an address is open for a protocol", one, healthCheck("protocol-listener", "A listener of %s is open.\n")},
		{"check_port_connectivity", "Connect to each port that is open for clients", none, checkPorts},
		{"check_certificate_expiration", "Say whether a certificate expires --within a number of --unit", none, func(c *toolCall, _ []string) error {
			return healthCheck("certificate-expiration", "No certificate expires within %s %s.\n")(c, []string{strconv.Itoa(c.within), c.unit})
		}},
		{"check_if_node_is_quorum_critical", "Say whether the service would end with this node", none, healthCheck("node-is-quorum-critical", mayGo)},
		{"check_if_node_is_mirror_sync_critical", "Say whether the service would end with this node", none, healthCheck("node-is-mirror-sync-critical", mayGo)},
		{"check_if_any_deprecated_features_are_used", "Do nothing: none is deprecated", none, nothingTool},
		{"is_booting", "Say whether the broker does not serve yet", none, isBooting},
		{"alarms", "List the alarms that are set", none, listAlarms},
		{"listeners", "List the addresses that are open", none, listListeners},
		{"server_version", "Show the version of RabbitMQ that clients are told", none, serverVersion},
		{"list_node_auth_attempt_stats", "Count logins", none, func(c *toolCall, _ []string) error {
			o, err := c.overview()
			if err != nil {
				return err
			}
			return c.list("authentication attempts", apiPath("api", "auth", "attempts", o.Node), []string{"protocol", "auth_attempts", "auth_attempts_failed", "auth_attempts_succeeded"})
		}},
	}
}

// healthCheck asks one of the API's, which has the arguments at the end of its path, and shows what there is to say where all is well.
func healthCheck(name, well string) func(*toolCall, []string) error {
	return func(c *toolCall, args []string) error {
		err := c.get(apiPath(append([]string{"api", "health", "checks", name}, args...)...), nil)
		if e, ok := errors.AsType[*answerError](err); ok && e.status == http.StatusServiceUnavailable {
			return errors.New(e.Reason) // it has done what it was asked
		}
		if err != nil {
			return err
		}
		text := well
		if len(args) > 0 {
			words := make([]any, len(args))
			for i := range args {
				words[i] = args[i]
			}
			text = fmt.Sprintf(well, words...)
		}
		return c.show(map[string]string{"result": "ok"}, text)
	}
}

func (c *toolCall) overview() (o toolOverview, err error) {
	err = c.get("/api/overview", &o)
	return o, err
}

func checkPorts(c *toolCall, _ []string) error {
	o, err := c.overview()
	if err != nil {
		return err
	}
	for _, l := range o.Listeners {
		conn, err := new(net.Dialer).DialContext(c.cmd.Context(), "tcp", net.JoinHostPort(l.Address, strconv.Itoa(l.Port)))
		if err != nil {
			return fmt.Errorf("connect to the %s listener: %w", l.Protocol, err)
		}
		_ = conn.Close() // it was opened to see who is there
	}
	return c.show(map[string]string{"result": "ok"}, "Successfully connected to all ports.\n")
}

// isBooting is wrong of a broker that serves, and of one that stands by: neither is on its way.
func isBooting(c *toolCall, _ []string) error {
	var s struct {
		Role string `json:"role"`
	}
	err := c.ask(func(b *broker) error {
		err := b.get("/readyz", &s)
		e, ok := errors.AsType[*answerError](err)
		if !ok {
			return err
		}
		if err := json.Unmarshal(e.body, &s); err != nil {
			return fmt.Errorf("%s does not say what it is: %w", b.where, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	booting := s.Role != "primary" && s.Role != "standby"
	word := map[bool]string{true: "is", false: "is not"}[booting]
	return c.show(map[string]bool{"result": booting}, fmt.Sprintf("The broker %s booting.\n", word))
}

func listAlarms(c *toolCall, _ []string) error {
	var a adminAlarms
	if err := c.get("/alarms", &a); err != nil {
		return err
	}
	if names := a.names(); len(names) > 0 {
		return c.show(map[string]any{"alarms": names}, strings.Join(names, "\n")+"\n")
	}
	return c.show(map[string]any{"alarms": []string{}}, "No alarm is set.\n")
}

func listListeners(c *toolCall, _ []string) error {
	o, err := c.overview()
	if err != nil {
		return err
	}
	var s strings.Builder
	for _, l := range o.Listeners {
		fmt.Fprintf(&s, "Interface: %s, port: %d, protocol: %s\n", l.Address, l.Port, l.Protocol)
	}
	return c.show(map[string]any{"listeners": o.Listeners}, s.String())
}

func serverVersion(c *toolCall, _ []string) error {
	o, err := c.overview()
	if err != nil {
		return err
	}
	return c.show(map[string]string{"version": o.Version}, o.Version+"\n")
}
