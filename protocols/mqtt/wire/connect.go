package wire

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/mochi-mqtt/server/v2/packets"
)

// Connect is a CONNECT. It shares no memory with its input.
type Connect struct {
	Version    Version
	CleanStart bool // Clean Session before MQTT 5
	KeepAlive  uint16
	Bridge     bool   // a client before MQTT 5 that is another broker: see BridgeBit
	ClientID   string // may be empty: the server makes one up
	Will       *Will  // nil for none

	HasUserName bool
	UserName    string
	HasPassword bool
	Password    []byte

	// Of MQTT 5; for other versions they have the values that describe what
	// those versions do. SessionExpiry is in seconds, and for them stays 0: it
	// is CleanStart that says whether a session outlives its connection.
	SessionExpiry        uint32
	ReceiveMaximum       uint16 // at least 1, 65,535 if not given
	MaximumPacketSize    uint32 // math.MaxUint32 if not given
	TopicAliasMaximum    uint16
	RequestResponseInfo  bool
	RequestProblemInfo   bool // true if not given
	AuthenticationMethod string
	AuthenticationData   []byte // nil if not given
	UserProperties       []UserProperty
}

// BridgeBit is added to the version, 3.1 or 3.1.1, by a client that is another broker:
// Mosquitto's invention, which others have taken over. Such a client wants RETAIN as it
// was published, and not what it has published itself, for which MQTT 5 has words.
const BridgeBit = 0x80

// Will is the message to be published when the connection ends badly.
type Will struct {
	Topic   string
	Payload []byte
	QoS     uint8
	Retain  bool
	Delay   uint32 // seconds
	// Properties is the property section as it came, for [ParseProperties].
	Properties []byte
}

// The CONNECT flags (section 3.1.2.3).
const (
	connectReserved   = 1 << 0
	connectCleanStart = 1 << 1
	connectWill       = 1 << 2
	connectWillQoS    = 3 << 3
	connectWillRetain = 1 << 5
	connectPassword   = 1 << 6
	connectUserName   = 1 << 7
)

// DecodeConnect decodes a CONNECT. After an error Version is that of the
// client as far as it is known, and else 0, so that a CONNACK can be phrased
// for it: [AppendConnack] for version 0 is what every client understands. A
// name and level that no version has is an [UnsupportedVersion] error.
func DecodeConnect(f Frame) (Connect, error) {
	check := connectCheck{bodyCheck: bodyCheck{b: f.Body}}
	check.run()
	if check.err != nil {
		return Connect{Version: check.version}, check.err
	}
	body := f.Body
	if check.flags != body[check.flagsAt] { // user name or password that an MQTT 3.1 client left out
		body = append([]byte{}, body...)
		body[check.flagsAt] = check.flags
	}
	pk, err := decode(CONNECT, check.version, body)
	if err != nil {
		return Connect{Version: check.version}, err
	}
	return newConnect(pk, &check), nil
}

func newConnect(pk *packets.Packet, check *connectCheck) Connect {
	p, props := &pk.Connect, &pk.Properties
	c := Connect{
		Version:              check.version,
		Bridge:               check.bridge,
		CleanStart:           p.Clean,
		KeepAlive:            p.Keepalive,
		ClientID:             strings.Clone(p.ClientIdentifier),
		HasUserName:          p.UsernameFlag,
		UserName:             string(p.Username),
		HasPassword:          p.PasswordFlag,
		Password:             cloned(p.Password, p.PasswordFlag),
		SessionExpiry:        props.SessionExpiryInterval,
		ReceiveMaximum:       props.ReceiveMaximum,
		MaximumPacketSize:    props.MaximumPacketSize,
		TopicAliasMaximum:    props.TopicAliasMaximum,
		RequestResponseInfo:  props.RequestResponseInfo == 1,
		RequestProblemInfo:   !props.RequestProblemInfoFlag || props.RequestProblemInfo == 1,
		AuthenticationMethod: strings.Clone(props.AuthenticationMethod),
		AuthenticationData:   cloned(props.AuthenticationData, props.AuthenticationData != nil),
		UserProperties:       fromUser(props.User),
	}
	if c.ReceiveMaximum == 0 { // 0 in the packet is refused
		c.ReceiveMaximum = math.MaxUint16
	}
	if c.MaximumPacketSize == 0 {
		c.MaximumPacketSize = math.MaxUint32
	}
	if p.WillFlag {
		c.Will = &Will{
			Topic:      strings.Clone(p.WillTopic),
			Payload:    cloned(p.WillPayload, true),
			QoS:        p.WillQos,
			Retain:     p.WillRetain,
			Delay:      p.WillProperties.WillDelayInterval,
			Properties: cloned(check.will, len(check.will) > 0),
		}
	}
	return c
}

// connectCheck walks a CONNECT before mochi sees it.
type connectCheck struct {
	bodyCheck
	version Version
	bridge  bool
	flags   uint8 // as they apply
	flagsAt int
	will    []byte // the will's property section
}

// run takes the fields in their order [MQTT-3.1.3-1], the client identifier
// first of the payload [MQTT-3.1.3-3], and refuses what is left over or missing
// [MQTT-3.1.4-1].
func (c *connectCheck) run() {
	c.protocol()
	c.flagsAt = c.at()
	c.flags = c.octet()
	c.checkFlags()
	c.short() // keep alive
	if c.version == V5 {
		c.connectProperties()
	}
	id := c.text() // [MQTT-3.1.3-4]
	if c.version != V5 && len(id) == 0 && (c.flags&connectCleanStart == 0 || c.version == V31) {
		// [MQTT-3.1.1 3.1.3-7] [MQTT-3.1.1 3.1.3-8]; MQTT 3.1 has no empty identifiers at all
		c.fail(&Error{ClientIDNotValid, "empty client identifier"})
	}
	c.willFields()
	c.credentials()
	c.finish()
}

