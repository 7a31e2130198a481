package bench

import (
	"os"
	"sync"
	"time"
)

// rssInterval is how often the resident set is sampled for its peak.
const rssInterval = 50 * time.Millisecond

// usage is what was used while a probe was on; nil figures were not measured.
type usage struct {
	broker    *time.Duration // CPU time of the broker's process
	generator *time.Duration // CPU time of this process
	others    *time.Duration // CPU time of everything else on the machine
	peakRSS   *int64         // of the broker, in bytes
	written   *int64         // bytes that the broker gave the disk
}

// reading is one look at the clocks; a zero reading with ok false could not be taken.
type reading struct {
	cpu time.Duration
	ok  bool
}

func (r reading) since(start reading) *time.Duration {
	if !r.ok || !start.ok {
		return nil
	}
	d := r.cpu - start.cpu
	return &d
}

func readMachine() reading {
	busy, err := readBusy()
	return reading{cpu: busy, ok: err == nil}
}

// probe measures the broker's processes (pid 0: unknown), this one and the machine.
type probe struct {
	pid             int
	pids            []int // of the broker when the probe started
	generator, busy reading
	before          family
	known           bool // the broker's figures are
	stopSampler     chan struct{}
	wg              sync.WaitGroup

	mu   sync.Mutex
	peak int64
}

// startProbe begins to measure; stop must be called.
func startProbe(pid int) *probe {
	p := &probe{pid: pid, stopSampler: make(chan struct{})}
	if pid != 0 {
		p.pids = readMembers(pid)
		p.before, p.known = p.read(p.pids)
	}
	if p.known {
		p.wg.Go(p.sample)
	}
	p.generator, p.busy = readGenerator(), readMachine()
	return p
}

// read sums up processes and notes their peak.
func (p *probe) read(pids []int) (family, bool) {
	f, err := readFamily(pids)
	if err != nil {
		return family{}, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peak = max(p.peak, f.rss)
	return f, true
}

func readGenerator() reading {
	s, err := readProc(os.Getpid())
	return reading{cpu: s.cpu, ok: err == nil}
}

func (p *probe) sample() {
	tick := time.NewTicker(rssInterval)
	defer tick.Stop()
	for {
		select {
		case <-p.stopSampler:
			return
		case <-tick.C:
			p.read(p.pids)
		}
	}
}

func (p *probe) stop() usage {
	u := usage{generator: readGenerator().since(p.generator), others: readMachine().since(p.busy)}
	close(p.stopSampler)
	p.wg.Wait()
	if p.known {
		p.since(&u)
	}
	if u.broker == nil || u.generator == nil {
		u.others = nil // what is left over cannot be told apart
	}
	if u.others != nil {
		// The clocks tick at 10 ms each, so that the difference may be just below 0.
		*u.others = max(0, *u.others-*u.broker-*u.generator)
	}
	return u
}

// since fills in what the broker used. Processes that have begun since the start
// count from nothing.
func (p *probe) since(u *usage) {
	after, ok := p.read(readMembers(p.pid))
	if !ok {
		return
	}
	cpu := after.cpu - p.before.cpu
	u.broker, u.peakRSS = &cpu, &p.peak
	if after.written != nil && p.before.written != nil {
		n := *after.written - *p.before.written
		u.written = &n
	}
}
