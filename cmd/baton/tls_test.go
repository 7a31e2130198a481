package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/batonmq/baton/protocols/listen"
)

func TestTLSSelfSigned_LetsAServerAndAClientMeet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "certs")
	code, stdout, stderr := baton(t, nil, "tls", "self-signed", "--out", dir, "--host", "broker.test", "--host", "127.0.0.1", "--client", "device")
	if code != exitOK {
		t.Fatalf("%d: %s", code, stderr)
	}
	file := func(name string) string { return filepath.Join(dir, name) }
	for _, part := range []string{file("server.crt"), file("server.key"), file("ca.crt"), "client_auth: request", "tls_listen"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("the advice lacks %q:\n%s", part, stdout)
		}
	}
	s := tlsSettings{CertFiles: []string{file("server.crt")}, KeyFiles: []string{file("server.key")}, CAFile: file("ca.crt"), ClientAuth: "require"}
	opt, err := s.options()
	if err != nil {
		t.Fatal(err)
	}
	secure, err := listen.OpenTLS(opt)
	if err != nil {
		t.Fatal(err)
	}
	users := make(chan string, 2)
	l, err := listen.Start(t.Context(), listen.Options{
		Name: "test", Addresses: []string{"127.0.0.1:0"}, TLS: secure,
		Handler: func(_ context.Context, conn net.Conn) {
			state, _ := listen.TLSState(conn)
			users <- state.PeerCertificates[0].Subject.CommonName
			_, _ = conn.Write([]byte("x"))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.CloseAll()
	ca, err := os.ReadFile(file("ca.crt"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	cert, err := tls.LoadX509KeyPair(file("client.crt"), file("client.key"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"broker.test", "127.0.0.1"} {
		d := tls.Dialer{Config: &tls.Config{RootCAs: roots, ServerName: name, Certificates: []tls.Certificate{cert}}}
		conn, err := d.DialContext(t.Context(), "tcp", l.Addrs()[0].String())
		if err != nil {
			t.Fatalf("as %s: %v", name, err)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Errorf("as %s: %v", name, err)
		}
		_ = conn.Close()
		if got := <-users; got != "device" {
			t.Errorf("as %s: the user is %q", name, got)
		}
	}
}

func TestTLSSelfSigned_KeepsKeysToItselfAndOverwritesNothing(t *testing.T) {
	dir := t.TempDir()
	kept := filepath.Join(dir, "client.key")
	if err := os.WriteFile(kept, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := baton(t, nil, "tls", "self-signed", "--out", dir)
	if code != exitFailure || !strings.Contains(stderr, kept+" exists") {
		t.Errorf("over a key: %d, %q", code, stderr)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("beside the key there is now %v, %v", entries, err)
	}
	if err := os.Remove(kept); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := baton(t, nil, "tls", "self-signed", "--out", dir); code != exitOK {
		t.Fatalf("%d: %s", code, stderr)
	}
	for _, name := range []string{"ca.key", "server.key", "client.key"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 && runtime.GOOS != "windows" {
			t.Errorf("%s has mode %v", name, mode)
		}
	}
}

func TestTLSSelfSigned_RefusesWhatMakesNoSense(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"--days", "0"}, "--days 0 is not between"},
		{[]string{"--days", "100000"}, "is not between 1 and 3650"},
		{[]string{"--host", "amqps://broker"}, "neither a name nor an address"},
		{[]string{"--host", "broker:5671"}, "neither a name nor an address"},
		{[]string{"--host", ""}, "neither a name nor an address"},
	} {
		dir := t.TempDir()
		code, _, stderr := baton(t, nil, append([]string{"tls", "self-signed", "--out", dir}, tt.args...)...)
		if code != exitUsage || !strings.Contains(stderr, tt.want) {
			t.Errorf("%v: %d, %q; want %q", tt.args, code, stderr, tt.want)
		}
	}
}

func TestTLSSettings_Options(t *testing.T) {
	for _, tt := range []struct {
		name string
		s    tlsSettings
		want listen.TLSOptions
		err  string
	}{
		{
			"all",
			tlsSettings{
				CertFiles: []string{"a.crt", "b.crt"}, KeyFiles: []string{"a.key", "b.key"}, CAFile: "ca.crt", ClientAuth: "require",
				CRLFiles: []string{"list.pem"}, RefuseStale: true, MinVersion: "1.3",
			},
			listen.TLSOptions{
				KeyPairs: []listen.KeyPair{{CertFile: "a.crt", KeyFile: "a.key"}, {CertFile: "b.crt", KeyFile: "b.key"}}, CAFile: "ca.crt",
				ClientAuth: listen.ClientAuthRequire, CRLFiles: []string{"list.pem"}, RefuseStale: true, MinVersion: tls.VersionTLS13,
			},
			"",
		},
		{"none", tlsSettings{}, listen.TLSOptions{MinVersion: tls.VersionTLS12}, ""},
		{"a request", tlsSettings{ClientAuth: "request"}, listen.TLSOptions{ClientAuth: listen.ClientAuthRequest, MinVersion: tls.VersionTLS12}, ""},
		{"a key too few", tlsSettings{CertFiles: []string{"a", "b"}, KeyFiles: []string{"a"}}, listen.TLSOptions{}, "names 2 files and tls.key_file 1"},
		{"an unknown mode", tlsSettings{ClientAuth: "maybe"}, listen.TLSOptions{}, `tls.client_auth "maybe" is not one of [none request require]`},
		{"an old version", tlsSettings{MinVersion: "1.1"}, listen.TLSOptions{}, `tls.min_version "1.1" is not one of [1.2 1.3]`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.s.options()
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("options() = %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, tt.want) {
				t.Errorf("options() = %+v, %v; want %+v", got, err, tt.want)
			}
		})
	}
}

// writeCert signs a certificate, by itself where by is nil, and writes it, what
// is behind it, and its key.
func writeCert(t *testing.T, dir, name string, c *x509.Certificate, by *issuer, behind ...*x509.Certificate) *issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if by == nil {
		by = &issuer{c, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, c, by.cert, &key.PublicKey, by.key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	var text []byte
	for _, c := range append([]*x509.Certificate{cert}, behind...) {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string][]byte{".crt": text, ".key": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})} {
		if err := os.WriteFile(filepath.Join(dir, name+file), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return &issuer{cert, key}
}

func TestTLSCheck_SaysWhatClientsObjectTo(t *testing.T) {
	dir := t.TempDir()
	day := 24 * time.Hour
	authority := func(name string) *issuer {
		return writeCert(t, dir, name, &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-day), NotAfter: time.Now().Add(900 * day), IsCA: true,
			BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		}, nil)
	}
	root, other := authority("root"), authority("other")
	server := func(name string, change func(*x509.Certificate), behind ...*x509.Certificate) {
		c := &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name + ".test"}, NotBefore: time.Now().Add(-day), NotAfter: time.Now().Add(90 * day),
			ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		}
		change(c)
		writeCert(t, dir, name, c, root, behind...)
	}
	asItIs := func(*x509.Certificate) {}
	server("good", asItIs, root.cert)
	server("misordered", asItIs, other.cert)
	server("past", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Hour) })
	server("soon", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(3*day + time.Hour) })
	server("early", func(c *x509.Certificate) { c.NotBefore = time.Now().Add(day) })
	server("nameless", func(c *x509.Certificate) { c.DNSNames = nil })
	server("client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} })
	server("open", asItIs)
	if err := os.Chmod(filepath.Join(dir, "open.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	list, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-2 * day), NextUpdate: time.Now().Add(-day),
	}, root.cert, root.key)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "list.crl"), list, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		more []string
		want string // the only problem; empty: none
	}{
		{"good", nil, ""},
		{"misordered", nil, "CN=misordered is not signed by the next certificate in the file, CN=other"},
		{"past", nil, "CN=past has expired"},
		{"soon", nil, "CN=soon expires in 3 days"},
		{"early", nil, "CN=early is not valid before"},
		{"nameless", nil, "no names"},
		{"client", nil, "not for servers"},
		{"open", nil, "can be read by every user"},
		{"good", []string{"--tls-client-auth", "request", "--tls-ca-file", filepath.Join(dir, "root.crt"), "--tls-crl-file", filepath.Join(dir, "list.crl")}, "out of date"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.name == "open" && runtime.GOOS == "windows" {
				t.Skip("modes say nothing about readers there")
			}
			file := filepath.Join(dir, tt.name)
			code, stdout, stderr := baton(t, nil, append([]string{"tls", "check", "--tls-cert-file", file + ".crt", "--tls-key-file", file + ".key"}, tt.more...)...)
			n := strings.Count(stdout, "  problem ")
			switch {
			case tt.want == "" && (code != exitOK || n != 0):
				t.Errorf("%d, %s%s", code, stdout, stderr)
			case tt.want != "" && (code != exitFailure || n != 1 || !strings.Contains(stdout, tt.want)):
				t.Errorf("%d, want one problem %q:\n%s%s", code, tt.want, stdout, stderr)
			}
			if !strings.Contains(stdout, "subject    CN="+tt.name) || !strings.Contains(stdout, "issuer     CN=root") {
				t.Errorf("what it is is not said:\n%s", stdout)
			}
		})
	}
	if code, _, stderr := baton(t, nil, "tls", "check"); code != exitFailure || !strings.Contains(stderr, "no certificate") {
		t.Errorf("of nothing: %d, %q", code, stderr)
	}
}
