package mqtt_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"io"
	"log/slog"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/mqtt"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// comingFrom is a connection with another peer's address, and perhaps TLS.
type comingFrom struct {
	net.Conn

	addr net.Addr
}

func (c comingFrom) RemoteAddr() net.Addr { return c.addr }

type secured struct {
	comingFrom

	state tls.ConnectionState
}

func (c secured) ConnectionState() tls.ConnectionState { return c.state }

// dialFrom is dial from another address; with a certificate, over TLS.
func (b *bed) dialFrom(v wire.Version, ip string, cert *x509.Certificate) *peer {
	near, far := net.Pipe()
	b.t.Cleanup(func() { _ = far.Close() })
	from := comingFrom{Conn: near, addr: &net.TCPAddr{IP: net.ParseIP(ip), Port: 40000}}
	if cert == nil {
		b.serve(from)
	} else {
		b.serve(secured{comingFrom: from, state: tls.ConnectionState{
			Version: tls.VersionTLS13, CipherSuite: tls.TLS_AES_128_GCM_SHA256, PeerCertificates: []*x509.Certificate{cert},
			VerifiedChains: chainsOf(cert),
		}})
	}
	return &peer{t: b.t, nc: far, version: v}
}

// unverified names the issuer of certificates that no authority was found for.
const unverified = "nobody"

func chainsOf(cert *x509.Certificate) [][]*x509.Certificate {
	if cert.Issuer.CommonName == unverified {
		return nil
	}
	return [][]*x509.Certificate{{cert}}
}

// certificateOf is one that names a user; no more of it is looked at here.
func certificateOf(t *testing.T, user string) *x509.Certificate {
	t.Helper()
	name := pkix.Name{CommonName: user}
	raw, err := asn1.Marshal(name.ToRDNSequence())
	if err != nil {
		t.Fatal(err)
	}
	return &x509.Certificate{Subject: name, RawSubject: raw, Issuer: pkix.Name{CommonName: "CA"}}
}

// A certificate that leads to no authority is no login, whoever it names.
func TestUnverifiedCertificateProvesNothing(t *testing.T) {
	change := func(s *setup) {
		s.named = true
		s.users = func(a *auth.Accounts) auth.Authenticator {
			certificates, err := auth.NewCertificates(a, auth.CertificatesOptions{WithoutMechanism: true})
			if err != nil {
				t.Fatal(err)
			}
			return auth.NewChain(certificates)
		}
	}
	inBubble(t, change, func(b *bed) {
		b.permit("alice", everything)
		cert := certificateOf(t, "alice")
		cert.Issuer.CommonName = unverified
		p := b.dialFrom(wire.V5, "192.0.2.7", cert)
		p.write(connect(wire.V5, "c"))
		p.follow("CONNACK 0x86")
		p.gone()
	})
}

// TestClientsWithoutCredentials has who may come in without a name, and as whom.
func TestClientsWithoutCredentials(t *testing.T) {
	const here, elsewhere = "127.0.0.1", "192.0.2.7"
	for _, tt := range []struct {
		name          string
		as            string // whom Anonymous stands for; empty: there is none
		anywhere      bool
		from          string
		certificate   string
		byCertificate bool
		want          string
		user          string
	}{
		{"none by default", "", false, here, "", false, "CONNACK 0x86", ""},
		{"from this machine", "guest", false, here, "", false, accepted, "guest"},
		{"from elsewhere", "guest", false, elsewhere, "", false, "CONNACK 0x86", ""},
		{"from anywhere, as one who may not come from there", "guest", true, elsewhere, "", false, "CONNACK 0x86", ""},
		{"from anywhere", "visitor", true, elsewhere, "", false, accepted, "visitor"},
		{"as nobody there is", "ghost", false, here, "", false, "CONNACK 0x86", ""},
		{"certificate", "", false, elsewhere, "alice", true, accepted, "alice"},
		{"certificate before anonymous", "visitor", true, elsewhere, "alice", true, accepted, "alice"},
		{"certificate of nobody, and anonymous", "visitor", true, elsewhere, "ghost", true, accepted, "visitor"},
		{"certificate of nobody", "", false, elsewhere, "ghost", true, "CONNACK 0x86", ""},
		{"certificate that is no login", "", false, elsewhere, "alice", false, "CONNACK 0x86", ""},
		{"certificate that is no login, and anonymous", "visitor", true, elsewhere, "alice", false, accepted, "visitor"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			change := func(s *setup) {
				s.named, s.server.AnonymousAnywhere = true, tt.anywhere
				s.users = func(a *auth.Accounts) auth.Authenticator {
					var err error
					if tt.as != "" {
						if s.server.Anonymous, err = auth.NewAnonymous(a, tt.as); err != nil {
							t.Fatal(err)
						}
					}
					certificates, err := auth.NewCertificates(a, auth.CertificatesOptions{WithoutMechanism: tt.byCertificate})
					if err != nil {
						t.Fatal(err)
					}
					return auth.NewChain(certificates)
				}
			}
			inBubble(t, change, func(b *bed) {
				b.permit("visitor", everything)
				b.permit("alice", everything)
				var cert *x509.Certificate
				if tt.certificate != "" {
					cert = certificateOf(t, tt.certificate)
				}
				p := b.dialFrom(wire.V5, tt.from, cert)
				p.write(connect(wire.V5, "c"))
				p.follow(tt.want)
				if tt.user == "" {
					p.gone()
					return
				}
				if got := b.broker.Sessions()[0].Info().User; got != tt.user {
					t.Errorf("let in as %s", got)
				}
			})
		})
	}
}

