package auth

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"
)

// ClientTLS is how a server that is asked is known, and how it knows us. The
// zero value trusts the system's authorities and shows no certificate.
type ClientTLS struct {
	CAFile   string // PEM; the authorities to trust instead of the system's
	CertFile string // PEM; our certificate with its chain, read at every handshake
	KeyFile  string // PEM; its key
}

// config returns the client's side of TLS 1.2 or later.
func (o *ClientTLS) config() (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		b, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read certificate authorities: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(b) {
			return nil, fmt.Errorf("no certificate in %s", o.CAFile)
		}
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, errors.New("a client certificate and its key: set both or neither")
	}
	if o.CertFile != "" {
		load := func() (*tls.Certificate, error) {
			certificate, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
			if err != nil {
				return nil, fmt.Errorf("load client certificate: %w", err)
			}
			return &certificate, nil
		}
		if _, err := load(); err != nil {
			return nil, err
		}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return load() }
	}
	return c, nil
}

// newHTTPClient returns a client that keeps up to conns connections, follows no
// redirect and asks no proxy: what is sent is for the configured server alone.
func newHTTPClient(o *ClientTLS, conns int) (*http.Client, error) {
	c, err := o.config()
	if err != nil {
		return nil, err
	}
	return &http.Client{
		Transport: &http.Transport{
			DialContext:            (&net.Dialer{Timeout: 10 * time.Second}).DialContext,
			TLSClientConfig:        c,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxIdleConnsPerHost:    conns,
			IdleConnTimeout:        time.Minute,
			MaxResponseHeaderBytes: 64 << 10,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

// checkURL returns the address if it is one of a web server. Names and
// passwords in it are for the server and not for logs: see redact.
func checkURL(what, address string) (*url.URL, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, fmt.Errorf("%s is not a URL: %w", what, withoutURL(err))
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("%s is not an http or https URL", what)
	}
	return u, nil
}

// inClear reports an address whose traffic others can read: http, but to this
// machine.
func inClear(u *url.URL) bool {
	host := u.Hostname()
	ip := net.ParseIP(host)
	return u.Scheme == "http" && host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// redact returns the part of an address that may be logged.
func redact(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// withoutURL strips the address from an error of package http or url: that of a
// GET has a password in its query.
func withoutURL(err error) error {
	if e, ok := errors.AsType[*url.Error](err); ok {
		return e.Err
	}
	return err
}

// statusError tells of an answer that is none.
func statusError(resp *http.Response) error {
	if to, err := resp.Location(); err == nil {
		return fmt.Errorf("status %d to %s: redirects are not followed, configure the address itself", resp.StatusCode, redact(to))
	}
	return fmt.Errorf("status %d", resp.StatusCode)
}
