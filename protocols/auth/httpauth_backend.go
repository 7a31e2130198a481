package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxAnswerBytes is more than "allow" and all tags that anybody has.
const maxAnswerBytes = 8 << 10

// A question is a request's address and parameters, in RabbitMQ's order.
type question struct {
	url    string
	form   strings.Builder
	tagged bool // it is a login: "allow" may be followed by tags
}

func (q *question) add(name, value string) {
	if q.form.Len() > 0 {
		q.form.WriteByte('&')
	}
	q.form.WriteString(name)
	q.form.WriteByte('=')
	q.form.WriteString(url.QueryEscape(value))
}

// addKnown adds a parameter that not every protocol has.
func (q *question) addKnown(name, value string) {
	if value != "" {
		q.add(name, value)
	}
}

// An answer is what the backend decides.
type answer struct {
	allowed bool
	tags    []string
}

// A backend asks the web service, some questions at a time.
type backend struct {
	client *http.Client
	method string

	// Each holds an element for each question under way, logins one for each
	// that is a login. Those have fewer turns: whoever is in asks, too, and must
	// not have to wait behind everybody who guesses passwords.
	turns, logins chan struct{}
}

func newBackend(opt *HTTPOptions) (*backend, error) {
	client, err := newHTTPClient(&opt.TLS, opt.MaxConcurrent)
	if err != nil {
		return nil, fmt.Errorf("http backend: %w", err)
	}
	if opt.transport != nil {
		client.Transport = opt.transport
	}
	return &backend{
		client: client, method: opt.Method,
		turns: make(chan struct{}, opt.MaxConcurrent), logins: make(chan struct{}, opt.MaxConcurrent-opt.MaxConcurrent/4),
	}, nil
}

// ask waits for a turn and for the answer, as long as ctx lasts. Its errors have
// no part of the question's parameters.
func (b *backend) ask(ctx context.Context, q *question) (answer, error) {
	if q.tagged {
		if err := enter(ctx, b.logins); err != nil {
			return answer{}, err
		}
		defer func() { <-b.logins }()
	}
	if err := enter(ctx, b.turns); err != nil {
		return answer{}, err
	}
	defer func() { <-b.turns }()
	req, err := b.request(ctx, q)
	if err != nil {
		return answer{}, withoutURL(err)
	}
	resp, err := b.client.Do(req)
	if err != nil {
		return answer{}, withoutURL(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated { // as RabbitMQ
		return answer{}, statusError(resp)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes+1))
	if err != nil {
		return answer{}, fmt.Errorf("read the answer: %w", err)
	}
	return parseAnswer(body, q.tagged)
}

// enter waits for a turn.
func enter(ctx context.Context, turns chan<- struct{}) error {
	select {
	case turns <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("all %d requests are under way: %w", cap(turns), context.Cause(ctx))
	}
}

func (b *backend) request(ctx context.Context, q *question) (*http.Request, error) {
	form := q.form.String()
	if b.method == http.MethodGet {
		separator := "?"
		if strings.Contains(q.url, "?") {
			separator = "&"
		}
		return http.NewRequestWithContext(ctx, http.MethodGet, q.url+separator+form, http.NoBody)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, q.url, strings.NewReader(form))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	// A question changes nothing, and so may be sent again if the connection that
	// was kept turns out closed. An empty list says so to net/http alone.
	req.Header["Idempotency-Key"] = []string{}
	return req, nil
}

// parseAnswer reads "allow", with tags where they are expected, or "deny", with
// or without a reason; in any case, as RabbitMQ does.
func parseAnswer(body []byte, tagged bool) (answer, error) {
	if len(body) > maxAnswerBytes {
		return answer{}, fmt.Errorf("the answer is longer than %d bytes", maxAnswerBytes)
	}
	words := strings.Fields(strings.ToLower(string(body)))
	switch {
	case len(words) == 0:
	case words[0] == "deny":
		return answer{}, nil
	case words[0] == "allow" && (tagged || len(words) == 1):
		return answer{allowed: true, tags: words[1:]}, nil
	}
	return answer{}, errors.New("the answer is neither allow nor deny") // not shown: who knows what it repeats
}
