package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"maps"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/batonmq/baton/core"
)

// issuer is who signs tokens in tests.
type issuer struct {
	rsa, otherRSA *rsa.PrivateKey
	ec            *ecdsa.PrivateKey
	ed            ed25519.PrivateKey
	secret        []byte
}

// newIssuer returns the same one every time: RSA keys take long to make.
var newIssuer = sync.OnceValue(func() *issuer {
	rsaKey := func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) }
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	return &issuer{
		rsa: rsaKey(), otherRSA: rsaKey(),
		ec:     must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		ed:     must(ed, err),
		secret: []byte(strings.Repeat("0123456789abcdef", 3)), // for HS256 and HS384
	}
})

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// write puts content into a file of the test.
func write(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func publicPEM(t *testing.T, key crypto.Signer) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// options trust the issuer's keys: the RSA key for tokens without a key id, the
// others by theirs.
func (i *issuer) options(t *testing.T) JWTOptions {
	t.Helper()
	return JWTOptions{
		Keys: []JWTKey{
			{PEMFile: write(t, "rsa.pem", publicPEM(t, i.rsa))},
			{ID: "ec", PEMFile: write(t, "ec.pem", publicPEM(t, i.ec))},
			{ID: "ed", PEMFile: write(t, "ed.pem", publicPEM(t, i.ed))},
			{ID: "mac", SecretFile: write(t, "secret", append(slices.Clone(i.secret), '\n'))},
		},
		ResourceServerID: "rabbitmq",
	}
}

func newJWT(t *testing.T, opt JWTOptions) *JWT {
	t.Helper()
	j, err := NewJWT(opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(j.Close)
	return j
}

// claims are good ones for an hour, with changes; a nil value removes a claim.
func claimsWith(changes jwt.MapClaims) jwt.MapClaims {
	c := jwt.MapClaims{
		"sub": "alice", "aud": "rabbitmq", "iss": "https://issuer.example",
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Hour).Unix(),
		"scope": "rabbitmq.read:*/* rabbitmq.tag:monitoring",
	}
	maps.Copy(c, changes)
	maps.DeleteFunc(c, func(_ string, v any) bool { return v == nil })
	return c
}

func sign(t *testing.T, method jwt.SigningMethod, kid string, key any, c jwt.MapClaims) string {
	t.Helper()
	token := jwt.NewWithClaims(method, c)
	if kid != "" {
		token.Header["kid"] = kid
	}
	s, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func login(token string) Credentials {
	return Credentials{Mechanism: PLAIN, Username: "whoever", Password: token, RemoteAddr: tcpAddr("192.0.2.1")}
}

func TestJWT_AcceptsGoodTokens(t *testing.T) {
	i := newIssuer()
	for _, tt := range []struct {
		name   string
		method jwt.SigningMethod
		kid    string
		key    any
		change jwt.MapClaims
		want   string
	}{
		{"RS256 by the default key", jwt.SigningMethodRS256, "", i.rsa, nil, "alice"},
		{"PS512 by the default key", jwt.SigningMethodPS512, "", i.rsa, nil, "alice"},
		{"ES256 by key id", jwt.SigningMethodES256, "ec", i.ec, nil, "alice"},
		{"EdDSA by key id", jwt.SigningMethodEdDSA, "ed", i.ed, nil, "alice"},
		{"HS256 by key id", jwt.SigningMethodHS256, "mac", i.secret, nil, "alice"},
		{"HS384 by a secret as long as its hash", jwt.SigningMethodHS384, "mac", i.secret, nil, "alice"},
		{"audience in a list", jwt.SigningMethodRS256, "", i.rsa, jwt.MapClaims{"aud": []string{"other", "rabbitmq"}}, "alice"},
		{"client_id where there is no sub", jwt.SigningMethodRS256, "", i.rsa, jwt.MapClaims{"sub": nil, "client_id": "robot"}, "robot"},
		{"client_id where sub is empty", jwt.SigningMethodRS256, "", i.rsa, jwt.MapClaims{"sub": "", "client_id": "robot"}, "robot"},
		{"a claim that is preferred", jwt.SigningMethodRS256, "", i.rsa, jwt.MapClaims{"email": "a@example.com"}, "a@example.com"},
		{"no scopes", jwt.SigningMethodRS256, "", i.rsa, jwt.MapClaims{"scope": nil}, "alice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := i.options(t)
			opt.UsernameClaims = []string{"user_name", "email"}
			p, err := newJWT(t, opt).Authenticate(t.Context(), login(sign(t, tt.method, tt.kid, tt.key, claimsWith(tt.change))))
			if err != nil || p.Name != tt.want {
				t.Errorf("Authenticate = %q, %v; want %q", p.Name, err, tt.want)
			}
		})
	}
}

func TestJWT_KeyFilesOfEverySort(t *testing.T) {
	i := newIssuer()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "issuer"}}
	for kind, der := range map[string][]byte{
		"PUBLIC KEY":     must(x509.MarshalPKIXPublicKey(i.rsa.Public())),
		"RSA PUBLIC KEY": x509.MarshalPKCS1PublicKey(&i.rsa.PublicKey),
		"CERTIFICATE":    must(x509.CreateCertificate(rand.Reader, template, template, i.rsa.Public(), i.rsa)),
	} {
		opt := i.options(t)
		opt.Keys[0].PEMFile = write(t, "key.pem", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
		if _, err := newJWT(t, opt).Authenticate(t.Context(), login(sign(t, jwt.SigningMethodRS256, "", i.rsa, claimsWith(nil)))); err != nil {
			t.Errorf("%s: %v", kind, err)
		}
		opt.Keys[0].PEMFile = write(t, "bad.pem", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der[:len(der)/2]}))
		if j, err := NewJWT(opt); err == nil {
			j.Close()
			t.Errorf("%s: NewJWT takes half of it", kind)
		}
	}
}

