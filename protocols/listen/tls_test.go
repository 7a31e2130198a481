package listen

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// A logBuffer is a log that may be read while it is written.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func (b *logBuffer) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(b, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func openTLS(t *testing.T, opt TLSOptions) *TLS {
	t.Helper()
	secure, err := OpenTLS(opt)
	if err != nil {
		t.Fatal(err)
	}
	return secure
}

// dialTLS makes the client's part of a handshake and a round trip, since in TLS
// 1.3 the client is done before the server has looked at its certificate.
func dialTLS(t *testing.T, addr net.Addr, c *tls.Config) (*tls.Conn, error) {
	t.Helper()
	conn := tls.Client(dial(t, addr), c)
	if err := conn.HandshakeContext(t.Context()); err != nil {
		return conn, err
	}
	return conn, roundTrip(conn)
}

// untilOver waits until the server has closed the connection, whatever it still
// sent.
func untilOver(t *testing.T, conn *tls.Conn) {
	t.Helper()
	raw := conn.NetConn()
	if err := raw.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, raw); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("the connection is still open")
	}
}

func TestTLS_ClientCertificates(t *testing.T) {
	root, other := newAuthority(t, "root", nil), newAuthority(t, "other", nil)
	middle, gone := newAuthority(t, "middle", root), newAuthority(t, "gone", root)
	dir := files{t, t.TempDir()}
	server := dir.pair("server", root.server(t, "broker"))
	good, revoked := root.client(t, "good"), root.client(t, "revoked")
	below, revokedBelow := middle.client(t, "below"), middle.client(t, "revoked below")
	withUsage := func(name string, from, to time.Duration, usage x509.ExtKeyUsage) *authority {
		return root.issue(t, &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to),
			ExtKeyUsage: []x509.ExtKeyUsage{usage},
		})
	}
	expired := withUsage("expired", -48*time.Hour, -24*time.Hour, x509.ExtKeyUsageClientAuth)
	early := withUsage("early", 24*time.Hour, 48*time.Hour, x509.ExtKeyUsageClientAuth)
	unfit := withUsage("unfit", -time.Hour, time.Hour, x509.ExtKeyUsageCodeSigning)

	roots := dir.write("root.pem", root.pem())
	both := dir.write("both.pem", root.pem(), middle.pem())
	anchor := dir.write("anchor.pem", root.pem(), gone.pem())
	list := dir.write("list.pem", root.crl(t, time.Hour, revoked, gone), middle.crl(t, time.Hour, revokedBelow))
	rootList := dir.write("root-list.pem", root.crl(t, time.Hour, revoked, gone))
	stale := dir.write("stale.pem", root.crl(t, -time.Hour, revoked))

	request := TLSOptions{KeyPairs: []KeyPair{server}, CAFile: roots, ClientAuth: ClientAuthRequest}
	require := request
	require.ClientAuth = ClientAuthRequire
	listed := require
	listed.CAFile, listed.CRLFiles = both, []string{list}
	anchored := require
	anchored.CAFile, anchored.CRLFiles = anchor, []string{rootList}
	tolerant := require
	tolerant.CRLFiles = []string{stale}
	strict := tolerant
	strict.RefuseStale = true
	none := TLSOptions{KeyPairs: []KeyPair{server}}

	const ok = handshakeFailures
	for _, tt := range []struct {
		name   string
		opt    TLSOptions
		client *authority // nil: no certificate
		want   HandshakeFailure
		subj   string // that the log names
	}{
		{"none asked for, none given", none, nil, ok, ""},
		{"none asked for, one there", none, good, ok, ""},
		{"requested, none given", request, nil, ok, ""},
		{"requested, a good one", request, good, ok, ""},
		{"requested, an unknown authority's", request, other.client(t, "stranger"), HandshakeUnknownCA, "stranger"},
		{"required, a good one", require, good, ok, ""},
		{"required, none given", require, nil, HandshakeNoCertificate, ""},
		{"expired", require, expired, HandshakeOutOfDate, "expired"},
		{"not valid yet", require, early, HandshakeOutOfDate, "early"},
		{"for another use", require, unfit, HandshakeBadCertificate, "unfit"},
		{"an unknown authority's", require, other.client(t, "stranger"), HandshakeUnknownCA, "stranger"},
		{"below an intermediate", require, below, ok, ""},
		{"not on the list", listed, good, ok, ""},
		{"revoked", listed, revoked, HandshakeRevoked, "revoked"},
		{"not on the intermediate's list", listed, below, ok, ""},
		{"revoked by an intermediate", listed, revokedBelow, HandshakeRevoked, "revoked below"},
		{"below a revoked intermediate", listed, gone.client(t, "orphan"), HandshakeRevoked, "CN=gone"},
		{"below a revoked intermediate that is trusted by itself", anchored, gone.client(t, "orphan"), HandshakeRevoked, "CN=gone"},
		{"revoked by a list out of date", tolerant, revoked, HandshakeRevoked, "revoked"},
		{"a list out of date, tolerated", tolerant, good, ok, ""},
		{"a list out of date, not tolerated", strict, good, HandshakeRevoked, "good"},
	} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			t.Run(tt.name+"/"+tls.VersionName(version), func(t *testing.T) {
				var log logBuffer
				l := start(t, Options{TLS: openTLS(t, tt.opt), Handler: echo, Log: log.logger()})
				c := &tls.Config{RootCAs: root.pool(), ServerName: "broker", MaxVersion: version}
				if tt.client != nil {
					cert := tt.client.tls()
					// Whatever the server says it would accept.
					c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }
				}
				conn, err := dialTLS(t, l.Addrs()[0], c)
				if tt.want == ok {
					if err != nil {
						t.Fatalf("%v\n%s", err, log.String())
					}
					return
				}
				if err == nil {
					t.Fatal("the client got in")
				}
				untilOver(t, conn)
				want := Stats{Accepted: 1, Open: l.Stats().Open} // which it leaves a moment later
				want.Handshakes[tt.want] = 1
				if got := l.Stats(); got != want {
					t.Errorf("Stats() = %+v, want %+v", got, want)
				}
				for _, part := range []string{tt.want.text(), tt.subj} {
					if !strings.Contains(log.String(), part) {
						t.Errorf("the log lacks %q:\n%s", part, log.String())
					}
				}
			})
		}
	}
}

