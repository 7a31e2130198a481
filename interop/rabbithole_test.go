package interop

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"testing"

	rabbithole "github.com/michaelklishin/rabbit-hole/v2"
	amqp "github.com/rabbitmq/amqp091-go"
)

// TestRabbitHole has RabbitMQ's Go client of the HTTP API make, read back, list and delete every kind of object.
func TestRabbitHole(t *testing.T) {
	b, log := ownBroker(t)
	start(t, b, log)
	c, err := rabbithole.NewClient("http://"+b.Admin, "guest", "guest")
	if err != nil {
		t.Fatal(err)
	}
	h := &hole{c: c, broker: b}
	for _, part := range []struct {
		name  string
		steps []holeStep
	}{
		{"vhosts and users", h.access()},
		{"limits", h.limits()},
		{"exchanges, queues and bindings", h.topology()},
		{"policies", h.policies()},
		{"parameters", h.parameters()},
		{"definitions", h.definitions()},
		{"connections, channels and consumers", h.clients(t)},
		{"the node", h.node()},
		{"deletions", h.deletions()},
	} {
		t.Run(part.name, func(t *testing.T) {
			for _, s := range part.steps {
				if err := s.do(); err != nil {
					t.Errorf("%s: %v", s.name, err)
				}
			}
		})
	}
}

// hole is the client, and a vhost "rh" that it works in.
type hole struct {
	c      *rabbithole.Client
	broker *Broker
}

type holeStep struct {
	name string
	do   func() error
}

// did is the outcome of a request that changes something: the client makes errors of refusals.
func did(res *http.Response, err error) error {
	if err != nil {
		return err
	}
	return res.Body.Close()
}

// is compares what was read.
func is[T any](got T, err error, want T) error {
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("%+v, want %+v", got, want)
	}
	return nil
}

// has looks for an item in a list.
func has[T any](list []T, err error, is func(T) bool) error {
	if err == nil && !slices.ContainsFunc(list, is) {
		err = fmt.Errorf("it is not among %+v", list)
	}
	return err
}

// deleted is for what was deleted.
func deleted(err error) error {
	e, ok := errors.AsType[rabbithole.ErrorResponse](err)
	if !ok || e.StatusCode != http.StatusNotFound {
		return fmt.Errorf("it is not gone: %w", err)
	}
	return nil
}

const holeVHost = "rh"

