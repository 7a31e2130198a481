package auth

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"strings"
)

// A NameSource is the part of a certificate that is the user's name. The values
// are those of RabbitMQ's ssl_cert_login_from.
type NameSource string

// The sources of names.
const (
	CommonName        NameSource = "common_name"
	SubjectAltName    NameSource = "subject_alternative_name"
	DistinguishedName NameSource = "distinguished_name"
)

// A SANType is a type of subject alternative name, with the values of
// RabbitMQ's ssl_cert_login_san_type.
type SANType string

// The types of subject alternative names.
const (
	DNSName  SANType = "dns"
	Email    SANType = "email"
	URI      SANType = "uri"
	maxIndex         = 64
)

// CertificatesOptions describe how a certificate becomes a user.
type CertificatesOptions struct {
	From     NameSource // empty: CommonName
	SANType  SANType    // of SubjectAltName; empty: DNSName
	SANIndex int        // which of that type counts, from 0

	// WithoutMechanism lets in clients of a protocol without mechanisms (MQTT)
	// that send neither a name nor a password.
	WithoutMechanism bool

	// StandIn is the user whose tags and permissions count for a name that is
	// no user's. Empty: such a name is refused.
	StandIn string
}

func (o *CertificatesOptions) validate() error {
	if o.From == "" {
		o.From = CommonName
	}
	if o.SANType == "" {
		o.SANType = DNSName
	}
	switch o.From {
	case CommonName, SubjectAltName, DistinguishedName:
	default:
		return fmt.Errorf("login from %q: it is none of %s, %s and %s", o.From, CommonName, SubjectAltName, DistinguishedName)
	}
	switch o.SANType {
	case DNSName, Email, URI:
	default:
		return fmt.Errorf("subject alternative name of type %q: it is none of %s, %s and %s", o.SANType, DNSName, Email, URI)
	}
	if o.SANIndex < 0 || o.SANIndex > maxIndex {
		return fmt.Errorf("subject alternative name %d: it is not between 0 and %d", o.SANIndex, maxIndex)
	}
	return nil
}

// Certificates lets in clients that the listener verified the certificate of,
// as the user that the certificate names.
type Certificates struct {
	accounts *Accounts
	opt      CertificatesOptions
}

var (
	_ Authenticator = (*Certificates)(nil)
	_ Offerer       = (*Certificates)(nil)
)

// errNoCertificate refuses a client that wants to be known by a certificate it
// does not have.
var errNoCertificate error = &refusal{"the client sent no certificate that could be verified"}

// NewCertificates returns the authenticator of client certificates.
func NewCertificates(a *Accounts, opt CertificatesOptions) (*Certificates, error) {
	if err := opt.validate(); err != nil {
		return nil, fmt.Errorf("client certificates: %w", err)
	}
	return &Certificates{accounts: a, opt: opt}, nil
}

// Authenticate returns the user of the certificate.
func (x *Certificates) Authenticate(_ context.Context, c Credentials) (Principal, error) {
	silent := c.Mechanism == "" && c.Username == "" && c.Password == "" && x.opt.WithoutMechanism
	if c.Mechanism != EXTERNAL && !silent {
		return Principal{}, fmt.Errorf("mechanism %q: %w", c.Mechanism, ErrMechanism)
	}
	if c.Certificate == nil {
		return Principal{}, fmt.Errorf("%s from %v: %w", EXTERNAL, c.RemoteAddr, errNoCertificate)
	}
	name, err := x.name(c.Certificate)
	if err != nil {
		return Principal{}, fmt.Errorf("%s from %v: %w: %w", EXTERNAL, c.RemoteAddr, err, ErrRefused)
	}
	// RFC 4422, appendix A: the response is the identity to act as. Nobody may
	// act as another here.
	if c.Username != "" && c.Username != name {
		return Principal{}, fmt.Errorf("%s from %v: user %q asks to act as %q: %w", EXTERNAL, c.RemoteAddr, name, c.Username, ErrRefused)
	}
	return x.principal(name, c)
}

func (x *Certificates) principal(name string, c Credentials) (Principal, error) {
	p, err := x.accounts.Principal(name, c.RemoteAddr)
	if !errors.Is(err, ErrBadCredentials) || x.opt.StandIn == "" {
		return p, err
	}
	user, ok := x.accounts.users.User(x.opt.StandIn)
	if !ok {
		return Principal{}, fmt.Errorf("user %q stands in for %q and does not exist: %w", x.opt.StandIn, name, ErrRefused)
	}
	if err := x.accounts.mayComeFrom(x.opt.StandIn, c.RemoteAddr); err != nil {
		return Principal{}, err
	}
	return x.accounts.principal(name, user), nil
}

// Offers returns EXTERNAL to a peer with a certificate that has a name.
func (x *Certificates) Offers(peer Credentials) []string {
	if peer.Certificate == nil {
		return nil
	}
	if _, err := x.name(peer.Certificate); err != nil {
		return nil
	}
	return []string{EXTERNAL}
}

// name reads the user's name off the certificate.
func (x *Certificates) name(cert *x509.Certificate) (string, error) {
	var (
		name string
		err  error
	)
	switch x.opt.From {
	case CommonName:
		name, err = commonName(cert)
	case DistinguishedName:
		name, err = distinguishedName(cert)
	case SubjectAltName:
		name, err = x.alternativeName(cert)
	}
	if err == nil && name == "" {
		err = fmt.Errorf("the certificate has no %s", x.opt.From)
	}
	return name, err
}

// commonName returns the subject's common name; several are joined by commas,
// as RabbitMQ does.
func commonName(cert *x509.Certificate) (string, error) {
	subject, err := subjectOf(cert)
	if err != nil {
		return "", err
	}
	oid := asn1.ObjectIdentifier{2, 5, 4, 3}
	var names []string
	for _, set := range subject {
		for _, attribute := range set {
			if s, ok := attribute.Value.(string); ok && attribute.Type.Equal(oid) {
				names = append(names, s)
			}
		}
	}
	return strings.Join(names, ","), nil
}

// distinguishedName returns the subject in the form of RFC 4514: the last
// attribute of the certificate comes first.
func distinguishedName(cert *x509.Certificate) (string, error) {
	subject, err := subjectOf(cert)
	return subject.String(), err
}

// subjectOf reads the subject in the certificate's own order, which
// [pkix.Name] does not keep.
func subjectOf(cert *x509.Certificate) (pkix.RDNSequence, error) {
	var subject pkix.RDNSequence
	if _, err := asn1.Unmarshal(cert.RawSubject, &subject); err != nil {
		return nil, fmt.Errorf("read the certificate's subject: %w", err)
	}
	return subject, nil
}

func (x *Certificates) alternativeName(cert *x509.Certificate) (string, error) {
	var names []string
	switch x.opt.SANType {
	case DNSName:
		names = cert.DNSNames
	case Email:
		names = cert.EmailAddresses
	case URI:
		for _, u := range cert.URIs {
			names = append(names, u.String())
		}
	}
	if x.opt.SANIndex >= len(names) {
		return "", fmt.Errorf("the certificate has %d subject alternative names of type %s, and the one at %d counts", len(names), x.opt.SANType, x.opt.SANIndex)
	}
	return names[x.opt.SANIndex], nil
}
