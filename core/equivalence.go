package core

import (
	"fmt"
	"strings"

	"github.com/batonmq/baton/core/field"
)

// difference finds the first inequivalent property of a redeclaration and says it in RabbitMQ's words, which clients and their test
// suites match on.
type difference struct {
	op, object string
	text       string
}

func (d *difference) compare(name string, received, current any) {
	if d.text == "" && received != current {
		d.text = fmt.Sprintf("inequivalent arg '%s' for %s: received '%v' but current is '%v'", name, d.object, received, current)
	}
}

func (d *difference) compareArg(name string, received, current field.Table) {
	r, hasR := received.Get(name)
	c, hasC := current.Get(name)
	if d.text != "" || hasR == hasC && (!hasR || field.Equal(r, c)) {
		return
	}
	said := func(v any, has, both bool) string {
		switch {
		case !has, both && v == nil:
			return "none"
		case both:
			return "'" + field.Text(v) + "'"
		}
		return fmt.Sprintf("the value '%s' of type '%s'", field.Text(v), field.TypeName(v))
	}
	both := hasR && hasC
	d.text = fmt.Sprintf("inequivalent arg '%s' for %s: received %s but current is %s", name, d.object, said(r, hasR, both), said(c, hasC, both))
}

func (d *difference) err() error {
	if d.text == "" {
		return nil
	}
	return &Error{Kind: Inequivalent, Op: d.op, Name: d.object, Text: d.text}
}

// checkQueueArgs refuses a queue that RabbitMQ would not make, in its words, and returns what the arguments amount to. Unknown arguments are
// kept and compared, as clients expect.
func checkQueueArgs(object string, spec *QueueSpec) (*QueueSettings, error) {
	refuse := func(text string) error { return &Error{Kind: Invalid, Op: "declare", Name: object, Text: text} }
	quorum := queueType(spec.Args) == any(QuorumType)
	if quorum && spec.named {
		return nil, refuse("Cannot declare a server-named queue for type rabbit_quorum_queue")
	}
	st, err := parseQueueArgs(spec.Args, func(arg, problem string) error {
		return refuse(fmt.Sprintf("invalid arg '%s' for %s: %s", arg, object, problem))
	})
	if err != nil || !quorum {
		return st, err
	}
	for _, p := range []struct {
		has  bool
		name string
	}{{spec.AutoDelete, "auto-delete"}, {spec.Exclusive, "exclusive-owner"}, {!spec.Durable, "non-durable"}} {
		if p.has {
			return nil, refuse(fmt.Sprintf("invalid property '%s' for %s", p.name, object))
		}
	}
	return st, nil
}

// equivalent compares a redeclaration with what exists, after the owner was checked: durable, auto_delete, then the arguments with a
// meaning, in RabbitMQ's order, then every other of either side. An absent x-queue-type is classic.
func (q *Queue) equivalent(spec QueueSpec) error {
	d := difference{op: "declare", object: q.vhost.queueName(q.spec.Name)}
	d.compare("durable", spec.Durable, q.spec.Durable)
	d.compare("auto_delete", spec.AutoDelete, q.spec.AutoDelete)
	if !field.Equal(queueType(spec.Args), queueType(q.spec.Args)) {
		d.compareArg(argQueueType, spec.Args, q.spec.Args)
	}
	for i := range queueSettings {
		if arg := queueSettings[i].arg; arg != argQueueType {
			d.compareArg(arg, spec.Args, q.spec.Args)
		}
	}
	for _, args := range []field.Table{spec.Args, q.spec.Args} {
		for _, f := range args {
			if f.Key != argQueueType {
				d.compareArg(f.Key, spec.Args, q.spec.Args)
			}
		}
	}
	return d.err()
}

// queueType is what a queue's arguments say that it is.
func queueType(args field.Table) any {
	if v, ok := args.Get(argQueueType); ok {
		return v
	}
	return ClassicType
}

func stringArg(args field.Table, name string) (string, bool) {
	v, _ := args.Get(name)
	s, ok := v.(string)
	return s, ok
}

// cleanName drops line breaks from a name, as RabbitMQ does.
func cleanName(name string) string {
	if strings.IndexByte(name, '\r') < 0 && strings.IndexByte(name, '\n') < 0 { // ContainsAny is slow
		return name
	}
	return strings.NewReplacer("\r", "", "\n", "").Replace(name)
}
