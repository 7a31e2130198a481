package bench

import (
	"fmt"
	"slices"
	"strings"
)

// scenario is one row of the report: a load's shape with one message size. A row
// with confirmEach has no consumer: with one, a broker could confirm a message that
// was consumed meanwhile without ever storing it.
type scenario struct {
	ID       string // as docs and tables name it
	Name     string // as --scenario takes it
	Note     string // what distinguishes it from its siblings
	Size     int    // bytes of a message body
	Durable  bool   // a durable queue and persistent messages
	Confirm  confirmMode
	Window   int // messages published and not confirmed
	Prefetch int
	AckEvery int // see consumeSpec
}

// Names that --scenario takes.
const (
	scenarioAll       = "all"
	scenarioTransient = "transient"
	scenarioDurable   = "durable"
	scenarioLatency   = "latency"
)

func scenarios() []scenario {
	return []scenario{
		{ID: "a1", Name: scenarioTransient, Note: "transient autoack", Size: 12},
		{ID: "a1", Name: scenarioTransient, Note: "transient autoack", Size: 1024},
		{
			ID: "a2", Name: scenarioDurable, Note: "durable confirms ack-multi", Size: 1024,
			Durable: true, Confirm: confirmStream, Window: 1000, Prefetch: 500, AckEvery: 50,
		},
		{
			ID: "a2", Name: scenarioDurable, Note: "durable confirms ack-each", Size: 1024,
			Durable: true, Confirm: confirmStream, Window: 1000, Prefetch: 500, AckEvery: 1,
		},
		{
			ID: "a4", Name: scenarioLatency, Note: "confirm latency, 1 publisher", Size: 1024,
			Durable: true, Confirm: confirmEach,
		},
	}
}

// selectScenarios returns the rows that a comma-separated list of names asks for, in
// the report's order. A size other than 0 replaces the rows' own, and rows that
// became equal by it are run once.
func selectScenarios(list string, size int) ([]scenario, error) {
	wanted := strings.Split(list, ",")
	for i, w := range wanted {
		wanted[i] = strings.TrimSpace(w)
	}
	all, known := scenarios(), []string{scenarioAll}
	var rows []scenario
	for _, s := range all {
		known = append(known, s.Name)
		if !slices.Contains(wanted, s.Name) && !slices.Contains(wanted, scenarioAll) {
			continue
		}
		if size > 0 {
			s.Size = size
		}
		if !slices.Contains(rows, s) {
			rows = append(rows, s)
		}
	}
	for _, w := range wanted {
		if !slices.Contains(known, w) {
			return nil, fmt.Errorf("unknown scenario %q: use %s", w, strings.Join(slices.Compact(known), ", "))
		}
	}
	return rows, nil
}
