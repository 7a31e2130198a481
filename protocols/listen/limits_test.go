package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func tcpAddr(ip string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: 40000} }

func newRate(t *testing.T, opt RateOptions) *Rate {
	t.Helper()
	r, err := NewRate(opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// allow reports whether a connection of the address may go on at once.
func (r *Rate) allow(addr net.Addr) bool {
	p, ok := r.enter(addr, false)
	return ok && p.wait == 0
}

func TestAddressKey(t *testing.T) {
	for _, tt := range []struct {
		addr net.Addr
		want string
	}{
		{tcpAddr("192.0.2.7"), "192.0.2.7/32"},
		{tcpAddr("::ffff:192.0.2.7"), "192.0.2.7/32"},
		{tcpAddr("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64"},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0"}, "fe80::/64"},
		{&net.UnixAddr{Name: "/run/baton", Net: "unix"}, "invalid Prefix"},
	} {
		ip, _ := addressOf(tt.addr)
		if got := addressKey(ip).String(); got != tt.want {
			t.Errorf("%v counts as %s, want %s", tt.addr, got, tt.want)
		}
	}
}

func TestBudget_IsSharedAndGivenBack(t *testing.T) {
	b := NewBudget(2)
	one, two, three := tcpAddr("192.0.2.1"), tcpAddr("192.0.2.2"), tcpAddr("192.0.2.3")
	for _, addr := range []net.Addr{one, two} {
		if _, err := b.take(addr); err != nil {
			t.Fatal(err)
		}
	}
	for i, wantFirst := range []bool{true, false} {
		if first, err := b.take(three); first != wantFirst || !errors.Is(err, errOverBudget) {
			t.Errorf("take %d beyond the limit = %v, %v", i, first, err)
		}
	}
	if s := b.Stats(); s != (BudgetStats{Limit: 2, Open: 2, Refused: 2}) {
		t.Errorf("Stats() = %+v", s)
	}
	b.give(one)
	if _, err := b.take(three); err != nil {
		t.Errorf("take of what was given back: %v", err)
	}
	b.give(two)
	b.give(three)
	if s := b.Stats(); s.Open != 0 || len(b.held) != 0 {
		t.Errorf("all given back: %+v, held %v", s, b.held)
	}
}

func TestBudget_ItsLimitChanges(t *testing.T) {
	b := NewBudget(1)
	take := func(want error) {
		t.Helper()
		if _, err := b.take(tcpAddr("192.0.2.1")); !errors.Is(err, want) {
			t.Errorf("take = %v, want %v", err, want)
		}
	}
	take(nil)
	take(errOverBudget)
	b.SetLimit(8)
	take(nil)
	b.SetLimit(1)
	take(errOverBudget)
	if s := b.Stats(); s.Limit != 1 || s.Open != 2 {
		t.Errorf("Stats() = %+v", s)
	}
}

func TestBudget_OneAddressLeavesTheLastQuarter(t *testing.T) {
	b := NewBudget(100)
	flood := tcpAddr("198.51.100.1")
	taken := 0
	for ; taken < 1000; taken++ {
		if _, err := b.take(flood); err != nil {
			if !errors.Is(err, errOverShare) {
				t.Fatal(err)
			}
			break
		}
	}
	if taken != 75 {
		t.Errorf("one address took %d of 100", taken)
	}
	for i := range 25 { // honest ones, one connection each
		if _, err := b.take(tcpAddr(fmt.Sprintf("192.0.2.%d", i))); err != nil {
			t.Fatalf("honest connection %d: %v", i, err)
		}
	}
	if _, err := b.take(tcpAddr("192.0.2.200")); !errors.Is(err, errOverBudget) {
		t.Errorf("beyond the limit: %v", err)
	}
}

func TestBudget_NoneIsNoBound(t *testing.T) {
	var none *Budget
	if _, err := none.take(tcpAddr("192.0.2.1")); err != nil {
		t.Error(err)
	}
	none.give(tcpAddr("192.0.2.1"))
	if s := none.Stats(); s != (BudgetStats{}) {
		t.Errorf("Stats() = %+v", s)
	}
}

func TestNewBudget_ByDefaultLeavesDescriptorsForTheRest(t *testing.T) {
	files, ok := descriptorLimit()
	limit := NewBudget(0).Stats().Limit
	if !ok && limit != 0 || ok && (limit >= files || limit < files/2) {
		t.Errorf("of %d descriptors %d are for connections", files, limit)
	}
	for files, want := range map[int]int{1024: 256, 256: 64, 1 << 20: 1024} {
		if got := descriptorReserve(files); got != want {
			t.Errorf("of %d descriptors %d are kept, want %d", files, got, want)
		}
	}
}

func TestNewRate_RefusesBadOptions(t *testing.T) {
	for _, tt := range []struct {
		opt  RateOptions
		want string
	}{
		{RateOptions{PerSecond: -1}, "negative"},
		{RateOptions{PerSecond: 1}, "none could be made"},
		{RateOptions{FailuresPerSecond: 1}, "no connection could be made"},
		{RateOptions{MaxAddresses: -1}, "-1 addresses"},
		{RateOptions{MaxWait: -1}, "wait for -1ns"},
	} {
		if _, err := NewRate(tt.opt); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("NewRate(%+v) = %v, want %q", tt.opt, err, tt.want)
		}
	}
}

func TestRate_AFloodIsHeldToItsRateAndOthersAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRate(t, RateOptions{PerSecond: 10, Burst: 5})
		flood, honest := tcpAddr("198.51.100.1"), tcpAddr("192.0.2.1")
		passed := 0
		for tick := range 1000 { // ten seconds, a hundred tries in each
			if r.allow(flood) {
				passed++
			}
			if tick%100 == 0 && !r.allow(honest) {
				t.Errorf("the honest one is refused in second %d", tick/100)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if passed < 100 || passed > 110 {
			t.Errorf("%d of 1000 connections of the flood passed, want 5 and 10 a second", passed)
		}
		if s := r.Stats(); s.Refused != uint64(1000-passed) || s.Addresses != 2 {
			t.Errorf("Stats() = %+v", s)
		}
	})
}

func TestRate_FailuresCloseTheDoorForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRate(t, RateOptions{FailuresPerSecond: 1, FailureBurst: 3})
		guesser, honest := tcpAddr("198.51.100.1"), tcpAddr("192.0.2.1")
		if !r.allow(guesser) || r.Stats().Addresses != 0 {
			t.Error("an address is remembered before it fails")
		}
		for range 3 {
			if !r.allow(guesser) {
				t.Fatal("refused before it has failed three times")
			}
			r.RecordFailure(guesser)
		}
		if r.allow(guesser) {
			t.Error("allowed after three failures at once")
		}
		time.Sleep(time.Second)
		if !r.allow(guesser) {
			t.Error("refused a second later")
		}
		for range 1000 { // that were under way; the debt has a bottom
			r.RecordFailure(guesser)
		}
		time.Sleep(3900 * time.Millisecond)
		if r.allow(guesser) {
			t.Error("allowed although it is in debt")
		}
		if !r.allow(honest) {
			t.Error("another address pays for it")
		}
		time.Sleep(200 * time.Millisecond)
		if !r.allow(guesser) {
			t.Error("refused when the debt is paid")
		}
	})
}

