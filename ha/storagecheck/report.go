package storagecheck

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Verdict is what a check came to.
type Verdict string

// The verdicts, from the best.
const (
	Pass Verdict = "pass"
	Note Verdict = "note" // worth knowing, and no obstacle
	Fail Verdict = "fail" // not to be used with standbys
)

// Check is one thing that was tried.
type Check struct {
	Name    string             `json:"name"`
	Verdict Verdict            `json:"verdict"`
	Detail  string             `json:"detail"`
	Figures map[string]float64 `json:"figures,omitempty"` // durations in milliseconds
}

// Report is what came of all checks.
type Report struct {
	Dir        string  `json:"dir"`
	Freshness  string  `json:"freshness"` // cached, direct or stale: see ha.Freshness
	Lead       string  `json:"lead"`      // host and process
	Partner    string  `json:"partner"`
	Pair       bool    `json:"pair"` // two commands, not a command and its child
	Checks     []Check `json:"checks"`
	OK         bool    `json:"ok"`          // standbys may use the directory
	DoubtLocks bool    `json:"doubt_locks"` // what ha.Options.DoubtLocks should be
}

// add notes a check. The verdict is the report's when it is worse.
func (r *Report) add(name string, v Verdict, figures map[string]float64, format string, args ...any) {
	r.Checks = append(r.Checks, Check{Name: name, Verdict: v, Detail: fmt.Sprintf(format, args...), Figures: figures})
	r.OK = !slices.ContainsFunc(r.Checks, func(c Check) bool { return c.Verdict == Fail })
}

// Reason is why standbys may not use the directory, in one line; empty when they
// may.
func (r *Report) Reason() string {
	var why []string
	for _, c := range r.Checks {
		if c.Verdict == Fail {
			why = append(why, c.Name+": "+c.Detail)
		}
	}
	return strings.Join(why, "; ")
}

// Write writes the report for people.
func (r *Report) Write(to io.Writer) error {
	var s strings.Builder
	w := tabwriter.NewWriter(&s, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "directory\t%s\nreads\t%s\nlead\t%s\npartner\t%s\n\n", r.Dir, r.Freshness, r.Lead, r.Partner)
	for _, c := range r.Checks {
		fmt.Fprintf(w, "%s\t%s\t%s%s\n", c.Verdict, c.Name, c.Detail, figures(c.Figures))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	verdict := "A primary and its standbys can share this directory."
	if !r.OK {
		verdict = "A primary and its standbys must not share this directory; a single broker can use it."
	}
	if r.OK && !r.Pair {
		verdict += " This was one host: check again with a pair if there are to be two."
	}
	if r.OK && r.DoubtLocks {
		verdict += " Its locks are not to be trusted: a takeover after a crash waits until the lease stands still, too."
	}
	_, err := io.WriteString(to, s.String()+"\n"+verdict+"\n")
	return err
}

func figures(f map[string]float64) string {
	if len(f) == 0 {
		return ""
	}
	var all []string
	for name, ms := range f {
		all = append(all, fmt.Sprintf("%s %.3g ms", name, ms))
	}
	slices.Sort(all)
	return " (" + strings.Join(all, ", ") + ")"
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// spread turns measurements into figures.
func spread(name string, all []time.Duration) map[string]float64 {
	if len(all) == 0 {
		return nil
	}
	slices.Sort(all)
	return map[string]float64{
		name + " p50": ms(all[len(all)/2]),
		name + " p99": ms(all[len(all)*99/100]),
		name + " max": ms(all[len(all)-1]),
	}
}
