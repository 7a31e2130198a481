package bench

import (
	"time"

	"github.com/spf13/cobra"
)

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
			return writeReport(cmd, &rep, asJSON)
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
			return writeReport(cmd, &rep, asJSON)
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
