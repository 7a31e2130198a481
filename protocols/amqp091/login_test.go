package amqp091_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/auth"
)

// cheap is a hash of "test12" that costs the tests nothing.
const cheap = "rabbit_password_hashing_sha256:kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"

// TestFailedLogins: who fails is reported and logged once, with the reason, which
// the client does not hear, and without the secret, which nobody does.
func TestFailedLogins(t *testing.T) {
	const secret = "s3cr3t-of-somebody"
	amqplain := func(fields ...field.Field) string {
		b, err := field.AppendTable(nil, fields)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[4:])
	}
	refused := "ACCESS_REFUSED - Login was refused using authentication mechanism %s. For details see the broker logfile."
	for _, row := range []struct {
		name, mechanism, response string
		err                       error // of the authenticator
		code                      wire.ReplyCode
		text                      string
		who, reason               string // in the log
		reported                  int
	}{
		{
			"wrong password", "PLAIN", "\x00alice\x00" + secret, auth.ErrBadCredentials, 403, refused,
			"user=alice mechanism=PLAIN", "unknown user or wrong password", 1,
		},
		{
			"wrong password, AMQPLAIN", "AMQPLAIN", amqplain(field.Field{Key: "LOGIN", Value: "alice"}, field.Field{Key: "PASSWORD", Value: secret}),
			auth.ErrBadCredentials, 403, refused, "user=alice mechanism=AMQPLAIN", "unknown user or wrong password", 1,
		},
		{
			"a user for loopback addresses", "PLAIN", "\x00alice\x00" + secret, auth.ErrNotLoopback, 403, refused,
			"user=alice mechanism=PLAIN", "this user may log in from loopback addresses only", 1,
		},
		{
			"another's name", "PLAIN", "bob\x00alice\x00" + secret, nil, 403, refused, "mechanism=PLAIN", "asks to act as", 1,
		},
		{
			"no response at all", "PLAIN", secret, nil, 502,
			"SYNTAX_ERROR - malformed response for authentication mechanism %s", "mechanism=PLAIN", "PLAIN has not exactly two NUL octets", 1,
		},
		{
			"a broken table", "AMQPLAIN", "\x05LOGINS\x00\x00\x00\xff" + secret, nil, 502,
			"SYNTAX_ERROR - malformed response for authentication mechanism %s", "mechanism=AMQPLAIN", "malformed SASL response", 1,
		},
		{
			"a mechanism that is not offered", "EXTERNAL", "", nil, 503,
			"COMMAND_INVALID - invalid authentication mechanism '%s'", "connection closed", "invalid authentication mechanism", 0,
		},
		{
			"nobody to ask", "PLAIN", "\x00alice\x00" + secret, errors.New("backend 10.1.2.3 is down"), 541,
			"INTERNAL_ERROR - login could not be checked. For details see the broker logfile.", "user=alice mechanism=PLAIN", "backend 10.1.2.3 is down", 0,
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			var failed []net.Addr
			log := &logged{}
			inBubble(t, func(s *setup) {
				s.auth = func(*core.Broker) auth.Authenticator { return answer{row.err} }
				s.server.Log = slog.New(slog.NewTextHandler(log, nil))
				s.server.LoginFailed = func(a net.Addr) { failed = append(failed, a) }
			}, func(b *bed) {
				p := b.dial()
				p.write([]byte(wire.ProtocolHeader))
				p.next(0) // start
				p.send(0, &wire.ConnectionStartOK{
					ClientProperties: clientProperties(), Mechanism: row.mechanism, Response: row.response, Locale: "en_US",
				})
				text := strings.ReplaceAll(row.text, "%s", row.mechanism)
				method := wire.ConnectionStartOKID
				if row.code == 403 {
					method = 0
				}
				p.connectionClosed(row.code, text, method)
				b.serving.Wait()
			})
			if len(failed) != row.reported {
				t.Errorf("%d failures were reported, want %d", len(failed), row.reported)
			}
			lines := log.String()
			if strings.Count(lines, "\n") != 1 || !strings.Contains(lines, row.reason) || !strings.Contains(lines, row.who) || strings.Contains(lines, secret) {
				t.Errorf("the log does not say %q, or not alone:\n%s", row.reason, lines)
			}
		})
	}
}

