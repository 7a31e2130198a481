package auth

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
)

// httpOptions have the four paths below an address.
func httpOptions(address string) HTTPOptions {
	return HTTPOptions{
		UserURL: address + "/user", VHostURL: address + "/vhost",
		ResourceURL: address + "/resource", TopicURL: address + "/topic",
	}
}

func newHTTP(t *testing.T, opt HTTPOptions) *HTTP {
	t.Helper()
	h, err := NewHTTP(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(h.Close)
	return h
}

func alice() Credentials {
	return Credentials{Mechanism: PLAIN, Username: "alice", Password: "hunter2&x=y", RemoteAddr: tcpAddr("192.0.2.1")}
}

// service is a backend in the process. It counts, and answers allow unless told
// otherwise.
type service struct {
	requests atomic.Int64
	answer   func(path string, form url.Values) (int, string)
}

func (s *service) RoundTrip(r *http.Request) (*http.Response, error) {
	s.requests.Add(1)
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	form, err := url.ParseQuery(string(b))
	if err != nil {
		return nil, err
	}
	if s.answer == nil {
		return respond(200, "allow"), nil
	}
	status, body := s.answer(r.URL.Path, form)
	if err := context.Cause(r.Context()); err != nil { // as a network would
		return nil, err
	}
	return respond(status, body), nil
}

func (s *service) options() HTTPOptions {
	opt := httpOptions("https://backend.example")
	opt.transport = s
	return opt
}

func TestHTTP_AsksAsRabbitMQDoes(t *testing.T) {
	for _, method := range []string{"", "post", "GET"} {
		t.Run(method, func(t *testing.T) {
			var asked []string
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				form, _ := io.ReadAll(r.Body)
				text := string(form)
				if r.Method == http.MethodGet {
					text = r.URL.RawQuery
				} else if got := r.Header.Get("Content-Type"); got != "application/x-www-form-urlencoded" || r.URL.RawQuery != "" {
					t.Errorf("POST of %q with query %q", got, r.URL.RawQuery)
				}
				asked = append(asked, r.Method+" "+r.URL.Path+" "+text)
				if r.URL.Path == "/user" {
					_, _ = io.WriteString(w, "allow administrator policymaker")
				} else {
					_, _ = io.WriteString(w, "allow")
				}
			}))
			t.Cleanup(server.Close)
			opt := httpOptions(server.URL)
			opt.Method = method
			h := newHTTP(t, opt)
			for _, c := range []Credentials{alice(), {Username: "bob", Password: "p", VHost: "/", ClientID: "sensor 1", RemoteAddr: &net.UnixAddr{}}} {
				p, err := h.Authenticate(t.Context(), c)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(p.Tags, []string{"administrator", "policymaker"}) || p.Name != c.Username || !p.Expires.IsZero() {
					t.Errorf("principal is %+v", p)
				}
				access := p.Access(Variables{ClientID: c.ClientID})
				if !access.Topics("/", "amq.topic") {
					t.Error("topics are not asked for")
				}
				for _, err := range []error{
					access.Enter("/"),
					access.Allow(core.Request{Class: core.QueueClass, Right: core.Configure, VHost: "/", Name: "q q"}),
					access.Allow(core.Request{Class: core.ExchangeClass, Right: core.Write, VHost: "/", Name: "amq.default"}),
					access.Allow(core.Request{Class: core.TopicClass, Right: core.Read, VHost: "/", Name: "amq.topic", Key: "a.#"}),
				} {
					if err != nil {
						t.Error(err)
					}
				}
			}
			tags := "&tags=administrator+policymaker"
			want := []string{
				"/user username=alice&password=hunter2%26x%3Dy",
				"/vhost username=alice&vhost=%2F&ip=192.0.2.1" + tags,
				"/resource username=alice&vhost=%2F&resource=queue&name=q+q&permission=configure" + tags,
				"/resource username=alice&vhost=%2F&resource=exchange&name=amq.default&permission=write" + tags,
				"/topic username=alice&vhost=%2F&resource=topic&name=amq.topic&permission=read" + tags +
					"&routing_key=a.%23&variable_map.username=alice&variable_map.vhost=%2F",
				"/user username=bob&password=p&vhost=%2F&client_id=sensor+1",
				"/vhost username=bob&vhost=%2F&ip=unknown" + tags + "&client_id=sensor+1",
				"/resource username=bob&vhost=%2F&resource=queue&name=q+q&permission=configure" + tags + "&client_id=sensor+1",
				"/resource username=bob&vhost=%2F&resource=exchange&name=amq.default&permission=write" + tags + "&client_id=sensor+1",
				"/topic username=bob&vhost=%2F&resource=topic&name=amq.topic&permission=read" + tags +
					"&routing_key=a.%23&variable_map.username=bob&variable_map.vhost=%2F&variable_map.client_id=sensor+1",
			}
			verb := "POST "
			if method == "GET" {
				verb = "GET "
			}
			for i := range want {
				want[i] = verb + want[i]
			}
			if !slices.Equal(asked, want) {
				t.Errorf("asked\n%s\nwant\n%s", strings.Join(asked, "\n"), strings.Join(want, "\n"))
			}
		})
	}
}