func (h *hole) access() []holeStep {
	perm := rabbithole.Permissions{Configure: "^a", Write: ".*", Read: "b$"}
	return []holeStep{
		{"put vhost", func() error {
			return did(h.c.PutVhost(holeVHost, rabbithole.VhostSettings{Description: "d", Tags: []string{"a", "b"}}))
		}},
		{"get vhost", func() error {
			v, err := h.c.GetVhost(holeVHost)
			if err != nil {
				return err
			}
			return is(fmt.Sprint(v.Name, v.Description, v.Tags), nil, "rhd[a b]")
		}},
		{"list vhosts", func() error {
			l, err := h.c.ListVhosts()
			return has(l, err, func(v rabbithole.VhostInfo) bool { return v.Name == holeVHost })
		}},
		{"permit guest", func() error {
			return did(h.c.UpdatePermissionsIn(holeVHost, "guest", rabbithole.Permissions{Configure: ".*", Write: ".*", Read: ".*"}))
		}},
		{"put user", func() error {
			return did(h.c.PutUser("u", rabbithole.UserSettings{Password: "pw", Tags: rabbithole.UserTags{"management", "own"}}))
		}},
		{"put user with a hash", func() error {
			hash := rabbithole.Base64EncodedSaltedPasswordHashSHA256("secret")
			return did(h.c.PutUser("w", rabbithole.UserSettings{PasswordHash: hash, HashingAlgorithm: rabbithole.HashingAlgorithmSHA256}))
		}},
		{"put user without a password", func() error {
			return did(h.c.PutUserWithoutPassword("none", rabbithole.UserSettings{Tags: rabbithole.UserTags{"management"}}))
		}},
		{"get user", func() error {
			u, err := h.c.GetUser("u")
			if err != nil {
				return err
			}
			return is(u.Tags, nil, rabbithole.UserTags{"management", "own"})
		}},
		{"list users", func() error {
			l, err := h.c.ListUsers()
			return has(l, err, func(u rabbithole.UserInfo) bool {
				return u.Name == "w" && u.PasswordHash != "" && u.HashingAlgorithm == rabbithole.HashingAlgorithmSHA256
			})
		}},
		{"log in", func() error {
			c, err := rabbithole.NewClient("http://"+h.broker.Admin, "u", "pw")
			if err != nil {
				return err
			}
			me, err := c.Whoami()
			if err != nil {
				return err
			}
			return is(me.Name, nil, "u")
		}},
		{"set permission", func() error { return did(h.c.UpdatePermissionsIn(holeVHost, "u", perm)) }},
		{"get permission", func() error {
			p, err := h.c.GetPermissionsIn(holeVHost, "u")
			return is(p, err, rabbithole.PermissionInfo{User: "u", Vhost: holeVHost, Configure: "^a", Write: ".*", Read: "b$"})
		}},
		{"list permissions", func() error {
			l, err := h.c.ListPermissions()
			return has(l, err, func(p rabbithole.PermissionInfo) bool { return p.User == "u" })
		}},
		{"list permissions of a user", func() error {
			l, err := h.c.ListPermissionsOf("u")
			return is(len(l), err, 1)
		}},
		{"set topic permission", func() error {
			return did(h.c.UpdateTopicPermissionsIn(holeVHost, "u", rabbithole.TopicPermissions{Exchange: "amq.topic", Write: "^w", Read: "^r"}))
		}},
		{"get topic permissions", func() error {
			p, err := h.c.GetTopicPermissionsIn(holeVHost, "u")
			return is(p, err, []rabbithole.TopicPermissionInfo{{User: "u", Vhost: holeVHost, Exchange: "amq.topic", Write: "^w", Read: "^r"}})
		}},
		{"list topic permissions", func() error {
			l, err := h.c.ListTopicPermissions()
			return is(len(l), err, 1)
		}},
		{"list topic permissions of a user", func() error {
			l, err := h.c.ListTopicPermissionsOf("u")
			return is(len(l), err, 1)
		}},
		{"clear one topic permission", func() error { return did(h.c.DeleteTopicPermissionsIn(holeVHost, "u", "amq.topic")) }},
		{"no topic permissions", func() error {
			_, err := h.c.GetTopicPermissionsIn(holeVHost, "u")
			return deleted(err)
		}},
		{"clear permission", func() error { return did(h.c.ClearPermissionsIn(holeVHost, "u")) }},
		{"no permission", func() error {
			_, err := h.c.GetPermissionsIn(holeVHost, "u")
			return deleted(err)
		}},
	}
}

func (h *hole) limits() []holeStep {
	return []holeStep{
		{"put vhost limits", func() error {
			return did(h.c.PutVhostLimits(holeVHost, rabbithole.VhostLimitsValues{"max-connections": 50, "max-queues": 60}))
		}},
		{"get vhost limits", func() error {
			l, err := h.c.GetVhostLimits(holeVHost)
			return is(l, err, []rabbithole.VhostLimitsInfo{{Vhost: holeVHost, Value: rabbithole.VhostLimitsValues{"max-connections": 50, "max-queues": 60}}})
		}},
		{"list vhost limits", func() error {
			l, err := h.c.GetAllVhostLimits()
			return is(len(l), err, 1)
		}},
		{"delete vhost limits", func() error { return did(h.c.DeleteVhostLimits(holeVHost, rabbithole.VhostLimits{"max-connections"})) }},
		{"put user limits", func() error {
			return did(h.c.PutUserLimits("u", rabbithole.UserLimitsValues{"max-connections": 5, "max-channels": 6}))
		}},
		{"get user limits", func() error {
			l, err := h.c.GetUserLimits("u")
			return is(l, err, []rabbithole.UserLimitsInfo{{User: "u", Value: rabbithole.UserLimitsValues{"max-connections": 5, "max-channels": 6}}})
		}},
		{"delete user limits", func() error {
			return did(h.c.DeleteUserLimits("u", rabbithole.UserLimits{"max-connections", "max-channels"}))
		}},
		{"no user limits", func() error {
			l, err := h.c.GetAllUserLimits()
			return is(len(l), err, 0)
		}},
	}
}

