package wire

// Connack is a CONNACK. Everything but SessionPresent and Reason is for MQTT 5
// only. The Has fields tell a value of 0 from none; a number without one is
// left out when it is 0.
type Connack struct {
	SessionPresent bool // not written with a failure [MQTT-3.2.2-6]
	Reason         ReasonCode

	HasSessionExpiry     bool
	SessionExpiry        uint32
	ReceiveMaximum       uint16
	HasMaximumQoS        bool
	MaximumQoS           uint8 // 0 or 1; a server of QoS 2 sends none
	MaximumPacketSize    uint32
	AssignedClientID     string
	TopicAliasMaximum    uint16
	HasServerKeepAlive   bool
	ServerKeepAlive      uint16
	ResponseInfo         string // only if asked for [MQTT-3.1.2-28]
	ServerReference      string
	AuthenticationMethod string
	AuthenticationData   []byte
	ReasonString         string
	UserProperties       []UserProperty

	// What the server does not offer.
	NoRetain, NoWildcards, NoSubscriptionIDs, NoShared bool
}

// AppendConnack appends a CONNACK of at most limit bytes, where 0 is no limit.
// Before MQTT 5 the reason becomes a return code ([ReasonCode.ReturnCode]), and
// MQTT 3.1 knows no session present flag. The other flags are 0 [MQTT-3.2.2-1].
func AppendConnack(dst []byte, v Version, a *Connack, limit uint32) ([]byte, error) {
	pk := packet(CONNACK, v)
	pk.SessionPresent = a.SessionPresent && a.Reason == Success && v != V31
	pk.ReasonCode = byte(a.Reason)
	if v != V5 {
		pk.ReasonCode = a.Reason.ReturnCode()
		return encode(dst, pk, limit)
	}
	p := &pk.Properties
	p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = a.SessionExpiry, a.HasSessionExpiry
	p.ReceiveMaximum = a.ReceiveMaximum
	p.MaximumQos, p.MaximumQosFlag = a.MaximumQoS, a.HasMaximumQoS
	p.MaximumPacketSize = a.MaximumPacketSize
	p.AssignedClientID = fitting(a.AssignedClientID)
	p.TopicAliasMaximum = a.TopicAliasMaximum
	p.ServerKeepAlive, p.ServerKeepAliveFlag = a.ServerKeepAlive, a.HasServerKeepAlive
	p.ResponseInfo = fitting(a.ResponseInfo)
	p.ServerReference = fitting(a.ServerReference)
	p.AuthenticationMethod = fitting(a.AuthenticationMethod)
	p.AuthenticationData = a.AuthenticationData[:min(len(a.AuthenticationData), maxString)]
	p.ReasonString = a.ReasonString
	p.User = toUser(a.UserProperties)
	// The values are 0, not available; 1 is what no property says.
	p.RetainAvailableFlag = a.NoRetain
	p.WildcardSubAvailableFlag = a.NoWildcards
	p.SubIDAvailableFlag = a.NoSubscriptionIDs
	p.SharedSubAvailableFlag = a.NoShared
	return encode(dst, pk, limit)
}

// Disconnect is a DISCONNECT.
type Disconnect struct {
	Reason           ReasonCode
	HasSessionExpiry bool // of a client only
	SessionExpiry    uint32
	ReasonString     string
	ServerReference  string // of a server only
	UserProperties   []UserProperty
}

// DecodeDisconnect decodes a DISCONNECT, without its user properties. It shares
// no memory with its input.
func DecodeDisconnect(f Frame, v Version) (p Disconnect, err error) {
	if len(f.Body) == 0 {
		return Disconnect{}, nil
	}
	if v != V5 {
		return Disconnect{}, errTrailing
	}
	d := body{b: f.Body}
	if p.Reason = ReasonCode(d.octet()); !clientDisconnectReason(p.Reason) {
		return Disconnect{}, errReasonCode // [MQTT-3.14.2-1]
	}
	if len(d.b) == 0 { // section 3.14.2.2.1: no property length
		return p, nil
	}
	d.properties(ownedBy(DISCONNECT), func(c *cursor) {
		switch c.id {
		case SessionExpiry:
			p.HasSessionExpiry, p.SessionExpiry = true, c.num
		case ReasonString:
			p.ReasonString = string(c.text)
		default: // a user property
		}
	})
	if d.finish(); d.err != nil {
		return Disconnect{}, d.err
	}
	return p, nil
}

