package auth

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/batonmq/baton/core"
)

// verdict is an authenticator that always says the same.
type verdict struct {
	name string
	err  error
	hook func()
}

func (v verdict) Authenticate(context.Context, Credentials) (Principal, error) {
	if v.hook != nil {
		v.hook()
	}
	return Principal{Name: v.name}, v.err
}

func TestChain(t *testing.T) {
	down, broken := errors.New("the directory is down"), errors.New("the directory is broken")
	yes, no, local, other := verdict{name: "u"}, verdict{err: ErrBadCredentials}, verdict{err: ErrNotLoopback}, verdict{err: ErrMechanism}
	for _, tt := range []struct {
		name  string
		links []Authenticator
		want  string
		errs  []error
		not   []error
	}{
		{name: "the first that accepts", links: []Authenticator{verdict{name: "first"}, yes}, want: "first"},
		{name: "after a refusal", links: []Authenticator{no, yes}, want: "u"},
		{name: "after a failure", links: []Authenticator{verdict{err: down}, yes}, want: "u"},
		{name: "after another mechanism", links: []Authenticator{other, yes}, want: "u"},
		{name: "nobody accepts", links: []Authenticator{no, local}, errs: []error{ErrRefused, ErrBadCredentials, ErrNotLoopback}},
		{name: "a failure hides refusals", links: []Authenticator{no, verdict{err: down}, no}, errs: []error{down}, not: []error{ErrRefused}},
		{name: "all failures are told", links: []Authenticator{verdict{err: broken}, verdict{err: down}}, errs: []error{down, broken}},
		{name: "a refusal hides another mechanism", links: []Authenticator{other, no, other}, errs: []error{ErrRefused}, not: []error{ErrMechanism}},
		{name: "a mechanism that nobody knows", links: []Authenticator{other, other}, errs: []error{ErrMechanism}, not: []error{ErrRefused}},
		{name: "no authenticator", errs: []error{ErrMechanism}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := NewChain(tt.links...).Authenticate(t.Context(), Credentials{Mechanism: PLAIN})
			if p.Name != tt.want || (err == nil) != (tt.want != "") {
				t.Errorf("Authenticate = %+v, %v; want %q", p, err, tt.want)
			}
			for _, want := range tt.errs {
				if !errors.Is(err, want) {
					t.Errorf("error %v is not %v", err, want)
				}
			}
			for _, not := range tt.not {
				if errors.Is(err, not) {
					t.Errorf("error %v is %v", err, not)
				}
			}
		})
	}
}

func TestChain_EndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	asked := false
	chain := NewChain(verdict{err: ErrBadCredentials, hook: cancel}, verdict{name: "u", hook: func() { asked = true }})
	if p, err := chain.Authenticate(ctx, Credentials{}); !errors.Is(err, context.Canceled) || errors.Is(err, ErrRefused) || asked || p.Name != "" {
		t.Errorf("Authenticate = %+v, %v; the next was asked: %v", p, err, asked)
	}
}

func TestOffers(t *testing.T) {
	a := newAccounts(t, &users{all: map[string]core.User{"anon": {Name: "anon"}}})
	internal, err := NewInternal(a, InternalOptions{})
	if err != nil {
		t.Fatal(err)
	}
	certificates, err := NewCertificates(a, CertificatesOptions{})
	if err != nil {
		t.Fatal(err)
	}
	anonymous, err := NewAnonymous(a, "anon")
	if err != nil {
		t.Fatal(err)
	}
	with, nameless := Credentials{Certificate: certificate(t, "u")}, Credentials{Certificate: certificate(t, "")}
	for _, tt := range []struct {
		name string
		a    Authenticator
		peer Credentials
		want []string
	}{
		{"passwords", internal, Credentials{}, []string{PLAIN, AMQPLAIN}},
		{"certificates to a peer without one", certificates, Credentials{}, nil},
		{"certificates to a peer with one", certificates, with, []string{EXTERNAL}},
		{"certificates to a peer whose has no name", certificates, nameless, nil},
		{"a chain to a peer without a certificate", NewChain(internal, internal, certificates), Credentials{}, []string{PLAIN, AMQPLAIN}},
		{"a chain to a peer with a certificate", NewChain(internal, certificates), with, []string{PLAIN, AMQPLAIN, EXTERNAL}},
		{"a chain with anonymous", NewChain(internal, anonymous), Credentials{}, []string{PLAIN, AMQPLAIN, ANONYMOUS}},
		{"a chain in a chain", NewChain(certificates, NewChain(internal)), with, []string{EXTERNAL, PLAIN, AMQPLAIN}},
	} {
		if got := Offers(tt.a, tt.peer); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

func TestAnonymous(t *testing.T) {
	u := &users{all: map[string]core.User{"anon": {Name: "anon", Tags: []string{"monitoring"}}, "guest": {Name: "guest"}}}
	a := newAccounts(t, u)
	for _, tt := range []struct {
		user, mechanism, from string
		err                   error
	}{
		{user: "anon", mechanism: ANONYMOUS, from: "192.0.2.1"},
		{user: "guest", mechanism: ANONYMOUS, from: "127.0.0.1"},
		{user: "guest", mechanism: ANONYMOUS, from: "192.0.2.1", err: ErrNotLoopback},
		{user: "gone", mechanism: ANONYMOUS, from: "127.0.0.1", err: ErrRefused},
		{user: "anon", mechanism: PLAIN, from: "127.0.0.1", err: ErrMechanism},
		{user: "anon", mechanism: "", from: "127.0.0.1", err: ErrMechanism},
	} {
		anonymous, err := NewAnonymous(a, tt.user)
		if err != nil {
			t.Fatal(err)
		}
		p, err := anonymous.Authenticate(t.Context(), Credentials{Mechanism: tt.mechanism, RemoteAddr: tcpAddr(tt.from)})
		if !errors.Is(err, tt.err) || (tt.err == nil) != (p.Name == tt.user) {
			t.Errorf("%+v: %+v, %v", tt, p, err)
		}
	}
	if _, err := NewAnonymous(a, ""); err == nil {
		t.Error("anonymous without a user")
	}
}

func TestFirstUser(t *testing.T) {
	u, permissions, err := FirstUser("root", "s3cret", "/")
	if err != nil {
		t.Fatal(err)
	}
	if ok, err := VerifyPassword(u.Password, "s3cret"); !ok || err != nil {
		t.Errorf("its password: %v, %v", ok, err)
	}
	if err := CheckSCRAM(u.SCRAM); err != nil {
		t.Errorf("its verifier: %v", err)
	}
	if u.Name != "root" || !slices.Equal(u.Tags, []string{"administrator"}) || u.MaxConnections != -1 || u.MaxChannels != -1 {
		t.Errorf("user is %+v", u)
	}
	if want := []core.Permission{{VHost: "/", User: "root", Configure: ".*", Write: ".*", Read: ".*"}}; !slices.Equal(permissions, want) {
		t.Errorf("permissions are %+v", permissions)
	}
	if err := SetPassword(&u, ""); err != nil || u.Password != "" || u.SCRAM != "" {
		t.Errorf("without a password: %+v, %v", u, err)
	}
	for _, bad := range [][2]string{{"", "x"}, {"x", ""}} {
		if _, _, err := FirstUser(bad[0], bad[1], "/"); err == nil {
			t.Errorf("first user %q", bad)
		}
	}
}
