package main

import (
	"fmt"
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
func integer[T ~int | ~uint16 | ~uint32](p *T, lo, hi int64) value {
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

// off is the list of no addresses.
const off = "off"

// addresses is a list of HOST:PORT, or off.
type addresses struct{ p *[]string }

func (v addresses) set(texts []string) error {
	var list []string
	for _, s := range texts {
		if s == off {
			if len(texts) > 1 {
				return fmt.Errorf("%q stands alone, not beside addresses", off)
			}
			continue
		}
		if err := checkAddress(s); err != nil {
			return err
		}
		list = append(list, s)
	}
	*v.p = list
	return nil
}

func (v addresses) texts() []string {
	if len(*v.p) == 0 {
		return []string{off}
	}
	return slices.Clone(*v.p)
}

// auto is the list that is made of other settings.
const auto = "auto"

// urls is a list of SCHEME://HOST:PORT with the scheme of a protocol that clients
// speak, or auto.
type urls struct{ p *[]string }

// schemes are those under which clients reach a node.
func schemes() []string { return []string{"amqp", "mqtt", "ws"} }

func (v urls) set(texts []string) error {
	var list []string
	for _, s := range texts {
		if s == auto && len(texts) == 1 {
			break
		}
		scheme, addr, ok := strings.Cut(s, "://")
		if !ok || !slices.Contains(schemes(), scheme) {
			return fmt.Errorf("%q does not begin with %s://", s, strings.Join(schemes(), ":// or "))
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil || host == "" || checkAddress(addr) != nil {
			return fmt.Errorf("%q is not SCHEME://HOST:PORT", s)
		}
		list = append(list, s)
	}
	*v.p = list
	return nil
}

func (v urls) texts() []string {
	if len(*v.p) == 0 {
		return []string{auto}
	}
	return slices.Clone(*v.p)
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
