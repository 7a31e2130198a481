package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/batonmq/baton/core"
	"github.com/batonmq/baton/protocols/auth"
	"github.com/batonmq/baton/protocols/listen"
)

// authSettings are the settings below auth.
type authSettings struct {
	Backends      []string
	LoopbackUsers []string

	CertificateNameFrom, CertificateSANType string

	JWT struct {
		KeyFiles, SecretFiles         []string // [KID=]path
		JWKSFile, JWKSURL, JWKSCAFile string
		Refresh                       time.Duration
		Algorithms                    []string
		ResourceServerID, Issuer      string
		AllowNoExpiry                 bool
		Leeway                        time.Duration
		UsernameClaims                []string
		ScopePrefix                   string // auto: of ResourceServerID
		AdditionalScopes              []string
		TwoPartTopics                 bool
	}
	HTTP struct {
		UserURL, VHostURL, ResourceURL, TopicURL string
		Method                                   string
		Timeout                                  time.Duration
		Concurrency                              int
		AllowTTL, DenyTTL                        time.Duration
		CacheSize                                int
		CAFile, CertFile, KeyFile                string
	}
}

// uses reports whether a backend is among those that are asked.
func (a *authSettings) uses(backend string) bool { return slices.Contains(a.Backends, backend) }

// check finds what the settings of a backend lack, by their keys. It reads no
// file.
func (a *authSettings) check() error {
	if len(a.Backends) == 0 {
		return errors.New("auth.backends names none: nobody could log in")
	}
	jwt, http := &a.JWT, &a.HTTP
	for _, required := range []struct {
		backend, key string
		given        bool
	}{
		{backendJWT, "auth.jwt_resource_server_id", jwt.ResourceServerID != ""},
		{backendJWT, "auth.jwt_key_file, auth.jwt_secret_file, auth.jwt_jwks_file or auth.jwt_jwks_url", len(jwt.KeyFiles)+len(jwt.SecretFiles) > 0 || jwt.JWKSFile+jwt.JWKSURL != ""},
		{backendHTTP, "auth.http_user_url", http.UserURL != ""},
		{backendHTTP, "auth.http_vhost_url", http.VHostURL != ""},
		{backendHTTP, "auth.http_resource_url", http.ResourceURL != ""},
		{backendHTTP, "auth.http_topic_url", http.TopicURL != ""},
	} {
		if a.uses(required.backend) && !required.given {
			return fmt.Errorf("auth.backends names %s, and %s is not set", required.backend, required.key)
		}
	}
	if (http.CertFile == "") != (http.KeyFile == "") {
		return errors.New("auth.http_cert_file and auth.http_key_file belong together: set both or neither")
	}
	return nil
}

// jwt are the options of the backend.
func (a *authSettings) jwt(log *slog.Logger) auth.JWTOptions {
	s := &a.JWT
	opt := auth.JWTOptions{
		JWKSFile: s.JWKSFile, JWKSURL: s.JWKSURL, TLS: auth.ClientTLS{CAFile: s.JWKSCAFile}, RefreshInterval: s.Refresh,
		Algorithms: s.Algorithms, ResourceServerID: s.ResourceServerID, Issuer: s.Issuer, AllowNoExpiry: s.AllowNoExpiry,
		Leeway: s.Leeway, UsernameClaims: s.UsernameClaims, AdditionalScopes: s.AdditionalScopes, TwoPartTopics: s.TwoPartTopics,
		Logger: log,
	}
	for _, s := range s.KeyFiles {
		kid, path := splitKeyFile(s)
		opt.Keys = append(opt.Keys, auth.JWTKey{ID: kid, PEMFile: path})
	}
	for _, s := range s.SecretFiles {
		kid, path := splitKeyFile(s)
		opt.Keys = append(opt.Keys, auth.JWTKey{ID: kid, SecretFile: path})
	}
	if s.ScopePrefix != auto {
		opt.ScopePrefix = &s.ScopePrefix
	}
	return opt
}

