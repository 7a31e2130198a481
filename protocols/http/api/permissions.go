package api

import (
	"log/slog"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
)

type permission struct {
	User      string `json:"user"`
	VHost     string `json:"vhost"`
	Configure string `json:"configure"`
	Write     string `json:"write"`
	Read      string `json:"read"`
}

func permissionOf(p core.Permission) permission {
	return permission{p.User, p.VHost, p.Configure, p.Write, p.Read}
}

type topicPermission struct {
	User     string `json:"user"`
	VHost    string `json:"vhost"`
	Exchange string `json:"exchange"`
	Write    string `json:"write"`
	Read     string `json:"read"`
}

func topicPermissionOf(p core.TopicPermission) topicPermission {
	return topicPermission{p.User, p.VHost, p.Exchange, p.Write, p.Read}
}

// exist refuses a path whose user or vhost does not.
func (c *call) exist() error {
	if name, ok := c.names["user"]; ok {
		if _, ok := c.access().User(name); !ok {
			return noObject()
		}
	}
	if name, ok := c.names["vhost"]; ok && !c.primary.Broker.HasVHost(name) {
		return noObject()
	}
	return nil
}

// concerns reports whether something of a user in a vhost is what the path is
// about: all, one user's, or one vhost's.
func (c *call) concerns(user, vhost string) bool {
	u, hasUser := c.names["user"]
	v, hasVHost := c.names["vhost"]
	return (!hasUser || u == user) && (!hasVHost || v == vhost)
}

func listPermissions(c *call) (any, error) {
	if err := c.exist(); err != nil {
		return nil, err
	}
	l := list{}
	for _, p := range c.access().Permissions() {
		if c.concerns(p.User, p.VHost) {
			l = append(l, permissionOf(p))
		}
	}
	return l, nil
}

func getPermission(c *call) (any, error) {
	p, ok := c.access().Permission(c.names["vhost"], c.names["user"])
	if !ok {
		return nil, noObject()
	}
	return permissionOf(p), nil
}

func putPermission(c *call) (any, error) {
	var body struct {
		Configure *string `json:"configure"`
		Write     *string `json:"write"`
		Read      *string `json:"read"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if err := checkPatterns(pattern{"configure", body.Configure}, pattern{"write", body.Write}, pattern{"read", body.Read}); err != nil {
		return nil, err
	}
	c.note(slog.String("configure", *body.Configure))
	c.note(slog.String("write", *body.Write))
	c.note(slog.String("read", *body.Read))
	return permitted(c.access().SetPermission(c.r.Context(), core.Permission{
		VHost: c.names["vhost"], User: c.names["user"], Configure: *body.Configure, Write: *body.Write, Read: *body.Read,
	}))
}

// permitted is the answer to a permission that was set.
func permitted(isNew bool, err error) (any, error) {
	if err != nil && core.KindOf(err) == core.NotFound {
		return nil, badRequest("vhost_or_user_not_found")
	}
	return createdOrDone(isNew), err
}

type pattern struct {
	key  string
	text *string
}

func checkPatterns(patterns ...pattern) error {
	for _, p := range patterns {
		if p.text == nil {
			return missing(p.key)
		}
		if err := auth.ValidatePattern(*p.text); err != nil {
			return badRequest("invalid_regexp: %s: %s", p.key, err)
		}
	}
	return nil
}

func deletePermission(c *call) (any, error) {
	return deleted(c.access().ClearPermission(c.r.Context(), c.names["vhost"], c.names["user"]))
}

func listTopicPermissions(c *call) (any, error) {
	if err := c.exist(); err != nil {
		return nil, err
	}
	return c.topicPermissions(), nil
}

func (c *call) topicPermissions() list {
	l := list{}
	for _, p := range c.access().TopicPermissions() {
		if c.concerns(p.User, p.VHost) {
			l = append(l, topicPermissionOf(p))
		}
	}
	return l
}

// getTopicPermissions returns a user's in a vhost: a list, and where there are
// none, nothing.
func getTopicPermissions(c *call) (any, error) {
	l := c.topicPermissions()
	if len(l) == 0 {
		return nil, noObject()
	}
	return l, nil
}

func putTopicPermission(c *call) (any, error) {
	var body struct {
		Exchange *string `json:"exchange"`
		Write    *string `json:"write"`
		Read     *string `json:"read"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Exchange == nil {
		return nil, missing("exchange")
	}
	if err := checkPatterns(pattern{"write", body.Write}, pattern{"read", body.Read}); err != nil {
		return nil, err
	}
	c.note(slog.String("exchange", *body.Exchange))
	c.note(slog.String("write", *body.Write))
	c.note(slog.String("read", *body.Read))
	return permitted(c.access().SetTopicPermission(c.r.Context(), core.TopicPermission{
		VHost: c.names["vhost"], User: c.names["user"], Exchange: *body.Exchange, Write: *body.Write, Read: *body.Read,
	}))
}

// deleteTopicPermission takes away the one of an exchange, or without one all of
// the user's in the vhost.
func deleteTopicPermission(c *call) (any, error) {
	return deleted(c.access().ClearTopicPermission(c.r.Context(), c.names["vhost"], c.names["user"], c.names["exchange"]))
}
