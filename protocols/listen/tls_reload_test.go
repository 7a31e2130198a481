package listen

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// served returns the name in the certificate of a new connection.
func served(conn *tls.Conn) string {
	return conn.ConnectionState().PeerCertificates[0].Subject.CommonName
}

func TestTLS_ReloadUnderLoad(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	names := []string{"one", "two"}
	secure := openTLS(t, TLSOptions{KeyPairs: []KeyPair{dir.pair("server", root.server(t, "one", "broker"))}})
	l := start(t, Options{TLS: secure, Handler: echo})
	c := &tls.Config{RootCAs: root.pool(), ServerName: "broker"}
	kept, err := dialTLS(t, l.Addrs()[0], c)
	if err != nil {
		t.Fatal(err)
	}

	var connected atomic.Uint64
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				raw, err := tryDial(t.Context(), l.Addrs()[0].String())
				if err != nil {
					t.Error(err)
					return
				}
				conn := tls.Client(raw, c)
				if err := roundTrip(conn); err != nil {
					t.Error(err)
				}
				_ = conn.Close()
				connected.Add(1)
			}
		})
	}
	for i := range 20 {
		name := names[(i+1)%2]
		dir.pair("server", root.server(t, name, "broker"))
		if err := secure.Reload(); err != nil {
			t.Fatal(err)
		}
		conn, err := dialTLS(t, l.Addrs()[0], c)
		if err != nil {
			t.Fatal(err)
		}
		if got := served(conn); got != name {
			t.Errorf("after reload %d a new connection sees %q, want %q", i, got, name)
		}
		if err := roundTrip(kept); err != nil {
			t.Fatalf("after reload %d the old connection: %v", i, err)
		}
	}
	close(stop)
	wg.Wait()
	if n := connected.Load(); n == 0 {
		t.Error("there was no load")
	}
	if s := secure.Stats(); s.Reloads != 20 || s.ReloadsFailed != 0 || s.Certificates[0].Subject.CommonName != "one" {
		t.Errorf("Stats() = %+v", s)
	}
}

func TestTLS_ABrokenFileKeepsTheOld(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	var log logBuffer
	pair := dir.pair("server", root.server(t, "one", "broker"))
	secure := openTLS(t, TLSOptions{KeyPairs: []KeyPair{pair}, Log: log.logger()})
	l := start(t, Options{TLS: secure, Handler: echo})
	c := &tls.Config{RootCAs: root.pool(), ServerName: "broker"}
	breakings := []func(){
		func() { dir.write("server.crt", []byte("no certificate")) },
		func() { dir.pair("server", root.server(t, "two")); dir.write("server.key", []byte{}) },
		func() {
			if err := os.Remove(pair.CertFile); err != nil {
				t.Fatal(err)
			}
		},
	}
	for i, ruin := range breakings {
		ruin()
		secure.poll()
		secure.poll() // says nothing more
		conn, err := dialTLS(t, l.Addrs()[0], c)
		if err != nil {
			t.Fatal(err)
		}
		if got := served(conn); got != "one" {
			t.Errorf("breaking %d: a new connection sees %q", i, got)
		}
	}
	if n := strings.Count(log.String(), "level=ERROR msg=\"TLS files not reloaded"); n != len(breakings) {
		t.Errorf("logged %d errors, want one for each of %d breakings:\n%s", n, len(breakings), log.String())
	}
	dir.pair("server", root.server(t, "three", "broker"))
	secure.poll()
	conn, err := dialTLS(t, l.Addrs()[0], c)
	if err != nil {
		t.Fatal(err)
	}
	if got := served(conn); got != "three" {
		t.Errorf("after the mending a new connection sees %q", got)
	}
}

