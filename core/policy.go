package core

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/batonmq/baton/core/field"
)

// A policy gives settings to the queues and exchanges of a vhost by their names, instead of by arguments that whoever declares them has to
// know. Of the policies that apply to an object one wins: that with the highest priority, and of equal ones the one whose name comes first
// (in RabbitMQ it is any of them). Beside it one operator policy applies, found in the same way. That is for those who run the broker: it
// has limits only, and the lower of two limits counts.
//
// A change applies to what exists before its method returns, and to what is declared later when it is made.

// Policy is one policy, or operator policy.
type Policy struct {
	VHost, Name string
	Operator    bool
	Pattern     string // of the names that it applies to: Options.CompilePattern knows what it means
	ApplyTo     string // "all", "queues", "classic_queues", "quorum_queues", "streams" or "exchanges"; empty: all
	Priority    int
	Definition  field.Table // the settings, in the order of their keys
}

// PolicyEffect is what policies amount to for one queue or exchange.
type PolicyEffect struct {
	Policy, Operator string      // names; empty: none applies
	Definition       field.Table // of both together, in the order of the keys; nil: no policy applies
}

// policy is a policy that is in force.
type policy struct {
	Policy
	matches func(name string) bool
	fits    queueTypes
}

// policies are a vhost's: a snapshot.
type policies struct {
	users, operators []*policy // best first
}

// of returns those of one kind.
func (ps *policies) of(operator bool) []*policy {
	if operator {
		return ps.operators
	}
	return ps.users
}

