//go:build failpoint

package failpoint

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// variable tells the process what to do at its points.
const variable = "BATON_FAILPOINT"

// At is where p is reached. Its error is what p was told to fail with.
func At(p Point) error { return ofProcess().at(p) }

// ofProcess is read once: what a process is told cannot change while it runs.
//
//nolint:gochecknoglobals // the points are reached in packages that know nothing of each other
var ofProcess = sync.OnceValue(func() plan {
	p, err := parse(os.Getenv(variable))
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", variable, err)
		os.Exit(2)
	}
	return p
})

type plan map[Point]*trigger

// trigger is what one point does.
type trigger struct {
	action action
	wait   time.Duration // of sleep
	nth    int64
	times  atomic.Int64 // that the point was reached
}

type action string

const (
	kill  action = "kill"
	stop  action = "stop"
	sleep action = "sleep"
	fail  action = "error"
)

func (p plan) at(point Point) error {
	t := p[point]
	if t == nil || t.times.Add(1) != t.nth {
		return nil
	}
	// Tests wait for this line.
	fmt.Fprintf(os.Stderr, "fail point %s: %s\n", point, t.action)
	switch t.action {
	case kill:
		return killSelf()
	case stop:
		return stopSelf()
	case sleep:
		<-time.After(t.wait)
	case fail:
		return fmt.Errorf("fail point %s", point)
	}
	return nil
}

// parse reads the value of the variable.
func parse(text string) (plan, error) {
	p := make(plan)
	for item := range strings.SplitSeq(text, ";") {
		if item == "" {
			continue
		}
		name, what, _ := strings.Cut(item, "=")
		point := Point(name)
		if !slices.Contains(points(), point) {
			return nil, fmt.Errorf("%q: there is no such point", name)
		}
		if p[point] != nil {
			return nil, fmt.Errorf("%q is there twice", name)
		}
		t, err := parseTrigger(what)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		p[point] = t
	}
	return p, nil
}

func parseTrigger(text string) (*trigger, error) {
	what, count, counted := strings.Cut(text, "@")
	t := &trigger{nth: 1}
	if counted {
		n, err := strconv.ParseInt(count, 10, 64)
		if err != nil || n < 1 {
			return nil, fmt.Errorf("%q is no number of times", count)
		}
		t.nth = n
	}
	name, argument, given := strings.Cut(what, " ")
	t.action = action(name)
	switch t.action {
	case sleep:
		d, err := time.ParseDuration(argument)
		if err != nil {
			return nil, err
		}
		t.wait = d
		return t, nil
	case kill, stop, fail:
		if !given {
			return t, nil
		}
	}
	return nil, fmt.Errorf("%q is none of: kill, stop, sleep DURATION, error", what)
}

// points are all there are.
func points() []Point {
	return []Point{
		TakeoverClaimed, TakeoverMarked, TakeoverChosen, TakeoverSealed, TakeoverAdopted, TakeoverOpened, TakeoverActivated,
		JournalWritten, JournalSynced, JournalPassed, LeaseRenewing, LeaseRenewed, CheckpointBegun, CheckpointWritten,
	}
}
