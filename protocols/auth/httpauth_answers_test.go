package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/batonmq/baton/core"
)

func TestHTTP_AnswersAreRememberedForTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s service
		s.answer = func(_ string, form url.Values) (int, string) {
			if form.Get("password") == "wrong" || form.Get("name") == "secret" {
				return 200, "deny"
			}
			return 200, "allow"
		}
		opt := s.options()
		opt.AllowTTL, opt.DenyTTL = 20*time.Second, 4*time.Second
		h := newHTTP(t, opt)
		good, bad := alice(), alice()
		bad.Password = "wrong"
		p, err := h.Authenticate(t.Context(), good)
		if err != nil {
			t.Fatal(err)
		}
		access := p.Access(Variables{})
		ask := func(when string, want int64) {
			t.Helper()
			before := s.requests.Load()
			if _, err := h.Authenticate(t.Context(), good); err != nil {
				t.Errorf("%s: %v", when, err)
			}
			if _, err := h.Authenticate(t.Context(), bad); !errors.Is(err, ErrBadCredentials) {
				t.Errorf("%s: %v; want a refusal", when, err)
			}
			if err := access.Allow(core.Request{VHost: "v", Name: "open"}); err != nil {
				t.Errorf("%s: %v", when, err)
			}
			if err := access.Allow(core.Request{VHost: "v", Name: "secret"}); !errors.Is(err, core.ErrDenied) {
				t.Errorf("%s: %v; want a denial", when, err)
			}
			if got := s.requests.Load() - before; got != want {
				t.Errorf("%s: %d requests; want %d", when, got, want)
			}
		}
		ask("at first", 3)
		ask("again", 0)
		time.Sleep(3 * time.Second) // the denials are old, less the tick that others may keep them for
		ask("when denials are forgotten", 2)
		time.Sleep(16 * time.Second)
		ask("when all is forgotten", 4)
	})
}

func TestHTTP_NoAnswerIsUsedLongerThanItsTTL(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s service
		opt := s.options()
		opt.AllowTTL, opt.DenyTTL = 15*time.Second, 15*time.Second
		h := newHTTP(t, opt)
		p, err := h.Authenticate(t.Context(), alice())
		if err != nil {
			t.Fatal(err)
		}
		access := p.Access(Variables{})
		if err := access.Enter("v"); err != nil { // remembered from now on
			t.Fatal(err)
		}
		began := time.Now()
		s.answer = func(string, url.Values) (int, string) { return 200, "deny" }
		// As an engine does that remembers answers while the generation is the same.
		generation := access.Generation()
		answer := access.Enter("v")
		for answer == nil {
			time.Sleep(100 * time.Millisecond)
			if g := access.Generation(); g != generation {
				if g < generation {
					t.Fatalf("generation %d after %d", g, generation)
				}
				generation, answer = g, access.Enter("v")
			}
		}
		if took := time.Since(began); took > 15*time.Second || took < 10*time.Second {
			t.Errorf("allowed for %v after it was asked; want up to 15s, and not much less", took)
		}
	})
}

func TestHTTP_WithoutTTLEveryQuestionIsAsked(t *testing.T) {
	var s service
	opt := s.options()
	opt.AllowTTL, opt.DenyTTL = -1, -1
	h := newHTTP(t, opt)
	for range 2 {
		p, err := h.Authenticate(t.Context(), alice())
		if err != nil {
			t.Fatal(err)
		}
		access := p.Access(Variables{})
		if a, b := access.Generation(), access.Generation(); a == b {
			t.Errorf("generation %d twice", a)
		}
		if err := access.Enter("v"); err != nil {
			t.Error(err)
		}
	}
	if n := s.requests.Load(); n != 4 {
		t.Errorf("%d requests for four questions", n)
	}
}

func TestHTTP_EqualQuestionsWaitForOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s service
		s.answer = func(string, url.Values) (int, string) {
			time.Sleep(time.Second)
			return 200, "allow"
		}
		h := newHTTP(t, s.options())
		first, leave := context.WithCancelCause(t.Context())
		impatient, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
		defer cancel()
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = h.Authenticate(first, alice()) })
		synctest.Wait() // the question is under way
		for range 50 {
			wg.Go(func() {
				if _, err := h.Authenticate(t.Context(), alice()); err != nil {
					t.Errorf("who joined: %v", err)
				}
			})
		}
		wg.Go(func() {
			began := time.Now()
			_, err := h.Authenticate(impatient, alice())
			if took := time.Since(began); !errors.Is(err, context.DeadlineExceeded) || took != 500*time.Millisecond {
				t.Errorf("who could not wait: %v after %v", err, took)
			}
		})
		synctest.Wait()
		leave(errors.New("gone"))
		wg.Wait()
		if n := s.requests.Load(); n != 1 {
			t.Errorf("%d requests; want 1", n)
		}
	})
}

func TestHTTP_WhatIsNotFoundOutIsNotRemembered(t *testing.T) {
	var s service
	s.answer = func(string, url.Values) (int, string) { return 503, "" }
	h := newHTTP(t, s.options())
	if _, err := h.Authenticate(t.Context(), alice()); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("while it is down: %v; want an error that is no refusal", err)
	}
	s.answer = nil
	if _, err := h.Authenticate(t.Context(), alice()); err != nil {
		t.Errorf("when it is up: %v", err)
	}
}

func TestHTTP_WrongPasswordsDoNotDriveOutRightOnes(t *testing.T) {
	var s service
	s.answer = func(_ string, form url.Values) (int, string) {
		if form.Get("password") == alice().Password {
			return 200, "allow"
		}
		return 200, "deny"
	}
	opt := s.options()
	opt.MaxAnswers = 10
	h := newHTTP(t, opt)
	if _, err := h.Authenticate(t.Context(), alice()); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		c := alice()
		c.Password = fmt.Sprint("guess", i)
		if _, err := h.Authenticate(t.Context(), c); !errors.Is(err, ErrBadCredentials) {
			t.Fatal(err)
		}
	}
	if n := h.answers.denied.len(); n > 10 {
		t.Errorf("%d denials are remembered; 10 is the bound", n)
	}
	before := s.requests.Load()
	if _, err := h.Authenticate(t.Context(), alice()); err != nil || s.requests.Load() != before {
		t.Errorf("the right password is asked about again: %v", err)
	}
}

// certificatePair is an authority, a server's configuration that requires its
// certificates, and the files of a client.
type certificatePair struct {
	serverConfig              *tls.Config
	caFile, certFile, keyFile string
}

func newCertificatePair(t *testing.T) certificatePair {
	t.Helper()
	encode := func(kind string, der []byte) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	}
	template := func(serial int64, name string) *x509.Certificate {
		return &x509.Certificate{
			SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: name},
			NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
			IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		}
	}
	caKey := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	ca := template(1, "authority")
	ca.IsCA, ca.BasicConstraintsValid, ca.KeyUsage = true, true, x509.KeyUsageCertSign
	caDER := must(x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey))
	issue := func(serial int64, name string) (cert, key []byte) {
		k := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
		der := must(x509.CreateCertificate(rand.Reader, template(serial, name), ca, k.Public(), caKey))
		return encode("CERTIFICATE", der), encode("PRIVATE KEY", must(x509.MarshalPKCS8PrivateKey(k)))
	}
	pool := x509.NewCertPool()
	pool.AddCert(must(x509.ParseCertificate(caDER)))
	serverCert, serverKey := issue(2, "server")
	clientCert, clientKey := issue(3, "baton")
	return certificatePair{
		serverConfig: &tls.Config{
			Certificates: []tls.Certificate{must(tls.X509KeyPair(serverCert, serverKey))},
			ClientAuth:   tls.RequireAndVerifyClientCert, ClientCAs: pool, MinVersion: tls.VersionTLS12,
		},
		caFile:   write(t, "ca.pem", encode("CERTIFICATE", caDER)),
		certFile: write(t, "cert.pem", clientCert),
		keyFile:  write(t, "key.pem", clientKey),
	}
}
