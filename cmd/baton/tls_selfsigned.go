package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// clockSkew is how far a client's clock may be behind and still take a new
// certificate.
const clockSkew = time.Hour

// selfSigned are the certificates for a first try: an authority of its own, a
// server below it, and a client.
type selfSigned struct {
	dir    string
	hosts  []string // names and addresses of the server
	client string   // the client's common name
	days   int
}

// write makes the files. It overwrites none, and writes none unless all can be
// new.
func (s *selfSigned) write() error {
	for _, name := range []string{"ca", "server", "client"} {
		for _, path := range []string{s.cert(name), s.key(name)} {
			if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
				return fmt.Errorf("%s exists: choose another directory with --out, or remove what is there", path)
			}
		}
	}
	from := time.Now()
	to := from.AddDate(0, 0, s.days)
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("make the directory for certificates: %w", err)
	}
	ca, err := s.issue(nil, "ca", &x509.Certificate{
		Subject: pkix.Name{CommonName: "Baton test authority " + from.UTC().Format(time.DateTime)}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
	if err != nil {
		return err
	}
	server := &x509.Certificate{
		Subject: pkix.Name{CommonName: s.hosts[0]}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	for _, host := range s.hosts {
		if ip := net.ParseIP(host); ip != nil {
			server.IPAddresses = append(server.IPAddresses, ip)
		} else {
			server.DNSNames = append(server.DNSNames, host)
		}
	}
	if _, err := s.issue(ca, "server", server); err != nil {
		return err
	}
	_, err = s.issue(ca, "client", &x509.Certificate{
		Subject: pkix.Name{CommonName: s.client}, NotBefore: from, NotAfter: to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err
}

func (s *selfSigned) cert(name string) string { return filepath.Join(s.dir, name+".crt") }
func (s *selfSigned) key(name string) string  { return filepath.Join(s.dir, name+".key") }

// An issuer is a certificate that can sign others.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue makes a certificate, signed by the issuer or, with none, by itself, and
// writes it and its key.
func (s *selfSigned) issue(by *issuer, name string, c *x509.Certificate) (*issuer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make the %s key: %w", name, err)
	}
	c.NotBefore = c.NotBefore.Add(-clockSkew)
	if by == nil {
		by = &issuer{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, &key.PublicKey, by.key) // with a random serial number
	if err != nil {
		return nil, fmt.Errorf("sign the %s certificate: %w", name, err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode the %s key: %w", name, err)
	}
	if err := writeNew(s.key(name), &pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}, 0o600); err != nil {
		return nil, err
	}
	if err := writeNew(s.cert(name), &pem.Block{Type: "CERTIFICATE", Bytes: der}, 0o644); err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the %s certificate back: %w", name, err)
	}
	return &issuer{cert, key}, nil
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, block *pem.Block, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := errors.Join(pem.Encode(f, block), f.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// advice says what to do with the files.
func (s *selfSigned) advice() string {
	return fmt.Sprintf(`Certificates for %s, valid for %d days, are in %s.
Put this into the configuration:

tls:
  cert_file: [%s]
  key_file: [%s]
  ca_file: %s
  client_auth: request
amqp:
  tls_listen: [":5671"]
mqtt:
  tls_listen: [":8883"]

Clients trust %s. One that logs in by certificate, as %s, has %s and %s.
This is for a try: whoever reads %s can make certificates that your clients and your broker trust.
`,
		strings.Join(s.hosts, ", "), s.days, s.dir,
		strconv.Quote(s.cert("server")), strconv.Quote(s.key("server")), strconv.Quote(s.cert("ca")),
		s.cert("ca"), s.client, s.cert("client"), s.key("client"), s.key("ca"))
}

// defaultHosts are the names by which clients on this host and in its network
// reach it.
func defaultHosts() []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	if name, err := os.Hostname(); err == nil && name != "" && !slices.Contains(hosts, name) {
		hosts = append(hosts, name)
	}
	return hosts
}
