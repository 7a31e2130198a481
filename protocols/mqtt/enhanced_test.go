package mqtt_test

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	paho "github.com/eclipse/paho.golang/paho"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// scramBed offers SCRAM-SHA-256, and lets nobody in without a name.
func scramBed(s *setup) { s.scram, s.named = true, true }

// scramUser makes a user whose password is "secret".
func (b *bed) scramUser(name string) {
	b.t.Helper()
	u := core.User{Name: name, MaxConnections: -1, MaxChannels: -1}
	if err := auth.SetPassword(&u, "secret"); err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.broker.Access().PutUser(b.t.Context(), u); err != nil {
		b.t.Fatal(err)
	}
	b.permit(name, everything)
}

// scramClient is the client's side of one exchange (RFC 5802, section 3).
type scramClient struct{ user, password, bare string }

const scramNonce = "fyko+d2lbbFgONRv9qkxdawL"

func (s *scramClient) first() string {
	s.bare = "n=" + s.user + ",r=" + scramNonce
	return "n,," + s.bare
}

func hmac256(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write([]byte(message)) // a hash never fails
	return h.Sum(nil)
}

func (s *scramClient) salted(serverFirst string) []byte {
	fields := strings.Split(serverFirst, ",")
	salt, _ := base64.StdEncoding.DecodeString(fields[1][2:])
	iterations, _ := strconv.Atoi(fields[2][2:])
	key, _ := pbkdf2.Key(sha256.New, s.password, salt, iterations, sha256.Size)
	return key
}

// final returns client-final, and the server-final to be expected.
func (s *scramClient) final(serverFirst string) (final, want string) {
	salted := s.salted(serverFirst)
	clientKey := hmac256(salted, "Client Key")
	stored := sha256.Sum256(clientKey)
	nonce, _, _ := strings.Cut(serverFirst, ",")
	final = "c=biws," + nonce
	message := s.bare + "," + serverFirst + "," + final
	proof := make([]byte, len(clientKey))
	subtle.XORBytes(proof, clientKey, hmac256(stored[:], message))
	want = "v=" + base64.StdEncoding.EncodeToString(hmac256(hmac256(salted, "Server Key"), message))
	return final + ",p=" + base64.StdEncoding.EncodeToString(proof), want
}

func byMethod(method, data string) func(*connectPacket) {
	return properties(str(wire.AuthenticationMethod, method) + str(wire.AuthenticationData, data))
}

func authPacket(reason wire.ReasonCode, method, data string) []byte {
	return packet(0xF0, string([]byte{byte(reason)})+
		section(str(wire.AuthenticationMethod, method)+str(wire.AuthenticationData, data)))
}

// challenge waits for an AUTH 0x18 and returns its data.
func (p *peer) challenge() string {
	p.t.Helper()
	f, err := p.frame()
	if err != nil || f.Type != wire.AUTH {
		p.t.Fatalf("peer waits for AUTH: %s, %v", describe(f, p.version), err)
	}
	a, err := wire.DecodeAuth(f, wire.V5)
	if err != nil || a.Reason != wire.ContinueAuthentication || a.Method != auth.SCRAMSHA256 { // [MQTT-4.12.0-2] [MQTT-4.12.0-5]
		p.t.Fatalf("%+v, %v", a, err)
	}
	return string(a.Data)
}

func (p *peer) scram(user, password string) {
	p.t.Helper()
	client := scramClient{user: user, password: password}
	p.write(connect(wire.V5, "c", byMethod(auth.SCRAMSHA256, client.first())))
	final, want := client.final(p.challenge())
	p.write(authPacket(wire.ContinueAuthentication, auth.SCRAMSHA256, final))
	p.expect(fmt.Sprintf("CONNACK 0x00%s", strings.Replace(offered, " 33", fmt.Sprintf(" 21=%q 22=%q 33", auth.SCRAMSHA256, want), 1)))
}