func TestAnonymousFromAnywhereNeedsAUser(t *testing.T) {
	if _, err := mqtt.New(mqtt.Options{Broker: new(core.Broker), Auth: anyone{}, AnonymousAnywhere: true}); err == nil {
		t.Error("the options are taken")
	}
}

// backend answers for who may do what from elsewhere.
type backend struct{ err error }

func (a backend) Authenticate(context.Context, auth.Credentials) (auth.Principal, error) {
	return auth.Principal{Name: "u", Access: func(auth.Variables) core.Authorizer { return a }}, nil
}
func (a backend) Enter(string) error       { return a.err }
func (a backend) Allow(core.Request) error { return a.err }
func (backend) Generation() uint64         { return 1 }
func (backend) Topics(string, string) bool { return true }

// TestEntry has the vhost that a client gets into, and the answer where it does
// not.
func TestEntry(t *testing.T) {
	limited := func(s *setup) { trustEverybody(s); s.server.MaxClientID = 23 }
	for _, tt := range []struct {
		name    string
		change  func(*setup)
		send    func(v wire.Version) []byte
		want311 string
		want5   string
		vhost   string
	}{
		{"the default vhost", trustEverybody, as("u"), accepted, accepted, "/"},
		{"vhost:user", trustEverybody, as("v1:u"), accepted, accepted, "v1"},
		{"the last colon", trustEverybody, as("a:b:u"), accepted, accepted, "a:b"},
		{"a colon, and no vhost", trustEverybody, as("v2:u"), accepted, accepted, "/"},
		{"no permission", trustEverybody, as("v1:other"), "CONNACK 0x05", "CONNACK 0x87", ""},
		{"no such vhost", func(s *setup) { trustEverybody(s); s.server.VHost = "nowhere" }, as("u"), "CONNACK 0x05", "CONNACK 0x87", ""},
		{"the vhost is full", trustEverybody, as("full:u"), "CONNACK 0x03", "CONNACK 0x97", ""},
		{"the user has enough", trustEverybody, as("busy"), "CONNACK 0x03", "CONNACK 0x97", ""},
		{"who may do what is not known", func(s *setup) { s.server.Auth = backend{errors.New("down")} }, as("u"), "CONNACK 0x03", "CONNACK 0x88", ""},
		{"a backend denies", func(s *setup) { s.server.Auth = backend{core.ErrDenied} }, as("u"), "CONNACK 0x05", "CONNACK 0x87", ""},
		{"a client identifier at the limit", limited, called(23), accepted, accepted, "/"},
		{"a client identifier above the limit", limited, called(24), "CONNACK 0x02", "CONNACK 0x85", ""},
		{"a long user name", trustEverybody, as(strings.Repeat("u", 1025)), "CONNACK 0x04", "CONNACK 0x86", ""},
	} {
		for _, v := range []wire.Version{wire.V311, wire.V5} {
			t.Run(tt.name+"/"+v.String(), func(t *testing.T) {
				inBubble(t, tt.change, func(b *bed) {
					for vhost, limit := range map[string]int{"v1": -1, "a:b": -1, "full": 0} {
						if _, err := b.broker.Access().PutVHost(b.t.Context(), core.VHostInfo{Name: vhost, MaxConnections: limit, MaxQueues: -1}); err != nil {
							t.Fatal(err)
						}
					}
					for user, vhosts := range map[string][]string{"u": {"/", "v1", "a:b", "full"}, "v2:u": {"/"}, "other": {"/"}, "busy": {"/"}} {
						for _, vhost := range vhosts {
							b.permit(user, core.Permission{VHost: vhost, Configure: ".*", Write: ".*", Read: ".*"})
						}
					}
					if _, err := b.broker.Access().PutUser(b.t.Context(), core.User{Name: "busy", MaxConnections: 0, MaxChannels: -1}); err != nil {
						t.Fatal(err)
					}
					p := b.dial(v)
					p.write(tt.send(v))
					p.follow(map[wire.Version]string{wire.V311: tt.want311, wire.V5: tt.want5}[v])
					if tt.vhost == "" {
						p.gone()
					} else if got := b.broker.Sessions()[0].Info().VHost; got != tt.vhost {
						t.Errorf("it works in vhost %s", got)
					}
				})
			})
		}
	}
}

