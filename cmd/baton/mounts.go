package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/batonmq/baton/protocols/mqtt"
)

// mountPoints is a list of mount points: TOPIC/ for all listeners of MQTT, and
// LISTENER=TOPIC/ for one, each at most once; or off.
func mountPoints(p *[]string) value {
	var seen []string // a value is set once
	return list{p, off, func(s string) error {
		listener, prefix := splitMountPoint(s)
		if listener != "" && !slices.Contains(mountable(), listener) {
			return fmt.Errorf("%q is for %q, which is not one of %s", s, listener, strings.Join(mountable(), ", "))
		}
		if slices.Contains(seen, listener) {
			return fmt.Errorf("%q is the second one for the same listener", s)
		}
		seen = append(seen, listener)
		if s == "" {
			return fmt.Errorf("has an empty text: write %s for none", off)
		}
		return mqtt.CheckMountPoint(prefix)
	}}
}

// mountable are the listeners that a mount point can be for.
func mountable() []string { return []string{"mqtt", "mqtts", "ws", "wss", "socket"} }

// splitMountPoint reads one text of the list. The listener is empty if it is for all.
func splitMountPoint(s string) (listener, prefix string) {
	listener, prefix, ok := strings.Cut(s, "=")
	if !ok {
		return "", s
	}
	return listener, prefix
}

// mountPointOf finds the mount point of a way in: its own before that of all. It is
// nil if there are none.
func mountPointOf(texts []string) func(mqtt.Way) string {
	if len(texts) == 0 {
		return nil
	}
	prefixes := make(map[string]string, len(texts))
	for _, s := range texts {
		listener, prefix := splitMountPoint(s)
		prefixes[listener] = prefix
	}
	return func(w mqtt.Way) string {
		if prefix, ok := prefixes[listenerOf(w)]; ok {
			return prefix
		}
		return prefixes[""]
	}
}

func listenerOf(w mqtt.Way) string {
	name := "mqtt"
	switch {
	case w.Socket:
		return "socket"
	case w.WebSocket:
		name = "ws"
	}
	if w.TLS {
		name += "s"
	}
	return name
}
