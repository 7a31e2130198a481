package interop

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// Packet types with their reserved flags.
const (
	mqttCONNECT    = 0x10
	mqttCONNACK    = 0x20
	mqttPUBLISH    = 0x30
	mqttPUBACK     = 0x40
	mqttPUBREC     = 0x50
	mqttPUBREL     = 0x62
	mqttPUBCOMP    = 0x70
	mqttSUBSCRIBE  = 0x82
	mqttSUBACK     = 0x90
	mqttPINGREQ    = 0xc0
	mqttPINGRESP   = 0xd0
	mqttDISCONNECT = 0xe0
)

// MQTT brokers that run already, or "".
var (
	externalMQTT = os.Getenv("BATON_INTEROP_MQTT")
	externalWS   = os.Getenv("BATON_INTEROP_WS")
)

// needOwnMQTT skips a test that must own the broker's process, or speak AMQP with
// it, when another is given.
func needOwnMQTT(tb testing.TB) {
	tb.Helper()
	needOwn(tb)
	if externalMQTT != "" {
		tb.Skip("needs a process of its own, and BATON_INTEROP_MQTT names a broker that runs already")
	}
}

// sharedMQTT is a broker that the test must leave as it was, by transport.
func sharedMQTT(t *testing.T, transport string) string {
	t.Helper()
	if externalMQTT != "" {
		broker := map[string]string{"tcp": externalMQTT, "ws": externalWS}[transport]
		if broker == "" {
			t.Skip("BATON_INTEROP_MQTT names a broker of which this transport's address is not known")
		}
		return broker
	}
	needOwn(t)
	b, err := suite.shared()
	must(t, err)
	return map[string]string{"tcp": b.MQTTURL(), "tls": "mqtts://" + suite.mqtts, "ws": b.WSURL(), "wss": "wss://" + suite.wss + "/ws"}[transport]
}

// dialMQTT opens the transport that the URL names.
func dialMQTT(ctx context.Context, broker string) (net.Conn, error) {
	u, err := url.Parse(broker)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch u.Scheme {
	case "ws", "wss":
	case "mqtts":
		return (&tls.Dialer{Config: suite.trust}).DialContext(ctx, "tcp", u.Host)
	default:
		return new(net.Dialer).DialContext(ctx, "tcp", u.Host)
	}
	o := &websocket.DialOptions{Subprotocols: []string{"mqtt"}}
	if u.Scheme == "wss" {
		o.HTTPClient = &http.Client{Transport: &http.Transport{TLSClientConfig: suite.trust}}
	}
	ws, _, err := websocket.Dial(ctx, broker, o) //nolint:bodyclose // the library closes it
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(-1)
	return websocket.NetConn(context.WithoutCancel(ctx), ws, websocket.MessageBinary), nil
}

// mqttPacket is a control packet without its remaining length.
type mqttPacket struct {
	head byte // type and flags
	body []byte
}

func (p mqttPacket) String() string { return fmt.Sprintf("%02x %.64x", p.head, p.body) }

func (p mqttPacket) bytes() []byte {
	return append(binary.AppendUvarint([]byte{p.head}, uint64(len(p.body))), p.body...)
}

// mqttPeer is a connection on which a test writes packets itself, one by one, as
// the libraries would not.
type mqttPeer struct {
	net.Conn
	in      *bufio.Reader
	version byte
}

func openPeer(ctx context.Context, broker string, version byte) (*mqttPeer, error) {
	nc, err := dialMQTT(ctx, broker)
	if err != nil {
		return nil, err
	}
	return &mqttPeer{Conn: nc, in: bufio.NewReader(nc), version: version}, nil
}

