package api

import (
	"context"
	"log/slog"

	"github.com/batonmq/baton/protocols/auth"
)

// A SettingChange is a setting that reads differently from what is in force.
// Secrets are masked.
type SettingChange struct {
	Key  string `json:"key"`
	Old  string `json:"old"`
	New  string `json:"new"`
	From string `json:"from"` // file and line, variable, flag or "default"
	Acts string `json:"acts"` // "now", at the next "takeover", or at the next "start"
}

// reloadConfig has the node read its configuration again. It is about the node
// and not about what it serves: see route.own.
func reloadConfig(c *call) (any, error) {
	var ask struct {
		DryRun bool `json:"dry_run"`
	}
	if err := c.decode(&ask); err != nil {
		return nil, err
	}
	if c.api.opt.Reload == nil {
		return nil, unavailable("this broker has no configuration that could be read again")
	}
	changes, err := c.api.opt.Reload(ask.DryRun)
	if err != nil {
		return nil, badRequest("%s", err)
	}
	var now, later []string
	for i := range changes {
		if changes[i].Acts == "now" {
			now = append(now, changes[i].Key)
		} else {
			later = append(later, changes[i].Key)
		}
	}
	c.note(slog.Bool("dry_run", ask.DryRun))
	c.note(slog.Any("applied", now))
	c.note(slog.Any("at_next_start", later))
	return struct {
		Applied bool            `json:"applied"`
		Changes []SettingChange `json:"changes"`
	}{!ask.DryRun, changes}, nil
}

// own reports a path that is about the node itself. Whoever its connection
// proves to be, at the admin socket, is answered there also where the node does
// not serve, and nobody's password can be checked.
func (r *route) own() bool { return len(r.elements) > 1 && r.elements[1] == "config" }

func isProven(ctx context.Context) bool {
	_, ok := ctx.Value(principalKey{}).(auth.Principal)
	return ok
}
