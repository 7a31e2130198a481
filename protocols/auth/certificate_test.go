package auth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

// certificate makes one with the common name and, where there is one, all that
// can be a name.
func certificate(tb testing.TB, cn string) *x509.Certificate {
	tb.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1)}
	if cn != "" {
		template.RawSubject = subject(tb,
			attribute{2, 5, 4, 6, "DE"}, attribute{2, 5, 4, 10, "Acme, Inc."}, attribute{2, 5, 4, 3, cn})
		template.DNSNames = []string{"one.example", "two.example"}
		template.EmailAddresses = []string{"u@example.com"}
		template.URIs = []*url.URL{{Scheme: "spiffe", Host: "example", Path: "/u"}}
	}
	return signed(tb, template)
}

type attribute struct {
	a, b, c, d int
	value      string
}

func subject(tb testing.TB, attributes ...attribute) []byte {
	tb.Helper()
	var rdns pkix.RDNSequence
	for _, a := range attributes {
		rdns = append(rdns, pkix.RelativeDistinguishedNameSET{{Type: asn1.ObjectIdentifier{a.a, a.b, a.c, a.d}, Value: a.value}})
	}
	raw, err := asn1.Marshal(rdns)
	if err != nil {
		tb.Fatal(err)
	}
	return raw
}

func signed(tb testing.TB, template *x509.Certificate) *x509.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

func TestCertificates_Name(t *testing.T) {
	cert := certificate(t, "alice")
	two := signed(t, &x509.Certificate{SerialNumber: big.NewInt(1), RawSubject: subject(t, attribute{2, 5, 4, 3, "a"}, attribute{2, 5, 4, 10, "o"}, attribute{2, 5, 4, 3, "b"})})
	for _, tt := range []struct {
		name string
		opt  CertificatesOptions
		cert *x509.Certificate
		want string // "" for none
	}{
		{"by default the common name", CertificatesOptions{}, cert, "alice"},
		{"several common names", CertificatesOptions{}, two, "a,b"},
		{"no common name", CertificatesOptions{}, certificate(t, ""), ""},
		{"the distinguished name", CertificatesOptions{From: DistinguishedName}, cert, `CN=alice,O=Acme\, Inc.,C=DE`},
		{"the distinguished name in its own order", CertificatesOptions{From: DistinguishedName}, two, "CN=b,O=o,CN=a"},
		{"no distinguished name", CertificatesOptions{From: DistinguishedName}, certificate(t, ""), ""},
		{"the first DNS name", CertificatesOptions{From: SubjectAltName}, cert, "one.example"},
		{"the second DNS name", CertificatesOptions{From: SubjectAltName, SANIndex: 1}, cert, "two.example"},
		{"the third DNS name", CertificatesOptions{From: SubjectAltName, SANIndex: 2}, cert, ""},
		{"the address", CertificatesOptions{From: SubjectAltName, SANType: Email}, cert, "u@example.com"},
		{"the URI", CertificatesOptions{From: SubjectAltName, SANType: URI}, cert, "spiffe://example/u"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := &users{all: map[string]core.User{tt.want: {Name: tt.want}}}
			x, err := NewCertificates(newAccounts(t, u), tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			p, err := x.Authenticate(t.Context(), Credentials{Mechanism: EXTERNAL, Certificate: tt.cert})
			if p.Name != tt.want || (tt.want == "") != errors.Is(err, ErrRefused) {
				t.Errorf("Authenticate = %+v, %v; want %q", p, err, tt.want)
			}
		})
	}
}

