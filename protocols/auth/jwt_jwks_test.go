package auth

import (
	"context"
	"crypto"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/MicahParks/jwkset"
	"github.com/golang-jwt/jwt/v5"
)

// roundTripper is a network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func respond(status int, body string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body))}
}

// jwk is a key of a set; private ones are included where the key is one.
func jwk(t *testing.T, kid string, key any, change func(*jwkset.JWKMarshal)) jwkset.JWKMarshal {
	t.Helper()
	if s, ok := key.(crypto.Signer); ok {
		key = s.Public()
	}
	k, err := jwkset.NewJWKFromKey(key, jwkset.JWKOptions{
		Marshal:  jwkset.JWKMarshalOptions{Private: true},
		Metadata: jwkset.JWKMetadataOptions{KID: kid},
	})
	if err != nil {
		t.Fatal(err)
	}
	m := k.Marshal()
	if change != nil {
		change(&m)
	}
	return m
}

func keySet(t *testing.T, keys ...jwkset.JWKMarshal) string {
	t.Helper()
	b, err := json.Marshal(jwkset.JWKSMarshal{Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// keyServer is an issuer's web server. It is down while it answers nil.
type keyServer struct {
	fetches atomic.Int64
	answer  atomic.Pointer[func() *http.Response]
}

func (s *keyServer) set(status int, body string) {
	s.do(func() *http.Response { return respond(status, body) })
}

func (s *keyServer) do(answer func() *http.Response) { s.answer.Store(&answer) }

func (s *keyServer) RoundTrip(req *http.Request) (*http.Response, error) {
	s.fetches.Add(1)
	r := (*s.answer.Load())()
	if err := context.Cause(req.Context()); err != nil { // as a network would
		return nil, err
	}
	if r != nil {
		return r, nil
	}
	return nil, errors.New("connection refused")
}

func (s *keyServer) options() JWTOptions {
	return JWTOptions{JWKSURL: "https://issuer.example/keys", ResourceServerID: "rabbitmq", transport: s}
}

func TestJWT_RotatedKeysAreFetchedForUnknownKeyIDs(t *testing.T) {
	i := newIssuer()
	synctest.Test(t, func(t *testing.T) {
		var server keyServer
		server.set(200, keySet(t, jwk(t, "a", i.rsa, nil)))
		j := newJWT(t, server.options())
		byOld := login(sign(t, jwt.SigningMethodRS256, "a", i.rsa, claimsWith(nil)))
		byNew := login(sign(t, jwt.SigningMethodES256, "b", i.ec, claimsWith(nil)))
		if _, err := j.Authenticate(t.Context(), byOld); err != nil {
			t.Fatalf("before the rotation: %v", err)
		}
		synctest.Wait()
		before := server.fetches.Load()

		server.set(200, keySet(t, jwk(t, "b", i.ec, nil)))
		for range 3 { // however often it is sent
			if _, err := j.Authenticate(t.Context(), byNew); !errors.Is(err, errNoKey) || !errors.Is(err, ErrRefused) {
				t.Fatalf("a moment after a fetch: %v; want a refusal", err)
			}
		}
		if n := server.fetches.Load(); n != before {
			t.Errorf("%d fetches for an unknown key a moment after one", n-before)
		}
		time.Sleep(keySetPause)
		if _, err := j.Authenticate(t.Context(), byNew); err != nil {
			t.Errorf("after the pause: %v", err)
		}
		if n := server.fetches.Load(); n != before+1 {
			t.Errorf("%d fetches for the rotation; want 1", n-before)
		}
		if _, err := j.Authenticate(t.Context(), byOld); !errors.Is(err, errNoKey) {
			t.Errorf("by the key that was withdrawn: %v; want a refusal", err)
		}
	})
}

func TestJWT_ManyUnknownKeyIDsCauseOneFetch(t *testing.T) {
	i := newIssuer()
	synctest.Test(t, func(t *testing.T) {
		var server keyServer
		server.set(200, keySet(t, jwk(t, "a", i.rsa, nil)))
		j := newJWT(t, server.options())
		synctest.Wait()
		time.Sleep(keySetPause)
		before := server.fetches.Load()
		server.do(func() *http.Response {
			time.Sleep(time.Second)
			return respond(200, keySet(t, jwk(t, "a", i.rsa, nil)))
		})
		unknown := login(sign(t, jwt.SigningMethodES256, "zz", i.ec, claimsWith(nil)))
		var wg sync.WaitGroup
		first, leave := context.WithCancel(t.Context())
		wg.Go(func() { _, _ = j.Authenticate(first, unknown) })
		synctest.Wait() // it fetches
		for range 50 {
			wg.Go(func() {
				if _, err := j.Authenticate(t.Context(), unknown); !errors.Is(err, errNoKey) {
					t.Errorf("unknown key: %v; want a refusal", err)
				}
			})
		}
		synctest.Wait()
		leave()
		wg.Wait()
		if n := server.fetches.Load() - before; n != 1 {
			t.Errorf("%d fetches; want 1", n)
		}
	})
}

func TestJWT_KeysAreFetchedInTheBackground(t *testing.T) {
	i := newIssuer()
	synctest.Test(t, func(t *testing.T) {
		var server keyServer
		server.set(200, keySet(t, jwk(t, "a", i.rsa, nil)))
		newJWT(t, server.options())
		synctest.Wait()
		if n := server.fetches.Load(); n != 1 {
			t.Fatalf("%d fetches at the start; want 1", n)
		}
		time.Sleep(3*defaultKeySetRefresh + time.Minute)
		if n := server.fetches.Load(); n != 4 {
			t.Errorf("%d fetches in three hours; want 4", n)
		}
	})
}

func TestJWT_AnIssuerThatIsDown(t *testing.T) {
	i := newIssuer()
	synctest.Test(t, func(t *testing.T) {
		var server keyServer
		server.do(func() *http.Response { return nil })
		j := newJWT(t, server.options())
		token := login(sign(t, jwt.SigningMethodRS256, "a", i.rsa, claimsWith(nil)))
		if _, err := j.Authenticate(t.Context(), token); err == nil || errors.Is(err, ErrRefused) {
			t.Errorf("before any key was fetched: %v; want an error that is no refusal", err)
		}
		if _, err := j.Authenticate(t.Context(), login("hunter2")); !errors.Is(err, ErrRefused) {
			t.Errorf("what is no token: %v; want a refusal", err)
		}
		server.set(200, keySet(t, jwk(t, "a", i.rsa, nil)))
		time.Sleep(keySetRetry + time.Second)
		if _, err := j.Authenticate(t.Context(), token); err != nil {
			t.Errorf("when it is up: %v", err)
		}
		server.set(500, "")
		time.Sleep(2 * defaultKeySetRefresh)
		token = login(sign(t, jwt.SigningMethodRS256, "a", i.rsa, claimsWith(nil)))
		if _, err := j.Authenticate(t.Context(), token); err != nil {
			t.Errorf("when it is down again: %v", err)
		}
	})
}

func TestJWT_KeySetsThatAreNone(t *testing.T) {
	i := newIssuer()
	withKey := func(change func(*jwkset.JWKMarshal)) string {
		return keySet(t, jwk(t, "a", i.rsa, change))
	}
	for name, answer := range map[string]func() *http.Response{
		"not there": func() *http.Response { return respond(404, "") },
		"moved": func() *http.Response {
			r := respond(302, "")
			r.Header.Set("Location", "https://evil.example/keys")
			r.Request = httptest.NewRequestWithContext(t.Context(), http.MethodGet, "https://issuer.example/keys", http.NoBody)
			return r
		},
		"no JSON":             func() *http.Response { return respond(200, "<html>") },
		"empty":               func() *http.Response { return respond(200, `{"keys":[]}`) },
		"keys of other sorts": func() *http.Response { return respond(200, `{"keys":[7,{"kty":"xyz"},{"kty":"RSA"}]}`) },
		"too large":           func() *http.Response { return respond(200, strings.Repeat(" ", maxKeySetBytes)+withKey(nil)) },
		"too many": func() *http.Response {
			return respond(200, `{"keys":[`+strings.Repeat(`{"kty":"xyz"},`, maxKeySetKeys)+`{}]}`)
		},
		"for encryption": func() *http.Response {
			return respond(200, withKey(func(m *jwkset.JWKMarshal) { m.USE = jwkset.UseEnc }))
		},
		"to sign only": func() *http.Response {
			return respond(200, withKey(func(m *jwkset.JWKMarshal) { m.KEYOPS = []jwkset.KEYOPS{jwkset.KeyOpsSign} }))
		},
		"another algorithm": func() *http.Response {
			return respond(200, withKey(func(m *jwkset.JWKMarshal) { m.ALG = jwkset.AlgES256 }))
		},
		"a secret": func() *http.Response { return respond(200, keySet(t, jwk(t, "a", i.secret, nil))) },
	} {
		t.Run(name, func(t *testing.T) {
			var server keyServer
			server.do(answer)
			j := newJWT(t, server.options())
			for _, token := range []string{
				sign(t, jwt.SigningMethodRS256, "a", i.rsa, claimsWith(nil)),
				sign(t, jwt.SigningMethodHS256, "a", i.secret, claimsWith(nil)),
			} {
				if _, err := j.Authenticate(t.Context(), login(token)); err == nil || errors.Is(err, ErrRefused) {
					t.Errorf("Authenticate = %v; want an error that is no refusal", err)
				}
			}
		})
	}
}

func TestJWT_KeysOfASet(t *testing.T) {
	i := newIssuer()
	var server keyServer
	server.set(200, keySet(
		t,
		jwk(t, "rs256", i.rsa, func(m *jwkset.JWKMarshal) { m.ALG, m.USE = jwkset.AlgRS256, jwkset.UseSig }),
		jwk(t, "ed", i.ed, func(m *jwkset.JWKMarshal) { m.X5U = "http://issuer.example/certificate" }),
		jwk(t, "enc", i.ec, func(m *jwkset.JWKMarshal) { m.USE = jwkset.UseEnc }),
	))
	j := newJWT(t, server.options())
	for _, tt := range []struct {
		name   string
		method jwt.SigningMethod
		kid    string
		key    any
		ok     bool
	}{
		{"by its algorithm", jwt.SigningMethodRS256, "rs256", i.rsa, true},
		{"by another algorithm of its kind", jwt.SigningMethodRS512, "rs256", i.rsa, false},
		{"with an address of a certificate", jwt.SigningMethodEdDSA, "ed", i.ed, true},
		{"by another key's id", jwt.SigningMethodEdDSA, "rs256", i.ed, false},
		{"without a key id", jwt.SigningMethodEdDSA, "", i.ed, true},
		{"without a key id by a key not in the set", jwt.SigningMethodRS256, "", i.otherRSA, false},
		{"by an encryption key", jwt.SigningMethodES256, "enc", i.ec, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := j.Authenticate(t.Context(), login(sign(t, tt.method, tt.kid, tt.key, claimsWith(nil))))
			if (err == nil) != tt.ok || (err != nil && !errors.Is(err, ErrRefused)) {
				t.Errorf("Authenticate = %v; want ok %v", err, tt.ok)
			}
		})
	}
}

func TestJWT_KeySetOverTLS(t *testing.T) {
	i := newIssuer()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, keySet(t, jwk(t, "a", i.rsa, nil)))
	}))
	t.Cleanup(server.Close)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	token := login(sign(t, jwt.SigningMethodRS256, "a", i.rsa, claimsWith(nil)))
	opt := JWTOptions{JWKSURL: server.URL + "/keys", ResourceServerID: "rabbitmq", TLS: ClientTLS{CAFile: write(t, "ca.pem", ca)}}
	if _, err := newJWT(t, opt).Authenticate(t.Context(), token); err != nil {
		t.Errorf("with its authority: %v", err)
	}
	opt.TLS = ClientTLS{}
	if _, err := newJWT(t, opt).Authenticate(t.Context(), token); err == nil || errors.Is(err, ErrRefused) {
		t.Errorf("with the system's authorities: %v; want an error that is no refusal", err)
	}
}

