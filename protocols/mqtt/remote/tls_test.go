package remote_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/protocols/mqtt/remote"
)

// certificateFor returns a certificate for a name and who vouches for it. It is of the bubble's time.
func certificateFor(t *testing.T, name string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now(), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, pool
}

// Over TLS the far broker has to be who its address says, or server_name; one that nobody vouches for, or that is somebody
// else, is told nothing.
func TestBridge_OverTLS(t *testing.T) {
	for _, tt := range []struct {
		name, certified, expected string
		trusted, carries          bool
	}{
		{"the address's name", "far", "", true, true},
		{"another name that is expected", "other", "other", true, true},
		{"another name", "other", "", true, false},
		{"nobody vouches", "far", "", false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, func(local, far *side) {
				certificate, roots := certificateFor(local.t, tt.certified)
				if !tt.trusted {
					roots = x509.NewCertPool()
				}
				dial := func() (net.Conn, error) {
					near, there := net.Pipe()
					server := tls.Server(near, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
					far.serving.Go(func() {
						defer near.Close()
						if server.HandshakeContext(far.ctx) == nil {
							far.server.Serve(far.ctx, server)
						}
					})
					return there, nil
				}
				b := local.bridgeBy(dial, func(o *remote.Options) {
					o.Addresses = []string{"mqtts://far"}
					o.TLS = &tls.Config{RootCAs: roots, ServerName: tt.expected, MinVersion: tls.VersionTLS12}
				}, "a out 1")
				settle()
				local.publish("a", strings.Repeat("m", 100_000), 1, false)
				settle()
				if got := len(far.seen()) == 1; got != tt.carries || b.Stats().Connected != tt.carries {
					local.t.Errorf("carried: %v, %+v", got, b.Stats())
				}
			})
		})
	}
}
