package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// servedAfter tells after how long a connection was served; negative: it was not.
func servedAfter(conn net.Conn, since time.Time) <-chan time.Duration {
	took := make(chan time.Duration, 1)
	go func() {
		if err := roundTrip(conn); err != nil {
			took <- -time.Second
			return
		}
		took <- time.Since(since)
	}()
	return took
}

// Of a storm from one address, as many are let in at once as may be, the next wait in the order in which they came, as long as they may, and
// the rest are refused. Their handshakes have their whole time then. Who comes from elsewhere is let in at once all the while.
func TestListener_AStormWaitsInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		rate := newRate(t, RateOptions{PerSecond: 10, Burst: 5, MaxWait: 2 * time.Second})
		l := limited(Options{Rate: rate}, &log)
		l.opt.HandshakeTimeout = 50 * time.Millisecond
		storm, begun := tcpAddr("198.51.100.1"), time.Now()
		var open []net.Conn
		var all []<-chan time.Duration
		for range 100 {
			conn := connect(l, storm)
			open = append(open, conn)
			all = append(all, servedAfter(conn, begun))
		}
		synctest.Wait()
		if s := rate.Stats(); s != (RateStats{Addresses: 1, Refused: 75, Waiting: 20, Waited: 20}) {
			t.Errorf("at first: %+v", s)
		}
		for i := range 20 {
			conn := connect(l, tcpAddr(fmt.Sprintf("192.0.2.%d", i)))
			open = append(open, conn)
			if took := <-servedAfter(conn, time.Now()); took != 0 {
				t.Errorf("honest client %d was served after %v", i, took)
			}
			time.Sleep(100 * time.Millisecond)
		}
		for i, took := range all {
			want := time.Duration(max(i-4, 0)) * 100 * time.Millisecond
			if i >= 25 {
				want = -time.Second
			}
			if took := <-took; took.Round(time.Millisecond) != want {
				t.Errorf("connection %d was served after %v, want %v", i, took, want)
			}
		}
		if s := rate.Stats(); s.Waiting != 0 || l.Stats().TooOften != 75 {
			t.Errorf("at last: %+v, %+v", s, l.Stats())
		}
		if n := strings.Count(log.String(), "its connections wait for their turn"); n != 1 {
			t.Errorf("%d lines about one storm:\n%s", n, log.String())
		}
		for _, conn := range open {
			_ = conn.Close()
		}
		if err := l.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// Connections that wait end with the listener, at once.
func TestListener_StopsWithConnectionsThatWait(t *testing.T) {
	for name, end := range map[string]func(*Listener){
		"Stop":     func(*Listener) {},
		"CloseAll": (*Listener).CloseAll,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rate := newRate(t, RateOptions{PerSecond: 1, Burst: 1, MaxWait: time.Minute})
				l := limited(Options{Rate: rate, Budget: NewBudget(10)}, io.Discard)
				ctx, cancel := context.WithCancelCause(t.Context())
				l.cancel = cancel
				waits, begun := make([]net.Conn, 3), time.Now()
				_ = connect(l, tcpAddr("192.0.2.1")).Close()
				for i := range waits {
					client, server := net.Pipe()
					l.serve(ctx, peer{server, tcpAddr("192.0.2.1")})
					waits[i] = client
				}
				synctest.Wait()
				end(l)
				if err := l.Stop(t.Context()); err != nil {
					t.Error(err)
				}
				for i, conn := range waits {
					if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
						t.Errorf("connection %d: %v", i, err)
					}
				}
				if s := rate.Stats(); s.Waiting != 0 || s.Waited != 3 || l.opt.Budget.Stats().Open != 0 || time.Since(begun) != 0 {
					t.Errorf("after %v: %+v, %+v", time.Since(begun), s, l.opt.Budget.Stats())
				}
			})
		})
	}
}

// One address's line takes no more of the room than it leaves to the others, and who is refused for another reason has no place in it.
func TestRate_TheRoomForThoseThatWaitIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRate(t, RateOptions{PerSecond: 1, Burst: 1, MaxWait: time.Hour, MaxWaiting: 8, FailuresPerSecond: 1, FailureBurst: 1})
		var line []place
		for i, want := range []int{4, 2, 1, 1, 0} {
			addr, waits := tcpAddr(fmt.Sprintf("192.0.2.%d", i)), 0
			if p, ok := r.enter(addr, true); !ok || p.wait != 0 {
				t.Errorf("the first connection of address %d: %+v, %t", i, p, ok)
			}
			for range 20 {
				if p, ok := r.enter(addr, true); ok {
					line = append(line, p)
					waits++
				}
			}
			if waits != want {
				t.Errorf("%d connections of address %d wait, want %d", waits, i, want)
			}
		}
		for _, p := range line {
			r.leave(p)
		}
		if s := r.Stats(); s.Waiting != 0 || s.Waited != 8 || s.Refused != 92 {
			t.Errorf("Stats() = %+v", s)
		}
		guesser := tcpAddr("198.51.100.1")
		r.RecordFailure(guesser)
		if p, ok := r.enter(guesser, true); ok {
			t.Errorf("an address that has failed to log in waits: %+v", p)
		}
	})
}

// Nobody waits where there is not half of the budget left, or where those who wait have half of what the listener has left: then they would
// take the room of those who need not.
func TestListener_NobodyWaitsInACrowd(t *testing.T) {
	for name, opt := range map[string]Options{
		"of the budget":   {Budget: NewBudget(20)},
		"of the listener": {MaxConns: 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				opt.Rate = newRate(t, RateOptions{PerSecond: 1, Burst: 1, MaxWait: time.Hour})
				l := limited(opt, io.Discard)
				ctx, cancel := context.WithCancelCause(t.Context())
				l.cancel = cancel
				for range 50 {
					_, server := net.Pipe()
					l.serve(ctx, peer{server, tcpAddr("198.51.100.1")})
				}
				if s := l.Stats(); s.Open != 10 || s.TooOften != 40 || s.Refused != 0 {
					t.Errorf("of 50 connections: %+v", s)
				}
				l.CloseAll()
				if err := l.Stop(t.Context()); err != nil {
					t.Error(err)
				}
				if n := l.waiting.Load(); n != 0 {
					t.Errorf("%d connections still wait", n)
				}
			})
		})
	}
}

// Behind a proxy, it is the client's line.
func TestProxy_ClientsWaitForTheirTurn(t *testing.T) {
	rate := newRate(t, RateOptions{PerSecond: 20, Burst: 1, MaxWait: time.Minute})
	l := start(t, Options{Handler: tell, Proxy: &Proxy{Trusted: loopback}, Rate: rate})
	for i := range 4 {
		if !as(t, l, "192.0.2.7") {
			t.Fatalf("connection %d is refused", i)
		}
	}
	if s := rate.Stats(); s.Waited == 0 || s.Waiting != 0 || s.Refused != 0 || s.Addresses != 1 {
		t.Errorf("Stats() = %+v", s)
	}
}
