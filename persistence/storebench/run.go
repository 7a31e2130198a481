package storebench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/batonmq/baton/persistence"
	"github.com/batonmq/baton/persistence/journal"
)

// turn is how long the store runs before the bare files get the same groups.
const turn = 250 * time.Millisecond

// Options say what to measure.
type Options struct {
	Dir      string        // a directory on the disk in question; what is made in it is removed
	Groups   []int         // messages of 1 KiB in a group
	Duration time.Duration // of the store's turns in each row
	Told     func(string)  // is told what is being done. Nil: nobody
}

// Report is what a run found out.
type Report struct {
	Rows   []Row  `json:"rows"`
	Elided Elided `json:"elided"`
}

// Row is the store at one group size, with every message written, beside the bare files.
type Row struct {
	Messages int     `json:"group_messages"` // asked for
	Group    float64 `json:"group_bytes"`    // what groups really had, on average
	Rate     float64 `json:"messages_per_second"`
	Store    float64 `json:"store_us_per_group"`     // this and the next three: the median of all turns
	Append   float64 `json:"append_us_per_group"`    // write at the end + fdatasync
	Over     float64 `json:"overwrite_us_per_group"` // write over zeros + fdatasync
	Ratio    float64 `json:"ratio"`                  // of a turn of the store to the one of appending after it

	Device      *float64 `json:"device_bytes_per_payload_byte"`
	Process     *float64 `json:"process_bytes_per_payload_byte"`
	BareDevice  *float64 `json:"append_device_bytes_per_byte"`
	CPU         *float64 `json:"cpu_us_per_message"` // of the whole process: store, generator and kernel
	UserCPU     *float64 `json:"user_cpu_us_per_message"`
	BareCPU     *float64 `json:"append_cpu_us_per_message"`
	BareUserCPU *float64 `json:"append_user_cpu_us_per_message"`
}

// StoreCPU is what the store takes beyond what a bare file takes for the same groups.
func (r Row) StoreCPU() *float64 {
	if r.CPU == nil || r.BareCPU == nil {
		return nil
	}
	v := *r.CPU - *r.BareCPU
	return &v
}

// Elided is the store while messages are settled as fast as they are published.
type Elided struct {
	Rate    float64  `json:"messages_per_second"`
	Share   float64  `json:"share"`             // of the messages, not written
	Written float64  `json:"bytes_per_message"` // into the journal
	CPU     *float64 `json:"cpu_us_per_message"`
}

