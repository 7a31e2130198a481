package listen

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"
)

// cipherSuites are those of TLS 1.2: a fresh key for every session, and
// authenticated encryption. Go's own list has CBC with SHA-1 beside them. Those
// of TLS 1.3 are not for choosing. The key exchanges are Go's: X25519MLKEM768,
// SecP256r1MLKEM768, SecP384r1MLKEM1024, X25519, P-256, P-384 and P-521.
func cipherSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
		tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
	}
}

// A trust is what was read from the files at one moment. All but its
// configurations is fixed.
type trust struct {
	loaded  time.Time
	certs   []*tls.Certificate            // with their Leaf
	byName  map[string][]*tls.Certificate // by DNS name or wildcard, lower case
	revoked revocations
	base    *tls.Config // what the configurations are made of

	mu      sync.Mutex
	configs map[string]*tls.Config // by alpnKey
}

// readTrust reads and checks all files of the options.
func readTrust(opt *TLSOptions) (*trust, error) {
	s := &trust{
		loaded:  time.Now(),
		byName:  make(map[string][]*tls.Certificate),
		configs: make(map[string]*tls.Config),
	}
	s.base = &tls.Config{
		MinVersion:       opt.MinVersion,
		CipherSuites:     cipherSuites(),
		GetCertificate:   s.certificate,
		VerifyConnection: s.verify,
	}
	for _, p := range opt.KeyPairs {
		cert, err := readKeyPair(p)
		if err != nil {
			return nil, err
		}
		s.certs = append(s.certs, cert)
		for _, name := range cert.Leaf.DNSNames {
			name = strings.ToLower(name)
			s.byName[name] = append(s.byName[name], cert)
		}
	}
	if opt.ClientAuth == ClientAuthNone {
		return s, nil
	}
	cas, err := readAuthorities(opt.CAFile)
	if err != nil {
		return nil, err
	}
	s.base.ClientCAs = x509.NewCertPool()
	for _, ca := range cas {
		s.base.ClientCAs.AddCert(ca)
	}
	s.base.ClientAuth = tls.VerifyClientCertIfGiven
	if opt.ClientAuth == ClientAuthRequire {
		s.base.ClientAuth = tls.RequireAndVerifyClientCert
	}
	s.revoked, err = readRevocations(opt.CRLFiles, cas, opt.RefuseStale)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// config returns the configuration for listeners that speak alpn. Each has
// ticket keys of its own, made and replaced daily by crypto/tls, and they end
// with the trust.
func (s *trust) config(alpn []string) *tls.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := alpnKey(alpn)
	c, ok := s.configs[key]
	if !ok {
		c = s.base.Clone()
		c.NextProtos = alpn
		s.configs[key] = c
	}
	return c
}

// certificate is tls.Config.GetCertificate: the first certificate for exactly
// the name the client asks for, or else for its wildcard, or else of all, that
// has a key the client can check. A client gets the first of all if no key
// suits it, and finds out for itself.
func (s *trust) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	name := strings.ToLower(strings.TrimSuffix(hello.ServerName, "."))
	wildcard := ""
	if _, domain, ok := strings.Cut(name, "."); ok {
		wildcard = "*." + domain
	}
	anyName := *hello
	anyName.ServerName = "" // has been seen to; what remains is the kind of key
	for _, candidates := range [][]*tls.Certificate{s.byName[name], s.byName[wildcard], s.certs} {
		for _, c := range candidates {
			if anyName.SupportsCertificate(c) == nil {
				return c, nil
			}
		}
	}
	return s.certs[0], nil
}

// verify is tls.Config.VerifyConnection, which unlike VerifyPeerCertificate is
// also asked about a session that is resumed.
func (s *trust) verify(state tls.ConnectionState) error {
	return s.revoked.check(state.VerifiedChains, time.Now())
}

// firstExpiry is when the first of the server's certificates ends.
func (s *trust) firstExpiry() time.Time {
	first := s.certs[0].Leaf.NotAfter
	for _, c := range s.certs {
		if c.Leaf.NotAfter.Before(first) {
			first = c.Leaf.NotAfter
		}
	}
	return first
}

// complain logs the certificates and revocation lists that are out of date.
func (s *trust) complain(log *slog.Logger, now time.Time) {
	for _, c := range s.certs {
		log := log.With(slog.String("subject", subject(c.Leaf)), slog.Any("names", c.Leaf.DNSNames),
			slog.Time("not_before", c.Leaf.NotBefore), slog.Time("not_after", c.Leaf.NotAfter))
		switch {
		case now.After(c.Leaf.NotAfter):
			log.Error("TLS certificate has expired, clients will refuse it")
		case now.Before(c.Leaf.NotBefore):
			log.Error("TLS certificate is not valid yet, clients will refuse it")
		case now.Add(expiryNotice).After(c.Leaf.NotAfter):
			log.Warn("TLS certificate expires soon")
		}
	}
	s.revoked.complain(log, now)
}

func readKeyPair(p KeyPair) (*tls.Certificate, error) {
	certPEM, err := os.ReadFile(p.CertFile)
	if err != nil {
		return nil, fmt.Errorf("read the TLS certificate: %w", err)
	}
	keyPEM, err := os.ReadFile(p.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read the TLS key: %w", err)
	}
	if strings.Contains(string(keyPEM), "ENCRYPTED") {
		return nil, fmt.Errorf("TLS key %s is encrypted: nobody is there to type its password, store it without", p.KeyFile)
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("TLS certificate %s with key %s: %w", p.CertFile, p.KeyFile, err)
	}
	if cert.Leaf == nil { // GODEBUG x509keypairleaf=0
		if cert.Leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
			return nil, fmt.Errorf("TLS certificate %s: %w", p.CertFile, err)
		}
	}
	return &cert, nil
}

// readAuthorities reads the certificates of a PEM file, all of them
// authorities.
func readAuthorities(file string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("read the TLS authorities: %w", err)
	}
	var cas []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != pemCertificate {
			continue
		}
		ca, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("TLS authority file %s: %w", file, err)
		}
		if !ca.IsCA {
			return nil, fmt.Errorf("TLS authority file %s: %s is not an authority's certificate", file, subject(ca))
		}
		cas = append(cas, ca)
	}
	if len(cas) == 0 {
		return nil, fmt.Errorf("TLS authority file %s: %w", file, errNoCertificate)
	}
	return cas, nil
}

// Types of PEM blocks.
const (
	pemCertificate = "CERTIFICATE"
	pemCRL         = "X509 CRL"
)

var errNoCertificate = errors.New("no PEM certificate in it")

// subject names a certificate in messages.
func subject(c *x509.Certificate) string {
	if s := c.Subject.String(); s != "" {
		return s
	}
	return "the certificate with serial number " + c.SerialNumber.String()
}
