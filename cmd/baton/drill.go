package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/batonmq/baton/ha"
	admin "github.com/batonmq/baton/protocols/http"
)

// drillWait bounds every wait of a drill: far beyond what a takeover takes.
const drillWait = 2 * time.Minute

// drillPoll is how often a drill looks whether a broker is where it should be.
const drillPoll = 20 * time.Millisecond

func (p *program) haDrillCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "drill --kill|--handover",
		Short: "Measure takeovers, with a pair of brokers of its own",
		Long: "Start two brokers on a scratch directory, or on the directory given with --data, and have one take over from the other again and\n" +
			"again, while a client publishes with confirms and tries both addresses every 20 ms. The gap is what that client sees: from the\n" +
			"last confirm before to the first confirm after. Every message that was confirmed is looked for afterwards.\n\n" +
			"Both brokers run on this host and listen on free ports of the loopback. With --kill the primary is killed (SIGKILL), with --handover\n" +
			"it is asked to hand over. No other broker may use the directory.",
		Args: cobra.NoArgs,
	}
	d := drill{env: p.env}
	cmd.Flags().BoolVar(&d.kill, "kill", false, "kill the primary")
	handover := cmd.Flags().Bool("handover", false, "have the primary hand over")
	cmd.Flags().IntVar(&d.runs, "runs", 10, "how many takeovers")
	cmd.Flags().StringVar(&d.dir, "data", "", "the `directory` to use (default a new one, removed afterwards)")
	cmd.Flags().DurationVar(&d.ttl, "ha-ttl", 3*time.Second, "the brokers' ha.ttl")
	cmd.Flags().BoolVar(&d.verbose, "verbose", false, "show what the brokers log")
	asJSON := cmd.Flags().Bool("json", false, "print one JSON object")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if d.kill == *handover || d.runs < 1 {
			return &exitError{exitUsage, errors.New("say either --kill or --handover, and at least one run")}
		}
		d.stderr = cmd.ErrOrStderr()
		result, err := d.do(cmd.Context())
		if err != nil {
			return fmt.Errorf("drill: %w", err)
		}
		out := result.text()
		if *asJSON {
			if out, err = jsonText(result); err != nil {
				return err
			}
		}
		if err := printOut(cmd, out); err != nil {
			return err
		}
		if result.Lost > 0 {
			return fmt.Errorf("%d of %d confirmed messages are lost", result.Lost, result.Promised)
		}
		return nil
	}
	return cmd
}

// drill is a series of takeovers.
type drill struct {
	kill    bool
	runs    int
	dir     string
	ttl     time.Duration
	verbose bool
	env     []string
	stderr  io.Writer

	pair  [2]*drillBroker
	probe *probe
}

// drillResult is what came of it. Durations are in nanoseconds.
type drillResult struct {
	Fault    string                     `json:"fault"`
	Dir      string                     `json:"dir"`
	TTL      time.Duration              `json:"ttl_ns"`
	Gaps     []time.Duration            `json:"gaps_ns"`
	Phases   map[string][]time.Duration `json:"phases_ns"`
	Promised int                        `json:"promised"`
	Lost     int                        `json:"lost"`
}

func (d *drill) do(ctx context.Context) (*drillResult, error) {
	if d.dir == "" {
		dir, err := os.MkdirTemp("", "baton-drill-*")
		if err != nil {
			return nil, err
		}
		d.dir = dir
		defer func() { _ = os.RemoveAll(dir) }() // what stays is in the system's temporary directory
	}
	defer d.stop()
	if err := d.start(ctx); err != nil {
		return nil, err
	}
	r := &drillResult{Fault: "handover", Dir: d.dir, TTL: d.ttl, Phases: make(map[string][]time.Duration)}
	if d.kill {
		r.Fault = "kill"
	}
	for i := range d.runs {
		gap, phases, err := d.takeover(ctx)
		if err != nil {
			return nil, fmt.Errorf("takeover %d: %w", i+1, err)
		}
		r.Gaps = append(r.Gaps, gap)
		for name, took := range phases {
			r.Phases[name] = append(r.Phases[name], took)
		}
	}
	var err error
	r.Promised, r.Lost, err = d.probe.end(ctx)
	return r, err
}

// start brings up a primary, a standby and a client.
func (d *drill) start(ctx context.Context) error {
	addrs, err := freeAddresses(ctx, 4)
	if err != nil {
		return err
	}
	for i := range d.pair {
		d.pair[i] = &drillBroker{drill: d, name: fmt.Sprintf("drill-%c", 'a'+i), amqp: addrs[i], admin: addrs[2+i]}
		if err := d.pair[i].start(ctx); err != nil {
			return err
		}
		if err := d.pair[i].await(ctx, func(s *admin.State) bool { return s.Ready() || i == 1 && fit(s) }); err != nil {
			return err
		}
	}
	d.probe, err = newProbe(ctx, d.pair[0].amqp, d.pair[1].amqp)
	return err
}

// fit reports a standby that has caught up.
func fit(s *admin.State) bool { return s.Standby != nil && s.Standby.Eligible && s.Standby.CaughtUp }

func (d *drill) stop() {
	if d.probe != nil {
		d.probe.stop()
	}
	for _, b := range d.pair {
		if b != nil {
			b.kill()
		}
	}
}