func TestCertificates(t *testing.T) {
	u := &users{all: map[string]core.User{
		"alice": {Name: "alice", Tags: []string{"monitoring"}},
		"guest": {Name: "guest"},
		"any":   {Name: "any", Tags: []string{"policymaker"}},
	}}
	a := newAccounts(t, u)
	mqtt, standIn := CertificatesOptions{WithoutMechanism: true}, CertificatesOptions{StandIn: "any"}
	for _, tt := range []struct {
		name string
		opt  CertificatesOptions
		cn   string // "-": no certificate
		c    Credentials
		want string
		tag  string
		err  error
	}{
		{name: "EXTERNAL", cn: "alice", c: Credentials{Mechanism: EXTERNAL}, want: "alice", tag: "monitoring"},
		{name: "EXTERNAL with its own authzid", cn: "alice", c: Credentials{Mechanism: EXTERNAL, Username: "alice"}, want: "alice", tag: "monitoring"},
		{name: "EXTERNAL with another's authzid", cn: "alice", c: Credentials{Mechanism: EXTERNAL, Username: "any"}, err: ErrRefused},
		{name: "EXTERNAL without a certificate", cn: "-", c: Credentials{Mechanism: EXTERNAL, Username: "alice"}, err: ErrRefused},
		{name: "EXTERNAL of an unknown user", cn: "bob", c: Credentials{Mechanism: EXTERNAL}, err: ErrBadCredentials},
		{name: "EXTERNAL of guest from elsewhere", cn: "guest", c: Credentials{Mechanism: EXTERNAL, RemoteAddr: tcpAddr("192.0.2.1")}, err: ErrNotLoopback},
		{name: "PLAIN with a certificate", cn: "alice", c: Credentials{Mechanism: PLAIN, Username: "alice"}, err: ErrMechanism},
		{name: "MQTT without the option", cn: "alice", err: ErrMechanism},
		{name: "MQTT with the option", opt: mqtt, cn: "alice", want: "alice", tag: "monitoring"},
		{name: "MQTT without a certificate", opt: mqtt, cn: "-", err: ErrRefused},
		{name: "MQTT with a user name", opt: mqtt, cn: "alice", c: Credentials{Username: "alice"}, err: ErrMechanism},
		{name: "MQTT with a password", opt: mqtt, cn: "alice", c: Credentials{Password: "x"}, err: ErrMechanism},
		{name: "a stand-in for an unknown user", opt: standIn, cn: "bob", c: Credentials{Mechanism: EXTERNAL}, want: "bob", tag: "policymaker"},
		{name: "no stand-in for a known user", opt: standIn, cn: "alice", c: Credentials{Mechanism: EXTERNAL}, want: "alice", tag: "monitoring"},
		{name: "no stand-in for a user from elsewhere", opt: standIn, cn: "guest", c: Credentials{Mechanism: EXTERNAL, RemoteAddr: tcpAddr("192.0.2.1")}, err: ErrNotLoopback},
		{name: "a stand-in that does not exist", opt: CertificatesOptions{StandIn: "gone"}, cn: "bob", c: Credentials{Mechanism: EXTERNAL}, err: ErrRefused},
		{name: "a stand-in from loopback only", opt: CertificatesOptions{StandIn: "guest"}, cn: "bob", c: Credentials{Mechanism: EXTERNAL, RemoteAddr: tcpAddr("192.0.2.1")}, err: ErrNotLoopback},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x, err := NewCertificates(a, tt.opt)
			if err != nil {
				t.Fatal(err)
			}
			if tt.cn != "-" {
				tt.c.Certificate = certificate(t, tt.cn)
			}
			p, err := x.Authenticate(t.Context(), tt.c)
			if p.Name != tt.want || !errors.Is(err, tt.err) || (tt.tag != "" && !slices.Equal(p.Tags, []string{tt.tag})) {
				t.Errorf("Authenticate = %+v, %v; want %q with %q, %v", p, err, tt.want, tt.tag, tt.err)
			}
		})
	}
}

func TestCertificates_StandInLendsItsPermissions(t *testing.T) {
	u := &users{
		all:         map[string]core.User{"any": {Name: "any"}},
		permissions: []core.Permission{{VHost: "/", User: "any", Read: "^q"}},
		topics:      []core.TopicPermission{{VHost: "/", User: "any", Exchange: "amq.topic", Read: "^{username}$"}},
	}
	x, err := NewCertificates(newAccounts(t, u), CertificatesOptions{StandIn: "any"})
	if err != nil {
		t.Fatal(err)
	}
	p, err := x.Authenticate(t.Context(), Credentials{Mechanism: EXTERNAL, Certificate: certificate(t, "bob")})
	if err != nil {
		t.Fatal(err)
	}
	access := p.Access(Variables{})
	topic := core.Request{Class: core.TopicClass, Right: core.Read, VHost: "/", Name: "amq.topic", Key: "bob"}
	if err := errors.Join(access.Enter("/"), access.Allow(core.Request{Class: core.QueueClass, Right: core.Read, VHost: "/", Name: "q"}), access.Allow(topic)); err != nil {
		t.Error(err)
	}
	if topic.Key = "any"; access.Allow(topic) == nil {
		t.Error("{username} is the stand-in's name and not the user's")
	}
}

func TestNewCertificates_ChecksItsOptions(t *testing.T) {
	a := newAccounts(t, &users{})
	for want, opt := range map[string]CertificatesOptions{
		"none of common_name": {From: "cn"},
		"none of dns":         {SANType: "ip"},
		"not between 0":       {SANIndex: -1},
	} {
		if _, err := NewCertificates(a, opt); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewCertificates(%+v): %v, want %q", opt, err, want)
		}
	}
}