func TestJWT_RefusesOthers(t *testing.T) {
	i := newIssuer()
	now := time.Now()
	rs := func(change jwt.MapClaims) string {
		return sign(t, jwt.SigningMethodRS256, "", i.rsa, claimsWith(change))
	}
	critical := jwt.NewWithClaims(jwt.SigningMethodRS256, claimsWith(nil))
	critical.Header["crit"] = []string{"b64"}
	withCrit, err := critical.SignedString(i.rsa)
	if err != nil {
		t.Fatal(err)
	}
	numbered := jwt.NewWithClaims(jwt.SigningMethodRS256, claimsWith(nil))
	numbered.Header["kid"] = 7
	withNumber, err := numbered.SignedString(i.rsa)
	if err != nil {
		t.Fatal(err)
	}
	good := rs(nil)
	for _, tt := range []struct {
		name, token string
		reason      error // nil: only that it is refused
	}{
		{"expired", rs(jwt.MapClaims{"exp": now.Add(-time.Minute).Unix()}), jwt.ErrTokenExpired},
		{"expired in 1970", rs(jwt.MapClaims{"exp": 0}), jwt.ErrTokenRequiredClaimMissing},
		{"expiry that is no number", rs(jwt.MapClaims{"exp": "tomorrow"}), jwt.ErrInvalidType},
		{"without expiry", rs(jwt.MapClaims{"exp": nil}), jwt.ErrTokenRequiredClaimMissing},
		{"not yet valid", rs(jwt.MapClaims{"nbf": now.Add(time.Minute).Unix()}), jwt.ErrTokenNotValidYet},
		{"issued in the future", rs(jwt.MapClaims{"iat": now.Add(time.Minute).Unix()}), jwt.ErrTokenUsedBeforeIssued},
		{"wrong audience", rs(jwt.MapClaims{"aud": "other"}), jwt.ErrTokenInvalidAudience},
		{"no audience", rs(jwt.MapClaims{"aud": nil}), jwt.ErrTokenRequiredClaimMissing},
		{"wrong issuer", rs(jwt.MapClaims{"iss": "https://evil.example"}), jwt.ErrTokenInvalidIssuer},
		{"no issuer", rs(jwt.MapClaims{"iss": nil}), jwt.ErrTokenRequiredClaimMissing},
		{"no user name", rs(jwt.MapClaims{"sub": nil}), nil},
		{"user name that is no text", rs(jwt.MapClaims{"sub": 7}), nil},
		{"signed by another key", sign(t, jwt.SigningMethodRS256, "", i.otherRSA, claimsWith(nil)), jwt.ErrTokenSignatureInvalid},
		{"unknown key id", sign(t, jwt.SigningMethodRS256, "new", i.rsa, claimsWith(nil)), errNoKey},
		{"key id that is no text", withNumber, errNoKey},
		{"another key's id", sign(t, jwt.SigningMethodRS256, "ec", i.rsa, claimsWith(nil)), errNoKey},
		{"header to be understood", withCrit, errNoKey},
		{"algorithm none", sign(t, jwt.SigningMethodNone, "", jwt.UnsafeAllowNoneSignatureType, claimsWith(nil)), jwt.ErrTokenSignatureInvalid},
		{"the public key for a secret", sign(t, jwt.SigningMethodHS256, "", publicPEM(t, i.rsa), claimsWith(nil)), errNoKey},
		{"a secret shorter than the hash", sign(t, jwt.SigningMethodHS512, "mac", i.secret, claimsWith(nil)), errNoKey},
		{"without signature", good[:strings.LastIndex(good, ".")+1], jwt.ErrTokenSignatureInvalid},
		{"cut short", good[:len(good)-4], nil},
		{"changed", swapPayload(good, rs(jwt.MapClaims{"sub": "root"})), jwt.ErrTokenSignatureInvalid},
		{"more than three parts", good + ".x", jwt.ErrTokenMalformed},
		{"huge", rs(jwt.MapClaims{"x": strings.Repeat("x", maxTokenBytes)}), nil},
		{"thousands of scopes", rs(jwt.MapClaims{"scope": manyScopes(maxScopes + 1)}), errManyScopes},
		{"a password", "hunter2", jwt.ErrTokenMalformed},
		{"nothing", "", jwt.ErrTokenMalformed},
		{"header that is null", "bnVsbA." + good[strings.Index(good, ".")+1:], nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			opt := i.options(t)
			opt.Issuer = "https://issuer.example"
			p, err := newJWT(t, opt).Authenticate(t.Context(), login(tt.token))
			if !errors.Is(err, ErrRefused) || (tt.reason != nil && !errors.Is(err, tt.reason)) || p.Name != "" {
				t.Errorf("Authenticate = %+v, %v; want a refusal with %v", p, err, tt.reason)
			}
			for part := range strings.SplitSeq(tt.token, ".") {
				if len(part) > 3 && err != nil && strings.Contains(err.Error(), part) {
					t.Errorf("the error has a part of the token: %v", err)
				}
			}
		})
	}
}

