package auth

import (
	"fmt"
	"sync/atomic"

	"github.com/batonmq/baton/core"
)

// permissions decide by the records of one account. Every answer is of the
// records as they are then.
type permissions struct {
	accounts *Accounts
	account  string // whose records count
	name     string // who asks: the same, but for a certificate's stand-in
	vars     Variables

	write, read atomic.Pointer[expansion] // the last of each right; most sessions use one topic exchange
}

// An expansion is a topic permission's pattern with the session's values in it.
type expansion struct {
	vhost, pattern string // whose
	text           string
	ok             bool // all variables have values
}

var _ core.Authorizer = (*permissions)(nil)

// Enter lets in who has a permission in the vhost, however little that allows.
// Administrators are users like others here, as in RabbitMQ.
func (p *permissions) Enter(vhost string) error {
	if _, ok := p.accounts.users.Permission(vhost, p.account); !ok {
		return fmt.Errorf("user %q has no permission in vhost %q: %w", p.name, vhost, core.ErrDenied)
	}
	return nil
}

// Allow asks the pattern of the right.
func (p *permissions) Allow(r core.Request) error {
	var allowed bool
	if r.Class == core.TopicClass {
		allowed = p.allowsKey(r)
	} else {
		allowed = p.allowsName(r)
	}
	if !allowed {
		return fmt.Errorf("user %q: %s of %q (key %q) in vhost %q: %w", p.name, r.Right, r.Name, r.Key, r.VHost, core.ErrDenied)
	}
	return nil
}

func (p *permissions) allowsName(r core.Request) bool {
	record, ok := p.accounts.users.Permission(r.VHost, p.account)
	if !ok {
		return false
	}
	name := r.Name
	if r.Class == core.ExchangeClass && name == "" {
		name = "amq.default"
	}
	switch r.Right {
	case core.Configure:
		return p.accounts.patterns.match(record.Configure, name)
	case core.Write:
		return p.accounts.patterns.match(record.Write, name)
	case core.Read:
		return p.accounts.patterns.match(record.Read, name)
	}
	return false
}

// allowsKey asks the topic permission at the exchange. Where there is none, the
// use of the exchange is not narrowed.
func (p *permissions) allowsKey(r core.Request) bool {
	record, ok := p.accounts.users.TopicPermission(r.VHost, p.account, r.Name)
	if !ok {
		return true
	}
	pattern, last := record.Read, &p.read
	if r.Right == core.Write {
		pattern, last = record.Write, &p.write
	}
	e := last.Load()
	if e == nil || e.vhost != r.VHost || e.pattern != pattern {
		e = p.expand(r.VHost, pattern)
		last.Store(e)
	}
	return e.ok && p.accounts.patterns.match(e.text, r.Key)
}

func (p *permissions) expand(vhost, pattern string) *expansion {
	e := &expansion{vhost: vhost, pattern: pattern}
	e.text, e.ok = expand(pattern, func(variable string) string {
		switch variable {
		case "client_id":
			return p.vars.word(p.vars.ClientID)
		case "username":
			return p.vars.word(p.name)
		case "vhost":
			return vhost
		}
		return ""
	})
	return e
}

// word is the value as it appears in routing keys.
func (v *Variables) word(value string) string {
	if v.Word == nil {
		return value
	}
	return v.Word(value)
}

// Generation is that of the records.
func (p *permissions) Generation() uint64 { return p.accounts.users.Generation() }

// Topics reports whether there is a topic permission at the exchange.
func (p *permissions) Topics(vhost, exchange string) bool {
	if !p.accounts.users.HasTopicPermissions(vhost, p.account) {
		return false
	}
	_, ok := p.accounts.users.TopicPermission(vhost, p.account, exchange)
	return ok
}
