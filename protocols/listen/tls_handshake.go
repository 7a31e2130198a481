package listen

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"syscall"
)

// A HandshakeFailure is why a TLS connection did not come about.
type HandshakeFailure uint8

// Reasons for which a TLS connection does not come about.
const (
	HandshakeBroken         HandshakeFailure = iota // anything that is not below
	HandshakeLeft                                   // the client went away
	HandshakeSlow                                   // it took too long
	HandshakePlain                                  // the client does not speak TLS
	HandshakeMismatch                               // no common version, cipher suite or protocol
	HandshakeNoCertificate                          // the client has none, and one is required
	HandshakeOutOfDate                              // the client's has expired or is not valid yet
	HandshakeUnknownCA                              // the client's does not lead to a known authority
	HandshakeBadCertificate                         // the client's is not good for another reason
	HandshakeRevoked                                // the client's, or one above it, has been revoked
	HandshakeRefused                                // the client does not want this server's certificate
	handshakeFailures
)

// String returns the reason as one word, for a metric's label.
func (f HandshakeFailure) String() string {
	return [handshakeFailures]string{
		"broken", "left", "slow", "plain", "mismatch", "no_certificate", "out_of_date",
		"unknown_ca", "bad_certificate", "revoked", "refused",
	}[f]
}

// text says it to an operator who wonders why a client does not get in.
func (f HandshakeFailure) text() string {
	return [handshakeFailures]string{
		"the handshake broke off",
		"the client went away during the handshake",
		"the client took too long for the handshake",
		"the client does not speak TLS",
		"client and server have no version, cipher suite or protocol in common",
		"the client sent no certificate, and one is required",
		"the client's certificate has expired or is not valid yet",
		"the client's certificate is not from a known authority",
		"the client's certificate is not good",
		"the client's certificate is revoked, or cannot be known not to be",
		"the client refuses this server's certificate",
	}[f]
}

// blame reports a failure that an attacker can produce at will, and that a
// port scan or a check of a load balancer does not.
func (f HandshakeFailure) blame() bool {
	return f != HandshakeLeft && f != HandshakeRefused
}

// handshake makes a TLS connection of an accepted one, or reports false: the
// failure is counted, and logged.
func (l *Listener) handshake(ctx context.Context, conn net.Conn) (*tls.Conn, bool) {
	size := maxHandshake
	if l.opt.TLS.opt.ClientAuth != ClientAuthNone {
		size = maxHandshakeWithCert
	}
	secure := l.opt.TLS.server(conn, l.opt.ALPN, size)
	err := secure.HandshakeContext(ctx)
	if err == nil {
		l.handshakes.succeeded.Add(1)
		if in, ok := secure.NetConn().(interface{ done() }); ok {
			in.done()
		}
		return secure, true
	}
	if ctx.Err() != nil {
		return nil, false // the end of the broker, and no failure
	}
	why := classify(err)
	l.handshakes.failed[why].Add(1)
	if why.blame() {
		l.opt.Rate.RecordFailure(conn.RemoteAddr())
	}
	l.logFailure(why, conn, secure, err)
	return nil, false
}

// logFailure says why, and tells a client that speaks HTTP.
func (l *Listener) logFailure(why HandshakeFailure, conn net.Conn, secure *tls.Conn, err error) {
	text := why.text()
	if e, ok := errors.AsType[tls.RecordHeaderError](err); ok && why == HandshakePlain {
		spoken := spokenBy(e.RecordHeader)
		text = "the client speaks plain " + spoken + ": this port is for TLS"
		if spoken == plainHTTP {
			// As net/http answers; a browser shows it.
			_, _ = io.WriteString(conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to a TLS port.\n")
		}
	}
	level := slog.LevelWarn
	if why == HandshakeLeft {
		level = slog.LevelDebug // whoever looks whether the port is open
	}
	suppressed, ok := l.complaints.next(l.log, level)
	if !ok {
		return
	}
	l.log.LogAttrs(context.Background(), level, "TLS handshake failed",
		slog.String("peer", conn.RemoteAddr().String()), slog.String("reason", text),
		slog.String("certificate", unverified(err)), slog.String("sni", secure.ConnectionState().ServerName),
		slog.Any("err", err), suppressed)
}

// unverified names the certificate that did not pass.
func unverified(err error) string {
	if e, ok := errors.AsType[*tls.CertificateVerificationError](err); ok && len(e.UnverifiedCertificates) > 0 {
		return subject(e.UnverifiedCertificates[0])
	}
	return ""
}

// classify finds the reason in what crypto/tls returns, by type where there is
// one.
func classify(err error) HandshakeFailure {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return HandshakePlain
	}
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return HandshakeUnknownCA
	}
	if e, ok := errors.AsType[x509.CertificateInvalidError](err); ok && e.Reason == x509.Expired {
		return HandshakeOutOfDate
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return HandshakeBadCertificate
	}
	switch {
	case errors.Is(err, errRevoked), errors.Is(err, errStaleCRL):
		return HandshakeRevoked
	case errors.Is(err, os.ErrDeadlineExceeded):
		return HandshakeSlow
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return HandshakeLeft
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && e.Op == "remote error" {
		return HandshakeRefused // an alert
	}
	return classifyText(err.Error())
}

// classifyText is for the reasons to which crypto/tls gives no type.
func classifyText(text string) HandshakeFailure {
	for _, known := range []struct {
		part string
		why  HandshakeFailure
	}{
		{"didn't provide a certificate", HandshakeNoCertificate},
		{"unsupported versions", HandshakeMismatch},
		{"no cipher suite supported", HandshakeMismatch},
		{"unsupported application protocols", HandshakeMismatch},
		{"unsupported SSLv2 handshake", HandshakeMismatch},
	} {
		if strings.Contains(text, known.part) {
			return known.why
		}
	}
	return HandshakeBroken
}

const plainHTTP = "HTTP"

// spokenBy guesses a protocol from its first five bytes.
func spokenBy(header [5]byte) string {
	for _, known := range []struct{ start, name string }{
		{"AMQP", "AMQP"},
		{"GET ", plainHTTP},
		{"POST ", plainHTTP},
		{"PUT ", plainHTTP},
		{"HEAD ", plainHTTP},
		{"OPTIO", plainHTTP},
		{"DELET", plainHTTP},
		{"PRI *", plainHTTP},
		{"SSH-", "SSH"},
		{"PROXY", "PROXY protocol"},
	} {
		if bytes.HasPrefix(header[:], []byte(known.start)) {
			return known.name
		}
	}
	if header[0] == 0x10 { // the fixed header of a CONNECT, MQTT 3.1.1 section 3.1.1
		return "MQTT"
	}
	return "text or an unknown protocol"
}
