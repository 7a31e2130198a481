package listen

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/pires/go-proxyproto"
)

// loopback is where the proxies of these tests are.
var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}

// v2 is a header of version 2 with its command, its family, and what follows.
func v2(command, family byte, rest ...[]byte) []byte {
	body := bytes.Join(rest, nil)
	h := append(bytes.Clone(proxyproto.SIGV2), 0x20|command, family)
	return append(binary.BigEndian.AppendUint16(h, uint16(len(body))), body...)
}

// ends4 are 192.0.2.7:40000 and 198.51.100.1:1883, as version 2 has them.
func ends4() []byte {
	return []byte{192, 0, 2, 7, 198, 51, 100, 1, 40000 >> 8, 40000 & 0xff, 1883 >> 8, 1883 & 0xff}
}

// option is one of version 2.
func option(kind byte, size int) []byte {
	return append(binary.BigEndian.AppendUint16([]byte{kind}, uint16(size)), make([]byte, size)...)
}

// tell sends back which ends the connection has, and then what it gets.
func tell(_ context.Context, conn net.Conn) {
	fmt.Fprintf(conn, "%s %s\n", conn.RemoteAddr(), conn.LocalAddr())
	r := NewReader(conn, 0)
	defer r.Release()
	for r.Fill(1) == nil {
		_, _ = conn.Write(r.Buffered())
		r.Discard(len(r.Buffered()))
	}
}

// tellInTurns is tell for those who read by other means than a Reader.
func tellInTurns(_ context.Context, conn net.Conn) {
	fmt.Fprintf(conn, "%s %s\n", conn.RemoteAddr(), conn.LocalAddr())
	_, _ = io.Copy(struct{ io.Writer }{conn}, struct{ io.Reader }{TakeTurns(conn)})
}

// through sends what a proxy would, and returns the ends that the listener tells,
// empty where it has closed the connection.
func through(t *testing.T, conn net.Conn, payload string, pieces ...[]byte) string {
	t.Helper()
	for _, p := range pieces {
		if _, err := conn.Write(p); err != nil {
			return ""
		}
	}
	want := payload
	if payload == "" {
		want = "later"
		if _, err := io.WriteString(conn, want); err != nil {
			return ""
		}
	}
	if err := conn.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	var line []byte
	for b := make([]byte, 1); !bytes.HasSuffix(line, []byte("\n")); line = append(line, b[0]) {
		if _, err := io.ReadFull(conn, b); err != nil {
			return ""
		}
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Errorf("behind the header came %q (%v), want %q", got, err, want)
	}
	return strings.TrimSpace(string(line))
}

// proxyCases are headers from a proxy on this machine, and the ends of the
// connection with them: empty where it is closed, "own" where they are the socket's.
var proxyCases = []struct {
	name   string
	header []byte
	want   string
}{
	{"v1", []byte("PROXY TCP4 192.0.2.7 198.51.100.1 40000 1883\r\n"), "192.0.2.7:40000 198.51.100.1:1883"},
	{"v1, IPv6", []byte("PROXY TCP6 2001:db8::7 2001:db8::1 40000 1883\r\n"), "[2001:db8::7]:40000 [2001:db8::1]:1883"},
	{"v1, unknown", []byte("PROXY UNKNOWN\r\n"), "own"},
	{"v1, unknown with addresses", []byte("PROXY UNKNOWN 192.0.2.7 198.51.100.1 40000 1883\r\n"), "own"},
	{"v1, loopback from a proxy that is here", []byte("PROXY TCP4 127.0.0.9 127.0.0.1 40000 1883\r\n"), "127.0.0.9:40000 127.0.0.1:1883"},
	{"v2", v2(1, 0x11, ends4()), "192.0.2.7:40000 198.51.100.1:1883"},
	{"v2, options", v2(1, 0x11, ends4(), option(0xE0, 2000)), "192.0.2.7:40000 198.51.100.1:1883"},
	{"v2, local", v2(0, 0x11, ends4()), "own"},
	{"v2, unix", v2(1, 0x31, make([]byte, 216)), "own"},
	{"v1, a leading zero", []byte("PROXY TCP4 192.0.2.7 198.51.100.1 040000 1883\r\n"), ""},
	{"v1, no IPv4 address", []byte("PROXY TCP4 2001:db8::7 198.51.100.1 40000 1883\r\n"), ""},
	{"v1, a zone", []byte("PROXY TCP6 fe80::1%eth0 2001:db8::1 40000 1883\r\n"), ""},
	{"v1, no carriage return", []byte("PROXY TCP4 192.0.2.7 198.51.100.1 40000 1883\n"), ""},
	{"v1, too long", []byte("PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n"), ""},
	{"v1, another transport", []byte("PROXY UDP4 192.0.2.7 198.51.100.1 40000 1883\r\n"), ""},
	{"v1, nobody's address", []byte("PROXY TCP4 0.0.0.0 198.51.100.1 40000 1883\r\n"), ""},
	{"v1, a broadcast", []byte("PROXY TCP4 255.255.255.255 198.51.100.1 40000 1883\r\n"), ""},
	{"v1, a multicast", []byte("PROXY TCP4 224.0.0.1 198.51.100.1 40000 1883\r\n"), ""},
	{"v2, datagrams", v2(1, 0x12, ends4()), ""},
	{"v2, an unspecified family", v2(1, 0), ""}, // which a receiver may refuse, says the specification
	{"v2, an unknown command", v2(2, 0x11, ends4()), ""},
	{"v2, another version", append(bytes.Clone(proxyproto.SIGV2), 0x11, 0x11, 0, 0), ""},
	{"v2, addresses too short", v2(1, 0x11, make([]byte, 11)), ""},
	{"v2, too long", v2(1, 0x11, ends4(), option(0xE0, 4096)), ""},
}

