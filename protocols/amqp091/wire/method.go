package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// MethodID is a method's class id (high half) and method id (low half).
type MethodID uint32

// Class returns the class id.
func (id MethodID) Class() uint16 { return uint16(id >> 16) }

// Method returns the method id within its class.
func (id MethodID) Method() uint16 { return uint16(id) }

// String returns the specification's name, such as basic.publish, or the two
// numbers of a method that is unknown.
func (id MethodID) String() string {
	if name := methodName(id); name != "" {
		return name
	}
	return fmt.Sprintf("%d.%d", id.Class(), id.Method())
}

// Method is one of the structs of methods_gen.go, by pointer.
type Method interface {
	ID() MethodID

	encode(*encoder)
	decode(*decoder)
}

// ParseMethod splits the payload of a method frame into the method's id and its
// arguments, which alias payload. The id may be unknown.
func ParseMethod(payload []byte) (id MethodID, args []byte, err error) {
	if len(payload) < 4 {
		return 0, nil, Errorf(FrameError, 0, "method frame of %d bytes has no method id", len(payload))
	}
	return MethodID(binary.BigEndian.Uint32(payload)), payload[4:], nil
}

// DecodeMethod decodes the payload of a method frame. An unknown method is a
// [CommandInvalid] error.
func DecodeMethod(payload []byte) (Method, error) {
	id, args, err := ParseMethod(payload)
	if err != nil {
		return nil, err
	}
	m := newMethod(id)
	if m == nil {
		return nil, Errorf(CommandInvalid, id, "unknown method %s", id)
	}
	d := decoder{b: args}
	m.decode(&d)
	if err := d.finish(); err != nil {
		return nil, malformed(id, err)
	}
	return m, nil
}

// AppendMethod appends the whole frame of m to dst. It fails only if a name or
// table of m cannot be encoded. It does not look at frame_max: what a broker
// puts into a method of its own fits the smallest.
func AppendMethod(dst []byte, channel uint16, m Method) ([]byte, error) {
	e := beginMethod(dst, channel, m.ID())
	m.encode(&e)
	return e.end(dst, m.ID())
}

// malformed is the error for arguments that are not what their method says:
// 501 if they cannot be told apart, as RabbitMQ does, 502 if one of them has a
// value it cannot have.
func malformed(id MethodID, err error) *Error {
	code := SyntaxError
	if errors.Is(err, errShort) || errors.Is(err, errTrailing) {
		code = FrameError
	}
	return Errorf(code, id, "cannot decode %s: %v", id, err)
}

// beginMethod returns an encoder that has written the start of a method frame.
func beginMethod(dst []byte, channel uint16, id MethodID) encoder {
	e := encoder{b: appendFrameHeader(dst, FrameMethod, channel, 0), start: len(dst)}
	e.long(uint32(id))
	return e
}

// end closes the frame that beginMethod began after dst.
func (e *encoder) end(dst []byte, id MethodID) ([]byte, error) {
	if e.err != nil {
		return dst, fmt.Errorf("encode %s: %w", id, e.err)
	}
	size := len(e.b) - e.start - frameHeaderSize
	binary.BigEndian.PutUint32(e.b[e.start+3:], uint32(size))
	return append(e.b, frameEnd), nil
}