// What is put in force concerns the addresses that are known, which are not forgiven what they did.
func TestRate_IsConfiguredWhileItIsUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRate(t, RateOptions{PerSecond: 1, Burst: 2, FailuresPerSecond: 1, FailureBurst: 1})
		busy, failed, fresh := tcpAddr("192.0.2.1"), tcpAddr("192.0.2.2"), tcpAddr("192.0.2.3")
		connections := func(addr net.Addr) (n int) {
			for n < 100 && r.allow(addr) {
				n++
			}
			return n
		}
		configure := func(opt RateOptions) {
			t.Helper()
			if err := r.Configure(opt); err != nil {
				t.Fatal(err)
			}
		}
		if n := connections(busy); n != 2 {
			t.Fatalf("%d connections at once, want 2", n)
		}
		r.RecordFailure(failed)
		configure(RateOptions{PerSecond: 10, Burst: 5, FailuresPerSecond: 1, FailureBurst: 1})
		if n := connections(busy); n != 0 {
			t.Errorf("%d connections of an address that had used up its own, want none", n)
		}
		time.Sleep(300 * time.Millisecond)
		if n := connections(busy); n != 3 {
			t.Errorf("%d connections after 300 ms of 10 a second, want 3", n)
		}
		if n := connections(failed); n != 0 {
			t.Errorf("%d connections of an address whose login failed", n)
		}
		if err := r.Configure(RateOptions{PerSecond: 1}); err == nil || connections(fresh) != 5 {
			t.Errorf("options that cannot be: %v, and others are in force", err)
		}
		configure(RateOptions{})
		for _, addr := range []net.Addr{busy, failed, fresh} {
			if n := connections(addr); n != 100 {
				t.Errorf("%d connections of %v without limits", n, addr)
			}
		}
		configure(RateOptions{PerSecond: 1, Burst: 4})
		if n := connections(fresh); n != 4 {
			t.Errorf("%d connections at once, want 4", n)
		}
	})
}