func TestProxy_TheClientIsWhomATrustedProxyNames(t *testing.T) {
	for _, optional := range []bool{false, true} {
		handler := tell
		if optional {
			handler = tellInTurns
		}
		l := start(t, Options{Handler: handler, Proxy: &Proxy{Trusted: loopback, Optional: optional}})
		for _, tt := range proxyCases {
			const payload = "sent with it"
			whole := append(bytes.Clone(tt.header), payload...)
			for how, send := range map[string]func(net.Conn) string{
				"at once": func(conn net.Conn) string { return through(t, conn, payload, whole) },
				"alone":   func(conn net.Conn) string { return through(t, conn, "", tt.header) },
				"in two":  func(conn net.Conn) string { return through(t, conn, payload, whole[:7], whole[7:]) },
			} {
				conn := dial(t, l.Addrs()[0])
				want := tt.want
				if want == "own" {
					want = conn.LocalAddr().String() + " " + conn.RemoteAddr().String()
				}
				if got := send(conn); got != want {
					t.Errorf("optional %t, %s, %s: the ends are %q, want %q", optional, tt.name, how, got, want)
				}
				_ = conn.Close()
			}
		}
	}
}

func TestProxy_WithoutAHeader(t *testing.T) {
	for _, tt := range []struct {
		name    string
		payload string
		proxy   Proxy
		let     bool
	}{
		{"required", "CONNECT", Proxy{Trusted: loopback}, false},
		{"optional", "CONNECT", Proxy{Trusted: loopback, Optional: true}, true},
		{"optional, a beginning like one", "PROPPATCH", Proxy{Trusted: loopback, Optional: true}, true},
		{"optional, from elsewhere", "CONNECT", Proxy{Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Optional: true}, true},
		{"required, from elsewhere", "CONNECT", Proxy{Trusted: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}}, false},
	} {
		var log logBuffer
		l := start(t, Options{Handler: tell, Proxy: &tt.proxy, Log: log.logger()})
		if got, own := enter(t, l, tt.payload); (got != "") != tt.let || got != "" && got != own {
			t.Errorf("%s: the ends are %q, those of the socket %q", tt.name, got, own)
		}
		if got := l.Stats().Unnamed; (got == 0) != tt.let {
			t.Errorf("%s: %d connections count as refused", tt.name, got)
		}
		if !tt.let && !strings.Contains(log.String(), "level=WARN") {
			t.Errorf("%s: the log says nothing:\n%s", tt.name, log.String())
		}
	}
}