func (h *hole) topology() []holeStep {
	args := map[string]any{"x-max-length": 10.0, "x-own": "text"}
	match := rabbithole.BindingInfo{
		Source: "x", Vhost: holeVHost, Destination: "q", DestinationType: "queue", RoutingKey: "k.#", Arguments: map[string]any{"n": 1.0},
	}
	var key string
	return []holeStep{
		{"put exchange", func() error {
			return did(h.c.DeclareExchange(holeVHost, "x", rabbithole.ExchangeSettings{Type: "topic", Durable: true, Arguments: map[string]any{"alternate-exchange": "amq.fanout"}}))
		}},
		{"put another exchange", func() error {
			return did(h.c.DeclareExchange(holeVHost, "y", rabbithole.ExchangeSettings{Type: "fanout", AutoDelete: true}))
		}},
		{"get exchange", func() error {
			x, err := h.c.GetExchange(holeVHost, "x")
			if err != nil {
				return err
			}
			return is(fmt.Sprint(x.Name, x.Vhost, x.Type, x.Durable, x.AutoDelete, x.Arguments), nil, "xrhtopictrue false map[alternate-exchange:amq.fanout]")
		}},
		{"list exchanges", func() error {
			l, err := h.c.ListExchanges()
			return has(l, err, func(x rabbithole.ExchangeInfo) bool { return x.Name == "y" && x.Vhost == holeVHost })
		}},
		{"list exchanges of a vhost", func() error {
			l, err := h.c.ListExchangesIn(holeVHost)
			return has(l, err, func(x rabbithole.ExchangeInfo) bool { return x.Name == "y" })
		}},
		{"put queue", func() error {
			return did(h.c.DeclareQueue(holeVHost, "q", rabbithole.QueueSettings{Type: "classic", Durable: true, Arguments: args}))
		}},
		{"put queue again", func() error {
			return did(h.c.DeclareQueue(holeVHost, "q", rabbithole.QueueSettings{Type: "classic", Durable: true, Arguments: args}))
		}},
		{"get queue", func() error {
			q, err := h.c.GetQueue(holeVHost, "q")
			if err != nil {
				return err
			}
			return errors.Join(
				is(fmt.Sprint(q.Name, q.Vhost, q.Durable, bool(q.AutoDelete)), nil, "qrhtrue false"),
				is(q.Arguments["x-max-length"], nil, any(10.0)), is(q.Arguments["x-own"], nil, any("text")),
			)
		}},
		{"list queues", func() error {
			l, err := h.c.ListQueues()
			return has(l, err, func(q rabbithole.QueueInfo) bool { return q.Name == "q" && q.Vhost == holeVHost })
		}},
		{"list queues of a vhost", func() error {
			l, err := h.c.ListQueuesIn(holeVHost)
			return is(len(l), err, 1)
		}},
		{"list a page of queues", func() error {
			p, err := h.c.PagedListQueuesWithParametersIn(holeVHost, url.Values{"page": {"1"}, "page_size": {"10"}, "name": {"q"}})
			return is(fmt.Sprint(p.Page, p.PageCount, p.FilteredCount, len(p.Items)), err, "1 1 1 1")
		}},
		{"bind", func() error { return did(h.c.DeclareBinding(holeVHost, match)) }},
		{"bind exchanges", func() error {
			return did(h.c.DeclareBinding(holeVHost, rabbithole.BindingInfo{Source: "x", Destination: "y", DestinationType: "exchange", RoutingKey: "z"}))
		}},
		{"list bindings", func() error {
			l, err := h.c.ListBindings()
			return has(l, err, func(b rabbithole.BindingInfo) bool { return b.RoutingKey == "z" && b.Vhost == holeVHost })
		}},
		{"list bindings of a vhost", func() error {
			l, err := h.c.ListBindingsIn(holeVHost)
			return is(len(l), err, 3)
		}},
		{"list bindings of a queue", func() error {
			l, err := h.c.ListQueueBindings(holeVHost, "q")
			i := slices.IndexFunc(l, func(b rabbithole.BindingInfo) bool { return b.Source == "x" })
			if err != nil || i < 0 {
				return fmt.Errorf("%+v, %w", l, err)
			}
			key, l[i].PropertiesKey = l[i].PropertiesKey, ""
			return is(l[i], nil, match)
		}},
		{"list bindings between", func() error {
			l, err := h.c.ListQueueBindingsBetween(holeVHost, "x", "q")
			return is(len(l), err, 1)
		}},
		{"list bindings between exchanges", func() error {
			l, err := h.c.ListExchangeBindingsBetween(holeVHost, "x", "y")
			return is(len(l), err, 1)
		}},
		{"list bindings from an exchange", func() error {
			l, err := h.c.ListExchangeBindingsWithSource(holeVHost, "x")
			return is(len(l), err, 2)
		}},
		{"list bindings to an exchange", func() error {
			l, err := h.c.ListExchangeBindingsWithDestination(holeVHost, "y")
			return is(len(l), err, 1)
		}},
		{"unbind", func() error {
			match.PropertiesKey = key
			return did(h.c.DeleteBinding(holeVHost, match))
		}},
		{"unbound", func() error {
			l, err := h.c.ListQueueBindingsBetween(holeVHost, "x", "q")
			return is(len(l), err, 0)
		}},
		{"purge", func() error { return did(h.c.PurgeQueue(holeVHost, "q")) }},
	}
}

