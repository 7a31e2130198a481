package bench

import (
	"time"

	"github.com/spf13/cobra"
)

// Command returns `bench` with one subcommand per protocol. The report goes to the
// command's output, progress to its error output; cancelling the command's context
// ends a run early and still removes its queue.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a message costs a broker",
	}
	cmd.AddCommand(amqpCommand())
	return cmd
}

func amqpCommand() *cobra.Command {
	var (
		o      Options
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "amqp",
		Short: "Measure a broker over AMQP 0-9-1",
		Long: `Measure a broker over AMQP 0-9-1.

Scenarios:
  transient  a1: transient queue, 1 producer, 1 auto-ack consumer, 12 B and 1 KiB
  durable    a2: durable queue, persistent 1 KiB, confirms (window 1000), prefetch 500, ack every 50, and each
  latency    a4: one publisher of persistent 1 KiB waits for each confirm, no consumer

With --pid the broker's CPU time per message and its memory are measured too (on Linux, on the same machine).`,
		Example: "  baton bench amqp --url amqp://guest:guest@127.0.0.1:5672/ --pid 4711 --runs 3",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			rep, err := Run(cmd.Context(), o, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if asJSON {
				return rep.WriteJSON(cmd.OutOrStdout())
			}
			return rep.WriteTable(cmd.OutOrStdout())
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.URL, "url", "amqp://guest:guest@127.0.0.1:5672/", "the broker")
	f.IntVar(&o.PID, "pid", 0, "the broker's process id, to measure its CPU and memory")
	f.StringVar(&o.Client, "client", clientRaw, "raw (pre-encoded frames) or amqp091 (the amqp091-go library)")
	f.StringVar(&o.Scenario, "scenario", scenarioAll, "transient, durable, latency or all; several separated by commas")
	f.IntVar(&o.Size, "size", 0, "bytes of a message body instead of the scenario's own")
	f.DurationVar(&o.Duration, "duration", 3*time.Second, "measured time of a run, after a warm-up of at most half a second")
	f.IntVar(&o.Runs, "runs", 1, "runs per row; the figures are medians")
	f.Int64Var(&o.MaxMessages, "max-messages", 20_000_000, "messages that one run publishes at most")
	f.BoolVar(&asJSON, "json", false, "write the report as JSON")
	return cmd
}