// A rotation as Kubernetes makes it: the files are links into a directory that
// is a link itself, and that alone is replaced.
func TestTLS_WatchSeesASwappedLink(t *testing.T) {
	root := newAuthority(t, "root", nil)
	top := t.TempDir()
	rotate := func(version string) {
		dir := files{t, filepath.Join(top, version)}
		if err := os.Mkdir(dir.dir, 0o700); err != nil {
			t.Fatal(err)
		}
		dir.pair("server", root.server(t, version))
		link := filepath.Join(top, "..data")
		if err := os.Symlink(version, link+".new"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(link+".new", link); err != nil {
			t.Fatal(err)
		}
	}
	rotate("first")
	var pair KeyPair
	for name, path := range map[string]*string{"server.crt": &pair.CertFile, "server.key": &pair.KeyFile} {
		*path = filepath.Join(top, name)
		if err := os.Symlink(filepath.Join("..data", name), *path); err != nil {
			t.Fatal(err)
		}
	}
	synctest.Test(t, func(t *testing.T) {
		secure := openTLS(t, TLSOptions{KeyPairs: []KeyPair{pair}, PollInterval: time.Second})
		ctx, cancel := context.WithCancel(t.Context())
		var watching sync.WaitGroup
		watching.Go(func() { secure.Watch(ctx) })
		pass := func() string {
			time.Sleep(time.Second)
			synctest.Wait()
			return secure.Stats().Certificates[0].Subject.CommonName
		}
		if got := pass(); got != "first" || secure.Stats().Reloads != 0 {
			t.Errorf("after a second without a change: %q, %d reloads", got, secure.Stats().Reloads)
		}
		rotate("second")
		if got := pass(); got != "second" || secure.Stats().Reloads != 1 {
			t.Errorf("a second after the swap: %q, %d reloads", got, secure.Stats().Reloads)
		}
		cancel()
		watching.Wait()
	})
}

// A resumed session brings its certificate along in the ticket, so the client's
// is neither sent nor verified again.
func TestTLS_ResumptionDoesNotOutliveTrust(t *testing.T) {
	root, other := newAuthority(t, "root", nil), newAuthority(t, "other", nil)
	client := root.client(t, "device")
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, tt := range []struct {
			name   string
			change func(*testing.T, files, *TLS)
			want   HandshakeFailure
		}{
			{"revoked and reloaded", func(t *testing.T, dir files, s *TLS) {
				t.Helper()
				dir.write("list.pem", root.crl(t, time.Hour, client))
				if err := s.Reload(); err != nil {
					t.Fatal(err)
				}
			}, HandshakeRevoked},
			{"the authority replaced and reloaded", func(t *testing.T, dir files, s *TLS) {
				t.Helper()
				dir.write("ca.pem", other.pem())
				dir.write("list.pem", other.crl(t, time.Hour))
				if err := s.Reload(); err != nil {
					t.Fatal(err)
				}
			}, HandshakeUnknownCA},
			{"revoked although the tickets are good", func(t *testing.T, dir files, s *TLS) {
				t.Helper()
				list := dir.write("list.pem", root.crl(t, time.Hour, client))
				r, err := readRevocations([]string{list}, []*x509.Certificate{root.cert}, false)
				if err != nil {
					t.Fatal(err)
				}
				s.set.Load().revoked = r // between two connections, so nobody reads it now
			}, HandshakeRevoked},
		} {
			t.Run(tt.name+"/"+tls.VersionName(version), func(t *testing.T) {
				dir := files{t, t.TempDir()}
				secure := openTLS(t, TLSOptions{
					KeyPairs: []KeyPair{dir.pair("server", root.server(t, "broker"))}, CAFile: dir.write("ca.pem", root.pem()),
					ClientAuth: ClientAuthRequire, CRLFiles: []string{dir.write("list.pem", root.crl(t, time.Hour))},
				})
				l := start(t, Options{TLS: secure, Handler: echo})
				cert := client.tls()
				c := &tls.Config{
					RootCAs: root.pool(), ServerName: "broker", MaxVersion: version, ClientSessionCache: tls.NewLRUClientSessionCache(1),
					GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil },
				}
				for _, resumed := range []bool{false, true} {
					conn, err := dialTLS(t, l.Addrs()[0], c)
					if err != nil {
						t.Fatal(err)
					}
					if got := conn.ConnectionState().DidResume; got != resumed {
						t.Fatalf("resumed: %v, want %v", got, resumed)
					}
				}
				tt.change(t, dir, secure)
				conn, err := dialTLS(t, l.Addrs()[0], c)
				if err == nil {
					t.Fatal("the client got in")
				}
				untilOver(t, conn)
				if got := l.Stats().Handshakes; got[tt.want] != 1 {
					t.Errorf("failures %v, want one of %v; the client says %v", got, tt.want, err)
				}
			})
		}
	}
}

func TestTLS_TicketsEndWithAReload(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	secure := openTLS(t, TLSOptions{KeyPairs: []KeyPair{dir.pair("server", root.server(t, "broker"))}})
	l := start(t, Options{TLS: secure, Handler: echo})
	c := &tls.Config{RootCAs: root.pool(), ServerName: "broker", ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	for i, want := range []bool{false, true, false, true} {
		if i == 2 {
			if err := secure.Reload(); err != nil {
				t.Fatal(err)
			}
		}
		conn, err := dialTLS(t, l.Addrs()[0], c)
		if err != nil {
			t.Fatal(err)
		}
		if got := conn.ConnectionState().DidResume; got != want {
			t.Errorf("connection %d resumed: %v, want %v", i, got, want)
		}
	}
}

// A pair that is half replaced is what a reader between two renames sees.
func TestTLS_AHalfRotatedPairIsReadAgain(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	pair := dir.pair("server", root.server(t, "one"))
	secure := openTLS(t, TLSOptions{KeyPairs: []KeyPair{pair}})
	old, err := os.ReadFile(pair.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	dir.pair("server", root.server(t, "two"))
	next, err := os.ReadFile(pair.KeyFile)
	if err != nil {
		t.Fatal(err)
	}
	dir.write("server.key", old)
	if err := secure.Reload(); err == nil || errors.Is(err, os.ErrNotExist) {
		t.Fatalf("Reload of a half pair = %v", err)
	}
	dir.write("server.key", next)
	secure.poll()
	if got := secure.Stats().Certificates[0].Subject.CommonName; got != "two" {
		t.Errorf("the certificate is %q", got)
	}
}

// A file whose mode is mended, or whose disk answers again, has the stamp it had
// when it could not be read.
func TestTLS_AfterAFailureTheSameStampIsReadAgain(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	pair := dir.pair("server", root.server(t, "one"))
	secure := openTLS(t, TLSOptions{KeyPairs: []KeyPair{pair}})
	dir.pair("server", root.server(t, "two"))
	good, err := os.ReadFile(pair.CertFile)
	if err != nil {
		t.Fatal(err)
	}
	then := time.Now().Add(-time.Minute)
	overwrite := func(text []byte) {
		t.Helper()
		if err := errors.Join(os.WriteFile(pair.CertFile, text, 0o600), os.Chtimes(pair.CertFile, then, then)); err != nil {
			t.Fatal(err)
		}
		secure.poll()
	}
	overwrite(make([]byte, len(good)))
	if s := secure.Stats(); s.ReloadsFailed != 1 {
		t.Fatalf("Stats() = %+v", s)
	}
	overwrite(good)
	if got := secure.Stats().Certificates[0].Subject.CommonName; got != "two" {
		t.Errorf("the certificate is %q", got)
	}
}