// Run measures one row for each group size and then elision.
func Run(ctx context.Context, o Options) (rep Report, err error) {
	dir, err := os.MkdirTemp(o.Dir, "baton-bench-")
	if err != nil {
		return rep, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if o.Told == nil {
		o.Told = func(string) {}
	}
	for i, n := range o.Groups {
		o.Told(fmt.Sprintf("groups of %d messages", n))
		row, err := o.row(ctx, fmt.Sprintf("%s/%d", dir, i), n)
		if err != nil {
			return rep, err
		}
		rep.Rows = append(rep.Rows, row)
	}
	o.Told("messages that are settled at once")
	rep.Elided, err = o.elision(ctx, dir+"/elided")
	return rep, err
}

// open makes an empty store as a broker would, but for the fence.
func open(ctx context.Context, dir string, files journal.Files) (*persistence.Store, error) {
	s, err := persistence.Open(ctx, persistence.Options{Dir: dir, StoreID: [16]byte{1}, Epoch: 1, Files: files})
	if err != nil {
		return nil, err
	}
	s.Activated()
	return s, nil
}

func (o *Options) row(ctx context.Context, dir string, n int) (row Row, err error) {
	rec := newRecorder()
	s, err := open(ctx, dir, rec)
	if err != nil {
		return row, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l, err := newLoad(s, n, rec.begun)
	if err != nil {
		return row, err
	}
	appended, err := newBare(journal.OSFiles(), dir, "append")
	if err != nil {
		return row, err
	}
	overwritten, err := newBare(journal.OSFiles(), dir, "overwrite")
	if err != nil {
		return row, errors.Join(err, appended.close())
	}
	m := &measure{dir: dir, load: l, rec: rec, appended: appended, overwritten: overwritten}
	if _, err = l.run(); err == nil { // arrays grow, code becomes warm
		rec.take()
		for err == nil && m.store.took < o.Duration {
			if err = ctx.Err(); err == nil {
				err = m.turns()
			}
		}
	}
	if err = errors.Join(err, appended.close(), overwritten.close()); err != nil {
		return row, err
	}
	return m.row(n), nil
}

// measure is one row as it is being measured.
type measure struct {
	dir                   string
	load                  *load
	rec                   *recorder
	appended, overwritten *bare

	store, bare, over spent
	messages, groups  int
	bytes             int64
	took              struct{ store, append, over, ratio []float64 } // of each turn: µs per group
}

// turns lets the store run for a turn, and then each bare file write the same groups.
func (m *measure) turns() error {
	before := [...]time.Duration{m.store.took, m.bare.took, m.over.took}
	err := m.store.during(m.dir, func() error {
		n, err := m.load.run()
		m.messages += n
		return err
	})
	groups := m.rec.take()
	bytes := int64(0)
	for _, n := range groups {
		bytes += int64(n)
	}
	for _, step := range []func() error{
		func() error { return m.appended.room(bytes) },
		func() error { return m.bare.during(m.dir, func() error { return m.appended.write(groups) }) },
		func() error { return m.overwritten.room(bytes) },
		func() error { return m.overwritten.zero(bytes) },
		func() error { return m.over.during(m.dir, func() error { return m.overwritten.write(groups) }) },
	} {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return err
	}
	m.groups += len(groups)
	m.bytes += bytes
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 / float64(len(groups)) }
	store, bare, over := us(m.store.took-before[0]), us(m.bare.took-before[1]), us(m.over.took-before[2])
	m.took.store, m.took.append, m.took.over = append(m.took.store, store), append(m.took.append, bare), append(m.took.over, over)
	m.took.ratio = append(m.took.ratio, store/bare)
	return nil
}

func (m *measure) row(n int) Row {
	messages, groups := float64(m.messages), float64(m.groups)
	payload := messages * bodyBytes
	return Row{
		Messages: n, Group: float64(m.bytes) / groups, Rate: messages / m.store.took.Seconds(),
		Store: median(m.took.store), Append: median(m.took.append), Over: median(m.took.over), Ratio: median(m.took.ratio),
		Device: per(m.store.device, payload), Process: per(m.store.process, payload), BareDevice: per(m.bare.device, float64(m.bytes)),
		CPU:         micros(m.store.user+m.store.system, m.store.cpuKnown, messages),
		UserCPU:     micros(m.store.user, m.store.cpuKnown, messages),
		BareCPU:     micros(m.bare.user+m.bare.system, m.bare.cpuKnown, messages),
		BareUserCPU: micros(m.bare.user, m.bare.cpuKnown, messages),
	}
}

// median sorts its argument, which must not be empty.
func median(v []float64) float64 {
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// elidedRound is how many messages may wait for their promise while messages are settled at once.
const elidedRound = 500

func (o *Options) elision(ctx context.Context, dir string) (e Elided, err error) {
	s, err := open(ctx, dir, journal.OSFiles())
	if err != nil {
		return e, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l, err := newLoad(s, elidedRound, nil)
	if err != nil {
		return e, err
	}
	if _, err := l.run(); err != nil {
		return e, err
	}
	before := s.Stats()
	var used spent
	messages := 0
	for used.took < min(o.Duration, 2*time.Second) {
		err := used.during(dir, func() error {
			n, err := l.run()
			messages += n
			return err
		})
		if err = errors.Join(err, ctx.Err()); err != nil {
			return e, err
		}
	}
	after, n := s.Stats(), float64(messages)
	return Elided{
		Rate: n / used.took.Seconds(), Share: float64(after.Elided-before.Elided) / n,
		Written: float64(after.Bytes-before.Bytes) / n,
		CPU:     micros(used.user+used.system, used.cpuKnown, n),
	}, nil
}
