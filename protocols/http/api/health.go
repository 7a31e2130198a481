package api

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// checked is the answer of a health check where nothing is wrong.
type checked struct {
	Status string `json:"status"`
	Reason string `json:"reason,omitempty"` // why there was nothing to look at
}

func allWell() checked { return checked{Status: "ok"} }

// failing is that of one where something is, with what belongs to the check.
func failing(reason string, more map[string]any) verdict {
	body := map[string]any{"status": "failed", "reason": reason}
	maps.Copy(body, more)
	return verdict{http.StatusServiceUnavailable, body}
}

// checkServing tells whether this node serves clients: then all its vhosts do.
func checkServing(c *call) (any, error) {
	if reason := c.api.opt.Ready(); reason != "" {
		return failing(reason, nil), nil
	}
	return allWell(), nil
}

func checkPort(c *call) (any, error) {
	port, err := strconv.ParseUint(c.names["port"], 10, 16)
	if err != nil {
		return nil, badRequest("Invalid port")
	}
	open := []int{}
	for _, l := range c.listeners() {
		if p := listenerOf("", l).Port; p != 0 && !slices.Contains(open, p) {
			open = append(open, p)
		}
	}
	if !slices.Contains(open, int(port)) {
		return failing("No active listener", map[string]any{"missing": port, "ports": open}), nil
	}
	return map[string]any{"status": "ok", "port": port}, nil
}

// protocolNames are what else protocols are called than in the overview.
var protocolNames = map[string]string{
	"amqp091": "amqp", "amqp0.9.1": "amqp", "amqp0-9-1": "amqp", "amqps": "amqp/ssl", "amqp/tls": "amqp/ssl",
	"mqtts": "mqtt/ssl", "web-mqtt": "http/web-mqtt", "web_mqtt": "http/web-mqtt", "ws": "http/web-mqtt", "wss": "https/web-mqtt",
	"management": "http", "prometheus": "http/prometheus",
}

func checkProtocol(c *call) (any, error) {
	name := strings.ToLower(c.names["protocol"])
	if other, ok := protocolNames[name]; ok {
		name = other
	}
	open := []string{}
	for _, l := range c.listeners() {
		if !slices.Contains(open, l.Protocol) {
			open = append(open, l.Protocol)
		}
	}
	if !slices.Contains(open, name) {
		return failing("No active listener", map[string]any{"missing": name, "protocols": open}), nil
	}
	return map[string]any{"status": "ok", "protocol": name}, nil
}

// checkCertificates tells which of the server's certificates expire soon.
func checkCertificates(c *call) (any, error) {
	n, err := strconv.Atoi(c.names["within"])
	if err != nil || n < 0 || n > 1000 {
		return nil, badRequest("Invalid expiration value.")
	}
	now := time.Now()
	var limit time.Time
	switch c.names["unit"] {
	case "days":
		limit = now.AddDate(0, 0, n)
	case "weeks":
		limit = now.AddDate(0, 0, 7*n)
	case "months":
		limit = now.AddDate(0, n, 0)
	case "years":
		limit = now.AddDate(n, 0, 0)
	default:
		return nil, badRequest("Time unit not recognised. Supported units: days, weeks, months, years.")
	}
	type expiring struct {
		Node    string `json:"node"`
		Subject string `json:"subject"`
		Serial  string `json:"serial"`
		Expires string `json:"certfile_expires_on"`
	}
	var soon []expiring
	if c.api.opt.Certificates != nil {
		for _, cert := range c.api.opt.Certificates() {
			if cert.NotAfter.Before(limit) {
				soon = append(soon, expiring{c.api.opt.Node, cert.Subject.String(), cert.SerialNumber.String(), cert.NotAfter.UTC().Format(time.RFC3339)})
			}
		}
	}
	if soon != nil {
		return failing("Certificates expiring", map[string]any{"expired": soon}), nil
	}
	return allWell(), nil
}

// checkCritical tells whether the service would end with this node: where standbys
// are meant to be, that is so while none of them would take over. A standby is not
// critical.
func checkCritical(c *call) (any, error) {
	switch {
	case c.api.opt.Peers == nil:
		return checked{Status: "ok", Reason: "single node cluster"}, nil
	case c.primary == nil:
		return allWell(), nil
	}
	var why []string
	for _, p := range c.api.opt.Peers() {
		if p.Eligible {
			return allWell(), nil
		}
		why = append(why, strings.TrimSuffix(p.Name+": "+p.Reason, ": "))
	}
	return failing("There is no standby that would take over if this node were shut down", map[string]any{"standbys": append([]string{}, why...)}), nil
}

// checkNode is what RabbitMQ has given up for the other checks: it answers 200 in
// any case.
func checkNode(c *call) (any, error) {
	if name, ok := c.names["node"]; ok && name != c.api.opt.Node {
		return nil, noObject()
	}
	if reason := c.api.opt.Ready(); reason != "" {
		return checked{"failed", reason}, nil
	}
	if a := c.alarms(); a.Memory || a.Disk {
		return checked{"failed", "There are alarms in effect on the node"}, nil
	}
	return allWell(), nil
}
