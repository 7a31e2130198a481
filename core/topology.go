package core

import (
	"context"
	"errors"
	"fmt"
)

// The verbs that make, change and delete exchanges, queues and bindings. Each takes its vhost's lock, decides, commits its records
// while it holds the lock, and waits for them afterwards.

// promise is a Completion that a caller waits for.
type promise chan error

func newPromise() promise { return make(promise, 1) }

// Complete implements Completion.
func (p promise) Complete(_ uint64, err error) { p <- err }

// wait returns when the promise has passed. A nil promise has.
func (p promise) wait(ctx context.Context) error {
	if p == nil {
		return nil
	}
	select {
	case err := <-p:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// commit hands ops over as one unit and returns what to wait for, nothing if noWait or if there is nothing to record.
func (b *Broker) commit(noWait bool, ops ...Op) promise {
	if len(ops) == 0 {
		return nil
	}
	var p promise
	if !noWait {
		p = newPromise()
		ops[len(ops)-1].Done = p
	}
	b.store.Commit(ops)
	return p
}

func (v *VHost) commit(noWait bool, ops ...Op) promise { return v.broker.commit(noWait, ops...) }

// known is the answer to a request that changes nothing because a request before it did: that one may not have passed yet, and the
// answer is a promise about it all the same.
func (v *VHost) known(noWait, durable bool) promise {
	if !durable {
		return nil
	}
	return v.commit(noWait, Op{Kind: OpNone})
}

// mayDefine refuses to make durable objects when the disk is full: what is left of it belongs to what ends things.
func (b *Broker) mayDefine(op, object string) error {
	if b.store.Space().Level < SpaceFull {
		return nil
	}
	return &Error{Kind: Exhausted, Op: op, Name: object, Text: "the broker's disk is full: free some space, or consume or purge messages"}
}

// DeclareExchange makes an exchange, or checks that an equal one exists.
func (s *Session) DeclareExchange(ctx context.Context, spec ExchangeSpec) error {
	spec.Name = cleanName(spec.Name)
	for {
		fresh := s.vhost.exchange(spec.Name) == nil
		if err := s.mayDeclareExchange(&spec, fresh); err != nil {
			return err
		}
		p, err := s.declareExchange(spec, fresh)
		switch {
		case err == nil:
			return p.wait(ctx)
		case !errors.Is(err, errAskAgain):
			return err
		}
	}
}

func (s *Session) declareExchange(spec ExchangeSpec, fresh bool) (promise, error) {
	const op = "declare"
	v := s.vhost
	object := v.exchangeName(spec.Name)
	if spec.Name == "" {
		return nil, defaultExchange(op, object)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	x := v.exchange(spec.Name)
	switch {
	case x == nil && spec.Passive:
		return nil, v.noExchange(op, spec.Name)
	case x != nil && spec.Passive:
		return nil, nil
	}
	if err := checkKind(op, object, spec.Kind); err != nil {
		return nil, err
	}
	if x != nil {
		return v.known(spec.NoWait, spec.Durable), x.equivalent(spec)
	}
	if !fresh {
		return nil, errAskAgain
	}
	if err := v.mayMakeExchange(op, &spec); err != nil {
		return nil, err
	}
	x = newExchange(v, spec)
	var p promise
	if spec.Durable {
		p = v.commit(spec.NoWait, x.definition())
	}
	v.addExchange(x)
	x.tellCreated(s.opt.User)
	return p, nil
}

// mayMakeExchange refuses what cannot be made. vhost.mu is held.
func (v *VHost) mayMakeExchange(op string, spec *ExchangeSpec) error {
	object := v.exchangeName(spec.Name)
	if err := v.mayMake(op); err != nil {
		return err
	}
	if err := reservedName(op, "exchange", object, spec.Name); err != nil {
		return err
	}
	if err := checkArguments(op, object, spec.Args); err != nil {
		return err
	}
	if err := checkExchangeArg(op, object, spec.Args, argAlternate); err != nil {
		return err
	}
	if err := spec.checkKindArgs(op, object); err != nil {
		return err
	}
	if spec.Durable {
		return v.broker.mayDefine(op, object)
	}
	return nil
}

func defaultExchange(op, object string) error {
	return &Error{Kind: Refused, Op: op, Name: object, Text: "operation not permitted on the default exchange"}
}

// DeleteExchange deletes an exchange and its bindings. A missing one is deleted already.
func (s *Session) DeleteExchange(ctx context.Context, name string, ifUnused, noWait bool) error {
	const op = "delete"
	v := s.vhost
	name = cleanName(name)
	object := v.exchangeName(name)
	if name == "" {
		return defaultExchange(op, object)
	}
	if isReserved(name) {
		return &Error{
			Kind: Refused, Op: op, Name: object,
			Text: fmt.Sprintf("deletion of system %s not allowed", object),
		}
	}
	if err := s.allow(op, ExchangeClass, Configure, name, ""); err != nil {
		return err
	}
	v.mu.Lock()
	x := v.exchange(name)
	if x == nil {
		p := v.known(noWait, true)
		v.mu.Unlock()
		return p.wait(ctx)
	}
	if ifUnused && len(x.outbound) > 0 {
		v.mu.Unlock()
		return inUse(op, object)
	}
	d := deletion{vhost: v, by: s.opt.User}
	d.exchange(x)
	p := v.commit(noWait, d.ops...)
	v.mu.Unlock()
	return p.wait(ctx)
}

func inUse(op, object string) error {
	return &Error{Kind: InUse, Op: op, Name: object, Text: object + " in use"}
}

// DeclareQueue makes a queue, or checks that an equal one exists.
func (s *Session) DeclareQueue(ctx context.Context, spec QueueSpec) (DeclaredQueue, error) {
	spec.Name = cleanName(spec.Name)
	if spec.named = spec.Name == "" && !spec.Passive; spec.named {
		spec.Name = GeneratedName("amq.gen-")
	}
	if !spec.named && !spec.Passive { // also where there is one, as RabbitMQ has it
		if err := reservedName("declare", "queue", s.vhost.queueName(spec.Name), spec.Name); err != nil {
			return DeclaredQueue{}, err
		}
	}
	for {
		fresh := s.vhost.queue(spec.Name) == nil
		if err := s.mayDeclareQueue(&spec, fresh); err != nil {
			return DeclaredQueue{}, err
		}
		q, p, err := s.declareQueue(spec, fresh)
		if errors.Is(err, errAskAgain) {
			continue
		}
		if err == nil {
			err = p.wait(ctx)
		}
		if err != nil {
			return DeclaredQueue{}, err
		}
		if !spec.Passive {
			s.vhost.broker.churn.declared.Add(1)
		}
		return q.info(), nil
	}
}

func (s *Session) declareQueue(spec QueueSpec, fresh bool) (*Queue, promise, error) {
	const op = "declare"
	v := s.vhost
	spec.Durable = spec.Durable && !spec.Exclusive // an exclusive queue ends with its connection
	v.mu.Lock()
	defer v.mu.Unlock()
	q := v.queue(spec.Name)
	switch {
	case q != nil:
		return q, v.known(spec.NoWait || spec.Passive, q.durable()), s.redeclare(q, spec)
	case spec.Passive:
		return nil, nil, v.noQueue(op, spec.Name)
	case !fresh:
		return nil, nil, errAskAgain
	}
	settings, err := s.mayMakeQueue(op, &spec)
	if err != nil {
		return nil, nil, err
	}
	q = &Queue{vhost: v, spec: spec, lane: lane{next: 1}, inbound: map[string]*binding{}}
	q.ladder, q.single = newLadder(settings), settings.singleActive()
	q.settings.Store(settings)
	v.dedups.note(q.dedupLimits())
	if spec.Exclusive {
		q.owner = s
		if s.exclusive == nil {
			s.exclusive = map[*Queue]struct{}{}
		}
		s.exclusive[q] = struct{}{}
	}
	var p promise
	if spec.Durable {
		q.lane.id = v.broker.newQueueID()
		p = v.commit(spec.NoWait, q.definition())
	}
	v.addQueue(q)
	q.tellCreated(s.opt.User)
	return q, p, nil
}

// mayMakeQueue refuses what cannot be made, and returns the settings that its arguments make. vhost.mu is held.
func (s *Session) mayMakeQueue(op string, spec *QueueSpec) (*QueueSettings, error) {
	v := s.vhost
	object := v.queueName(spec.Name)
	if err := v.mayMake(op); err != nil {
		return nil, err
	}
	if !s.exempt {
		if err := v.mayAddQueue(op, spec.Name); err != nil {
			return nil, err
		}
	}
	if err := checkExchangeArg(op, object, spec.Args, argDeadLetters); err != nil {
		return nil, err
	}
	settings, err := checkQueueArgs(object, spec)
	if err != nil {
		return nil, err
	}
	if err := checkArguments(op, object, spec.Args); err != nil {
		return nil, err
	}
	if spec.Durable {
		err = v.broker.mayDefine(op, object)
	}
	return settings, err
}

// redeclare checks a declaration of a queue that exists: first whose it is, then whether it is equal. Exclusive must match too, unless
// the declaration is passive.
func (s *Session) redeclare(q *Queue, spec QueueSpec) error {
	const op = "declare"
	if spec.Passive {
		return s.mayUse(q, op)
	}
	if q.owner != nil && q.owner != s || q.isSubscribers() || q.spec.Exclusive != spec.Exclusive {
		return q.locked(op)
	}
	return q.equivalent(spec)
}

// mayUse refuses another session's exclusive queue, and those of subscribers.
func (s *Session) mayUse(q *Queue, op string) error {
	if q.owner != nil && q.owner != s || q.isSubscribers() {
		return q.locked(op)
	}
	return nil
}

func (q *Queue) locked(op string) error {
	object := q.vhost.queueName(q.spec.Name)
	return &Error{
		Kind: Locked, Op: op, Name: object,
		Text: "cannot obtain exclusive access to locked " + object + ". It could be originally declared on another connection or the " +
			"exclusive property value does not match that of the original declaration.",
	}
}

// find returns a queue that the session may use.
func (s *Session) find(op, name string) (*Queue, error) {
	name = cleanName(name)
	q := s.vhost.queue(name)
	if q == nil {
		return nil, s.vhost.noQueue(op, name)
	}
	return q, s.mayUse(q, op)
}

// DeleteQueue deletes a queue with its bindings and messages, and returns how many messages were ready. A missing queue is deleted
// already.
func (s *Session) DeleteQueue(ctx context.Context, name string, ifUnused, ifEmpty, noWait bool) (messages int, err error) {
	const op = "delete"
	v := s.vhost
	if err := s.allow(op, QueueClass, Configure, cleanName(name), ""); err != nil {
		return 0, err
	}
	if q := v.queue(cleanName(name)); q != nil {
		q.dropAllExpired() // they do not count
	}
	v.mu.Lock()
	q, err := s.find(op, name)
	if q == nil {
		p := v.known(noWait, true)
		v.mu.Unlock()
		return 0, p.wait(ctx)
	}
	if err != nil {
		v.mu.Unlock()
		return 0, err
	}
	messages, err = q.end(ifUnused, ifEmpty)
	if err != nil {
		v.mu.Unlock()
		return 0, err
	}
	d := deletion{vhost: v, by: s.opt.User}
	d.queue(q)
	delete(s.exclusive, q)
	p := v.commit(noWait, d.ops...)
	v.mu.Unlock()
	return messages, p.wait(ctx)
}

// PurgeQueue drops the messages that wait in a queue, not those that consumers hold, and returns how many.
func (s *Session) PurgeQueue(ctx context.Context, name string, noWait bool) (messages int, err error) {
	const op = "purge"
	if err := s.allow(op, QueueClass, Read, cleanName(name), ""); err != nil {
		return 0, err
	}
	q, err := s.find(op, name)
	if err != nil {
		return 0, err
	}
	s.broker.showPassed()
	q.dropAllExpired()
	q.mu.Lock()
	messages = q.purge()
	q.mu.Unlock()
	if noWait || !q.durable() {
		return messages, nil
	}
	return messages, s.vhost.commit(false, Op{Kind: OpNone}).wait(ctx)
}

// Bind adds a binding. One that exists already is no error.
func (s *Session) Bind(ctx context.Context, spec BindingSpec) error {
	p, err := s.bind(spec)
	if err != nil {
		return err
	}
	return p.wait(ctx)
}

func (s *Session) bind(spec BindingSpec) (promise, error) {
	for {
		x, err := s.mayBind("bind", &spec)
		if err != nil {
			return nil, err
		}
		p, err := s.bindTo(x, spec)
		if !errors.Is(err, errAskAgain) {
			return p, err
		}
	}
}

// bindTo adds a binding if its source is x still.
func (s *Session) bindTo(x *Exchange, spec BindingSpec) (promise, error) {
	const op = "bind"
	v := s.vhost
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.mayMake(op); err != nil {
		return nil, err
	}
	b, id, err := s.newBinding(op, spec)
	switch {
	case err != nil:
		return nil, err
	case b.source != x:
		return nil, errAskAgain
	}
	if _, ok := b.source.outbound[id]; ok {
		return v.known(spec.NoWait, b.declared.durable), nil
	}
	var p promise
	if b.declared.durable {
		if err := v.broker.mayDefine(op, v.exchangeName(spec.Source)); err != nil {
			return nil, err
		}
		p = v.commit(spec.NoWait, b.definition(v, id))
	}
	b.source.attach(id, b)
	b.tell(v, "binding.created", s.opt.User)
	return p, nil
}

// newBinding resolves what a binding spec names. It lasts when both of its ends do.
func (s *Session) newBinding(op string, spec BindingSpec) (*binding, string, error) {
	v := s.vhost
	spec.Source, spec.Dest = cleanName(spec.Source), cleanName(spec.Dest)
	if err := checkArguments(op, "a binding", spec.Args); err != nil {
		return nil, "", err
	}
	if spec.isDefault() {
		return nil, "", defaultExchange(op, v.exchangeName(""))
	}
	d := &declared{spec: spec}
	b := &binding{key: spec.Key, declared: d, source: v.exchange(spec.Source)}
	if b.source == nil {
		return nil, "", v.noExchange(op, spec.Source)
	}
	if spec.DestExchange {
		if b.exchange = v.exchange(spec.Dest); b.exchange == nil {
			return nil, "", v.noExchange(op, spec.Dest)
		}
		d.durable = b.exchange.spec.Durable
	} else {
		q, err := s.find(op, spec.Dest)
		if err != nil {
			return nil, "", err
		}
		b.queue, d.durable = q, q.durable()
	}
	d.durable = d.durable && b.source.spec.Durable
	if problem := d.parse(b.source.spec.routing()); problem != "" {
		return nil, "", &Error{Kind: Invalid, Op: op, Name: v.exchangeName(spec.Source), Text: problem}
	}
	return b, spec.identity(), nil
}

// Unbind removes a binding. A missing one is removed already, also if an end of it is missing or nobody else's.
func (s *Session) Unbind(ctx context.Context, spec BindingSpec) error {
	p, err := s.unbind(spec)
	if err != nil {
		return err
	}
	return p.wait(ctx)
}

func (s *Session) unbind(spec BindingSpec) (promise, error) {
	const op = "unbind"
	v := s.vhost
	if _, err := s.mayBind(op, &spec); err != nil {
		return nil, err
	}
	spec.Source, spec.Dest = cleanName(spec.Source), cleanName(spec.Dest)
	if spec.isDefault() {
		return nil, defaultExchange(op, v.exchangeName(""))
	}
	if err := checkArguments(op, "a binding", spec.Args); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	x := v.exchange(spec.Source)
	if x == nil {
		return v.known(spec.NoWait, true), nil
	}
	id := spec.identity()
	b := x.outbound[id]
	if b == nil {
		return v.known(spec.NoWait, x.spec.Durable), nil
	}
	if b.queue != nil {
		if err := s.mayUse(b.queue, op); err != nil {
			return nil, err
		}
	}
	d := deletion{vhost: v, by: s.opt.User}
	d.binding(id, b)
	return v.commit(spec.NoWait, d.ops...), nil
}