func TestTLS_TellsTheHandlerWhatWasAgreedOn(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	secure := openTLS(t, TLSOptions{
		KeyPairs: []KeyPair{dir.pair("server", root.server(t, "broker"))},
		CAFile:   dir.write("root.pem", root.pem()), ClientAuth: ClientAuthRequire,
	})
	states := make(chan tls.ConnectionState, 1)
	l := start(t, Options{TLS: secure, ALPN: []string{"mqtt"}, Handler: func(ctx context.Context, conn net.Conn) {
		state, ok := TLSState(wrapped{conn})
		if !ok {
			t.Error("no TLS")
		}
		states <- state
		echo(ctx, conn)
	}})
	_, err := dialTLS(t, l.Addrs()[0], &tls.Config{
		RootCAs: root.pool(), ServerName: "broker", NextProtos: []string{"x", "mqtt"},
		Certificates: []tls.Certificate{root.client(t, "device").tls()},
	})
	if err != nil {
		t.Fatal(err)
	}
	state := <-states
	if state.ServerName != "broker" || state.Version != tls.VersionTLS13 || state.NegotiatedProtocol != "mqtt" ||
		state.CipherSuite == 0 || len(state.VerifiedChains) != 1 || state.PeerCertificates[0].Subject.CommonName != "device" {
		t.Errorf("state is %+v", state)
	}
	if _, ok := TLSState(dial(t, l.Addrs()[0])); ok {
		t.Error("TLS on a plain connection")
	}
}

// wrapped is a connection around another, as a front-end may have it.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }

func TestTLS_ChoosesTheCertificateByName(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	secure := openTLS(t, TLSOptions{KeyPairs: []KeyPair{
		dir.pair("first", root.server(t, "default.test", "shared.test")),
		dir.pair("wild", root.server(t, "*.example.test")),
		dir.pair("exact", root.server(t, "Broker.example.test", "shared.test")),
	}})
	l := start(t, Options{TLS: secure, Handler: echo})
	for _, tt := range []struct{ sni, want string }{
		{"default.test", "default.test"},
		{"broker.example.test", "Broker.example.test"}, // before the wildcard that comes first
		{"BROKER.EXAMPLE.TEST", "Broker.example.test"},
		{"other.example.test", "*.example.test"},
		{"shared.test", "default.test"},
		{"a.b.example.test", "default.test"}, // a wildcard is one label
		{"example.test", "default.test"},
		{"unknown.test", "default.test"},
		{"", "default.test"},
	} {
		t.Run(tt.sni, func(t *testing.T) {
			conn, err := dialTLS(t, l.Addrs()[0], &tls.Config{ServerName: tt.sni, InsecureSkipVerify: true})
			if err != nil {
				t.Fatal(err)
			}
			if got := conn.ConnectionState().PeerCertificates[0].Subject.CommonName; got != tt.want {
				t.Errorf("the certificate is %s's, want %s's", got, tt.want)
			}
		})
	}
}

