package wire

import (
	"bytes"
	"math"
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
	d := connectBody{body: body{b: f.Body}}
	d.packet.ReceiveMaximum, d.packet.MaximumPacketSize = math.MaxUint16, math.MaxUint32
	d.packet.RequestProblemInfo = true
	if d.decode(); d.err != nil {
		return Connect{Version: d.packet.Version}, d.err
	}
	return d.packet, nil
}

// connectBody is the body of a CONNECT and what was found in it.
type connectBody struct {
	body
	flags  uint8 // as they apply
	packet Connect
}

// decode takes the fields in their order [MQTT-3.1.3-1], the client identifier
// first of the payload [MQTT-3.1.3-3], and refuses what is left over or missing
// [MQTT-3.1.4-1].
func (d *connectBody) decode() {
	p := &d.packet
	d.protocol()
	d.flags = d.octet()
	d.checkFlags()
	p.CleanStart = d.flags&connectCleanStart != 0
	p.KeepAlive = d.short()
	if p.Version == V5 {
		d.connectProperties()
	}
	p.ClientID = string(d.text()) // [MQTT-3.1.3-4]
	if p.Version != V5 && p.ClientID == "" && (!p.CleanStart || p.Version == V31) {
		// [MQTT-3.1.1 3.1.3-7] [MQTT-3.1.1 3.1.3-8]; MQTT 3.1 has no empty identifiers at all
		d.fail(&Error{ClientIDNotValid, "empty client identifier"})
	}
	d.will()
	d.credentials()
	d.finish()
}

// protocol checks the protocol's name [MQTT-3.1.2-1] and level [MQTT-3.1.2-2].
func (d *connectBody) protocol() {
	name, level := string(d.data()), Version(d.octet())
	plain := level &^ BridgeBit
	switch {
	case d.err != nil:
	case name == "MQTT" && (plain == V311 || level == V5), name == "MQIsdp" && plain == V31:
		d.packet.Version, d.packet.Bridge = plain, level != plain
	case name == "MQTT" || name == "MQIsdp":
		d.fail(Errorf(UnsupportedVersion, "%s %d", name, level))
	default:
		d.fail(Errorf(UnsupportedVersion, "protocol name %.16q", name))
	}
}

func (d *connectBody) checkFlags() {
	qos := d.flags & connectWillQoS
	switch {
	case d.err != nil:
	case d.flags&connectReserved != 0 && d.packet.Version != V31: // [MQTT-3.1.2-3]
		d.fail(errReserved)
	case qos == connectWillQoS: // [MQTT-3.1.2-12]
		d.fail(&Error{MalformedPacket, "will with QoS 3"})
	case d.flags&connectWill == 0 && (qos != 0 || d.flags&connectWillRetain != 0): // [MQTT-3.1.2-11] [MQTT-3.1.2-13]
		if d.packet.Version == V31 {
			d.flags &^= connectWillQoS | connectWillRetain
			return
		}
		d.fail(&Error{MalformedPacket, "will QoS or will retain without a will"})
	case d.flags&(connectPassword|connectUserName) == connectPassword && d.packet.Version != V5: // [MQTT-3.1.1 3.1.2-22]
		d.fail(&Error{MalformedPacket, "password without a user name"})
	}
}

func (d *connectBody) connectProperties() {
	p := &d.packet
	_, seen := d.properties(ownedBy(CONNECT), func(c *cursor) {
		switch c.id {
		case SessionExpiry:
			p.SessionExpiry = c.num
		case ReceiveMaximum:
			p.ReceiveMaximum = uint16(c.num)
		case MaximumPacketSize:
			p.MaximumPacketSize = c.num
		case TopicAliasMaximum:
			p.TopicAliasMaximum = uint16(c.num)
		case RequestResponseInfo:
			p.RequestResponseInfo = c.num == 1
		case RequestProblemInfo:
			p.RequestProblemInfo = c.num == 1
		case AuthenticationMethod:
			p.AuthenticationMethod = string(c.text)
		case AuthenticationData:
			p.AuthenticationData = cloned(c.text)
		default: // a user property
		}
	})
	if seen&(1<<AuthenticationData) != 0 && seen&(1<<AuthenticationMethod) == 0 { // section 3.1.2.11.10
		d.fail(&Error{ProtocolError, "authentication data without a method"})
	}
}

func (d *connectBody) will() {
	if d.flags&connectWill == 0 || d.err != nil {
		return
	}
	w := &Will{QoS: d.flags & connectWillQoS >> 3, Retain: d.flags&connectWillRetain != 0}
	if d.packet.Version == V5 {
		section, _ := d.properties(ofWill, func(c *cursor) {
			if c.id == WillDelay {
				w.Delay = c.num
			}
		}) // [MQTT-3.1.2-9]
		w.Properties = bytes.Clone(section)
	}
	topic := d.text() // [MQTT-3.1.3-11]
	w.Topic = string(topic)
	w.Payload = cloned(d.data()) // which may be empty
	if d.err != nil {
		return
	}
	if len(topic) == 0 {
		d.fail(&Error{TopicNameInvalid, "will without a topic"})
	} else if err := checkTopic(topic); err != nil {
		d.fail(err)
	}
	d.packet.Will = w
}

// credentials takes what the flags announce, and nothing else: [MQTT-3.1.2-16]
// to [MQTT-3.1.2-19] [MQTT-3.1.2-17] [MQTT-3.1.2-18].
func (d *connectBody) credentials() {
	p := &d.packet
	if p.HasUserName = d.present(connectUserName); p.HasUserName {
		p.UserName = string(d.text()) // [MQTT-3.1.3-12]
	}
	if p.HasPassword = d.present(connectPassword); p.HasPassword {
		p.Password = cloned(d.data())
	}
}

// present reports whether a field at the end is there: an MQTT 3.1 client may
// announce one and leave it out, as that version asks servers to understand.
func (d *connectBody) present(flag uint8) bool {
	return d.flags&flag != 0 && (d.packet.Version != V31 || d.err != nil || len(d.b) > 0)
}
