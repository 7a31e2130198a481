package remote_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/persistence/memstore"
	"github.com/batonmq/baton/protocols/mqtt/remote"
	"github.com/batonmq/baton/protocols/mqtt/wire"
)

// scripted is a far broker that a test plays, byte by byte.
type scripted struct {
	t     *testing.T
	conns chan net.Conn
	nc    net.Conn
	read  bytes.Buffer
}

func newScripted(t *testing.T) *scripted {
	t.Helper()
	return &scripted{t: t, conns: make(chan net.Conn, 100)}
}

func (p *scripted) dial() (net.Conn, error) {
	near, far := net.Pipe()
	p.conns <- far
	return near, nil
}

// accept waits for the next connection, and returns its CONNECT.
func (p *scripted) accept() []byte {
	p.t.Helper()
	p.nc = <-p.conns
	p.t.Cleanup(func() { _ = p.nc.Close() })
	p.read.Reset()
	return p.next()
}

// next returns the next packet.
func (p *scripted) next() []byte {
	p.t.Helper()
	for {
		if _, n, err := wire.ParseFrame(p.read.Bytes(), 1<<20); err != nil {
			p.t.Fatal(err)
		} else if n > 0 {
			return bytes.Clone(p.read.Next(n))
		}
		_ = p.nc.SetReadDeadline(time.Now().Add(time.Hour))
		b := make([]byte, 4096)
		n, err := p.nc.Read(b)
		if err != nil {
			p.t.Fatalf("no packet comes: %v", err)
		}
		p.read.Write(b[:n])
	}
}

// expect wants packets, in hexadecimal; - is the end of the connection.
func (p *scripted) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		if w == "-" {
			if _, err := p.nc.Read(make([]byte, 1)); !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrClosedPipe) {
				p.t.Fatalf("the connection goes on: %v", err)
			}
			continue
		}
		if got := hex.EncodeToString(p.next()); got != strings.ReplaceAll(w, " ", "") {
			p.t.Fatalf("got %s, want %s", got, w)
		}
	}
}

// subscribed answers a SUBSCRIBE of one filter.
func (p *scripted) subscribed() {
	p.t.Helper()
	b := p.next()
	if wire.PacketType(b[0]>>4) != wire.SUBSCRIBE {
		p.t.Fatalf("got %x, want SUBSCRIBE", b)
	}
	p.send("90 04" + hex.EncodeToString(b[2:4]) + "00 02")
}

// quiet wants nothing to come for a while.
func (p *scripted) quiet(d time.Duration) {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(d))
	if n, err := p.nc.Read(make([]byte, 64)); n > 0 || !errors.Is(err, context.DeadlineExceeded) && !isTimeout(err) {
		p.t.Fatalf("%d bytes came, %v", n, err)
	}
}

func isTimeout(err error) bool {
	var e net.Error
	return errors.As(err, &e) && e.Timeout()
}

// send sends packets, in hexadecimal.
func (p *scripted) send(packets ...string) {
	p.t.Helper()
	for _, s := range packets {
		b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
		if err != nil {
			p.t.Fatal(err)
		}
		_ = p.nc.SetWriteDeadline(time.Now().Add(time.Hour))
		if _, err := p.nc.Write(b); err != nil {
			p.t.Fatal(err)
		}
	}
}

// Packets of MQTT 5, in hexadecimal.
const (
	accepted  = "20 03 00 00 00"
	continued = "20 03 01 00 00"
	goodbye   = "e0 00"
)

// play runs f with a local side and a far broker that it plays.
func play(t *testing.T, f func(local *side, p *scripted)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		local := newSide(t, "local")
		local.observe()
		f(local, newScripted(t))
	})
}

func TestBridge_Connects(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*remote.Options)
		want   string
	}{
		{
			"5.0", func(*remote.Options) {},
			"10 1e 0004 4d515454 05 00 003c" + "0d 11ffffffff 2103e8 2701000000" + "0004 62726964",
		},
		{
			"5.0, clean, with everything", func(o *remote.Options) {
				o.CleanStart, o.Username, o.Password, o.KeepAlive, o.Notify = true, "u", "p", 5*time.Second, "s"
			},
			"10 26 0004 4d515454 05 e6 0005" + "08 2103e8 2701000000" + "0004 62726964" + "00 0001 73 0001 30" + "0001 75 0001 70",
		},
		{
			"3.1.1, as a bridge", func(o *remote.Options) { o.Version = wire.V311 },
			"10 10 0004 4d515454 84 00 003c" + "0004 62726964",
		},
		{
			"3.1.1, as a client", func(o *remote.Options) { o.Version, o.NoBit = wire.V311, true },
			"10 10 0004 4d515454 04 00 003c" + "0004 62726964",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			play(t, func(local *side, p *scripted) {
				t := local.t
				local.bridgeBy(p.dial, func(o *remote.Options) { o.ClientID = "brid"; tt.change(o) }, "a")
				if got := hex.EncodeToString(p.accept()); got != strings.ReplaceAll(tt.want, " ", "") {
					t.Errorf("CONNECT is\n%s, want\n%s", got, strings.ReplaceAll(tt.want, " ", ""))
				}
			})
		})
	}
}

