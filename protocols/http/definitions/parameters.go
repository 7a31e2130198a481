package definitions

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/http/jsontable"
)

// The components of RabbitMQ whose parameters the broker has a place of its own for.
const (
	PolicyComponent   = "policy" // is listed if it is asked for, and set in no such way
	operatorComponent = "operator_policy"
	limitsComponent   = "vhost-limits"

	limitsName = "limits" // of the one parameter that has a vhost's limits
)

// Parameter is a parameter of a vhost, as RabbitMQ writes it.
type Parameter struct {
	Value     json.RawMessage `json:"value"`
	VHost     string          `json:"vhost,omitempty"`
	Component string          `json:"component"`
	Name      string          `json:"name"`
}

// GlobalParameter is one of the whole broker.
type GlobalParameter struct {
	Name  string          `json:"name"`
	Value json.RawMessage `json:"value"`
}

// Parameters returns those of all vhosts, by vhost, component and name: with the
// operator policies and the limits of vhosts, which are parameters in RabbitMQ.
func Parameters(b *core.Broker) []Parameter {
	all := policyParameters(b, true)
	for _, v := range b.Access().VHosts() {
		if limits := VHostLimits.Of(&v); len(limits) > 0 {
			all = append(all, Parameter{Value: text(limits), VHost: v.Name, Component: limitsComponent, Name: limitsName})
		}
	}
	for _, p := range b.Parameters() {
		all = append(all, Parameter{Value: p.Value, VHost: p.VHost, Component: p.Component, Name: p.Name})
	}
	slices.SortFunc(all, func(x, y Parameter) int {
		return cmp.Or(strings.Compare(x.VHost, y.VHost), strings.Compare(x.Component, y.Component), strings.Compare(x.Name, y.Name))
	})
	return all
}

// PolicyParameters returns the policies as the parameters that they are in RabbitMQ,
// by vhost and name.
func PolicyParameters(b *core.Broker) []Parameter { return policyParameters(b, false) }

// GlobalParameters returns those of the whole broker, by name.
func GlobalParameters(b *core.Broker) []GlobalParameter {
	all := []GlobalParameter{}
	for _, p := range b.GlobalParameters() {
		all = append(all, GlobalParameter{p.Name, p.Value})
	}
	return all
}

// policyValue is a policy as a parameter has it.
type policyValue struct {
	Pattern    *string          `json:"pattern"`
	Definition *jsontable.Table `json:"definition"`
	Priority   *float64         `json:"priority"`
	ApplyTo    string           `json:"apply-to"`
}

func policyParameters(b *core.Broker, operator bool) []Parameter {
	component := PolicyComponent
	if operator {
		component = operatorComponent
	}
	all := []Parameter{}
	for _, p := range b.Policies(operator) {
		priority, definition := float64(p.Priority), jsontable.Table(p.Definition)
		value := text(policyValue{&p.Pattern, &definition, &priority, p.ApplyTo})
		all = append(all, Parameter{Value: value, VHost: p.VHost, Component: component, Name: p.Name})
	}
	return all
}

// policy returns the policy that the value says. RabbitMQ wants a priority of
// operator policies that are parameters; here it is 0 without one.
func (v *policyValue) policy(vhost, name string, operator bool) (core.Policy, error) {
	p := core.Policy{VHost: vhost, Name: name, Operator: operator, ApplyTo: v.ApplyTo}
	switch {
	case v.Pattern == nil:
		return p, fmt.Errorf("%w: pattern", errKeyMissing)
	case v.Definition == nil:
		return p, fmt.Errorf("%w: definition", errKeyMissing)
	}
	p.Pattern, p.Definition = *v.Pattern, field.Table(*v.Definition)
	if n := v.Priority; n != nil {
		if *n != math.Trunc(*n) || math.Abs(*n) > math.MaxInt32 {
			return p, fmt.Errorf("priority should be a whole number, actually was %v", *n)
		}
		p.Priority = int(*n)
	}
	return p, nil
}

var errKeyMissing = errors.New("key_missing")

// IsOperators says whether the parameters of a component are what operators hold the
// users of a vhost back with.
func IsOperators(component string) bool {
	return component == operatorComponent || component == limitsComponent
}

// ErrInvalid is wrapped by errors about what a parameter says.
var ErrInvalid = errors.New("invalid")

// SetParameter makes a parameter or gives it another value, which is JSON. An operator
// policy and a vhost's limits are set where the broker has them.
func SetParameter(ctx context.Context, b *core.Broker, p Parameter) (created bool, err error) {
	c := b.Changes()
	if created, err = setParameter(b, c, p); err != nil {
		return false, err
	}
	return created, c.Wait(ctx)
}

func setParameter(b *core.Broker, c core.Changes, p Parameter) (created bool, err error) {
	switch p.Component {
	case PolicyComponent:
		return false, fmt.Errorf("%w: policies may not be set using this method", ErrInvalid)
	case operatorComponent:
		policy, err := p.operatorPolicy()
		if err != nil {
			return false, err
		}
		return c.SetPolicy(policy)
	case limitsComponent:
		return setLimitsParameter(b, c, &p)
	}
	return c.SetParameter(core.Parameter{VHost: p.VHost, Component: p.Component, Name: p.Name, Value: compact(p.Value)})
}

func (p *Parameter) operatorPolicy() (core.Policy, error) {
	var value policyValue
	if err := json.Unmarshal(p.Value, &value); err != nil {
		return core.Policy{}, fmt.Errorf("%w: an operator policy should be an object with a pattern and a definition", ErrInvalid)
	}
	policy, err := value.policy(p.VHost, p.Name, true)
	if err != nil {
		return core.Policy{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return policy, nil
}

func setLimitsParameter(b *core.Broker, c core.Changes, p *Parameter) (created bool, err error) {
	v, ok := b.Access().VHost(p.VHost)
	if !ok {
		return false, &core.Error{Kind: core.NotFound, Op: "set", Name: p.VHost, Text: fmt.Sprintf("vhost %s not found", p.VHost)}
	}
	if p.Name != limitsName {
		return false, fmt.Errorf("%w: the limits of a vhost are one parameter called %q", ErrInvalid, limitsName)
	}
	created = len(VHostLimits.Of(&v)) == 0
	if err := setLimits(&v, p.Value); err != nil {
		return false, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return created, c.PutVHost(v)
}

// ClearParameter ends a parameter, an operator policy, or all limits of a vhost.
func ClearParameter(ctx context.Context, b *core.Broker, vhost, component, name string) (existed bool, err error) {
	switch component {
	case PolicyComponent:
		return false, fmt.Errorf("%w: policies may not be cleared using this method", ErrInvalid)
	case operatorComponent:
		return b.ClearPolicy(ctx, vhost, name, true)
	case limitsComponent:
		v, ok := b.Access().VHost(vhost)
		if existed = ok && name == limitsName && len(VHostLimits.Of(&v)) > 0; !existed {
			return false, b.Changes().Wait(ctx)
		}
		v.MaxConnections, v.MaxQueues = -1, -1
		_, err = b.Access().PutVHost(ctx, v)
		return existed, err
	}
	return b.ClearParameter(ctx, vhost, component, name)
}

// compact is JSON without space between its words. It has been found valid.
func compact(value json.RawMessage) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, value); err != nil {
		return value
	}
	return b.Bytes()
}

// text is a value of which it is known that it can be written as JSON.
func text(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