// swapPayload gives a token another's claims.
func swapPayload(token, other string) string {
	a, b := strings.Split(token, "."), strings.Split(other, ".")
	return a[0] + "." + b[1] + "." + a[2]
}

// manyScopes are short, so that not the token's size is what is too much.
func manyScopes(n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = strconv.Itoa(i)
	}
	return s
}

func TestJWT_ExternalIsNotItsMechanism(t *testing.T) {
	i := newIssuer()
	c := login(sign(t, jwt.SigningMethodRS256, "", i.rsa, claimsWith(nil)))
	c.Mechanism = "EXTERNAL"
	if _, err := newJWT(t, i.options(t)).Authenticate(t.Context(), c); !errors.Is(err, ErrMechanism) {
		t.Errorf("Authenticate by EXTERNAL = %v; want %v", err, ErrMechanism)
	}
}

func TestJWT_AlgorithmsCanBeRestricted(t *testing.T) {
	i := newIssuer()
	opt := i.options(t)
	opt.Algorithms = []string{"RS512"}
	j := newJWT(t, opt)
	if _, err := j.Authenticate(t.Context(), login(sign(t, jwt.SigningMethodRS512, "", i.rsa, claimsWith(nil)))); err != nil {
		t.Errorf("RS512: %v", err)
	}
	if _, err := j.Authenticate(t.Context(), login(sign(t, jwt.SigningMethodRS256, "", i.rsa, claimsWith(nil)))); !errors.Is(err, ErrRefused) {
		t.Errorf("RS256 = %v; want a refusal", err)
	}
}

