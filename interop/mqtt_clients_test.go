package interop

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	packets5 "github.com/eclipse/paho.golang/packets"
	paho5 "github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
	"github.com/eclipse/paho.golang/paho/store/memory"
	paho3 "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
)

// outstanding is what a publisher's library holds until it is answered: it watches
// the library's own store, because only there is to be seen what the library will
// send again. The store outlives connections.
type outstanding struct {
	rec *Recorder

	mu      sync.Mutex
	changed sync.Cond
	open    map[uint16]int // packet identifier → message
	last    int            // the highest message published
	ended   bool           // the connection has
}

func newOutstanding(rec *Recorder) *outstanding {
	o := &outstanding{rec: rec, open: make(map[uint16]int)}
	o.changed.L = &o.mu
	return o
}

func (o *outstanding) published(id uint16, payload []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = messageOf(payload)
	o.open[id] = o.last
	o.rec.Add(Event{Kind: Published, Message: o.last})
}

func (o *outstanding) answered(id uint16) {
	o.mu.Lock()
	message, ok := o.open[id]
	delete(o.open, id)
	o.changed.Broadcast()
	o.mu.Unlock()
	if ok { // without mu: it may kill the broker, and wait
		o.rec.Add(Event{Kind: Confirmed, Message: message})
	}
}

// end releases await for the rest of this life; begin is its opposite.
func (o *outstanding) end()   { o.set(true) }
func (o *outstanding) begin() { o.set(false) }

func (o *outstanding) set(ended bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = ended
	o.changed.Broadcast()
}

// await waits until at most n messages are open and returns the last that was
// published, or false when the connection has ended.
func (o *outstanding) await(n int) (int, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for len(o.open) > n && !o.ended {
		o.changed.Wait()
	}
	return o.last, !o.ended
}

func messageOf(payload []byte) int {
	if len(payload) < 8 {
		return -1
	}
	return int(binary.BigEndian.Uint64(payload))
}

// store3 is the store of paho.mqtt.golang that keeps the order.
type store3 struct {
	*paho3.OrderedMemoryStore
	o *outstanding
}

func (s store3) Put(key string, p packets.ControlPacket) {
	s.OrderedMemoryStore.Put(key, p)
	if pub, ok := p.(*packets.PublishPacket); ok && strings.HasPrefix(key, "o.") {
		s.o.published(pub.MessageID, pub.Payload)
	}
}

func (s store3) Del(key string) {
	s.OrderedMemoryStore.Del(key)
	var id uint16
	if n, _ := fmt.Sscanf(key, "o.%d", &id); n == 1 {
		s.o.answered(id)
	}
}

// Close leaves the store open for the next connection.
func (s store3) Close() {}

// store5 is the same for paho.golang.
type store5 struct {
	*memory.Store
	o *outstanding
}

func (s store5) Put(id uint16, typ byte, w io.WriterTo) error {
	if pub, ok := w.(*packets5.Publish); ok {
		s.o.published(id, pub.Payload)
	}
	return s.Store.Put(id, typ, w)
}

func (s store5) Delete(id uint16) error {
	s.o.answered(id)
	return s.Store.Delete(id)
}

// mqttSender hands messages to a library on one connection.
type mqttSender interface {
	send(topic string, qos byte, payload []byte) error
	close()
}

// mqttLink is one connection of a persistent session: what both libraries need to
// make it, and how its end is seen.
type mqttLink struct {
	broker   string
	clientID string
	onOpen   func(net.Conn) net.Conn // may be nil; what it returns is used
	onEnd    func()                  // when the library has stopped working on it
}

func (l mqttLink) open(ctx context.Context) (net.Conn, error) {
	nc, err := dialMQTT(ctx, l.broker)
	if err == nil && l.onOpen != nil {
		nc = l.onOpen(nc)
	}
	return nc, err
}

// mqttGetter is told of every message received, before it is answered.
type mqttGetter func(payload []byte, dup bool)

type client3 struct {
	paho3.Client
	end func()
}