func TestRate_CountsANetworkOfIPv6AsOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRate(t, RateOptions{PerSecond: 1, Burst: 2})
		for i, tt := range []struct {
			ip   string
			want bool
		}{
			{"2001:db8::1", true}, {"2001:db8::2", true}, {"2001:db8::3", false}, {"2001:db8:0:1::3", true},
		} {
			if got := r.allow(tcpAddr(tt.ip)); got != tt.want {
				t.Errorf("connection %d, from %s: %v", i, tt.ip, got)
			}
		}
	})
}

func TestRate_LoopbackIsExemptWhereAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, exempt := range []bool{false, true} {
			r := newRate(t, RateOptions{PerSecond: 1, Burst: 1, ExemptLoopback: exempt})
			for _, ip := range []string{"127.0.0.1", "::1"} {
				r.allow(tcpAddr(ip))
				if got := r.allow(tcpAddr(ip)); got != exempt {
					t.Errorf("exempt %v: the second connection from %s: %v", exempt, ip, got)
				}
			}
		}
	})
}

func TestRate_RemembersSoManyAndTheBusyOnesLongest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRate(t, RateOptions{PerSecond: 1e-3, Burst: 1, MaxAddresses: 64})
		busy := tcpAddr("198.51.100.1")
		r.allow(busy)
		for i := range 10_000 { // a new address each
			if !r.allow(tcpAddr(fmt.Sprintf("10.0.%d.%d", i/256, i%256))) {
				t.Fatalf("a new address is refused, number %d", i)
			}
			if i%16 == 0 && r.allow(busy) {
				t.Fatalf("after %d others the busy address is forgotten", i)
			}
			if n := r.Stats().Addresses; n > 64 {
				t.Fatalf("%d addresses are remembered", n)
			}
		}
	})
}

func TestRate_RemembersAnAddressOnce(t *testing.T) {
	r := newRate(t, RateOptions{PerSecond: 1, Burst: 9, MaxAddresses: 4})
	for i, tt := range []struct {
		ip   string
		want int
	}{{"192.0.2.1", 1}, {"192.0.2.2", 2}, {"192.0.2.3", 3}, {"192.0.2.1", 3}} {
		r.allow(tcpAddr(tt.ip))
		if got := r.Stats().Addresses; got != tt.want {
			t.Errorf("after connection %d, from %s, %d addresses are remembered, want %d", i, tt.ip, got, tt.want)
		}
	}
}

func TestRate_NoneIsNoBound(t *testing.T) {
	var none *Rate
	none.RecordFailure(tcpAddr("192.0.2.1"))
	if !none.allow(tcpAddr("192.0.2.1")) || none.Stats() != (RateStats{}) {
		t.Error("a rate that is not there refuses")
	}
}

// A peer is a connection with an address of the test's choice.
type peer struct {
	net.Conn

	addr net.Addr
}

func (p peer) RemoteAddr() net.Addr { return p.addr }

