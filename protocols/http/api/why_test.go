package api

import (
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
)

// subscriberReceiver is a client that takes everything and answers nothing.
type subscriberReceiver struct{}

func (subscriberReceiver) Ready() bool                                   { return true }
func (subscriberReceiver) Push(*core.Message, *core.Match)               {}
func (subscriberReceiver) Send(*core.Message, uint16, *core.Match, bool) {}
func (subscriberReceiver) Release(uint16)                                {}
func (subscriberReceiver) TakenOver()                                    {}

// subscriber opens a session in v1 for a client, subscribed to key.
func (f *fixture) subscriber(t *testing.T, client, key string) *core.Session {
	t.Helper()
	s := f.session(t, "of "+client, nil)
	l, _, err := s.Subscriber(t.Context(), core.SubscriberSpec{
		Name: client, Queue: "mqtt-subscription-" + client, Expiry: core.Forever, Window: 1, Receiver: subscriberReceiver{},
	})
	if err != nil {
		t.Fatal(err)
	}
	if key != "" {
		if _, err := l.Subscribe(t.Context(), []core.SubscriptionSpec{{Key: key, Level: core.AtLeastOnce}}); err != nil {
			t.Fatal(err)
		}
	}
	l.Start()
	return s
}

// codes are those of the findings about what the query names, as an administrator is told.
func (f *fixture) codes(t *testing.T, query string) []string {
	t.Helper()
	w := f.as(t, "adm", http.MethodGet, "/why?vhost=v1&"+query, "")
	if w.Code != http.StatusOK {
		t.Fatalf("%s: %d %s", query, w.Code, w.Body)
	}
	codes := []string{}
	for _, found := range decoded[answer](t, w.Body.Bytes()).Findings {
		if found.Text == "" {
			t.Errorf("%s: %s says nothing", query, found.Code)
		}
		if found.Code != "busy_consumers" && found.Code != "growing" { // which depend on how long the test takes
			codes = append(codes, found.Code)
		}
	}
	return codes
}

func TestWhyTellsWhatIsSo(t *testing.T) {
	f := newFixture(t)
	f.mayAll(t)
	f.topology(t)
	f.subscriber(t, "idle", "")
	f.subscriber(t, "busy", "busy.#")
	f.subscriber(t, "away", "away").Close()
	s := f.session(t, "publisher", func() []core.ChannelInfo {
		return []core.ChannelInfo{{Number: 1, Prefetch: 2, Unacked: 2, Uncommitted: 1}}
	})
	publish := func(exchange, key string) {
		t.Helper()
		if _, err := s.Publish(&core.Message{Exchange: exchange, Key: key, Persistent: true, Body: []byte("m")}, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	for range 6 {
		publish("", "other") // whose consumer may have five
	}
	for range 2 {
		publish(core.TopicExchange, "busy.a") // whose client may have one
	}
	publish(core.TopicExchange, "away")
	for query, want := range map[string][]string{
		"queue=orders":                           {"no_consumers"},
		"queue=mine":                             {},
		"queue=other":                            {"unacknowledged", "no_credit"},
		"queue=mqtt-subscription-busy":           {"unacknowledged", "window_full"},
		"session=idle":                           {"no_subscriptions"},
		"session=busy":                           {"window_full"},
		"session=away":                           {"client_away"},
		"connection=publisher":                   {"no_credit", "uncommitted"},
		"exchange=x&routing_key=a.b":             {"routed"},
		"exchange=x&routing_key=b":               {"unroutable"},
		"exchange=amq.topic&routing_key=busy.b":  {"routed"},
		"exchange=amq.topic&routing_key=nothing": {"unroutable"},
		"exchange=&routing_key=orders":           {"routed"},
		"exchange=&routing_key=nope":             {"unroutable"},
		"exchange=nope&routing_key=a":            {"no_exchange"},
		"exchange=x":                             {},
		"exchange=":                              {},
	} {
		if got := f.codes(t, query); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	f.broker.SetMemoryAlarm(true)
	if got := f.codes(t, "connection="+url.QueryEscape("publisher")); !slices.Contains(got, "memory_alarm") {
		t.Errorf("with a memory alarm: %q", got)
	}
}

// What reached nobody is told afterwards, to others than monitoring users without who published it.
func TestWhyTellsWhatReachedNobody(t *testing.T) {
	f := newFixture(t)
	f.mayAll(t)
	f.topology(t)
	s := f.session(t, "publisher", nil)
	for range 3 {
		if _, err := s.Publish(&core.Message{Exchange: "x", Key: "it's lost"}, nil, 0); err != nil {
			t.Fatal(err)
		}
	}
	if got := f.codes(t, "exchange=x"); !slices.Equal(got, []string{"unroutable"}) {
		t.Errorf("exchange: %q", got)
	}
	w := f.as(t, "adm", http.MethodGet, "/why", "")
	got := decoded[answer](t, w.Body.Bytes()).Findings
	if len(got) != 1 || !strings.HasPrefix(got[0].Text, "exchange 'x' in vhost 'v1': 3 messages have reached nobody; one of the last had the routing key 'it's lost', ") ||
		!strings.HasSuffix(got[0].Text, "; user 'mgt' published it on connection 'publisher'") || !strings.HasSuffix(got[0].Advice, `baton why publish 'x' 'it'\''s lost'`) {
		t.Errorf("of all: %+v", got)
	}
	if w := f.as(t, "mgt", http.MethodGet, "/why", ""); w.Code != http.StatusBadRequest {
		t.Errorf("who may not see all: %d %s", w.Code, w.Body)
	}
	if u := get[exchange](t, f, "/api/exchanges/v1/x").Unroutable; u == nil || u.Messages != 3 || u.Key != "it's lost" || u.User != "mgt" || u.Connection != "publisher" || u.At == 0 {
		t.Errorf("the exchange: %+v", u)
	}
	if u := get[exchange](t, f, "/api/exchanges/v1/amq.topic").Unroutable; u != nil {
		t.Errorf("another exchange: %+v", u)
	}
}

// A queue whose consumers have taken nothing for long is told of without being asked for.
func TestWhyTellsOfSlowConsumers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFixture(t)
		f.mayAll(t)
		f.topology(t)
		s := f.session(t, "publisher", nil)
		for range 6 { // its consumer may have five
			if _, err := s.Publish(&core.Message{Key: "other"}, nil, 0); err != nil {
				t.Fatal(err)
			}
		}
		if got := f.codes(t, ""); len(got) != 0 {
			t.Errorf("at once: %q", got)
		}
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if got := decoded[answer](t, f.as(t, "adm", http.MethodGet, "/why", "").Body.Bytes()).Findings; len(got) != 1 || got[0].Code != "slow_consumers" {
			t.Errorf("after two minutes: %+v", got)
		}
		if got := decoded[answer](t, f.as(t, "adm", http.MethodGet, "/why?vhost=v1&queue=other", "").Body.Bytes()).Findings; len(got) != 3 || got[1].Code != "busy_consumers" {
			t.Errorf("the queue: %+v", got)
		}
		k := get[[]consumer](t, f, "/api/consumers/v1")
		if i := slices.IndexFunc(k, func(k consumer) bool { return k.Queue.Name == "other" }); i < 0 || k[i].WaitsFor != "credit" || k[i].Unacked != 5 || k[i].WaitsFrom == 0 {
			t.Errorf("consumers: %+v", k)
		}
		q := get[queue](t, f, "/api/queues/v1/other")
		if q.StalledSince == 0 || q.ConsumerCapacity > 0.3 || q.ConsumerUtilised != q.ConsumerCapacity {
			t.Errorf("queue: stalled since %d, capacity %.2f", q.StalledSince, q.ConsumerCapacity)
		}
	})
}