func as(user string) func(wire.Version) []byte {
	return func(v wire.Version) []byte { return connect(v, "c", login(user, "")) }
}

func called(n int) func(wire.Version) []byte {
	return func(v wire.Version) []byte { return connect(v, strings.Repeat("c", n), login("u", "")) }
}

// TestFailuresAreToldOf: the listener learns which addresses guess, or hold
// connections without a word.
func TestFailuresAreToldOf(t *testing.T) {
	var told []string
	tell := func(s *setup) {
		s.named, s.server.LoginFailed = true, func(a net.Addr) { told = append(told, a.String()) }
	}
	inBubble(t, tell, func(b *bed) {
		p := b.dialFrom(wire.V5, "192.0.2.1", nil)
		p.write(connect(wire.V5, "c", login("guest", "wrong")))
		p.follow("CONNACK 0x86", theEnd)
		b.dialFrom(wire.V5, "192.0.2.2", nil).gone() // after the handshake's time
		near, far := net.Pipe()
		b.serveWebSocket(comingFrom{Conn: near, addr: &net.TCPAddr{IP: net.ParseIP("192.0.2.3"), Port: 40000}})
		(&peer{t: t, nc: far}).write([]byte("GET /ws HTTP/1.1\r\n"))
		(&peer{t: t, nc: far}).gone()
		p = b.dialFrom(wire.V5, "127.0.0.1", nil)
		p.write(connect(wire.V5, "c", login("guest", "guest")))
		p.follow(accepted)
		p.disconnect()
		if want := []string{"192.0.2.1:40000", "192.0.2.2:40000", "192.0.2.3:40000"}; !slices.Equal(told, want) {
			t.Errorf("told of %v, want %v", told, want)
		}
	})
}

// expiring lets everybody in for an hour.
type expiring struct{}

func (expiring) Authenticate(_ context.Context, c auth.Credentials) (auth.Principal, error) {
	return auth.Principal{Name: c.Username, Expires: time.Now().Add(time.Hour)}, nil
}

func TestLoginThatExpires(t *testing.T) {
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		inBubble(t, func(s *setup) { s.server.Auth = expiring{} }, func(b *bed) {
			observer := b.connect(wire.V5, "observer")
			observer.subscribe(1, 0, "#")
			p := b.connect(v, "c", login("u", ""), will("w", "gone", 0, false, ""))
			begin := time.Now()
			p.dropped(wire.MaximumConnectTime)
			if d := time.Since(begin); d != time.Hour {
				t.Errorf("%s: dropped after %v", v, d)
			}
			observer.expect(`PUBLISH w "gone"`)
		})
	}
}

