package listen

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// serials gives every certificate of the tests a number of its own.
var serials atomic.Int64

// An authority is a certificate with its key, which may sign others.
type authority struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	chain []*x509.Certificate // from cert to below the root
}

// newAuthority makes a root, or an intermediate below parent.
func newAuthority(tb testing.TB, name string, parent *authority) *authority {
	tb.Helper()
	return parent.issue(tb, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	})
}

// issue signs a certificate. It is valid now unless it says otherwise; a nil
// authority makes one that signs itself.
func (a *authority) issue(tb testing.TB, c *x509.Certificate) *authority {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	c.SerialNumber = big.NewInt(serials.Add(1))
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-time.Hour)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(365 * 24 * time.Hour)
	}
	parent, signer := c, key
	if a != nil {
		parent, signer = a.cert, a.key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	issued := &authority{cert: cert, key: key}
	if a != nil {
		issued.chain = append([]*x509.Certificate{cert}, a.chain...)
	}
	return issued
}

// client issues a certificate for a client.
func (a *authority) client(tb testing.TB, name string) *authority {
	tb.Helper()
	return a.issue(tb, &x509.Certificate{
		Subject: pkix.Name{CommonName: name}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
}

// server issues a certificate for a server of these names and of 127.0.0.1.
func (a *authority) server(tb testing.TB, names ...string) *authority {
	tb.Helper()
	return a.issue(tb, &x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	})
}

// crl is a list that revokes what is given, in PEM; the next is due in life.
func (a *authority) crl(tb testing.TB, life time.Duration, revoked ...*authority) []byte {
	tb.Helper()
	list := &x509.RevocationList{
		Number: big.NewInt(serials.Add(1)), ThisUpdate: time.Now().Add(-24 * time.Hour), NextUpdate: time.Now().Add(life),
	}
	for _, r := range revoked {
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{
			SerialNumber: r.cert.SerialNumber, RevocationTime: list.ThisUpdate,
		})
	}
	return a.sign(tb, list)
}

// sign makes a list, in PEM.
func (a *authority) sign(tb testing.TB, list *x509.RevocationList) []byte {
	tb.Helper()
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		tb.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemCRL, Bytes: der})
}

// pem is the certificate alone.
func (a *authority) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: a.cert.Raw})
}

// tls is the certificate with its chain and key.
func (a *authority) tls() tls.Certificate {
	c := tls.Certificate{PrivateKey: a.key, Leaf: a.cert}
	for _, cert := range a.chain {
		c.Certificate = append(c.Certificate, cert.Raw)
	}
	return c
}

// pool trusts the authority.
func (a *authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// files are what a TLS is made of, in a directory of the test.
type files struct {
	tb  testing.TB
	dir string
}

// write replaces a file as tools that rotate certificates do, by renaming.
func (f files) write(name string, text ...[]byte) string {
	f.tb.Helper()
	path := filepath.Join(f.dir, name)
	if err := os.WriteFile(path+".new", bytes.Join(text, nil), 0o600); err != nil {
		f.tb.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		f.tb.Fatal(err)
	}
	return path
}

// pair writes the certificate, its chain and its key.
func (f files) pair(name string, c *authority) KeyPair {
	f.tb.Helper()
	var chain []byte
	for _, cert := range c.chain {
		chain = append(chain, pem.EncodeToMemory(&pem.Block{Type: pemCertificate, Bytes: cert.Raw})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		f.tb.Fatal(err)
	}
	return KeyPair{
		CertFile: f.write(name+".crt", chain),
		KeyFile:  f.write(name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})),
	}
}

// tlsPair is a TLS connection over the loopback, its handshake done.
func tlsPair(tb testing.TB) (client, server net.Conn) {
	tb.Helper()
	return tlsPairOver(tb, func(conn net.Conn) net.Conn { return conn })
}

// tlsPairOver is tlsPair with the client's side on what wrap makes of its
// connection.
func tlsPairOver(tb testing.TB, wrap func(net.Conn) net.Conn) (client, server net.Conn) {
	tb.Helper()
	root := newAuthority(tb, "root", nil)
	dir := files{tb, tb.TempDir()}
	secure, err := OpenTLS(TLSOptions{KeyPairs: []KeyPair{dir.pair("server", root.server(tb, "broker"))}})
	if err != nil {
		tb.Fatal(err)
	}
	below, above := tcpPair(tb)
	s := secure.server(above, nil, -1)
	c := tls.Client(wrap(below), &tls.Config{RootCAs: root.pool(), ServerName: "broker"})
	var shaking sync.WaitGroup
	shaking.Go(func() {
		if err := c.HandshakeContext(tb.Context()); err != nil {
			tb.Error(err)
		}
	})
	if err := s.HandshakeContext(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	shaking.Wait()
	return c, s
}