// A header from an address that is not trusted names nobody: where headers are
// required it is not even read, and where they are optional it is the protocol's
// to refuse, as bytes that the client has sent.
func TestProxy_AHeaderFromElsewhereIsNotBelieved(t *testing.T) {
	const spoof = "PROXY TCP4 127.0.0.1 127.0.0.1 1 1\r\n"
	elsewhere := []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}

	l := start(t, Options{Handler: tell, Proxy: &Proxy{Trusted: elsewhere}})
	if got, _ := enter(t, l, spoof); got != "" {
		t.Errorf("required: let in as %q", got)
	}
	for name, proxy := range map[string]*Proxy{"optional": {Trusted: elsewhere, Optional: true}, "without the protocol": nil} {
		l := start(t, Options{Handler: tell, Proxy: proxy})
		if got, own := enter(t, l, spoof); got != own {
			t.Errorf("%s: the ends are %q, want %q", name, got, own)
		}
	}
}

// enter sends bytes to a listener that may close the connection at once, and
// returns the ends that it tells, and those of the socket.
func enter(t *testing.T, l *Listener, payload string) (ends, own string) {
	t.Helper()
	conn, err := tryDial(t.Context(), l.Addrs()[0].String())
	if err != nil {
		return "", ""
	}
	defer conn.Close()
	return through(t, conn, payload, []byte(payload)), conn.LocalAddr().String() + " " + conn.RemoteAddr().String()
}

// What is granted to this machine's clients is not granted to those of a proxy's.
func TestProxy_LoopbackOfAnotherMachineIsNotThisOnes(t *testing.T) {
	far := tcpAddr("192.0.2.1")
	p := &proxied{remote: far, local: tcpAddr("192.0.2.2")}
	h := proxyproto.HeaderProxyFromAddrs(2, tcpAddr("127.0.0.1"), tcpAddr("127.0.0.1"))
	if err := p.name(h); err != nil || p.remote != far {
		t.Errorf("a remote proxy's loopback client is %v (%v), want the proxy %v", p.remote, err, far)
	}
}

func TestProxy_BelowTLS(t *testing.T) {
	ca := newAuthority(t, "ca", nil)
	secure := openTLS(t, TLSOptions{KeyPairs: []KeyPair{files{t, t.TempDir()}.pair("server", ca.server(t, "localhost"))}})
	l := start(t, Options{Handler: tell, TLS: secure, Proxy: &Proxy{Trusted: loopback}})
	raw := dial(t, l.Addrs()[0])
	// The first flight of TLS comes with the header.
	joined := &joiner{Conn: raw, first: []byte("PROXY TCP4 192.0.2.7 198.51.100.1 40000 8883\r\n")}
	conn := tls.Client(joined, &tls.Config{RootCAs: ca.pool(), ServerName: "localhost"})
	if got := through(t, conn, "", nil); got != "192.0.2.7:40000 198.51.100.1:8883" {
		t.Errorf("the ends are %q", got)
	}
	plain := dial(t, l.Addrs()[0])
	if got := through(t, plain, "", []byte("no header, and no TLS either")); got != "" {
		t.Errorf("let in as %q", got)
	}
}

// A joiner sends first what comes before all else.
type joiner struct {
	net.Conn

	first []byte
}

func (j *joiner) Write(p []byte) (int, error) {
	if _, err := j.Conn.Write(append(j.first, p...)); err != nil {
		return 0, err
	}
	j.first = nil
	return len(p), nil
}

func TestProxy_ASlowHeaderIsCutAndHoldsNobodyUp(t *testing.T) {
	var log logBuffer
	l := start(t, Options{Handler: tell, HandshakeTimeout: 300 * time.Millisecond, Proxy: &Proxy{Trusted: loopback}, Log: log.logger()})
	var slow []net.Conn
	for _, part := range []string{"", "P", "PROXY TCP4 192.0.2.7 ", string(proxyproto.SIGV2), string(v2(1, 0x11, make([]byte, 12))[:20])} {
		conn := dial(t, l.Addrs()[0])
		if _, err := io.WriteString(conn, part); err != nil {
			t.Fatal(err)
		}
		slow = append(slow, conn)
	}
	if got := through(t, dial(t, l.Addrs()[0]), "", []byte("PROXY TCP4 192.0.2.7 198.51.100.1 40000 1883\r\n")); got == "" {
		t.Error("behind slow headers nobody is served")
	}
	for _, conn := range slow {
		untilClosed(t, conn)
	}
	if n := strings.Count(log.String(), "PROXY header refused"); n != len(slow) {
		t.Errorf("%d of %d slow headers are in the log:\n%s", n, len(slow), log.String())
	}
}

// as connects through the proxy for a client, and reports whether it is let in.
func as(t *testing.T, l *Listener, ip string) bool {
	t.Helper()
	return through(t, dial(t, l.Addrs()[0]), "", fmt.Appendf(nil, "PROXY TCP4 %s 198.51.100.1 40000 1883\r\n", ip)) != ""
}

