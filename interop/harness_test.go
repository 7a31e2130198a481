package interop

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	paho3 "github.com/eclipse/paho.mqtt.golang"
	amqp "github.com/rabbitmq/amqp091-go"
)

// patience bounds every wait for something that a correct broker does at once.
const patience = 10 * time.Second

// handshakeTimeout is what brokers of these tests give a client to open its
// connection: short, because a test waits for it.
const handshakeTimeout = time.Second

// external is a broker that runs already, or "".
var external = os.Getenv("BATON_INTEROP_URL")

// suite is what one run of the tests has once: the binary, and one broker for all
// tests that do no harm to it.
var suite struct {
	dir    string
	binary func() (string, error)
	shared func() (*Broker, error)
	broker *Broker // set by shared
	log    *os.File

	mqtts, wss string      // host:port of the shared broker's listeners with TLS
	trust      *tls.Config // of its clients
}

func TestMain(m *testing.M) {
	if name := os.Getenv(envAttack); name != "" {
		if err := attackMain(name); err != nil {
			fmt.Fprintln(os.Stderr, "attack:", err)
			os.Exit(1)
		}
		return
	}
	code, err := runSuite(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "interop:", err)
		code = 1
	}
	os.Exit(code)
}

func runSuite(m *testing.M) (code int, err error) {
	if suite.dir, err = os.MkdirTemp("", "baton-interop-"); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(suite.dir)) }()
	suite.binary = sync.OnceValues(func() (string, error) {
		if bin := os.Getenv("BATON_INTEROP_BINARY"); bin != "" {
			return bin, nil
		}
		return Build(context.Background(), suite.dir)
	})
	suite.shared = sync.OnceValues(startShared)
	code = m.Run()
	if suite.broker != nil {
		err = errors.Join(suite.broker.Close(), suite.log.Close())
	}
	return code, err
}

func startShared() (*Broker, error) {
	bin, err := suite.binary()
	if err != nil {
		return nil, err
	}
	if suite.log, err = os.Create(filepath.Join(suite.dir, "shared.log")); err != nil {
		return nil, err
	}
	withTLS, err := sharedTLS(bin)
	if err != nil {
		return nil, err
	}
	b, err := NewBroker(Config{
		Binary: bin, Dir: filepath.Join(suite.dir, "shared"), Log: suite.log,
		Env: append(withTLS, "BATON_AMQP_HANDSHAKE_TIMEOUT="+handshakeTimeout.String()),
	})
	if err != nil {
		return nil, err
	}
	suite.broker = b
	if err := b.Start(context.Background()); err != nil {
		text, _ := os.ReadFile(suite.log.Name())
		return nil, fmt.Errorf("%w\nits log:\n%s", err, text)
	}
	return b, nil
}

// sharedTLS makes certificates and chooses ports, and returns the settings that use them.
func sharedTLS(bin string) (env []string, err error) {
	dir := filepath.Join(suite.dir, "tls")
	if out, err := exec.CommandContext(context.Background(), bin, "tls", "self-signed", "--out", dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("make certificates: %w\n%s", err, out)
	}
	ca, err := os.ReadFile(filepath.Join(dir, "ca.crt"))
	if err != nil {
		return nil, err
	}
	suite.trust = &tls.Config{RootCAs: x509.NewCertPool(), MinVersion: tls.VersionTLS12}
	if !suite.trust.RootCAs.AppendCertsFromPEM(ca) {
		return nil, errors.New("the authority's certificate is none")
	}
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	suite.mqtts, suite.wss = ports[0], ports[1]
	return []string{
		"BATON_TLS_CERT_FILE=" + filepath.Join(dir, "server.crt"), "BATON_TLS_KEY_FILE=" + filepath.Join(dir, "server.key"),
		"BATON_MQTT_TLS_LISTEN=" + suite.mqtts, "BATON_MQTT_WEBSOCKET_TLS=" + suite.wss,
	}, nil
}

// sharedURL is a broker that the test must leave as it was.
func sharedURL(t *testing.T) string {
	t.Helper()
	if external != "" {
		return external
	}
	b, err := suite.shared()
	if err != nil {
		t.Fatal(err)
	}
	return b.URL()
}

// sharedAddr is its host:port.
func sharedAddr(t *testing.T) string {
	t.Helper()
	uri, err := amqp.ParseURI(sharedURL(t))
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort(uri.Host, fmt.Sprint(uri.Port))
}

