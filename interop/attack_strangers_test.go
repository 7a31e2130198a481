package interop

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// strangers have no credentials.
func strangers() map[string]attack {
	return map[string]attack{
		"half-open connections": {size: 500, full: 10_000, least: 450, run: halfOpen},

		"slow loris, AMQP header": {size: 100, full: 2000, least: 90, run: drip(amqpPort, "", rawHeader)},
		"slow loris, AMQP login":  {size: 100, full: 2000, least: 90, run: drip(amqpPort, rawHeader, string(rawFrame(1, 0, rawStartOk)))},
		"slow loris, MQTT":        {size: 100, full: 2000, least: 90, run: drip(mqttPort, "", string(connectPacket(5, "loris", true, 0).bytes()))},
		"slow loris, WebSocket":   {size: 100, full: 2000, least: 90, run: drip(wsPort, "", upgradeRequest)},
		"slow loris, WebSocket CONNECT": {
			size: 100, full: 2000, least: 90,
			run: drip(wsPort, upgradeRequest, string(webSocketFrame(0x82, connectPacket(5, "loris", true, 0).bytes()))),
		},
		"slow loris, admin": {size: 100, full: 2000, least: 10, run: drip(adminPort, "GET /metrics HTTP/1.1\r\nHost: x\r\n", strings.Repeat("X-A: b\r\n", 100))},
		"slow loris, TLS":   {size: 100, full: 2000, least: 90, tls: true, run: drip(tlsPort, "\x16\x03\x01\x40\x00\x01\x00\x3f\xfc\x03\x03", strings.Repeat("x", 1000))},

		"1 GiB announced, HTTP": {
			size: 100, full: 1000, least: 50,
			run: drip(adminPort, "PUT /api/users/x HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n", strings.Repeat(" ", 1000)),
		},
		"1 GiB announced, MQTT CONNECT": {size: 100, full: 1000, least: 50, run: insist(mqttPort, "\x10\xff\xff\xff\x7f\x00\x04MQTT\x05\xc2")},
		"1 GiB announced, AMQP login":   {size: 100, full: 1000, least: 50, run: insist(amqpPort, rawHeader+"\x01\x00\x00\x40\x00\x00\x00\x00\x0a\x00\x0b")},
		"long logins, AMQP":             {size: 100, full: 2000, least: 90, run: drip(amqpPort, rawHeader+string(rawFrame(1, 0, rawStartOk)[:3])+"\x00\x01\xff\xf8"+strings.Repeat("x", 120<<10), "xxxx")},
		"long CONNECTs, MQTT":           {size: 100, full: 2000, least: 90, run: drip(mqttPort, "\x10\xf0\xff\x03"+strings.Repeat("x", 60<<10), "xxxx")},

		"nested tables before the login": {size: 8, full: 32, least: 50, run: nestedLogin},
		"wrong passwords, AMQP":          {size: 16, full: 128, least: 50, run: wrongPasswords},
		"wrong passwords, MQTT":          {size: 16, full: 128, least: 50, run: wrongPasswordsMQTT},
		"wrong passwords, HTTP":          {size: 16, full: 128, least: 50, run: wrongPasswordsHTTP},
	}
}

func amqpPort(a *assault) string  { return a.AMQP }
func mqttPort(a *assault) string  { return a.MQTT }
func wsPort(a *assault) string    { return a.WS }
func adminPort(a *assault) string { return a.Admin }
func tlsPort(a *assault) string   { return a.TLS }

// halfOpen are connections that say nothing, to every port.
func halfOpen(ctx context.Context, a *assault) error {
	ports := []string{a.AMQP, a.MQTT, a.WS, a.Admin}
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		nc, err := a.dial(ctx, ports[i%len(ports)])
		if err != nil {
			return err
		}
		a.did.Add(1)
		return hangUp(nc)
	})
}

// hangUp reads until the broker closes, and closes.
func hangUp(nc net.Conn) error {
	_, err := io.Copy(io.Discard, nc)
	return errors.Join(err, nc.Close())
}

const dripEvery = 100 * time.Millisecond

