package amqp091_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
	"github.com/batonmq/baton/protocols/amqp091/wire"
	"github.com/batonmq/baton/protocols/listen"
)

// TestInfo: what lists of connections say, as RabbitMQ does.
func TestInfo(t *testing.T) {
	b := newBed(t, nil)
	_, addr := serveTCP(t, b)
	p := dialAddr(t, addr)
	properties := append(clientProperties(), field.Field{Key: "connection_name", Value: "worker 7"})
	p.handshake(properties, 65536, 30)
	p.openChannel(1)
	p.openChannel(9)
	p.call(9, &wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{})
	all := b.broker.Sessions()
	if len(all) != 1 {
		t.Fatalf("%d connections are listed", len(all))
	}
	i := all[0].Info()
	local, remote := p.nc.LocalAddr().String(), p.nc.RemoteAddr().String()
	if i.Name != local+" -> "+remote || fmt.Sprintf("%s:%d %s:%d", i.PeerHost, i.PeerPort, i.Host, i.Port) != local+" "+remote {
		t.Errorf("its ends are %q, %s:%d and %s:%d", i.Name, i.PeerHost, i.PeerPort, i.Host, i.Port)
	}
	if i.Protocol != "AMQP 0-9-1" || i.User != "guest" || i.VHost != "/" || i.AuthMechanism != "PLAIN" || i.State != "running" || i.TLS {
		t.Errorf("%+v", i)
	}
	if i.Channels != 1 || i.ChannelMax != 2047 || i.FrameMax != 65536 || i.Timeout != 30*time.Second {
		t.Errorf("%+v", i)
	}
	if i.BytesIn == 0 || i.BytesOut == 0 || i.PacketsIn == 0 || i.PacketsOut == 0 || time.Since(i.ConnectedAt) > time.Minute {
		t.Errorf("%+v", i)
	}
	if i.ClientName != "worker 7" || !field.Equal(i.ClientProperties, properties) {
		t.Errorf("client %q has the properties %v, want %v", i.ClientName, i.ClientProperties, properties)
	}
	_ = p.nc.Close()
	for range time.Tick(time.Millisecond) {
		if len(b.broker.Sessions()) == 0 {
			return
		}
	}
}

// TestEnd: whoever ends a connection has the reason told to the client.
func TestEnd(t *testing.T) {
	for _, row := range []struct {
		name   string
		reason error
		text   string
	}{
		{"by an operator", errors.New("Closed via management plugin"), "Closed via management plugin"},
		{
			"by the engine", &core.Error{Kind: core.Closing, Op: "delete", Text: "user 'guest' is deleted", Err: errors.New("a cause")},
			"user 'guest' is deleted",
		},
	} {
		t.Run(row.name, func(t *testing.T) {
			log := &logged{}
			inBubble(t, func(s *setup) { s.server.Log = slog.New(slog.NewTextHandler(log, nil)) }, func(b *bed) {
				p := b.connect()
				b.broker.Sessions()[0].End(row.reason)
				p.connectionClosed(320, "CONNECTION_FORCED - "+row.text, 0)
				b.serving.Wait()
			})
			if s := log.String(); !strings.Contains(s, row.text) || !strings.Contains(s, `msg="connection closed"`) ||
				!strings.Contains(s, "code=320 duration=") ||
				!strings.Contains(s, "bytes_in=") || !strings.Contains(s, "user=guest vhost=/ reason=") {
				t.Errorf("log:\n%s", s)
			}
		})
	}
}

// TestDeletionsEndConnections, and no others.
func TestDeletionsEndConnections(t *testing.T) {
	populate := func(b *bed) (alice, bob, carol *peer) {
		ctx, a := b.t.Context(), b.broker.Access()
		b.must(a.PutVHost(ctx, core.VHostInfo{Name: "v", MaxConnections: -1, MaxQueues: -1}))
		for _, name := range []string{"alice", "bob"} {
			b.must(a.PutUser(ctx, core.User{Name: name, Password: cheap, MaxConnections: -1, MaxChannels: -1}))
			for _, vhost := range []string{"/", "v"} {
				b.must(a.SetPermission(ctx, core.Permission{VHost: vhost, User: name, Configure: ".*", Write: ".*", Read: ".*"}))
			}
		}
		return b.dial().as("alice", "test12", "/"), b.dial().as("bob", "test12", "/"), b.dial().as("bob", "test12", "v")
	}
	t.Run("of a user", func(t *testing.T) {
		inBubble(t, func(s *setup) { s.auth = internal }, func(b *bed) {
			alice, bob, bobInV := populate(b)
			b.must(b.broker.Access().DeleteUser(b.t.Context(), "bob"))
			bob.connectionClosed(320, "CONNECTION_FORCED - user 'bob' is deleted", 0)
			bobInV.connectionClosed(320, "CONNECTION_FORCED - user 'bob' is deleted", 0)
			alice.openChannel(1)
			again := b.dial()
			again.login(clientProperties(), "bob", "test12")
			again.connectionClosed(403, "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "+
				"For details see the broker logfile.", 0)
		})
	})
	t.Run("of a vhost", func(t *testing.T) {
		inBubble(t, func(s *setup) { s.auth = internal }, func(b *bed) {
			alice, bob, bobInV := populate(b)
			b.must(b.broker.Access().DeleteVHost(b.t.Context(), "v"))
			bobInV.connectionClosed(320, "CONNECTION_FORCED - vhost 'v' is deleted", 0)
			alice.openChannel(1)
			bob.openChannel(1)
			again := b.dial()
			again.login(clientProperties(), "bob", "test12")
			again.next(0) // tune
			again.open("v", 0)
			again.connectionClosed(530, "NOT_ALLOWED - vhost v not found", wire.ConnectionOpenID)
		})
	})
}