func TestJWT_ExpiryAndLeeway(t *testing.T) {
	i := newIssuer()
	now := time.Now().Truncate(time.Second)
	opt := i.options(t)
	opt.Leeway, opt.AllowNoExpiry, opt.AnyAudience = time.Minute, true, true
	j := newJWT(t, opt)
	for _, tt := range []struct {
		name   string
		change jwt.MapClaims
		want   time.Time
		ok     bool
	}{
		{"expires, and a leeway later", jwt.MapClaims{"exp": now.Add(time.Hour).Unix()}, now.Add(time.Hour + time.Minute), true},
		{"expired within the leeway", jwt.MapClaims{"exp": now.Add(-30 * time.Second).Unix()}, now.Add(30 * time.Second), true},
		{"expired before the leeway", jwt.MapClaims{"exp": now.Add(-90 * time.Second).Unix()}, time.Time{}, false},
		{"valid from within the leeway", jwt.MapClaims{"nbf": now.Add(30 * time.Second).Unix(), "exp": nil}, time.Time{}, true},
		{"never expires", jwt.MapClaims{"exp": nil}, time.Time{}, true},
		{"expired in 1970", jwt.MapClaims{"exp": 0}, time.Time{}, false},
		{"any audience", jwt.MapClaims{"aud": "other", "exp": nil}, time.Time{}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := j.Authenticate(t.Context(), login(sign(t, jwt.SigningMethodRS256, "", i.rsa, claimsWith(tt.change))))
			if (err == nil) != tt.ok || !p.Expires.Equal(tt.want) {
				t.Errorf("Authenticate: expires %v, %v; want %v, ok %v", p.Expires, err, tt.want, tt.ok)
			}
		})
	}
}

func TestJWT_OptionsAreChecked(t *testing.T) {
	i := newIssuer()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	privateDER, err := x509.MarshalPKCS8PrivateKey(i.ec)
	if err != nil {
		t.Fatal(err)
	}
	private := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: privateDER})
	for name, change := range map[string]func(*JWTOptions){
		"no keys":                    func(o *JWTOptions) { o.Keys = nil },
		"no audience":                func(o *JWTOptions) { o.ResourceServerID = "" },
		"leeway of an hour":          func(o *JWTOptions) { o.Leeway = time.Hour },
		"negative leeway":            func(o *JWTOptions) { o.Leeway = -1 },
		"negative refresh interval":  func(o *JWTOptions) { o.RefreshInterval = -1 },
		"algorithm none":             func(o *JWTOptions) { o.Algorithms = []string{"none"} },
		"key with no file":           func(o *JWTOptions) { o.Keys = []JWTKey{{ID: "k"}} },
		"key with two files":         func(o *JWTOptions) { o.Keys[0].SecretFile = o.Keys[3].SecretFile },
		"missing file":               func(o *JWTOptions) { o.Keys[0].PEMFile += ".not" },
		"private key":                func(o *JWTOptions) { o.Keys[0].PEMFile = write(t, "private.pem", private) },
		"no PEM":                     func(o *JWTOptions) { o.Keys[0].PEMFile = o.Keys[3].SecretFile },
		"small RSA key":              func(o *JWTOptions) { o.Keys[0].PEMFile = write(t, "small.pem", publicPEM(t, small)) },
		"curve without an algorithm": func(o *JWTOptions) { o.Keys[1].PEMFile = write(t, "p224.pem", publicPEM(t, p224)) },
		"short secret":               func(o *JWTOptions) { o.Keys[3].SecretFile = write(t, "short", []byte("secret\n")) },
		"key set by http":            func(o *JWTOptions) { o.JWKSURL = "http://issuer.example/keys" },
		"key set at no address":      func(o *JWTOptions) { o.JWKSURL = "issuer.example" },
		"key set file that is empty": func(o *JWTOptions) { o.JWKSFile = write(t, "keys.json", []byte(`{"keys":[]}`)) },
		"authorities without one":    func(o *JWTOptions) { o.JWKSURL, o.TLS.CAFile = "https://i.example", o.Keys[3].SecretFile },
		"certificate without a key":  func(o *JWTOptions) { o.JWKSURL, o.TLS.CertFile = "https://i.example", "cert.pem" },
	} {
		t.Run(name, func(t *testing.T) {
			opt := i.options(t)
			change(&opt)
			if j, err := NewJWT(opt); err == nil {
				j.Close()
				t.Error("NewJWT takes it")
			}
		})
	}
}

