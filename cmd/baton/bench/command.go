package bench

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command returns `bench` with its subcommands. Reports go to the command's output,
// progress to its error output; cancelling the command's context ends a run early and
// still removes what it made.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a message costs a broker",
	}
	cmd.AddCommand(amqpCommand(), mqttCommand(), compareCommand(), idleCommand(), retainedCommand(), storeCommand())
	return cmd
}

const pidHelp = `
With --pid the broker's CPU time for each message and its memory are measured too (on Linux, on the same machine), those of its
descendants included.`

func amqpCommand() *cobra.Command {
	o, t := defaultOptions(), Target{Name: "broker"}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "amqp",
		Short: "Measure a broker over AMQP 0-9-1",
		Long:  "Measure a broker over AMQP 0-9-1.\n\nRows:\n" + describeRows(amqpRows(o)) + pidHelp,
		Example: `  baton bench amqp --url amqp://guest:guest@127.0.0.1:5672/ --pid 4711 --runs 3
  baton bench amqp --rows a1,a2-written --json`,
		Args: cobra.NoArgs,
	}
	runRows(cmd, &o, &t, &asJSON)
	f := cmd.Flags()
	f.StringVar(&t.AMQP, "url", "amqp://guest:guest@127.0.0.1:5672/", "the broker")
	f.StringVar(&o.Rows, "rows", rowsAMQP, "rows to run, separated by commas: names, or names up to a hyphen")
	oneBroker(f, &o, &t, &asJSON)
	amqpFlags(f, &o)
	return cmd
}

func mqttCommand() *cobra.Command {
	o, t := defaultOptions(), Target{Name: "broker"}
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "mqtt",
		Short: "Measure a broker over MQTT 3.1.1 or 5.0",
		Long: "Measure a broker over MQTT 3.1.1 or 5.0.\n\nRows:\n" + describeRows(append(mqttRows(o), crossRow(o))) +
			"\nx1 needs --amqp, and is not run unless it is named." + pidHelp,
		Example: "  baton bench mqtt --url mqtt://127.0.0.1:1883 --pid 4711 --v5",
		Args:    cobra.NoArgs,
	}
	runRows(cmd, &o, &t, &asJSON)
	f := cmd.Flags()
	f.StringVar(&t.MQTT, "url", "mqtt://127.0.0.1:1883", "the broker, as mqtt://[user:password@]host[:port]; also mqtts, ws or wss")
	f.StringVar(&t.AMQP, "amqp", "", "the broker's URL for AMQP, which x1 needs")
	f.StringVar(&o.Rows, "rows", rowsMQTT, "rows to run, separated by commas: names, or names up to a hyphen")
	oneBroker(f, &o, &t, &asJSON)
	mqttFlags(f, &o)
	return cmd
}

// runRows has a command run rows on one broker.
func runRows(cmd *cobra.Command, o *Options, t *Target, asJSON *bool) {
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		cmd.SilenceUsage = true
		rep, err := Run(cmd.Context(), *o, *t, newProgress(cmd.ErrOrStderr()))
		if err != nil {
			return err
		}
		return writeReport(cmd, &rep, *asJSON)
	}
}

// report is what every command writes in the end.
type report interface {
	WriteTable(w io.Writer) error
	WriteJSON(w io.Writer) error
}

func writeReport(cmd *cobra.Command, rep report, asJSON bool) error {
	if asJSON {
		return rep.WriteJSON(cmd.OutOrStdout())
	}
	return rep.WriteTable(cmd.OutOrStdout())
}