func TestJWT_KeySetFileIsReadAgain(t *testing.T) {
	i := newIssuer()
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(dir, "keys.json")
		put := func(content string) { // as those do who replace a file, not write it
			t.Helper()
			if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}
		put(keySet(t, jwk(t, "a", i.rsa, nil), jwk(t, "mac", i.secret, nil)))
		j := newJWT(t, JWTOptions{JWKSFile: path, ResourceServerID: "rabbitmq"})
		byA := login(sign(t, jwt.SigningMethodRS256, "a", i.rsa, claimsWith(nil)))
		byB := login(sign(t, jwt.SigningMethodES256, "b", i.ec, claimsWith(nil)))
		bySecret := login(sign(t, jwt.SigningMethodHS256, "mac", i.secret, claimsWith(nil)))
		check := func(when string, c Credentials, ok bool) {
			t.Helper()
			if _, err := j.Authenticate(t.Context(), c); (err == nil) != ok || (err != nil && !errors.Is(err, ErrRefused)) {
				t.Errorf("%s: %v; want ok %v", when, err, ok)
			}
		}
		check("a key of the file", byA, true)
		check("a secret of the file", bySecret, true)
		check("a key not in the file", byB, false)
		put(keySet(t, jwk(t, "b", i.ec, nil)))
		time.Sleep(keySetFilePause)
		check("a key of the new file", byB, true)
		check("a key that is withdrawn", byA, false)
		put("{")
		time.Sleep(keySetFilePause)
		check("a key of the former file while the file is bad", byB, true)
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		time.Sleep(keySetFilePause)
		check("a key of the former file while there is none", byB, true)
		put(keySet(t, jwk(t, "a", i.rsa, nil)))
		time.Sleep(keySetFilePause)
		check("a key of the file that is back", byA, true)
	})
}
