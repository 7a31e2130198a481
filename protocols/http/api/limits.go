package api

import (
	"errors"
	"log/slog"
	"math"
	"strings"

	"github.com/batonmq/baton/protocols/http/definitions"
)

type userLimit struct {
	User  string         `json:"user"`
	Value map[string]int `json:"value"`
}

type vhostLimit struct {
	VHost string         `json:"vhost"`
	Value map[string]int `json:"value"`
}

// limit is the value that the body sets. A negative one is no limit.
func (c *call) limit() (int, error) {
	var body struct {
		Value *float64 `json:"value"`
	}
	if err := c.decode(&body); err != nil {
		if p, ok := errors.AsType[*problem](err); ok && strings.HasPrefix(p.Reason, "value ") {
			p.Reason = c.names["limit"] + strings.TrimPrefix(p.Reason, "value")
		}
		return 0, err
	}
	switch n := body.Value; {
	case n == nil:
		return 0, missing("value")
	case *n != math.Trunc(*n) || *n > math.MaxInt32:
		return 0, badRequest("%s should be a whole number up to %d", c.names["limit"], math.MaxInt32)
	default:
		c.note(slog.Float64("value", *n))
		return int(max(*n, -1)), nil
	}
}

func listUserLimits(c *call) (any, error) {
	l := list{}
	for _, u := range c.access().Users() {
		if c.seesUser(u.Name, monitoring) != nil {
			continue
		}
		if set := definitions.UserLimits.Of(&u); len(set) > 0 {
			l = append(l, userLimit{u.Name, set})
		}
	}
	return l, nil
}

func getUserLimits(c *call) (any, error) {
	if err := c.seesUser(c.names["user"], monitoring); err != nil {
		return nil, err
	}
	u, ok := c.access().User(c.names["user"])
	if !ok {
		return nil, noObject()
	}
	l := list{}
	if set := definitions.UserLimits.Of(&u); len(set) > 0 {
		l = append(l, userLimit{u.Name, set})
	}
	return l, nil
}

func putUserLimit(c *call) (any, error) {
	n, err := c.limit()
	if err != nil {
		return nil, err
	}
	if _, ok := definitions.UserLimits[c.names["limit"]]; !ok {
		return nil, unknownLimit(c.names["limit"])
	}
	return c.setUserLimit(n, badRequest("no_such_user: %s", c.names["user"]))
}

func deleteUserLimit(c *call) (any, error) { return c.setUserLimit(-1, noObject()) }

// setUserLimit sets the limit of the path. To take away one that nobody knows is
// done already.
func (c *call) setUserLimit(n int, noUser *problem) (any, error) {
	u, ok := c.access().User(c.names["user"])
	if !ok {
		return nil, noUser
	}
	at, ok := definitions.UserLimits[c.names["limit"]]
	if !ok {
		return done, nil
	}
	*at(&u) = n
	_, err := c.access().PutUser(c.r.Context(), u)
	return done, err
}

func unknownLimit(name string) *problem { return badRequest("Unrecognised limit %q", name) }

func listVHostLimits(c *call) (any, error) {
	seen, err := c.vhosts()
	l := list{}
	for i := range seen {
		if set := definitions.VHostLimits.Of(&seen[i]); len(set) > 0 {
			l = append(l, vhostLimit{seen[i].Name, set})
		}
	}
	return l, err
}

func getVHostLimits(c *call) (any, error) {
	if err := c.seesVHost(c.names["vhost"], monitoring); err != nil {
		return nil, err
	}
	v, ok := c.access().VHost(c.names["vhost"])
	if !ok {
		return nil, noObject()
	}
	l := list{}
	if set := definitions.VHostLimits.Of(&v); len(set) > 0 {
		l = append(l, vhostLimit{v.Name, set})
	}
	return l, nil
}

func putVHostLimit(c *call) (any, error) {
	n, err := c.limit()
	if err != nil {
		return nil, err
	}
	if _, ok := definitions.VHostLimits[c.names["limit"]]; !ok {
		return nil, unknownLimit(c.names["limit"])
	}
	return c.setVHostLimit(n)
}

func deleteVHostLimit(c *call) (any, error) { return c.setVHostLimit(-1) }

func (c *call) setVHostLimit(n int) (any, error) {
	v, ok := c.access().VHost(c.names["vhost"])
	if !ok {
		return nil, notFound("vhost_not_found")
	}
	at, ok := definitions.VHostLimits[c.names["limit"]]
	if !ok {
		return done, nil
	}
	*at(&v) = n
	_, err := c.access().PutVHost(c.r.Context(), v)
	return done, err
}