// peer is openPeer for the length of a test, with an end to every wait.
func peer(t *testing.T, broker string, version byte) *mqttPeer {
	t.Helper()
	p, err := openPeer(t.Context(), broker, version)
	must(t, err)
	must(t, p.SetDeadline(time.Now().Add(patience+handshakeTimeout)))
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func (p *mqttPeer) send(head byte, body ...byte) error {
	_, err := p.Write(mqttPacket{head, body}.bytes())
	return err
}

func (p *mqttPeer) next() (mqttPacket, error) {
	head, err := p.in.ReadByte()
	if err != nil {
		return mqttPacket{}, err
	}
	size, err := binary.ReadUvarint(p.in)
	if err != nil {
		return mqttPacket{}, err
	}
	body := make([]byte, size)
	_, err = io.ReadFull(p.in, body)
	return mqttPacket{head, body}, err
}

// expect reads one packet, which must be of the type.
func (p *mqttPeer) expect(head byte) ([]byte, error) {
	pk, err := p.next()
	if err != nil {
		return nil, fmt.Errorf("waiting for packet %02x: %w", head, err)
	}
	if pk.head != head {
		return nil, fmt.Errorf("%w packet %v, want %02x", errProtocol, pk, head)
	}
	return pk.body, nil
}

func mqttString(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

// connectPacket is CONNECT of guest with a keep alive of 60 s.
func connectPacket(version byte, clientID string, clean bool, expiry uint32) mqttPacket {
	flags := byte(0xc0)
	if clean {
		flags |= 2
	}
	name := "MQTT"
	if version == 3 {
		name = "MQIsdp"
	}
	body := append(mqttString(name), version, flags, 0, 60)
	if version == 5 {
		body = binary.BigEndian.AppendUint32(append(body, 5, 0x11), expiry)
	}
	body = append(body, mqttString(clientID)...)
	return mqttPacket{mqttCONNECT, append(append(body, mqttString("guest")...), mqttString("guest")...)}
}

// connect returns whether a session was present.
func (p *mqttPeer) connect(clientID string, clean bool) (present bool, err error) {
	expiry := uint32(3600)
	if clean {
		expiry = 0
	}
	if _, err := p.Write(connectPacket(p.version, clientID, clean, expiry).bytes()); err != nil {
		return false, err
	}
	ack, err := p.expect(mqttCONNACK)
	if err != nil {
		return false, err
	}
	switch {
	case len(ack) >= 2 && ack[1] == 0:
		return ack[0]&1 != 0, nil
	case len(ack) >= 2 && slices.Contains([]byte{3, 0x88, 0x89}, ack[1]): // server unavailable, in both versions; server busy
		return false, fmt.Errorf("not now: CONNACK %x", ack)
	}
	return false, fmt.Errorf("%w CONNACK %x", errProtocol, ack)
}

func (p *mqttPeer) subscribe(filter string, qos byte) error {
	body := []byte{0, 1}
	if p.version == 5 {
		body = append(body, 0)
	}
	if err := p.send(mqttSUBSCRIBE, append(append(body, mqttString(filter)...), qos)...); err != nil {
		return err
	}
	ack, err := p.expect(mqttSUBACK)
	if err == nil && ack[len(ack)-1] != qos {
		err = fmt.Errorf("%w SUBACK %x", errProtocol, ack)
	}
	return err
}

// publishBody is a PUBLISH's topic, identifier unless 0, no properties, payload.
func (p *mqttPeer) publishBody(topic string, id uint16, payload []byte) []byte {
	body := mqttString(topic)
	if id != 0 {
		body = binary.BigEndian.AppendUint16(body, id)
	}
	if p.version == 5 {
		body = append(body, 0)
	}
	return append(body, payload...)
}

// mqttDelivery is what a PUBLISH of QoS 1 or 2 carries.
type mqttDelivery struct {
	id      [2]byte
	topic   string
	payload []byte
	dup     bool
}

func (p *mqttPeer) delivery(pk mqttPacket) (mqttDelivery, error) {
	b := pk.body
	if len(b) < 2 || len(b) < 2+int(binary.BigEndian.Uint16(b))+2 {
		return mqttDelivery{}, fmt.Errorf("%w PUBLISH that is cut short: %v", errProtocol, pk)
	}
	topic := 2 + int(binary.BigEndian.Uint16(b))
	d := mqttDelivery{topic: string(b[2:topic]), id: [2]byte(b[topic:]), dup: pk.head&8 != 0}
	b = b[topic+2:]
	if p.version == 5 {
		n, width := binary.Uvarint(b)
		if width <= 0 || uint64(len(b)-width) < n {
			return mqttDelivery{}, fmt.Errorf("%w properties of %v", errProtocol, pk)
		}
		b = b[width+int(n):]
	}
	d.payload = b
	return d, nil
}

// rest reads to the connection's end and returns the packets that came before it.
func (p *mqttPeer) rest() ([]mqttPacket, error) {
	var got []mqttPacket
	for {
		pk, err := p.next()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded):
			return got, fmt.Errorf("the broker keeps the connection; it sent %v", got)
		case err != nil:
			return got, nil //nolint:nilerr // a reset is an end too
		}
		got = append(got, pk)
	}
}

// The peer must read what it writes, or every test with it is void.
func TestPeerReadsWhatItWrites(t *testing.T) {
	for _, version := range []byte{4, 5} {
		p := &mqttPeer{version: version}
		body := p.publishBody("a/b", 0x0102, []byte("payload"))
		p.in = bufio.NewReader(bytes.NewReader(mqttPacket{mqttPUBLISH | 8 | 2, body}.bytes()))
		pk, err := p.next()
		must(t, err)
		d, err := p.delivery(pk)
		must(t, err)
		if d.topic != "a/b" || d.id != [2]byte{1, 2} || string(d.payload) != "payload" || !d.dup {
			t.Errorf("version %d: %+v", version, d)
		}
	}
}