func TestHTTP_Answers(t *testing.T) {
	const allowed, denied, unknown = "allowed", "denied", "unknown"
	for _, tt := range []struct {
		name         string
		status       int
		body         string
		user, others string // what it means for a user, and for all else
		tags         []string
	}{
		{"allow", 200, "allow", allowed, allowed, nil},
		{"allow with space", 200, " allow\r\n", allowed, allowed, nil},
		{"allow in capitals", 200, "ALLOW", allowed, allowed, nil},
		{"allow by 201", 201, "allow", allowed, allowed, nil},
		{"allow with tags", 200, "allow administrator  Monitoring\n", allowed, unknown, []string{"administrator", "monitoring"}},
		{"deny", 200, "deny", denied, denied, nil},
		{"deny in capitals", 200, "Deny\n", denied, denied, nil},
		{"deny with a reason", 200, "deny the moon is full", denied, denied, nil},
		{"deny by 403", 403, "deny", unknown, unknown, nil},
		{"nothing", 200, "", unknown, unknown, nil},
		{"a longer word", 200, "allowed", unknown, unknown, nil},
		{"a page", 200, "<html>allow</html>", unknown, unknown, nil},
		{"JSON", 200, `{"result":"allow"}`, unknown, unknown, nil},
		{"very long", 200, "allow" + strings.Repeat(" x", maxAnswerBytes), unknown, unknown, nil},
		{"500", 500, "allow", unknown, unknown, nil},
		{"404", 404, "", unknown, unknown, nil},
		{"204", 204, "", unknown, unknown, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s service
			h := newHTTP(t, s.options())
			p, err := h.Authenticate(t.Context(), alice()) // allowed yet
			if err != nil {
				t.Fatal(err)
			}
			access := p.Access(Variables{})
			s.answer = func(string, url.Values) (int, string) { return tt.status, tt.body }
			meaning := func(err error, denial error) string {
				switch {
				case err == nil:
					return allowed
				case errors.Is(err, denial):
					return denied
				}
				return unknown
			}
			c := alice()
			c.Username = "bob"
			p, err = h.Authenticate(t.Context(), c)
			if got := meaning(err, ErrBadCredentials); got != tt.user {
				t.Errorf("the user is %s (%v); want %s", got, err, tt.user)
			}
			if !slices.Equal(p.Tags, tt.tags) {
				t.Errorf("tags are %q; want %q", p.Tags, tt.tags)
			}
			for what, err := range map[string]error{
				"vhost":    access.Enter("v"),
				"resource": access.Allow(core.Request{Class: core.QueueClass, VHost: "v", Name: "q"}),
				"topic":    access.Allow(core.Request{Class: core.TopicClass, VHost: "v", Name: "x", Key: "k"}),
			} {
				if got := meaning(err, core.ErrDenied); got != tt.others {
					t.Errorf("the %s is %s (%v); want %s", what, got, err, tt.others)
				}
			}
		})
	}
}

func TestHTTP_NoPasswordInErrors(t *testing.T) {
	closed := httptest.NewServer(http.NotFoundHandler())
	closed.Close()
	garbage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusOK)
		_, _ = io.WriteString(w, "no such user: "+r.URL.RawQuery)
	}))
	t.Cleanup(garbage.Close)
	redirecting := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, garbage.URL+"/?"+r.URL.RawQuery, http.StatusFound)
	}))
	t.Cleanup(redirecting.Close)
	for name, address := range map[string]string{
		"down": closed.URL, "garbage": garbage.URL, "redirect": redirecting.URL, "no such host": "http://host.invalid.:1",
	} {
		for _, method := range []string{"GET", "POST"} {
			t.Run(name+" "+method, func(t *testing.T) {
				opt := httpOptions(address)
				opt.Method = method
				var log strings.Builder
				opt.Logger = slog.New(slog.NewTextHandler(&log, nil))
				_, err := newHTTP(t, opt).Authenticate(t.Context(), alice())
				if err == nil || errors.Is(err, ErrRefused) {
					t.Errorf("Authenticate = %v; want an error that is no refusal", err)
				}
				for what, text := range map[string]string{"error": fmt.Sprint(err), "log": log.String()} {
					if strings.Contains(text, "hunter2") || strings.Contains(text, "password=") {
						t.Errorf("the %s has the password: %s", what, text)
					}
				}
			})
		}
	}
}

