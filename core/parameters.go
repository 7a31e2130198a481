package core

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/batonmq/baton/core/field"
)

// Parameters are settings that the engine keeps for others: what a component of the broker, or of another one that definitions come from,
// is told by administrators while it runs. To the engine they mean nothing. Those of a vhost end with it; global ones are of the whole broker.

// Parameter is one of them.
type Parameter struct {
	VHost     string // empty: it is global
	Component string // whose setting it is; empty only of a global one: it is nobody's
	Name      string
	Value     []byte // opaque, at most 64 KiB
}

// parameters are those of a vhost, or the global ones: a snapshot, by the keys of their records.
type parameters = pmap[*Parameter]

// SetParameter makes a parameter, or gives it another value. What is set already is not recorded again.
func (b *Broker) SetParameter(ctx context.Context, p Parameter) (created bool, err error) {
	created, done, err := b.setParameter(p)
	if err != nil {
		return false, err
	}
	b.TellEvent("parameter.set", actor(ctx), p.event()...)
	return created, done.wait(ctx)
}

func (b *Broker) setParameter(p Parameter) (created bool, done promise, err error) {
	const op = "set"
	object := p.object()
	p.Value = bytes.Clone(p.Value)
	record, err := p.check(op, object)
	if err != nil {
		return false, nil, err
	}
	err = b.withParameters(op, p.VHost, func(now parameters) (parameters, error) {
		old, ok := now.get(record.Key)
		if ok && bytes.Equal(old.Value, p.Value) {
			done = b.commit(false, Op{Kind: OpNone})
			return now, nil
		}
		if created = !ok; created {
			if err := b.mayDefine(op, object); err != nil {
				return now, err
			}
		}
		done = b.commit(false, record)
		return now.with(record.Key, &p), nil
	})
	return created, done, err
}

// ClearParameter ends a parameter.
func (b *Broker) ClearParameter(ctx context.Context, vhost, component, name string) (existed bool, err error) {
	record := (&Parameter{VHost: vhost, Component: component, Name: name}).definition()
	var done promise
	err = b.withParameters("clear", vhost, func(now parameters) (parameters, error) {
		if _, existed = now.get(record.Key); existed {
			done = b.commit(false, removeOp(record))
		} else {
			done = b.commit(false, Op{Kind: OpNone})
		}
		return now.without(record.Key), nil
	})
	if err != nil {
		return false, err
	}
	if existed {
		b.TellEvent("parameter.cleared", actor(ctx), (&Parameter{VHost: vhost, Component: component, Name: name}).event()...)
	}
	return existed, done.wait(ctx)
}

// withParameters has f change the parameters of a vhost, or the global ones, under the lock that orders such changes.
func (b *Broker) withParameters(op, vhost string, f func(parameters) (parameters, error)) error {
	if vhost == "" {
		b.access.mu.Lock()
		defer b.access.mu.Unlock()
		return changeParameters(&b.global, f)
	}
	v := b.vhost(vhost)
	if v == nil {
		return noVHost(op, vhost)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.mayMake(op); err != nil {
		return err
	}
	return changeParameters(&v.parameters, f)
}

func changeParameters(at *atomic.Pointer[parameters], f func(parameters) (parameters, error)) error {
	next, err := f(*at.Load())
	if err == nil {
		at.Store(&next)
	}
	return err
}

// Parameter returns a parameter by its names. Nothing of it may be changed.
func (b *Broker) Parameter(vhost, component, name string) (Parameter, bool) {
	at := &b.global
	if vhost != "" {
		v := b.vhost(vhost)
		if v == nil {
			return Parameter{}, false
		}
		at = &v.parameters
	}
	p, ok := at.Load().get(definitionKey(keyParameter, vhost, component, name))
	if !ok {
		return Parameter{}, false
	}
	return *p, true
}

// Parameters returns those of all vhosts, by vhost, component and name. Nothing of them may be changed.
func (b *Broker) Parameters() []Parameter {
	var all []Parameter
	for _, v := range b.vhosts.Load().all() {
		all = appendParameters(all, v.parameters.Load())
	}
	return sortParameters(all)
}

// GlobalParameters returns the global ones that are nobody's, by name. Nothing of them may be changed.
func (b *Broker) GlobalParameters() []Parameter {
	all := appendParameters(nil, b.global.Load())
	return sortParameters(slices.DeleteFunc(all, func(p Parameter) bool { return p.Component != "" }))
}

func appendParameters(all []Parameter, ps *parameters) []Parameter {
	for _, p := range ps.all() {
		all = append(all, *p)
	}
	return all
}

func sortParameters(all []Parameter) []Parameter {
	slices.SortFunc(all, func(x, y Parameter) int {
		return cmp.Or(strings.Compare(x.VHost, y.VHost), strings.Compare(x.Component, y.Component), strings.Compare(x.Name, y.Name))
	})
	return all
}

// clearParameters ends all parameters of a vhost that is deleted. mu is held.
func (v *VHost) clearParameters(u *units) {
	for _, p := range v.parameters.Load().all() {
		u.add(removeOp(p.definition()))
	}
	v.parameters.Store(&parameters{})
}

// object is what errors call the parameter.
func (p *Parameter) object() string {
	if p.VHost == "" {
		return fmt.Sprintf("global parameter '%s'", p.Name)
	}
	return fmt.Sprintf("parameter '%s' of component '%s' in %s", p.Name, p.Component, vhostName(p.VHost))
}

// check refuses a parameter that cannot be kept, and returns the record of one that can.
func (p *Parameter) check(op, object string) (record Op, err error) {
	if err := checkName(op, object, p.Name); err != nil {
		return Op{}, err
	}
	if p.VHost != "" || p.Component != "" {
		if err := checkName(op, object, p.Component); err != nil {
			return Op{}, err
		}
	}
	record = p.definition()
	return record, checkDefinitions(op, object, []Op{record})
}

func (p *Parameter) definition() Op {
	return defineOp(definitionKey(keyParameter, p.VHost, p.Component, p.Name), 0, field.Table{
		{Key: "vhost", Value: p.VHost},
		{Key: "component", Value: p.Component},
		{Key: "name", Value: p.Name},
		{Key: "value", Value: p.Value},
	})
}

// parameter brings a parameter back.
func (rc *recovery) parameter(r *reader) {
	p := &Parameter{
		VHost: read[string](r, "vhost"), Component: read[string](r, "component"), Name: read[string](r, "name"), Value: read[[]byte](r, "value"),
	}
	at := &rc.global
	if p.VHost != "" {
		v := rc.owner(r)
		if r.err != nil {
			return
		}
		p.VHost, at = v.name, &v.parameters
	}
	if r.err == nil {
		*at.Load().at(definitionKey(keyParameter, p.VHost, p.Component, p.Name)) = p
	}
}
