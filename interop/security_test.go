package interop

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	paho5 "github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/golang-jwt/jwt/v5"
	amqp "github.com/rabbitmq/amqp091-go"
)

// secret is the password of every user that a test makes.
const secret = "correct horse"

// addUser makes one over the node's admin socket, with a permission unless it is empty.
func addUser(t *testing.T, b *Broker, name string, permission ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(file, []byte(secret+"\n"), 0o600))
	admin := "--admin-socket=" + socketOf(b)
	baton(t, b, "user", "add", name, "--password-file", file, admin)
	if len(permission) > 0 {
		baton(t, b, slices.Concat([]string{"permission", "set", name}, permission, []string{admin})...)
	}
}

// withSocket gives a broker that is not running yet an admin socket at a place of its own.
func withSocket(t *testing.T, b *Broker) {
	t.Helper()
	dir := shortDir(t) // a socket's path may not be long
	b.Args = append(b.Args, "--admin-socket", filepath.Join(dir, "s"))
}

// shortDir is a directory for one test without the test's name in its path.
func shortDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(suite.dir, rand.Text())
	must(t, os.Mkdir(dir, 0o700))
	return dir
}

func socketOf(b *Broker) string { return b.Args[slices.Index(b.Args, "--admin-socket")+1] }

func urlOf(b *Broker, user, password string) string {
	return (&amqp.URI{Scheme: "amqp", Host: hostOf(b.AMQP), Port: portOf(b.AMQP), Username: user, Password: password, Vhost: "/"}).String()
}

func hostOf(addr string) string { host, _, _ := strings.Cut(addr, ":"); return host }

func portOf(addr string) (port int) {
	_, _ = fmt.Sscan(addr[strings.LastIndexByte(addr, ':')+1:], &port) // freePorts makes them
	return port
}

// wantRefused expects AMQP's error for what one may not do.
func wantRefused(t *testing.T, what string, err error) {
	t.Helper()
	var e *amqp.Error
	if !errors.As(err, &e) || e.Code != amqp.AccessRefused {
		t.Errorf("%s: %v, want %d", what, err, amqp.AccessRefused)
	}
}

