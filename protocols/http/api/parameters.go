package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/http/definitions"
)

// maySetParameters refuses actors that may neither see nor change parameters: it
// takes the tag policymaker, and for those of a vhost that one may use it.
func (c *call) maySetParameters() error {
	if c.is(administrator) {
		return nil
	}
	may, err := slices.Contains(c.actor.Tags, "policymaker"), error(nil)
	if vhost, ok := c.names["vhost"]; ok && may && c.primary.Broker.HasVHost(vhost) {
		may, err = c.mayEnter(vhost)
	}
	if err == nil && !may {
		err = notAuthorised("User not authorised to access object")
	}
	return err
}

// mayChangeParameter refuses actors that may not change the parameter of the path. What
// holds a vhost's users back, as operator policies and limits do, is for administrators
// alone, by whichever path it is asked for.
func (c *call) mayChangeParameter() error {
	if definitions.IsOperators(c.names["component"]) {
		return c.mayBe(administrator)
	}
	return c.maySetParameters()
}

// listParameters returns those that the actor may see: all, a component's, or a
// component's in a vhost. Policies are among them if they are asked for, as in RabbitMQ.
func listParameters(c *call) (any, error) {
	if err := c.maySetParameters(); err != nil {
		return nil, err
	}
	component, one := c.names["component"]
	vhost, in := c.names["vhost"]
	if in && !c.primary.Broker.HasVHost(vhost) {
		return nil, noObject()
	}
	vhosts, err := c.vhosts()
	if err != nil {
		return nil, err
	}
	all := definitions.Parameters(c.primary.Broker)
	if component == definitions.PolicyComponent {
		all = definitions.PolicyParameters(c.primary.Broker)
	}
	l := list{}
	for _, p := range all {
		if (!one || p.Component == component) && (!in || p.VHost == vhost) &&
			slices.ContainsFunc(vhosts, func(v core.VHostInfo) bool { return v.Name == p.VHost }) {
			l = append(l, p)
		}
	}
	return l, nil
}

func getParameter(c *call) (any, error) {
	all, err := listParameters(c)
	if err != nil {
		return nil, err
	}
	for _, p := range all.(list) {
		if p.(definitions.Parameter).Name == c.names["parameter"] {
			return p, nil
		}
	}
	return nil, noObject()
}

func putParameter(c *call) (any, error) {
	if err := c.mayChangeParameter(); err != nil {
		return nil, err
	}
	if !c.primary.Broker.HasVHost(c.names["vhost"]) {
		return nil, notFound("vhost_not_found")
	}
	value, err := c.parameterValue()
	if err != nil {
		return nil, err
	}
	p := definitions.Parameter{Value: value, VHost: c.names["vhost"], Component: c.names["component"], Name: c.names["parameter"]}
	isNew, err := definitions.SetParameter(c.r.Context(), c.primary.Broker, p)
	return createdOrDone(isNew), invalidParameter(err)
}

// parameterValue is what the body gives the parameter. It is not logged: in RabbitMQ
// URIs are among such values, with passwords in them.
func (c *call) parameterValue() (json.RawMessage, error) {
	var body struct {
		Value json.RawMessage `json:"value"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	if body.Value == nil && !bytes.Contains(c.body, []byte(`"value"`)) {
		return nil, missing("value")
	}
	if body.Value == nil {
		body.Value = json.RawMessage("null")
	}
	c.note(slog.Int("value_bytes", len(body.Value)))
	return body.Value, nil
}

// invalidParameter is the answer to a parameter that says something impossible.
func invalidParameter(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, definitions.ErrInvalid):
		return badRequest("Validation failed\n\n%s\n", strings.TrimPrefix(err.Error(), definitions.ErrInvalid.Error()+": "))
	case core.KindOf(err) == core.Invalid:
		return badRequest("Validation failed\n\n%s\n", sentence(err))
	}
	return err
}

func deleteParameter(c *call) (any, error) {
	if err := c.mayChangeParameter(); err != nil {
		return nil, err
	}
	if !c.primary.Broker.HasVHost(c.names["vhost"]) {
		return nil, noObject()
	}
	existed, err := definitions.ClearParameter(c.r.Context(), c.primary.Broker, c.names["vhost"], c.names["component"], c.names["parameter"])
	return deleted(existed, invalidParameter(err))
}

func listGlobalParameters(c *call) (any, error) {
	if err := c.maySetParameters(); err != nil {
		return nil, err
	}
	l := list{}
	for _, p := range definitions.GlobalParameters(c.primary.Broker) {
		l = append(l, p)
	}
	return l, nil
}

func getGlobalParameter(c *call) (any, error) {
	if err := c.maySetParameters(); err != nil {
		return nil, err
	}
	p, ok := c.primary.Broker.Parameter("", "", c.names["parameter"])
	if !ok {
		return nil, noObject()
	}
	return definitions.GlobalParameter{Name: p.Name, Value: p.Value}, nil
}

func putGlobalParameter(c *call) (any, error) {
	if err := c.maySetParameters(); err != nil {
		return nil, err
	}
	value, err := c.parameterValue()
	if err != nil {
		return nil, err
	}
	var text bytes.Buffer
	if err := json.Compact(&text, value); err != nil {
		return nil, badRequest("not_json")
	}
	isNew, err := c.primary.Broker.SetParameter(c.r.Context(), core.Parameter{Name: c.names["parameter"], Value: text.Bytes()})
	return createdOrDone(isNew), invalidParameter(err)
}

func deleteGlobalParameter(c *call) (any, error) {
	if err := c.maySetParameters(); err != nil {
		return nil, err
	}
	return deleted(c.primary.Broker.ClearParameter(c.r.Context(), "", "", c.names["parameter"]))
}