// answer is an authenticator that never accepts.
type answer struct{ err error }

func (a answer) Authenticate(context.Context, auth.Credentials) (auth.Principal, error) {
	return auth.Principal{}, a.err
}

// TestALoginThatTakesTooLong is cut with the handshake, and the log says what it
// was waiting for.
func TestALoginThatTakesTooLong(t *testing.T) {
	log := &logged{}
	inBubble(t, func(s *setup) {
		s.auth = func(*core.Broker) auth.Authenticator { return slow{} }
		s.server.Log = slog.New(slog.NewTextHandler(log, nil))
		s.server.LoginFailed = func(net.Addr) { t.Error("the client is blamed for it") }
	}, func(b *bed) {
		begin := time.Now()
		p := b.dial()
		p.login(clientProperties(), "alice", "x")
		p.gone()
		if d := time.Since(begin); d != 10*time.Second {
			b.t.Errorf("cut after %v, want 10s", d)
		}
	})
	if s := log.String(); !strings.Contains(s, `msg="login failed"`) || !strings.Contains(s, "user=alice") || !strings.Contains(s, "backend is slow") {
		t.Errorf("log:\n%s", s)
	}
}

// slow never answers.
type slow struct{}

func (slow) Authenticate(ctx context.Context, _ auth.Credentials) (auth.Principal, error) {
	<-ctx.Done()
	return auth.Principal{}, fmt.Errorf("backend is slow: %w", context.Cause(ctx))
}

// TestAUserOfTheBroker logs in by the hash that is stored, and may do what the
// records say at the moment.
func TestAUserOfTheBroker(t *testing.T) {
	inBubble(t, func(s *setup) { s.auth = internal }, func(b *bed) {
		ctx := b.t.Context()
		b.must(b.broker.Access().PutUser(ctx, core.User{Name: "alice", Password: cheap, MaxConnections: -1, MaxChannels: -1}))
		b.must(b.broker.Access().SetPermission(ctx, core.Permission{VHost: "/", User: "alice", Configure: "^mine", Write: ".*", Read: ".*"}))
		p := b.dial().as("alice", "test12", "/")
		p.openChannel(1)
		p.declare(wire.QueueDeclare{Queue: "mine"})
		p.send(1, &wire.QueueDeclare{Queue: "theirs"})
		p.channelClosed(1, 403, "ACCESS_REFUSED - configure access to queue 'theirs' in vhost '/' refused for user 'alice'", wire.QueueDeclareID)

		p.publish(1, wire.BasicPublish{RoutingKey: "mine"}, field.Properties{}, "1")
		p.call(1, &wire.BasicQos{}, &wire.BasicQosOK{})
		b.must(b.broker.Access().SetPermission(ctx, core.Permission{VHost: "/", User: "alice", Configure: ".*", Write: "^$", Read: ".*"}))
		p.publish(1, wire.BasicPublish{RoutingKey: "mine"}, field.Properties{}, "2")
		p.channelClosed(1, 403, "ACCESS_REFUSED - write access to exchange 'amq.default' in vhost '/' refused for user 'alice'", wire.BasicPublishID)
		p.declare(wire.QueueDeclare{Queue: "theirs"})
	})
}

// internal is the broker's own users.
func internal(b *core.Broker) auth.Authenticator {
	accounts, err := auth.NewAccounts(auth.AccountsOptions{Users: b.Access()})
	if err != nil {
		panic(err)
	}
	users, err := auth.NewInternal(accounts, auth.InternalOptions{})
	if err != nil {
		panic(err)
	}
	certificates, err := auth.NewCertificates(accounts, auth.CertificatesOptions{})
	if err != nil {
		panic(err)
	}
	return auth.NewChain(users, certificates)
}