// A broker that does not know what a bridge is gets a client, at once.
func TestBridge_ComesAsAClientWhereBridgesAreNotKnown(t *testing.T) {
	for name, refuse := range map[string]func(*scripted){
		"refused":      func(p *scripted) { p.send("20 02 00 01") },
		"not answered": func(p *scripted) { _ = p.nc.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(local *side, p *scripted) {
				t := local.t
				local.bridgeBy(p.dial, func(o *remote.Options) { o.Version = wire.V311 }, "a in 1")
				if c := p.accept(); c[8] != 0x84 {
					t.Fatalf("the version is %#x", c[8])
				}
				begin := time.Now()
				refuse(p)
				if c := p.accept(); c[8] != 0x04 || time.Since(begin) > time.Millisecond {
					t.Fatalf("the version is %#x, after %v", c[8], time.Since(begin))
				}
				p.send("20 02 00 00")
				p.expect("82 06 0001 0001 61 01")
			})
		})
	}
}

// What comes in is answered when it is on record, and no sooner.
func TestBridge_AnswersWhatIsOnRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.Open(memstore.Options{Manual: true})
		broker, err := core.Open(t.Context(), store, core.Options{})
		if err != nil {
			t.Fatal(err)
		}
		store.Flush()
		p := newScripted(t)
		b := make(chan *remote.Bridge, 1)
		go func() {
			bridge, err := remote.Start(t.Context(), remote.Options{
				Broker: broker, Name: "b", ClientID: "c", Addresses: []string{"mqtt://far"}, Topics: []remote.Topic{{Pattern: "a", Direction: remote.In, QoS: 2}},
				Log:  slog.New(slog.NewTextHandler(t.Output(), nil)),
				Dial: func(context.Context, string, string) (net.Conn, error) { return p.dial() },
			})
			if err != nil {
				t.Error(err)
			}
			b <- bridge
		}()
		flush := func() { synctest.Wait(); store.Flush(); synctest.Wait() }
		flush()
		flush()
		bridge := <-b
		p.accept()
		p.send(accepted)
		flush()
		p.expect("82 07 0001 00 0001 61 1e")
		session, err := broker.Attach("/", core.SessionOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var declared sync.WaitGroup
		declared.Go(func() {
			if _, err := session.DeclareQueue(t.Context(), core.QueueSpec{Name: "q", Durable: true}); err != nil {
				t.Error(err)
			}
		})
		flush()
		declared.Wait()
		declared.Go(func() {
			if err := session.Bind(t.Context(), core.BindingSpec{Source: core.TopicExchange, Dest: "q", Key: "a"}); err != nil {
				t.Error(err)
			}
		})
		flush()
		declared.Wait()

		p.send("32 06 0001 61 0001 00") // QoS 1
		p.quiet(time.Second)
		flush()
		p.expect("40 02 0001")
		p.send("34 06 0001 61 0002 00") // QoS 2
		p.quiet(time.Second)
		flush()
		p.expect("50 02 0002")
		p.send("62 02 0002")
		p.quiet(time.Second)
		flush()
		p.expect("70 02 0002")
		bridge.Cut()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
		broker.Close()
	})
}

// A message that comes a second time under its identifier is not published again, also by a broker that was killed in
// between, unless the far broker has begun to count anew.
func TestBridge_RemembersWhatCameIn(t *testing.T) {
	play(t, func(local *side, p *scripted) {
		local.bridgeBy(p.dial, nil, "a in 2")
		p.accept()
		p.send(accepted)
		p.subscribed()
		p.send("34 07 0001 61 0007 00 31")
		p.expect("50 02 0007")
		local.restart()
		local.bridgeBy(p.dial, nil, "a in 2")
		p.accept()
		p.send(continued)
		p.subscribed()
		p.send("3c 07 0001 61 0007 00 31")
		p.expect("50 02 0007")
		_ = p.nc.Close()
		p.accept()
		p.send(accepted) // without the session
		p.subscribed()
		p.send("34 07 0001 61 0007 00 32")
		p.expect("50 02 0007")
		local.expect("a 1 q2", "a 2 q2")
	})
}

