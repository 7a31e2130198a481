package api

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/core/field"
)

func TestDelayed(t *testing.T) {
	f := newFixture(t)
	must(t)(f.broker.Access().SetPermission(t.Context(), core.Permission{VHost: "v1", User: "adm", Configure: ".*", Write: ".*", Read: ".*"}))
	s, err := f.broker.Attach("v1", core.SessionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.DeclareExchange(t.Context(), core.ExchangeSpec{
		Name: "later", Kind: "x-delayed-message", Durable: true, Args: field.Table{{Key: "x-delayed-type", Value: "direct"}},
	}); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		props := blockOf(t, field.Properties{Headers: field.Table{{Key: "x-delay", Value: int64(3_600_000 * (3 - i))}}})
		if _, err := s.Publish(&core.Message{Exchange: "later", Key: "k", Props: props, Body: fmt.Append(nil, i), Persistent: true}, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	const path = "/api/exchanges/v1/later/delayed"
	w := f.as(t, "adm", http.MethodGet, path+"?count=2", "")
	if text := w.Body.String(); w.Code != 200 || !strings.HasPrefix(text, `{"total":3,"items":[{"id":"3","due":`) ||
		!strings.Contains(text, `"payload":"1"`) || strings.Contains(text, `"payload":"0"`) {
		t.Errorf("%d %s", w.Code, text)
	}
	f.play(t, []step{
		{"DELETE", path + "/2", "", 204, "="},
		{"DELETE", path + "/2", "", 404, gone},
		{"DELETE", path + "/x", "", 404, gone},
		{"GET", path + "?columns=total", "", 200, `={"total":2}`},
		{"GET", path + "?count=x", "", 400, badBody + `count is not a whole number"}`},
		{"GET", "/api/exchanges/v1/nope/delayed", "", 404, `={"error":"not_found","reason":"NOT_FOUND - no exchange 'nope' in vhost 'v1'"}`},
		{"GET", "/api/exchanges/v1/amq.direct/delayed", "", 400, `{"error":"bad_request","reason":"exchange 'amq.direct' in vhost 'v1' keeps no messages back`},
		{"GET", "/api/exchanges/nope/x/delayed", "", 404, gone},
	})
	if w := f.as(t, "mgt", http.MethodGet, path, ""); w.Code != 200 {
		t.Errorf("who may read: %d %s", w.Code, w.Body)
	}
	want := `{"error":"not_authorised","reason":"ACCESS_REFUSED - configure access to exchange 'later' in vhost 'v1' refused for user 'mgt'"}`
	if w := f.as(t, "mgt", http.MethodDelete, path+"/1", ""); w.Code != 401 || w.Body.String() != want {
		t.Errorf("who may not configure: %d %s", w.Code, w.Body)
	}
}
