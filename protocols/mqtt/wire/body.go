package wire

import "encoding/binary"

// body is what is left of a packet's body. The first error sticks and all later
// reads return zero values.
type body struct {
	b   []byte
	err error
}

func (d *body) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

func (d *body) octet() uint8 {
	if d.err != nil || len(d.b) < 1 {
		d.fail(errShort)
		return 0
	}
	v := d.b[0]
	d.b = d.b[1:]
	return v
}

func (d *body) short() uint16 {
	if d.err != nil || len(d.b) < 2 {
		d.fail(errShort)
		return 0
	}
	v := binary.BigEndian.Uint16(d.b)
	d.b = d.b[2:]
	return v
}

// data takes bytes with their length in front. They alias the body.
func (d *body) data() []byte {
	if d.err != nil {
		return nil
	}
	data, rest, ok := cutData(d.b)
	if !ok {
		d.fail(errShort)
		return nil
	}
	d.b = rest
	return data
}

// text is data that has to be a UTF-8 encoded string.
func (d *body) text() []byte {
	b := d.data()
	if d.err == nil && !validText(b) {
		d.fail(errUTF8)
	}
	return b
}

// properties takes a property section, shows each property to take and says
// which there were. The section aliases the body. User properties are looked at
// and not kept: those of a PUBLISH and of a will go on as part of its section,
// and nobody asks for others.
func (d *body) properties(o owner, take func(*cursor)) (section []byte, seen uint64) {
	if d.err != nil {
		return nil, 0
	}
	section, rest, err := cutSection(d.b)
	if err != nil {
		d.fail(err)
		return nil, 0
	}
	c := cursor{b: section, owner: o}
	for c.next() {
		take(&c)
	}
	if c.err != nil {
		d.fail(c.err)
		return nil, 0
	}
	d.b = rest
	return section, c.seen
}

// finish refuses bytes that nothing has taken.
func (d *body) finish() {
	if len(d.b) > 0 {
		d.fail(errTrailing)
	}
}

// cloned copies a value that was there, and so is not nil if it is empty.
func cloned(b []byte) []byte { return append([]byte{}, b...) }