func TestTLS_WhatDoesNotFitIsRefused(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	old := TLSOptions{KeyPairs: []KeyPair{dir.pair("server", root.server(t, "broker"))}}
	modern := old
	modern.MinVersion = tls.VersionTLS13
	for _, tt := range []struct {
		name   string
		opt    TLSOptions
		client *tls.Config
		want   HandshakeFailure
	}{
		{"TLS 1.1", old, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, HandshakeMismatch},
		{"TLS 1.2 where 1.3 is the least", modern, &tls.Config{MaxVersion: tls.VersionTLS12}, HandshakeMismatch},
		{"CBC", old, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA}}, HandshakeMismatch},
		{"RSA key exchange", old, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}}, HandshakeMismatch},
		{"another protocol", old, &tls.Config{NextProtos: []string{"http/1.1"}}, HandshakeMismatch},
		{"a client that does not trust the server", old, &tls.Config{RootCAs: x509.NewCertPool()}, HandshakeRefused},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := start(t, Options{TLS: openTLS(t, tt.opt), ALPN: []string{"amqp"}, Handler: echo})
			tt.client.ServerName = "broker"
			if tt.client.RootCAs == nil {
				tt.client.RootCAs = root.pool()
			}
			conn, err := dialTLS(t, l.Addrs()[0], tt.client)
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

func TestTLS_NamesWhatIsSpokenInstead(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	opt := TLSOptions{KeyPairs: []KeyPair{dir.pair("server", root.server(t, "broker"))}}
	for _, tt := range []struct{ name, sent, want string }{
		{"AMQP", "AMQP\x00\x00\x09\x01", "plain AMQP"},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", "plain HTTP"},
		{"MQTT", "\x10\x0c\x00\x04MQTT\x04\x02\x00\x3c\x00\x00", "plain MQTT"},
		{"noise", "\x80\x80\x80\x80\x80\x80", "failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log logBuffer
			l := start(t, Options{TLS: openTLS(t, opt), Handler: echo, Log: log.logger()})
			conn := dial(t, l.Addrs()[0])
			if _, err := io.WriteString(conn, tt.sent); err != nil {
				t.Fatal(err)
			}
			answer, _ := io.ReadAll(conn)
			if !strings.Contains(log.String(), tt.want) {
				t.Errorf("the log lacks %q:\n%s", tt.want, log.String())
			}
			if s := l.Stats(); tt.name != "noise" && s.Handshakes[HandshakePlain] != 1 {
				t.Errorf("Stats() = %+v", s)
			}
			if tt.name == "HTTP" && !bytes.Contains(answer, []byte("HTTP request to a TLS port")) {
				t.Errorf("a browser is told %q", answer)
			}
		})
	}
}

func TestTLS_CutsASlowHandshake(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	secure := openTLS(t, TLSOptions{KeyPairs: []KeyPair{dir.pair("server", root.server(t, "broker"))}})
	l := start(t, Options{TLS: secure, HandshakeTimeout: 30 * time.Millisecond, Handler: func(context.Context, net.Conn) {
		t.Error("a handler runs without a handshake")
	}})
	conn := dial(t, l.Addrs()[0])
	if _, err := conn.Write([]byte{0x16, 0x03, 0x01, 0x01, 0x00}); err != nil { // a record of 256 bytes begins
		t.Fatal(err)
	}
	untilClosed(t, conn)
	if s := l.Stats(); s.Handshakes[HandshakeSlow] != 1 {
		t.Errorf("Stats() = %+v", s)
	}
}