func TestJWT_TagsAndAccessComeFromTheToken(t *testing.T) {
	i := newIssuer()
	opt := i.options(t)
	opt.AdditionalScopes = []string{"extra", "realm_access.roles", "authorization.permissions.scopes", "per_server"}
	opt.ScopeAliases = map[string][]string{"admin": {"rabbitmq.tag:administrator", "rabbitmq.configure:*/*"}}
	for _, tt := range []struct {
		name    string
		change  jwt.MapClaims
		tags    []string
		allowed string // of the rights to queue q in vhost v
	}{
		{"text", jwt.MapClaims{"scope": "rabbitmq.read:v/q  rabbitmq.tag:management"}, []string{"management"}, "read"},
		{"list", jwt.MapClaims{"scope": []string{"rabbitmq.write:v/q", "rabbitmq.tag:a", "rabbitmq.tag:a"}}, []string{"a"}, "write"},
		{"list of other things", jwt.MapClaims{"scope": []any{7, nil, "rabbitmq.read:v/q"}}, nil, "read"},
		{"other prefix", jwt.MapClaims{"scope": "other.read:v/q read:v/q rabbitmqread:v/q"}, nil, ""},
		{"additional text", jwt.MapClaims{"scope": nil, "extra": "rabbitmq.read:v/q rabbitmq.write:v/q"}, nil, "write read"},
		{"additional path", jwt.MapClaims{"scope": nil, "realm_access": map[string]any{"roles": []string{"rabbitmq.read:v/q"}}}, nil, "read"},
		{"path through a list", jwt.MapClaims{"scope": nil, "authorization": map[string]any{"permissions": []any{
			map[string]any{"scopes": []string{"rabbitmq.read:v/q"}}, map[string]any{"scopes": "rabbitmq.configure:v/q"}, 7,
		}}}, nil, "configure read"},
		{"by resource server", jwt.MapClaims{"scope": nil, "per_server": map[string]any{"rabbitmq": []string{"read:v/q"}, "other": "write:v/q"}}, nil, "read"},
		{"by resource server, nested", jwt.MapClaims{"scope": nil, "per_server": map[string]any{"rabbitmq": map[string]any{"rabbitmq": "read:v/q"}}}, nil, ""},
		{"alias", jwt.MapClaims{"scope": "admin"}, []string{"administrator"}, "configure"},
		{"additional alias", jwt.MapClaims{"extra": []string{"admin"}, "scope": "rabbitmq.read:v/q"}, []string{"administrator"}, "configure read"},
		{"nonsense", jwt.MapClaims{"scope": "rabbitmq. rabbitmq.tag: rabbitmq.read rabbitmq.read:v rabbitmq.read:v/q/k/x"}, nil, ""},
		{"no scope at all", jwt.MapClaims{"scope": nil}, nil, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p, err := newJWT(t, opt).Authenticate(t.Context(), login(sign(t, jwt.SigningMethodRS256, "", i.rsa, claimsWith(tt.change))))
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(p.Tags, tt.tags) {
				t.Errorf("tags are %q; want %q", p.Tags, tt.tags)
			}
			access := p.Access(Variables{})
			var allowed []string
			for _, right := range []core.Right{core.Configure, core.Write, core.Read} {
				switch err := access.Allow(core.Request{Class: core.QueueClass, Right: right, VHost: "v", Name: "q"}); {
				case err == nil:
					allowed = append(allowed, right.String())
				case !errors.Is(err, core.ErrDenied):
					t.Errorf("%v: %v; want nil or %v", right, err, core.ErrDenied)
				}
			}
			if got := strings.Join(allowed, " "); got != tt.allowed {
				t.Errorf("allowed to %q; want %q", got, tt.allowed)
			}
			if err := access.Enter("v"); (err == nil) != (tt.allowed != "") {
				t.Errorf("Enter = %v with %q allowed", err, tt.allowed)
			}
		})
	}
}

func TestJWT_ScopePrefixCanBeAnother(t *testing.T) {
	i := newIssuer()
	for prefix, scope := range map[string]string{"api://": "api://read:v/q", "": "read:v/q"} {
		opt := i.options(t)
		opt.ScopePrefix = &prefix
		token := sign(t, jwt.SigningMethodRS256, "", i.rsa, claimsWith(jwt.MapClaims{"scope": scope}))
		p, err := newJWT(t, opt).Authenticate(t.Context(), login(token))
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Access(Variables{}).Enter("v"); err != nil {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}
