package auth

import (
	"errors"
	"testing"

	"github.com/golang-jwt/jwt/v5"

	"github.com/batonmq/baton/core"
)

func TestRenewable_TheNewTokensScopesCount(t *testing.T) {
	i := newIssuer()
	j := newJWT(t, i.options(t))
	access := func(scope string) core.Authorizer {
		t.Helper()
		token := sign(t, jwt.SigningMethodRS256, "", i.rsa, claimsWith(jwt.MapClaims{"scope": scope}))
		p, err := j.Authenticate(t.Context(), login(token))
		if err != nil {
			t.Fatal(err)
		}
		return p.Access(Variables{})
	}
	read := core.Request{Class: core.QueueClass, Right: core.Read, VHost: "v", Name: "q"}
	write := core.Request{Class: core.QueueClass, Right: core.Write, VHost: "v", Name: "q"}
	check := func(when string, a core.Authorizer, r core.Request, ok bool) {
		t.Helper()
		if err := a.Allow(r); (err == nil) != ok || (err != nil && !errors.Is(err, core.ErrDenied)) {
			t.Errorf("%s: %v is answered %v; want ok %v", when, r.Right, err, ok)
		}
	}
	var r Renewable
	check("the zero value", &r, read, false)
	if err := r.Enter("v"); !errors.Is(err, core.ErrDenied) || !r.Topics("v", "x") {
		t.Errorf("the zero value lets in: %v", err)
	}
	var last uint64
	for _, step := range []struct {
		when        string
		target      core.Authorizer
		read, write bool
		enter       bool
	}{
		{"the first token", access("rabbitmq.read:v/*"), true, false, true},
		{"a new token", access("rabbitmq.write:v/*"), false, true, true},
		{"a token for another vhost", access("rabbitmq.read:w/*"), false, false, false},
		{"one who may do everything", nil, true, true, true},
		{"the first again", access("rabbitmq.read:v/*"), true, false, true},
	} {
		r.Replace(step.target)
		check(step.when, &r, read, step.read)
		check(step.when, &r, write, step.write)
		if err := r.Enter("v"); (err == nil) != step.enter {
			t.Errorf("%s: Enter = %v; want ok %v", step.when, err, step.enter)
		}
		if g := r.Generation(); g <= last {
			t.Errorf("%s: generation %d after %d", step.when, g, last)
		} else {
			last = g
		}
		if r.Topics("v", "x") != (step.target != nil) {
			t.Errorf("%s: topics are asked for: %v", step.when, r.Topics("v", "x"))
		}
	}
}

// growing is an Authorizer whose answers change.
type growing struct {
	core.Authorizer
	generation uint64
}

func (g *growing) Generation() uint64 { return g.generation }

func TestRenewable_NoGenerationComesTwice(t *testing.T) {
	old := &growing{generation: 7}
	r := NewRenewable(old)
	seen := map[uint64]bool{r.Generation(): true}
	for range 3 { // the old target's changes, before and after what replaces it
		old.generation++
		if g := r.Generation(); seen[g] {
			t.Errorf("generation %d again", g)
		} else {
			seen[g] = true
		}
	}
	next := &growing{generation: 1}
	for range 20 {
		r.Replace(next)
		next.generation++
		if g := r.Generation(); seen[g] {
			t.Errorf("generation %d again", g)
		} else {
			seen[g] = true
		}
	}
}
