package wire

import (
	"errors"
	"fmt"
)

// ReasonCode is a reason code of MQTT 5.0 section 2.4. It says of every version
// what happened; [ReasonCode.ReturnCode] is what older clients are told.
type ReasonCode uint8

// The reason codes. Those from 0x80 on are failures.
const (
	Success                    ReasonCode = 0x00
	GrantedQoS1                ReasonCode = 0x01
	GrantedQoS2                ReasonCode = 0x02
	DisconnectWithWill         ReasonCode = 0x04
	NoMatchingSubscribers      ReasonCode = 0x10
	NoSubscriptionExisted      ReasonCode = 0x11
	ContinueAuthentication     ReasonCode = 0x18
	ReAuthenticate             ReasonCode = 0x19
	UnspecifiedError           ReasonCode = 0x80
	MalformedPacket            ReasonCode = 0x81
	ProtocolError              ReasonCode = 0x82
	ImplementationSpecific     ReasonCode = 0x83
	UnsupportedVersion         ReasonCode = 0x84
	ClientIDNotValid           ReasonCode = 0x85
	BadUserNameOrPassword      ReasonCode = 0x86
	NotAuthorized              ReasonCode = 0x87
	ServerUnavailable          ReasonCode = 0x88
	ServerBusy                 ReasonCode = 0x89
	Banned                     ReasonCode = 0x8A
	ServerShuttingDown         ReasonCode = 0x8B
	BadAuthenticationMethod    ReasonCode = 0x8C
	KeepAliveTimeout           ReasonCode = 0x8D
	SessionTakenOver           ReasonCode = 0x8E
	TopicFilterInvalid         ReasonCode = 0x8F
	TopicNameInvalid           ReasonCode = 0x90
	PacketIDInUse              ReasonCode = 0x91
	PacketIDNotFound           ReasonCode = 0x92
	ReceiveMaximumExceeded     ReasonCode = 0x93
	TopicAliasInvalid          ReasonCode = 0x94
	PacketTooLarge             ReasonCode = 0x95
	MessageRateTooHigh         ReasonCode = 0x96
	QuotaExceeded              ReasonCode = 0x97
	AdministrativeAction       ReasonCode = 0x98
	PayloadFormatInvalid       ReasonCode = 0x99
	RetainNotSupported         ReasonCode = 0x9A
	QoSNotSupported            ReasonCode = 0x9B
	UseAnotherServer           ReasonCode = 0x9C
	ServerMoved                ReasonCode = 0x9D
	SharedNotSupported         ReasonCode = 0x9E
	ConnectionRateExceeded     ReasonCode = 0x9F
	MaximumConnectTime         ReasonCode = 0xA0
	SubscriptionIDNotSupported ReasonCode = 0xA1
	WildcardNotSupported       ReasonCode = 0xA2
)