// protocol checks the protocol's name [MQTT-3.1.2-1] and level [MQTT-3.1.2-2].
func (c *connectCheck) protocol() {
	name, level := string(c.data()), Version(c.octet())
	plain := level &^ BridgeBit
	switch {
	case c.err != nil:
	case name == "MQTT" && (plain == V311 || level == V5), name == "MQIsdp" && plain == V31:
		c.version, c.bridge = plain, level != plain
	case name == "MQTT" || name == "MQIsdp":
		c.fail(Errorf(UnsupportedVersion, "%s %d", name, level))
	default:
		c.fail(Errorf(UnsupportedVersion, "protocol name %.16q", name))
	}
}

func (c *connectCheck) checkFlags() {
	qos := c.flags & connectWillQoS
	switch {
	case c.err != nil:
	case c.flags&connectReserved != 0 && c.version != V31: // [MQTT-3.1.2-3]
		c.fail(errReserved)
	case qos == connectWillQoS: // [MQTT-3.1.2-12]
		c.fail(&Error{MalformedPacket, "will with QoS 3"})
	case c.flags&connectWill == 0 && (qos != 0 || c.flags&connectWillRetain != 0): // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
		if c.version == V31 {
			c.flags &^= connectWillQoS | connectWillRetain
			return
		}
		c.fail(&Error{MalformedPacket, "will QoS or will retain without a will"})
	case c.flags&(connectPassword|connectUserName) == connectPassword && c.version != V5: // [MQTT-3.1.1 3.1.2-22]
		c.fail(&Error{MalformedPacket, "password without a user name"})
	}
}

func (c *connectCheck) connectProperties() {
	_, seen := c.properties(ownedBy(CONNECT))
	if seen&(1<<AuthenticationData) != 0 && seen&(1<<AuthenticationMethod) == 0 { // section 3.1.2.11.10
		c.fail(&Error{ProtocolError, "authentication data without a method"})
	}
}

func (c *connectCheck) willFields() {
	if c.flags&connectWill == 0 || c.err != nil {
		return
	}
	if c.version == V5 {
		c.will, _ = c.properties(will) // [MQTT-3.1.2-9]
	}
	topic := c.text() // [MQTT-3.1.3-11]
	c.data()          // the payload, which may be empty
	if c.err != nil {
		return
	}
	if len(topic) == 0 {
		c.fail(&Error{TopicNameInvalid, "will without a topic"})
	} else if err := checkTopic(topic); err != nil {
		c.fail(err)
	}
}

// credentials takes what the flags announce, and nothing else: [MQTT-3.1.2-16]
// to [MQTT-3.1.2-19] [MQTT-3.1.2-17] [MQTT-3.1.2-18].
func (c *connectCheck) credentials() {
	if c.flags&connectUserName != 0 && c.present(connectUserName) {
		c.text() // [MQTT-3.1.3-12]
	}
	if c.flags&connectPassword != 0 && c.present(connectPassword) {
		c.data()
	}
}

// present clears flag where an MQTT 3.1 client announced a field at the end and
// left it out, as that version asks servers to understand.
func (c *connectCheck) present(flag uint8) bool {
	if c.version == V31 && c.err == nil && len(c.b) == c.at() {
		c.flags &^= flag
		return false
	}
	return true
}

// bodyCheck takes fields off a body. The first error sticks and all later reads
// return zero values.
type bodyCheck struct {
	b   []byte
	n   int // bytes taken
	err error
}

func (c *bodyCheck) at() int { return c.n }

func (c *bodyCheck) fail(err error) {
	if c.err == nil {
		c.err = err
	}
}

func (c *bodyCheck) rest() []byte { return c.b[c.n:] }

func (c *bodyCheck) octet() uint8 {
	if c.err != nil || len(c.rest()) < 1 {
		c.fail(errShort)
		return 0
	}
	c.n++
	return c.b[c.n-1]
}

func (c *bodyCheck) short() uint16 {
	if c.err != nil || len(c.rest()) < 2 {
		c.fail(errShort)
		return 0
	}
	c.n += 2
	return binary.BigEndian.Uint16(c.b[c.n-2:])
}

func (c *bodyCheck) data() []byte {
	if c.err != nil {
		return nil
	}
	data, rest, ok := cutData(c.rest())
	if !ok {
		c.fail(errShort)
		return nil
	}
	c.n = len(c.b) - len(rest)
	return data
}

func (c *bodyCheck) text() []byte {
	b := c.data()
	if c.err == nil && !validText(b) {
		c.fail(errUTF8)
	}
	return b
}

// properties checks a property section and says which properties it has.
func (c *bodyCheck) properties(o owner) (section []byte, seen uint64) {
	if c.err != nil {
		return nil, 0
	}
	section, rest, err := cutSection(c.rest())
	if err != nil {
		c.fail(err)
		return nil, 0
	}
	p := cursor{b: section, owner: o}
	if err := p.drain(); err != nil {
		c.fail(err)
		return nil, 0
	}
	c.n = len(c.b) - len(rest)
	return section, p.seen
}

// finish refuses bytes that nothing has taken.
func (c *bodyCheck) finish() {
	if len(c.rest()) > 0 {
		c.fail(errTrailing)
	}
}
