package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

const (
	// adminTimeout is longer than the broker waits for its disk.
	adminTimeout = 45 * time.Second

	// maxAdminAnswer is far more than the list of a million connections takes.
	maxAdminAnswer = 1 << 30

	envAdminSocket   = envPrefix + "ADMIN_SOCKET"
	envAdminPassword = envPrefix + "ADMIN_PASSWORD"
)

// adminFlags say which broker is asked, and as whom.
type adminFlags struct {
	env                     []string
	socket, node, data      string
	url, user, password, ca string // password names a file
	asJSON                  bool
	stdin                   *lines
}

func (f *adminFlags) add(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.socket, "admin-socket", "", "`path` of the admin socket of a broker on this machine (default $"+envAdminSocket+", or that of --node and --data)")
	flags.StringVar(&f.node, "node", "", "`name` of the broker on this machine (default the only one there is)")
	flags.StringVar(&f.data, "data", "", "data `directory` of the broker on this machine")
	flags.StringVar(&f.url, "url", "", "`URL` of a broker's admin address, as https://broker:15671, in place of a socket")
	flags.StringVar(&f.user, "user", "", "`name` to log in with; over a socket it is not needed")
	flags.StringVar(&f.password, "login-password-file", "", "`file` with the password of --user, - for standard input (default $"+envAdminPassword+", or a prompt)")
	flags.StringVar(&f.ca, "ca-file", "", "PEM `file` with the authorities to trust at an https URL (default the system's)")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	cmd.MarkFlagsMutuallyExclusive("url", "admin-socket")
	cmd.MarkFlagsMutuallyExclusive("url", "node")
	cmd.MarkFlagsMutuallyExclusive("url", "data")
}

// broker is one that can be asked.
type broker struct {
	cmd            *cobra.Command
	flags          *adminFlags
	asJSON         bool
	http           *http.Client
	base           string // URL before the API's paths
	where          string // for errors
	user, password string // user empty: who connects is known
}

// broker finds out whom to ask, and as whom. Nothing is sent yet.
func (f *adminFlags) broker(cmd *cobra.Command) (*broker, error) {
	f.stdin = &lines{in: cmd.InOrStdin()}
	b := &broker{cmd: cmd, flags: f, asJSON: f.asJSON, user: f.user}
	var err error
	if f.url == "" {
		err = b.useSocket(f)
	} else {
		err = b.useURL(f)
	}
	if err != nil {
		return nil, err
	}
	if b.user == "" {
		return b, nil
	}
	b.password, err = f.secret(cmd, secret{file: f.password, env: envAdminPassword, prompt: "Password of " + b.user + ": "})
	return b, err
}

func (b *broker) useSocket(f *adminFlags) error {
	if f.ca != "" {
		return &exitError{exitUsage, errors.New("--ca-file is for an https --url")}
	}
	socket := f.socket
	if socket == "" && f.node == "" && f.data == "" {
		socket = lookupEnv(f.env, envAdminSocket)
	}
	switch socket {
	case off:
		return &exitError{exitUsage, errors.New("the admin socket is off: give --url and --user")}
	case "", auto:
		var err error
		if socket, err = findAdminSocket(b.cmd.Context(), f.node, f.data, f.env); err != nil {
			return err
		}
	}
	b.base, b.where = "http://baton", "the admin socket "+socket
	b.http = newAdminClient(&http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}})
	return nil
}

func (b *broker) useURL(f *adminFlags) error {
	u, err := url.Parse(f.url)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return &exitError{exitUsage, errors.New("--url is not http://HOST:PORT or https://HOST:PORT")}
	case u.User != nil:
		return &exitError{exitUsage, errors.New("--url has a user in it: give --user, and the password in a file or when asked")}
	case f.user == "":
		return &exitError{exitUsage, errors.New("--url needs --user")}
	case f.ca != "" && u.Scheme != "https":
		return &exitError{exitUsage, errors.New("--ca-file is for an https --url")}
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		b.cmd.PrintErrf("warning: the password goes to %s unencrypted; use https\n", u.Host)
	}
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return fmt.Errorf("read --ca-file: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return fmt.Errorf("no certificate is in %s", f.ca)
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	b.base, b.where = strings.TrimSuffix(u.Scheme+"://"+u.Host+u.EscapedPath(), "/"), u.Host
	b.http = newAdminClient(transport)
	return nil
}