func (h *hole) policies() []holeStep {
	p := rabbithole.Policy{Vhost: holeVHost, Name: "p", Pattern: "^q", ApplyTo: "queues", Priority: 3, Definition: rabbithole.PolicyDefinition{"max-length": 5.0}}
	o := rabbithole.OperatorPolicy{Vhost: holeVHost, Name: "o", Pattern: ".*", ApplyTo: "queues", Priority: 1, Definition: rabbithole.PolicyDefinition{"expires": 60000.0}}
	return []holeStep{
		{"put policy", func() error { return did(h.c.PutPolicy(holeVHost, "p", p)) }},
		{"get policy", func() error {
			got, err := h.c.GetPolicy(holeVHost, "p")
			return is(got, err, &p)
		}},
		{"list policies", func() error {
			l, err := h.c.ListPolicies()
			return is(l, err, []rabbithole.Policy{p})
		}},
		{"list policies of a vhost", func() error {
			l, err := h.c.ListPoliciesIn(holeVHost)
			return is(l, err, []rabbithole.Policy{p})
		}},
		{"put operator policy", func() error { return did(h.c.PutOperatorPolicy(holeVHost, "o", o)) }},
		{"get operator policy", func() error {
			got, err := h.c.GetOperatorPolicy(holeVHost, "o")
			return is(got, err, &o)
		}},
		{"list operator policies", func() error {
			l, err := h.c.ListOperatorPolicies()
			return is(l, err, []rabbithole.OperatorPolicy{o})
		}},
		{"list operator policies of a vhost", func() error {
			l, err := h.c.ListOperatorPoliciesIn(holeVHost)
			return is(l, err, []rabbithole.OperatorPolicy{o})
		}},
		{"the queue's policies", func() error {
			q, err := h.c.GetQueue(holeVHost, "q")
			if err != nil {
				return err
			}
			return is(q.Policy, nil, "p")
		}},
		{"delete policy", func() error { return did(h.c.DeletePolicy(holeVHost, "p")) }},
		{"no policy", func() error {
			_, err := h.c.GetPolicy(holeVHost, "p")
			return deleted(err)
		}},
		{"delete operator policy", func() error { return did(h.c.DeleteOperatorPolicy(holeVHost, "o")) }},
		{"no operator policy", func() error {
			_, err := h.c.GetOperatorPolicy(holeVHost, "o")
			return deleted(err)
		}},
	}
}