func TestProxy_TheRateIsTheClients(t *testing.T) {
	l := start(t, Options{
		Handler: tell, Proxy: &Proxy{Trusted: loopback}, Rate: newRate(t, RateOptions{PerSecond: 0.001, Burst: 3}),
	})
	for _, ip := range []string{"192.0.2.7", "192.0.2.8"} {
		for i := range 3 {
			if !as(t, l, ip) {
				t.Fatalf("connection %d of %s is refused", i, ip)
			}
		}
		if as(t, l, ip) {
			t.Errorf("%s connects more often than it may", ip)
		}
	}
	if s := l.Stats(); s.TooOften != 2 || s.Unnamed != 0 {
		t.Errorf("Stats() = %+v", s)
	}
}

func TestProxy_TheShareOfTheBudgetIsTheClients(t *testing.T) {
	budget := NewBudget(8)
	l := start(t, Options{Handler: tell, Proxy: &Proxy{Trusted: loopback}, Budget: budget})
	first := 0
	for as(t, l, "192.0.2.7") {
		first++
	}
	if first != 6 || !as(t, l, "192.0.2.8") {
		t.Errorf("of a budget of 8 the first client gets %d, and another none", first)
	}
	budget.mu.Lock()
	defer budget.mu.Unlock()
	if got := budget.held[addressKey(netip.MustParseAddr("192.0.2.7"))]; got != first {
		t.Errorf("the first client holds %d connections, want %d", got, first)
	}
	if s := l.Stats(); s.OverBudget != 1 {
		t.Errorf("Stats() = %+v", s)
	}
}

func TestBudget_WhatMovesIsGivenBackWhereItIs(t *testing.T) {
	b := NewBudget(10)
	proxy, client := tcpAddr("192.0.2.1"), tcpAddr("198.51.100.1")
	if _, err := b.take(proxy); err != nil {
		t.Fatal(err)
	}
	if err := b.move(proxy, client); err != nil {
		t.Fatal(err)
	}
	b.give(client)
	if s := b.Stats(); s.Open != 0 || len(b.held) != 0 {
		t.Errorf("all given back: %+v, held %v", s, b.held)
	}
}

func TestSplitHeader_InPiecesOfAnySize(t *testing.T) {
	for _, tt := range proxyCases {
		for _, read := range []func(io.Reader) io.Reader{iotest.OneByteReader, iotest.HalfReader, iotest.DataErrReader} {
			const rest = "and on"
			src := read(io.MultiReader(bytes.NewReader(tt.header), strings.NewReader(rest)))
			header, early, err := splitHeader(src)
			if errors.Is(err, errLongHeader) {
				continue
			}
			if err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
			late, err := io.ReadAll(src)
			if err != nil || !bytes.Equal(header, tt.header) || string(early)+string(late) != rest {
				t.Errorf("%s: header %q, rest %q and %q (%v)", tt.name, header, early, late, err)
			}
		}
	}
}

// FuzzSplitHeader holds what may be anything: nothing is lost, nothing is read that
// is not needed, and little is kept.
func FuzzSplitHeader(f *testing.F) {
	for _, tt := range proxyCases {
		f.Add(append(bytes.Clone(tt.header), "rest"...))
	}
	f.Add([]byte("\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01c"))
	f.Fuzz(func(t *testing.T, b []byte) {
		src := bytes.NewReader(b)
		header, rest, err := splitHeader(src)
		late, _ := io.ReadAll(src)
		if got := bytes.Join([][]byte{header, rest, late}, nil); !bytes.Equal(got, b) {
			t.Fatalf("%q became %q", b, got)
		}
		if len(header)+len(rest) > maxHeader+usualHeader {
			t.Errorf("%d bytes were read", len(header)+len(rest))
		}
		if err == nil && len(header) == 0 {
			t.Errorf("no header, and no error")
		}
		if err != nil {
			return
		}
		p := &proxied{remote: tcpAddr("192.0.2.1"), local: tcpAddr("192.0.2.2")}
		if h, err := proxyproto.Read(newHeaderReader(header)); err == nil && p.name(h) == nil {
			if isLoopback(p.remote) || p.remote == nil {
				t.Errorf("%q makes the client %v", header, p.remote)
			}
		}
	})
}
