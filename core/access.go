package core

import (
	"cmp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// User is an account. The engine keeps it and counts its connections; what its hashes mean is the authenticators' business.
type User struct {
	Name     string
	Password string   // a self-describing hash, opaque here; empty: no login by password
	SCRAM    string   // a SCRAM-SHA-256 verifier, opaque here; may be empty
	Tags     []string // "administrator", "monitoring", "policymaker", "management", "impersonator"; others are kept

	MaxConnections, MaxChannels int // -1: no limit; 0: none at all
}

// Permission is what a user may do in a vhost: patterns of the names that each right reaches, opaque here.
type Permission struct{ VHost, User, Configure, Write, Read string }

// TopicPermission narrows what a user may do with a topic exchange: patterns of routing keys, opaque here.
type TopicPermission struct{ VHost, User, Exchange, Write, Read string }

// VHostInfo is a vhost as administrators see it.
type VHostInfo struct {
	Name, Description string
	Tags              []string
	DefaultQueueType  string

	MaxConnections, MaxQueues int // -1: no limit; 0: none at all
}

// Access is who may use the broker: users, their permissions, and the vhosts.
//
// Reads are of an immutable snapshot and never wait. Lists are in the order of their names. Nothing of what is returned may be changed
// by the caller.
//
// A change is durable when its method returns without an error. ctx bounds that wait only: the change itself is made even if the wait
// is given up. It can be read before it is durable.
type Access struct {
	broker *Broker

	accounts atomic.Pointer[accounts] // changes under mu

	mu        sync.Mutex // one change at a time, so that records and snapshots have one order; above every vhost's
	seeded    bool       // there was a first user
	noDefault bool       // the default vhost was deleted
}

// accounts is a snapshot of the users and what they may do.
type accounts struct {
	generation uint64
	users      pmap[*account]
}

// account is a user with its permissions, of which a user has few: by vhost, and by vhost and exchange. It is immutable.
type account struct {
	User
	permissions []Permission
	topics      []TopicPermission
}

// Access is who may use the broker.
func (b *Broker) Access() *Access { return &b.access }

// Generation grows with every change of users, permissions and topic permissions. It starts at 1.
func (a *Access) Generation() uint64 { return a.accounts.Load().generation }

// User returns a user by name.
func (a *Access) User(name string) (User, bool) {
	if acc := a.account(name); acc != nil {
		return acc.User, true
	}
	return User{}, false
}

// Users returns all users.
func (a *Access) Users() []User {
	all := a.accounts.Load().sorted()
	users := make([]User, len(all))
	for i, acc := range all {
		users[i] = acc.User
	}
	return users
}

// Permission returns what a user may do in a vhost. false: it may not even enter.
func (a *Access) Permission(vhost, user string) (Permission, bool) {
	if acc := a.account(user); acc != nil {
		if i := acc.permission(vhost); i >= 0 {
			return acc.permissions[i], true
		}
	}
	return Permission{}, false
}

// Permissions returns all permissions, by user and vhost.
func (a *Access) Permissions() []Permission {
	var all []Permission
	for _, acc := range a.accounts.Load().sorted() {
		all = append(all, acc.permissions...)
	}
	return all
}

// TopicPermission returns how a user's use of a topic exchange is narrowed. false: it is not.
func (a *Access) TopicPermission(vhost, user, exchange string) (TopicPermission, bool) {
	if acc := a.account(user); acc != nil {
		if i := acc.topic(vhost, exchange); i >= 0 {
			return acc.topics[i], true
		}
	}
	return TopicPermission{}, false
}

// TopicPermissions returns all topic permissions, by user, vhost and exchange.
func (a *Access) TopicPermissions() []TopicPermission {
	var all []TopicPermission
	for _, acc := range a.accounts.Load().sorted() {
		all = append(all, acc.topics...)
	}
	return all
}

// HasTopicPermissions reports whether a user has any topic permission in a vhost. It is cheap, for those who publish.
func (a *Access) HasTopicPermissions(vhost, user string) bool {
	acc := a.account(user)
	if acc == nil {
		return false
	}
	for i := range acc.topics {
		if acc.topics[i].VHost == vhost {
			return true
		}
	}
	return false
}

// VHost returns a vhost by name.
func (a *Access) VHost(name string) (VHostInfo, bool) {
	if v := a.broker.vhost(name); v != nil {
		return *v.info.Load(), true
	}
	return VHostInfo{}, false
}

// VHosts returns all vhosts.
func (a *Access) VHosts() []VHostInfo {
	var all []VHostInfo
	for _, v := range a.broker.vhosts.Load().all() {
		all = append(all, *v.info.Load())
	}
	slices.SortFunc(all, func(x, y VHostInfo) int { return strings.Compare(x.Name, y.Name) })
	return all
}

// HasVHost reports whether there is a vhost of this name.
func (b *Broker) HasVHost(name string) bool { return b.vhost(name) != nil }

func (a *Access) account(name string) *account {
	acc, _ := a.accounts.Load().users.get(name)
	return acc
}

func (s *accounts) sorted() []*account {
	all := make([]*account, 0, s.users.len())
	for _, acc := range s.users.all() {
		all = append(all, acc)
	}
	slices.SortFunc(all, func(x, y *account) int { return strings.Compare(x.Name, y.Name) })
	return all
}

// permission and topic return an index, negative when there is none.
func (acc *account) permission(vhost string) int {
	return slices.IndexFunc(acc.permissions, func(p Permission) bool { return p.VHost == vhost })
}

func (acc *account) topic(vhost, exchange string) int {
	return slices.IndexFunc(acc.topics, func(p TopicPermission) bool { return p.VHost == vhost && p.Exchange == exchange })
}

// with and the like return the account that has something more or less.
func (acc *account) with(p Permission) *account {
	next := acc.withoutPermission(p.VHost)
	next.permissions = append(next.permissions, p)
	slices.SortFunc(next.permissions, func(x, y Permission) int { return strings.Compare(x.VHost, y.VHost) })
	return next
}

func (acc *account) withTopic(p TopicPermission) *account {
	next := acc.withoutTopic(p.VHost, p.Exchange)
	next.topics = append(next.topics, p)
	slices.SortFunc(next.topics, func(x, y TopicPermission) int {
		return cmp.Or(strings.Compare(x.VHost, y.VHost), strings.Compare(x.Exchange, y.Exchange))
	})
	return next
}

func (acc *account) withoutPermission(vhost string) *account {
	next := *acc
	next.permissions = slices.DeleteFunc(slices.Clone(acc.permissions), func(p Permission) bool { return p.VHost == vhost })
	return &next
}

func (acc *account) withoutTopic(vhost, exchange string) *account {
	next := *acc
	next.topics = slices.DeleteFunc(slices.Clone(acc.topics), func(p TopicPermission) bool {
		return p.VHost == vhost && p.Exchange == exchange
	})
	return &next
}