// needOwn skips a test that must own the broker's process when another is given.
func needOwn(tb testing.TB) {
	tb.Helper()
	if external != "" {
		tb.Skip("needs a process of its own, and BATON_INTEROP_URL names a broker that runs already")
	}
}

// ownBroker returns a broker of the test's own, not started, and its log.
func ownBroker(tb testing.TB) (*Broker, *logFile) {
	tb.Helper()
	needOwn(tb)
	bin, err := suite.binary()
	if err != nil {
		tb.Fatal(err)
	}
	log := newLogFile(tb, "broker.log")
	b, err := NewBroker(Config{Binary: bin, Dir: filepath.Join(tb.TempDir(), "data"), Log: log})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b, log
}

func start(tb testing.TB, b *Broker, log *logFile) {
	tb.Helper()
	if err := b.Start(tb.Context()); err != nil {
		tb.Fatalf("%v\nits log:\n%s", err, log.text())
	}
}

// logFile is a process' output among the test's artifacts.
type logFile struct {
	mu   sync.Mutex
	file io.WriteCloser
	all  strings.Builder
}

func newLogFile(tb testing.TB, name string) *logFile {
	tb.Helper()
	f, err := os.Create(filepath.Join(tb.ArtifactDir(), name))
	if err != nil {
		tb.Fatal(err)
	}
	l := &logFile{file: f}
	tb.Cleanup(func() {
		if err := f.Close(); err != nil {
			tb.Error(err)
		}
	})
	return l
}

func (l *logFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Write(p)
	return l.file.Write(p)
}

func (l *logFile) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

// dial opens a connection that ends with the test.
func dial(tb testing.TB, url string) *amqp.Connection {
	tb.Helper()
	conn, err := amqp.DialConfig(url, amqp.Config{Dial: amqp.DefaultDial(patience)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if !conn.IsClosed() {
			_ = conn.CloseDeadline(time.Now().Add(patience)) // the broker may be gone by intent
		}
	})
	return conn
}

// channel opens a channel on a connection of its own.
func channel(tb testing.TB, url string) *amqp.Channel {
	tb.Helper()
	return openChannel(tb, dial(tb, url))
}

func openChannel(tb testing.TB, conn *amqp.Connection) *amqp.Channel {
	tb.Helper()
	ch, err := conn.Channel()
	if err != nil {
		tb.Fatal(err)
	}
	return ch
}

// unique returns a name that no other test, and no other run, uses.
func unique(tb testing.TB) string {
	tb.Helper()
	return "interop." + strings.ReplaceAll(tb.Name(), "/", ".") + "." + rand.Text()
}

// within receives from c, or fails after patience.
func within[T any](tb testing.TB, what string, c <-chan T) T {
	tb.Helper()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	select {
	case v, ok := <-c:
		if !ok {
			tb.Fatalf("%s: the channel was closed", what)
		}
		return v
	case <-limit.C:
		tb.Fatalf("%s: not within %s", what, patience)
	}
	panic("unreachable")
}

// eventually asks a process that sends no event again and again, until it has
// become so or patience ends; the caller judges what it finds then.
func eventually(tb testing.TB, so func() bool) {
	tb.Helper()
	limit, tick := time.NewTimer(patience), time.NewTicker(20*time.Millisecond)
	defer limit.Stop()
	defer tick.Stop()
	for !so() {
		select {
		case <-tick.C:
		case <-limit.C:
			return
		}
	}
}

// metric asks a broker for one of its values.
func metric(t *testing.T, b *Broker, name string) float64 {
	t.Helper()
	_, text := ask(t, b, "/metrics")
	m := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(text)
	if m == nil {
		t.Fatalf("no metric %s", name)
	}
	v, err := strconv.ParseFloat(m[1], 64)
	must(t, err)
	return v
}

// ask asks the broker's admin port.
func ask(t *testing.T, b *Broker, path string) (code int, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+b.Admin+path, http.NoBody)
	must(t, err)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	text, err := io.ReadAll(resp.Body)
	must(t, errors.Join(err, resp.Body.Close()))
	return resp.StatusCode, string(text)
}

func waitToken(t *testing.T, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(patience) || token.Error() != nil {
		t.Fatalf("MQTT: %v", token.Error())
	}
}