// Half of a hello of 64 KiB is what a connection could hold until its deadline.
func TestTLS_CutsAHandshakeThatDoesNotEnd(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	pair, roots := dir.pair("server", root.server(t, "broker")), dir.write("root.pem", root.pem())
	for _, tt := range []struct {
		opt     TLSOptions
		records int // of 16 KiB, the last cuts the connection
	}{
		{TLSOptions{KeyPairs: []KeyPair{pair}}, 1},
		{TLSOptions{KeyPairs: []KeyPair{pair}, CAFile: roots, ClientAuth: ClientAuthRequest}, 2},
	} {
		var log logBuffer
		l := start(t, Options{TLS: openTLS(t, tt.opt), Handler: echo, HandshakeTimeout: time.Hour, Log: log.logger()})
		conn := dial(t, l.Addrs()[0])
		hello := []byte{1, 0, 0xff, 0xff} // a ClientHello of 64 KiB
		for range tt.records {
			record := append([]byte{0x16, 3, 1, 0x40, 0}, hello...)
			record = append(record, make([]byte, 16<<10-len(hello))...)
			hello = nil
			if _, err := conn.Write(record); err != nil {
				t.Fatal(err)
			}
		}
		untilClosed(t, conn)
		if s := l.Stats(); s.Handshakes[HandshakeBroken] != 1 || !strings.Contains(log.String(), errHandshakeTooLong.Error()) {
			t.Errorf("%v: Stats() = %+v\n%s", tt.opt.ClientAuth, s, log.String())
		}
	}
}

func TestTLS_TheHandshakesBoundEndsWithIt(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	secure := openTLS(t, TLSOptions{KeyPairs: []KeyPair{dir.pair("server", root.server(t, "broker"))}})
	const size = 8 * maxHandshake
	got := make(chan error, 1)
	l := start(t, Options{TLS: secure, Handler: func(_ context.Context, conn net.Conn) {
		_, err := io.ReadFull(conn, make([]byte, size))
		got <- err
	}})
	conn := tls.Client(dial(t, l.Addrs()[0]), &tls.Config{RootCAs: root.pool(), ServerName: "broker"})
	if _, err := conn.Write(make([]byte, size)); err != nil {
		t.Error(err)
	}
	if err := <-got; err != nil {
		t.Error(err)
	}
}

func TestTLS_AClientThatLeavesIsNotBlamed(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	secure := openTLS(t, TLSOptions{KeyPairs: []KeyPair{dir.pair("server", root.server(t, "broker"))}})
	limit, err := NewRate(RateOptions{FailuresPerSecond: 1e-6, FailureBurst: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := start(t, Options{TLS: secure, Handler: echo, Rate: limit})
	for range 3 { // what a load balancer's check does
		conn := dial(t, l.Addrs()[0])
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		untilClosed(t, conn)
	}
	if _, err := dialTLS(t, l.Addrs()[0], &tls.Config{RootCAs: root.pool(), ServerName: "broker"}); err != nil {
		t.Fatal(err)
	}
	plain := dial(t, l.Addrs()[0])
	if _, err := io.WriteString(plain, "AMQP\x00\x00\x09\x01"); err != nil {
		t.Fatal(err)
	}
	untilClosed(t, plain)
	refused(t, l.Addrs()[0])
	s := l.Stats()
	if s.Handshakes[HandshakeLeft] != 3 || s.Handshakes[HandshakePlain] != 1 || s.TooOften != 1 {
		t.Errorf("Stats() = %+v", s)
	}
	// What listens next under the name goes on counting.
	if err := l.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	start(t, Options{TLS: secure, Handler: echo})
	all := secure.Stats().Handshakes
	if len(all) != 1 || all[0].Succeeded != 1 || all[0].Failed != s.Handshakes {
		t.Errorf("the counters of all listeners: %+v", all)
	}
}

func TestTLS_StopEndsAHandshake(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	secure := openTLS(t, TLSOptions{KeyPairs: []KeyPair{dir.pair("server", root.server(t, "broker"))}})
	l := start(t, Options{TLS: secure, Handler: echo, HandshakeTimeout: time.Hour})
	conn := dial(t, l.Addrs()[0])
	for l.Stats().Open == 0 { // until it is accepted
		runtime.Gosched()
	}
	if err := l.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	untilClosed(t, conn)
	if s := l.Stats(); s.Handshakes != (Stats{}).Handshakes {
		t.Errorf("the end of the broker counts as a failure: %+v", s)
	}
}

func TestOpenTLS_SaysWhatIsWrong(t *testing.T) {
	root, other := newAuthority(t, "root", nil), newAuthority(t, "other", nil)
	dir := files{t, t.TempDir()}
	pair, second := dir.pair("server", root.server(t, "broker")), dir.pair("second", root.server(t, "second"))
	roots := dir.write("root.pem", root.pem())
	absent := filepath.Join(dir.dir, "absent")
	with := func(change func(*TLSOptions)) TLSOptions {
		opt := TLSOptions{KeyPairs: []KeyPair{pair}, CAFile: roots, ClientAuth: ClientAuthRequire}
		change(&opt)
		return opt
	}
	for _, tt := range []struct {
		name string
		opt  TLSOptions
		want string
	}{
		{"no certificate", TLSOptions{}, "no certificate"},
		{"no key", TLSOptions{KeyPairs: []KeyPair{{CertFile: "x"}}}, "both are needed"},
		{"no such file", TLSOptions{KeyPairs: []KeyPair{{absent, absent}}}, "read the TLS certificate: open " + absent},
		{"another's key", TLSOptions{KeyPairs: []KeyPair{{pair.CertFile, second.KeyFile}}}, "private key does not match"},
		{"an encrypted key", TLSOptions{KeyPairs: []KeyPair{{pair.CertFile, dir.write("e.key", []byte("-----BEGIN ENCRYPTED PRIVATE KEY-----"))}}}, "is encrypted"},
		{"no CA file", TLSOptions{KeyPairs: []KeyPair{pair}, ClientAuth: ClientAuthRequest}, "(request) cannot be verified without a CA file"},
		{"a CA file for nothing", TLSOptions{KeyPairs: []KeyPair{pair}, CAFile: roots}, "no client certificate is asked for"},
		{"TLS 1.1", TLSOptions{KeyPairs: []KeyPair{pair}, MinVersion: tls.VersionTLS11}, "TLS 1.1: only 1.2 and 1.3"},
		{"a CA file without one", with(func(o *TLSOptions) { o.CAFile = pair.KeyFile }), "no PEM certificate in it"},
		{"a CA that is none", with(func(o *TLSOptions) { o.CAFile = pair.CertFile }), "CN=broker is not an authority's"},
		{"an empty list", with(func(o *TLSOptions) { o.CRLFiles = []string{roots} }), "no revocation list in it"},
		{"another's list", with(func(o *TLSOptions) { o.CRLFiles = []string{dir.write("o.pem", other.crl(t, time.Hour))} }), "issuer CN=other is not in the authority file"},
		{"a forged list", with(func(o *TLSOptions) {
			o.CRLFiles = []string{dir.write("f.pem", newAuthority(t, "root", nil).crl(t, time.Hour))}
		}), "it is not signed by CN=root"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := OpenTLS(tt.opt); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("OpenTLS = %v, want %q", err, tt.want)
			}
		})
	}
}

