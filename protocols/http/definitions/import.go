package definitions

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/http/jsontable"
)

// Options say how to import.
type Options struct {
	// VHost: what the document says is for this vhost alone, whatever vhost it names;
	// its users, vhosts and permissions are passed over. Empty: it is for all.
	VHost string

	// Keep: exchanges and queues that are declared otherwise are told of in the
	// Report, and stay as they are, instead of being an error.
	Keep bool
}

// A Report says what an import did.
type Report struct {
	Changed int      // objects that were made or changed
	Notes   []string // what was passed over, and what was kept; at most maxProblems
	More    int      // notes that are not told
}

func (r *Report) note(format string, args ...any) {
	if len(r.Notes) == maxProblems {
		r.More++
		return
	}
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// Import makes in b what d says. An error of the type *Error says that nothing of it
// was made; any other that it was made in part, and may not be durable. ctx bounds the
// wait for the disk.
func Import(ctx context.Context, b *core.Broker, d *Document, opt Options) (*Report, error) {
	m := &makingOf{
		broker: b, changes: b.Changes(), opt: opt, report: new(Report), problems: new(Error),
		vhosts: map[string]*core.VHostInfo{}, users: map[string]*core.User{}, ends: map[end]string{}, bound: map[string]map[string]bool{},
	}
	m.plan(ctx, d)
	if err := m.problems.err(); err != nil {
		return nil, err
	}
	for _, step := range append(m.vhostSteps(), m.steps...) {
		if err := step.take(); err != nil {
			return nil, fmt.Errorf("import %s: %w", step.object, err)
		}
		m.report.Changed++
	}
	return m.report, m.changes.Wait(ctx)
}

// makingOf is an import under way: first every object is looked at, which makes a step of
// each that is to be made, and a problem of each that cannot be; then the steps are taken.
type makingOf struct {
	broker   *core.Broker
	changes  core.Changes
	opt      Options
	report   *Report
	problems *Error
	steps    []step

	vhosts map[string]*core.VHostInfo // as they will be; nil: there will be none
	users  map[string]*core.User      // of the document, as they will be
	ends   map[end]string             // what will be made there
	bound  map[string]map[string]bool // by vhost the identities of bindings that are there, or will be
}

// A step makes one object.
type step struct {
	object string
	take   func() error
}

// An end is what a binding may lead from or to.
type end struct {
	vhost, name string
	exchange    bool
}

// plan looks at all objects, in the order in which one may need another.
func (m *makingOf) plan(ctx context.Context, d *Document) {
	if m.opt.VHost == "" {
		each(d.VHosts, m.vhost)
		for i := range d.Users {
			if ctx.Err() != nil { // each password takes its time
				m.problems.add("users: there was time for %d of %d: write a password_hash in place of each password", i, len(d.Users))
				return
			}
			m.user(&d.Users[i])
		}
		each(d.Permissions, m.permission)
		each(d.TopicPermissions, m.topicPermission)
		each(d.GlobalParameters, m.globalParameter)
	}
	each(d.Parameters, m.parameter)
	each(d.Policies, func(p *Policy) { m.policy(p, false) })
	each(d.OperatorPolicies, func(p *Policy) { m.policy(p, true) })
	each(d.Exchanges, m.exchange)
	each(d.Queues, m.queue)
	each(d.Bindings, m.binding)
}

func each[T any](list []T, look func(*T)) {
	for i := range list {
		look(&list[i])
	}
}

func (m *makingOf) add(object string, take func() error) {
	m.steps = append(m.steps, step{object, take})
}

// vhostSteps make and change vhosts, which all else needs. Several parts of a document
// speak of one.
func (m *makingOf) vhostSteps() (steps []step) {
	for _, name := range slices.Sorted(maps.Keys(m.vhosts)) {
		v := m.vhosts[name]
		if v == nil {
			continue
		}
		if now, ok := m.broker.Access().VHost(name); !ok || !sameVHost(&now, v) {
			steps = append(steps, step{fmt.Sprintf("vhost '%s'", name), func() error { return m.changes.PutVHost(*v) }})
		}
	}
	return steps
}

func sameVHost(x, y *core.VHostInfo) bool {
	return x.Description == y.Description && slices.Equal(x.Tags, y.Tags) && x.DefaultQueueType == y.DefaultQueueType &&
		x.MaxConnections == y.MaxConnections && x.MaxQueues == y.MaxQueues
}

func sameUser(x, y *core.User) bool {
	return x.Password == y.Password && x.SCRAM == y.SCRAM && slices.Equal(x.Tags, y.Tags) &&
		x.MaxConnections == y.MaxConnections && x.MaxChannels == y.MaxChannels
}

// problem notes what is wrong with an object; nil is nothing.
func (m *makingOf) problem(object string, err error) bool {
	if err == nil {
		return false
	}
	m.problems.add("%s: %s", object, reason(err))
	return true
}

// reason is an error without what it is about.
func reason(err error) string {
	if e, ok := errors.AsType[*core.Error](err); ok && e.Text != "" {
		return e.Text
	}
	return err.Error()
}

// lookupVHost returns a vhost as it will be, nil if there will be none.
func (m *makingOf) lookupVHost(name string) *core.VHostInfo {
	v, ok := m.vhosts[name]
	if !ok {
		if now, ok := m.broker.Access().VHost(name); ok {
			v = &now
		}
		m.vhosts[name] = v
	}
	return v
}

// scope gives an object the vhost that it is imported into, and says whether there will
// be one of that name.
func (m *makingOf) scope(object string, vhost *string) bool {
	if m.opt.VHost != "" {
		*vhost = m.opt.VHost
	}
	if *vhost == "" {
		m.problems.add("%s: it names no vhost", object)
		return false
	}
	if m.lookupVHost(*vhost) == nil {
		m.problems.add("%s: there is no vhost '%s', and none is in the definitions", object, *vhost)
		return false
	}
	return true
}

func (m *makingOf) vhost(v *VHost) {
	object := fmt.Sprintf("vhost '%s'", v.Name)
	next := core.VHostInfo{Name: v.Name, MaxConnections: -1, MaxQueues: -1}
	if now := m.lookupVHost(v.Name); now != nil {
		next = *now
	}
	for _, from := range []*vhostMetadata{v.Metadata, {v.Description, v.Tags, v.QueueType}} {
		if from == nil {
			continue
		}
		if from.Description != nil {
			next.Description = *from.Description
		}
		if from.Tags != nil {
			next.Tags = list(*from.Tags)
		}
		if from.QueueType != nil {
			next.DefaultQueueType = *from.QueueType
		}
	}
	switch next.DefaultQueueType {
	case "undefined":
		next.DefaultQueueType = ""
	case "", "classic", "quorum", "stream":
	default:
		m.problems.add("%s: default_queue_type '%s' is not one of classic, quorum and stream", object, next.DefaultQueueType)
	}
	if v.Limits != nil && m.problem(object, setLimits(&next, text(v.Limits))) {
		return
	}
	if !m.problem(object, m.changes.CheckVHost(next)) {
		m.vhosts[v.Name] = &next
	}
}

// list is nil where there is nothing, as the engine has it.
func list(all tags) []string {
	if len(all) == 0 {
		return nil
	}
	return all
}

func (m *makingOf) user(u *User) {
	object := fmt.Sprintf("user '%s'", u.Name)
	now, exists := m.broker.Access().User(u.Name)
	next := core.User{Name: u.Name, MaxConnections: -1, MaxChannels: -1}
	if exists {
		next = now
	}
	if u.Tags == nil {
		m.problems.add("%s: it has no tags: write [] for none", object)
		return
	}
	next.Tags = list(*u.Tags)
	if m.problem(object, u.setPassword(&next)) || u.Limits != nil && m.problem(object, UserLimits.replace(&next, u.Limits)) || m.problem(object, m.changes.CheckUser(next)) {
		return
	}
	m.users[u.Name] = &next
	if !exists || !sameUser(&now, &next) {
		m.add(object, func() error { return m.changes.PutUser(next) })
	}
}

// setPassword gives the user what the document says about its password: as in RabbitMQ
// none if it says nothing. One that it has already keeps its hash.
func (u *User) setPassword(to *core.User) error {
	switch {
	case u.Password != "" && u.PasswordHash != nil:
		return errors.New("it has both a password and a password_hash")
	case u.Password != "":
		if same, err := auth.VerifyPassword(to.Password, u.Password); err == nil && same {
			return nil
		}
		return auth.SetPassword(to, u.Password) //nolint:wrapcheck // it names the user
	case u.PasswordHash == nil || *u.PasswordHash == "":
		return auth.SetPassword(to, "") //nolint:wrapcheck // it cannot fail
	}
	hash, err := auth.JoinHash(u.Algorithm, *u.PasswordHash)
	if err != nil {
		return fmt.Errorf("password_hash: %w", err)
	}
	if u.SCRAM != "" {
		if err := auth.CheckSCRAM(u.SCRAM); err != nil {
			return fmt.Errorf("scram_sha_256: %w", err)
		}
	}
	if hash != to.Password || u.SCRAM != "" {
		to.Password, to.SCRAM = hash, u.SCRAM
	}
	return nil
}

// hasUser says whether there will be a user.
func (m *makingOf) hasUser(object, name string) bool {
	if m.users[name] != nil {
		return true
	}
	if _, ok := m.broker.Access().User(name); ok {
		return true
	}
	m.problems.add("%s: there is no user '%s', and none is in the definitions", object, name)
	return false
}

// patterns says whether all can be used.
func (m *makingOf) patterns(object string, all ...string) bool {
	for _, p := range all {
		if m.problem(object, auth.ValidatePattern(p)) {
			return false
		}
	}
	return true
}

func (m *makingOf) permission(p *Permission) {
	object := fmt.Sprintf("permission of user '%s' in vhost '%s'", p.User, p.VHost)
	if !m.scope(object, &p.VHost) || !m.hasUser(object, p.User) || !m.patterns(object, p.Configure, p.Write, p.Read) {
		return
	}
	next := core.Permission{VHost: p.VHost, User: p.User, Configure: p.Configure, Write: p.Write, Read: p.Read}
	if now, ok := m.broker.Access().Permission(p.VHost, p.User); !ok || now != next {
		m.add(object, func() error { return m.changes.SetPermission(next) })
	}
}

func (m *makingOf) topicPermission(p *TopicPermission) {
	object := fmt.Sprintf("topic permission of user '%s' at exchange '%s' in vhost '%s'", p.User, p.Exchange, p.VHost)
	if !m.scope(object, &p.VHost) || !m.hasUser(object, p.User) || !m.patterns(object, p.Write, p.Read) {
		return
	}
	next := core.TopicPermission{VHost: p.VHost, User: p.User, Exchange: p.Exchange, Write: p.Write, Read: p.Read}
	if now, ok := m.broker.Access().TopicPermission(p.VHost, p.User, p.Exchange); !ok || now != next {
		m.add(object, func() error { return m.changes.SetTopicPermission(next) })
	}
}

func (m *makingOf) globalParameter(p *GlobalParameter) {
	m.keep(core.Parameter{Name: p.Name, Value: compact(p.Value)}, fmt.Sprintf("global parameter '%s'", p.Name))
}

// keep has a parameter kept that means nothing here.
func (m *makingOf) keep(p core.Parameter, object string) {
	if p.Value == nil {
		m.problems.add("%s: it has no value", object)
		return
	}
	if m.problem(object, m.changes.CheckParameter(p)) {
		return
	}
	if now, ok := m.broker.Parameter(p.VHost, p.Component, p.Name); ok && string(now.Value) == string(p.Value) {
		return
	}
	m.add(object, func() error {
		_, err := m.changes.SetParameter(p)
		return err
	})
}

func (m *makingOf) parameter(p *Parameter) {
	object := fmt.Sprintf("parameter '%s' of component '%s' in vhost '%s'", p.Name, p.Component, p.VHost)
	if !m.scope(object, &p.VHost) {
		return
	}
	switch p.Component {
	case PolicyComponent:
		m.problems.add("%s: policies are in a list of their own", object)
	case operatorComponent:
		policy, err := p.operatorPolicy()
		if !m.problem(object, err) {
			m.setPolicy(object, policy)
		}
	case limitsComponent:
		v := *m.lookupVHost(p.VHost)
		if p.Name != limitsName {
			m.problems.add("%s: the limits of a vhost are one parameter called '%s'", object, limitsName)
		} else if !m.problem(object, setLimits(&v, p.Value)) {
			m.vhosts[p.VHost] = &v
		}
	default:
		m.keep(core.Parameter{VHost: p.VHost, Component: p.Component, Name: p.Name, Value: compact(p.Value)}, object)
	}
}

func (m *makingOf) policy(p *Policy, operator bool) {
	kind := "policy"
	if operator {
		kind = "operator policy"
	}
	object := fmt.Sprintf("%s '%s' in vhost '%s'", kind, p.Name, p.VHost)
	if !m.scope(object, &p.VHost) {
		return
	}
	next, err := p.policy(p.VHost, p.Name, operator)
	if !m.problem(object, err) {
		m.setPolicy(object, next)
	}
}

func (m *makingOf) setPolicy(object string, next core.Policy) {
	if m.problem(object, m.changes.CheckPolicy(next)) {
		return
	}
	if next.ApplyTo == "" {
		next.ApplyTo = "all"
	}
	now, ok := m.broker.Policy(next.VHost, next.Name, next.Operator)
	if ok && now.Pattern == next.Pattern && now.ApplyTo == next.ApplyTo && now.Priority == next.Priority && field.Equal(now.Definition, next.Definition) {
		return
	}
	m.add(object, func() error {
		_, err := m.changes.SetPolicy(next)
		return err
	})
}

// declared is what is declared where nothing else is said.
func declared(durable *bool) bool { return durable == nil || *durable }

func (m *makingOf) exchange(x *Exchange) {
	object := fmt.Sprintf("exchange '%s' in vhost '%s'", x.Name, x.VHost)
	if !m.scope(object, &x.VHost) {
		return
	}
	if x.Type == "" {
		m.problems.add("%s: it has no type", object)
		return
	}
	spec := core.ExchangeSpec{
		Name: x.Name, Kind: x.Type, Durable: declared(x.Durable), AutoDelete: x.AutoDelete, Internal: x.Internal, Args: field.Table(x.Arguments),
	}
	if m.refused(object, m.changes.CheckExchange(x.VHost, spec)) {
		return
	}
	what := text([]any{x.Type, spec.Durable, x.AutoDelete, x.Internal, x.Arguments})
	if m.isNew(object, end{x.VHost, x.Name, true}, string(what)) {
		m.add(object, func() error { return m.changes.DeclareExchange(x.VHost, spec) })
	}
}

// ofSession are the names that queues of MQTT sessions have in RabbitMQ, and have here:
// who declared one would lock the session's client out.
var ofSession = regexp.MustCompile(`^mqtt-subscription-.*qos[01]$`)

func (m *makingOf) queue(q *Queue) {
	object := fmt.Sprintf("queue '%s' in vhost '%s'", q.Name, q.VHost)
	if !m.scope(object, &q.VHost) {
		return
	}
	if ofSession.MatchString(q.Name) {
		m.report.note("%s: passed over: it is an MQTT session's, and comes with its client", object)
		return
	}
	if q.Name == "" {
		m.problems.add("%s: it has no name", object)
		return
	}
	spec := core.QueueSpec{Name: q.Name, Durable: declared(q.Durable), AutoDelete: q.AutoDelete, Args: field.Table(q.Arguments)}
	if m.refused(object, m.changes.CheckQueue(q.VHost, spec)) {
		return
	}
	what := text([]any{spec.Durable, q.AutoDelete, q.Arguments})
	if m.isNew(object, end{q.VHost, q.Name, false}, string(what)) {
		m.add(object, func() error { return m.changes.DeclareQueue(q.VHost, spec) })
	}
}

// isNew says whether an exchange or a queue is neither there, nor in the document before.
func (m *makingOf) isNew(object string, at end, what string) bool {
	if before, ok := m.ends[at]; ok {
		if before != what {
			m.problems.add("%s: the definitions have it twice, and not the same", object)
		}
		return false
	}
	if m.hasEnd(at) {
		return false
	}
	m.ends[at] = what
	return true
}

// refused is problem for what may be declared otherwise already.
func (m *makingOf) refused(object string, err error) bool {
	if m.opt.Keep && core.KindOf(err) == core.Inequivalent {
		m.report.note("%s: stays as it is: %s", object, reason(err))
		return true
	}
	return m.problem(object, err)
}

// hasEnd says whether an exchange or a queue is there, or will be.
func (m *makingOf) hasEnd(at end) bool {
	if _, ok := m.ends[at]; ok {
		return true
	}
	if at.exchange {
		return m.changes.HasExchange(at.vhost, at.name)
	}
	return m.broker.Queue(at.vhost, at.name) != nil
}

func (m *makingOf) binding(b *Binding) {
	object := fmt.Sprintf("binding from '%s' to %s '%s' in vhost '%s'", b.Source, b.DestType, b.Destination, b.VHost)
	if !m.scope(object, &b.VHost) {
		return
	}
	if b.DestType != "queue" && b.DestType != "exchange" {
		m.problems.add("%s: destination_type is not queue or exchange", object)
		return
	}
	if b.Source == "" { // every queue has it, as old versions of RabbitMQ write
		return
	}
	spec := core.BindingSpec{
		Source: b.Source, Dest: b.Destination, DestExchange: b.DestType == "exchange", Key: b.RoutingKey, Args: field.Table(b.Arguments),
	}
	if !m.hasEnd(end{b.VHost, b.Source, true}) || !m.hasEnd(end{b.VHost, b.Destination, spec.DestExchange}) {
		m.report.note("%s: passed over: one of them does not exist", object)
		return
	}
	there, id := m.bindings(b.VHost), identity(&spec)
	if !there[id] {
		there[id] = true
		m.add(object, func() error { return m.changes.Bind(b.VHost, spec) })
	}
}

// bindings are the identities of those that a vhost has.
func (m *makingOf) bindings(vhost string) map[string]bool {
	there := m.bound[vhost]
	if there == nil {
		there = map[string]bool{}
		m.bound[vhost] = there
		for spec := range m.broker.Bindings(vhost) {
			there[identity(&spec)] = true
		}
	}
	return there
}

// identity is what a document can tell bindings apart by: not, as the engine can, by the
// widths of numbers or the order of arguments.
func identity(s *core.BindingSpec) string {
	return string(text([]any{s.Source, s.Dest, s.DestExchange, s.Key, jsontable.Object(s.Args)}))
}