// What the far broker says no to for good is dropped, what it has no room for comes again.
func TestBridge_IsTurnedAway(t *testing.T) {
	play(t, func(local *side, p *scripted) {
		t := local.t
		b := local.bridgeBy(p.dial, nil, "a out 2")
		p.accept()
		p.send(accepted)
		synctest.Wait()
		for qos, topic := range []string{1: "1", 2: "2"} {
			if topic != "" {
				local.publish("a", topic, uint8(qos), false)
			}
		}
		p.expect("32 07 0001 61 0001 00 31", "34 07 0001 61 0002 00 32")
		p.send("40 03 0001 87", "50 03 0002 99")
		synctest.Wait()
		if s := b.Stats(); s.Dropped != 2 || s.Waiting != 0 {
			t.Errorf("after refusals: %+v", s)
		}
		local.publish("a", "3", 2, false)
		p.expect("34 07 0001 61 0003 00 33")
		p.send("50 03 0003 97")
		p.expect(goodbye, "-")
		p.accept()
		p.send(continued)
		p.expect("3c 07 0001 61 0003 00 33")
		p.send("50 02 0003")
		p.expect("62 02 0003")
		p.send("70 02 0003")
		synctest.Wait()
		if s := b.Stats(); s.Dropped != 2 || s.Waiting != 0 {
			t.Errorf("at the end: %+v", s)
		}
	})
}

// The far broker's limits are kept to: messages on their way, size, QoS, RETAIN, keep alive.
func TestBridge_KeepsToWhatTheFarBrokerOffers(t *testing.T) {
	play(t, func(local *side, p *scripted) {
		t := local.t
		b := local.bridgeBy(p.dial, nil, "a out 2")
		p.accept()
		p.send("20 12 00 00 0f" + "21 0002" + "27 00000018" + "24 01" + "25 00" + "13 0005")
		synctest.Wait()
		for _, body := range []string{"1", "2", "3"} {
			local.publish("a", body, 2, true)
		}
		local.publish("a", "more than the far broker takes", 2, false)
		p.expect("32 07 0001 61 0001 00 31", "32 07 0001 61 0002 00 32")
		p.expect("c0 00") // of QoS 1, as it says, and no third one: the keep alive's ping is next
		p.send("40 02 0001")
		p.expect("32 07 0001 61 0003 00 33")
		p.send("40 02 0002", "40 02 0003")
		synctest.Wait()
		if s := b.Stats(); s.Dropped != 1 || s.Waiting != 0 {
			t.Errorf("the message that is too large: %+v", s)
		}
	})
}

// A far broker that says nothing for one and a half keep alives is given up; one that is slow to answer CONNECT, too.
func TestBridge_GivesUpOnSilence(t *testing.T) {
	play(t, func(local *side, p *scripted) {
		t := local.t
		local.bridgeBy(p.dial, func(o *remote.Options) { o.KeepAlive = 10 * time.Second }, "a")
		p.accept()
		begin := time.Now()
		p.expect("-") // 30 s later
		if d := time.Since(begin); d < 25*time.Second || d > 35*time.Second {
			t.Errorf("CONNECT is waited for for %v", d)
		}
		p.accept()
		p.send(accepted)
		p.expect("c0 00")
		p.send("d0 00")
		p.expect("c0 00")
		begin = time.Now()
		p.expect(goodbye, "-")
		if d := time.Since(begin); d > 15*time.Second {
			t.Errorf("silence is borne for %v more", d)
		}
		p.accept()
	})
}

// What is no packet of a server's ends the connection, and the bridge comes again.
func TestBridge_SurvivesAFarBrokerThatIsNone(t *testing.T) {
	for name, packets := range map[string][]string{
		"not CONNACK":         {"d0 00"},
		"refused":             {"20 03 00 87 00"},
		"short CONNACK":       {"20 00"},
		"no properties":       {"20 02 00 00"},
		"wrong properties":    {"20 05 00 00 7f 01 02"},
		"second CONNACK":      {accepted, accepted},
		"PUBLISH with QoS 3":  {accepted, "36 06 0001 61 0001 00"},
		"topic alias":         {accepted, "30 06 0000 03 23 0001"},
		"SUBSCRIBE":           {accepted, "82 07 0001 00 0001 61 00"},
		"short SUBACK":        {accepted, "90 01 00"},
		"DISCONNECT":          {accepted, "e0 01 8e"},
		"too large":           {accepted, "30 ff ff ff 7f"},
		"packet that is none": {"00 00"},
	} {
		t.Run(name, func(t *testing.T) {
			play(t, func(local *side, p *scripted) {
				local.bridgeBy(p.dial, nil, "a")
				p.accept()
				p.send(packets...)
				p.accept()
				local.expect()
			})
		})
	}
}

