package main

import (
	"crypto/tls"
	"fmt"
	"log/slog"

	"github.com/batonmq/baton/protocols/listen"
)

// tlsSettings are the settings below tls, as texts that have been looked at one
// by one.
type tlsSettings struct {
	CertFiles   []string // a key file each
	KeyFiles    []string
	CAFile      string
	ClientAuth  string // none, request, require
	CRLFiles    []string
	RefuseStale bool
	MinVersion  string // 1.2, 1.3
}

// clientAuths and tlsVersions are the words of tls.client_auth and
// tls.min_version.
func clientAuths() []string {
	return []string{listen.ClientAuthNone.String(), listen.ClientAuthRequest.String(), listen.ClientAuthRequire.String()}
}

func tlsVersions() []string { return []string{"1.2", "1.3"} }

// options are what the settings mean together. It reads no file.
func (s *tlsSettings) options() (listen.TLSOptions, error) {
	opt := listen.TLSOptions{CAFile: s.CAFile, CRLFiles: s.CRLFiles, RefuseStale: s.RefuseStale}
	if len(s.CertFiles) != len(s.KeyFiles) {
		return opt, fmt.Errorf("tls.cert_file names %d files and tls.key_file %d: give every certificate its key, in the same order",
			len(s.CertFiles), len(s.KeyFiles))
	}
	for i, cert := range s.CertFiles {
		opt.KeyPairs = append(opt.KeyPairs, listen.KeyPair{CertFile: cert, KeyFile: s.KeyFiles[i]})
	}
	switch s.ClientAuth {
	case "", "none":
		opt.ClientAuth = listen.ClientAuthNone
	case "request":
		opt.ClientAuth = listen.ClientAuthRequest
	case "require":
		opt.ClientAuth = listen.ClientAuthRequire
	default:
		return opt, fmt.Errorf("tls.client_auth %q is not one of %v", s.ClientAuth, clientAuths())
	}
	switch s.MinVersion {
	case "", "1.2":
		opt.MinVersion = tls.VersionTLS12
	case "1.3":
		opt.MinVersion = tls.VersionTLS13
	default:
		return opt, fmt.Errorf("tls.min_version %q is not one of %v", s.MinVersion, tlsVersions())
	}
	return opt, nil
}

// openTLS reads what listeners with TLS share. It is nil where there is no
// certificate: then there are none.
func (c *Config) openTLS(log *slog.Logger) (*listen.TLS, error) {
	if len(c.TLS.CertFiles) == 0 {
		return nil, nil
	}
	opt, err := c.TLS.options()
	if err != nil {
		return nil, err
	}
	opt.Log = log
	loaded, err := listen.OpenTLS(opt)
	if err != nil {
		return nil, fmt.Errorf("tls: %w", err)
	}
	return loaded, nil
}