func TestHTTP_RedirectsAreNotFollowed(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		var reached atomic.Int64
		other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			reached.Add(1)
			_, _ = io.WriteString(w, "allow")
		}))
		t.Cleanup(other.Close)
		for _, status := range []int{301, 302, 303, 307, 308} {
			server := httptest.NewServer(http.RedirectHandler(other.URL, status))
			opt := httpOptions(server.URL)
			opt.Method = method
			if _, err := newHTTP(t, opt).Authenticate(t.Context(), alice()); err == nil || errors.Is(err, ErrRefused) {
				t.Errorf("%s, %d: %v; want an error that is no refusal", method, status, err)
			}
			server.Close()
		}
		if n := reached.Load(); n != 0 {
			t.Errorf("%s: %d questions went to another host", method, n)
		}
	}
}

func TestHTTP_AsksAgainWhenTheKeptConnectionIsClosed(t *testing.T) {
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	t.Cleanup(func() { l.Close(); wg.Wait() })
	wg.Go(func() { // answers the first question of a connection, and closes on the second
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			r := bufio.NewReader(conn)
			for i := range 2 {
				req, err := http.ReadRequest(r)
				if err != nil {
					break
				}
				_, _ = io.Copy(io.Discard, req.Body)
				if i == 0 {
					_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nallow")
				}
			}
			conn.Close()
		}
	})
	opt := httpOptions("http://" + l.Addr().String())
	h := newHTTP(t, opt)
	p, err := h.Authenticate(t.Context(), alice())
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Access(Variables{}).Enter("v"); err != nil {
		t.Errorf("the second question: %v", err)
	}
	h.Close()
}

func TestHTTP_IsAskedOnlyWhatCanBeAnswered(t *testing.T) {
	var s service
	h := newHTTP(t, s.options())
	noPassword, noName, external := alice(), alice(), alice()
	noPassword.Password, noName.Username, external.Mechanism = "", "", "EXTERNAL"
	for _, tt := range []struct {
		c    Credentials
		want error
	}{{noPassword, ErrBadCredentials}, {noName, ErrBadCredentials}, {external, ErrMechanism}} {
		if _, err := h.Authenticate(t.Context(), tt.c); !errors.Is(err, tt.want) {
			t.Errorf("Authenticate(%+v) = %v; want %v", tt.c, err, tt.want)
		}
	}
	if n := s.requests.Load(); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// hang is a backend that never answers.
func hang(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, context.Cause(r.Context())
}

func TestHTTP_SlowBackendIsNoRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s service
		opt := s.options()
		opt.Timeout = 3 * time.Second
		h := newHTTP(t, opt)
		p, err := h.Authenticate(t.Context(), alice())
		if err != nil {
			t.Fatal(err)
		}
		h.backend.client.Transport = roundTripper(hang)
		began := time.Now()
		if err := p.Access(Variables{}).Enter("v"); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, core.ErrDenied) {
			t.Errorf("Enter = %v; want that the time is over", err)
		}
		c := alice()
		c.Username = "bob"
		if _, err := h.Authenticate(t.Context(), c); !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrRefused) {
			t.Errorf("Authenticate = %v; want that the time is over", err)
		}
		if took := time.Since(began); took != 6*time.Second {
			t.Errorf("two questions took %v; want 6s", took)
		}
	})
}

func TestHTTP_ConcurrencyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now, most, busy atomic.Int64
		opt := httpOptions("https://backend.example")
		opt.Timeout, opt.MaxConcurrent = 2500*time.Millisecond, 3
		opt.transport = roundTripper(func(*http.Request) (*http.Response, error) {
			n := now.Add(1)
			for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
			}
			time.Sleep(time.Second)
			now.Add(-1)
			return respond(200, "allow"), nil
		})
		h := newHTTP(t, opt)
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Go(func() {
				c := alice()
				c.Username = fmt.Sprint("user", i)
				if _, err := h.Authenticate(t.Context(), c); errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, ErrRefused) {
					busy.Add(1)
				} else if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		// Three a second, for two seconds and a half: those begun by then finish.
		if most.Load() != 3 || busy.Load() != 3 {
			t.Errorf("%d at a time and %d turned away; want 3 and 3", most.Load(), busy.Load())
		}
	})
}

