package core

import (
	"fmt"

	"github.com/batonmq/baton/core/field"
)

// The records of who may use the broker, written and read. See definitions.go for their keys.

// The names of markers: records that say no more than that something has happened once.
const (
	markSeeded    = "seeded"           // the first user was made, or need not be
	markNoDefault = "no default vhost" // the default vhost was deleted: a start does not make it again
)

func markerDefinition(name string) Op {
	return defineOp(definitionKey(keyMarker, name), 0, field.Table{{Key: "name", Value: name}})
}

func (u *User) definition() Op {
	return defineOp(definitionKey(keyUser, u.Name), 0, field.Table{
		{Key: "name", Value: u.Name},
		{Key: "password", Value: u.Password},
		{Key: "scram", Value: u.SCRAM},
		{Key: "tags", Value: stringList(u.Tags)},
		{Key: "max_connections", Value: int64(u.MaxConnections)},
		{Key: "max_channels", Value: int64(u.MaxChannels)},
	})
}

func (p *Permission) definition() Op {
	return defineOp(definitionKey(keyPermission, p.VHost, p.User), 0, field.Table{
		{Key: "vhost", Value: p.VHost},
		{Key: "user", Value: p.User},
		{Key: "configure", Value: p.Configure},
		{Key: "write", Value: p.Write},
		{Key: "read", Value: p.Read},
	})
}

func (p *TopicPermission) definition() Op {
	return defineOp(definitionKey(keyTopicPermission, p.VHost, p.User, p.Exchange), 0, field.Table{
		{Key: "vhost", Value: p.VHost},
		{Key: "user", Value: p.User},
		{Key: "exchange", Value: p.Exchange},
		{Key: "write", Value: p.Write},
		{Key: "read", Value: p.Read},
	})
}

// definition records the vhost. One that is going says so, so that a start goes on deleting it.
func (info *VHostInfo) definition(going bool) Op {
	t := field.Table{
		{Key: "name", Value: info.Name},
		{Key: "description", Value: info.Description},
		{Key: "tags", Value: stringList(info.Tags)},
		{Key: "default_queue_type", Value: info.DefaultQueueType},
		{Key: "max_connections", Value: int64(info.MaxConnections)},
		{Key: "max_queues", Value: int64(info.MaxQueues)},
	}
	if going {
		t = append(t, field.Field{Key: "going", Value: true})
	}
	return defineOp(definitionKey(keyVHost, info.Name), 0, t)
}

// removal ends all records of an account.
func (acc *account) removal() []Op {
	ops := []Op{removeOp(acc.definition())}
	for _, p := range acc.permissions {
		ops = append(ops, removeOp(p.definition()))
	}
	for _, p := range acc.topics {
		ops = append(ops, removeOp(p.definition()))
	}
	return ops
}

// checkDefinitions refuses records that are larger than one may be.
func checkDefinitions(op, object string, ops []Op) error {
	for i := range ops {
		if n := len(ops[i].Value); n > maxArguments {
			return &Error{
				Kind: Invalid, Op: op, Name: object,
				Text: fmt.Sprintf("%s cannot be kept: it takes %d bytes, more than %d", object, n, maxArguments),
			}
		}
	}
	return nil
}

// stringList is a list as a table without names: what a definition can read back.
func stringList(list []string) field.Table {
	t := make(field.Table, len(list))
	for i, s := range list {
		t[i].Value = s
	}
	return t
}

// readStrings is read for what stringList wrote.
func readStrings(r *reader, name string) []string {
	var list []string
	for _, f := range read[field.Table](r, name) {
		s, ok := f.Value.(string)
		if !ok && r.err == nil {
			r.err = fmt.Errorf("definition has no valid %q", name)
		}
		list = append(list, s)
	}
	return list
}

// vhostRecord brings a vhost back. Versions that knew no more of it wrote its name only.
func (rc *recovery) vhostRecord(r *reader) {
	info := VHostInfo{Name: read[string](r, "name"), MaxConnections: -1, MaxQueues: -1}
	if _, more := r.find("max_queues"); more {
		info.Description, info.Tags = read[string](r, "description"), readStrings(r, "tags")
		info.DefaultQueueType = read[string](r, "default_queue_type")
		info.MaxConnections, info.MaxQueues = int(read[int64](r, "max_connections")), int(read[int64](r, "max_queues"))
	}
	going, _ := readOptional[bool](r, "going")
	if r.err != nil {
		return
	}
	v := newVHost(rc.Broker, info)
	v.going = going
	rc.addVHost(v)
}

func (rc *recovery) user(r *reader) {
	u := User{
		Name: read[string](r, "name"), Password: read[string](r, "password"), SCRAM: read[string](r, "scram"), Tags: readStrings(r, "tags"),
		MaxConnections: int(read[int64](r, "max_connections")), MaxChannels: int(read[int64](r, "max_channels")),
	}
	if r.err == nil {
		*rc.access.accounts.Load().users.at(u.Name) = &account{User: u}
	}
}

func (rc *recovery) permission(r *reader) {
	p := Permission{
		VHost: read[string](r, "vhost"), User: read[string](r, "user"),
		Configure: read[string](r, "configure"), Write: read[string](r, "write"), Read: read[string](r, "read"),
	}
	if acc := rc.permitted(r, p.User); acc != nil {
		*acc = (*acc).with(p)
	}
}

func (rc *recovery) topicPermission(r *reader) {
	p := TopicPermission{
		VHost: read[string](r, "vhost"), User: read[string](r, "user"), Exchange: read[string](r, "exchange"),
		Write: read[string](r, "write"), Read: read[string](r, "read"),
	}
	if acc := rc.permitted(r, p.User); acc != nil {
		*acc = (*acc).withTopic(p)
	}
}

// permitted returns the place of the account that a permission names.
func (rc *recovery) permitted(r *reader, user string) **account {
	if rc.access.account(user) == nil && r.err == nil {
		r.err = fmt.Errorf("its user '%s' does not exist", user)
	}
	if r.err != nil {
		return nil
	}
	return rc.access.accounts.Load().users.at(user)
}

func (rc *recovery) marker(r *reader) {
	switch name := read[string](r, "name"); name {
	case markSeeded:
		rc.access.seeded = true
	case markNoDefault:
		rc.access.noDefault = true
	}
}