// newAdminClient follows no redirections: credentials are for whom they were given for.
func newAdminClient(transport *http.Transport) *http.Client {
	return &http.Client{
		Timeout: adminTimeout, Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

func isLoopback(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

// An answerError is what a broker said instead of doing what it was asked.
type answerError struct {
	status int
	Code   string `json:"error"`
	Reason string `json:"reason"`
	body   []byte
	b      *broker
}

func (e *answerError) Error() string {
	switch {
	case e.Code == "not_authorized":
		return fmt.Sprintf("%s refuses the login of user '%s': unknown user or wrong password", e.b.where, e.b.user)
	case e.status == http.StatusUnauthorized, e.status == http.StatusForbidden:
		return "not permitted: " + e.Reason
	case e.status == http.StatusServiceUnavailable:
		return e.b.where + " cannot do this now: " + e.Reason
	}
	return e.Reason
}

// missing reports that what was asked about does not exist.
func missing(err error) bool {
	e, ok := errors.AsType[*answerError](err)
	return ok && e.status == http.StatusNotFound
}

// get reads an answer into v.
func (b *broker) get(path string, v any) error { return b.do(http.MethodGet, path, nil, v, nil) }

// put and del change something.
func (b *broker) put(path string, body any) error { return b.do(http.MethodPut, path, body, nil, nil) }

func (b *broker) del(path string, header http.Header) error {
	return b.do(http.MethodDelete, path, nil, nil, header)
}

// do sends one request. body and v may be nil.
func (b *broker) do(method, path string, body, v any, header http.Header) error {
	var sent io.Reader = http.NoBody
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		sent = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(b.cmd.Context(), method, b.base+path, sent)
	if err != nil {
		return fmt.Errorf("ask %s: %w", b.where, err)
	}
	maps.Copy(req.Header, header)
	req.Header.Set("Content-Type", "application/json")
	if b.user != "" {
		req.SetBasicAuth(b.user, b.password)
	}
	resp, err := b.http.Do(req)
	if err != nil {
		return b.unreachable(err)
	}
	defer func() { _ = resp.Body.Close() }() // the answer has been read
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAdminAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", b.where, err)
	}
	if resp.StatusCode/100 != 2 {
		return b.refused(resp, answer)
	}
	if v == nil {
		return nil
	}
	if err := json.Unmarshal(answer, v); err != nil {
		return fmt.Errorf("%s is no broker's admin address: %w", b.where, err)
	}
	return nil
}

func (b *broker) refused(resp *http.Response, answer []byte) error {
	e := &answerError{status: resp.StatusCode, body: answer, b: b}
	if json.Unmarshal(answer, e) != nil || e.Reason == "" {
		e.Reason = fmt.Sprintf("%s answers %s", b.where, resp.Status)
		if text := strings.TrimSpace(string(answer)); text != "" && len(text) < 200 && !strings.ContainsAny(text, "<\n") {
			e.Reason = text
		}
	}
	return e
}

// unreachable says what kept a request from its broker.
func (b *broker) unreachable(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err // without the URL, whose host is made up
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("not permitted to use %s: run this as the broker's user or as root", b.where)
	case b.flags.url == "" && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)):
		return fmt.Errorf("no broker answers on %s: it does not run, or has another socket (--admin-socket)", b.where)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no broker answers on %s: it does not run, or has another admin address", b.where)
	}
	return fmt.Errorf("ask %s: %w", b.where, err)
}
