package bench

import (
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command returns `bench` with one subcommand per protocol, and one for the store. The report goes to the
// command's output, progress to its error output; cancelling the command's context
// ends a run early and still removes its queue.
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure what a message costs a broker",
	}
	cmd.AddCommand(amqpCommand(), mqttCommand(), idleCommand(), retainedCommand(), storeCommand())
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
			return write(cmd, &rep, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.URL, "url", "amqp://guest:guest@127.0.0.1:5672/", "the broker")
	f.StringVar(&o.Client, "client", clientRaw, "raw (pre-encoded frames) or amqp091 (the amqp091-go library)")
	f.StringVar(&o.Scenario, "scenario", scenarioAll, "transient, durable, latency or all; several separated by commas")
	commonFlags(f, &o, &asJSON)
	return cmd
}

func mqttCommand() *cobra.Command {
	var (
		o      MQTTOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "mqtt",
		Short: "Measure a broker over MQTT 3.1.1 or 5.0",
		Long: `Measure a broker over MQTT 3.1.1 or 5.0.

Scenarios, with one publisher and bodies of 64 B:
  qos0    m1: QoS 0, 1 subscriber
  qos1    m2: QoS 1 (window 1000), 1 subscriber with a clean session, and with a persistent one
  qos2    m3: QoS 2 (window 1000), 1 subscriber
  fanout  m4: 200 subscribers, QoS 0 and QoS 1; messages are counted when delivered

With --pid the broker's CPU time per message and its memory are measured too (on Linux, on the same machine).`,
		Example: "  baton bench mqtt --url mqtt://127.0.0.1:1883 --pid 4711 --v5",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			rep, err := RunMQTT(cmd.Context(), o, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			return write(cmd, &rep, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.URL, "url", "mqtt://127.0.0.1:1883", "the broker, as mqtt://[user:password@]host[:port]; also mqtts, ws or wss")
	f.StringVar(&o.Scenario, "scenario", scenarioAll, "qos0, qos1, qos2, fanout or all; several separated by commas")
	f.BoolVar(&o.V5, "v5", false, "speak MQTT 5.0 instead of 3.1.1")
	commonFlags(f, &o.Options, &asJSON)
	return cmd
}

func idleCommand() *cobra.Command {
	var (
		o      IdleOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "mqtt-idle",
		Short: "Measure what MQTT connections cost that are open and silent",
		Long: `Measure what MQTT connections cost that are open and silent.

The connections are opened as fast as the broker lets them in, each with a clean session and, if --url names a user, with a password; they come
from many addresses if the broker's is in 127.0.0.0/8. Then memory is read after a while of silence, and processor time during another one.
The memory of a connection is the growth of the broker's resident set divided by their number.

Broker and generator need a limit on open files (ulimit -n) above --connections each. With --pid the broker's CPU time and its
memory are measured (on Linux, on the same machine); without it, only the rate.`,
		Example: "  baton bench mqtt-idle --url mqtt://127.0.0.1:1883 --pid 4711 --connections 19000 --ping",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			rep, err := RunIdle(cmd.Context(), o, cmd.ErrOrStderr())
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
	f.StringVar(&o.URL, "url", "mqtt://127.0.0.1:1883", "the broker, as mqtt://[user:password@]host[:port]; also mqtts, ws or wss")
	f.IntVar(&o.PID, "pid", 0, "the broker's process id, to measure its CPU and memory")
	f.IntVar(&o.Connections, "connections", 1000, "connections to open")
	f.BoolVar(&o.V5, "v5", false, "speak MQTT 5.0 instead of 3.1.1")
	f.DurationVar(&o.KeepAlive, "keep-alive", 300*time.Second, "the keep alive that clients announce; 0: none")
	f.DurationVar(&o.Settle, "settle", 15*time.Second, "silence before memory is read")
	f.DurationVar(&o.Idle, "idle", 10*time.Second, "silence during which CPU time is measured; 0: it is not")
	f.BoolVar(&o.Ping, "ping", false, "read memory once more after each client has sent a PINGREQ")
	f.BoolVar(&o.Insecure, "insecure", false, "do not verify the broker's certificate")
	f.BoolVar(&asJSON, "json", false, "write the report as JSON")
	return cmd
}

func retainedCommand() *cobra.Command {
	var (
		o      RetainedOptions
		asJSON bool
	)
	cmd := &cobra.Command{
		Use:   "mqtt-retained",
		Short: "Measure what messages cost that are retained",
		Long: `Measure what messages cost that are retained.

A message is published to each of many topics, at QoS 1 and to be retained, and then one client subscribes to all of them. With --keep they
stay behind, so that a start of the broker with them can be measured; otherwise they are cleared.`,
		Example: "  baton bench mqtt-retained --url mqtt://127.0.0.1:1883 --pid 4711 --topics 1000000",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cmd.SilenceUsage = true
			rep, err := RunRetained(cmd.Context(), o, cmd.ErrOrStderr())
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
	f.StringVar(&o.URL, "url", "mqtt://127.0.0.1:1883", "the broker, as mqtt://[user:password@]host[:port]; also mqtts, ws or wss")
	f.IntVar(&o.PID, "pid", 0, "the broker's process id, to measure its CPU and memory")
	f.IntVar(&o.Topics, "topics", 100_000, "topics that have a message retained")
	f.IntVar(&o.Size, "size", 200, "bytes of a message")
	f.BoolVar(&o.V5, "v5", false, "speak MQTT 5.0 instead of 3.1.1")
	f.DurationVar(&o.Settle, "settle", 15*time.Second, "silence before memory is read")
	f.StringVar(&o.Keep, "keep", "", "the first level of the topics, which are then left behind")
	f.BoolVar(&asJSON, "json", false, "write the report as JSON")
	return cmd
}

// commonFlags are those of every protocol.
func commonFlags(f *pflag.FlagSet, o *Options, asJSON *bool) {
	f.IntVar(&o.PID, "pid", 0, "the broker's process id, to measure its CPU and memory")
	f.IntVar(&o.Size, "size", 0, "bytes of a message body instead of the scenario's own")
	f.DurationVar(&o.Duration, "duration", 3*time.Second, "measured time of a run, after a warm-up of at most half a second")
	f.IntVar(&o.Runs, "runs", 1, "runs per row; the figures are medians")
	f.Int64Var(&o.MaxMessages, "max-messages", 20_000_000, "messages that one run publishes at most")
	f.BoolVar(asJSON, "json", false, "write the report as JSON")
}

func write(cmd *cobra.Command, rep *Report, asJSON bool) error {
	if asJSON {
		return rep.WriteJSON(cmd.OutOrStdout())
	}
	return rep.WriteTable(cmd.OutOrStdout())
}