func (h *hole) parameters() []holeStep {
	up := rabbithole.FederationDefinition{Uri: []string{"amqp://localhost"}, Expires: 1000, PrefetchCount: 7}
	shovel := rabbithole.ShovelDefinition{SourceURI: []string{"amqp://a"}, DestinationURI: []string{"amqp://b"}, SourceQueue: "q", DestinationQueue: "r"}
	value := map[string]any{"a": []any{1.0, nil, "x"}}
	return []holeStep{
		{"put parameter", func() error { return did(h.c.PutRuntimeParameter("own", holeVHost, "n", value)) }},
		{"get parameter", func() error {
			p, err := h.c.GetRuntimeParameter("own", holeVHost, "n")
			return is(p, err, &rabbithole.RuntimeParameter{Name: "n", Vhost: holeVHost, Component: "own", Value: value})
		}},
		{"put upstream", func() error { return did(h.c.PutFederationUpstream(holeVHost, "up", up)) }},
		{"get upstream", func() error {
			u, err := h.c.GetFederationUpstream(holeVHost, "up")
			return is(u, err, &rabbithole.FederationUpstream{Name: "up", Vhost: holeVHost, Component: "federation-upstream", Definition: up})
		}},
		{"list upstreams", func() error {
			l, err := h.c.ListFederationUpstreamsIn(holeVHost)
			return is(len(l), err, 1)
		}},
		{"put shovel", func() error { return did(h.c.DeclareShovel(holeVHost, "s", shovel)) }},
		{"get shovel", func() error {
			s, err := h.c.GetShovel(holeVHost, "s")
			return is(s, err, &rabbithole.ShovelInfo{Name: "s", Vhost: holeVHost, Component: "shovel", Definition: shovel})
		}},
		{"list shovels", func() error {
			l, err := h.c.ListShovels()
			return is(len(l), err, 1)
		}},
		{"list parameters", func() error {
			l, err := h.c.ListRuntimeParameters()
			return is(len(l), err, 4) // the vhost's limits are one
		}},
		{"list a component's", func() error {
			l, err := h.c.ListRuntimeParametersFor("own")
			return is(len(l), err, 1)
		}},
		{"list a component's in a vhost", func() error {
			l, err := h.c.ListRuntimeParametersIn("own", holeVHost)
			return is(len(l), err, 1)
		}},
		{"delete upstream", func() error { return did(h.c.DeleteFederationUpstream(holeVHost, "up")) }},
		{"delete shovel", func() error { return did(h.c.DeleteShovel(holeVHost, "s")) }},
		{"delete parameter", func() error { return did(h.c.DeleteRuntimeParameter("own", holeVHost, "n")) }},
		{"no parameter", func() error {
			_, err := h.c.GetRuntimeParameter("own", holeVHost, "n")
			return deleted(err)
		}},
		{"put global parameter", func() error { return did(h.c.PutGlobalParameter("g", value)) }},
		{"get global parameter", func() error {
			p, err := h.c.GetGlobalParameter("g")
			return is(p, err, &rabbithole.GlobalRuntimeParameter{Name: "g", Value: value})
		}},
		{"list global parameters", func() error {
			l, err := h.c.ListGlobalParameters()
			return has(l, err, func(p rabbithole.GlobalRuntimeParameter) bool { return p.Name == "g" })
		}},
		{"delete global parameter", func() error { return did(h.c.DeleteGlobalParameter("g")) }},
		{"no global parameter", func() error {
			_, err := h.c.GetGlobalParameter("g")
			return deleted(err)
		}},
	}
}

