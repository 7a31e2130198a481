package definitions

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/http/jsontable"
)

// Origin says who exports.
type Origin struct {
	Compatible string // the version of RabbitMQ that clients are told
	Version    string // the broker's
}

// Export returns the definitions of the whole broker.
func Export(b *core.Broker, from Origin) *Document {
	d := &Document{
		RabbitVersion: from.Compatible, RabbitMQVersion: from.Compatible, ProductName: "Baton", ProductVersion: from.Version, Format: "cluster",
		Users: []User{}, VHosts: []VHost{}, Permissions: []Permission{}, TopicPermissions: []TopicPermission{},
		Parameters: Parameters(b), GlobalParameters: GlobalParameters(b),
	}
	for _, u := range b.Access().Users() {
		d.Users = append(d.Users, userOf(&u))
	}
	for _, p := range b.Access().Permissions() {
		d.Permissions = append(d.Permissions, Permission{p.User, p.VHost, p.Configure, p.Write, p.Read})
	}
	for _, p := range b.Access().TopicPermissions() {
		d.TopicPermissions = append(d.TopicPermissions, TopicPermission{p.User, p.VHost, p.Exchange, p.Write, p.Read})
	}
	d.policies(b, nil)
	for _, v := range b.Access().VHosts() {
		d.VHosts = append(d.VHosts, vhostOf(&v))
		d.topology(b, v.Name, v.Name)
	}
	d.sort()
	return d
}

// ExportVHost returns the definitions of what is in a vhost. As in RabbitMQ, exchanges,
// queues and bindings do not name it: they can be imported into another one.
func ExportVHost(b *core.Broker, vhost string, from Origin) *Document {
	d := &Document{
		RabbitVersion: from.Compatible, RabbitMQVersion: from.Compatible, ProductName: "Baton", ProductVersion: from.Version,
		Format: "single_virtual_host", OriginalVHost: vhost, Parameters: []Parameter{},
	}
	for _, p := range Parameters(b) {
		if p.VHost == vhost {
			d.Parameters = append(d.Parameters, p)
		}
	}
	d.policies(b, &vhost)
	d.topology(b, vhost, "")
	d.sort()
	return d
}

func userOf(u *core.User) User {
	algorithm, hash := auth.SplitHash(u.Password)
	if hash == "" {
		algorithm = "rabbit_password_hashing_sha256" // which of them does not matter, and RabbitMQ wants one
	}
	all := tags(append([]string{}, u.Tags...))
	return User{Name: u.Name, PasswordHash: &hash, Algorithm: algorithm, SCRAM: u.SCRAM, Tags: &all, Limits: UserLimits.Of(u)}
}

func vhostOf(v *core.VHostInfo) VHost {
	all := tags(append([]string{}, v.Tags...))
	out := VHost{Name: v.Name, Description: &v.Description, Tags: &all}
	if v.DefaultQueueType != "" {
		out.QueueType = &v.DefaultQueueType
	}
	out.Metadata = &vhostMetadata{out.Description, out.Tags, out.QueueType}
	return out
}

// policies adds those of users, of one vhost or of all.
func (d *Document) policies(b *core.Broker, vhost *string) {
	d.Policies = []Policy{}
	for _, p := range b.Policies(false) {
		if vhost == nil || p.VHost == *vhost {
			priority, definition := float64(p.Priority), jsontable.Table(p.Definition)
			d.Policies = append(d.Policies, Policy{VHost: p.VHost, Name: p.Name, policyValue: policyValue{&p.Pattern, &definition, &priority, p.ApplyTo}})
		}
	}
}

// topology adds what clients have declared in a vhost and others may have, too: not what
// every vhost has, what ends with a connection, or what belongs to a session.
func (d *Document) topology(b *core.Broker, vhost, as string) {
	own := map[string]bool{} // queues that are left out
	for q := range b.Queues(vhost) {
		i, ok := q.Info()
		switch {
		case !ok:
		case i.Exclusive || i.Subscriber != "" || i.Shared:
			own[i.Name] = true
		default:
			d.Queues = append(d.Queues, Queue{i.Name, as, &i.Durable, i.AutoDelete, table(i.Args)})
		}
	}
	for x := range b.Exchanges(vhost) {
		if i := x.Info(); !isSystem(i.Name) {
			d.Exchanges = append(d.Exchanges, Exchange{i.Name, as, i.Kind, &i.Durable, i.AutoDelete, i.Internal, table(i.Args)})
		}
	}
	for s := range b.Bindings(vhost) {
		if s.Source == "" || !s.DestExchange && own[s.Dest] {
			continue
		}
		d.Bindings = append(d.Bindings, Binding{s.Source, as, s.Dest, destType(s.DestExchange), s.Key, table(s.Args)})
	}
}

// isSystem reports an exchange that is there without anybody having declared it.
func isSystem(name string) bool { return name == "" || strings.HasPrefix(name, "amq.") }

func destType(exchange bool) string {
	if exchange {
		return "exchange"
	}
	return "queue"
}

// table is one that is written as an object, also if it is empty.
func table(t field.Table) jsontable.Table {
	if t == nil {
		return jsontable.Table{}
	}
	return jsontable.Table(t)
}

// sort orders what engine and maps have in no order.
func (d *Document) sort() {
	if d.Queues == nil {
		d.Queues = []Queue{}
	}
	if d.Exchanges == nil {
		d.Exchanges = []Exchange{}
	}
	if d.Bindings == nil {
		d.Bindings = []Binding{}
	}
	slices.SortFunc(d.Queues, func(x, y Queue) int {
		return cmp.Or(strings.Compare(x.VHost, y.VHost), strings.Compare(x.Name, y.Name))
	})
	slices.SortFunc(d.Exchanges, func(x, y Exchange) int {
		return cmp.Or(strings.Compare(x.VHost, y.VHost), strings.Compare(x.Name, y.Name))
	})
	slices.SortFunc(d.Bindings, func(x, y Binding) int {
		order := cmp.Or(
			strings.Compare(x.VHost, y.VHost), strings.Compare(x.Source, y.Source), strings.Compare(x.DestType, y.DestType),
			strings.Compare(x.Destination, y.Destination), strings.Compare(x.RoutingKey, y.RoutingKey),
		)
		if order == 0 {
			order = bytes.Compare(text(x.Arguments), text(y.Arguments))
		}
		return order
	})
}
