package core

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
)

// The changes of vhosts. The deletion of one is recorded before anything of it goes, and takes as many units as its contents need: a
// broker that dies in between leaves a vhost that is going, and the next one goes on where it stopped, before anybody can see it.

// maxVHostName is what connection.open can name (AMQP 0-9-1, 4.2.5.3: a short string).
const maxVHostName = 255

// PutVHost makes a vhost with the exchanges that every vhost has, or changes what is known of one.
func (a *Access) PutVHost(ctx context.Context, info VHostInfo) (created bool, err error) {
	before, _ := a.VHost(info.Name)
	created, p, err := a.putVHost(info)
	if err != nil {
		return false, err
	}
	a.broker.tellVHostPut(actor(ctx), created, &before, &info)
	return created, p.wait(ctx)
}

func (a *Access) putVHost(info VHostInfo) (created bool, p promise, err error) {
	const op = "put"
	object := vhostName(info.Name)
	info.Tags = slices.Clone(info.Tags)
	record, err := info.check(op, object)
	if err != nil {
		return false, nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	v := a.broker.vhost(info.Name)
	if v == nil {
		if err := a.broker.mayDefine(op, object); err != nil {
			return false, nil, err
		}
		created = true
		v = newVHost(a.broker, info)
	}
	p = a.broker.commit(false, record)
	v.info.Store(&info)
	if created {
		a.broker.addVHost(v)
	}
	return created, p, nil
}

// check refuses a vhost that cannot be, and returns the record of one that can.
func (info *VHostInfo) check(op, object string) (record Op, err error) {
	if err := checkName(op, object, info.Name); err != nil {
		return Op{}, err
	}
	if n := len(info.Name); n > maxVHostName {
		return Op{}, &Error{
			Kind: Invalid, Op: op, Name: object, Text: fmt.Sprintf("the name of a vhost may have %d bytes, not %d", maxVHostName, n),
		}
	}
	record = info.definition(false)
	return record, checkDefinitions(op, object, []Op{record})
}

// DeleteVHost deletes a vhost with everything in it, permissions included, and asks the connections to it to end. Messages and wills in
// it are nobody's any more: none of them is published.
func (a *Access) DeleteVHost(ctx context.Context, name string) (existed bool, err error) {
	a.mu.Lock()
	v := a.broker.vhost(name)
	var p promise
	if v == nil {
		p = a.broker.commit(false, Op{Kind: OpNone})
	} else {
		a.broker.commit(true, v.info.Load().definition(true))
		a.broker.dropVHost(name)
		a.broker.sessions.shut(v)
		v.close() // who is told to end finds it so
		a.broker.sessions.end(func(s *Session) bool { return s.vhost == v }, v.gone("delete"))
		p = a.remove(v)
	}
	a.mu.Unlock()
	if v != nil {
		a.broker.TellEvent("vhost.deleted", actor(ctx), of("name", name))
	}
	return v != nil, p.wait(ctx)
}

// goOnDeleting deletes what is left of vhosts whose deletion a broker before did not finish.
func (a *Access) goOnDeleting() {
	for name, v := range a.broker.vhosts.Load().all() {
		if v.going {
			a.broker.opt.Logger.Info("deleting what is left of a vhost", slog.String("vhost", name))
			a.broker.dropVHost(name)
			a.remove(v)
		}
	}
}

// provideVHost makes the default vhost, unless it was deleted on purpose.
func (b *Broker) provideVHost() {
	if b.vhost(DefaultVHost) == nil && !b.access.noDefault {
		v := newVHost(b, VHostInfo{Name: DefaultVHost, MaxConnections: -1, MaxQueues: -1})
		b.addVHost(v)
		b.commit(true, v.info.Load().definition(false))
	}
}

func (b *Broker) dropVHost(name string) {
	next := b.vhosts.Load().without(name)
	b.vhosts.Store(&next)
}

// gone is what a vhost that was deleted answers.
func (v *VHost) gone(op string) error {
	return &Error{Kind: Closing, Op: op, Name: vhostName(v.name), Text: vhostName(v.name) + " is deleted"}
}

// close lets nothing more be made in a vhost.
func (v *VHost) close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = true
}

// mayMake refuses to make anything in a vhost that was deleted. mu is held.
func (v *VHost) mayMake(op string) error {
	if v.ended {
		return v.gone(op)
	}
	return nil
}