func (h *hole) definitions() []holeStep {
	var all *rabbithole.ExportedDefinitions
	return []holeStep{
		{"export", func() (err error) {
			if all, err = h.c.ListDefinitions(); err != nil {
				return err
			}
			return errors.Join(
				has(*all.Queues, nil, func(q rabbithole.QueueInfo) bool { return q.Name == "q" && q.Vhost == holeVHost }),
				has(*all.Users, nil, func(u rabbithole.UserInfo) bool { return u.Name == "u" }),
				has(*all.Vhosts, nil, func(v rabbithole.VhostInfo) bool { return v.Name == holeVHost }),
			)
		}},
		{"export a vhost", func() error {
			d, err := h.c.ListVhostDefinitions(holeVHost)
			if err != nil {
				return err
			}
			return is(fmt.Sprint(len(*d.Queues), len(*d.Exchanges), len(*d.Bindings), d.Users), nil, "1 2 1 <nil>")
		}},
		{"delete a queue", func() error { return did(h.c.DeleteQueue(holeVHost, "q")) }},
		{"import", func() error {
			all.Permissions = nil // the client's type has neither user nor vhost of them
			return did(h.c.UploadDefinitions(all))
		}},
		{"the queue is back", func() error {
			q, err := h.c.GetQueue(holeVHost, "q")
			if err != nil {
				return err
			}
			return is(q.Arguments["x-own"], nil, any("text"))
		}},
	}
}

// clients uses a connection with a channel and a consumer of the test's own.
func (h *hole) clients(t *testing.T) []holeStep {
	t.Helper()
	var conn *amqp.Connection
	var name string
	closed := make(chan *amqp.Error, 1)
	return []holeStep{
		{"connect", func() (err error) {
			conn, err = amqp.DialConfig(h.broker.URL(), amqp.Config{Vhost: holeVHost, Properties: amqp.Table{"connection_name": "of the test"}})
			if err != nil {
				return err
			}
			t.Cleanup(func() { _ = conn.Close() })
			conn.NotifyClose(closed)
			ch, err := conn.Channel()
			if err != nil {
				return err
			}
			_, err = ch.Consume("q", "tag", false, false, false, false, nil)
			return err
		}},
		{"list connections", func() error {
			l, err := h.c.ListConnections()
			if err != nil || len(l) != 1 {
				return fmt.Errorf("%+v, %w", l, err)
			}
			name = l[0].Name
			return is(fmt.Sprint(l[0].User, l[0].Vhost, l[0].Channels, l[0].ClientProperties["connection_name"]), nil, "guestrh1of the test")
		}},
		{"get connection", func() error {
			i, err := h.c.GetConnection(name)
			if err != nil {
				return err
			}
			return is(i.Name, nil, name)
		}},
		{"list connections of a vhost", func() error {
			l, err := h.c.ListVhostConnections(holeVHost)
			return is(len(l), err, 1)
		}},
		{"list channels", func() error {
			l, err := h.c.ListChannels()
			if err != nil || len(l) != 1 {
				return fmt.Errorf("%+v, %w", l, err)
			}
			i, err := h.c.GetChannel(l[0].Name)
			if err != nil {
				return err
			}
			return is(fmt.Sprint(i.ConnectionDetails.Name == name, i.ConsumerCount, i.Vhost), nil, "true 1rh")
		}},
		{"list consumers", func() error {
			l, err := h.c.ListConsumers()
			return has(l, err, func(c rabbithole.ConsumerInfo) bool { return c.ConsumerTag == "tag" && c.Queue.Name == "q" })
		}},
		{"list consumers of a vhost", func() error {
			l, err := h.c.ListConsumersIn(holeVHost)
			return is(len(l), err, 1)
		}},
		{"close connection", func() error { return did(h.c.CloseConnection(name)) }},
		{"it is told", func() error {
			if e := <-closed; e == nil || e.Code != amqp.ConnectionForced {
				return fmt.Errorf("it was told %w", e)
			}
			return nil
		}},
	}
}