// TestConnectionLimits: a place is taken by connection.open and given back
// whatever the end.
func TestConnectionLimits(t *testing.T) {
	for _, row := range []struct {
		name        string
		user, vhost int
		text        string
	}{
		{"of the user", 2, -1, "NOT_ALLOWED - connection refused for user 'alice': user connection limit (2) is reached"},
		{"of the vhost", -1, 2, "NOT_ALLOWED - access to vhost '/' refused for user 'alice': connection limit (2) is reached"},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(s *setup) { s.auth = internal }, func(b *bed) {
				b.limit(core.User{MaxConnections: row.user, MaxChannels: -1}, row.vhost)
				first, second := b.dial().as("alice", "test12", "/"), b.dial().as("alice", "test12", "/")
				refuse := func() {
					third := b.dial()
					third.login(clientProperties(), "alice", "test12")
					third.next(0) // tune
					third.open("/", 0)
					third.connectionClosed(530, row.text, wire.ConnectionOpenID)
				}
				refuse()
				_ = first.nc.Close()
				synctest.Wait()
				b.dial().as("alice", "test12", "/")
				refuse()
				second.call(0, &wire.ConnectionClose{ReplyCode: 200}, &wire.ConnectionCloseOK{})
				b.dial().as("alice", "test12", "/")
				refuse()
			})
		})
	}
}

// limit makes alice, with what u limits, and sets how many connections the
// default vhost may have.
func (b *bed) limit(u core.User, connections int) {
	b.t.Helper()
	ctx, a := b.t.Context(), b.broker.Access()
	u.Name, u.Password = "alice", cheap
	b.must(a.PutUser(ctx, u))
	b.must(a.SetPermission(ctx, core.Permission{VHost: "/", User: "alice", Configure: ".*", Write: ".*", Read: ".*"}))
	b.must(a.PutVHost(ctx, core.VHostInfo{Name: "/", MaxConnections: connections, MaxQueues: -1}))
}

// TestChannelLimit counts the channels of all connections of a user, each for as
// long as its number is taken.
func TestChannelLimit(t *testing.T) {
	const text = "NOT_ALLOWED - number of channels opened for user 'alice' has reached the maximum allowed user limit of (3)"
	over := func(p *peer, id uint16) {
		p.t.Helper()
		p.send(id, &wire.ChannelOpen{})
		p.connectionClosed(530, text, wire.ChannelOpenID)
	}
	for _, row := range []struct {
		name string
		free func(p *peer) // one of the channels 1 and 2 of p, or both
		left int           // to be opened then
	}{
		{"none is free", func(*peer) {}, 0},
		{"closed by the client", func(p *peer) {
			p.call(1, &wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{})
		}, 1},
		{"closed for an error", func(p *peer) {
			p.send(1, &wire.BasicGet{Queue: "nowhere"})
			p.next(1) // close
			p.send(1, &wire.ChannelCloseOK{})
		}, 1},
		{"closed for an error and not answered", func(p *peer) {
			p.send(1, &wire.BasicGet{Queue: "nowhere"})
			p.next(1) // close
		}, 0},
		{"with the connection", func(p *peer) {
			p.call(0, &wire.ConnectionClose{ReplyCode: 200}, &wire.ConnectionCloseOK{})
		}, 2},
		{"with the connection that hangs up", func(p *peer) { _ = p.nc.Close() }, 2},
		{"both with a connection whose third is refused", func(p *peer) { over(p, 3) }, 2},
		{"closed, and then with the connection", func(p *peer) {
			p.call(1, &wire.ChannelClose{ReplyCode: 200}, &wire.ChannelCloseOK{})
			p.call(0, &wire.ConnectionClose{ReplyCode: 200}, &wire.ConnectionCloseOK{})
		}, 2},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, func(s *setup) { s.auth = internal }, func(b *bed) {
				b.limit(core.User{MaxConnections: -1, MaxChannels: 3}, -1)
				p, other := b.dial().as("alice", "test12", "/"), b.dial().as("alice", "test12", "/")
				p.openChannel(1)
				p.openChannel(2)
				other.openChannel(1)
				row.free(p)
				synctest.Wait()
				for i := range row.left {
					other.openChannel(uint16(i + 2))
				}
				over(other, 100)
			})
		})
	}
}

