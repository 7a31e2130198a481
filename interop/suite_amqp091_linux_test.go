//go:build linux

package interop

import (
	"context"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

var clientSuite = flag.Bool("amqp091.suite", false, "run the integration tests of amqp091-go: some minutes, in a network namespace, which only root may make")

// suiteLimit is far beyond what the tests of amqp091-go take.
const suiteLimit = 9 * time.Minute

// The integration tests that amqp091-go has for RabbitMQ pass, every one, and none is
// skipped. They know their broker by RabbitMQ's ports, by a path of its management API,
// and by its rabbitmqctl, which is the broker's own binary under another name.
func TestAMQP091Suite(t *testing.T) {
	if !*clientSuite {
		t.Skip("takes minutes: run it as root with -amqp091.suite")
	}
	needOwn(t)
	notUnderRace(t)
	bin, err := suite.binary()
	must(t, err)
	tests := buildClientSuite(t)
	ownNetwork(t)

	dir, err := os.MkdirTemp("", "suite") //nolint:usetesting // a socket's path may not be long, and the test's name would be in it
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	control, socket := filepath.Join(dir, "rabbitmqctl"), filepath.Join(dir, "admin.sock")
	must(t, os.Symlink(bin, control))
	log := newLogFile(t, "broker.log")
	b := &Broker{
		Config: Config{Binary: bin, Dir: filepath.Join(dir, "data"), Log: log, Args: []string{"--admin-socket", socket}},
		AMQP:   "127.0.0.1:5672", Admin: "127.0.0.1:15672", MQTT: "127.0.0.1:1883", WS: "127.0.0.1:15675",
	}
	start(t, b, log)
	t.Cleanup(func() { must(t, b.Close()) })

	ctx, cancel := context.WithTimeout(t.Context(), suiteLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, tests, "-test.v", "-test.count=1")
	cmd.Dir = filepath.Dir(tests)
	cmd.Env = append(foreignEnv(), "AMQP_URL="+b.URL(), "RABBITMQ_RABBITMQCTL_PATH="+control, "BATON_ADMIN_SOCKET="+socket)
	out := newLogFile(t, "suite.log")
	cmd.Stdout, cmd.Stderr = out, out
	err = cmd.Run()
	passed, failed, skipped := outcomes(out.text())
	t.Logf("%d tests and examples passed, %d failed, %d were skipped", len(passed), len(failed), len(skipped))
	if err != nil || len(failed)+len(skipped) > 0 {
		t.Errorf("the suite ended with %v\nfailed: %q\nskipped: %q\n%s", err, failed, skipped, lastLines(out.text(), 200))
	}
	if len(passed) < 100 {
		t.Errorf("%d tests passed; there are more, so that the suite was built without its integration tests", len(passed))
	}
}

// buildClientSuite compiles the tests that are in the module of amqp091-go. Its own
// folder is read-only, and its tests need modules that only its own go.mod knows.
func buildClientSuite(t *testing.T) string {
	t.Helper()
	module, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/rabbitmq/amqp091-go").Output()
	must(t, err)
	dir := filepath.Join(t.TempDir(), "amqp091-go")
	must(t, os.CopyFS(dir, os.DirFS(strings.TrimSpace(string(module)))))
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-tags", "integration", "-o", "suite.test", ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOWORK=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the tests of amqp091-go: %v\n%s", err, out)
	}
	return filepath.Join(dir, "suite.test")
}

// ownNetwork gives the rest of the test, and the processes that it starts, a network of
// their own with a loopback device alone, so that fixed ports are free. The thread that
// is in it ends with the test.
func ownNetwork(t *testing.T) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("cannot make a network namespace: %v", err)
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	lo, err := unix.NewIfreq("lo")
	must(t, err)
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	must(t, unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo))
}

var outcome091 = regexp.MustCompile(`(?m)^--- (PASS|FAIL|SKIP): (\S+)`)

// outcomes are the names of tests, by what became of them.
func outcomes(log string) (passed, failed, skipped []string) {
	for _, m := range outcome091.FindAllStringSubmatch(log, -1) {
		switch m[1] {
		case "PASS":
			passed = append(passed, m[2])
		case "FAIL":
			failed = append(failed, m[2])
		default:
			skipped = append(skipped, m[2])
		}
	}
	return passed, failed, skipped
}
