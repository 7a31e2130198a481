package interop

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// readyLine is what the broker logs once clients can connect.
	readyLine = "Server startup complete"
	// startLimit and stopLimit are far beyond what a broker needs, so that only one
	// that hangs reaches them.
	startLimit = 20 * time.Second
	stopLimit  = 20 * time.Second
)

// Build compiles the broker into dir, with further flags of go build, and returns the
// binary's path.
func Build(ctx context.Context, dir string, flags ...string) (string, error) {
	bin := filepath.Join(dir, "baton")
	if runtime.GOOS == "windows" {
		bin += ".exe"
	}
	args := slices.Concat([]string{"build", "-o", bin}, flags, []string{"github.com/batonmq/baton/cmd/baton"})
	out, err := exec.CommandContext(ctx, "go", args...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the broker: %w\n%s", err, out)
	}
	return bin, nil
}

// Config is where a broker runs.
type Config struct {
	Binary string
	Dir    string    // the data directory
	Log    io.Writer // gets everything the process writes
	Env    []string  // BATON_… settings
	Args   []string  // further flags of serve
}

// Broker is one data directory with fixed ports, and the process that serves
// it at the moment. Start, Kill, Terminate and Close are called by one goroutine;
// Kill also by another, while none of the others runs.
type Broker struct {
	Config
	AMQP  string // host:port
	Admin string // host:port
	MQTT  string // host:port
	WS    string // host:port, for MQTT over WebSocket

	life *life // nil before the first start
}

// life is one process.
type life struct {
	cmd    *exec.Cmd
	ready  chan struct{} // closed at the ready line
	exited chan struct{} // closed when the process has ended, after which err is set
	err    error
}

// NewBroker chooses the ports; nothing runs yet.
func NewBroker(c Config) (*Broker, error) {
	ports, err := freePorts(4)
	if err != nil {
		return nil, err
	}
	return &Broker{Config: c, AMQP: ports[0], Admin: ports[1], MQTT: ports[2], WS: ports[3]}, nil
}

// freePorts finds ports below the range from which systems take the ports of
// outgoing connections: a broker that is killed and started again must find its
// port free, and a client's connection could have it by then.
func freePorts(n int) ([]string, error) {
	var found []string
	for range 1000 {
		ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000)))
		if err != nil {
			continue
		}
		defer ln.Close() // held until all are found, so that they differ
		if found = append(found, ln.Addr().String()); len(found) == n {
			return found, nil
		}
	}
	return nil, errors.New("no free loopback port below 32000")
}

// URL is the broker's address for clients.
func (b *Broker) URL() string { return "amqp://guest:guest@" + b.AMQP + "/" }

// MQTTURL is the broker's address for MQTT clients.
func (b *Broker) MQTTURL() string { return "mqtt://" + b.MQTT }

// WSURL is the broker's address for MQTT clients over WebSocket.
func (b *Broker) WSURL() string { return "ws://" + b.WS + "/ws" }

// listenFlags tell serve where to listen.
func (b *Broker) listenFlags() []string {
	return []string{"--amqp", b.AMQP, "--admin", b.Admin, "--mqtt", b.MQTT, "--ws", b.WS, "--metrics", "off", "--admin-socket", "off"}
}

// PID is the process id of the current life.
func (b *Broker) PID() int { return b.life.cmd.Process.Pid }

// Start begins a life and waits until clients can connect.
func (b *Broker) Start(ctx context.Context) error {
	l, err := b.launch(ctx)
	if err != nil {
		return err
	}
	b.life = l
	limit := time.NewTimer(startLimit)
	defer limit.Stop()
	select {
	case <-l.ready:
		return nil
	case <-l.exited:
		return fmt.Errorf("the broker ended instead of starting: %w", l.why())
	case <-limit.C:
		return errors.Join(fmt.Errorf("the broker did not log %q within %s", readyLine, startLimit), b.Kill())
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), b.Kill())
	}
}

// why is how a life ended that was not meant to end, also with exit code 0.
func (l *life) why() error {
	if l.err == nil {
		return errors.New("exit code 0")
	}
	return l.err
}

// launch starts a process on the broker's directory and ports without waiting until
// it is ready.
func (b *Broker) launch(ctx context.Context) (*life, error) {
	args := slices.Concat([]string{"serve", "--data", b.Dir}, b.listenFlags(), b.Args)
	// The process must outlive ctx until it is ended here: its end is the subject.
	cmd := exec.CommandContext(context.WithoutCancel(ctx), b.Binary, args...)
	cmd.Env = append(foreignEnv(), b.Env...)
	l := &life{cmd: cmd, ready: make(chan struct{}), exited: make(chan struct{})}
	log := &lineWatch{dst: b.Log, want: []byte(readyLine), seen: l.ready}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the broker: %w", err)
	}
	go func() { // ends with the process
		l.err = cmd.Wait()
		close(l.exited)
	}()
	return l, nil
}

// foreignEnv is the environment without Baton's own variables: they would be
// settings of the broker.
func foreignEnv() []string {
	var env []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "BATON_") {
			env = append(env, kv)
		}
	}
	return env
}

// Kill ends the process without letting it do anything more (SIGKILL), and waits.
func (b *Broker) Kill() error {
	if err := b.life.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill the broker: %w", err)
	}
	<-b.life.exited
	return nil
}

// Terminate asks the process to end (SIGTERM), waits and returns its exit code.
func (b *Broker) Terminate() (int, error) {
	if err := b.life.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		return -1, fmt.Errorf("terminate the broker: %w", err)
	}
	return b.life.wait(stopLimit)
}

// wait returns the exit code once the process has ended.
func (l *life) wait(limit time.Duration) (int, error) {
	t := time.NewTimer(limit)
	defer t.Stop()
	select {
	case <-l.exited:
		return l.cmd.ProcessState.ExitCode(), nil
	case <-t.C:
		return -1, fmt.Errorf("the broker did not end within %s", limit)
	}
}

// Close ends whatever still runs.
func (b *Broker) Close() error {
	if b.life == nil {
		return nil
	}
	return b.Kill()
}

// lineWatch passes a log on and closes seen when want has occurred in it.
type lineWatch struct {
	want []byte
	seen chan struct{}

	mu   sync.Mutex
	dst  io.Writer
	tail []byte // of what was written, long enough to hold a want cut in two
	done bool
}

func (w *lineWatch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.done {
		w.tail = append(w.tail, p...)
		if bytes.Contains(w.tail, w.want) {
			w.done, w.tail = true, nil
			close(w.seen)
		} else {
			w.tail = w.tail[max(0, len(w.tail)-len(w.want)):]
		}
	}
	return w.dst.Write(p)
}
