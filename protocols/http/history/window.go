package history

import "time"

// A Window is the last part of a history, in steps. Its zero is none of it.
type Window struct{ Age, Every time.Duration }

// MaxPoints is how many steps a window may have.
const MaxPoints = 500

// Valid reports whether a window is one that can be shown.
func (w Window) Valid() bool {
	return w.Age > 0 && w.Every > 0 && w.Age/w.Every <= MaxPoints
}

func (w Window) wanted() bool { return w.Every > 0 }

// points is the number of samples in the window, both ends included.
func (w Window) points() int { return int(w.Age/w.Every) + 1 }

// A Sample is what a number was at a time.
type Sample struct {
	Value int64 `json:"sample"`
	Time  int64 `json:"timestamp"` // Unix milliseconds
}

// A Detail is how a number changes, a second: between the last two samples and,
// where there is a window, on average over it. It is RabbitMQ's "…_details".
type Detail struct {
	Rate        float64  `json:"rate"`
	Samples     []Sample `json:"samples,omitempty"`  // the last one first
	AverageRate *float64 `json:"avg_rate,omitempty"` // nil: no window
	Average     *float64 `json:"avg,omitempty"`      // of the samples
}

func detailOf(seen []Sample, every int64) (d Detail) {
	n := len(seen)
	if n == 0 {
		return d
	}
	var sum, rate float64
	for _, s := range seen {
		sum += float64(s.Value)
	}
	if n > 1 {
		d.Rate = perSecond(seen[0].Value-seen[1].Value, every)
		rate = perSecond(seen[0].Value-seen[n-1].Value, every*int64(n-1))
	}
	sum /= float64(n)
	d.Samples, d.AverageRate, d.Average = seen, &rate, &sum
	return d
}

func perSecond(change, milliseconds int64) float64 {
	if milliseconds <= 0 {
		return 0
	}
	return float64(change) * 1000 / float64(milliseconds)
}