func (h *hole) node() []holeStep {
	var node string
	port := func(addr string) uint {
		_, text, _ := net.SplitHostPort(addr)
		n, _ := strconv.Atoi(text)
		return uint(n)
	}
	ok := func(c rabbithole.HealthCheck, err error) error {
		if err == nil && !c.Ok() {
			err = fmt.Errorf("%+v", c)
		}
		return err
	}
	return []holeStep{
		{"overview", func() error {
			o, err := h.c.Overview()
			if err != nil {
				return err
			}
			node = o.Node
			return is(o.ObjectTotals.Queues, nil, 1)
		}},
		{"list nodes", func() error {
			l, err := h.c.ListNodes()
			return has(l, err, func(n rabbithole.NodeInfo) bool { return n.Name == node && n.IsRunning })
		}},
		{"get node", func() error {
			n, err := h.c.GetNode(node)
			if err != nil {
				return err
			}
			return is(n.Name, nil, node)
		}},
		{"cluster name", func() error {
			if err := did(h.c.SetClusterName(rabbithole.ClusterName{Name: "hole"})); err != nil {
				return err
			}
			n, err := h.c.GetClusterName()
			return is(n, err, &rabbithole.ClusterName{Name: "hole"})
		}},
		{"protocols", func() error {
			l, err := h.c.EnabledProtocols()
			return has(l, err, func(p string) bool { return p == "amqp" })
		}},
		{"feature flags", func() error {
			if err := did(h.c.EnableFeatureFlag("quorum_queue")); err != nil {
				return err
			}
			l, err := h.c.ListFeatureFlags()
			return has(l, err, func(f rabbithole.FeatureFlag) bool {
				return f.Name == "quorum_queue" && f.State == rabbithole.StateEnabled
			})
		}},
		{"alarms", func() error {
			c, err := h.c.HealthCheckAlarms()
			return ok(&c, err)
		}},
		{"local alarms", func() error {
			c, err := h.c.HealthCheckLocalAlarms()
			return ok(&c, err)
		}},
		{"vhosts are up", func() error {
			c, err := h.c.HealthCheckVirtualHosts()
			return ok(&c, err)
		}},
		{"port", func() error {
			c, err := h.c.HealthCheckPortListener(port(h.broker.AMQP))
			return ok(&c, err)
		}},
		{"a port that is not open", func() error {
			c, err := h.c.HealthCheckPortListener(1)
			if err == nil && c.Ok() {
				err = errors.New("it is said to be")
			}
			return err
		}},
		{"protocol", func() error {
			c, err := h.c.HealthCheckProtocolListener(rabbithole.MQTT)
			return ok(&c, err)
		}},
		{"certificates", func() error {
			c, err := h.c.HealthCheckCertificateExpiration(1, rabbithole.DAYS)
			return ok(&c, err)
		}},
		{"a broker without standbys is not critical", func() error {
			c, err := h.c.HealthCheckNodeIsQuorumCritical()
			return ok(&c, err)
		}},
		{"nor where mirrors are asked about", func() error {
			c, err := h.c.HealthCheckNodeIsMirrorSyncCritical()
			return ok(&c, err)
		}},
	}
}

func (h *hole) deletions() []holeStep {
	return []holeStep{
		{"queue", func() error {
			return did(h.c.DeleteQueue(holeVHost, "q", rabbithole.QueueDeleteOptions{IfEmpty: true}))
		}},
		{"no queue", func() error {
			_, err := h.c.GetQueue(holeVHost, "q")
			return deleted(err)
		}},
		{"exchange", func() error { return did(h.c.DeleteExchange(holeVHost, "x")) }},
		{"no exchange", func() error {
			_, err := h.c.GetExchange(holeVHost, "x")
			return deleted(err)
		}},
		{"user", func() error { return did(h.c.DeleteUser("u")) }},
		{"no user", func() error {
			_, err := h.c.GetUser("u")
			return deleted(err)
		}},
		{"vhost", func() error { return did(h.c.DeleteVhost(holeVHost)) }},
		{"no vhost", func() error {
			_, err := h.c.GetVhost(holeVHost)
			return deleted(err)
		}},
	}
}
