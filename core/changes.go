package core

import "context"

// Changes are many changes at once, as an import of definitions makes them. Each is made as by the method of its name that Access, Broker
// and Session have, by nobody whose rights are asked for, and is not waited for: what was made is durable when Wait returns without an error.
// They are not one unit: of a broker that dies in between a first part of them may be left, in the order in which they were made. One
// goroutine uses them.
type Changes struct {
	broker  *Broker
	planned map[string]*VHost // that checks have asked for and do not exist, as they would be
}

// Changes returns what to make many changes with.
func (b *Broker) Changes() Changes { return Changes{b, map[string]*VHost{}} }

// Wait waits until all changes that were made are durable. ctx bounds that wait only.
func (c Changes) Wait(ctx context.Context) error {
	return c.broker.commit(false, Op{Kind: OpNone}).wait(ctx)
}

// PutVHost makes a vhost or changes one.
func (c Changes) PutVHost(info VHostInfo) error {
	_, _, err := c.broker.access.putVHost(info)
	return err
}

// CheckVHost returns what PutVHost would refuse.
func (c Changes) CheckVHost(info VHostInfo) error {
	_, err := info.check("put", vhostName(info.Name))
	return err
}

// PutUser makes a user or changes one.
func (c Changes) PutUser(u User) error {
	_, _, err := c.broker.access.putUser(u)
	return err
}

// CheckUser returns what PutUser would refuse.
func (c Changes) CheckUser(u User) error {
	_, err := u.check("put", userName(u.Name))
	return err
}

// SetPermission gives a user rights in a vhost.
func (c Changes) SetPermission(p Permission) error {
	_, _, err := c.broker.access.setPermission(p)
	return err
}

// SetTopicPermission narrows a user's use of a topic exchange.
func (c Changes) SetTopicPermission(p TopicPermission) error {
	_, _, err := c.broker.access.setTopicPermission(p)
	return err
}

// SetPolicy makes a policy, or replaces the one of its name.
func (c Changes) SetPolicy(p Policy) (created bool, err error) {
	created, _, err = c.broker.setPolicy(p)
	return created, err
}

// CheckPolicy returns what SetPolicy would refuse about a policy in any vhost.
func (c Changes) CheckPolicy(p Policy) error {
	_, _, err := c.broker.checkPolicy("set", p)
	return err
}

// SetParameter makes a parameter, or gives it another value.
func (c Changes) SetParameter(p Parameter) (created bool, err error) {
	created, _, err = c.broker.setParameter(p)
	return created, err
}

// CheckParameter returns what SetParameter would refuse about a parameter of any vhost.
func (c Changes) CheckParameter(p Parameter) error {
	_, err := p.check("set", p.object())
	return err
}

// HasExchange reports whether a vhost has an exchange; one that does not exist yet, whether it would have it.
func (c Changes) HasExchange(vhost, name string) bool { return c.vhost(vhost).exchange(name) != nil }

// DeclareExchange makes an exchange, or finds that there is an equal one.
func (c Changes) DeclareExchange(vhost string, spec ExchangeSpec) error {
	s, err := c.session("declare", vhost)
	if err != nil {
		return err
	}
	spec.Name, spec.NoWait = cleanName(spec.Name), true
	_, err = s.declareExchange(spec, true)
	return err
}

// CheckExchange returns what DeclareExchange would refuse; the vhost need not exist yet.
func (c Changes) CheckExchange(vhost string, spec ExchangeSpec) error {
	const op = "declare"
	v := c.vhost(vhost)
	spec.Name = cleanName(spec.Name)
	object := v.exchangeName(spec.Name)
	if spec.Name == "" {
		return defaultExchange(op, object)
	}
	if err := checkKind(op, object, spec.Kind); err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if x := v.exchange(spec.Name); x != nil {
		return x.equivalent(spec)
	}
	return v.mayMakeExchange(op, &spec)
}

// DeclareQueue makes a queue, or finds that there is an equal one. As a client cannot, it makes queues whose names begin with amq, and more
// than the vhost's limit: that is for clients, and a vhost which got its limit after its queues can be exported and imported.
func (c Changes) DeclareQueue(vhost string, spec QueueSpec) error {
	s, err := c.session("declare", vhost)
	if err != nil {
		return err
	}
	spec.Name, spec.NoWait = cleanName(spec.Name), true
	_, _, err = s.declareQueue(spec, true)
	return err
}

// CheckQueue returns what DeclareQueue would refuse; the vhost need not exist yet.
func (c Changes) CheckQueue(vhost string, spec QueueSpec) error {
	s := c.vhost(vhost).session()
	s.exempt = true
	spec.Name = cleanName(spec.Name)
	s.vhost.mu.Lock()
	defer s.vhost.mu.Unlock()
	if q := s.vhost.queue(spec.Name); q != nil {
		return s.redeclare(q, spec)
	}
	_, err := s.mayMakeQueue("declare", &spec)
	return err
}

// Bind adds a binding. One that exists already is no error.
func (c Changes) Bind(vhost string, spec BindingSpec) error {
	s, err := c.session("bind", vhost)
	if err != nil {
		return err
	}
	spec.NoWait = true
	_, err = s.bind(spec)
	return err
}

// session is one that no connection has and no Authorizer is asked about.
func (c Changes) session(op, vhost string) (*Session, error) {
	v := c.broker.vhost(vhost)
	if v == nil {
		return nil, noVHost(op, vhost)
	}
	s := v.session()
	s.exempt = true
	return &s, nil
}

// vhost returns a vhost, or for checks what it would be if it were made.
func (c Changes) vhost(name string) *VHost {
	v := c.broker.vhost(name)
	if v == nil {
		v = c.planned[name]
	}
	if v == nil {
		v = newVHost(c.broker, VHostInfo{Name: name, MaxConnections: -1, MaxQueues: -1})
		c.planned[name] = v
	}
	return v
}
