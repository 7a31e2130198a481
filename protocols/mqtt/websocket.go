package mqtt

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/batonmq/baton/protocols/listen"
)

// What a WebSocket client has to ask for (section 6).
const (
	webSocketPath = "/ws"
	subprotocol   = "mqtt" // [MQTT-6.0.0-3] [MQTT-6.0.0-4]
)

const (
	// maxRequest bounds the upgrade request.
	maxRequest = 16 << 10

	// webSocketBuffer is the size of the buffers for frame headers and small
	// frames, of which an idle connection keeps two.
	webSocketBuffer = 1 << 10
)

// StartWebSocket is Start for a client that speaks MQTT over WebSocket: it is a
// listen.Starter, too, and answers the upgrade request itself. Packets are a
// stream of bytes within binary frames, wherever these begin and end
// [MQTT-6.0.0-2].
func (s *Server) StartWebSocket(ctx context.Context, nc net.Conn, over func()) {
	stop := context.AfterFunc(ctx, func() { _ = nc.SetReadDeadline(time.Unix(1, 0)) })
	ws, err := s.upgrade(nc)
	stop()
	if err == nil {
		s.Start(ctx, ws, over)
		return
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil { // the client did not do its part
		s.opt.LoginFailed(nc.RemoteAddr())
	}
	s.opt.Log.Info("WebSocket refused", slog.String("conn", nc.RemoteAddr().String()), errAttr(err))
	_ = nc.Close() // nothing is lost on it
	over()
}

// upgrade answers the one HTTP request of a connection.
func (s *Server) upgrade(nc net.Conn) (*webSocket, error) {
	deadline := time.Now().Add(s.opt.HandshakeTimeout)
	if err := nc.SetDeadline(deadline); err != nil {
		return nil, err
	}
	br := bufio.NewReaderSize(io.LimitReader(nc, maxRequest), webSocketBuffer) // frames are read without the limit
	r, err := http.ReadRequest(br)
	if err != nil {
		return nil, fmt.Errorf("read the upgrade request: %w", err)
	}
	w := &response{nc: listen.TakeTurns(nc), br: br, header: make(http.Header)}
	defer w.finish()
	switch {
	case r.URL.Path != webSocketPath:
		http.NotFound(w, r)
		return nil, fmt.Errorf("no WebSocket at %q, only at %s", r.URL.Path, webSocketPath)
	case !offers(r, subprotocol) && r.Header.Get("Upgrade") != "":
		http.Error(w, "WebSocket subprotocol "+subprotocol+" is required", http.StatusBadRequest)
		return nil, errors.New("the client does not offer the WebSocket subprotocol mqtt")
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		Subprotocols:       []string{subprotocol},
		OriginPatterns:     s.opt.Origins,
		InsecureSkipVerify: len(s.opt.Origins) == 0,
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(-1) // a message is no unit here; packets have their own limit
	if err := nc.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return &webSocket{Conn: nc, ws: ws, frames: br}, nil
}

// offers reports whether the client offers a subprotocol.
func offers(r *http.Request, name string) bool {
	for _, list := range r.Header.Values("Sec-WebSocket-Protocol") {
		if slices.ContainsFunc(strings.Split(list, ","), func(s string) bool {
			return strings.EqualFold(strings.TrimSpace(s), name)
		}) {
			return true
		}
	}
	return false
}

// response is the http.ResponseWriter of an upgrade: the connection has no HTTP
// server behind it, and sees one request.
type response struct {
	nc       net.Conn
	br       *bufio.Reader
	header   http.Header
	body     strings.Builder
	status   int
	hijacked bool
}

var _ http.Hijacker = (*response)(nil)

// Header implements http.ResponseWriter.
func (w *response) Header() http.Header { return w.header }

// WriteHeader implements http.ResponseWriter.
func (w *response) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

// Write implements http.ResponseWriter.
func (w *response) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(p)
}

// Hijack implements http.Hijacker: it sends the head of the response, after
// which the connection carries frames.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.hijacked = true
	bw := bufio.NewWriterSize(w.nc, webSocketBuffer)
	err := w.send(bw)
	return w.nc, bufio.NewReadWriter(w.br, bw), err
}

// finish sends a refusal.
func (w *response) finish() {
	if w.hijacked || w.status == 0 {
		return
	}
	w.header.Set("Connection", "close")
	w.header.Set("Content-Length", fmt.Sprint(w.body.Len()))
	_ = w.send(bufio.NewWriter(w.nc)) // the connection ends either way
}

func (w *response) send(bw *bufio.Writer) error {
	fmt.Fprintf(bw, "HTTP/1.1 %d %s\r\n", w.status, http.StatusText(w.status))
	_ = w.header.Write(bw) // what a bufio.Writer meets shows in Flush
	_, _ = bw.WriteString("\r\n" + w.body.String())
	return bw.Flush()
}