// splitKeyFile reads [KID=]path. What has a separator of directories before its
// first equals sign is a path alone.
func splitKeyFile(s string) (kid, path string) {
	kid, path, ok := strings.Cut(s, "=")
	if !ok || strings.ContainsAny(kid, `/\`) {
		return "", s
	}
	return kid, path
}

// http are the options of the backend.
func (a *authSettings) http(log *slog.Logger) auth.HTTPOptions {
	s := &a.HTTP
	ttl := func(d time.Duration) time.Duration {
		if d == 0 {
			return -1 // for the one question; its zero is the default
		}
		return d
	}
	return auth.HTTPOptions{
		UserURL: s.UserURL, VHostURL: s.VHostURL, ResourceURL: s.ResourceURL, TopicURL: s.TopicURL, Method: s.Method,
		TLS:     auth.ClientTLS{CAFile: s.CAFile, CertFile: s.CertFile, KeyFile: s.KeyFile},
		Timeout: s.Timeout, MaxConcurrent: s.Concurrency, AllowTTL: ttl(s.AllowTTL), DenyTTL: ttl(s.DenyTTL), MaxAnswers: s.CacheSize,
		Logger: log,
	}
}

// admission is who decides whom to let in, for as long as this node is the
// primary.
type admission struct {
	auth      auth.Authenticator
	account   func(name string, from net.Addr) (auth.Principal, error)             // one of the broker's own
	scram     func(context.Context, auth.Credentials) (*auth.SCRAMExchange, error) // nil: the accounts are not asked
	anonymous *auth.Anonymous                                                      // nil: a client without a name is not let in
	close     []func()
}

// openAdmission makes it of the settings.
func (c *Config) openAdmission(broker *core.Broker, rate *listen.Rate, log *slog.Logger) (*admission, error) {
	accounts, err := auth.NewAccounts(auth.AccountsOptions{
		Users: broker.Access(), LoopbackOnly: append([]string{}, c.Auth.LoopbackUsers...), Logger: log, // not nil: an empty list is nobody
	})
	if err != nil {
		return nil, err
	}
	a := &admission{account: accounts.Principal}
	var chain []auth.Authenticator
	for _, backend := range c.Auth.Backends {
		link, err := a.open(&c.Auth, backend, accounts, log)
		if err != nil {
			a.Close()
			return nil, fmt.Errorf("auth backend %s: %w", backend, err)
		}
		chain = append(chain, link)
	}
	a.auth = &rated{auth.NewChain(chain...), rate, broker}
	if c.Auth.uses(backendInternal) {
		a.scram = scramRated(accounts, rate)
	}
	if c.MQTT.Anonymous {
		if a.anonymous, err = auth.NewAnonymous(accounts, c.anonymousUser()); err != nil {
			a.Close()
			return nil, err
		}
	}
	return a, nil
}

// rated asks before each login whether its address may try one: a password that
// is not hashed costs nothing, and tells nothing.
type rated struct {
	auth.Authenticator
	rate   *listen.Rate
	broker *core.Broker // has who listens told of it
}

var _ auth.Offerer = (*rated)(nil)

func (r *rated) Authenticate(ctx context.Context, c auth.Credentials) (auth.Principal, error) {
	done, err := r.rate.Try(ctx, c.RemoteAddr)
	switch {
	case errors.Is(err, listen.ErrTooManyFailures):
		return auth.Principal{}, fmt.Errorf("%w: %w", auth.ErrRefused, err)
	case err != nil:
		return auth.Principal{}, fmt.Errorf("wait for the turn of a login: %w", err)
	}
	defer done()
	p, err := r.Authenticator.Authenticate(ctx, c)
	tellLogin(r.broker, &c, p.Name, err)
	return p, err
}

// scramRated lets an address begin an exchange that may try a login. Proofs cost
// next to nothing to check, so that only the beginning waits its turn.
func scramRated(accounts *auth.Accounts, rate *listen.Rate) func(context.Context, auth.Credentials) (*auth.SCRAMExchange, error) {
	return func(ctx context.Context, peer auth.Credentials) (*auth.SCRAMExchange, error) {
		done, err := rate.Try(ctx, peer.RemoteAddr)
		switch {
		case errors.Is(err, listen.ErrTooManyFailures):
			return nil, fmt.Errorf("%w: %w", auth.ErrRefused, err)
		case err != nil:
			return nil, fmt.Errorf("wait for the turn of a login: %w", err)
		}
		done()
		return accounts.SCRAM(peer), nil
	}
}

func (r *rated) Offers(peer auth.Credentials) []string { return auth.Offers(r.Authenticator, peer) }

// open makes one authenticator, and notes how it is closed.
func (a *admission) open(s *authSettings, backend string, accounts *auth.Accounts, log *slog.Logger) (auth.Authenticator, error) {
	switch backend {
	case backendInternal:
		return auth.NewInternal(accounts, auth.InternalOptions{})
	case backendCertificate:
		return auth.NewCertificates(accounts, auth.CertificatesOptions{
			From: auth.NameSource(s.CertificateNameFrom), SANType: auth.SANType(s.CertificateSANType), WithoutMechanism: true,
		})
	case backendJWT:
		jwt, err := auth.NewJWT(s.jwt(log))
		if err == nil {
			a.close = append(a.close, jwt.Close)
		}
		return jwt, err
	case backendHTTP:
		http, err := auth.NewHTTP(s.http(log))
		if err == nil {
			a.close = append(a.close, http.Close)
		}
		return http, err
	}
	return nil, errors.New("there is no such backend")
}

// Close ends what the authenticators have started. They refuse nobody for it.
func (a *admission) Close() {
	for _, f := range a.close {
		f()
	}
}

// firstUser is the name and password that a new store begins with.
func (c *Config) firstUser() (name, password string) {
	if c.DefaultUser == "" {
		return auth.DefaultUser, auth.DefaultPassword
	}
	return c.DefaultUser, c.DefaultPass
}

func (c *Config) anonymousUser() string {
	if c.MQTT.AnonymousUser != "" {
		return c.MQTT.AnonymousUser
	}
	name, _ := c.firstUser()
	return name
}

// checkUsers finds what contradicts itself about users.
func (c *Config) checkUsers() error {
	switch {
	case c.DefaultUser != "" && c.DefaultPass == "":
		return fmt.Errorf("no password for the default user %q: set default_pass", c.DefaultUser)
	case c.DefaultUser == "" && c.DefaultPass != "":
		return errors.New("default_pass is set and default_user is not: set both or neither")
	}
	if user := c.anonymousUser(); c.MQTT.Anonymous && c.MQTT.AnonymousFrom == fromAnywhere && slices.Contains(c.Auth.LoopbackUsers, user) {
		return fmt.Errorf("mqtt.anonymous_from is %s, and user %q may log in from loopback addresses only: choose another mqtt.anonymous_user, or take it out of auth.loopback_users", fromAnywhere, user)
	}
	if c.Auth.uses(backendCertificate) && c.TLS.ClientAuth == listen.ClientAuthNone.String() {
		return fmt.Errorf("auth.backends names %s, and tls.client_auth asks clients for none: set it to %s", backendCertificate, listen.ClientAuthRequest)
	}
	return nil
}

// seed gives a store that has never had a user its first one. What it costs to
// hash a password is spent only then.
func (c *Config) seed(ctx context.Context, access *core.Access, log *slog.Logger) error {
	if len(access.Users()) > 0 {
		return nil
	}
	name, password := c.firstUser()
	user, permissions, err := auth.FirstUser(name, password, core.DefaultVHost)
	if err != nil {
		return fmt.Errorf("make the first user: %w", err)
	}
	made, err := access.Seed(ctx, user, permissions)
	if err != nil {
		return fmt.Errorf("make the first user: %w", err)
	}
	if made {
		log.Info("made the first user", slog.String("user", name))
	}
	return nil
}