// blockable are the properties of a client that understands connection.blocked.
func blockable() field.Table {
	return field.Table{{Key: "capabilities", Value: field.Table{{Key: "connection.blocked", Value: true}}}}
}

// TestBlocked: a client that publishes while an alarm is set is told so if it
// understands that, and when it goes on; meanwhile the server's heartbeats come,
// and the client's silence is not held against it. Nothing is lost.
func TestBlocked(t *testing.T) {
	for _, row := range []struct {
		name       string
		properties field.Table
		told       bool
	}{
		{"a client that understands it", blockable(), true},
		{"one that does not", clientProperties(), false},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				t := b.t
				p := b.dial()
				p.handshake(row.properties, 131072, 10)
				p.openChannel(1)
				p.declare(wire.QueueDeclare{Queue: "q"})
				reader := b.connect()
				state := func(want string) {
					t.Helper()
					synctest.Wait()
					if i := b.broker.Sessions()[0].Info(); i.State != want {
						t.Errorf("the connection is listed as %s, want %s", i.State, want)
					}
				}
				state("running")
				b.broker.SetMemoryAlarm(true)
				state("blocking")
				p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{}, "x")
				if row.told {
					p.expect(0, &wire.ConnectionBlocked{Reason: "low on memory"})
				}
				for range 20 { // half intervals, five times as many as a silent client has
					f, err := p.frame()
					if err != nil || f.Type != wire.FrameHeartbeat {
						t.Fatalf("frame type %d, %v, want a heartbeat", f.Type, err)
					}
				}
				state("blocked")
				reader.call(1, &wire.BasicGet{Queue: "q"}, &wire.BasicGetEmpty{}) // others go on
				b.broker.SetMemoryAlarm(false)
				if row.told {
					p.expect(0, &wire.ConnectionUnblocked{})
				}
				p.call(1, &wire.BasicGet{Queue: "q", NoAck: true}, &wire.BasicGetOK{DeliveryTag: 1, RoutingKey: "q"})
				if _, body := p.message(1); body != "x" {
					t.Errorf("got %q", body)
				}
				state("running")
			})
		})
	}
}

// TestBlockedOnlyIfItWaits: an alarm that is over in a moment, and one during
// which nothing is published, are not told of.
func TestBlockedOnlyIfItWaits(t *testing.T) {
	inBubble(t, nil, func(b *bed) {
		p := b.dial()
		p.handshake(blockable(), 131072, 0)
		p.openChannel(1)
		b.broker.SetMemoryAlarm(true)
		p.silence(time.Minute)
		p.publish(1, wire.BasicPublish{RoutingKey: "nowhere"}, field.Properties{}, "x")
		p.silence(10 * time.Millisecond)
		b.broker.SetMemoryAlarm(false)
		p.silence(time.Minute)
	})
}

// TestABlockedConnectionEnds when it is asked to, and when its client hangs up.
func TestABlockedConnectionEnds(t *testing.T) {
	for _, row := range []struct {
		name string
		end  func(b *bed, p *peer)
	}{
		{"by an operator", func(b *bed, p *peer) {
			b.broker.Sessions()[0].End(errors.New("Closed via management plugin"))
			p.connectionClosed(320, "CONNECTION_FORCED - Closed via management plugin", 0)
		}},
		{"by the end of the broker", func(b *bed, p *peer) {
			b.stop(listen.ErrStopping)
			p.connectionClosed(320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'", 0)
		}},
		{"by a client that does not answer heartbeats with anything but the end", func(_ *bed, p *peer) {
			_ = p.nc.Close() // which the next heartbeat finds
		}},
	} {
		t.Run(row.name, func(t *testing.T) {
			inBubble(t, nil, func(b *bed) {
				p := b.dial()
				p.handshake(blockable(), 131072, 10)
				p.openChannel(1)
				b.broker.SetMemoryAlarm(true)
				p.publish(1, wire.BasicPublish{RoutingKey: "q"}, field.Properties{}, "x")
				p.expect(0, &wire.ConnectionBlocked{Reason: "low on memory"})
				row.end(b, p)
				b.serving.Wait()
				if n := len(b.broker.Sessions()); n != 0 {
					b.t.Errorf("%d connections are left", n)
				}
			})
		})
	}
}

// TestRates: a connection publishes as much as it may in a second, and then waits.
func TestRates(t *testing.T) {
	inBubble(t, func(s *setup) { s.server.Rates = func() (messages, bytes float64) { return 10, 0 } }, func(b *bed) {
		t := b.t
		p := b.connect()
		begin := time.Now()
		for range 30 {
			p.publish(1, wire.BasicPublish{RoutingKey: "nowhere"}, field.Properties{}, "x")
		}
		p.call(1, &wire.BasicQos{}, &wire.BasicQosOK{})
		if d := time.Since(begin); d < 1900*time.Millisecond || d > 2100*time.Millisecond {
			t.Errorf("30 messages at 10 in a second and 10 at once took %v, want 2s", d)
		}
	})
}
