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

// probe measures the broker's process (pid 0: unknown), this one and the machine.
type probe struct {
	pid                     int
	broker, generator, busy reading // when it started
	stopSampler             chan struct{}
	wg                      sync.WaitGroup

	mu   sync.Mutex
	peak int64
}

// startProbe begins to measure; stop must be called.
func startProbe(pid int) *probe {
	p := &probe{pid: pid, stopSampler: make(chan struct{})}
	p.broker, p.generator, p.busy = p.readBroker(), readGenerator(), readMachine()
	if p.broker.ok {
		p.wg.Go(p.sample)
	}
	return p
}

func (p *probe) readBroker() reading {
	if p.pid == 0 {
		return reading{}
	}
	s, err := readProc(p.pid)
	if err != nil {
		return reading{}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.peak = max(p.peak, s.rss)
	return reading{cpu: s.cpu, ok: true}
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
			p.readBroker()
		}
	}
}

func (p *probe) stop() usage {
	u := usage{
		broker:    p.readBroker().since(p.broker),
		generator: readGenerator().since(p.generator),
		others:    readMachine().since(p.busy),
	}
	close(p.stopSampler)
	p.wg.Wait()
	if u.broker != nil {
		u.peakRSS = &p.peak
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
