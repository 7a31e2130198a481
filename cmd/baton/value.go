package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A value is a setting's place in a Config. Every source (default, file,
// environment, flag) sets it from the same texts.
type value interface {
	// set takes one text; a list takes any number.
	set(texts []string) error
	// texts is the inverse of set.
	texts() []string
}

// single makes a value of a pointer and the two conversions of its type.
type single[T any] struct {
	p      *T
	parse  func(string) (T, error)
	format func(T) string
}

func (v single[T]) set(texts []string) error {
	if len(texts) != 1 {
		return fmt.Errorf("takes one value, not %d", len(texts))
	}
	x, err := v.parse(texts[0])
	if err != nil {
		return err
	}
	*v.p = x
	return nil
}

func (v single[T]) texts() []string { return []string{v.format(*v.p)} }

func text(p *string) value {
	return single[string]{
		p,
		func(s string) (string, error) { return s, nil },
		func(s string) string { return s },
	}
}

// filled is a text that is not empty.
func filled(p *string) value {
	v := text(p).(single[string])
	v.parse = func(s string) (string, error) {
		if s == "" {
			return "", errors.New("is empty")
		}
		return s, nil
	}
	return v
}

// oneOf is a text from a closed list.
func oneOf(p *string, allowed ...string) value {
	return single[string]{
		p,
		func(s string) (string, error) {
			if !slices.Contains(allowed, s) {
				return "", fmt.Errorf("%q is not one of %s", s, strings.Join(allowed, ", "))
			}
			return s, nil
		},
		func(s string) string { return s },
	}
}

func boolean(p *bool) value {
	return single[bool]{
		p,
		func(s string) (bool, error) {
			switch s {
			case "true":
				return true, nil
			case "false":
				return false, nil
			}
			return false, fmt.Errorf("%q is neither true nor false", s)
		},
		strconv.FormatBool,
	}
}

// integer is a whole number from lo to hi.
func integer[T ~int | ~int64 | ~uint16 | ~uint32](p *T, lo, hi int64) value {
	return single[T]{
		p,
		func(s string) (T, error) {
			n, err := strconv.ParseInt(s, 10, 64)
			if err != nil || n < lo || n > hi {
				return 0, fmt.Errorf("%q is not a whole number from %d to %d", s, lo, hi)
			}
			return T(n), nil
		},
		func(n T) string { return strconv.FormatInt(int64(n), 10) },
	}
}

// maxPerSecond bounds rates: more is no limit.
const maxPerSecond = 1e9

// perSecond is how often something may happen in a second, with decimals; 0 is
// for no limit.
func perSecond(p *float64) value {
	return single[float64]{
		p,
		func(s string) (float64, error) {
			x, err := strconv.ParseFloat(s, 64)
			if err != nil || !(x >= 0 && x <= maxPerSecond) { // not a number is in no range
				return 0, fmt.Errorf("%q is not a number from 0 to %d", s, int64(maxPerSecond))
			}
			return x, nil
		},
		func(x float64) string { return strconv.FormatFloat(x, 'f', -1, 64) },
	}
}

// duration is a Go duration from lo to hi.
func duration(p *time.Duration, lo, hi time.Duration) value {
	return single[time.Duration]{
		p,
		func(s string) (time.Duration, error) {
			d, err := time.ParseDuration(s)
			if err != nil {
				return 0, fmt.Errorf("%q is not a duration like 500ms, 3s or 2m", s)
			}
			if d < lo || d > hi {
				return 0, fmt.Errorf("%q is not between %v and %v", s, lo, hi)
			}
			return d, nil
		},
		time.Duration.String,
	}
}