// reasons are the names of section 2.4 in lower case.
var reasons = map[ReasonCode]string{
	Success:                    "success",
	GrantedQoS1:                "granted QoS 1",
	GrantedQoS2:                "granted QoS 2",
	DisconnectWithWill:         "disconnect with will message",
	NoMatchingSubscribers:      "no matching subscribers",
	NoSubscriptionExisted:      "no subscription existed",
	ContinueAuthentication:     "continue authentication",
	ReAuthenticate:             "re-authenticate",
	UnspecifiedError:           "unspecified error",
	MalformedPacket:            "malformed packet",
	ProtocolError:              "protocol error",
	ImplementationSpecific:     "implementation specific error",
	UnsupportedVersion:         "unsupported protocol version",
	ClientIDNotValid:           "client identifier not valid",
	BadUserNameOrPassword:      "bad user name or password",
	NotAuthorized:              "not authorized",
	ServerUnavailable:          "server unavailable",
	ServerBusy:                 "server busy",
	Banned:                     "banned",
	ServerShuttingDown:         "server shutting down",
	BadAuthenticationMethod:    "bad authentication method",
	KeepAliveTimeout:           "keep alive timeout",
	SessionTakenOver:           "session taken over",
	TopicFilterInvalid:         "topic filter invalid",
	TopicNameInvalid:           "topic name invalid",
	PacketIDInUse:              "packet identifier in use",
	PacketIDNotFound:           "packet identifier not found",
	ReceiveMaximumExceeded:     "receive maximum exceeded",
	TopicAliasInvalid:          "topic alias invalid",
	PacketTooLarge:             "packet too large",
	MessageRateTooHigh:         "message rate too high",
	QuotaExceeded:              "quota exceeded",
	AdministrativeAction:       "administrative action",
	PayloadFormatInvalid:       "payload format invalid",
	RetainNotSupported:         "retain not supported",
	QoSNotSupported:            "QoS not supported",
	UseAnotherServer:           "use another server",
	ServerMoved:                "server moved",
	SharedNotSupported:         "shared subscriptions not supported",
	ConnectionRateExceeded:     "connection rate exceeded",
	MaximumConnectTime:         "maximum connect time",
	SubscriptionIDNotSupported: "subscription identifiers not supported",
	WildcardNotSupported:       "wildcard subscriptions not supported",
}

// String returns the name of the code, or its number if it has none.
func (c ReasonCode) String() string {
	if s, ok := reasons[c]; ok {
		return s
	}
	return fmt.Sprintf("reason code %#02x", uint8(c))
}

// Failed reports whether the code is that of a failure.
func (c ReasonCode) Failed() bool { return c >= UnspecifiedError }

// ReturnCode returns the CONNACK return code of MQTT 3.1 and 3.1.1 that comes
// nearest (MQTT 3.1.1 table 3.1). There are five; what is neither about the
// version nor the client is "server unavailable".
func (c ReasonCode) ReturnCode() uint8 {
	switch c {
	case Success:
		return 0
	case UnsupportedVersion:
		return 1
	case ClientIDNotValid:
		return 2
	case BadUserNameOrPassword, BadAuthenticationMethod:
		return 4
	case NotAuthorized, Banned:
		return 5
	default:
		return 3
	}
}

// Error is a fault of the peer. Code is what DISCONNECT or CONNACK tells it,
// Text is for its reason string and the log.
type Error struct {
	Code ReasonCode
	Text string
}

// Error returns the code's name and the text.
func (e *Error) Error() string { return e.Code.String() + ": " + e.Text }

// Errorf returns an [*Error] with a formatted text.
func Errorf(code ReasonCode, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// What cannot be written. These are not the peer's faults.
var (
	// ErrTooLarge says that a packet is larger than the receiver accepts, or
	// than MQTT can say. It must not be sent [MQTT-3.1.2-24].
	ErrTooLarge = errors.New("packet larger than the receiver accepts")
	// ErrTopicTooLong says that a topic has more than 65,535 bytes. A routing
	// key that came over another protocol may.
	ErrTopicTooLong = errors.New("topic longer than 65,535 bytes")
)

// The faults that cost an attacker nothing to repeat are made once.
var (
	errShort      = &Error{MalformedPacket, "packet ends too early"}
	errTrailing   = &Error{MalformedPacket, "bytes left over at the end of the packet"}
	errUTF8       = &Error{MalformedPacket, "string is not valid UTF-8"}
	errFlags      = &Error{MalformedPacket, "reserved flags of the fixed header"}
	errPacketID   = &Error{ProtocolError, "packet identifier is zero"}
	errTooMany    = &Error{QuotaExceeded, "more filters or user properties than a packet may hold"}
	errVarint     = &Error{MalformedPacket, "variable byte integer longer than it may be"}
	errReserved   = &Error{MalformedPacket, "reserved bits set"}
	errReasonCode = &Error{ProtocolError, "reason code that this packet cannot have"}
)
