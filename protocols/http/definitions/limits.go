package definitions

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/batonmq/baton/core"
)

// Limits are those of a kind of object: by RabbitMQ's names, where one has them. A
// negative one is none.
type Limits[T any] map[string]func(*T) *int

// The limits that there are.
//
//nolint:gochecknoglobals // tables that nobody writes to
var (
	UserLimits = Limits[core.User]{
		"max-connections": func(u *core.User) *int { return &u.MaxConnections },
		"max-channels":    func(u *core.User) *int { return &u.MaxChannels },
	}
	VHostLimits = Limits[core.VHostInfo]{
		"max-connections": func(v *core.VHostInfo) *int { return &v.MaxConnections },
		"max-queues":      func(v *core.VHostInfo) *int { return &v.MaxQueues },
	}
)

// Of returns the limits that an object has.
func (l Limits[T]) Of(object *T) map[string]int {
	set := map[string]int{}
	for name, at := range l {
		if n := *at(object); n >= 0 {
			set[name] = n
		}
	}
	return set
}

// replace gives an object the limits of a document, and none that this does not name.
func (l Limits[T]) replace(object *T, by limits) error {
	for _, at := range l {
		*at(object) = -1
	}
	for name, n := range by {
		at, ok := l[name]
		if !ok {
			return fmt.Errorf("unrecognised limit %q", name)
		}
		*at(object) = max(n, -1)
	}
	return nil
}

// setLimits is replace for a vhost, by the value of a parameter.
func setLimits(v *core.VHostInfo, value json.RawMessage) error {
	var by map[string]int
	if err := json.Unmarshal(value, &by); err != nil || by == nil {
		return errors.New("limits should be an object of whole numbers")
	}
	return VHostLimits.replace(v, by)
}