// TestEnhancedAuthentication: figure 4.2's exchange, and the same again on the
// open connection (section 4.12.1), with a publication in between.
func TestEnhancedAuthentication(t *testing.T) { // [MQTT-4.12.0-2] [MQTT-4.12.0-5]
	inBubble(t, scramBed, func(b *bed) {
		b.scramUser("device")
		p := b.dial(wire.V5)
		p.scram("device", "secret")
		for range 2 {
			client := scramClient{user: "device", password: "secret"}
			p.write(authPacket(wire.ReAuthenticate, auth.SCRAMSHA256, client.first()))
			final, want := client.final(p.challenge())
			p.publish("a", "x", 1, 1)
			p.expect("PUBACK #1 0x10")
			p.write(authPacket(wire.ContinueAuthentication, auth.SCRAMSHA256, final))
			p.expect(fmt.Sprintf("AUTH 0x00 21=%q 22=%q", auth.SCRAMSHA256, want))
		}
		p.disconnect()
	})
}

// TestEnhancedAuthenticationWithoutData: who sends none with CONNECT is asked.
func TestEnhancedAuthenticationWithoutData(t *testing.T) {
	inBubble(t, scramBed, func(b *bed) {
		b.scramUser("device")
		p := b.dial(wire.V5)
		client := scramClient{user: "device", password: "secret"}
		p.write(connect(wire.V5, "c", properties(str(wire.AuthenticationMethod, auth.SCRAMSHA256))))
		if data := p.challenge(); data != "" {
			t.Fatalf("the challenge is %q", data)
		}
		p.write(authPacket(wire.ContinueAuthentication, auth.SCRAMSHA256, client.first()))
		final, _ := client.final(p.challenge())
		p.write(authPacket(wire.ContinueAuthentication, auth.SCRAMSHA256, final))
		if got := p.next(); !strings.HasPrefix(got, "CONNACK 0x00") {
			t.Fatal(got)
		}
	})
}

// TestEnhancedAuthenticationFails has what comes in place of client-final, and
// the answer.
func TestEnhancedAuthenticationFails(t *testing.T) {
	good := scramClient{user: "device", password: "secret"}
	for _, tt := range []struct {
		name    string
		connect func(*connectPacket)
		then    func(challenge string) []byte // nil: CONNECT alone
		want    string
	}{
		{"[MQTT-4.12.0-1] another method", byMethod("GS2-KRB5", "x"), nil, "CONNACK 0x8c"},
		{"malformed client-first", byMethod(auth.SCRAMSHA256, "hello"), nil, "CONNACK 0x87"},
		{"[MQTT-4.12.0-4] wrong password", byMethod(auth.SCRAMSHA256, good.first()), func(challenge string) []byte {
			c := good
			c.password = "?"
			final, _ := c.final(challenge)
			return authPacket(wire.ContinueAuthentication, auth.SCRAMSHA256, final)
		}, "CONNACK 0x87"},
		{"CONNECT names another user", func(c *connectPacket) {
			byMethod(auth.SCRAMSHA256, good.first())(c)
			c.flags |= 0x80
			c.tail = text("other")
		}, func(challenge string) []byte {
			final, _ := good.final(challenge)
			return authPacket(wire.ContinueAuthentication, auth.SCRAMSHA256, final)
		}, "CONNACK 0x87"},
		{"[MQTT-4.12.0-5] the method changes", byMethod(auth.SCRAMSHA256, good.first()), func(string) []byte {
			return authPacket(wire.ContinueAuthentication, "PLAIN", "x")
		}, "CONNACK 0x8c"},
		{"[MQTT-4.12.0-3] another reason code", byMethod(auth.SCRAMSHA256, good.first()), func(string) []byte {
			return authPacket(wire.ReAuthenticate, auth.SCRAMSHA256, "x")
		}, "CONNACK 0x82"},
		{"[MQTT-3.1.2-30] another packet", byMethod(auth.SCRAMSHA256, good.first()), func(string) []byte {
			return []byte{0xC0, 0}
		}, "CONNACK 0x82"},
		{"the client gives up", byMethod(auth.SCRAMSHA256, good.first()), func(string) []byte {
			return []byte{0xE0, 0}
		}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, scramBed, func(b *bed) {
				b.scramUser("device")
				p := b.dial(wire.V5)
				p.write(connect(wire.V5, "c", tt.connect))
				if tt.then != nil {
					p.write(tt.then(p.challenge()))
				}
				if tt.want != "" {
					p.expect(tt.want)
				}
				p.gone()
				synctest.Wait()
				if n := b.server.Stats().Connections; n != 0 {
					t.Errorf("%d connections", n)
				}
			})
		})
	}
}