func TestWhyTellsWhatAnotherUserMayDo(t *testing.T) {
	f := newFixture(t)
	f.mayAll(t)
	const query = "/why?vhost=v1&exchange=amq.topic&routing_key=a&user="
	for _, tt := range []struct {
		who, user string
		code      int
	}{
		{"mgt", "non", http.StatusUnauthorized}, // asks for another
		{"mgt", "mgt", http.StatusOK},
		{"adm", "nobody", http.StatusNotFound},
	} {
		if w := f.as(t, tt.who, http.MethodGet, query+tt.user, ""); w.Code != tt.code {
			t.Errorf("%s asks for %s: %d %s, want %d", tt.who, tt.user, w.Code, w.Body, tt.code)
		}
	}
	if _, err := f.broker.Access().SetPermission(t.Context(), core.Permission{VHost: "v1", User: "pol", Configure: "", Write: "^$", Read: ""}); err != nil {
		t.Fatal(err)
	}
	w := f.as(t, "adm", http.MethodGet, query+"pol", "")
	if got := decoded[answer](t, w.Body.Bytes()); len(got.Findings) != 1 || got.Findings[0].Code != "denied" {
		t.Errorf("a user without the right to write: %d %s", w.Code, w.Body)
	}
}

func TestSessionsAreListedToWhoMaySeeThem(t *testing.T) {
	f := newFixture(t)
	f.mayAll(t)
	f.subscriber(t, "here", "a")
	f.subscriber(t, "gone", "b").Close()
	got := get[[]session](t, f, "/api/sessions/v1")
	if len(got) != 2 || got[0].ClientID != "gone" || got[0].Connected || got[0].AwaySince == nil || got[0].Connection != nil ||
		got[1].ClientID != "here" || !got[1].Connected || got[1].Connection == nil || *got[1].Connection != "of here" || got[1].Window != 1 || got[1].Subscriptions != 1 || got[1].User != "mgt" {
		t.Errorf("sessions: %+v", got)
	}
	if one := get[session](t, f, "/api/sessions/v1/here"); one.Queue != "mqtt-subscription-here" || !one.Durable || one.Expiry != nil {
		t.Errorf("session: %+v", one)
	}
	if w := f.as(t, "mgt", http.MethodGet, "/api/sessions/v1", ""); len(decoded[[]session](t, w.Body.Bytes())) != 2 {
		t.Errorf("the user whose they are sees %s", w.Body)
	}
	if _, err := f.broker.Access().SetPermission(t.Context(), core.Permission{VHost: "v1", User: "pol", Configure: ".*", Write: ".*", Read: ".*"}); err != nil {
		t.Fatal(err)
	}
	if w := f.as(t, "pol", http.MethodGet, "/api/sessions/v1", ""); w.Body.String() != "[]" {
		t.Errorf("another user of the vhost sees %s", w.Body)
	}
}

func decoded[T any](t *testing.T, text []byte) (v T) {
	t.Helper()
	if err := json.Unmarshal(text, &v); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return v
}
