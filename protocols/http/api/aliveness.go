package api

import (
	"encoding/json"
	"log/slog"
	"sync/atomic"

	"github.com/batonmq/baton/core"
)

// alivenessQueue is RabbitMQ's. It stays: monitoring comes back.
const alivenessQueue = "aliveness-test"

// checkAliveness sends a message through a queue of the vhost, as the actor.
func checkAliveness(c *call) (any, error) {
	s, err := c.attach()
	if err != nil {
		return nil, err
	}
	defer s.Close()
	ctx := c.r.Context()
	if _, err := s.DeclareQueue(ctx, core.QueueSpec{Name: alivenessQueue}); err != nil {
		return nil, spoken(err)
	}
	m := &core.Message{Key: alivenessQueue, Body: []byte("test_message")}
	if err := admit(ctx, s, m); err != nil {
		return nil, err
	}
	if _, err := s.Publish(m, nil, 0); err != nil {
		return nil, spoken(err)
	}
	_, _, ok, err := s.Get(ctx, alivenessQueue, true)
	switch {
	case err != nil:
		return nil, spoken(err)
	case !ok: // somebody else has got it
		return checked{Status: "empty"}, nil
	}
	return allWell(), nil
}

// Attempts are logins.
type Attempts struct {
	Protocol          string
	Accepted, Refused uint64
}

// attempts are those of one protocol, as the API tells them.
type attempts struct {
	Protocol string `json:"protocol"`
	All      uint64 `json:"auth_attempts"`
	Refused  uint64 `json:"auth_attempts_failed"`
	Accepted uint64 `json:"auth_attempts_succeeded"`
}

// logins counts those of the API itself.
type logins struct{ accepted, refused atomic.Uint64 }

// listAttempts tells how many logins there were, by protocol. Addresses they came
// from are not counted.
func listAttempts(c *call) (any, error) {
	if c.names["node"] != c.api.opt.Node {
		return nil, noObject()
	}
	of := func(a Attempts) attempts {
		return attempts{a.Protocol, a.Accepted + a.Refused, a.Refused, a.Accepted}
	}
	l := list{of(c.api.Logins())}
	if c.api.opt.Attempts != nil {
		for _, a := range c.api.opt.Attempts() {
			l = append(l, of(a))
		}
	}
	return l, nil
}

// Logins are those to the API itself so far.
func (a *API) Logins() Attempts {
	return Attempts{"http", a.logins.accepted.Load(), a.logins.refused.Load()}
}

func listAttemptsBySource(c *call) (any, error) {
	if c.names["node"] != c.api.opt.Node {
		return nil, noObject()
	}
	return list{}, nil
}

// clusterNameParameter is the global parameter that RabbitMQ keeps it in.
const clusterNameParameter = "cluster_name"

// clusterName is what the brokers of the directory are called: what an
// administrator has said, or the configuration.
func (c *call) clusterName() string {
	if c.primary != nil {
		if p, ok := c.primary.Broker.Parameter("", "", clusterNameParameter); ok {
			var name string
			if json.Unmarshal(p.Value, &name) == nil && name != "" { // else somebody has set it to what is no name
				return name
			}
		}
	}
	return c.api.opt.Cluster
}

func getClusterName(c *call) (any, error) {
	return map[string]string{"name": c.clusterName()}, nil
}

// putClusterName has the name survive restarts. What clients are told as they
// connect is the configured one.
func putClusterName(c *call) (any, error) {
	var body struct {
		Name *string `json:"name"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Name == nil {
		return nil, missing("name")
	}
	value, err := encode(*body.Name)
	if err != nil || *body.Name == "" {
		return nil, badRequest("the name is empty")
	}
	c.note(slog.String("name", *body.Name))
	_, err = c.primary.Broker.SetParameter(c.r.Context(), core.Parameter{Name: clusterNameParameter, Value: value})
	return done, err //nolint:wrapcheck // it says what was being done
}

// listExtensions is about the web pages that plugins add: none.
func listExtensions(*call) (any, error) { return list{}, nil }

// getAuth says that browsers log in with a password.
func getAuth(*call) (any, error) {
	return map[string]any{"enable_uaa": false, "uaa_client_id": "", "uaa_location": ""}, nil
}

// rebalance has nothing to do: all queues are where the primary is.
func rebalance(*call) (any, error) { return done, nil }
