package storebench

import "time"

// usage is what was used up to a moment; of the disk, nil where that is not known.
type usage struct {
	user, system time.Duration // of this process
	known        bool          // user and system are
	device       *int64        // bytes the device has written
	process      *int64        // bytes the kernel has written, or will, for this process
}

// spent adds up what was used between pairs of moments.
type spent struct {
	took         time.Duration
	user, system time.Duration
	cpuKnown     bool
	device       *int64
	process      *int64
}

func (s *spent) add(from, to usage, took time.Duration) {
	s.took += took
	s.user += to.user - from.user
	s.system += to.system - from.system
	s.cpuKnown = from.known && to.known
	s.device = sum(s.device, from.device, to.device)
	s.process = sum(s.process, from.process, to.process)
}

func sum(total, from, to *int64) *int64 {
	if from == nil || to == nil {
		return nil
	}
	n := *to - *from
	if total != nil {
		n += *total
	}
	return &n
}

// during runs do and adds what it used to s.
func (s *spent) during(dir string, do func() error) error {
	from, start := read(dir), time.Now()
	err := do()
	took := time.Since(start)
	s.add(from, read(dir), took)
	return err
}

// per returns v divided by n, nil where v is.
func per(v *int64, n float64) *float64 {
	if v == nil || n == 0 {
		return nil
	}
	f := float64(*v) / n
	return &f
}

// micros returns a time divided by n, in microseconds; nil where it is not known.
func micros(d time.Duration, known bool, n float64) *float64 {
	if !known || n == 0 {
		return nil
	}
	f := float64(d.Nanoseconds()) / 1e3 / n
	return &f
}