// connect hands the listener a connection as its accept loop would.
func connect(l *Listener, addr net.Addr) net.Conn {
	client, server := net.Pipe()
	l.serve(context.Background(), peer{server, addr})
	return client
}

// limited is a listener without addresses, to connect to.
func limited(opt Options, out io.Writer) *Listener {
	opt.Name, opt.Handler, opt.HandshakeTimeout = "test", echo, time.Hour
	_, cancel := context.WithCancelCause(context.Background())
	return &Listener{
		opt: opt, log: slog.New(slog.NewTextHandler(out, nil)), cancel: cancel,
		stop: make(chan struct{}), complaints: newComplaints(), conns: Registry[net.Conn]{Limit: opt.MaxConns},
	}
}

func TestListener_AFloodLeavesRoomForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		opt := Options{Budget: NewBudget(100), Rate: newRate(t, RateOptions{PerSecond: 5, Burst: 80})}
		one, two := limited(opt, &log), limited(opt, &log) // two protocols
		flood := tcpAddr("198.51.100.1")
		var open []net.Conn
		for range 500 {
			open = append(open, connect(one, flood), connect(two, flood))
		}
		for i := range 25 {
			conn := connect(two, tcpAddr(fmt.Sprintf("192.0.2.%d", i)))
			open = append(open, conn)
			if err := roundTrip(conn); err != nil {
				t.Fatalf("honest client %d: %v", i, err)
			}
		}
		a, b := one.Stats(), two.Stats()
		if a.Open+b.Open != 100 || a.Accepted+b.Accepted != 100 || a.OverBudget+b.OverBudget != 5 || a.TooOften+b.TooOften != 920 {
			t.Errorf("Stats() are %+v and %+v", a, b)
		}
		if s := opt.Budget.Stats(); s.Open != 100 || s.Refused != 5 {
			t.Errorf("the budget is %+v", s)
		}
		// One line for the crowd, and no more about the rate than the bound.
		if n := strings.Count(log.String(), "\n"); n < 2 || n > 2+2*complaintsAtOnce {
			t.Errorf("logged %d lines for 900 refusals:\n%s", n, log.String())
		}
		for _, conn := range open {
			_ = conn.Close()
		}
		one.conns.Close()
		two.conns.Close()
		if err := errors.Join(one.conns.Drain(t.Context()), two.conns.Drain(t.Context())); err != nil {
			t.Fatal(err)
		}
		if s := opt.Budget.Stats(); s.Open != 0 {
			t.Errorf("after all have gone the budget is %+v", s)
		}
	})
}

func TestListener_WhatIsFullGivesTheBudgetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log logBuffer
		l := limited(Options{Budget: NewBudget(10), MaxConns: 1}, &log)
		first := connect(l, tcpAddr("192.0.2.1"))
		for range 20 {
			connect(l, tcpAddr("192.0.2.2"))
		}
		if s := l.Stats(); s.Open != 1 || s.Refused != 20 || s.OverBudget != 0 {
			t.Errorf("Stats() = %+v", s)
		}
		if s := l.opt.Budget.Stats(); s.Open != 1 {
			t.Errorf("the budget is %+v", s)
		}
		_ = first.Close()
		l.conns.Close()
		if err := l.conns.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestComplaints_AreBoundedAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logBuffer
		c, log := newComplaints(), slog.New(slog.NewTextHandler(&out, nil))
		complain := func(level slog.Level) {
			if suppressed, ok := c.next(log, level); ok {
				log.LogAttrs(t.Context(), level, "refused", suppressed)
			}
		}
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				for range 100 {
					complain(slog.LevelWarn)
				}
			})
		}
		wg.Wait()
		if n := strings.Count(out.String(), "\n"); n != complaintsAtOnce {
			t.Errorf("%d lines at once", n)
		}
		time.Sleep(time.Second)
		complain(slog.LevelWarn)
		complain(slog.LevelDebug) // is not wanted
		if want := fmt.Sprintf("suppressed_before=%d", 1000-complaintsAtOnce); !strings.Contains(out.String(), want) {
			t.Errorf("the next line does not say %s:\n%s", want, out.String())
		}
	})
}
