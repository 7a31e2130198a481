package api

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// slowBody says when it is read first, and has nothing to give until it is closed.
type slowBody struct {
	*io.PipeReader

	reading chan struct{}
}

func (b *slowBody) Read(p []byte) (int, error) {
	select {
	case <-b.reading:
	default:
		close(b.reading)
	}
	return b.PipeReader.Read(p)
}

func TestWhoSendsSlowlyHoldsUpNobody(t *testing.T) {
	f := newFixture(t)
	put := func(ctx context.Context, user string, body io.Reader) int {
		r := httptest.NewRequestWithContext(ctx, http.MethodPut, "/api/users/"+user, body)
		r.SetBasicAuth("adm", "pw")
		w := httptest.NewRecorder()
		f.ServeHTTP(w, r)
		return w.Code
	}
	from, to := io.Pipe()
	body := &slowBody{from, make(chan struct{})}
	slow := make(chan int, 1)
	go func() { slow <- put(t.Context(), "slow", body) }()
	<-body.reading
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	others := make(chan int, 1)
	go func() { others <- put(ctx, "quick", strings.NewReader(`{"password":"x","tags":""}`)) }()
	if code := <-others; code != http.StatusCreated {
		t.Errorf("another change meanwhile: %d", code)
	}
	_, _ = io.WriteString(to, `{"password":"x","tags":""}`)
	_ = to.Close()
	if code := <-slow; code != http.StatusCreated {
		t.Errorf("the slow change: %d", code)
	}
}