// Who is in must not lose a channel because strangers guess passwords.
func TestHTTP_LoginsDoNotHoldUpThoseWhoAreIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s service
		s.answer = func(_ string, form url.Values) (int, string) {
			if form.Get("password") == "guess" {
				time.Sleep(3 * time.Second) // a hash, as likely as not
				return 200, "deny"
			}
			return 200, "allow"
		}
		opt := s.options()
		opt.MaxConcurrent = 4
		h := newHTTP(t, opt)
		p, err := h.Authenticate(t.Context(), alice())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 100 {
			go func() {
				c := alice()
				c.Username, c.Password = fmt.Sprint("user", i), "guess"
				_, _ = h.Authenticate(t.Context(), c)
			}()
		}
		synctest.Wait()
		began := time.Now()
		if err := p.Access(Variables{}).Allow(core.Request{VHost: "v", Name: "q"}); err != nil {
			t.Errorf("during a flood of guesses: %v", err)
		}
		if took := time.Since(began); took != 0 {
			t.Errorf("it waited %v for guesses", took)
		}
		time.Sleep(time.Minute) // until all have given up
	})
}

func TestHTTP_TLSWithClientCertificate(t *testing.T) {
	pair := newCertificatePair(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "allow "+r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	server.TLS = pair.serverConfig
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	for _, tt := range []struct {
		name string
		tls  ClientTLS
		ok   bool
	}{
		{"both known", ClientTLS{CAFile: pair.caFile, CertFile: pair.certFile, KeyFile: pair.keyFile}, true},
		{"no client certificate", ClientTLS{CAFile: pair.caFile}, false},
		{"unknown authority", ClientTLS{CertFile: pair.certFile, KeyFile: pair.keyFile}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := httpOptions(server.URL)
			opt.TLS = tt.tls
			p, err := newHTTP(t, opt).Authenticate(t.Context(), alice())
			if (err == nil) != tt.ok || errors.Is(err, ErrRefused) {
				t.Errorf("Authenticate = %v; want ok %v, and no refusal", err, tt.ok)
			}
			if tt.ok && !slices.Equal(p.Tags, []string{"baton"}) {
				t.Errorf("the backend saw %q; want the certificate of baton", p.Tags)
			}
		})
	}
}

func TestHTTP_OptionsAreChecked(t *testing.T) {
	for name, change := range map[string]func(*HTTPOptions){
		"no user address":       func(o *HTTPOptions) { o.UserURL = "" },
		"no vhost address":      func(o *HTTPOptions) { o.VHostURL = "" },
		"no resource address":   func(o *HTTPOptions) { o.ResourceURL = "" },
		"no topic address":      func(o *HTTPOptions) { o.TopicURL = "" },
		"a path":                func(o *HTTPOptions) { o.UserURL = "/user" },
		"another scheme":        func(o *HTTPOptions) { o.UserURL = "ftp://backend.example" },
		"another method":        func(o *HTTPOptions) { o.Method = "put" },
		"negative timeout":      func(o *HTTPOptions) { o.Timeout = -1 },
		"negative bound":        func(o *HTTPOptions) { o.MaxAnswers = -1 },
		"a key but no cert":     func(o *HTTPOptions) { o.TLS.KeyFile = "key.pem" },
		"missing certificate":   func(o *HTTPOptions) { o.TLS.KeyFile, o.TLS.CertFile = "/not/there", "/not/there" },
		"missing authorities":   func(o *HTTPOptions) { o.TLS.CAFile = "/not/there" },
		"negative concurrency":  func(o *HTTPOptions) { o.MaxConcurrent = -1 },
		"password in a bad URL": func(o *HTTPOptions) { o.UserURL = "http://u:hunter2@[::1/user" },
	} {
		t.Run(name, func(t *testing.T) {
			opt := httpOptions("https://backend.example")
			change(&opt)
			_, err := NewHTTP(opt)
			if err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("NewHTTP: %v; want an error without a password", err)
			}
		})
	}
}

func TestHTTP_WarnsOfPasswordsInClear(t *testing.T) {
	for address, warn := range map[string]bool{
		"http://u:hunter2@backend.example": true, "https://backend.example": false,
		"http://127.0.0.1:8000": false, "http://[::1]:8000": false, "http://localhost:8000": false,
	} {
		var log strings.Builder
		opt := httpOptions(address)
		opt.Logger = slog.New(slog.NewTextHandler(&log, nil))
		newHTTP(t, opt)
		if (log.Len() > 0) != warn || strings.Contains(log.String(), "hunter2") {
			t.Errorf("%s is logged: %q; want a warning %v", address, log.String(), warn)
		}
	}
}
