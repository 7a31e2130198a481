package api

import (
	"fmt"
	"time"

	"github.com/batonmq/baton/core"
)

// mostFindings bounds what is told of many of a kind.
const mostFindings = 20

// whyQueue tells why the messages of a queue are where they are.
func (c *call) whyQueue() (any, error) {
	q, err := c.theQueue()
	if err != nil {
		return nil, err
	}
	i, ok := q.Info()
	if !ok {
		return nil, noObject()
	}
	a := answer{About: fmt.Sprintf("queue '%s' in vhost '%s'", i.Name, i.VHost), Findings: []finding{}}
	c.findGrowth(&a, q, &i)
	if i.Unsettled > 0 {
		a.find("unacknowledged", "see who has them: baton consumers, baton why connection", "%d messages are with consumers that have not answered for them", i.Unsettled)
	}
	if i.Resting > 0 {
		a.find("resting", "they are ready when their delay is over (x-delayed-retry-type)", "%d messages came back and wait before they are handed out again", i.Resting)
	}
	if i.Ready == 0 {
		return a, nil
	}
	switch {
	case i.Subscriber != "":
		c.findSession(&a, i.Subscriber)
	case i.Consumers == 0:
		a.find("no_consumers", "start a consumer", "%d messages are ready, and nobody consumes", i.Ready)
	case i.Stalled || i.Capacity < keepsUp:
		c.findSlow(&a, q, &i)
	}
	return a, nil
}

// keepsUp is the capacity from which consumers count as ready for whatever comes.
const keepsUp = 0.9

// findGrowth tells that more comes in than goes out.
func (c *call) findGrowth(a *answer, q *core.Queue, i *core.QueueInfo) {
	lengths, rates, _ := c.queueRates(q, &i.QueueStats)
	if grows := lengths.MessagesRate.Rate; grows >= 0.1 && i.Ready > 0 {
		a.find("growing", "add consumers, or make them faster", "it grows by %.1f messages a second: %.1f come in, %.1f are handed out, %.1f are acknowledged",
			grows, rates.PublishRate.Rate, rates.DeliverGetRate.Rate, rates.AckRate.Rate)
	}
}

// findSlow tells of consumers that can be given no more, and why.
func (c *call) findSlow(a *answer, q *core.Queue, i *core.QueueInfo) {
	if i.Capacity < keepsUp {
		a.find("busy_consumers", "add consumers, or make them faster", "in the last minute a consumer could take what was ready %.0f %% of the time", 100*i.Capacity)
	}
	seen, before, waiting := seenConnections{}, len(a.Findings), 0
	for _, k := range q.Consumers() {
		if k.Lack == core.LacksNothing || !k.Active {
			continue
		}
		if waiting++; waiting <= mostFindings {
			a.findLack(&k, seen.of(k.Session))
		}
	}
	if more := waiting - mostFindings; more > 0 {
		a.find("more_consumers", "", "%d more consumers wait likewise", more)
	}
	if len(a.Findings) == before && i.Stalled {
		a.find("no_credit", "", "%d messages are ready, and no consumer takes one just now", i.Ready)
	}
}

// findLack tells what one consumer waits for.
func (a *answer) findLack(k *core.ConsumerInfo, conn *core.ConnectionInfo) {
	who, age := fmt.Sprintf("consumer '%s' of connection '%s'", k.Tag, conn.Name), since(k.Since)
	if k.Channel == 0 && k.Tag == "" {
		who = fmt.Sprintf("connection '%s'", conn.Name)
	}
	switch k.Lack {
	case core.LacksRoom:
		a.find("slow_reader", "its client does not read: look at its machine and network", "%s: %d bytes wait to be written to its client, for %s", who, conn.Pending, age)
	case core.LacksCredit, core.LacksShared, core.LacksMemory:
		if conn.State == stateBlocked {
			a.find("blocked_publisher", "publish and consume on connections of their own", "%s publishes, too, and must wait (baton alarm): its acknowledgements are behind what it publishes", who)
			return
		}
		a.findNoCredit(k, who, age)
	case core.LacksCertainty:
		a.find("primary_in_doubt", "baton ha status", "%s waits until it is certain again that this broker is the primary", who)
	case core.LacksTurn:
		a.find("session_first", "see why its session waits: baton why session", "%s has others to take first, which wait for it alone", who)
	case core.LacksNothing:
	}
}

// stateBlocked is RabbitMQ's word for a connection that must wait with what it publishes.
const stateBlocked = "blocked"

func (a *answer) findNoCredit(k *core.ConsumerInfo, who, age string) {
	switch {
	case k.Lack == core.LacksMemory:
		a.find("no_memory_credit", "acknowledge deliveries; and set a prefetch limit, so that its share is its own",
			"%s has %d messages unanswered for %s, and all consumers without a prefetch limit have what they may have together", who, k.Unacked, age)
	case k.Lack == core.LacksShared || k.Prefetch == 0:
		a.find("no_credit", "acknowledge deliveries, or raise the channel's prefetch limit", "%s has all that its channel may have unanswered, %d messages of it from here, for %s",
			who, k.Unacked, age)
	default:
		a.find("no_credit", "acknowledge deliveries, or raise its prefetch limit", "%s has all %d messages that it may have unanswered, for %s", who, k.Prefetch, age)
	}
}

// since is how long ago that was, for people.
func since(t time.Time) string { return time.Since(t).Round(time.Second).String() }
