package auth

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/batonmq/baton/core"
)

// errScope is a scope that is not a permission.
var errScope = errors.New("not a permission scope")

// maxScopeBytes is more than three patterns of the longest names, all encoded.
const maxScopeBytes = 4 << 10

// A grant is one permission scope:
//
//	{configure|write|read}:vhost-pattern/name-pattern[/routing-key-pattern]
//
// Every pattern is percent-encoded text with * for any run of characters and
// {vhost} or {claim} for what a request or the token says. Only the text that
// stands in the scope has wildcards and encodings: a claim's value is itself
// wherever it stands, so that a user named * is no other's.
type grant struct {
	right core.Right
	vhost wildcard
	name  wildcard
	key   wildcard // nil: the scope has two parts only
}

// parseGrant reads a scope, its prefix removed. claim returns the value of a
// claim that is a string.
func parseGrant(scope string, claim func(name string) (string, bool)) (grant, error) {
	var g grant
	word, resource, ok := strings.Cut(scope, ":")
	if !ok || len(scope) > maxScopeBytes {
		return grant{}, errScope
	}
	switch word {
	case core.Configure.String():
		g.right = core.Configure
	case core.Write.String():
		g.right = core.Write
	case core.Read.String():
		g.right = core.Read
	default:
		return grant{}, errScope
	}
	parts := strings.Split(resource, "/")
	if len(parts) != 2 && len(parts) != 3 {
		return grant{}, fmt.Errorf("scope with %d parts between slashes, want two or three", len(parts))
	}
	into := []*wildcard{&g.vhost, &g.name, &g.key}
	for i, part := range parts {
		w, err := parseWildcard(part, claim)
		if err != nil {
			return grant{}, err
		}
		*into[i] = w
	}
	return g, nil
}

// covers reports whether the grant allows the request. A grant without a key
// says nothing of topics, as in RabbitMQ, unless twoPart has it allow them all.
func (g *grant) covers(r core.Request, twoPart bool) bool {
	if g.right != r.Right || !g.vhost.match(r.VHost, r.VHost) || !g.name.match(r.Name, r.VHost) {
		return false
	}
	switch {
	case r.Class != core.TopicClass:
		return true
	case g.key == nil:
		return twoPart
	}
	return g.key.match(r.Key, r.VHost)
}

// A wildcard is a pattern by the literals between its asterisks: one literal is
// an exact match, two with nothing in them match everything.
type wildcard []literal

// A literal is the pieces of a text between which the vhost's name stands;
// almost always one.
type literal []string

// in returns the literal's text for a vhost.
func (l literal) in(vhost string) string {
	if len(l) == 1 {
		return l[0]
	}
	return strings.Join(l, vhost)
}

func parseWildcard(s string, claim func(string) (string, bool)) (wildcard, error) {
	parts := strings.Split(s, "*")
	w := make(wildcard, len(parts))
	for i, part := range parts {
		l, err := parseLiteral(part, claim)
		if err != nil {
			return nil, err
		}
		w[i] = l
	}
	return w, nil
}

// parseLiteral decodes the text outside braces and puts claims' values, which
// are not decoded, in place of those inside.
func parseLiteral(s string, claim func(string) (string, bool)) (literal, error) {
	var l literal
	var piece strings.Builder
	for {
		text, rest, braced := strings.Cut(s, "{")
		decoded, err := url.QueryUnescape(text)
		if err != nil {
			return nil, fmt.Errorf("scope's encoding: %w", err)
		}
		piece.WriteString(decoded)
		if !braced {
			return append(l, piece.String()), nil
		}
		name, after, closed := strings.Cut(rest, "}")
		if !closed {
			return nil, errors.New("scope's variable has no closing brace")
		}
		if s = after; name == "vhost" {
			l = append(l, piece.String())
			piece.Reset()
			continue
		}
		value, ok := claim(name)
		if !ok || value == "" || len(value) > maxVariable {
			return nil, fmt.Errorf("scope's variable %q is no claim with a text of 1 to %d bytes", name, maxVariable)
		}
		piece.WriteString(value)
	}
}

// match finds the literals in order: the first at the start, the last at the
// end, the others as early as they come, which leaves most to the rest.
func (w wildcard) match(s, vhost string) bool {
	first, last := w[0].in(vhost), w[len(w)-1].in(vhost)
	if len(w) == 1 {
		return s == first
	}
	if len(s) < len(first)+len(last) || !strings.HasPrefix(s, first) || !strings.HasSuffix(s, last) {
		return false
	}
	s = s[len(first) : len(s)-len(last)]
	for _, l := range w[1 : len(w)-1] {
		_, after, ok := strings.Cut(s, l.in(vhost))
		if !ok {
			return false
		}
		s = after
	}
	return true
}

// scopes is what the scopes of one token allow. It never changes.
type scopes struct {
	user    string
	grants  []grant
	twoPart bool // a grant without a key allows every topic
	keyed   bool // some grant has a key
}

var _ core.Authorizer = (*scopes)(nil)

// Enter allows a vhost that any permission is for.
func (s *scopes) Enter(vhost string) error {
	if slices.ContainsFunc(s.grants, func(g grant) bool { return g.vhost.match(vhost, vhost) }) {
		return nil
	}
	return fmt.Errorf("no scope of user %q's token is for vhost %q: %w", s.user, vhost, core.ErrDenied)
}

// Allow finds a scope that covers the request.
func (s *scopes) Allow(r core.Request) error {
	for i := range s.grants {
		if s.grants[i].covers(r, s.twoPart) {
			return nil
		}
	}
	return fmt.Errorf("no scope of user %q's token allows it: %w", s.user, core.ErrDenied)
}

// Generation never changes: a token is what it is.
func (s *scopes) Generation() uint64 { return 1 }

// Topics is false where the answer about a topic is that about its exchange.
func (s *scopes) Topics(string, string) bool { return s.keyed || !s.twoPart }