// find returns a policy by name, nil if there is none.
func (ps *policies) find(name string, operator bool) *policy {
	for _, p := range ps.of(operator) {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// without and with return the policies that have one less, or one in place of its namesake.
func (ps *policies) without(name string, operator bool) *policies {
	next := *ps
	list := slices.DeleteFunc(slices.Clone(ps.of(operator)), func(p *policy) bool { return p.Name == name })
	if operator {
		next.operators = list
	} else {
		next.users = list
	}
	return &next
}

func (ps *policies) with(p *policy) *policies {
	next := ps.without(p.Name, p.Operator)
	list := append(next.of(p.Operator), p)
	slices.SortFunc(list, func(x, y *policy) int {
		return cmp.Or(cmp.Compare(y.Priority, x.Priority), strings.Compare(x.Name, y.Name))
	})
	if p.Operator {
		next.operators = list
	} else {
		next.users = list
	}
	return next
}

// SetPolicy makes a policy, or replaces the one of its name.
func (b *Broker) SetPolicy(ctx context.Context, p Policy) (created bool, err error) {
	created, done, err := b.setPolicy(p)
	if err != nil {
		return false, err
	}
	b.tellPolicy("policy.set", actor(ctx), &p)
	return created, done.wait(ctx)
}

func (b *Broker) setPolicy(p Policy) (created bool, done promise, err error) {
	const op = "set"
	checked, record, err := b.checkPolicy(op, p)
	if err != nil {
		return false, nil, err
	}
	v := b.vhost(p.VHost)
	if v == nil {
		return false, nil, noVHost(op, p.VHost)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.mayMake(op); err != nil {
		return false, nil, err
	}
	now := v.policies.Load()
	if created = now.find(p.Name, p.Operator) == nil; created {
		if err := b.mayDefine(op, p.object()); err != nil {
			return false, nil, err
		}
	}
	done = b.commit(false, record)
	v.govern(now.with(checked))
	v.forgetUnasked()
	return created, done, nil
}

// checkPolicy refuses a policy that cannot be, whatever its vhost.
func (b *Broker) checkPolicy(op string, p Policy) (checked *policy, record Op, err error) {
	object := p.object()
	if err := checkName(op, object, p.Name); err != nil {
		return nil, Op{}, err
	}
	if checked, err = b.newPolicy(p); err != nil {
		return nil, Op{}, &Error{Kind: Invalid, Op: op, Name: object, Text: err.Error()}
	}
	record = checked.definition()
	return checked, record, checkDefinitions(op, object, []Op{record})
}

// ClearPolicy ends a policy.
func (b *Broker) ClearPolicy(ctx context.Context, vhost, name string, operator bool) (existed bool, err error) {
	v := b.vhost(vhost)
	if v == nil {
		return false, noVHost("clear", vhost)
	}
	v.mu.Lock()
	now := v.policies.Load()
	p := now.find(name, operator)
	var done promise
	if p == nil {
		done = v.known(false, true)
	} else {
		done = b.commit(false, removeOp(p.definition()))
		v.govern(now.without(name, operator))
		v.forgetUnasked()
	}
	v.mu.Unlock()
	if p != nil {
		b.tellPolicy("policy.cleared", actor(ctx), &Policy{VHost: vhost, Name: name, Operator: operator})
	}
	return p != nil, done.wait(ctx)
}

// Policy returns a policy by name.
func (b *Broker) Policy(vhost, name string, operator bool) (Policy, bool) {
	if v := b.vhost(vhost); v != nil {
		if p := v.policies.Load().find(name, operator); p != nil {
			return p.Policy, true
		}
	}
	return Policy{}, false
}

// Policies returns all policies, or all operator policies, by vhost and name. Nothing of them may be changed.
func (b *Broker) Policies(operator bool) []Policy {
	var all []Policy
	for _, v := range b.vhosts.Load().all() {
		for _, p := range v.policies.Load().of(operator) {
			all = append(all, p.Policy)
		}
	}
	slices.SortFunc(all, func(x, y Policy) int {
		return cmp.Or(strings.Compare(x.VHost, y.VHost), strings.Compare(x.Name, y.Name))
	})
	return all
}

// clearPolicies ends all policies of a vhost that is deleted. mu is held.
func (v *VHost) clearPolicies(u *units) {
	ps := v.policies.Load()
	for _, p := range slices.Concat(ps.users, ps.operators) {
		u.add(removeOp(p.definition()))
	}
	v.policies.Store(&policies{})
	v.pairs = nil
}

// QueuePolicy returns what policies amount to for a queue. false: there is no such queue.
func (b *Broker) QueuePolicy(vhost, queue string) (PolicyEffect, bool) {
	if v := b.vhost(vhost); v != nil {
		if q := v.queue(queue); q != nil {
			return q.governed.Load().effect(), true
		}
	}
	return PolicyEffect{}, false
}

// ExchangePolicy is QueuePolicy for an exchange.
func (b *Broker) ExchangePolicy(vhost, exchange string) (PolicyEffect, bool) {
	if v := b.vhost(vhost); v != nil {
		if x := v.exchange(exchange); x != nil {
			return x.governed.Load().effect(), true
		}
	}
	return PolicyEffect{}, false
}

// object is what errors call the policy.
func (p *Policy) object() string {
	kind := "policy"
	if p.Operator {
		kind = "operator policy"
	}
	return fmt.Sprintf("%s '%s' in %s", kind, p.Name, vhostName(p.VHost))
}

func (p *Policy) definition() Op {
	kind := "policy"
	if p.Operator {
		kind = "operator"
	}
	return defineOp(definitionKey(keyPolicy, p.VHost, kind, p.Name), 0, field.Table{
		{Key: "vhost", Value: p.VHost},
		{Key: "name", Value: p.Name},
		{Key: "operator", Value: p.Operator},
		{Key: "pattern", Value: p.Pattern},
		{Key: "apply_to", Value: p.ApplyTo},
		{Key: "priority", Value: int64(p.Priority)},
		{Key: "definition", Value: p.Definition},
	})
}

// policy brings a policy back. It was checked when it was set: one that this version would refuse keeps its place, and applies to nothing
// that it does not know.
func (rc *recovery) policy(r *reader) {
	v := rc.owner(r)
	p := &policy{Policy: Policy{
		Name: read[string](r, "name"), Operator: read[bool](r, "operator"), Pattern: read[string](r, "pattern"),
		ApplyTo: read[string](r, "apply_to"), Priority: int(read[int64](r, "priority")), Definition: read[field.Table](r, "definition"),
	}}
	if r.err != nil {
		return
	}
	p.VHost, p.fits = v.name, fits(p.Definition)
	rc.compile(p)
	v.policies.Store(v.policies.Load().with(p))
}
