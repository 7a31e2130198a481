package amqp091

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"testing"
)

// TestAConnectionThatIsNotRegisteredIsNotServed: it is closed without a word,
// and does not count as one.
func TestAConnectionThatIsNotRegisteredIsNotServed(t *testing.T) {
	s := &Server{opt: Options{Log: slog.New(slog.DiscardHandler)}}
	s.conns.Close()
	near, far := net.Pipe()
	s.Serve(t.Context(), near)
	if _, err := far.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("the client reads %v", err)
	}
	if n := s.Stats(); n != (Stats{}) {
		t.Errorf("%+v", n)
	}
}
