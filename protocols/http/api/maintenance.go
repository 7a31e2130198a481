package api

import (
	"errors"
	"log/slog"
	"time"
)

// A MaintenanceOrder begins or ends a maintenance.
type MaintenanceOrder struct {
	On   bool
	Keep bool // leave the connections that there are
	Rate int  // else end so many in a second; 0: all at once
	Here bool // although another node could take over
}

// MaintenanceState is how a maintenance is.
type MaintenanceState struct {
	On          bool      `json:"maintenance"`
	Since       time.Time `json:"since,omitzero"`
	Ending      bool      `json:"ending"` // connections are still being ended
	Connections int       `json:"connections"`
}

// ErrSuccessor says that there is a node which would take over.
var ErrSuccessor = errors.New("a standby can take over: have this node hand over to it (baton ha handover), or begin the maintenance here all the same (--here)")

func getMaintenance(c *call) (any, error) {
	if c.primary.Maintenance == nil {
		return nil, noObject()
	}
	return c.primary.Maintenance(), nil
}

func putMaintenance(c *call) (any, error) {
	ask := struct {
		Keep bool `json:"keep"`
		Rate *int `json:"rate"`
		Here bool `json:"here"`
	}{}
	if err := c.decode(&ask); err != nil {
		return nil, err
	}
	o := MaintenanceOrder{On: true, Keep: ask.Keep, Rate: DefaultEndRate, Here: ask.Here}
	if ask.Rate != nil {
		o.Rate = *ask.Rate
	}
	if o.Rate < 0 {
		return nil, badRequest("rate %d is negative", o.Rate)
	}
	c.note(slog.Bool("keep", o.Keep))
	return c.maintain(o)
}

// DefaultEndRate is how many connections a maintenance ends in a second, unless
// it is told.
const DefaultEndRate = 1000

func deleteMaintenance(c *call) (any, error) { return c.maintain(MaintenanceOrder{}) }

func (c *call) maintain(o MaintenanceOrder) (any, error) {
	if c.primary.Maintain == nil {
		return nil, noObject()
	}
	if err := c.primary.Maintain(o); err != nil {
		return nil, badRequest("%s", err)
	}
	return done, nil
}
