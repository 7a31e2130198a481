package main

import (
	"time"

	"github.com/spf13/cobra"

	"github.com/batonmq/baton/protocols/http/api"
)

// upgradeVerbs are those of RabbitMQ's upgrade tool: what is called before a node is stopped, by operators of Kubernetes among others. It
// is stopped whatever the answer is; so a primary whose standby could take over is drained, too, and hands over when it stops.
func upgradeVerbs() []toolVerb {
	return []toolVerb{
		{"drain", "Take no connections any more, and end those that there are", cobra.NoArgs, drainTool},
		{"revive", "Take connections again", cobra.NoArgs, reviveTool},
		{"await_online_quorum_plus_one", "There is nothing to wait for: no queue is on several nodes", cobra.NoArgs, nothingTool},
		{"await_online_synchronized_mirror", "There is nothing to wait for: no queue is on several nodes", cobra.NoArgs, nothingTool},
	}
}

func drainTool(c *toolCall, _ []string) error {
	if err := c.tell("Will put node %s into maintenance mode. The node will no longer serve any client traffic!", c.node); err != nil {
		return err
	}
	return c.ask(func(b *broker) error {
		if err := b.put("/api/maintenance", maintenanceOrder{Rate: api.DefaultEndRate, Here: true}); err != nil {
			return err
		}
		_, err := b.awaitNobody(true, time.Minute)
		return err
	})
}

func reviveTool(c *toolCall, _ []string) error {
	if err := c.tell("Will revive node %s from maintenance mode. The node will now serve client traffic.", c.node); err != nil {
		return err
	}
	return c.ask(func(b *broker) error { return b.del("/api/maintenance", nil) })
}

func nothingTool(*toolCall, []string) error { return nil }