// TestAdministratorsEndConnections: the client learns why. Its will is published
// unless there is nobody any more in whose name that would be.
func TestAdministratorsEndConnections(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(b *bed, s *core.Session) error
		code wire.ReasonCode
		text string
		will bool
	}{
		{"its connection", func(_ *bed, s *core.Session) error {
			s.End(&core.Error{Kind: core.Closing, Op: "close", Name: "connection c", Text: "maintenance"})
			return nil
		}, wire.AdministrativeAction, "maintenance", true},
		{"its user", func(b *bed, _ *core.Session) error {
			_, err := b.broker.Access().DeleteUser(b.t.Context(), "u")
			return err
		}, wire.NotAuthorized, "user 'u' is deleted", false},
		{"its vhost", func(b *bed, _ *core.Session) error {
			_, err := b.broker.Access().DeleteVHost(b.t.Context(), "/")
			return err
		}, wire.AdministrativeAction, "vhost '/' is deleted", false},
	} {
		for _, v := range []wire.Version{wire.V311, wire.V5} {
			t.Run(tt.name+"/"+v.String(), func(t *testing.T) {
				inBubble(t, trustEverybody, func(b *bed) {
					b.grant(grant{".*", ".*", ".*", "", ""})
					p := b.connect(v, "c", login("u", ""), will("w", "gone", 0, false, ""))
					session := b.broker.Sessions()[0]
					observer := b.connect(wire.V5, "observer")
					observer.subscribe(1, 0, "#")
					if err := tt.end(b, session); err != nil {
						t.Fatal(err)
					}
					if v == wire.V5 {
						f, err := p.frame()
						if err != nil || f.Type != wire.DISCONNECT || f.Body[0] != byte(tt.code) || !bytes.Contains(f.Body, []byte(tt.text)) {
							t.Errorf("it is told %s % q, %v", f.Type, f.Body, err)
						}
					}
					p.gone()
					if tt.will {
						observer.expect(`PUBLISH w "gone"`)
					}
					synctest.Wait()
					if b.broker.HasVHost("/") { // and the observer in it
						observer.silence(time.Hour)
						if n := len(b.broker.Sessions()); n != 1 {
							t.Errorf("%d sessions are left", n)
						}
					}
				})
			})
		}
	}
}

// TestPublishersThatWaitAreNotSilent: a client whose packets are not read,
// because of an alarm or of its rate, keeps its connection.
func TestPublishersThatWaitAreNotSilent(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.connect(wire.V5, "c", keepAlive(10))
		info := b.broker.Sessions()[0].Info
		b.broker.SetMemoryAlarm(true)
		p.publish("t", "", 1, 1)
		p.silence(time.Hour)
		if s := info().State; s != "blocked" {
			t.Errorf("while it waits it is %s", s)
		}
		b.broker.SetMemoryAlarm(false)
		p.expect("PUBACK #1 0x10")
		if s := info().State; s != "running" {
			t.Errorf("when it goes on it is %s", s)
		}
		p.dropped(wire.KeepAliveTimeout) // as silent as it is now
	})
	inBubble(t, func(s *setup) { s.server.Rates = func() (messages, bytes float64) { return 1, 0 } }, func(b *bed) {
		p := b.connect(wire.V311, "c", keepAlive(10))
		var many []byte
		for range 99 {
			many = append(many, publishPacket(wire.V311, 0, "t", "", 0)...)
		}
		begin := time.Now()
		p.write(append(many, publishPacket(wire.V311, 2, "t", "", 7)...))
		p.expect("PUBACK #7")
		if d := time.Since(begin); d < 95*time.Second || d > 100*time.Second {
			t.Errorf("100 messages at one a second took %v", d)
		}
	})
}

func TestConnectionInfo(t *testing.T) {
	inBubble(t, trustEverybody, func(b *bed) {
		b.permit("u", everything)
		p := b.dialFrom(wire.V311, "192.0.2.7", certificateOf(t, "device"))
		opened := time.Now()
		sent := connect(wire.V311, "c", login("u", ""), keepAlive(60))
		p.write(sent)
		p.follow(accepted)
		synctest.Wait()
		got := b.broker.Sessions()[0].Info()
		if got.ClientProperties == nil || got.ClientProperties[0].Value != "c" {
			t.Errorf("client properties %v", got.ClientProperties)
		}
		got.ClientProperties = nil
		want := core.ConnectionInfo{
			Name: "192.0.2.7:40000 -> pipe", Protocol: "MQTT 3-1-1", User: "u", VHost: "/", State: "running", ClientID: "c",
			PeerHost: "192.0.2.7", PeerPort: 40000, Host: "pipe", Timeout: time.Minute, ConnectedAt: opened,
			TLS: true, TLSVersion: "tlsv1.3", Cipher: "TLS_AES_128_GCM_SHA256", PeerCertSubject: "CN=device", PeerCertIssuer: "CN=CA",
			BytesIn: uint64(len(sent)), BytesOut: 4,
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("it is\n\t%+v, want\n\t%+v", got, want)
		}
	})
}

