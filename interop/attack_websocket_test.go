package interop

import (
	"bufio"
	"bytes"
	"compress/flate"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
)

const upgradeRequest = "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n" +
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"

// webSocketFrame is a client's, with the mask of zeros (RFC 6455, 5.2).
func webSocketFrame(head byte, payload []byte) []byte {
	b := []byte{head}
	switch n := len(payload); {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(n))
	}
	return append(append(b, 0, 0, 0, 0), payload...)
}

// webSocketAttacks are about frames.
func webSocketAttacks() map[string]attack {
	return map[string]attack{
		"WebSocket, compressed frames":     {size: 16, full: 64, least: 20, run: compressedFrames},
		"WebSocket, fragments without end": {size: 4, full: 16, least: 1000, run: frames(webSocketFrame(0x02, []byte{mqttPINGREQ}), webSocketFrame(0x00, nil))},
		"WebSocket, one byte a frame":      {size: 4, full: 16, least: 1000, run: frames(nil, oneByteFrames(mqttPacket{mqttPINGREQ, nil}.bytes()))},
		"WebSocket, pings":                 {size: 4, full: 16, least: 1000, run: frames(nil, webSocketFrame(0x89, bytes.Repeat([]byte("x"), 125)))},
		"WebSocket, 1 GiB announced":       {size: 50, full: 500, least: 50, run: giantFrame},
	}
}

func oneByteFrames(stream []byte) (all []byte) {
	for i := range stream {
		all = append(all, webSocketFrame(0x82, stream[i:i+1])...)
	}
	return all
}

// webSocket upgrades a connection; connect sends a CONNECT, too.
func (a *assault) webSocket(ctx context.Context, connect bool) (net.Conn, error) {
	nc, err := a.dial(ctx, a.WS)
	if err != nil {
		return nil, err
	}
	if _, err := io.WriteString(nc, upgradeRequest); err != nil {
		return nil, err
	}
	in := bufio.NewReader(nc)
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close() // it has none
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("upgrade: %s", resp.Status)
	}
	if ext := resp.Header.Get("Sec-WebSocket-Extensions"); ext != "" {
		return nil, fmt.Errorf("the broker takes the extension %q", ext)
	}
	if connect {
		if _, err := nc.Write(webSocketFrame(0x82, connectPacket(5, "", true, 0).bytes())); err != nil {
			return nil, err
		}
		if _, err := io.ReadFull(in, make([]byte, 4)); err != nil { // CONNACK comes within its frame
			return nil, err
		}
	}
	return nc, nil
}

// frames sends one thing once and another as often as the broker takes it, and
// reads nothing.
func frames(begin, again []byte) func(context.Context, *assault) error {
	const atOnce = 64
	return func(ctx context.Context, a *assault) error {
		return a.each(ctx, a.Size, func(ctx context.Context, _ int) error {
			nc, err := a.webSocket(ctx, true)
			if err != nil {
				return err
			}
			defer nc.Close() // the broker may have done so
			if _, err := nc.Write(begin); err != nil {
				return err
			}
			for block := bytes.Repeat(again, atOnce); ; a.did.Add(atOnce) {
				if _, err := nc.Write(block); err != nil {
					return err
				}
			}
		})
	}
}

// compressedFrames claims to compress what was not negotiated: 64 KiB that would be 64 MiB.
func compressedFrames(ctx context.Context, a *assault) error {
	var packed bytes.Buffer
	w, err := flate.NewWriter(&packed, flate.BestCompression)
	if err != nil {
		return err
	}
	if _, err := w.Write(make([]byte, 64<<20)); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	frame := webSocketFrame(0xc2, packed.Bytes())
	return a.each(ctx, a.Size, func(ctx context.Context, _ int) error {
		nc, err := a.webSocket(ctx, true)
		if err != nil {
			return err
		}
		defer nc.Close() // the broker may have done so
		if _, err := nc.Write(frame); err != nil {
			return err
		}
		a.did.Add(1)
		return hangUp(nc)
	})
}

// giantFrame announces a frame of 1 GiB and sends nothing of it.
func giantFrame(ctx context.Context, a *assault) error {
	return a.each(ctx, a.Size, func(ctx context.Context, _ int) error {
		nc, err := a.webSocket(ctx, true)
		if err != nil {
			return err
		}
		if _, err := nc.Write([]byte{0x82, 0xff, 0, 0, 0, 0, 0x40, 0, 0, 0, 0, 0, 0, 0}); err != nil {
			return err
		}
		a.did.Add(1)
		return hangUp(nc)
	})
}
