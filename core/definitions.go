package core

import (
	"encoding/binary"
	"fmt"

	"github.com/batonmq/baton/core/field"
)

// Definitions are what the store keeps under keys. A key is a letter and the names that identify the object, each with its length in
// front, so that no name can look like another key. A value is a field table, which keeps argument types and may gain entries in
// later versions. FORMAT.md of the store treats both as opaque.
//
//	v <vhost>                             a vhost
//	x <vhost> <name>                      an exchange
//	q <vhost> <name>                      a queue
//	b <vhost> <identity>                  a binding
const (
	keyVHost    = 'v'
	keyExchange = 'x'
	keyQueue    = 'q'
	keyBinding  = 'b'
)

func definitionKey(kind byte, names ...string) string {
	b := []byte{kind}
	for _, n := range names {
		b = binary.AppendUvarint(b, uint64(len(n)))
		b = append(b, n...)
	}
	return string(b)
}

// identity is what makes a binding the same binding: everything but NoWait.
func (b *BindingSpec) identity() (string, error) {
	dest := "q"
	if b.DestExchange {
		dest = "x"
	}
	args, err := field.AppendTable(nil, b.Args)
	if err != nil {
		return "", err
	}
	return definitionKey(keyBinding, b.Source, dest, b.Dest, b.Key, string(args)), nil
}

func (v *VHost) definition() Op {
	return defineOp(definitionKey(keyVHost, v.name), 0, field.Table{{Key: "name", Value: v.name}})
}

func (x *Exchange) definition() Op {
	return defineOp(definitionKey(keyExchange, x.vhost.name, x.spec.Name), 0, field.Table{
		{Key: "vhost", Value: x.vhost.name},
		{Key: "name", Value: x.spec.Name},
		{Key: "kind", Value: x.spec.Kind},
		{Key: "auto_delete", Value: x.spec.AutoDelete},
		{Key: "internal", Value: x.spec.Internal},
		{Key: "arguments", Value: x.spec.Args},
	})
}

func (q *Queue) definition() Op {
	return defineOp(definitionKey(keyQueue, q.vhost.name, q.spec.Name), q.id, field.Table{
		{Key: "vhost", Value: q.vhost.name},
		{Key: "name", Value: q.spec.Name},
		{Key: "auto_delete", Value: q.spec.AutoDelete},
		{Key: "arguments", Value: q.spec.Args},
	})
}

func (b *binding) definition(v *VHost, id string) Op {
	return defineOp(definitionKey(keyBinding, v.name, id), 0, field.Table{
		{Key: "vhost", Value: v.name},
		{Key: "source", Value: b.spec.Source},
		{Key: "destination", Value: b.spec.Dest},
		{Key: "to_exchange", Value: b.spec.DestExchange},
		{Key: "key", Value: b.spec.Key},
		{Key: "arguments", Value: b.spec.Args},
	})
}

// defineOp encodes a definition. Its table was made here or came through a front-end's decoder, so it can be encoded; names longer
// than a table allows were refused before.
func defineOp(key string, queue QueueID, t field.Table) Op {
	value, err := field.AppendTable(nil, t)
	if err != nil {
		panic(fmt.Sprintf("encode definition: %v", err))
	}
	return Op{Kind: OpDefine, Queue: queue, Key: key, Value: value}
}

// removeOp ends what op defines.
func removeOp(op Op) Op {
	return Op{Kind: OpRemove, Queue: op.Queue, Key: op.Key}
}

// reader picks typed entries out of a definition.
type reader struct {
	table field.Table
	err   error
}

func readDefinition(d *Definition) reader {
	t, _, err := field.ParseTable(d.Value)
	return reader{table: t, err: err}
}

func read[T any](r *reader, name string) T {
	v, _ := r.table.Get(name)
	value, ok := v.(T)
	if !ok && r.err == nil {
		r.err = fmt.Errorf("definition has no valid %q", name)
	}
	return value
}