// TestLog: a line when a connection opens and one why it ends, and no secret in
// either.
func TestLog(t *testing.T) {
	const secret = "s3cr3t"
	for _, tt := range []struct {
		name string
		do   func(b *bed)
		want []string
	}{
		{"in good order", func(b *bed) { b.connect(wire.V5, "dev", login("guest", "guest")).disconnect() }, []string{
			`level=INFO msg="connection opened" conn=pipe client=dev user=guest vhost=/ protocol="MQTT 5-0" tls=none`,
			`level=INFO msg="connection closed" conn=pipe client=dev user=guest vhost=/ reason=success`,
		}},
		{"without a word", func(b *bed) { _ = b.connect(wire.V311, "dev").nc.Close() }, []string{
			`msg="connection opened" conn=pipe client=dev user=guest vhost=/ protocol="MQTT 3-1-1"`,
			`level=WARN msg="client went away without disconnecting" conn=pipe client=dev`,
		}},
		{"a wrong password", func(b *bed) {
			p := b.dial(wire.V5)
			p.write(connect(wire.V5, "dev", login("guest", secret)))
			p.follow("CONNACK 0x86", theEnd)
		}, []string{`level=WARN msg="login refused" conn=pipe client=dev err="bad user name or password: login was refused (user \"guest\"`}},
		{"a very long name", func(b *bed) { b.connect(wire.V5, strings.Repeat("x", 60000)).disconnect() }, []string{
			"client=" + strings.Repeat("x", 512) + "…", "connection closed",
		}},
		{"ended", func(b *bed) {
			p := b.connect(wire.V5, "dev")
			b.broker.Sessions()[0].End(errors.New("maintenance"))
			p.dropped(wire.AdministrativeAction)
		}, []string{"connection opened", `level=INFO msg="connection closed by the broker" conn=pipe client=dev user=guest vhost=/ err="ended by the broker: administrative action: maintenance"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var lines bytes.Buffer
			inBubble(t, func(s *setup) { s.server.Log = slog.New(slog.NewTextHandler(io.MultiWriter(&lines, t.Output()), nil)) }, func(b *bed) {
				tt.do(b)
				synctest.Wait()
			})
			all := strings.Split(strings.TrimSuffix(lines.String(), "\n"), "\n")
			for i, want := range tt.want {
				if i >= len(all) || !strings.Contains(all[i], want) {
					t.Errorf("line %d of %q, want %q", i, all, want)
				}
			}
			if len(all) != len(tt.want) || strings.Contains(lines.String(), secret) {
				t.Errorf("the log has %d lines:\n%s", len(all), lines.String())
			}
		})
	}
}

// TestConnectionInfo_OverWebSocket looks through the WebSocket for TLS.
func TestConnectionInfo_OverWebSocket(t *testing.T) {
	b := newBed(t, nil)
	_, addr := listenOn(t, func(ctx context.Context, nc net.Conn, over func()) {
		b.server.StartWebSocket(ctx, secured{
			comingFrom: comingFrom{Conn: nc, addr: nc.RemoteAddr()}, state: tls.ConnectionState{Version: tls.VersionTLS12},
		}, over)
	})
	p, _ := dialWebSocket(t, addr, wire.V5)
	p.write(connect(wire.V5, "c"))
	p.follow(accepted)
	if i := b.broker.Sessions()[0].Info(); i.Protocol != "Web MQTT 5-0" || !i.TLS || i.TLSVersion != "tlsv1.2" || i.PeerHost != "127.0.0.1" {
		t.Errorf("it is %+v", i)
	}
}