// must is for changes that cannot fail here.
func (b *bed) must(_ bool, err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

// TestCertificates: EXTERNAL is offered to a client that has a certificate which
// was verified, and to no other.
func TestCertificates(t *testing.T) {
	for _, row := range []struct{ name, user, mechanisms string }{
		{"with a certificate", "device", "PLAIN AMQPLAIN EXTERNAL"},
		{"without one", "", "PLAIN AMQPLAIN"},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := &logged{}
			inBubble(t, func(s *setup) {
				s.auth = internal
				s.server.Log = slog.New(slog.NewTextHandler(log, nil))
			}, func(b *bed) {
				t := b.t
				b.must(b.broker.Access().PutUser(t.Context(), core.User{Name: "device", MaxConnections: -1, MaxChannels: -1}))
				b.must(b.broker.Access().SetPermission(t.Context(), core.Permission{VHost: "/", User: "device"}))
				p := b.dialTLS(row.user)
				p.write([]byte(wire.ProtocolHeader))
				if start, ok := p.next(0).(*wire.ConnectionStart); !ok || start.Mechanisms != row.mechanisms {
					t.Fatalf("offered are %q, want %q", start.Mechanisms, row.mechanisms)
				}
				p.send(0, &wire.ConnectionStartOK{ClientProperties: clientProperties(), Mechanism: "EXTERNAL"})
				if row.user == "" {
					p.connectionClosed(503, "COMMAND_INVALID - invalid authentication mechanism 'EXTERNAL'", wire.ConnectionStartOKID)
					return
				}
				p.next(0) // tune
				p.open("/", 0)
				p.expect(0, &wire.ConnectionOpenOK{})
				i := b.broker.Sessions()[0].Info()
				if !i.TLS || i.TLSVersion != "tlsv1.3" || !strings.HasPrefix(i.Cipher, "TLS_") || i.AuthMechanism != "EXTERNAL" ||
					i.User != "device" || i.PeerCertSubject != "CN=device" || i.PeerCertIssuer != "CN=authority" {
					t.Errorf("the connection is listed as %+v", i)
				}
				if !strings.Contains(log.String(), `user=device vhost=/ mechanism=EXTERNAL product="scripted peer" version="" name="" tls=tlsv1.3`) {
					t.Errorf("log:\n%s", log)
				}
				b.broker.Sessions()[0].End(errors.New("Closed via management plugin"))
				p.connectionClosed(320, "CONNECTION_FORCED - Closed via management plugin", 0)
			})
		})
	}
}

// dialTLS returns a peer behind TLS, with a certificate for user unless that is
// empty.
func (b *bed) dialTLS(user string) *peer {
	b.t.Helper()
	near, far := net.Pipe()
	ca, caKey := certificate(b.t, "authority", nil, nil)
	pool := x509.NewCertPool()
	pool.AddCert(ca)
	pair := func(name string) tls.Certificate {
		cert, key := certificate(b.t, name, ca, caKey)
		return tls.Certificate{Certificate: [][]byte{cert.Raw}, PrivateKey: key}
	}
	server := tls.Server(near, &tls.Config{
		Certificates: []tls.Certificate{pair("broker")}, ClientCAs: pool, ClientAuth: tls.VerifyClientCertIfGiven, MinVersion: tls.VersionTLS13,
	})
	config := &tls.Config{RootCAs: pool, ServerName: "broker", MinVersion: tls.VersionTLS13}
	if user != "" {
		config.Certificates = []tls.Certificate{pair(user)}
	}
	client := tls.Client(far, config)
	b.t.Cleanup(func() { _ = far.Close() })
	b.serving.Go(func() {
		if err := server.HandshakeContext(b.ctx); err != nil {
			b.t.Errorf("TLS: %v", err)
			return
		}
		b.server.Serve(b.ctx, server)
	})
	if err := client.HandshakeContext(b.ctx); err != nil {
		b.t.Fatal(err)
	}
	return &peer{t: b.t, nc: client, frameMax: 131072}
}

