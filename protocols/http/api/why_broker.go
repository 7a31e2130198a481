package api

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/batonmq/baton/core"
)

// lately is how long ago a message may have reached nobody that is still told of.
const lately = 10 * time.Minute

// whyBroker tells what is the matter anywhere.
func (c *call) whyBroker() (any, error) {
	if !c.is(monitoring) {
		return nil, badRequest("ask about a queue, a session, a connection, or an exchange and a routing_key; users with the tag monitoring may ask about all")
	}
	a := answer{About: fmt.Sprintf("broker '%s'", c.api.opt.Node), Findings: []finding{}}
	if reason := c.api.opt.Ready(); reason != "" {
		a.find("not_ready", "baton status", "%s", reason)
	}
	c.findAlarms(&a)
	c.findSlowQueues(&a)
	c.findForsaken(&a)
	c.findLost(&a)
	return a, nil
}

// findSlowQueues tells of queues that consumers take nothing of, the longest first.
func (c *call) findSlowQueues(a *answer) {
	var slow []core.QueueInfo
	for _, q := range c.primary.Broker.SlowQueues() {
		if i, ok := q.Info(); ok && i.Stalled {
			slow = append(slow, i)
		}
	}
	slices.SortFunc(slow, func(a, b core.QueueInfo) int { return a.StalledSince.Compare(b.StalledSince) })
	for n, i := range slow {
		if n == mostFindings {
			a.find("slow_consumers", "baton_queue_stalled of /metrics/detailed tells which", "and of %d more queues", len(slow)-n)
			break
		}
		a.find("slow_consumers", fmt.Sprintf("baton why queue --vhost %s %s", shell(i.VHost), shell(i.Name)),
			"queue '%s' in vhost '%s': %d messages are ready, and none of %d consumers has taken one for %s", i.Name, i.VHost, i.Ready, i.Consumers, since(i.StalledSince))
	}
}

// findForsaken tells of queues that are published to and not consumed, the longest
// first. Sessions' queues wait for their clients, which is what they are for.
func (c *call) findForsaken(a *answer) {
	if c.primary.Sampler == nil {
		return
	}
	var grow []core.QueueInfo
	for q := range c.primary.Broker.AllQueues() {
		if q.IsSubscribers() {
			continue
		}
		if i, ok := q.Info(); ok && i.Consumers == 0 && i.Ready > 0 {
			if _, rates, _ := c.queueRates(q, &i.QueueStats); rates.PublishRate.Rate > 0 && rates.DeliverGetRate.Rate == 0 {
				grow = append(grow, i)
			}
		}
	}
	slices.SortFunc(grow, func(a, b core.QueueInfo) int { return cmp.Compare(b.Ready, a.Ready) })
	for n, i := range grow {
		if n == mostFindings {
			a.find("no_consumers", "", "and %d more queues", len(grow)-n)
			break
		}
		a.find("no_consumers", "start a consumer", "queue '%s' in vhost '%s' is published to, %d messages are ready, and nobody consumes", i.Name, i.VHost, i.Ready)
	}
}

// findLost tells of exchanges from where messages have lately reached nobody.
func (c *call) findLost(a *answer) {
	type lost struct {
		*core.Exchange
		core.Unrouted
	}
	var all []lost
	for _, v := range c.access().VHosts() {
		for x := range c.primary.Broker.Exchanges(v.Name) {
			if u := x.Unrouted(); u.Messages > 0 && time.Since(u.At) < lately {
				all = append(all, lost{x, u})
			}
		}
	}
	slices.SortFunc(all, func(a, b lost) int { return b.At.Compare(a.At) })
	for n, l := range all {
		if n == mostFindings {
			a.find("unroutable", "", "and %d more exchanges", len(all)-n)
			break
		}
		a.findUnrouted(fmt.Sprintf("exchange '%s' in vhost '%s': ", l.Name(), l.VHost()), l.Name(), &l.Unrouted)
	}
}

// whyExchange tells what was published to an exchange and reached nobody.
func (c *call) whyExchange() (any, error) {
	x, err := c.theExchange()
	if err != nil {
		return nil, err
	}
	a := answer{About: fmt.Sprintf("exchange '%s' in vhost '%s'", x.Name(), x.VHost()), Findings: []finding{}}
	if u := c.unrouted(x); u.Messages > 0 {
		a.findUnrouted("", x.Name(), &u)
	}
	return a, nil
}

func (a *answer) findUnrouted(where, exchange string, u *core.Unrouted) {
	who := ""
	if u.User != "" || u.Conn != "" {
		who = fmt.Sprintf("; user '%s' published it on connection '%s'", u.User, u.Conn)
	}
	a.find("unroutable", fmt.Sprintf("bind a queue, or see where it goes now: baton why publish %s %s", shell(exchange), shell(u.Key)), "%s%d messages have reached nobody; one of the last had the routing key '%s', %s ago%s",
		where, u.Messages, u.Key, since(u.At), who)
}

// shell quotes an argument for a shell.
func shell(arg string) string { return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'" }