// TestReauthenticationFails: [MQTT-4.12.1-2].
func TestReauthenticationFails(t *testing.T) {
	for _, tt := range []struct {
		name           string
		method         string
		user, password string
		again          bool // a second AUTH 0x19 in place of client-final
		want           wire.ReasonCode
	}{
		{"wrong password", auth.SCRAMSHA256, "device", "?", false, wire.NotAuthorized},
		{"another user", auth.SCRAMSHA256, "other", "secret", false, wire.NotAuthorized},
		{"[MQTT-4.12.1-1] another method", "PLAIN", "", "", false, wire.ProtocolError},
		{"twice at once", auth.SCRAMSHA256, "device", "secret", true, wire.ProtocolError},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, scramBed, func(b *bed) {
				b.scramUser("device")
				b.scramUser("other")
				p := b.dial(wire.V5)
				p.scram("device", "secret")
				client := scramClient{user: tt.user, password: tt.password}
				p.write(authPacket(wire.ReAuthenticate, tt.method, client.first()))
				if tt.method == auth.SCRAMSHA256 {
					final, _ := client.final(p.challenge())
					reason := wire.ContinueAuthentication
					if tt.again {
						reason = wire.ReAuthenticate
					}
					p.write(authPacket(reason, tt.method, final))
				}
				p.dropped(tt.want)
			})
		})
	}
}

// TestAuthOutOfTurn: AUTH on a connection without a method [MQTT-4.12.0-7], and
// one that continues what has not begun.
func TestAuthOutOfTurn(t *testing.T) {
	inBubble(t, scramBed, func(b *bed) {
		b.scramUser("device")
		for _, reason := range []wire.ReasonCode{wire.ReAuthenticate, wire.ContinueAuthentication} {
			p := b.connect(wire.V5, "plain", login("guest", "guest"))
			p.write(authPacket(reason, auth.SCRAMSHA256, "n,,n=device,r=x"))
			p.dropped(wire.ProtocolError)
		}
		p := b.dial(wire.V5)
		p.scram("device", "secret")
		p.write(authPacket(wire.ContinueAuthentication, auth.SCRAMSHA256, "x"))
		p.dropped(wire.ProtocolError)
	})
}

// pahoAuther answers a challenge as paho.golang's client asks it to.
type pahoAuther struct{ client *scramClient }

func (a *pahoAuther) Authenticate(challenge *paho.Auth) *paho.Auth {
	final, _ := a.client.final(string(challenge.Properties.AuthData))
	return &paho.Auth{
		ReasonCode: byte(wire.ContinueAuthentication),
		Properties: &paho.AuthProperties{AuthMethod: auth.SCRAMSHA256, AuthData: []byte(final)},
	}
}

func (a *pahoAuther) Authenticated() {}

// TestEnhancedAuthenticationOfPaho lets paho.golang authenticate, once again on
// the open connection, and with a password that is wrong.
func TestEnhancedAuthenticationOfPaho(t *testing.T) {
	b := newBed(t, scramBed)
	b.scramUser("device")
	dial := func(client *scramClient) (*paho.Client, *paho.Connack, error) {
		near, far := net.Pipe()
		b.serve(near)
		c := paho.NewClient(paho.ClientConfig{Conn: far, AuthHandler: &pahoAuther{client}})
		ack, err := c.Connect(context.Background(), &paho.Connect{
			ClientID: "paho", CleanStart: true, KeepAlive: 60,
			Properties: &paho.ConnectProperties{AuthMethod: auth.SCRAMSHA256, AuthData: []byte(client.first())},
		})
		return c, ack, err
	}
	client := &scramClient{user: "device", password: "secret"}
	c, ack, err := dial(client)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(ack.Properties.AuthData), "v=") {
		t.Errorf("CONNACK has %q", ack.Properties.AuthData)
	}
	again, err := c.Authenticate(t.Context(), &paho.Auth{
		ReasonCode: byte(wire.ReAuthenticate),
		Properties: &paho.AuthProperties{AuthMethod: auth.SCRAMSHA256, AuthData: []byte(client.first())},
	})
	if err != nil || !again.Success {
		t.Errorf("re-authentication: %+v, %v", again, err)
	}
	if err := c.Disconnect(&paho.Disconnect{}); err != nil {
		t.Error(err)
	}
	if _, ack, err := dial(&scramClient{user: "device", password: "?"}); err == nil || ack == nil || ack.ReasonCode != byte(wire.NotAuthorized) {
		t.Errorf("wrong password: %+v, %v", ack, err)
	}
}
