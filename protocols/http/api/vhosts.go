package api

import (
	"log/slog"
	"slices"

	"github.com/batonmq/baton/core"
)

type vhost struct {
	Name         string            `json:"name"`
	Description  string            `json:"description"`
	Tags         []string          `json:"tags"`
	QueueType    string            `json:"default_queue_type"`
	Metadata     vhostMetadata     `json:"metadata"`
	Tracing      bool              `json:"tracing"`
	ClusterState map[string]string `json:"cluster_state"`
}

type vhostMetadata struct {
	Description string   `json:"description"`
	Tags        []string `json:"tags"`
	QueueType   string   `json:"default_queue_type,omitempty"`
}

// queueTypes are those that a vhost may have as its default.
var queueTypes = []string{"classic", "quorum", "stream"}

func (c *call) vhostOf(v *core.VHostInfo) vhost {
	queueType := v.DefaultQueueType
	if queueType == "" {
		queueType = queueTypes[0]
	}
	return vhost{
		Name: v.Name, Description: v.Description, Tags: notNil(v.Tags), QueueType: queueType,
		Metadata:     vhostMetadata{v.Description, notNil(v.Tags), v.DefaultQueueType},
		ClusterState: map[string]string{c.api.opt.Node: "running"},
	}
}

// vhosts returns those that the actor may see.
func (c *call) vhosts() ([]core.VHostInfo, error) {
	all := c.access().VHosts()
	if c.is(monitoring) {
		return all, nil
	}
	var seen []core.VHostInfo
	for i := range all {
		ok, err := c.mayEnter(all[i].Name)
		if err != nil {
			return nil, err
		}
		if ok {
			seen = append(seen, all[i])
		}
	}
	return seen, nil
}

func listVHosts(c *call) (any, error) {
	seen, err := c.vhosts()
	l := make(list, len(seen))
	for i := range seen {
		l[i] = c.vhostOf(&seen[i])
	}
	return l, err
}

func getVHost(c *call) (any, error) {
	v, ok := c.access().VHost(c.names["vhost"])
	if !ok {
		return nil, noObject()
	}
	return c.vhostOf(&v), nil
}

// putVHost makes a vhost, or changes what the body names. Who makes one may do
// everything in it, as in RabbitMQ.
func putVHost(c *call) (any, error) {
	var body struct {
		Description *string `json:"description"`
		Tags        *tags   `json:"tags"`
		QueueType   *string `json:"default_queue_type"`
		Tracing     flag    `json:"tracing"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Tracing {
		return nil, badRequest("tracing is not supported")
	}
	name := c.names["vhost"]
	v, ok := c.access().VHost(name)
	if !ok {
		v = core.VHostInfo{Name: name, MaxConnections: -1, MaxQueues: -1}
	}
	if body.Description != nil {
		v.Description = *body.Description
	}
	if body.Tags != nil {
		v.Tags = *body.Tags
	}
	if body.QueueType != nil {
		switch {
		case slices.Contains(queueTypes, *body.QueueType):
			v.DefaultQueueType = *body.QueueType
		case *body.QueueType == "" || *body.QueueType == "undefined":
			v.DefaultQueueType = ""
		default:
			return nil, badRequest("default_queue_type %q is not one of %q", *body.QueueType, queueTypes)
		}
	}
	isNew, err := c.access().PutVHost(c.r.Context(), v)
	if err != nil {
		return nil, err
	}
	if _, known := c.access().User(c.actor.Name); isNew && known {
		c.note(slog.String("permission", ".* for its maker"))
		_, err = c.access().SetPermission(c.r.Context(), core.Permission{
			VHost: name, User: c.actor.Name, Configure: ".*", Write: ".*", Read: ".*",
		})
	}
	return createdOrDone(isNew), err
}

func deleteVHost(c *call) (any, error) {
	return deleted(c.access().DeleteVHost(c.r.Context(), c.names["vhost"]))
}
