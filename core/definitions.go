package core

import (
	"crypto/sha256"
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
//	l <vhost> <queue> <priority>          the messages of a queue that have a priority
//	b <vhost> <identity>                  a binding
//	s <vhost> <subscriber>                a subscriber, and its queue
//	u <vhost> <subscriber> <key> [<name>] a subscription; a shared one has a name
//	g <vhost> <name> <key>                a shared subscription, and its queue
//	i <vhost> <subscriber> <id>           an id given to a message on its way out exactly once
//	r <vhost> <subscriber> <id>           an id under which a message came in exactly once
//	w <vhost> <subscriber>                a will
//	h <vhost>                             the queue that retained messages live in, of which the store knows the keys
//	k <vhost>                             the same as versions before made it, where the store does not
//	t <vhost> <key>                       which of its places is the retained message of a key, where the store does not say so
//	d <vhost> <exchange>                  the queue that an exchange's delayed messages live in
//	e <vhost> <x or q> <name>             the queue that the ids live in which an exchange or a queue remembers
//	a <user>                              a user's account
//	p <vhost> <user>                      what a user may do in a vhost
//	o <vhost> <user> <exchange>           how a user's use of a topic exchange is narrowed
//	y <vhost> <kind> <name>               a policy, or an operator policy
//	c <vhost> <component> <name>          a parameter; a global one has neither vhost nor component
//	m <what>                              a marker: something has happened once
const (
	keyVHost        = 'v'
	keyExchange     = 'x'
	keyQueue        = 'q'
	keyLane         = 'l'
	keyBinding      = 'b'
	keySubscriber   = 's'
	keySubscription = 'u'
	keyShare        = 'g'
	keyOutgoing     = 'i'
	keyReceived     = 'r'
	keyWill         = 'w'
	keyHeld         = 'h'
	keyKept         = 'k'
	keyRetained     = 't'
	keyDelayed      = 'd'
	keyDedup        = 'e'

	keyUser            = 'a'
	keyPermission      = 'p'
	keyTopicPermission = 'o'
	keyPolicy          = 'y'
	keyParameter       = 'c'
	keyMarker          = 'm'
)

// A key that would be long is the letter and a hash of the rest. The value says what the key stands for, but for retained messages, of
// which there may be millions: theirs leaves out what the key says.
func definitionKey(kind byte, names ...string) string {
	const long = 512
	b := []byte{kind}
	for _, n := range names {
		b = binary.AppendUvarint(b, uint64(len(n)))
		b = append(b, n...)
	}
	if len(b) > long {
		sum := sha256.Sum256(b)
		b = append(b[:1], sum[:]...)
	}
	return string(b)
}

// cutName returns the first name in what is behind a key's letter, and what is behind that.
func cutName(names string) (name, rest string, ok bool) {
	var n uint64
	for shift, i := 0, 0; i < len(names) && shift < 63; shift, i = shift+7, i+1 {
		n |= uint64(names[i]&0x7f) << shift
		if names[i] >= 0x80 {
			continue
		}
		rest = names[i+1:]
		if n > uint64(len(rest)) {
			return "", "", false
		}
		return rest[:n], rest[n:], true
	}
	return "", "", false
}

// retainedNames returns what a retained message's definition is about, if its key says so. Of a key that is a hash that may come out by
// chance.
func retainedNames(definition string) (vhost, key string, ok bool) {
	vhost, rest, ok := cutName(definition[1:])
	if !ok {
		return "", "", false
	}
	key, rest, ok = cutName(rest)
	return vhost, key, ok && rest == ""
}

// maxArguments is how many bytes the arguments of one object may take, encoded.
const maxArguments = 64 << 10

// checkArguments refuses arguments that a definition cannot hold: it nests them one deeper.
func checkArguments(op, object string, args field.Table) error {
	b, err := field.AppendTable(nil, field.Table{{Key: "arguments", Value: args}})
	if err == nil && len(b) <= maxArguments {
		return nil
	}
	if err == nil {
		err = fmt.Errorf("they take %d bytes, more than %d", len(b), maxArguments)
	}
	return &Error{Kind: Invalid, Op: op, Name: object, Text: fmt.Sprintf("the arguments of %s cannot be kept: %v", object, err)}
}

// isDefault reports whether an end of the binding is the default exchange, which has bindings of its own and no others.
func (b *BindingSpec) isDefault() bool { return b.Source == "" || b.DestExchange && b.Dest == "" }

// identity is what makes a binding the same binding: everything but NoWait. The arguments have been checked.
func (b *BindingSpec) identity() string {
	dest := "q"
	if b.DestExchange {
		dest = "x"
	}
	args, _ := field.AppendTable(nil, b.Args)
	return definitionKey(keyBinding, b.Source, dest, b.Dest, b.Key, string(args))
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

func (d *delays) definition() Op {
	x := d.exchange
	return defineOp(definitionKey(keyDelayed, x.vhost.name, x.spec.Name), d.id, field.Table{
		{Key: "vhost", Value: x.vhost.name},
		{Key: "exchange", Value: x.spec.Name},
	})
}

func (d *dedup) definition(v *VHost) Op {
	class := "q"
	if d.owner.exchange {
		class = "x"
	}
	return defineOp(definitionKey(keyDedup, v.name, class, d.owner.name), d.id, field.Table{
		{Key: "vhost", Value: v.name},
		{Key: "exchange", Value: d.owner.exchange},
		{Key: "name", Value: d.owner.name},
	})
}

func (q *Queue) definition() Op {
	value := field.Table{
		{Key: "vhost", Value: q.vhost.name},
		{Key: "name", Value: q.spec.Name},
		{Key: "auto_delete", Value: q.spec.AutoDelete},
		{Key: "arguments", Value: q.spec.Args},
	}
	if q.used {
		value = append(value, field.Field{Key: "used", Value: true})
	}
	return defineOp(definitionKey(keyQueue, q.vhost.name, q.spec.Name), q.lane.id, value)
}

func (q *Queue) laneDefinition(l *lane) Op {
	return defineOp(definitionKey(keyLane, q.vhost.name, q.spec.Name, string([]byte{l.priority})), l.id, field.Table{
		{Key: "vhost", Value: q.vhost.name},
		{Key: "queue", Value: q.spec.Name},
		{Key: "priority", Value: l.priority},
	})
}

func (b *binding) definition(v *VHost, id string) Op {
	return defineOp(definitionKey(keyBinding, v.name, id), 0, field.Table{
		{Key: "vhost", Value: v.name},
		{Key: "source", Value: b.declared.spec.Source},
		{Key: "destination", Value: b.declared.spec.Dest},
		{Key: "to_exchange", Value: b.declared.spec.DestExchange},
		{Key: "key", Value: b.declared.spec.Key},
		{Key: "arguments", Value: b.declared.spec.Args},
	})
}

func (sub *Subscriber) key(kind byte) string { return definitionKey(kind, sub.vhost.name, sub.name) }

func (sub *Subscriber) idKey(kind byte, id uint16) string {
	return definitionKey(kind, sub.vhost.name, sub.name, string([]byte{byte(id >> 8), byte(id)}))
}

func (sub *Subscriber) definition() Op {
	var away int64
	if !sub.away.IsZero() {
		away = sub.away.UnixMilli()
	}
	value := field.Table{
		{Key: "vhost", Value: sub.vhost.name},
		{Key: "name", Value: sub.name},
		{Key: "queue", Value: sub.queue.spec.Name},
		{Key: "expiry_ns", Value: int64(sub.expiry)},
		{Key: "away_ms", Value: away},
		{Key: "user", Value: sub.user},
	}
	if quarter := sub.recordedQuarter(); quarter != 0 {
		value = append(value, field.Field{Key: "ids", Value: quarter})
	}
	if sub.lostAt != 0 {
		value = append(value, field.Field{Key: "lost_at", Value: int64(sub.lostAt)})
	}
	return defineOp(sub.key(keySubscriber), sub.queue.lane.id, value)
}

func (sub *Subscriber) subscriptionKey(f Filter) string {
	if f.Share != "" {
		return definitionKey(keySubscription, sub.vhost.name, sub.name, f.Key, f.Share)
	}
	return definitionKey(keySubscription, sub.vhost.name, sub.name, f.Key)
}

func (sub *Subscriber) subscriptionDefinition(spec *SubscriptionSpec) Op {
	value := field.Table{
		{Key: "vhost", Value: sub.vhost.name},
		{Key: "subscriber", Value: sub.name},
		{Key: "key", Value: spec.Key},
		{Key: "level", Value: uint8(spec.Level)},
		{Key: "no_local", Value: spec.NoLocal},
		{Key: "as_published", Value: spec.AsPublished},
		{Key: "no_system", Value: spec.NoSystem},
		{Key: "id", Value: spec.ID},
	}
	if spec.Share != "" {
		value = append(value, field.Field{Key: "share", Value: spec.Share})
	}
	return defineOp(sub.subscriptionKey(spec.Filter()), 0, value)
}

func (g *share) definition() Op {
	return defineOp(definitionKey(keyShare, g.vhost.name, g.name, g.edge.key), g.queue.lane.id, field.Table{
		{Key: "vhost", Value: g.vhost.name},
		{Key: "name", Value: g.name},
		{Key: "key", Value: g.edge.key},
		{Key: "queue", Value: g.queue.spec.Name},
		{Key: "no_system", Value: g.edge.spec.NoSystem},
	})
}

// outgoingDefinition records which place an id belongs to; 0 says that only its release is left.
func (sub *Subscriber) outgoingDefinition(id uint16, place Seq, done Completion, tag uint64) Op {
	op := defineOp(sub.idKey(keyOutgoing, id), 0, field.Table{
		{Key: "vhost", Value: sub.vhost.name},
		{Key: "subscriber", Value: sub.name},
		{Key: "id", Value: id},
		{Key: "place", Value: int64(place)},
	})
	op.Done, op.Tag = done, tag
	return op
}

func (sub *Subscriber) receivedDefinition(id uint16) Op {
	return defineOp(sub.idKey(keyReceived, id), 0, field.Table{
		{Key: "vhost", Value: sub.vhost.name},
		{Key: "subscriber", Value: sub.name},
		{Key: "id", Value: id},
	})
}

func (sub *Subscriber) willDefinition() Op {
	m := sub.will.Message
	t := field.Table{
		{Key: "vhost", Value: sub.vhost.name},
		{Key: "subscriber", Value: sub.name},
		{Key: "user", Value: sub.user},
		{Key: "delay_ms", Value: sub.will.Delay.Milliseconds()},
		{Key: "exchange", Value: m.Exchange},
		{Key: "key", Value: m.Key},
		{Key: "properties", Value: m.Props},
		{Key: "body", Value: m.Body},
		{Key: "level", Value: uint8(m.Level())},
		{Key: "retain", Value: m.Retain},
	}
	if life := sub.will.Lifetime; life != nil {
		t = append(t, field.Field{Key: "lifetime_ms", Value: life.Milliseconds()})
	}
	if m.Delay > 0 {
		t = append(t, field.Field{Key: "kept_back_ms", Value: m.Delay})
	}
	return defineOp(sub.key(keyWill), 0, t)
}

func (r *retained) definition() Op {
	kind := byte(keyKept)
	if r.id.Keyed() {
		kind = keyHeld // versions before, which would find nothing, do not start
	}
	return defineOp(definitionKey(kind, r.vhost.name), r.id, field.Table{{Key: "vhost", Value: r.vhost.name}})
}

func (r *retained) key(key string) string { return definitionKey(keyRetained, r.vhost.name, key) }

// placeDefinition says which place is the message of a key that the store does not know: see known.
func (r *retained) placeDefinition(at *retainedMessage) Op {
	definition := r.key(at.key)
	t := make(field.Table, 0, 4)
	if vhost, key, ok := retainedNames(definition); !ok || vhost != r.vhost.name || key != at.key {
		t = append(t, field.Field{Key: "vhost", Value: r.vhost.name}, field.Field{Key: "key", Value: at.key})
	}
	t = append(t, field.Field{Key: "place", Value: int64(at.seq)})
	if expires := at.expires(); expires != 0 {
		t = append(t, field.Field{Key: "expires_ms", Value: expires})
	}
	return defineOp(definition, 0, t)
}

// defineOp encodes a definition. Arguments in it have been checked, and the rest was made here.
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

// reader picks typed entries out of a definition, best in the order in which they were written: a broker with a hundred thousand
// subscribers reads half a million of them when it starts. It keeps nothing of the definition.
type reader struct {
	table field.RawTable
	next  field.RawTable // behind the entry that was read last
	err   error
}

func readDefinition(d *Definition) reader {
	table, err := field.CutRaw(d.Value)
	return reader{table: table, next: table, err: err}
}

// find returns the raw value of an entry.
func (r *reader) find(name string) (value field.Raw, ok bool) {
	if value, r.next, ok = r.next.Find(name); !ok {
		value, r.next, ok = r.table.Find(name)
	}
	return value, ok
}

// readOptional is read for what a definition need not have.
func readOptional[T any](r *reader, name string) (v T, ok bool) {
	if _, ok = r.find(name); ok {
		v = read[T](r, name)
	}
	return v, ok
}

func read[T any](r *reader, name string) (v T) {
	value, ok := r.find(name)
	if ok {
		ok = value.As(any(&v))
	}
	if !ok && r.err == nil {
		r.err = fmt.Errorf("definition has no valid %q", name)
	}
	return v
}

// readShared is read[string] for a name that the definition before had, too, as likely as not: then it is that string.
func readShared(r *reader, name string, last *string) string {
	if value, ok := r.find(name); ok && value.Is(*last) {
		return *last
	}
	*last = read[string](r, name)
	return *last
}