// webSocket is a connection whose bytes travel in binary frames. The embedded
// connection keeps its addresses and its read deadline. A read that meets its
// deadline ends the connection, as a frame may be lost in between; so does a
// write.
//
// The write deadline is the embedded connection's only while Write writes: an
// outbox leaves it behind, and the answer to a client's ping, which the reader
// writes, must not meet it. That answer has a time limit of its own.
type webSocket struct {
	net.Conn
	ws      *websocket.Conn
	frames  *bufio.Reader // that ws reads
	message io.Reader     // what is being read; nil between messages

	first [1]byte // read by await and not yet by Read
	ready bool    // there is one

	mu      sync.Mutex
	until   time.Time // the write deadline
	writing bool
}

// NetConn returns the connection below, for those who want to know about its TLS.
func (w *webSocket) NetConn() net.Conn { return w.Conn }

// SetDeadline implements net.Conn.
func (w *webSocket) SetDeadline(t time.Time) error {
	return errors.Join(w.SetReadDeadline(t), w.SetWriteDeadline(t))
}

// SetWriteDeadline implements net.Conn.
func (w *webSocket) SetWriteDeadline(t time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.until = t
	if !w.writing {
		return nil
	}
	return w.Conn.SetWriteDeadline(t)
}

// setWriting begins and ends the time in which the write deadline holds.
func (w *webSocket) setWriting(writing bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.writing = writing
	until := w.until
	if !writing {
		until = time.Time{}
	}
	if !w.until.IsZero() {
		_ = w.Conn.SetWriteDeadline(until) // fails only on a closed connection, as the write does
	}
}

// awaitFrame waits for the first byte of a frame. Unlike all other waits it may meet
// its deadline, and the connection goes on.
func (w *webSocket) awaitFrame() error {
	if w.pending() {
		return nil
	}
	_, err := w.frames.Peek(1)
	if errors.Is(err, io.EOF) {
		return nil // for who reads to find out, with how it came to be
	}
	return err
}

// pending reports that something has come that the connection below does not have
// any more.
func (w *webSocket) pending() bool {
	return w.ready || w.message != nil || w.frames.Buffered() > 0
}

// await waits for a byte to read. Unlike Read it needs no buffer for that.
func (w *webSocket) await() error {
	for !w.ready {
		n, err := w.read(w.first[:])
		if err != nil {
			return err
		}
		w.ready = n > 0
	}
	return nil
}

// Read implements net.Conn.
func (w *webSocket) Read(p []byte) (int, error) {
	if w.ready && len(p) > 0 {
		w.ready = false
		p[0] = w.first[0]
		return 1, nil // more might have to be waited for
	}
	return w.read(p)
}

func (w *webSocket) read(p []byte) (int, error) {
	for {
		if w.message == nil {
			if err := w.begin(); err != nil {
				return 0, err
			}
		}
		n, err := w.message.Read(p)
		if errors.Is(err, io.EOF) {
			w.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, ended(err)
		}
	}
}

// begin waits for a message.
func (w *webSocket) begin() error {
	kind, message, err := w.ws.Reader(context.Background()) // the deadlines are the connection's
	switch {
	case err != nil:
		return ended(err)
	case kind != websocket.MessageBinary: // [MQTT-6.0.0-1]
		_ = w.ws.Close(websocket.StatusUnsupportedData, "MQTT needs binary frames")
		return fmt.Errorf("%w: a WebSocket message that is not binary", errHungUp)
	}
	w.message = message
	return nil
}

// ended makes the end of the WebSocket the end of a stream.
func ended(err error) error {
	if websocket.CloseStatus(err) != -1 || errors.Is(err, net.ErrClosed) {
		return io.EOF
	}
	return err
}

// Write implements net.Conn: p is one message.
func (w *webSocket) Write(p []byte) (int, error) {
	w.setWriting(true)
	err := w.ws.Write(context.Background(), websocket.MessageBinary, p)
	w.setWriting(false)
	switch {
	case err == nil:
		return len(p), nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		// A part of the frame may be on its way: nothing can follow it.
		return 0, fmt.Errorf("write a frame in time: %v", err) //nolint:errorlint // it must not look like a deadline
	}
	return 0, err
}

// finish takes leave as RFC 6455 has it.
func (w *webSocket) finish(until time.Time) {
	_ = w.Conn.SetDeadline(until) // fails only on a closed connection, as does what follows
	_ = w.ws.Close(websocket.StatusNormalClosure, "")
}

// Close implements net.Conn, without a word.
func (w *webSocket) Close() error { return w.ws.CloseNow() }
