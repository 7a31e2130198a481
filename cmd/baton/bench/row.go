package bench

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
)

// row is a load that can be asked for by name, and the lines of the report that it
// fills: more than one where a load has parts that cost differently.
type row struct {
	name     string
	needs    protocols
	messages int // that it takes at whatever rate; 0: it takes the time it is given
	lines    []line
	run      func(ctx context.Context, r *run) ([]Figures, error)
}

// line is one line of the report.
type line struct {
	name  string
	about string
	size  int    // bytes of a message body
	count string // what the figures are of, if not messages
}

func (l line) unit() string { return cmp.Or(l.count, countMessages) + "/s" }

// What figures are of.
const (
	countMessages    = "messages"
	countDeliveries  = "deliveries"
	countBindings    = "bindings"
	countConnections = "connections"
)

func (w row) report() []Row {
	rows := make([]Row, len(w.lines))
	for i, l := range w.lines {
		rows[i] = Row{ID: l.name, Scenario: l.about, Size: l.size, Counts: cmp.Or(l.count, countMessages)}
	}
	return rows
}

// single is a row of one line.
func single(l line, needs protocols, do func(context.Context, *run) (Figures, error)) row {
	return row{name: l.name, needs: needs, lines: []line{l}, run: func(ctx context.Context, r *run) ([]Figures, error) {
		f, err := do(ctx, r)
		return []Figures{f}, err
	}}
}

// allRows are the rows in the order of the report.
func allRows(o Options) []row {
	return slices.Concat(amqpRows(o), mqttRows(o), []row{crossRow(o)})
}

// Names of several rows that --rows takes; any row's name up to a hyphen is one, too.
const (
	rowsAll  = "all"
	rowsAMQP = "amqp"
	rowsMQTT = "mqtt"
)

// called says whether name, as --rows has it, means the row.
func (w row) called(name string) bool {
	switch name {
	case rowsAll:
		return true
	case rowsAMQP:
		return w.needs == overAMQP
	case rowsMQTT:
		return w.needs == overMQTT
	}
	is := func(s string) bool { return s == name || strings.HasPrefix(s, name+"-") }
	return is(w.name) || slices.ContainsFunc(w.lines, func(l line) bool { return is(l.name) })
}

// selectRows returns the rows that the options ask for, in the report's order.
func selectRows(o Options) ([]row, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	all := allRows(o)
	wanted := strings.Split(o.Rows, ",")
	for i, name := range wanted {
		wanted[i] = strings.TrimSpace(name)
		if !slices.ContainsFunc(all, func(w row) bool { return w.called(wanted[i]) }) {
			return nil, fmt.Errorf("unknown row %q: use %s", wanted[i], rowNames(all))
		}
	}
	return slices.DeleteFunc(all, func(w row) bool { return !slices.ContainsFunc(wanted, w.called) }), nil
}

func rowNames(rows []row) string {
	names := []string{rowsAll, rowsAMQP, rowsMQTT}
	for _, w := range rows {
		names = append(names, w.name)
	}
	return strings.Join(names, ", ")
}

// describeRows lists rows for a command's help.
func describeRows(rows []row) string {
	var b strings.Builder
	for _, w := range rows {
		for _, l := range w.lines {
			fmt.Fprintf(&b, "  %-11s %s", l.name, l.about)
			if l.size > 0 {
				fmt.Fprintf(&b, ", %s", sizeText(l.size))
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// sizeText writes bytes as people say them.
func sizeText(n int) string {
	if n >= 1024 && n%1024 == 0 {
		return fmt.Sprintf("%d KiB", n/1024)
	}
	return fmt.Sprintf("%d B", n)
}
