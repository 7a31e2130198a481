package core

import (
	"log/slog"
	"regexp"

	"github.com/batonmq/baton/core/field"
)

// How policies come to queues and exchanges. Each of them holds the pair of policies that governs it; those that the same pair governs share
// it, and what it amounts to, so that an idle queue pays for a pointer.

// governed is the pair of policies of a queue or an exchange. Nothing of it changes but plain and waiting, which vhost.mu guards.
type governed struct {
	policy, operator *policy // nil: none
	definition       field.Table
	plain            *QueueSettings // of queues without arguments
	waiting          *QueueSettings // of subscribers' queues; nil: not asked for yet
}

// effect is told of a pair; nil is none.
func (g *governed) effect() (e PolicyEffect) {
	if g == nil {
		return e
	}
	if g.policy != nil {
		e.Policy = g.policy.Name
	}
	if g.operator != nil {
		e.Operator = g.operator.Name
	}
	e.Definition = g.definition
	return e
}

// terms are what the pair amounts to as a definition; nil: nothing.
func (g *governed) terms() field.Table {
	if g == nil {
		return nil
	}
	return g.definition
}

// The words of Policy.ApplyTo.
const (
	applyToAll       = "all"
	applyToQueues    = "queues"
	applyToExchanges = "exchanges"
)

// isApplyTo reports whether a policy can apply to that.
func isApplyTo(s string) bool {
	switch s {
	case applyToAll, applyToQueues, applyToExchanges, "classic_queues", "quorum_queues", "streams":
		return true
	}
	return false
}

// subject is what policies are looked for: a name, and the words of ApplyTo that it is meant by.
type subject struct {
	name   string
	kind   string     // applyToQueues or applyToExchanges
	narrow string     // of a queue the word for its type
	of     queueTypes // of a queue its type; 0: it is an exchange
}

// best returns the first policy of a list that applies, nil if none does.
func (s *subject) best(list []*policy) *policy {
	for _, p := range list {
		if p.ApplyTo != applyToAll && p.ApplyTo != s.kind && p.ApplyTo != s.narrow {
			continue
		}
		if (s.of == 0 || p.fits&s.of != 0) && p.matches(s.name) {
			return p
		}
	}
	return nil
}

// fits returns the types of queue to which all settings mean something. A policy with one that does not is for others, and gives none of its
// settings, as in RabbitMQ. Exchanges take what concerns them.
func fits(definition field.Table) queueTypes {
	types := onAll
	for i := range definition {
		if k := findPolicyKey(definition[i].Key); k != nil {
			types &= k.on
		} else {
			types = 0 // a newer version wrote it
		}
	}
	return types
}

// govern puts policies in force. vhost.mu is held, and the record of the change handed over.
func (v *VHost) govern(next *policies) {
	v.policies.Store(next)
	v.pairs = nil
	for _, q := range v.queues.Load().all() {
		q.govern()
	}
	for _, x := range v.exchanges.Load().all() {
		x.govern()
	}
}

// pair returns the policies that govern a subject; nil: none. vhost.mu is held.
func (v *VHost) pair(s *subject) *governed {
	ps := v.policies.Load()
	key := [2]*policy{s.best(ps.users), s.best(ps.operators)}
	if key == [2]*policy{} {
		return nil
	}
	g := v.pairs[key]
	if g == nil {
		if v.pairs == nil {
			v.pairs = map[[2]*policy]*governed{}
		}
		g = &governed{policy: key[0], operator: key[1], definition: mergePolicies(key[0], key[1])}
		v.pairs[key] = g
	}
	return g
}

// same reports whether two pairs are the same policies: pairs are made anew with each change.
func (g *governed) same(o *governed) bool {
	if g == nil || o == nil {
		return g == o
	}
	return g.policy == o.policy && g.operator == o.operator
}

// govern finds the policies of a queue that is being made, or that exists when policies change, and has it do as they say. vhost.mu is held.
func (q *Queue) govern() {
	s := subject{name: q.spec.Name, kind: applyToQueues, narrow: "classic_queues", of: onClassic}
	if t, _ := stringArg(q.spec.Args, argQueueType); t == QuorumType {
		s.narrow, s.of = "quorum_queues", onQuorum
	}
	g := q.vhost.pair(&s)
	if g.same(q.governed.Load()) {
		return
	}
	q.governed.Store(g)
	q.apply(q.settingsUnder(g))
}

// settingsUnder returns what the queue's arguments amount to under a pair of policies. Arguments that have no meaning for this version were
// told of when they were read first.
func (q *Queue) settingsUnder(g *governed) *QueueSettings {
	if q.isSubscribers() {
		return q.vhost.broker.waitingUnder(g)
	}
	if len(q.spec.Args) == 0 && g != nil && g.plain != nil {
		return g.plain
	}
	st := settingsOf(governArgs(q.spec.Args, g.terms()))
	if len(q.spec.Args) == 0 && g != nil {
		g.plain = st
	}
	return st
}

// apply gives the queue other settings, and has it do at once what they ask for: drop what is too old or too much for them, and last as long
// as they say, from now on.
func (q *Queue) apply(st *QueueSettings) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.settings.Store(st)
	q.vhost.dedups.note(q.dedupLimits())
	if q.deleted {
		return
	}
	if q.lease != nil {
		q.lease.set = false // the alarm is for another time
	}
	q.touch()
	q.dropExpired()
	q.shorten()
	q.dispatch()
	q.watch()
}

// govern does for an exchange what it does for a queue.
func (x *Exchange) govern() {
	g := x.vhost.pair(&subject{name: x.spec.Name, kind: applyToExchanges})
	if g.same(x.governed.Load()) {
		return
	}
	x.governed.Store(g)
	x.settings.Store(parseExchangeArgs(governArgs(x.spec.Args, g.terms())))
	x.vhost.dedups.note(x.dedupLimits())
}

// compile makes the pattern of a policy that was read back ready. One that does not compile any more matches nothing, and is told of.
func (b *Broker) compile(p *policy) {
	var err error
	if p.matches, err = b.opt.CompilePattern(p.Pattern); err != nil {
		b.opt.Logger.Error("the pattern of a policy cannot be used: it applies to nothing",
			slog.String("policy", p.object()), slog.String("pattern", p.Pattern), slog.Any("err", err))
		p.matches = func(string) bool { return false }
	}
}

// governAll puts the policies that were read back in force.
func (b *Broker) governAll() {
	for _, v := range b.vhosts.Load().all() {
		if ps := v.policies.Load(); len(ps.users)+len(ps.operators) > 0 {
			v.mu.Lock()
			v.govern(ps)
			v.mu.Unlock()
		}
	}
}

// compileGo is Options.CompilePattern where nobody says otherwise.
func compileGo(pattern string) (func(string) bool, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, err
	}
	return re.MatchString, nil
}