// drip sends something at once and the rest byte by byte, without an end.
func drip(port func(*assault) string, begin, rest string) func(context.Context, *assault) error {
	return func(ctx context.Context, a *assault) error {
		return a.each(ctx, a.Size, func(ctx context.Context, _ int) error {
			nc, err := a.dial(ctx, port(a))
			if err != nil {
				return err
			}
			defer nc.Close() // the broker may have done so
			if _, err := io.WriteString(nc, begin); err != nil {
				return err
			}
			a.did.Add(1)
			for i := range len(rest) - 1 {
				if _, err := io.WriteString(nc, rest[i:i+1]); err != nil {
					return err
				}
				if err := pause(ctx, dripEvery); err != nil {
					return err
				}
			}
			return hangUp(nc)
		})
	}
}

// insist announces something and waits; the broker hangs up, at once or in time.
func insist(port func(*assault) string, what string) func(context.Context, *assault) error {
	return func(ctx context.Context, a *assault) error {
		return a.each(ctx, a.Size, func(ctx context.Context, _ int) error {
			nc, err := a.dial(ctx, port(a))
			if err != nil {
				return err
			}
			defer nc.Close() // the broker may have done so
			if _, err := io.WriteString(nc, what); err != nil {
				return err
			}
			a.did.Add(1)
			return hangUp(nc)
		})
	}
}

// nestedTable is a table in a table, and so on, in so many bytes: its own length
// comes before it.
func nestedTable(size int) string {
	const each = 2 + 1 + 4 // a name of one byte, the type, the length
	depth := size / each
	var b bytes.Buffer
	for level := depth; level > 0; level-- {
		_, _ = b.Write(binary.BigEndian.AppendUint32(nil, uint32((level-1)*each))) // a bytes.Buffer does not fail
		if level > 1 {
			b.WriteString("\x01aF")
		}
	}
	return b.String()
}

// nestedLogin sends client properties as deep as a frame takes them.
func nestedLogin(ctx context.Context, a *assault) error {
	login := "\x00\x0a\x00\x0b" + nestedTable(120<<10) + "\x05PLAIN" + "\x00\x00\x00\x0c\x00guest\x00guest" + "\x05en_US"
	frame := string(rawFrame(1, 0, login))
	return insist(amqpPort, rawHeader+frame)(ctx, a)
}

// wrongPasswords tries one after the other.
func wrongPasswords(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		nc, err := a.dial(ctx, a.AMQP)
		if err != nil {
			return err
		}
		defer nc.Close() // the broker may have done so
		secret := fmt.Sprintf("\x00guest\x00%05d", (int(a.did.Load())+i)%100_000)
		login := "\x00\x0a\x00\x0b" + "\x00\x00\x00\x00" + "\x05PLAIN" + "\x00\x00\x00\x0c" + secret + "\x05en_US"
		if _, err := io.WriteString(nc, rawHeader+string(rawFrame(1, 0, login))); err != nil {
			return err
		}
		a.did.Add(1)
		return hangUp(nc)
	})
}

func wrongPasswordsMQTT(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, i int) error {
		nc, err := a.dial(ctx, a.MQTT)
		if err != nil {
			return err
		}
		defer nc.Close() // the broker may have done so
		pk := connectPacket(5, fmt.Sprint("wrong-", i), true, 0)
		pk.body[len(pk.body)-1] = byte('a' + a.did.Load()%10)
		if _, err := nc.Write(pk.bytes()); err != nil {
			return err
		}
		a.did.Add(1)
		return hangUp(nc)
	})
}

func wrongPasswordsHTTP(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, _ int) error {
		nc, err := a.dial(ctx, a.Admin)
		if err != nil {
			return err
		}
		defer nc.Close() // the broker may have done so
		request := "GET /api/whoami HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Basic Z3Vlc3Q6d3Jvbmc=\r\n\r\n"
		if _, err := io.WriteString(nc, request); err != nil {
			return err
		}
		a.did.Add(1)
		return hangUp(nc)
	})
}

// withTLS gives a broker a certificate, and a port for AMQP with TLS.
func withTLS(t *testing.T, b *Broker) (addr string) {
	t.Helper()
	ports, err := freePorts(1)
	must(t, err)
	dir := shortDir(t) // a comma in its path would make it two files
	baton(t, b, "tls", "self-signed", "--out", dir)
	b.Env = append(b.Env, "BATON_TLS_CERT_FILE="+filepath.Join(dir, "server.crt"), "BATON_TLS_KEY_FILE="+filepath.Join(dir, "server.key"), "BATON_AMQP_TLS_LISTEN="+ports[0])
	return ports[0]
}
