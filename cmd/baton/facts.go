package main

import (
	"os"
	"runtime"
	"runtime/metrics"
	"time"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/persistence"
	admin "github.com/batonmq/baton/protocols/http"
	"github.com/batonmq/baton/protocols/http/api"
)

// facts are what the management API tells of this process, whatever its role is.
func (n *node) facts() api.NodeFacts {
	f := runtimeFacts()
	f.Uptime = time.Since(n.started)
	f.MemoryUsed, f.MemoryWatermark, f.MemoryLimit = n.memory.used.Load(), n.memory.watermark(), n.memory.limit
	budget := n.doors.budget.Stats()
	f.SocketsUsed, f.SocketsLimit = budget.Open, budget.Limit
	f.FilesUsed, f.FilesLimit = openFiles()
	f.ContextSwitches = contextSwitches()
	parts := n.live.parts.Load()
	if parts == nil { // nobody watches the memory of a standby
		f.MemoryUsed, f.DiskFree = memoryInUse(), diskFree(n.boot.Data)
		return f
	}
	s := parts.store.Stats()
	f.DiskFree, f.DiskWatermark = s.Space.Free, s.FreeLow
	f.Groups, f.GroupBytes, f.GroupSeconds = s.Groups, s.Bytes, s.Write.Sum
	return f
}

// diskFree is -1 where that cannot be asked.
func diskFree(dir string) int64 {
	free, known, err := persistence.DiskFree(dir)
	if err != nil || !known {
		return -1
	}
	return free
}

// runtimeFacts are what Go knows.
func runtimeFacts() (f api.NodeFacts) {
	figures := map[string]*int64{}
	var samples []metrics.Sample
	figure := func(name string) *int64 {
		samples = append(samples, metrics.Sample{Name: name})
		figures[name] = new(int64)
		return figures[name]
	}
	objects, free, unused := figure("/memory/classes/heap/objects:bytes"), figure("/memory/classes/heap/free:bytes"), figure("/memory/classes/heap/unused:bytes")
	stacks, osStacks := figure("/memory/classes/heap/stacks:bytes"), figure("/memory/classes/os-stacks:bytes")
	total, released := figure("/memory/classes/total:bytes"), figure("/memory/classes/heap/released:bytes")
	goroutines, runnable := figure("/sched/goroutines:goroutines"), figure("/sched/goroutines/runnable:goroutines")
	cycles, freed := figure("/gc/cycles/total:gc-cycles"), figure("/gc/heap/frees:bytes")
	metrics.Read(samples)
	for i := range samples {
		*figures[samples[i].Name] = counted(samples[i])
	}
	f.Processors = runtime.GOMAXPROCS(0)
	f.Goroutines, f.Runnable = int(*goroutines), int(*runnable)
	f.Collections, f.CollectedBytes = uint64(*cycles), uint64(*freed)
	p := &f.Memory
	p.Objects, p.Free, p.Stacks = *objects, *free+*unused, *stacks+*osStacks
	p.Mapped = *total - *released
	p.Runtime = max(0, p.Mapped-p.Objects-p.Free-p.Stacks)
	if resident, ok := residentMemory(); ok {
		p.Resident = resident
		p.Program = max(0, resident-p.Mapped)
	}
	return f
}

// peers returns what tells of the other brokers on the directory, as this one sees
// them; nil where there are none to be.
func (n *node) peers() func() []api.Peer {
	if !n.boot.HA.Enabled {
		return nil
	}
	return n.seenPeers
}

func (n *node) seenPeers() []api.Peer {
	var seen []ha.Peer
	if parts := n.live.parts.Load(); parts != nil {
		seen = parts.tenure.Peers()
	} else if v := n.warm.view.Load(); v != nil {
		seen = v.standby.Peers()
	}
	var all []api.Peer
	for _, p := range seen {
		all = append(all, api.Peer{
			Name: p.Node, Alive: p.Alive, Role: string(p.Role), Addresses: p.Advertise,
			Eligible: p.Eligible(), Reason: p.Reason, CaughtUp: p.CaughtUp, BehindBytes: p.BehindBytes,
		})
	}
	return all
}

// about describes the process to those who administrate it.
func (n *node) about() api.About {
	a := api.About{PID: os.Getpid(), DataDir: n.boot.Data, LogFiles: []string{"<stderr>"}}
	if n.boot.file != "" {
		a.ConfigFiles = []string{n.boot.file}
	}
	return a
}

// totals are the broker's counters, none while it is being closed.
func (n *node) totals() api.Totals {
	s, _ := n.stats()
	return admin.Totals(&s)
}

// sample has the API know how fast the broker's numbers change. It returns what
// ends that. The first look is not at once: a takeover does not wait for it.
func (n *node) sample(s *api.Sampler) (stop func()) {
	return every(api.SampleEvery, func() { s.Sample(time.Now()) })
}