// takeover has the standby become the primary, and the primary a standby.
func (d *drill) takeover(ctx context.Context) (time.Duration, map[string]time.Duration, error) {
	primary, standby := d.pair[0], d.pair[1]
	if err := standby.await(ctx, fit); err != nil {
		return 0, nil, err
	}
	standby.forget()
	at, err := d.probe.mark(ctx)
	if err != nil {
		return 0, nil, err
	}
	if d.kill {
		primary.kill()
	} else {
		hctx, cancel := context.WithTimeout(ctx, drillWait)
		_, _, err := ha.Handover(hctx, ha.Options{Dir: d.dir, Node: "drill"})
		cancel()
		if err != nil {
			return 0, nil, err
		}
	}
	if err := standby.await(ctx, func(s *admin.State) bool { return s.Ready() }); err != nil {
		return 0, nil, err
	}
	gap, err := d.probe.gap(ctx, at)
	if err != nil {
		return 0, nil, err
	}
	d.pair[0], d.pair[1] = standby, primary
	if d.kill {
		err = primary.start(ctx)
	}
	return gap, standby.phases(), err
}

// freeAddresses returns addresses of the loopback that were free a moment ago.
func freeAddresses(ctx context.Context, n int) ([]string, error) {
	addrs := make([]string, n)
	for i := range addrs {
		l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = l.Close() }() // held until all are chosen
		addrs[i] = l.Addr().String()
	}
	return addrs, nil
}

// drillBroker is one broker of the pair, in a process of its own.
type drillBroker struct {
	drill             *drill
	name, amqp, admin string

	cmd   *exec.Cmd
	ended chan struct{} // closed when the process has, and its log is read

	mu   sync.Mutex
	took map[string]time.Duration // of its last takeover
	last string                   // line that it logged
}

func (b *drillBroker) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b.cmd = exec.CommandContext(ctx, self, "serve", "--ha", "--ha-ttl", b.drill.ttl.String(), "--node", b.name, "--data", b.drill.dir,
		"--amqp", b.amqp, "--admin", b.admin, "--mqtt", off, "--ws", off, "--metrics", off, "--log-format", "json")
	b.cmd.Env = slices.DeleteFunc(slices.Clone(b.drill.env), func(pair string) bool {
		return strings.HasPrefix(pair, envPrefix) && !strings.HasPrefix(pair, envNoSelfKill)
	})
	logs, err := b.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := b.cmd.Start(); err != nil {
		return err
	}
	b.ended = make(chan struct{})
	go func() {
		defer close(b.ended)
		b.read(logs)
		_ = b.cmd.Wait() // it is killed, or says why it ends
	}()
	return nil
}

// read takes the broker's log.
func (b *drillBroker) read(logs io.Reader) {
	lines := bufio.NewScanner(logs)
	for lines.Scan() {
		if b.drill.verbose {
			_, _ = fmt.Fprintf(b.drill.stderr, "%s: %s\n", b.name, lines.Text()) // nowhere to say that this failed
		}
		b.mu.Lock()
		b.last = lines.Text()
		b.mu.Unlock()
		var line struct {
			Msg                                                    string
			Stop, Claim, Mark, Seal, Open, Activate, Listen, Total time.Duration
		}
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Msg != "took over" {
			continue
		}
		b.mu.Lock()
		b.took = map[string]time.Duration{
			"stop": line.Stop, "claim": line.Claim, "mark": line.Mark, "seal": line.Seal, "open": line.Open,
			"activate": line.Activate, "listen": line.Listen, "total": line.Total,
		}
		b.mu.Unlock()
	}
}

func (b *drillBroker) forget() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.took = nil
}

func (b *drillBroker) phases() map[string]time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.took
}

func (b *drillBroker) kill() {
	if b.ended != nil {
		_ = b.cmd.Process.Kill() // unless it has ended
		<-b.ended
	}
}

// await waits until the broker's health is as wanted.
func (b *drillBroker) await(ctx context.Context, wanted func(*admin.State) bool) error {
	ctx, cancel := context.WithTimeout(ctx, drillWait)
	defer cancel()
	said := ""
	for {
		var state admin.State
		if body, err := readyState(ctx, b.admin); err == nil {
			if json.Unmarshal(body, &state) == nil && wanted(&state) {
				return nil
			}
			said = strings.TrimSpace(string(body))
		}
		select {
		case <-b.ended:
			b.mu.Lock()
			defer b.mu.Unlock()
			return fmt.Errorf("broker %s ended: %s", b.name, b.last)
		case <-ctx.Done():
			return fmt.Errorf("broker %s is not where it should be: it says %s: %w", b.name, said, context.Cause(ctx))
		case <-time.After(drillPoll):
		}
	}
}

// drillPhases are the parts of a takeover in their order.
func drillPhases() []string {
	return []string{"stop", "claim", "mark", "seal", "open", "activate", "listen", "total"}
}

func (r *drillResult) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %d takeovers, ttl %v, both brokers on this host, %s\n\n", r.Fault, len(r.Gaps), r.TTL, r.Dir)
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	_, _ = fmt.Fprint(w, "\tp50\tp99\tmax\t\n") // a strings.Builder takes everything
	row := func(name string, all []time.Duration) {
		if len(all) == 0 {
			return
		}
		all = slices.Sorted(slices.Values(all))
		_, _ = fmt.Fprintf(w, "%s\t%v\t%v\t%v\t\n", name, round(all[len(all)/2]), round(all[(len(all)*99+99)/100-1]), round(all[len(all)-1]))
	}
	row("gap that a client sees", r.Gaps)
	for _, name := range drillPhases() {
		row("takeover, "+name, r.Phases[name])
	}
	_ = w.Flush()
	fmt.Fprintf(&b, "\n%d messages were confirmed, %d of them are lost\n", r.Promised, r.Lost)
	return b.String()
}
