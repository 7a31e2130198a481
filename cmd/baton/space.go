package main

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/batonmq/baton/persistence"
)

// An amount is an amount of disk space or memory: bytes, or, if percent is not 0, percent of the whole.
type amount struct {
	bytes   int64
	percent int
}

func (a amount) String() string {
	if a.percent != 0 {
		return strconv.Itoa(a.percent) + "%"
	}
	return formatSize(a.bytes)
}

// above reports whether a is more than b of every whole. What differs in its unit is not known to be.
func (a amount) above(b amount) bool {
	return (a.percent != 0) == (b.percent != 0) && (a.percent > b.percent || a.bytes > b.bytes)
}

// of is the amount in bytes, of total bytes.
func (a amount) of(total int64) int64 {
	if a.percent == 0 {
		return a.bytes
	}
	return total / 100 * int64(a.percent)
}

// space is an amount of lo bytes or 1 percent at least.
func space(p *amount, lo int64) value {
	bytes := size(new(int64), lo, math.MaxInt64).(single[int64])
	return single[amount]{
		p,
		func(s string) (amount, error) {
			number, ok := strings.CutSuffix(s, "%")
			if !ok {
				n, err := bytes.parse(s)
				return amount{bytes: n}, err
			}
			n, err := strconv.Atoi(strings.TrimSpace(number))
			if err != nil || n < 1 || n > 99 {
				return amount{}, fmt.Errorf("%q is not a whole number of percent from 1%% to 99%%", s)
			}
			return amount{percent: n}, nil
		},
		amount.String,
	}
}

// watermarks are the settings of free disk space in bytes, for the disk that the data directory is on.
type watermarks struct{ low, high, full int64 }

// watermarks asks for the size of the disk only if a setting is a part of it.
func (c *Config) watermarks() (watermarks, error) {
	s := &c.Store
	var total int64
	for _, a := range []amount{s.FreeLow, s.FreeHigh, s.FreeFull} {
		if a.percent == 0 || total != 0 {
			continue
		}
		n, known, err := persistence.DiskSize(c.Data)
		if err == nil && !known {
			err = fmt.Errorf("%v of the disk: its size cannot be asked on this system; give the size instead", a)
		}
		if err != nil {
			return watermarks{}, fmt.Errorf("find the watermarks of free disk space: %w", err)
		}
		total = n
	}
	return watermarks{low: s.FreeLow.of(total), high: s.FreeHigh.of(total), full: s.FreeFull.of(total)}, nil
}