// certificate makes one for name, signed by ca, or by itself.
func certificate(tb testing.TB, name string, ca *x509.Certificate, caKey *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		BasicConstraintsValid: true, IsCA: ca == nil, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ca == nil {
		ca, caKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	if err != nil {
		tb.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert, key
}

// may allows everything that begins with a prefix.
type may string

func (m may) Enter(string) error         { return nil }
func (m may) Generation() uint64         { return 1 }
func (m may) Topics(string, string) bool { return false }

func (m may) Allow(r core.Request) error {
	if strings.HasPrefix(r.Name, string(m)) {
		return nil
	}
	return core.ErrDenied
}

// nowhere may enter no vhost.
type nowhere struct{ may }

func (nowhere) Enter(string) error { return core.ErrDenied }

func access(a core.Authorizer) func(auth.Variables) core.Authorizer {
	return func(auth.Variables) core.Authorizer { return a }
}

// TestCredentialsExpire: the connection ends at the moment, whatever it does.
func TestCredentialsExpire(t *testing.T) {
	for _, heartbeat := range []uint16{0, 60} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			users := tokens{"t": {Name: "u", Expires: begin.Add(time.Hour)}}
			b := newBed(t, func(s *setup) { s.auth = users.authenticator })
			p := b.dial()
			p.login(nil, "u", "t")
			p.next(0) // tune
			p.open("/", heartbeat)
			p.expect(0, &wire.ConnectionOpenOK{})
			if heartbeat > 0 {
				go p.beat(time.Hour - time.Second)
			}
			p.expect(0, &wire.ConnectionClose{ReplyCode: 320, ReplyText: "CONNECTION_FORCED - credential expired"})
			if d := time.Since(begin); d != time.Hour {
				t.Errorf("ended after %v, want 1h", d)
			}
			p.send(0, &wire.ConnectionCloseOK{})
			p.gone()
		})
	}
}

// beat sends heartbeats for a while.
func (p *peer) beat(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(30 * time.Second) {
		_, _ = p.nc.Write(wire.AppendHeartbeat(nil))
	}
}

