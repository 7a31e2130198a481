package core

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// The changes of users and permissions. Each takes the lock of Access, decides, hands its records over as one unit, shows what follows
// from them, and waits for the records without the lock.

// PutUser makes a user or changes one.
func (a *Access) PutUser(ctx context.Context, u User) (created bool, err error) {
	old, _ := a.User(u.Name)
	created, p, err := a.putUser(u)
	if err != nil {
		return false, err
	}
	a.tellUser(ctx, &old, &u, created)
	return created, p.wait(ctx)
}

func (a *Access) putUser(u User) (created bool, p promise, err error) {
	const op = "put"
	object := userName(u.Name)
	u.Tags = slices.Clone(u.Tags)
	record, err := u.check(op, object)
	if err != nil {
		return false, nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	next := &account{User: u}
	if old := a.account(u.Name); old != nil {
		next.permissions, next.topics = old.permissions, old.topics
	} else if err := a.broker.mayDefine(op, object); err != nil {
		return false, nil, err
	} else {
		created = true
	}
	p, err = a.put(op, object, next, record)
	return created, p, err
}

// check refuses a user that cannot be, and returns the record of one that can.
func (u *User) check(op, object string) (record Op, err error) {
	if err := checkName(op, object, u.Name); err != nil {
		return Op{}, err
	}
	record = u.definition()
	return record, checkDefinitions(op, object, []Op{record})
}

// DeleteUser deletes a user with its permissions and its subscribers, and asks its connections to end. What another backend knows under
// the same name goes too: names are all that tells users apart here. The account is recorded to go last, so that a broker that dies in
// between comes back with the user, and perhaps not all of its subscribers, rather than with subscribers for the next user of that name.
func (a *Access) DeleteUser(ctx context.Context, name string) (existed bool, err error) {
	a.mu.Lock()
	old := a.account(name)
	var p promise
	if old == nil {
		p = a.broker.commit(false, Op{Kind: OpNone})
	} else {
		a.show(func(users pmap[*account]) pmap[*account] { return users.without(name) }) // nobody gets in from here on
		a.broker.sessions.disown(name)
		a.broker.sessions.end(func(s *Session) bool { return s.opt.User == name }, userGone("delete", name))
		for _, v := range a.broker.vhosts.Load().all() {
			v.forget(name)
		}
		p = a.broker.commit(false, old.removal()...)
	}
	a.mu.Unlock()
	if old != nil {
		a.broker.TellEvent("user.deleted", actor(ctx), of("name", name))
	}
	return old != nil, p.wait(ctx)
}

// SetPermission gives a user rights in a vhost, in place of those it had there.
func (a *Access) SetPermission(ctx context.Context, perm Permission) (created bool, err error) {
	created, p, err := a.setPermission(perm)
	if err != nil {
		return false, err
	}
	a.broker.TellEvent("permission.created", actor(ctx), of("user", perm.User), of("vhost", perm.VHost),
		of("configure", perm.Configure), of("write", perm.Write), of("read", perm.Read))
	return created, p.wait(ctx)
}

func (a *Access) setPermission(perm Permission) (created bool, p promise, err error) {
	return a.set(perm.VHost, perm.User, func(acc *account) (next *account, op Op, created bool) {
		return acc.with(perm), perm.definition(), acc.permission(perm.VHost) < 0
	})
}

// ClearPermission takes all rights in a vhost away from a user.
func (a *Access) ClearPermission(ctx context.Context, vhost, user string) (existed bool, err error) {
	defer func() {
		if existed {
			a.broker.TellEvent("permission.deleted", actor(ctx), of("user", user), of("vhost", vhost))
		}
	}()
	return a.clear(ctx, user, func(acc *account) (next *account, ops []Op) {
		if i := acc.permission(vhost); i >= 0 {
			ops = append(ops, removeOp(acc.permissions[i].definition()))
		}
		return acc.withoutPermission(vhost), ops
	})
}

// SetTopicPermission narrows a user's use of a topic exchange, in place of how it was. The exchange need not exist.
func (a *Access) SetTopicPermission(ctx context.Context, perm TopicPermission) (created bool, err error) {
	created, p, err := a.setTopicPermission(perm)
	if err != nil {
		return false, err
	}
	a.broker.TellEvent("topic.permission.created", actor(ctx), of("user", perm.User), of("vhost", perm.VHost),
		of("exchange", perm.Exchange), of("write", perm.Write), of("read", perm.Read))
	return created, p.wait(ctx)
}

func (a *Access) setTopicPermission(perm TopicPermission) (created bool, p promise, err error) {
	return a.set(perm.VHost, perm.User, func(acc *account) (next *account, op Op, created bool) {
		return acc.withTopic(perm), perm.definition(), acc.topic(perm.VHost, perm.Exchange) < 0
	})
}

// ClearTopicPermission lets a user use a topic exchange without a topic permission again; all exchanges of the vhost if exchange is
// empty.
func (a *Access) ClearTopicPermission(ctx context.Context, vhost, user, exchange string) (existed bool, err error) {
	defer func() {
		if existed {
			a.broker.TellEvent("topic.permission.deleted", actor(ctx), of("user", user), of("vhost", vhost))
		}
	}()
	return a.clear(ctx, user, func(acc *account) (next *account, ops []Op) {
		next = acc
		for _, p := range acc.topics {
			if p.VHost == vhost && (exchange == "" || p.Exchange == exchange) {
				next, ops = next.withoutTopic(p.VHost, p.Exchange), append(ops, removeOp(p.definition()))
			}
		}
		return next, ops
	})
}

// Seed gives a store that never had a user its first one and that user's permissions, in one unit. It does so once in the store's life:
// done says whether it was now.
func (a *Access) Seed(ctx context.Context, u User, perms []Permission) (done bool, err error) {
	const op = "seed"
	if err := checkName(op, userName(u.Name), u.Name); err != nil {
		return false, err
	}
	u.Tags = slices.Clone(u.Tags)
	a.mu.Lock()
	if a.seeded {
		p := a.broker.commit(false, Op{Kind: OpNone})
		a.mu.Unlock()
		return false, p.wait(ctx)
	}
	ops := []Op{markerDefinition(markSeeded)}
	acc := &account{User: u}
	if done = a.accounts.Load().users.len() == 0; done {
		ops = append(ops, acc.definition())
		for _, perm := range perms {
			perm.User = u.Name
			if err := a.mayPermit(op, perm.VHost); err != nil {
				a.mu.Unlock()
				return false, err
			}
			acc = acc.with(perm)
			ops = append(ops, perm.definition())
		}
	}
	if err := checkDefinitions(op, userName(u.Name), ops); err != nil {
		a.mu.Unlock()
		return false, err
	}
	p := a.broker.commit(false, ops...)
	a.seeded = true
	if done {
		a.show(func(users pmap[*account]) pmap[*account] { return users.with(u.Name, acc) })
	}
	a.mu.Unlock()
	return done, p.wait(ctx)
}

// set changes one thing of an account: f returns the account that has it, and its record.
func (a *Access) set(vhost, user string, f func(*account) (*account, Op, bool)) (created bool, p promise, err error) {
	const op = "set"
	object := "permission of " + userName(user)
	a.mu.Lock()
	defer a.mu.Unlock()
	acc := a.account(user)
	if acc == nil {
		return false, nil, &Error{Kind: NotFound, Op: op, Name: object, Text: userName(user) + " does not exist"}
	}
	if err := a.mayPermit(op, vhost); err != nil {
		return false, nil, err
	}
	next, record, created := f(acc)
	if created {
		if err := a.broker.mayDefine(op, object); err != nil {
			return false, nil, err
		}
	}
	p, err = a.put(op, object, next, record)
	return created, p, err
}

// clear takes something away from an account: f returns the account without it, and the end of its records.
func (a *Access) clear(ctx context.Context, user string, f func(*account) (*account, []Op)) (existed bool, err error) {
	a.mu.Lock()
	var ops []Op
	if acc := a.account(user); acc != nil {
		var next *account
		if next, ops = f(acc); len(ops) > 0 {
			existed = true
			a.show(func(users pmap[*account]) pmap[*account] { return users.with(user, next) })
		}
	}
	p := a.broker.commit(false, append(ops, Op{Kind: OpNone})...)
	a.mu.Unlock()
	return existed, p.wait(ctx)
}

// put records an account's change and shows it. mu is held.
func (a *Access) put(op, object string, next *account, record Op) (promise, error) {
	if err := checkDefinitions(op, object, []Op{record}); err != nil {
		return nil, err
	}
	p := a.broker.commit(false, record)
	a.show(func(users pmap[*account]) pmap[*account] { return users.with(next.Name, next) })
	return p, nil
}

// show makes the next snapshot of the accounts. mu is held, and the records of the change are handed over before it is let go.
func (a *Access) show(f func(pmap[*account]) pmap[*account]) {
	now := a.accounts.Load()
	a.accounts.Store(&accounts{generation: now.generation + 1, users: f(now.users)})
}

// mayPermit refuses permissions for a vhost that does not exist. mu is held.
func (a *Access) mayPermit(op, vhost string) error {
	if a.broker.vhost(vhost) == nil {
		return &Error{Kind: NotFound, Op: op, Name: vhostName(vhost), Text: vhostName(vhost) + " does not exist"}
	}
	return nil
}

func userName(name string) string  { return fmt.Sprintf("user '%s'", name) }
func vhostName(name string) string { return fmt.Sprintf("vhost '%s'", name) }

// checkName refuses names that no client could give, or that would spoil a log.
func checkName(op, object, name string) error {
	switch {
	case name == "":
		return &Error{Kind: Invalid, Op: op, Name: object, Text: "a name may not be empty"}
	case strings.ContainsAny(name, "\x00\r\n"):
		return &Error{Kind: Invalid, Op: op, Name: object, Text: "a name may not contain line breaks or zero bytes"}
	}
	return nil
}

// tellUser tells of a user that was made or changed.
func (a *Access) tellUser(ctx context.Context, old, u *User, created bool) {
	b, by := a.broker, actor(ctx)
	if !b.HearsEvents() {
		return
	}
	switch {
	case created:
		b.TellEvent("user.created", by, of("name", u.Name))
	case old.Password != u.Password && u.Password == "":
		b.TellEvent("user.password.cleared", by, of("name", u.Name))
	case old.Password != u.Password:
		b.TellEvent("user.password.changed", by, of("name", u.Name))
	}
	if created || !slices.Equal(old.Tags, u.Tags) {
		b.TellEvent("user.tags.set", by, of("name", u.Name), of("tags", texts(u.Tags)))
	}
}