func compareCommand() *cobra.Command {
	o := defaultOptions()
	var (
		with      []string
		asJSON    bool
		benchmark string
	)
	cmd := &cobra.Command{
		Use:   "compare",
		Short: "Measure several brokers in turns, and compare them",
		Long: `Measure several brokers in turns, and compare them.

Each row runs on each broker once in every round, in the opposite order every other round. The report has medians, the least and the most, and
by how much a broker differs from the first: the median of the ratios of each round, in which both met the same machine.

A broker is left out of rows for a protocol whose URL it was not given, and of a row that it fails. The rows are those of 'bench amqp'
and 'bench mqtt'. With --benchstat DIR, runs are also written to DIR/NAME.txt, for 'benchstat DIR/A.txt DIR/B.txt'.`,
		Example: `  baton bench compare --rows a1,a2,m2 --rounds 5 \
    --with baton=amqp://guest:guest@127.0.0.1:5672/,mqtt://127.0.0.1:1883,4711 \
    --with other=amqp://guest:guest@127.0.0.1:5673/,mqtt://127.0.0.1:1884,4712`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var targets []Target
			for _, text := range with {
				t, err := parseTarget(text)
				if err != nil {
					return err
				}
				for _, other := range targets {
					if other.Name == t.Name {
						return fmt.Errorf("two brokers are called %s", t.Name)
					}
				}
				targets = append(targets, t)
			}
			if len(targets) == 0 {
				return errors.New("name the brokers with --with")
			}
			cmd.SilenceUsage = true
			c, err := Compare(cmd.Context(), o, targets, newProgress(cmd.ErrOrStderr()))
			if err != nil {
				return err
			}
			if benchmark != "" {
				err := c.writeBenchmarks(benchmark, func(path string, text []byte) error { return os.WriteFile(path, text, 0o600) })
				if err != nil {
					return err
				}
			}
			return writeReport(cmd, &c, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&with, "with", nil, "a broker, as `name=URL[,URL][,pid]`; several times")
	f.StringVar(&o.Rows, "rows", rowsAll, "rows to run, separated by commas: names, or names up to a hyphen")
	f.IntVar(&o.Runs, "rounds", 3, "how often each row runs on each broker")
	f.StringVar(&benchmark, "benchstat", "", "a `directory` for the runs, as benchstat reads them")
	f.BoolVar(&asJSON, "json", false, "write the report as JSON")
	commonFlags(f, &o)
	amqpFlags(f, &o)
	mqttFlags(f, &o)
	return cmd
}

// oneBroker are the flags of a command for one broker.
func oneBroker(f *pflag.FlagSet, o *Options, t *Target, asJSON *bool) {
	f.IntVar(&t.PID, "pid", 0, "the broker's process id, to measure its CPU and memory")
	f.IntVar(&o.Runs, "runs", o.Runs, "runs per row; the figures are medians")
	f.BoolVar(asJSON, "json", false, "write the report as JSON")
	commonFlags(f, o)
}

func commonFlags(f *pflag.FlagSet, o *Options) {
	f.IntVar(&o.Size, "size", o.Size, "bytes of a message body instead of the row's own")
	f.DurationVar(&o.Duration, "duration", o.Duration, "measured time of a run, after a warm-up of at most half a second")
	f.Int64Var(&o.MaxMessages, "max-messages", o.MaxMessages, "messages that one run publishes at most")
}

func amqpFlags(f *pflag.FlagSet, o *Options) {
	f.StringVar(&o.Client, "client", o.Client, "over AMQP: raw (pre-encoded frames) or amqp091 (the amqp091-go library)")
	f.IntVar(&o.Backlog, "backlog", o.Backlog, "messages of a5")
	f.IntVar(&o.Bindings, "bindings", o.Bindings, "bindings of a7")
	f.StringVar(&o.SyncDir, "sync-dir", o.SyncDir, "a `directory` on the broker's disk, to measure beside a4 what a bare file takes")
}

func mqttFlags(f *pflag.FlagSet, o *Options) {
	f.BoolVar(&o.V5, "v5", o.V5, "speak MQTT 5.0 instead of 3.1.1")
	f.IntVar(&o.Offline, "offline", o.Offline, "messages of m6")
	f.IntVar(&o.Connections, "connections", o.Connections, "connections of m7")
	f.IntVar(&o.PerSecond, "rate", o.PerSecond, "messages per second of m8")
}
