package main

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/batonmq/baton/protocols/http/api"
)

func maintenanceCommand(f *adminFlags) *cobra.Command {
	return nounCommand("maintenance", "Take a broker out of service without stopping it, and back", beginMaintenance(f), endMaintenance(f), showMaintenance(f))
}

// maintenanceOrder is what the API is sent.
type maintenanceOrder struct {
	Keep bool `json:"keep"`
	Rate int  `json:"rate"`
	Here bool `json:"here"`
}

func beginMaintenance(f *adminFlags) *cobra.Command {
	o := maintenanceOrder{}
	wait := time.Minute
	cmd := f.verbCommand("on", "Take no connections any more, and end those that there are", cobra.NoArgs, func(b *broker, _ []string) error {
		if err := b.put("/api/maintenance", o); err != nil {
			return err
		}
		left, err := b.awaitNobody(!o.Keep, wait)
		switch {
		case err != nil:
			return err
		case left > 0 && !o.Keep:
			return fmt.Errorf("%d connections are still open after %v; they are being ended", left, wait)
		}
		return b.say("the broker is in maintenance; %d connections are open", left)
	})
	cmd.Long = "Take no connections any more, and end those that there are, some at a time. Clients are told: AMQP's connection.close 320, MQTT 5's\n" +
		"DISCONNECT 0x98, and who connects CONNACK 0x88. /readyz answers 503, /livez 200. Messages, sessions, bridges and what else the broker\n" +
		"does by itself go on. A restart ends it. Of a pair, hand over instead: baton ha handover. --here does this on a primary whose standby\n" +
		"could take over."
	flags := cmd.Flags()
	flags.BoolVar(&o.Keep, "keep", false, "leave the connections that there are")
	flags.IntVar(&o.Rate, "rate", api.DefaultEndRate, "how many connections to end in a second; 0 ends all at once")
	flags.BoolVar(&o.Here, "here", false, "although a standby could take over")
	flags.DurationVar(&wait, "wait", wait, "how long to wait until no connection is open")
	return cmd
}

func endMaintenance(f *adminFlags) *cobra.Command {
	return f.verbCommand("off", "Take connections again", cobra.NoArgs, func(b *broker, _ []string) error {
		if err := b.do(http.MethodDelete, "/api/maintenance", nil, nil, nil); err != nil {
			return err
		}
		return b.say("the broker takes connections")
	})
}

func showMaintenance(f *adminFlags) *cobra.Command {
	return f.verbCommand("status", "Say whether the broker is in maintenance", cobra.NoArgs, func(b *broker, _ []string) error {
		s, err := b.maintenance()
		if err != nil {
			return err
		}
		since := "-"
		if s.On {
			since = s.Since.UTC().Format(time.RFC3339)
		}
		t := newTable("MAINTENANCE", "SINCE", "CONNECTIONS", "BEING ENDED")
		t.row(yesNo(s.On), since, strconv.Itoa(s.Connections), yesNo(s.Ending))
		return b.print(s, t)
	})
}

func (b *broker) maintenance() (s api.MaintenanceState, err error) {
	return s, b.get("/api/maintenance", &s)
}

// awaitNobody waits until no connection is open, if wanted, and returns how many are.
func (b *broker) awaitNobody(wanted bool, most time.Duration) (int, error) {
	late := time.After(most)
	for {
		s, err := b.maintenance()
		if err != nil || s.Connections == 0 || !wanted || !s.On {
			return s.Connections, err
		}
		select {
		case <-late:
			return s.Connections, nil
		case <-b.cmd.Context().Done():
			return s.Connections, b.cmd.Context().Err()
		case <-time.After(healthPoll):
		}
	}
}