// A far broker that lets the bridge in and then ends the connection is not asked for more often than one that is away,
// and one that has been there for long is asked again soon.
func TestBridge_WaitsLongerEachTime(t *testing.T) {
	play(t, func(local *side, p *scripted) {
		local.bridgeBy(p.dial, nil, "a")
		between := func(stay time.Duration) time.Duration {
			p.send(accepted)
			synctest.Wait()
			time.Sleep(stay)
			begin := time.Now()
			_ = p.nc.Close()
			p.accept()
			return time.Since(begin)
		}
		p.accept()
		var waits []time.Duration
		for range 8 {
			waits = append(waits, between(0))
		}
		for i, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
			if longest := time.Duration(seconds) * time.Second; waits[i] < longest/2 || waits[i] > longest {
				local.t.Errorf("wait %d is %v, want %v at most and half of it at least", i, waits[i], longest)
			}
		}
		between(0)
		p.send(accepted)
		for range 3 {
			p.expect("c0 00")
			p.send("d0 00")
		}
		begin := time.Now()
		_ = p.nc.Close()
		p.accept()
		if d := time.Since(begin); d > time.Second {
			local.t.Errorf("after minutes of carrying the wait is %v", d)
		}
	})
}

// A stop is orderly: a goodbye, and what was not answered for comes again.
func TestBridge_Stops(t *testing.T) {
	play(t, func(local *side, p *scripted) {
		t := local.t
		b := local.bridgeBy(p.dial, nil, "a out 1")
		p.accept()
		p.send(accepted)
		synctest.Wait()
		local.publish("a", "1", 1, false)
		p.expect("32 07 0001 61 0001 00 31")
		go b.Stop(t.Context())
		p.expect(goodbye, "-")
		synctest.Wait()
		local.bridgeBy(p.dial, nil, "a out 1")
		p.accept()
		p.send(continued)
		p.expect("3a 07 0001 61 0001 00 31")
	})
}

// silent is a store that does not answer for subscriptions while it is told not to, although it keeps them.
type silent struct {
	core.Store

	now atomic.Bool
}

func (s *silent) Commit(ops []core.Op) {
	if s.now.Load() && slices.ContainsFunc(ops, func(o core.Op) bool { return o.Kind == core.OpDefine && o.Key[0] == 'u' }) {
		ops = slices.Clone(ops)
		for i := range ops {
			ops[i].Done = nil
		}
	}
	s.Store.Commit(ops)
}

// What is retained is carried for a rule that is on record although nobody heard so, too.
func TestBridge_CarriesWhatIsRetainedForARuleThatWasNotAnswered(t *testing.T) {
	play(t, func(local *side, p *scripted) {
		store := new(silent)
		local.wrap = func(s core.Store) core.Store { store.Store = s; return store }
		local.restart()
		local.publish("a", "1", 1, true)
		store.now.Store(true)
		local.bridgeBy(p.dial, nil, "a out 1")
		store.now.Store(false)
		p.accept()
		p.send(continued)
		p.expect("33 07 0001 61 0001 00 31")
	})
}

// A broker in maintenance takes no clients; its bridges are none.
func TestBridge_GoesOnInMaintenance(t *testing.T) {
	play(t, func(local *side, p *scripted) {
		local.broker.SetMaintenance(true)
		local.bridgeBy(p.dial, nil, "a out 1")
		p.accept()
		p.send(accepted)
		synctest.Wait()
		local.publish("a", "1", 1, false)
		p.expect("32 07 0001 61 0001 00 31")
		if all := local.broker.Clients(); len(all) > 0 {
			local.t.Errorf("maintenance would end %d connections", len(all))
		}
	})
}

// The log has no password.
func TestBridge_KeepsItsPassword(t *testing.T) {
	play(t, func(local *side, p *scripted) {
		t := local.t
		var mu sync.Mutex
		var log bytes.Buffer
		local.bridgeBy(p.dial, func(o *remote.Options) {
			o.Username, o.Password = "u", "s3cret"
			o.Log = slog.New(slog.NewTextHandler(writerFunc(func(b []byte) (int, error) {
				mu.Lock()
				defer mu.Unlock()
				return log.Write(b)
			}), &slog.HandlerOptions{Level: slog.LevelDebug}))
		}, "a")
		p.accept()
		p.send("20 03 00 86 00")
		p.accept()
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		if strings.Contains(log.String(), "s3cret") || !strings.Contains(log.String(), "bad user name or password") {
			t.Errorf("the log is\n%s", log.String())
		}
	})
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