// sizeUnits are the suffixes of a size, largest first.
var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// size is a number of bytes from lo to hi.
func size(p *int64, lo, hi int64) value {
	return single[int64]{
		p,
		func(s string) (int64, error) {
			n, ok := parseSize(s)
			if !ok {
				return 0, fmt.Errorf("%q is not a size like 4096, 64KiB, 512MiB or 2GiB", s)
			}
			if n < lo || n > hi {
				return 0, fmt.Errorf("%q is not between %s and %s", s, formatSize(lo), formatSize(hi))
			}
			return n, nil
		},
		formatSize,
	}
}

func parseSize(s string) (int64, bool) {
	unit := int64(1)
	for _, u := range sizeUnits {
		if number, ok := strings.CutSuffix(s, u.suffix); ok {
			s, unit = strings.TrimSpace(number), u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, false
	}
	return n * unit, true
}

func formatSize(n int64) string {
	for _, u := range sizeUnits {
		if n != 0 && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.suffix
		}
	}
	return "0B"
}

// fileMode is the permissions of a file, as chmod takes them.
func fileMode(p *fs.FileMode) value {
	return single[fs.FileMode]{
		p,
		func(s string) (fs.FileMode, error) {
			n, err := strconv.ParseUint(s, 8, 32)
			if err != nil || n > uint64(fs.ModePerm) {
				return 0, fmt.Errorf("%q is not a mode like 0660", s)
			}
			return fs.FileMode(n), nil
		},
		func(m fs.FileMode) string { return fmt.Sprintf("%04o", m.Perm()) },
	}
}

// off is the list of no addresses.
const off = "off"

// list is any number of texts that check accepts, or the one that stands for
// none.
type list struct {
	p     *[]string
	none  string
	check func(string) error
}

func (v list) set(texts []string) error {
	var all []string
	for _, s := range texts {
		if s == v.none {
			if len(texts) > 1 {
				return fmt.Errorf("%q stands alone", s)
			}
			break
		}
		if err := v.check(s); err != nil {
			return err
		}
		all = append(all, s)
	}
	*v.p = all
	return nil
}

func (v list) texts() []string {
	if len(*v.p) == 0 {
		return []string{v.none}
	}
	return slices.Clone(*v.p)
}

// addresses is a list of HOST:PORT, or off.
func addresses(p *[]string) value { return list{p, off, checkAddress} }

// names is a list of texts, or off.
func names(p *[]string) value {
	return list{p, off, func(s string) error {
		if s == "" {
			return fmt.Errorf("has an empty text: write %s for none", off)
		}
		return nil
	}}
}

// someOf is a list from a closed one, each at most once, or off.
func someOf(p *[]string, allowed ...string) value {
	seen := make([]string, 0, len(allowed)) // a value is set once
	return list{p, off, func(s string) error {
		if !slices.Contains(allowed, s) {
			return fmt.Errorf("%q is not one of %s", s, strings.Join(allowed, ", "))
		}
		if slices.Contains(seen, s) {
			return fmt.Errorf("%q is there twice", s)
		}
		seen = append(seen, s)
		return nil
	}}
}

// auto is the value that is made of other settings, or of the host.
const auto = "auto"

// schemes are those under which clients reach a node.
func schemes() []string { return []string{"amqp", "amqps", "mqtt", "mqtts", "ws", "wss"} }

// urls is a list of SCHEME://HOST:PORT with the scheme of a protocol that clients
// speak, or auto.
func urls(p *[]string) value {
	return list{p, auto, func(s string) error {
		scheme, addr, ok := strings.Cut(s, "://")
		all := append(schemes(), "http", "https") // the last two lead to the management API
		if !ok || !slices.Contains(all, scheme) {
			return fmt.Errorf("%q does not begin with %s://", s, strings.Join(all, ":// or "))
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil || host == "" || checkAddress(addr) != nil {
			return fmt.Errorf("%q is not SCHEME://HOST:PORT", s)
		}
		return nil
	}}
}

func checkAddress(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT, :PORT or %s", s, off)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q: port %q is not a number from 0 to %d", s, port, math.MaxUint16)
	} else if strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q: write the port as %d", s, n)
	}
	return nil
}