// trust is what a client of a broker with certificates of its own has.
func trust(t *testing.T, dir, certificate string) *tls.Config {
	t.Helper()
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	must(t, err)
	cfg := &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !cfg.RootCAs.AppendCertsFromPEM(ca) {
		t.Fatal("the authority's certificate is none")
	}
	if certificate != "" {
		pair, err := tls.LoadX509KeyPair(filepath.Join(certificate, "client.crt"), filepath.Join(certificate, "client.key"))
		must(t, err)
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

// TestClientCertificates: clients of both protocols log in by certificate alone; one
// that shows none needs a password; one from another authority does not get in at all.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	dir, foreign := filepath.Join(t.TempDir(), "pki"), filepath.Join(t.TempDir(), "foreign")
	baton(t, b, "tls", "self-signed", "--out", dir)
	baton(t, b, "tls", "self-signed", "--out", foreign)
	ports, err := freePorts(2)
	must(t, err)
	b.Env = []string{
		"BATON_TLS_CERT_FILE=" + filepath.Join(dir, "server.crt"), "BATON_TLS_KEY_FILE=" + filepath.Join(dir, "server.key"),
		"BATON_TLS_CA_FILE=" + filepath.Join(dir, "ca.crt"), "BATON_TLS_CLIENT_AUTH=request",
		"BATON_AMQP_TLS_LISTEN=" + ports[0], "BATON_MQTT_TLS_LISTEN=" + ports[1], "BATON_AUTH_BACKENDS=certificate,internal",
	}
	start(t, b, log)
	amqps := "amqps://" + ports[0] + "/"
	external := []amqp.Authentication{&amqp.ExternalAuth{}}

	conn, err := amqp.DialConfig(amqps, amqp.Config{TLSClientConfig: trust(t, dir, dir), SASL: external})
	if err != nil {
		t.Fatalf("AMQP by certificate: %v\n%s", err, lastLines(log.text(), 10))
	}
	ch := openChannel(t, conn)
	q := queueOf(t, ch)
	must(t, ch.Publish("", q, false, false, amqp.Publishing{Body: []byte("by certificate")}))
	if d := within(t, "the message", consume(t, ch, q, true)); string(d.Body) != "by certificate" {
		t.Errorf("got %q", d.Body)
	}
	must(t, conn.Close())

	conn, err = amqp.DialConfig(amqps, amqp.Config{TLSClientConfig: trust(t, dir, ""), SASL: []amqp.Authentication{&amqp.PlainAuth{Username: "guest", Password: "guest"}}})
	must(t, err)
	must(t, conn.Close())
	if conn, err := amqp.DialConfig(amqps, amqp.Config{TLSClientConfig: trust(t, dir, ""), SASL: external}); err == nil {
		t.Error("EXTERNAL without a certificate is let in")
		_ = conn.Close() // it should not be
	}
	if conn, err := amqp.DialConfig(amqps, amqp.Config{TLSClientConfig: trust(t, dir, foreign), SASL: external}); err == nil {
		t.Error("a certificate of another authority is let in")
		_ = conn.Close() // it should not be
	}

	connect := func(cfg *tls.Config) error {
		opt := paho3.NewClientOptions().AddBroker("ssl://" + ports[1]).SetTLSConfig(cfg).SetClientID("certified").
			SetConnectRetry(false).SetAutoReconnect(false).SetConnectTimeout(patience)
		c := paho3.NewClient(opt)
		token := c.Connect()
		if !token.WaitTimeout(patience) {
			return errors.New("no answer")
		}
		if token.Error() != nil {
			return token.Error()
		}
		defer c.Disconnect(0)
		token = c.Publish("certified", 1, false, "x")
		if !token.WaitTimeout(patience) {
			return errors.New("no PUBACK")
		}
		return token.Error()
	}
	if err := connect(trust(t, dir, dir)); err != nil {
		t.Errorf("MQTT by certificate: %v", err)
	}
	for what, cfg := range map[string]*tls.Config{"without a certificate": trust(t, dir, ""), "with a foreign certificate": trust(t, dir, foreign)} {
		if connect(cfg) == nil {
			t.Errorf("MQTT %s and without a name is let in", what)
		}
	}
}

// TestPermissionsOfClients: who may not is told so in the protocol's words, and
// nothing has happened.
func TestPermissionsOfClients(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	withSocket(t, b)
	start(t, b, log)
	ch := channel(t, b.URL())
	_, err := ch.QueueDeclare("theirs", true, false, false, false, nil)
	must(t, err)
	addUser(t, b, "reader", "^mine", "^mine", "^(mine|amq\\.topic)")
	addUser(t, b, "outsider")

	if _, err := amqp.Dial(urlOf(b, "reader", "wrong")); err == nil {
		t.Error("a wrong password is let in")
	} else {
		wantRefused(t, "a wrong password", err)
	}
	if _, err := amqp.Dial(urlOf(b, "outsider", secret)); err == nil {
		t.Error("a vhost is open to who has no permission there")
	}
	conn := dial(t, urlOf(b, "reader", secret))
	for what, try := range map[string]func(ch *amqp.Channel) error{
		"declare": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("other", false, false, false, false, nil)
			return err
		},
		"consume": func(ch *amqp.Channel) error {
			_, err := ch.Consume("theirs", "", true, false, false, false, nil)
			return err
		},
		"purge": func(ch *amqp.Channel) error {
			_, err := ch.QueuePurge("theirs", false)
			return err
		},
		"publish": func(ch *amqp.Channel) error {
			closed := ch.NotifyClose(make(chan *amqp.Error, 1))
			if err := ch.Publish("amq.topic", "a", false, false, amqp.Publishing{}); err != nil {
				return err
			}
			return within(t, "the channel's end", closed)
		},
	} {
		wantRefused(t, what, try(openChannel(t, conn)))
	}
	own := openChannel(t, conn)
	_, err = own.QueueDeclare("mine", false, false, true, false, nil)
	must(t, err)

	// MQTT 5: a subscription or a publish that is answered is refused alone; the connection ends with one that cannot be answered.
	p := mqtt5(t, b, "reader", secret)
	ack, err := p.client.Subscribe(t.Context(), &paho5.Subscribe{Subscriptions: []paho5.SubscribeOptions{{Topic: "a", QoS: 1}}})
	if ack == nil || len(ack.Reasons) != 1 || ack.Reasons[0] != 0x87 {
		t.Errorf("subscribe: %+v, %v, want 0x87", ack, err)
	}
	if resp, err := p.client.Publish(t.Context(), &paho5.Publish{Topic: "a", QoS: 1}); resp == nil || resp.ReasonCode != 0x87 {
		t.Errorf("publish: %+v, %v, want 0x87", resp, err)
	}
	_, err = p.client.Publish(t.Context(), &paho5.Publish{Topic: "a", QoS: 0})
	must(t, err)
	if code := within(t, "the goodbye", p.goodbye); code != 0x87 {
		t.Errorf("publish: the connection ends with %#x, want 0x87", code)
	}
}

