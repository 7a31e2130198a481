package api

import (
	"cmp"
	"log/slog"
	"math"
	"slices"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

type policy struct {
	VHost      string         `json:"vhost"`
	Name       string         `json:"name"`
	Pattern    string         `json:"pattern"`
	ApplyTo    string         `json:"apply-to"`
	Definition map[string]any `json:"definition"`
	Priority   int            `json:"priority"`
}

func policyOf(p *core.Policy) policy {
	return policy{p.VHost, p.Name, p.Pattern, p.ApplyTo, object(p.Definition), p.Priority}
}

// policyVerbs are what can be done with policies, or with operator policies.
type policyVerbs struct{ operator bool }

// mayHave refuses actors that may neither see nor change one policy: those of
// users need the tag policymaker and a permission in the vhost.
func (v policyVerbs) mayHave(c *call) error {
	if v.operator || c.is(administrator) {
		return c.mayBe(administrator)
	}
	may, err := false, error(nil)
	if slices.Contains(c.actor.Tags, "policymaker") {
		may, err = c.mayEnter(c.names["vhost"])
	}
	if err == nil && !may {
		err = notAuthorised("User not authorised to access object")
	}
	return err
}

// list returns all that the actor may see: those of users in the order of their
// priorities, as RabbitMQ does.
func (v policyVerbs) list(c *call) (any, error) {
	seen := map[string]bool{}
	vhosts, err := c.vhosts()
	if err != nil {
		return nil, err
	}
	for i := range vhosts {
		seen[vhosts[i].Name] = true
	}
	all := c.primary.Broker.Policies(v.operator)
	if !v.operator {
		slices.SortStableFunc(all, func(a, b core.Policy) int { return cmp.Compare(a.Priority, b.Priority) })
	}
	l := list{}
	for i := range all {
		if seen[all[i].VHost] {
			l = append(l, policyOf(&all[i]))
		}
	}
	return l, nil
}

func (v policyVerbs) listOfVHost(c *call) (any, error) {
	name := c.names["vhost"]
	if err := c.seesVHost(name, monitoring); err != nil {
		return nil, err
	}
	if !c.primary.Broker.HasVHost(name) {
		return nil, noObject()
	}
	all, err := v.list(c)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all.(list), func(p any) bool { return p.(policy).VHost != name }), nil
}

func (v policyVerbs) get(c *call) (any, error) {
	if err := v.mayHave(c); err != nil {
		return nil, err
	}
	p, ok := c.primary.Broker.Policy(c.names["vhost"], c.names["policy"], v.operator)
	if !ok {
		return nil, noObject()
	}
	return policyOf(&p), nil
}

func (v policyVerbs) put(c *call) (any, error) {
	if err := v.mayHave(c); err != nil {
		return nil, err
	}
	if !c.primary.Broker.HasVHost(c.names["vhost"]) {
		return nil, notFound("vhost_not_found")
	}
	var body struct {
		Pattern    *string     `json:"pattern"`
		ApplyTo    string      `json:"apply-to"`
		Definition *definition `json:"definition"`
		Priority   *float64    `json:"priority"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Pattern == nil {
		return nil, missing("pattern")
	}
	if body.Definition == nil {
		return nil, missing("definition")
	}
	p := core.Policy{
		VHost: c.names["vhost"], Name: c.names["policy"], Operator: v.operator,
		Pattern: *body.Pattern, ApplyTo: body.ApplyTo, Definition: field.Table(*body.Definition),
	}
	if n := body.Priority; n != nil {
		if *n != math.Trunc(*n) || math.Abs(*n) > math.MaxInt32 {
			return nil, badRequest("priority should be a whole number, actually was %v", *n)
		}
		p.Priority = int(*n)
	}
	c.note(slog.String("pattern", p.Pattern))
	c.note(slog.Any("definition", object(p.Definition)))
	isNew, err := c.primary.Broker.SetPolicy(c.r.Context(), p)
	if core.KindOf(err) == core.Invalid {
		return nil, badRequest("Validation failed\n\n%s\n", sentence(err))
	}
	return createdOrDone(isNew), err
}

func (v policyVerbs) clear(c *call) (any, error) {
	if err := v.mayHave(c); err != nil {
		return nil, err
	}
	if !c.primary.Broker.HasVHost(c.names["vhost"]) {
		return nil, noObject()
	}
	return deleted(c.primary.Broker.ClearPolicy(c.r.Context(), c.names["vhost"], c.names["policy"], v.operator))
}