// clientDisconnectReason reports whether a client may disconnect with c
// (section 3.14.2.1).
func clientDisconnectReason(c ReasonCode) bool {
	switch c {
	case Success, DisconnectWithWill, UnspecifiedError, MalformedPacket, ProtocolError, ImplementationSpecific,
		TopicNameInvalid, ReceiveMaximumExceeded, TopicAliasInvalid, PacketTooLarge, MessageRateTooHigh,
		QuotaExceeded, AdministrativeAction, PayloadFormatInvalid:
		return true
	default:
		return false
	}
}

// AppendDisconnect appends a DISCONNECT of at most limit bytes, where 0 is no
// limit. Only MQTT 5 lets a server send one: for another version there is
// nothing to append, the connection is closed.
func AppendDisconnect(dst []byte, v Version, d *Disconnect, limit uint32) ([]byte, error) {
	if v != V5 {
		return dst, nil
	}
	pk := packet(DISCONNECT, v)
	pk.ReasonCode = byte(d.Reason)
	p := &pk.Properties
	p.SessionExpiryInterval, p.SessionExpiryIntervalFlag = d.SessionExpiry, d.HasSessionExpiry // none of a server [MQTT-3.14.2-2]
	p.ReasonString = d.ReasonString
	p.ServerReference = fitting(d.ServerReference)
	p.User = toUser(d.UserProperties)
	return encode(dst, pk, limit)
}

// Auth is an AUTH, which only MQTT 5 has.
type Auth struct {
	Reason         ReasonCode
	Method         string
	Data           []byte // nil for none
	ReasonString   string
	UserProperties []UserProperty
}

// DecodeAuth decodes an AUTH, without its user properties. It shares no memory
// with its input.
func DecodeAuth(f Frame, v Version) (p Auth, err error) {
	if v != V5 {
		return Auth{}, &Error{ProtocolError, "AUTH before MQTT 5"}
	}
	if len(f.Body) == 0 { // section 3.15.2.1: Success without properties, though a method is mandatory
		return Auth{}, &Error{ProtocolError, "AUTH without an authentication method"}
	}
	d := body{b: f.Body}
	if p.Reason = ReasonCode(d.octet()); p.Reason != ContinueAuthentication && p.Reason != ReAuthenticate && p.Reason != Success {
		return Auth{}, errReasonCode // [MQTT-3.15.2-1]
	}
	_, seen := d.properties(ownedBy(AUTH), func(c *cursor) {
		switch c.id {
		case AuthenticationMethod:
			p.Method = string(c.text)
		case AuthenticationData:
			p.Data = cloned(c.text)
		case ReasonString:
			p.ReasonString = string(c.text)
		default: // a user property
		}
	})
	if d.finish(); d.err != nil {
		return Auth{}, d.err
	}
	if seen&(1<<AuthenticationMethod) == 0 { // section 3.15.2.2.2
		return Auth{}, &Error{ProtocolError, "AUTH without an authentication method"}
	}
	return p, nil
}

// AppendAuth appends an AUTH of at most limit bytes, where 0 is no limit
// [MQTT-3.15.2-2] [MQTT-3.15.2-3].
func AppendAuth(dst []byte, a *Auth, limit uint32) ([]byte, error) {
	pk := packet(AUTH, V5)
	pk.ReasonCode = byte(a.Reason)
	p := &pk.Properties
	p.AuthenticationMethod = fitting(a.Method)
	p.AuthenticationData = a.Data[:min(len(a.Data), maxString)]
	p.ReasonString = a.ReasonString
	p.User = toUser(a.UserProperties)
	return encode(dst, pk, limit)
}
