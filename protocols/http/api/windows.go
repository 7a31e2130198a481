package api

import (
	"net/url"
	"strconv"
	"time"

	"github.com/batonmq/baton/protocols/http/history"
)

// windows are the parts of histories that a request wants to see, by what the
// numbers are about.
type windows struct {
	lengths, messages, data, node history.Window
}

// windowsOf reads NAME_age and NAME_incr, which are seconds. As in RabbitMQ, what is
// not a pair of numbers asks for nothing.
func windowsOf(q url.Values) (w windows, err error) {
	for name, into := range map[string]*history.Window{
		"lengths": &w.lengths, "msg_rates": &w.messages, "data_rates": &w.data, "node_stats": &w.node,
	} {
		if *into, err = windowOf(q, name); err != nil {
			return w, err
		}
	}
	return w, nil
}

func windowOf(q url.Values, name string) (history.Window, error) {
	age, isAge := seconds(q.Get(name + "_age"))
	every, isEvery := seconds(q.Get(name + "_incr"))
	if !isAge || !isEvery {
		return history.Window{}, nil
	}
	const most = 1 << 30 // seconds: more than any history has, and no overflow
	w := history.Window{Age: time.Duration(age) * time.Second, Every: time.Duration(every) * time.Second}
	if age > most || every > most || !w.Valid() {
		return w, badRequest("Invalid range parameters: age %d, incr %d", age, every)
	}
	return w, nil
}

// seconds reads a whole number.
func seconds(s string) (n int, ok bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil
}

// putRated adds a number and how it changes.
func putRated(m map[string]any, name string, n int64, d history.Detail) {
	m[name], m[name+"_details"] = n, d
}