// TestUpdateSecret: new credentials of the same user count from then on, with
// what they allow and for as long as they are good; all others end the connection.
func TestUpdateSecret(t *testing.T) {
	const refused = "NOT_ALLOWED - New secret was refused by one of the backends"
	begin := func() tokens {
		now := time.Now()
		return tokens{
			"first":     {Name: "u", Expires: now.Add(time.Hour), Access: access(may("a")), Tags: []string{"impersonator"}},
			"second":    {Name: "u", Expires: now.Add(3 * time.Hour), Access: access(may("b"))},
			"for ever":  {Name: "u", Access: access(may("b"))},
			"another's": {Name: "v", Access: access(may(""))},
			"unbounded": {Name: "u"},
			"nowhere":   {Name: "u", Access: access(nowhere{})},
		}
	}
	for _, row := range []struct {
		secret, text string        // the text of the end; "" for none
		lasts        time.Duration // until the end of the credentials; 0: for ever
	}{
		{"second", "", 3 * time.Hour},
		{"for ever", "", 0},
		{"first", "", time.Hour},
		{"wrong", refused, 0},
		{"another's", refused, 0},
		{"unbounded", refused, 0},
		{"nowhere", "NOT_ALLOWED - access to vhost '/' refused for user 'u'", 0},
	} {
		t.Run(row.secret, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				users, log, start, failed := begin(), &logged{}, time.Now(), 0
				b := newBed(t, func(s *setup) {
					s.auth = users.authenticator
					s.server.Log = slog.New(slog.NewTextHandler(log, nil))
					s.server.LoginFailed = func(net.Addr) { failed++ }
				})
				p := b.dial().as("u", "first", "/")
				p.openChannel(1)
				p.declare(wire.QueueDeclare{Queue: "a"})
				time.Sleep(30 * time.Minute)
				p.send(0, &wire.ConnectionUpdateSecret{NewSecret: row.secret, Reason: "rotation"})
				if row.text != "" {
					p.connectionClosed(530, row.text, wire.ConnectionUpdateSecretID)
					if wrong := row.text == refused; wrong != (failed == 1) {
						t.Errorf("%d failures were reported", failed)
					}
					return
				}
				p.expect(0, &wire.ConnectionUpdateSecretOK{})
				if row.secret != "first" {
					p.declare(wire.QueueDeclare{Queue: "b"})
					p.send(1, &wire.QueueDeclare{Queue: "a"})
					p.channelClosed(1, 403, "ACCESS_REFUSED - configure access to queue 'a' in vhost '/' refused for user 'u'", wire.QueueDeclareID)
					p.publish(1, wire.BasicPublish{RoutingKey: "x"}, field.Properties{UserID: "other"}, "x") // the tag has gone, too
					p.channelClosed(1, 406, "PRECONDITION_FAILED - user_id property set to 'other' but authenticated user was 'u'", wire.BasicPublishID)
				}
				if !strings.Contains(log.String(), `msg="secret updated" conn=pipe user=u reason=rotation`) {
					t.Errorf("log:\n%s", log)
				}
				if row.lasts == 0 {
					p.silence(4 * time.Hour)
					return
				}
				p.connectionClosed(320, "CONNECTION_FORCED - credential expired", 0)
				if d := time.Since(start); d != row.lasts {
					t.Errorf("ended after %v, want %v", d, row.lasts)
				}
			})
		})
	}
	t.Run("of the default user", func(t *testing.T) {
		inBubble(t, nil, func(b *bed) {
			p := b.connect()
			p.call(0, &wire.ConnectionUpdateSecret{NewSecret: "guest", Reason: "rotation"}, &wire.ConnectionUpdateSecretOK{})
			p.send(0, &wire.ConnectionUpdateSecret{NewSecret: "wrong", Reason: "rotation"})
			p.connectionClosed(530, refused, wire.ConnectionUpdateSecretID)
		})
	})
	t.Run("nobody to ask", func(t *testing.T) {
		down := &fails{}
		inBubble(t, func(s *setup) { s.auth = func(*core.Broker) auth.Authenticator { return down } }, func(b *bed) {
			p := b.dial().as("u", "", "/")
			p.send(0, &wire.ConnectionUpdateSecret{NewSecret: "x"})
			p.connectionClosed(530, "NOT_ALLOWED - Secret update failed", wire.ConnectionUpdateSecretID)
		})
	})
}

// fails accepts the first login, and cannot answer after that.
type fails struct{ asked int }

func (f *fails) Authenticate(_ context.Context, c auth.Credentials) (auth.Principal, error) {
	if f.asked++; f.asked > 1 {
		return auth.Principal{}, errors.New("backend 10.1.2.3 is down")
	}
	return auth.Principal{Name: c.Username}, nil
}

// TestSecretsStayOutOfTheLog: whatever a client says to prove who it is.
func TestSecretsStayOutOfTheLog(t *testing.T) {
	var log bytes.Buffer
	inBubble(t, func(s *setup) {
		s.server.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		s.auth = tokens{"eyJsecret": {Name: "u"}}.authenticator
	}, func(b *bed) {
		p := b.dial().as("u", "eyJsecret", "/")
		p.call(0, &wire.ConnectionUpdateSecret{NewSecret: "eyJsecret", Reason: "rotation"}, &wire.ConnectionUpdateSecretOK{})
		p.send(0, &wire.ConnectionUpdateSecret{NewSecret: "eyJother"})
		p.connectionClosed(530, "NOT_ALLOWED - New secret was refused by one of the backends", wire.ConnectionUpdateSecretID)
		b.serving.Wait()
	})
	if s := log.String(); strings.Contains(s, "eyJ") || !strings.Contains(s, "connection opened") {
		t.Errorf("log:\n%s", s)
	}
}