func TestOpenTLS_ComplainsOfWhatIsOutOfDate(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	valid := func(name string, from, to time.Duration) KeyPair {
		return dir.pair(name, root.issue(t, &x509.Certificate{
			Subject: pkix.Name{CommonName: name}, DNSNames: []string{name}, NotBefore: time.Now().Add(from), NotAfter: time.Now().Add(to),
		}))
	}
	var log logBuffer
	secure := openTLS(t, TLSOptions{
		KeyPairs: []KeyPair{
			valid("fine", -time.Hour, 30*24*time.Hour), valid("soon", -time.Hour, 24*time.Hour),
			valid("past", -2*time.Hour, -time.Hour), valid("future", time.Hour, 2*time.Hour),
		},
		CAFile: dir.write("root.pem", root.pem()), ClientAuth: ClientAuthRequest,
		CRLFiles: []string{dir.write("list.pem", root.crl(t, -time.Minute))}, Log: log.logger(),
	})
	if s := secure.Stats(); len(s.Certificates) != 4 || len(s.Revocations) != 1 ||
		s.Revocations[0].Issuer != "CN=root" || !s.Revocations[0].Due.Before(time.Now()) {
		t.Errorf("Stats() = %+v", s)
	}
	for subject, want := range map[string]string{
		"CN=soon": "expires soon", "CN=past": "has expired", "CN=future": "not valid yet", "list.pem": "out of date", "CN=fine": "",
	} {
		found := ""
		for line := range strings.Lines(log.String()) {
			if strings.Contains(line, subject) {
				found = line
			}
		}
		if !strings.Contains(found, want) || want == "" && found != "" {
			t.Errorf("of %s the log says %q, want %q", subject, found, want)
		}
	}
}

func TestTLS_ReadsListsInDER(t *testing.T) {
	root := newAuthority(t, "root", nil)
	dir := files{t, t.TempDir()}
	revoked := root.client(t, "revoked")
	ders, err := crlBlocks(root.crl(t, time.Hour, revoked))
	if err != nil {
		t.Fatal(err)
	}
	r, err := readRevocations([]string{dir.write("list.der", ders[0])}, []*x509.Certificate{root.cert}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.check([][]*x509.Certificate{{revoked.cert, root.cert}}, time.Now()); !errors.Is(err, errRevoked) {
		t.Errorf("check = %v", err)
	}
}
