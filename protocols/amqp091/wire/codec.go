package wire

import (
	"encoding/binary"
	"errors"
	"math"

	"github.com/batonmq/baton/core/field"
)

// maxShortstr is the longest short string (section 4.2.5.3).
const maxShortstr = math.MaxUint8

// ErrStringTooLong says that a name has more than the 255 bytes AMQP 0-9-1 can
// carry. A name that came over another protocol may.
var ErrStringTooLong = errors.New("string longer than 255 bytes")

var (
	errShort    = errors.New("arguments end too early")
	errTrailing = errors.New("bytes left over after the arguments")
)

// decoder takes arguments off a method frame's payload. The first error sticks
// and all later reads return zero values.
type decoder struct {
	b   []byte
	err error
}

// take returns the next n bytes, or nil.
func (d *decoder) take(n uint32) []byte {
	// Compared unsigned: an int of 32 bits cannot hold every length.
	if d.err != nil || uint64(n) > uint64(len(d.b)) {
		d.fail(errShort)
		return nil
	}
	b := d.b[:n:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// finish returns the error of the reads, or one for bytes that none has read.
func (d *decoder) finish() error {
	if d.err == nil && len(d.b) > 0 {
		return errTrailing
	}
	return d.err
}

func (d *decoder) octet() uint8 {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) short() uint16 {
	if b := d.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (d *decoder) long() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) longlong() uint64 {
	if b := d.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (d *decoder) shortstr() string { return string(d.take(uint32(d.octet()))) }
func (d *decoder) text() string     { return d.shortstr() }
func (d *decoder) longstr() string  { return string(d.take(d.long())) }

func (d *decoder) table() field.Table {
	if d.err != nil {
		return nil
	}
	t, rest, err := field.ParseTable(d.b)
	if err != nil {
		d.err = err
		return nil
	}
	d.b = rest
	return t
}

// encoder appends arguments to a frame that begins at start. The first error
// sticks.
type encoder struct {
	b     []byte
	start int
	err   error
}

func (e *encoder) octet(v uint8)     { e.b = append(e.b, v) }
func (e *encoder) short(v uint16)    { e.b = binary.BigEndian.AppendUint16(e.b, v) }
func (e *encoder) long(v uint32)     { e.b = binary.BigEndian.AppendUint32(e.b, v) }
func (e *encoder) longlong(v uint64) { e.b = binary.BigEndian.AppendUint64(e.b, v) }

func (e *encoder) shortstr(s string) {
	if len(s) > maxShortstr {
		e.fail(ErrStringTooLong)
		return
	}
	e.b = append(append(e.b, byte(len(s))), s...)
}

func (e *encoder) text(s string) { e.shortstr(truncate(s)) }

func (e *encoder) longstr(s string) {
	e.long(uint32(len(s)))
	e.b = append(e.b, s...)
}

func (e *encoder) table(t field.Table) {
	b, err := field.AppendTable(e.b, t)
	if err != nil {
		e.fail(err)
		return
	}
	e.b = b
}

func (e *encoder) fail(err error) {
	if e.err == nil {
		e.err = err
	}
}

// bit returns v as bit n of an octet.
func bit(v bool, n uint) uint8 {
	if v {
		return 1 << n
	}
	return 0
}
