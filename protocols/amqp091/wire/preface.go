package wire

import "strings"

// ProtocolHeader is what a client opens with, and what a server that does not
// understand its client answers before it hangs up (section 4.2.2).
const ProtocolHeader = "AMQP\x00\x00\x09\x01"

// Preface is what the first bytes of a connection turned out to be.
type Preface uint8

// The prefaces. Those from [PrefaceAMQP10] on are told apart so that the log can
// name them.
const (
	PrefaceIncomplete Preface = iota // more bytes are needed to tell
	PrefaceAMQP091                   // ours: 0-9-1, or 0-9 announced as 1-1-0-9
	PrefaceAMQP10
	PrefaceAMQP10TLS
	PrefaceAMQP10SASL
	PrefaceAMQPOther
	PrefaceTLS
	PrefaceHTTP
	PrefaceUnknown
)

// String says in words what the peer speaks.
func (p Preface) String() string {
	switch p {
	case PrefaceIncomplete:
		return "incomplete protocol header"
	case PrefaceAMQP091:
		return "AMQP 0-9-1"
	case PrefaceAMQP10:
		return "AMQP 1.0"
	case PrefaceAMQP10TLS:
		return "AMQP 1.0 with TLS"
	case PrefaceAMQP10SASL:
		return "AMQP 1.0 with SASL"
	case PrefaceAMQPOther:
		return "another version of AMQP"
	case PrefaceTLS:
		return "TLS"
	case PrefaceHTTP:
		return "HTTP"
	case PrefaceUnknown:
	}
	return "unknown protocol"
}

// prefaces are the openings that are recognised. A longer one stands before the
// one it starts with.
var prefaces = [...]struct {
	start   string
	preface Preface
}{
	{ProtocolHeader, PrefaceAMQP091},
	{"AMQP\x01\x01\x00\x09", PrefaceAMQP091},
	{"AMQP\x00\x01\x00\x00", PrefaceAMQP10},
	{"AMQP\x02\x01\x00\x00", PrefaceAMQP10TLS},
	{"AMQP\x03\x01\x00\x00", PrefaceAMQP10SASL},
	{"\x16\x03", PrefaceTLS}, // handshake record, major version 3
	{"GET ", PrefaceHTTP},
	{"HEAD ", PrefaceHTTP},
	{"POST ", PrefaceHTTP},
	{"PUT ", PrefaceHTTP},
	{"DELETE ", PrefaceHTTP},
	{"OPTIONS ", PrefaceHTTP},
	{"CONNECT ", PrefaceHTTP},
	{"PATCH ", PrefaceHTTP},
	{"TRACE ", PrefaceHTTP},
	{"PRI * ", PrefaceHTTP}, // HTTP/2 with prior knowledge
}

// prefaceSize is the length of every AMQP protocol header.
const prefaceSize = len(ProtocolHeader)

// ParsePreface tells what a connection that opens with b speaks and how many
// bytes its header takes (0 unless it is AMQP). It decides as early as the bytes
// allow, so that a stranger is not kept until the handshake times out.
func ParsePreface(b []byte) (p Preface, n int) {
	head := string(b[:min(len(b), prefaceSize)])
	for _, known := range prefaces {
		if strings.HasPrefix(head, known.start) {
			if strings.HasPrefix(head, "AMQP") {
				n = prefaceSize
			}
			return known.preface, n
		}
	}
	if strings.HasPrefix(head, "AMQP") && len(head) == prefaceSize {
		return PrefaceAMQPOther, prefaceSize
	}
	if strings.HasPrefix(head, "AMQP") {
		return PrefaceIncomplete, 0
	}
	for _, known := range prefaces {
		if strings.HasPrefix(known.start, head) {
			return PrefaceIncomplete, 0
		}
	}
	return PrefaceUnknown, 0
}
