package api

import (
	"log/slog"
	"net/http"

	"github.com/batonmq/baton/core"
)

// failedCheck is a health check's answer where something is wrong.
type failedCheck struct {
	Status string     `json:"status"`
	Reason string     `json:"reason"`
	Alarms []inEffect `json:"alarms"`
}

type inEffect struct {
	Node     string `json:"node"`
	Resource string `json:"resource"`
}

func checkAlarms(c *call) (any, error) {
	return c.checkAlarms("There are alarms in effect in the cluster")
}

func checkLocalAlarms(c *call) (any, error) {
	return c.checkAlarms("There are alarms in effect on the node")
}

// checkAlarms tells of the one node whose alarms count: that which serves.
func (c *call) checkAlarms(reason string) (any, error) {
	alarms := c.alarms()
	failed := failedCheck{Status: "failed", Reason: reason}
	if alarms.Memory {
		failed.Alarms = append(failed.Alarms, inEffect{c.api.opt.Node, "memory"})
	}
	if alarms.Disk {
		failed.Alarms = append(failed.Alarms, inEffect{c.api.opt.Node, "disk"})
	}
	if failed.Alarms != nil {
		return verdict{http.StatusServiceUnavailable, failed}, nil
	}
	return allWell(), nil
}

// alarms are those in effect. Nobody publishes to a node that does not serve.
func (c *call) alarms() core.Alarms {
	if c.primary == nil {
		return core.Alarms{}
	}
	return c.primary.Broker.Alarms()
}

// alarms is Baton's own: what the alarms are about.
type alarms struct {
	Memory memoryAlarm `json:"memory"`
	Disk   diskAlarm   `json:"disk"`
}

type memoryAlarm struct {
	Alarm     bool  `json:"alarm"`
	Used      int64 `json:"used"`
	Watermark int64 `json:"watermark"`
	Limit     int64 `json:"limit"` // 0: not known
}

type diskAlarm struct {
	Alarm     bool  `json:"alarm"`
	Free      int64 `json:"free"`
	Watermark int64 `json:"watermark"`
}

func getAlarms(c *call) (any, error) {
	set := c.primary.Broker.Alarms()
	f := c.api.opt.Facts()
	return alarms{
		Memory: memoryAlarm{Alarm: set.Memory, Used: f.MemoryUsed, Watermark: f.MemoryWatermark, Limit: f.MemoryLimit},
		Disk:   diskAlarm{Alarm: set.Disk, Free: f.DiskFree, Watermark: f.DiskWatermark},
	}, nil
}

// putAlarms sets the memory watermark until the process ends. null is what is
// configured.
func putAlarms(c *call) (any, error) {
	var body struct {
		Memory *struct {
			Watermark *int64 `json:"watermark"`
		} `json:"memory"`
	}
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	switch {
	case body.Memory == nil:
		return nil, missing("memory")
	case c.primary.SetMemoryWatermark == nil:
		return nil, badRequest("the memory watermark cannot be changed here")
	}
	watermark := int64(-1)
	if w := body.Memory.Watermark; w != nil {
		if watermark = *w; watermark < 0 {
			return nil, badRequest("memory.watermark should not be negative")
		}
	}
	c.note(slog.Int64("memory_watermark", watermark))
	if err := c.primary.SetMemoryWatermark(watermark); err != nil {
		return nil, badRequest("memory.watermark: %s", err)
	}
	return done, nil
}
