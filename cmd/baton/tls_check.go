package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/batonmq/baton/protocols/listen"
)

// soonExpired is what is left of a certificate that should have been renewed.
const soonExpired = 14 * 24 * time.Hour

// inspect reads what the settings name, as serve would, and describes it. An
// error is what keeps serve from starting; a problem is what clients will not
// like.
func (s *tlsSettings) inspect(now time.Time) (text string, problems int, err error) {
	opt, err := s.options()
	if err != nil {
		return "", 0, &exitError{exitUsage, err}
	}
	loaded, err := listen.OpenTLS(opt)
	if err != nil {
		return "", 0, err
	}
	var b strings.Builder
	for _, pair := range opt.KeyPairs {
		chain, err := readChain(pair)
		if err != nil {
			return "", 0, err
		}
		found := append(chainProblems(chain, now), keyProblems(pair.KeyFile)...)
		describe(&b, pair.CertFile, chain, found, now)
		problems += len(found)
	}
	for _, l := range loaded.Stats().Revocations {
		fmt.Fprintf(&b, "%s\n  issuer     %s\n  revoked    %d certificates\n", l.File, l.Issuer, l.Revoked)
		if !l.Due.IsZero() {
			fmt.Fprintf(&b, "  next       %s\n", l.Due.UTC().Format(time.RFC3339))
		}
		if !l.Due.IsZero() && now.After(l.Due) {
			problems++
			fmt.Fprintf(&b, "  problem    out of date: fetch the list that was due\n")
		}
	}
	return b.String(), problems, nil
}

// readChain reads a certificate and what is behind it in its file.
func readChain(pair listen.KeyPair) ([]*x509.Certificate, error) {
	loaded, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("read certificate %s: %w", pair.CertFile, err)
	}
	chain := make([]*x509.Certificate, 0, len(loaded.Certificate))
	for _, der := range loaded.Certificate {
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, fmt.Errorf("read certificate %s: %w", pair.CertFile, err)
		}
		chain = append(chain, c)
	}
	return chain, nil
}

func describe(b *strings.Builder, file string, chain []*x509.Certificate, problems []string, now time.Time) {
	leaf, last := chain[0], chain[len(chain)-1]
	names := slices.Clone(leaf.DNSNames)
	for _, ip := range leaf.IPAddresses {
		names = append(names, ip.String())
	}
	fmt.Fprintf(b, "%s\n  subject    %s\n  names      %s\n  issuer     %s\n", file, leaf.Subject, strings.Join(names, ", "), leaf.Issuer)
	fmt.Fprintf(b, "  not after  %s (%d days)\n", leaf.NotAfter.UTC().Format(time.RFC3339), int(leaf.NotAfter.Sub(now).Hours()/24))
	fmt.Fprintf(b, "  leads to   %s, with %d certificates\n", last.Issuer, len(chain))
	for _, p := range problems {
		fmt.Fprintf(b, "  problem    %s\n", p)
	}
}

// chainProblems are what clients will object to, whomever they trust.
func chainProblems(chain []*x509.Certificate, now time.Time) []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	leaf := chain[0]
	if len(leaf.DNSNames)+len(leaf.IPAddresses) == 0 {
		add("no names: clients look for theirs in the subject alternative names, and no longer in the subject")
	}
	if len(leaf.ExtKeyUsage) > 0 && !allowsServer(leaf) {
		add("not for servers: its extended key usage lacks server authentication")
	}
	for i, c := range chain {
		switch left := c.NotAfter.Sub(now); {
		case left < 0:
			add("%s has expired, on %s", c.Subject, c.NotAfter.UTC().Format(time.RFC3339))
		case left < soonExpired:
			add("%s expires in %d days: renew it", c.Subject, int(left.Hours()/24))
		case now.Before(c.NotBefore):
			add("%s is not valid before %s", c.Subject, c.NotBefore.UTC().Format(time.RFC3339))
		}
		if i > 0 {
			if err := chain[i-1].CheckSignatureFrom(c); err != nil {
				add("%s is not signed by the next certificate in the file, %s: put each before its issuer", chain[i-1].Subject, c.Subject)
			}
		}
	}
	return found
}

func allowsServer(c *x509.Certificate) bool {
	for _, u := range c.ExtKeyUsage {
		if u == x509.ExtKeyUsageServerAuth || u == x509.ExtKeyUsageAny {
			return true
		}
	}
	return false
}

// keyProblems looks at who may read the key.
func keyProblems(file string) []string {
	info, err := os.Stat(file)
	if err != nil || runtime.GOOS == "windows" { // whose modes say nothing about readers
		return nil
	}
	if info.Mode().Perm()&0o007 != 0 {
		return []string{fmt.Sprintf("key %s can be read by every user of this machine: chmod o= %s", file, file)}
	}
	return nil
}