// dial3 connects paho.mqtt.golang.
func dial3(ctx context.Context, l mqttLink, store paho3.Store, get mqttGetter) (c client3, present bool, err error) {
	end := sync.OnceFunc(l.onEnd)
	o := paho3.NewClientOptions().AddBroker(l.broker).SetClientID(l.clientID).
		SetUsername("guest").SetPassword("guest").SetProtocolVersion(4).SetCleanSession(false).
		SetAutoReconnect(false).SetConnectRetry(false).SetConnectTimeout(patience).SetWriteTimeout(time.Second).
		SetStore(store).SetKeepAlive(30 * time.Second).
		SetConnectionLostHandler(func(paho3.Client, error) { end() })
	if get != nil {
		o.SetDefaultPublishHandler(func(_ paho3.Client, m paho3.Message) { get(m.Payload(), m.Duplicate()) })
	}
	if l.onOpen != nil {
		o.SetCustomOpenConnectionFn(func(*url.URL, paho3.ClientOptions) (net.Conn, error) {
			return l.open(ctx)
		})
	}
	c = client3{paho3.NewClient(o), end}
	token := c.Connect()
	if !token.WaitTimeout(patience) {
		return c, false, errors.New("no CONNACK")
	}
	return c, token.(*paho3.ConnectToken).SessionPresent(), token.Error()
}

func (c client3) send(topic string, qos byte, payload []byte) error {
	token := c.Publish(topic, qos, false, payload)
	select {
	case <-token.Done(): // answered already, or not taken
		return token.Error()
	default:
		return nil
	}
}

func (c client3) subscribe(filter string, qos byte) error {
	token := c.Subscribe(filter, qos, nil)
	if !token.WaitTimeout(patience) {
		return errors.New("no SUBACK")
	}
	return token.Error()
}

func (c client3) close() {
	c.Disconnect(0)
	c.end() // the library tells of an end that was not asked for only
}

type client5 struct {
	*paho5.Client
	ctx context.Context //nolint:containedctx // of the connection
}

// dial5 connects paho.golang.
func dial5(ctx context.Context, l mqttLink, session *state.State, get mqttGetter) (c client5, present bool, err error) {
	nc, err := l.open(ctx)
	if err != nil {
		return client5{}, false, err
	}
	cfg := paho5.ClientConfig{Conn: packets5.NewThreadSafeConn(nc), Session: session, PacketTimeout: patience}
	if get != nil {
		cfg.OnPublishReceived = append(cfg.OnPublishReceived, func(p paho5.PublishReceived) (bool, error) {
			get(p.Packet.Payload, p.Packet.Duplicate())
			return true, nil
		})
	}
	c = client5{paho5.NewClient(cfg), ctx}
	expiry := uint32(3600)
	ack, err := c.Connect(ctx, &paho5.Connect{
		ClientID: l.clientID, KeepAlive: 30, Username: "guest", UsernameFlag: true, Password: []byte("guest"), PasswordFlag: true,
		Properties: &paho5.ConnectProperties{SessionExpiryInterval: &expiry},
	})
	if err != nil {
		return client5{}, false, errors.Join(err, nc.Close())
	}
	go func() { // ends with the connection
		<-c.Done()
		l.onEnd()
	}()
	return c, ack.SessionPresent, nil
}

func (c client5) send(topic string, qos byte, payload []byte) error {
	_, err := c.PublishWithOptions(c.ctx, &paho5.Publish{Topic: topic, QoS: qos, Payload: payload},
		paho5.PublishOptions{Method: paho5.PublishMethod_AsyncSend})
	return err
}

func (c client5) subscribe(filter string, qos byte) error {
	_, err := c.Subscribe(c.ctx, &paho5.Subscribe{Subscriptions: []paho5.SubscribeOptions{{Topic: filter, QoS: qos}}})
	return err
}

func (c client5) close() {
	_ = c.Disconnect(&paho5.Disconnect{}) // the connection may have ended
	<-c.Done()
}
