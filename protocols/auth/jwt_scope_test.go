package auth

import (
	"errors"
	"net/url"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

// testClaims are a token's in the tests of scopes.
func testClaims(name string) (string, bool) {
	value, ok := map[string]string{"sub": "bob", "star": "*", "slash": "a/b", "encoded": "%2A", "braces": "{vhost}", "empty": "", "long": strings.Repeat("x", maxVariable+1)}[name]
	return value, ok
}

func TestWildcard(t *testing.T) {
	for _, tt := range []struct {
		pattern, text string
		want          bool
	}{
		{"foo", "foo", true},
		{"foo", "fo", false},
		{"foo", "fooo", false},
		{"", "", true},
		{"", "x", false},
		{"CaseSensitive", "casesensitive", false},
		{"string%20with%20%2F%20special%20%25%20characters", "string with / special % characters", true},
		{"pattern+with++plus++spaces", "pattern with  plus  spaces", true},
		{"plain  spaces", "plain  spaces", true},
		{"case+with+%2a+special+%2f", "case with * special /", true},
		{"encoded+%2a+star", "encoded anything star", false},
		{"*", "", true},
		{"*", "foo", true},
		{"**", "foo", true},
		{"*oo", "foo", true},
		{"*oo", "foooo", true}, // the last text is at the end, not where it is found first
		{"*foo", "foo", true},
		{"*r", "foo", false},
		{"*foobar", "foo", false},
		{"fo*", "foo", true},
		{"foo*", "foo", true},
		{"foo**", "foo", true},
		{"b*", "foo", false},
		{"barfoo*", "foo", false},
		{"line+%2a*", "line * with * special", true},
		{"*str*ing*", "string", true},
		{"some*string", "some long string", true},
		{"some*long*string", "some long string", true},
		{"*some*string*", "some long string", true},
		{"*long*", "some long string", true},
		{"*+*+*", "some long string", true},
		{"*+*+*", "some string", false},
		{"some*other*string", "some long string", false},
		{"s*e*str*", "some long string", true},
		{"s*z*str*", "some long string", false},
		{"*some*", "string", false},
		{"ab*ba", "aba", false}, // both ends need their own text
		{"ab*ba", "abba", true},
		{"a*b*c", "abxbc", true},
		{"%D1%8E*", "юникод", true},
		{"q-{sub}-*", "q-bob-1", true},
		{"q-{sub}-*", "q-alice-1", false},
		{"{sub}{sub}", "bobbob", true},
		{"{star}", "*", true},
		{"{star}", "anything", false}, // a claim has no wildcards
		{"{slash}", "a/b", true},
		{"{encoded}", "%2A", true},
		{"{encoded}", "*", false}, // nor encodings
		{"{braces}", "{vhost}", true},
		{"{braces}", "prod", false}, // nor variables
		{"{vhost}", "prod", true},
		{"{vhost}.*", "prod.x", true},
		{"*-{vhost}-{sub}", "x-prod-bob", true},
		{"%7Bvhost%7D", "prod", false},
		{"%7Bvhost%7D", "{vhost}", true},
		{"}", "}", true},
	} {
		w, err := parseWildcard(tt.pattern, testClaims)
		if err != nil {
			t.Errorf("parse %q: %v", tt.pattern, err)
			continue
		}
		if got := w.match(tt.text, "prod"); got != tt.want {
			t.Errorf("%q matches %q: %v; want %v", tt.pattern, tt.text, got, tt.want)
		}
	}
}

func TestScope_WhatItAllows(t *testing.T) {
	queue := func(r core.Right, vhost, name string) core.Request {
		return core.Request{Class: core.QueueClass, Right: r, VHost: vhost, Name: name}
	}
	exchange := func(r core.Right, vhost, name string) core.Request {
		return core.Request{Class: core.ExchangeClass, Right: r, VHost: vhost, Name: name}
	}
	topic := func(r core.Right, vhost, name, key string) core.Request {
		return core.Request{Class: core.TopicClass, Right: r, VHost: vhost, Name: name, Key: key}
	}
	for _, tt := range []struct {
		scope  string
		asked  core.Request
		want   bool
		inTwos bool // want where scopes of two parts allow topics
	}{
		{"read:*/*", queue(core.Read, "/", "q"), true, true},
		{"read:*/*", queue(core.Write, "/", "q"), false, false},
		{"read:*/*", queue(core.Configure, "/", "q"), false, false},
		{"write:*/*", exchange(core.Write, "v", "x"), true, true},
		{"configure:*/*", exchange(core.Configure, "v", "x"), true, true},
		{"configure:%2F/foo", queue(core.Configure, "/", "foo"), true, true},
		{"configure:%2F/foo", queue(core.Configure, "v", "foo"), false, false},
		{"configure:%2F/foo", queue(core.Configure, "/", "bar"), false, false},
		{"read:foo%2Fbar%2F%2A%2F/*", queue(core.Read, "foo/bar/*/", "q"), true, true},
		{"read:*/bar%2A%2Fbaz", queue(core.Read, "v", "bar*/baz"), true, true},
		{"read:*/bar%2A%2Fbaz", queue(core.Read, "v", "barx/baz"), false, false},
		{"read:*/q/key", queue(core.Read, "v", "q"), true, true}, // the key is of topics alone
		{"write:*/*/*", topic(core.Write, "v", "amq.topic", "a.b"), true, true},
		{"write:*/*/a.*", topic(core.Write, "v", "amq.topic", "a.b"), true, true},
		{"write:*/*/a.*", topic(core.Write, "v", "amq.topic", "b.a"), false, false},
		{"write:*/*/", topic(core.Write, "v", "amq.topic", ""), true, true},
		{"write:*/*/", topic(core.Write, "v", "amq.topic", "a"), false, false},
		{"write:*/other/*", topic(core.Write, "v", "amq.topic", "a"), false, false},
		{"read:*/*/*", topic(core.Write, "v", "amq.topic", "a"), false, false},
		{"write:*/*", topic(core.Write, "v", "amq.topic", "a"), false, true},
		{"write:*/other", topic(core.Write, "v", "amq.topic", "a"), false, false},
		{"write:*/x-{vhost}-*/u-{sub}-*", topic(core.Write, "prod", "x-prod-1", "u-bob-1"), true, true},
		{"write:*/x-{vhost}-*/u-{sub}-*", topic(core.Write, "test", "x-prod-1", "u-bob-1"), false, false},
		{"read:{vhost}/q", queue(core.Read, "/", "q"), true, true},
	} {
		g, err := parseGrant(tt.scope, testClaims)
		if err != nil {
			t.Errorf("parse %q: %v", tt.scope, err)
			continue
		}
		for _, twoPart := range []bool{false, true} {
			want := tt.want
			if twoPart {
				want = tt.inTwos
			}
			s := &scopes{user: "bob", grants: []grant{g}, twoPart: twoPart, keyed: g.key != nil}
			err := s.Allow(tt.asked)
			if (err == nil) != want || (err != nil && !errors.Is(err, core.ErrDenied)) {
				t.Errorf("%q allows %+v (two parts %v): %v; want %v", tt.scope, tt.asked, twoPart, err, want)
			}
			// Where topics need not be asked for, asking must not deny what the
			// exchange's answer allows.
			onExchange := tt.asked
			onExchange.Class = core.ExchangeClass
			if tt.asked.Class == core.TopicClass && !s.Topics(tt.asked.VHost, tt.asked.Name) && (s.Allow(onExchange) == nil) != (err == nil) {
				t.Errorf("%q: topics are not asked for, with another answer than the exchange", tt.scope)
			}
		}
	}
}

func TestScope_Malformed(t *testing.T) {
	for _, scope := range []string{
		"", "read", "read:", "read:v", "read:v/q/k/x", "Read:v/q", "delete:v/q", "tag:administrator", ":v/q",
		"read:%/q", "read:v/%zz", "read:v/q/%2", "read:v/{sub", "read:v/{none}", "read:v/{}", "read:{vhost/q",
		"read:v/{long}", "read:v/u-{empty}*", "read:v/" + strings.Repeat("q", maxScopeBytes),
	} {
		if g, err := parseGrant(scope, testClaims); err == nil {
			t.Errorf("parse %q = %+v", scope, g)
		}
	}
}

func TestScope_EnterNeedsAnyPermissionOnTheVHost(t *testing.T) {
	g, err := parseGrant("write:prod*/nothing/nowhere", testClaims)
	if err != nil {
		t.Fatal(err)
	}
	s := &scopes{grants: []grant{g}}
	if err := s.Enter("prod-1"); err != nil {
		t.Error(err)
	}
	if err := s.Enter("test"); !errors.Is(err, core.ErrDenied) {
		t.Errorf("Enter another vhost = %v; want %v", err, core.ErrDenied)
	}
	if err := new(scopes).Enter("test"); !errors.Is(err, core.ErrDenied) {
		t.Errorf("Enter without scopes = %v; want %v", err, core.ErrDenied)
	}
}

// FuzzScope looks for panics, for scopes that do not match what they name, and
// for claims that do more than stand for themselves.
func FuzzScope(f *testing.F) {
	f.Add("read:*/*", "v", "q", "bob")
	f.Add("write:%2F/a%2A*c/{sub}.#", "/", "a*bc", "*")
	f.Add("configure:{vhost}/{claim}/{", "%", "}", "{vhost}")
	f.Fuzz(func(t *testing.T, scope, vhost, name, claim string) {
		value := func(string) (string, bool) { return claim, true }
		if g, err := parseGrant(scope, value); err == nil {
			ask := core.Request{Class: core.TopicClass, Right: g.right, VHost: vhost, Name: name, Key: claim}
			if g.covers(ask, true) && !g.vhost.match(vhost, vhost) {
				t.Errorf("%q covers %+v outside its vhost", scope, ask)
			}
			if g.covers(ask, false) && !g.covers(ask, true) {
				t.Errorf("%q covers less where two parts allow more", scope)
			}
		}
		if len(vhost)+len(name) > maxVariable || claim == "" || len(claim) > maxVariable {
			return
		}
		exact := "read:" + url.QueryEscape(vhost) + "/" + url.QueryEscape(name) + "/{claim}"
		g, err := parseGrant(exact, value)
		if err != nil {
			t.Fatalf("parse %q: %v", exact, err)
		}
		ask := core.Request{Class: core.TopicClass, Right: core.Read, VHost: vhost, Name: name, Key: claim}
		if !g.covers(ask, false) {
			t.Errorf("%q does not cover %+v", exact, ask)
		}
		ask.Key = strings.Clone(claim) + "x"
		if g.covers(ask, false) {
			t.Errorf("%q covers %+v", exact, ask)
		}
	})
}