// pahoClient is a client of paho.golang, and the reason of its DISCONNECT.
type pahoClient struct {
	client  *paho5.Client
	goodbye chan byte
}

func mqtt5(t *testing.T, b *Broker, user, password string) pahoClient {
	t.Helper()
	nc, err := dialMQTT(t.Context(), b.MQTTURL())
	must(t, err)
	p := pahoClient{goodbye: make(chan byte, 1)}
	p.client = paho5.NewClient(paho5.ClientConfig{Conn: nc, OnServerDisconnect: func(d *paho5.Disconnect) { p.goodbye <- d.ReasonCode }})
	ack, err := p.client.Connect(t.Context(), &paho5.Connect{
		ClientID: unique(t), CleanStart: true, KeepAlive: 30, Username: user, UsernameFlag: true, Password: []byte(password), PasswordFlag: true,
	})
	if err != nil {
		t.Fatalf("%v: %+v", err, ack)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return p
}

// TestDeletedUser: who is deleted is disconnected, by both protocols, and does not come back.
func TestDeletedUser(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	withSocket(t, b)
	start(t, b, log)
	addUser(t, b, "leaver", ".*", ".*", ".*")
	stay := dial(t, b.URL())
	ended := dial(t, urlOf(b, "leaver", secret)).NotifyClose(make(chan *amqp.Error, 1))
	p := mqtt5(t, b, "leaver", secret)

	baton(t, b, "user", "delete", "leaver", "--admin-socket="+socketOf(b))
	if err := within(t, "the AMQP connection's end", ended); err == nil || err.Code != amqp.ConnectionForced || !strings.Contains(err.Reason, "deleted") {
		t.Errorf("AMQP: %v, want 320 that says why", err)
	}
	within(t, "the MQTT connection's end", p.goodbye)
	if conn, err := amqp.Dial(urlOf(b, "leaver", secret)); err == nil {
		t.Error("it comes back")
		_ = conn.Close() // it should not be
	}
	openChannel(t, stay)
}

// TestTokens: a JSON Web Token is a password; its scopes are the permissions, and its end is the connection's.
func TestTokens(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	key := []byte(strings.Repeat("k", 32))
	file := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(file, key, 0o600))
	b.Env = []string{"BATON_AUTH_BACKENDS=jwt,internal", "BATON_AUTH_JWT_SECRET_FILE=" + file, "BATON_AUTH_JWT_RESOURCE_SERVER_ID=baton", "BATON_AUTH_JWT_LEEWAY=0s"}
	start(t, b, log)
	token := func(key []byte, audience string, lasts time.Duration) string {
		s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": "service", "aud": audience, "exp": time.Now().Add(lasts).Unix(),
			"scope": "baton.configure:*/jwt* baton.write:*/jwt* baton.write:*/amq.default baton.read:*/jwt*",
		}).SignedString(key)
		must(t, err)
		return s
	}
	for what, bad := range map[string]string{
		"expired": token(key, "baton", -time.Minute), "another key's": token([]byte(strings.Repeat("x", 32)), "baton", time.Minute),
		"for another broker": token(key, "other", time.Minute),
	} {
		if _, err := amqp.Dial(urlOf(b, "", bad)); err == nil {
			t.Errorf("a token that is %s is let in", what)
		} else {
			wantRefused(t, what, err)
		}
	}
	conn := dial(t, urlOf(b, "", token(key, "baton", 4*time.Second)))
	ended := conn.NotifyClose(make(chan *amqp.Error, 1))
	_, err := openChannel(t, conn).QueueDeclare("jwt-queue", false, true, false, false, nil)
	must(t, err)
	_, err = openChannel(t, conn).QueueDeclare("other", false, true, false, false, nil)
	wantRefused(t, "a queue outside the scopes", err)
	mqtt5(t, b, "service", token(key, "baton", time.Minute))
	if err := within(t, "the end of a connection whose token has expired", ended); err == nil {
		t.Error("it ends without a word")
	}
}