// remove deletes what is in a vhost that nobody can find any more, then the permissions for it, and then itself. Nobody waits for but
// the last of the records. mu is held.
func (a *Access) remove(v *VHost) promise {
	v.clear()
	a.removePermissions(v.name)
	ops := []Op{removeOp(v.info.Load().definition(true))}
	if v.name == DefaultVHost {
		a.noDefault = true
		ops = append(ops, markerDefinition(markNoDefault))
	}
	return a.broker.commit(false, ops...)
}

// removePermissions ends all permissions for a vhost.
func (a *Access) removePermissions(vhost string) {
	u := units{broker: a.broker}
	next := a.accounts.Load().users
	for name, acc := range next.all() {
		i, topics := acc.permission(vhost), len(acc.topics)
		if i >= 0 {
			u.add(removeOp(acc.permissions[i].definition()))
			acc = acc.withoutPermission(vhost)
		}
		for _, p := range acc.topics {
			if p.VHost == vhost {
				u.add(removeOp(p.definition()))
				acc = acc.withoutTopic(vhost, p.Exchange)
			}
		}
		if i >= 0 || len(acc.topics) < topics {
			next = next.with(name, acc)
		}
	}
	if u.flush(); u.any {
		a.show(func(pmap[*account]) pmap[*account] { return next })
	}
}

// units are records that need not pass together, and are too many to.
type units struct {
	broker *Broker
	ops    []Op
	any    bool
}

// unitOps is how many records a unit has, about.
const unitOps = 1000

func (u *units) add(ops ...Op) {
	if u.ops = append(u.ops, ops...); len(u.ops) >= unitOps {
		u.flush()
	}
}

func (u *units) flush() {
	u.any = u.any || len(u.ops) > 0
	u.broker.commit(true, u.ops...)
	u.ops = nil
}

// clear deletes everything in a vhost. Who still has a session in it finds the exchanges that every vhost has, and makes nothing.
func (v *VHost) clear() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.ended = true
	u := units{broker: v.broker}
	v.clearExchanges(&u) // first: what is left has no bindings to be taken out of tables one by one
	for _, sub := range v.subscribers.Load().all() {
		u.add(sub.remove()...)
	}
	for _, sub := range v.orphans {
		u.add(sub.setWill(nil)...)
	}
	clear(v.orphans)
	for _, q := range v.queues.Load().all() {
		_, _ = q.end(false, false) // without conditions it never refuses
		if q.durable() {
			u.add(q.removal()...)
		}
	}
	v.queues.Store(&pmap[*Queue]{})
	v.retained.clear(&u)
	v.clearPolicies(&u)
	v.clearParameters(&u)
	v.dedups.clear(v, &u)
	u.flush()
}

// clearExchanges empties all routing tables, and deletes the exchanges that not every vhost has.
func (v *VHost) clearExchanges(u *units) {
	var kept pmap[*Exchange]
	for name, x := range v.exchanges.Load().all() {
		for id, b := range x.outbound {
			if b.declared.durable {
				u.add(removeOp(b.definition(v, id)))
			}
			if b.queue != nil {
				clear(b.queue.inbound)
			}
		}
		clear(x.outbound)
		clear(x.inbound)
		empty := newRouter(&x.spec)
		x.table.Store(&empty)
		if x.delays != nil {
			u.add(x.delays.end()...)
		}
		x.end()
		switch {
		case predeclared(name):
			kept = kept.with(name, x)
			continue
		case x.spec.Durable:
			u.add(removeOp(x.definition()))
		}
	}
	v.exchanges.Store(&kept)
}

// remove takes a subscriber away from whoever has it, and deletes it with its will. vhost.mu is held.
func (sub *Subscriber) remove() []Op {
	if l := sub.link.Load(); l != nil {
		sub.unlink(l)
	}
	return append(sub.setWill(nil), sub.end()...)
}

// clear forgets all messages, and keeps none from now on.
func (r *retained) clear(u *units) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ended = true
	r.tree.match([]string{"#"}, func(at *retainedMessage) {
		if at.over {
			return // met twice
		}
		r.close(at)
		if !r.known(at.key) {
			u.add(Op{Kind: OpRemove, Key: r.key(at.key)})
		}
	})
	if r.id != 0 {
		u.add(removeOp(r.definition()))
	}
	r.tree, r.id, r.cache = retainedTree{}, 0, retainedCache{}
}