// TestHTTPBackend: another service decides, with RabbitMQ's questions; a name that it
// does not know is not let in, and one that it does may do what it says.
func TestHTTPBackend(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	var (
		mu    sync.Mutex
		asked []string
	)
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		asked = append(asked, r.URL.Path)
		mu.Unlock()
		allowed := r.FormValue("username") == "alice"
		switch r.URL.Path {
		case "/user":
			allowed = allowed && r.FormValue("password") == secret
		case "/resource":
			allowed = allowed && strings.HasPrefix(r.FormValue("name"), "hers")
		}
		answer := "deny"
		if allowed {
			answer = "allow"
		}
		_, _ = w.Write([]byte(answer)) // the broker notices
	}))
	t.Cleanup(service.Close)
	b.Env = []string{"BATON_AUTH_BACKENDS=http"}
	for _, what := range []string{"user", "vhost", "resource", "topic"} {
		b.Env = append(b.Env, fmt.Sprintf("BATON_AUTH_HTTP_%s_URL=%s/%s", strings.ToUpper(what), service.URL, what))
	}
	start(t, b, log)
	for _, who := range [][2]string{{"alice", "wrong"}, {"bob", secret}, {"guest", "guest"}} {
		if _, err := amqp.Dial(urlOf(b, who[0], who[1])); err == nil {
			t.Errorf("%s is let in", who[0])
		} else {
			wantRefused(t, who[0], err)
		}
	}
	conn := dial(t, urlOf(b, "alice", secret))
	_, err := openChannel(t, conn).QueueDeclare("hers", false, true, false, false, nil)
	must(t, err)
	_, err = openChannel(t, conn).QueueDeclare("his", false, true, false, false, nil)
	wantRefused(t, "what the service denies", err)
	mqtt5(t, b, "alice", secret)
	service.Close()
	if conn, err := amqp.Dial(urlOf(b, "carol", secret)); err == nil {
		t.Error("while the service is away a name that nobody knows is let in")
		_ = conn.Close() // it should not be
	}
	mu.Lock()
	defer mu.Unlock()
	for _, path := range []string{"/user", "/vhost", "/resource"} {
		if !slices.Contains(asked, path) {
			t.Errorf("%s was not asked: %q", path, asked)
		}
	}
}

// TestUsersSurvive: users and permissions that were answered for are there after kill -9.
func TestUsersSurvive(t *testing.T) {
	t.Parallel()
	b, log := ownBroker(t)
	withSocket(t, b)
	start(t, b, log)
	addUser(t, b, "survivor", "^mine", "^mine", "^mine")
	must(t, b.Kill())
	start(t, b, log)
	survivor(t, b)
}

// TestUsersFailOver: and so they are on the standby that takes over.
func TestUsersFailOver(t *testing.T) {
	c := newCluster(t, 2, time.Second)
	for _, n := range c.nodes {
		withSocket(t, n.Broker)
	}
	c.form()
	addUser(t, c.primary().Broker, "survivor", "^mine", "^mine", "^mine")
	_, epoch := kill(t, c)
	c.awaitEpoch(epoch)
	survivor(t, c.primary().Broker)
}

func survivor(t *testing.T, b *Broker) {
	t.Helper()
	conn := dial(t, urlOf(b, "survivor", secret))
	_, err := openChannel(t, conn).QueueDeclare("mine", false, true, false, false, nil)
	must(t, err)
	_, err = openChannel(t, conn).QueueDeclare("theirs", false, true, false, false, nil)
	wantRefused(t, "a queue that it has no permission for", err)
}
