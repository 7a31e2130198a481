package auth

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/batonmq/baton/core"
)

// The exchange of RFC 7677, section 3.
const (
	rfcServerNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	rfcClientFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
	rfcServerFirst = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
	rfcClientFinal = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
	rfcServerFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
)

func rfcVerifier(tb testing.TB) string {
	tb.Helper()
	salt, err := base64.StdEncoding.DecodeString("W22ZaJ0SNY7soEsUEjb6gQ==")
	if err != nil {
		tb.Fatal(err)
	}
	v, err := newSCRAMVerifier("pencil", salt, 4096)
	if err != nil {
		tb.Fatal(err)
	}
	return v.String()
}

func TestSCRAM_ExchangeOfRFC7677(t *testing.T) {
	a := newAccounts(t, &users{all: map[string]core.User{"user": {Name: "user", SCRAM: rfcVerifier(t), Tags: []string{"monitoring"}}}})
	x := a.scram(Credentials{}, rfcServerNonce)
	reply, done, err := x.Next([]byte(rfcClientFirst))
	if string(reply) != rfcServerFirst || done || err != nil {
		t.Fatalf("after client-first: %q, %v, %v; want %q", reply, done, err, rfcServerFirst)
	}
	if p := x.Principal(); p.Name != "" {
		t.Errorf("principal %+v before the proof", p)
	}
	reply, done, err = x.Next([]byte(rfcClientFinal))
	if string(reply) != rfcServerFinal || !done || err != nil {
		t.Fatalf("after client-final: %q, %v, %v; want %q", reply, done, err, rfcServerFinal)
	}
	if p := x.Principal(); p.Name != "user" || len(p.Tags) != 1 || p.Access == nil {
		t.Errorf("principal is %+v", p)
	}
	if _, done, err := x.Next([]byte(rfcClientFinal)); done || !errors.Is(err, ErrMalformed) {
		t.Errorf("a message after the last: %v, %v; want ErrMalformed", done, err)
	}
}

// scramClient makes the client's last message for what the server answered.
func scramClient(tb testing.TB, gs2, bare, serverFirst, password string) string {
	tb.Helper()
	var nonce, encoded string
	var iterations int
	fields := strings.SplitN(serverFirst, ",", 3)
	nonce, encoded = strings.TrimPrefix(fields[0], "r="), strings.TrimPrefix(fields[1], "s=")
	if _, err := fmt.Sscanf(fields[2], "i=%d", &iterations); err != nil {
		tb.Fatal(err)
	}
	salt, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		tb.Fatal(err)
	}
	withoutProof := "c=" + base64.StdEncoding.EncodeToString([]byte(gs2)) + ",r=" + nonce
	return withoutProof + ",p=" + base64.StdEncoding.EncodeToString(scramProof(tb, password, salt, iterations, bare+","+serverFirst+","+withoutProof))
}

// scramProof is RFC 5802, section 3, on the client's side.
func scramProof(tb testing.TB, password string, salt []byte, iterations int, authMessage string) []byte {
	tb.Helper()
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		tb.Fatal(err)
	}
	clientKey := mac(salted, []byte("Client Key"))
	storedKey := sha256.Sum256(clientKey)
	proof := make([]byte, len(clientKey))
	subtle.XORBytes(proof, clientKey, mac(storedKey[:], []byte(authMessage)))
	return proof
}

func TestSCRAM_MadeVerifierIsGood(t *testing.T) {
	verifier, err := SCRAMVerifier("пароль")
	if err != nil || CheckSCRAM(verifier) != nil {
		t.Fatal(verifier, err, CheckSCRAM(verifier))
	}
	name := "a=b,c"
	a := newAccounts(t, &users{all: map[string]core.User{name: {Name: name, SCRAM: verifier}}})
	for _, gs2 := range []string{"n,,", "y,,", "n,a=a=3Db=2Cc,"} {
		for password, want := range map[string]bool{"пароль": true, "password": false} {
			x := a.SCRAM(Credentials{RemoteAddr: tcpAddr("192.0.2.1")})
			bare := "n=a=3Db=2Cc,r=abc"
			first, _, err := x.Next([]byte(gs2 + bare))
			if err != nil {
				t.Fatal(err)
			}
			_, done, err := x.Next([]byte(scramClient(t, gs2, bare, string(first), password)))
			if done != want || (want && err != nil) || (!want && !errors.Is(err, ErrBadCredentials)) {
				t.Errorf("%s with password %s: %v, %v", gs2, password, done, err)
			}
		}
	}
	if v, err := SCRAMVerifier(""); err == nil {
		t.Errorf("SCRAMVerifier of nothing = %q", v)
	}
}

func TestSCRAM_DoesNotTellWhoExists(t *testing.T) {
	u := &users{all: map[string]core.User{"known": {Name: "known", SCRAM: rfcVerifier(t)}, "old": {Name: "old"}}}
	a := newAccounts(t, u)
	for _, name := range []string{"nobody", "old"} {
		first := func() string {
			x := a.scram(Credentials{}, "server")
			reply, _, err := x.Next([]byte("n,,n=" + name + ",r=client"))
			if err != nil {
				t.Fatal(err)
			}
			final := scramClient(t, "n,,", "n="+name+",r=client", string(reply), "guess")
			if _, done, err := x.Next([]byte(final)); done || !errors.Is(err, ErrBadCredentials) {
				t.Errorf("%s is let in: %v, %v", name, done, err)
			}
			return string(reply)
		}
		if one, two := first(), first(); one != two {
			t.Errorf("%s: %q, then %q; the salt of a real user does not change", name, one, two)
		}
	}
}

func TestSCRAM_VerifierReplacedMeanwhileProvesNothing(t *testing.T) {
	u := &users{all: map[string]core.User{"user": {Name: "user", SCRAM: rfcVerifier(t)}}}
	for name, change := range map[string]func(){
		"replaced": func() { u.set(core.User{Name: "user", SCRAM: strings.Replace(rfcVerifier(t), "4096", "5000", 1)}) },
		"deleted":  func() { u.remove("user") },
	} {
		u.set(core.User{Name: "user", SCRAM: rfcVerifier(t)})
		x := newAccounts(t, u).scram(Credentials{}, rfcServerNonce)
		if _, _, err := x.Next([]byte(rfcClientFirst)); err != nil {
			t.Fatal(err)
		}
		change()
		if _, done, err := x.Next([]byte(rfcClientFinal)); done || !errors.Is(err, ErrBadCredentials) {
			t.Errorf("%s: %v, %v; want ErrBadCredentials", name, done, err)
		}
	}
}

func TestSCRAM_LoopbackOnlyUser(t *testing.T) {
	a := newAccounts(t, &users{all: map[string]core.User{"guest": {Name: "guest", SCRAM: rfcVerifier(t)}}})
	x := a.SCRAM(Credentials{RemoteAddr: tcpAddr("192.0.2.1")})
	first, _, err := x.Next([]byte("n,,n=guest,r=c"))
	if err != nil {
		t.Fatal(err)
	}
	if _, done, err := x.Next([]byte(scramClient(t, "n,,", "n=guest,r=c", string(first), "pencil"))); done || !errors.Is(err, ErrNotLoopback) {
		t.Errorf("guest from elsewhere: %v, %v; want ErrNotLoopback", done, err)
	}
}

func TestSCRAM_MalformedMessages(t *testing.T) {
	for _, tt := range []struct {
		name, first, final string
		err                error
	}{
		{name: "nothing", err: ErrMalformed},
		{name: "no GS2 header", first: "n=user,r=abc", err: ErrMalformed},
		{name: "channel binding", first: "p=tls-unique,,n=user,r=abc", err: ErrMalformed},
		{name: "an unknown flag", first: "x,,n=user,r=abc", err: ErrMalformed},
		{name: "a mandatory extension", first: "n,,m=x,n=user,r=abc", err: ErrMalformed},
		{name: "no user", first: "n,,n=,r=abc", err: ErrMalformed},
		{name: "a user with a lone =", first: "n,,n=a=b,r=abc", err: ErrMalformed},
		{name: "a user with a wrong escape", first: "n,,n=a=2c,r=abc", err: ErrMalformed},
		{name: "no nonce", first: "n,,n=user,r=", err: ErrMalformed},
		{name: "a nonce with a space", first: "n,,n=user,r=a b", err: ErrMalformed},
		{name: "an attribute that is not authzid", first: "n,b=user,n=user,r=abc", err: ErrMalformed},
		{name: "another's authzid", first: "n,a=root,n=user,r=abc", err: ErrRefused},
		{name: "far too long", first: "n,,n=user,r=" + strings.Repeat("a", maxSCRAMMessage), err: ErrMalformed},
		{name: "no proof", first: rfcClientFirst, final: "c=biws,r=rOprNGfwEbeRWgbNEkqO" + rfcServerNonce, err: ErrMalformed},
		{name: "a proof that is not base64", first: rfcClientFirst, final: "c=biws,r=rOprNGfwEbeRWgbNEkqO" + rfcServerNonce + ",p=%", err: ErrMalformed},
		{name: "an empty proof", first: rfcClientFirst, final: "c=biws,r=rOprNGfwEbeRWgbNEkqO" + rfcServerNonce + ",p=", err: ErrBadCredentials},
		{name: "another nonce", first: rfcClientFirst, final: strings.Replace(rfcClientFinal, "%hv", "%hw", 1), err: ErrMalformed},
		{name: "another GS2 header", first: rfcClientFirst, final: strings.Replace(rfcClientFinal, "c=biws", "c=eSws", 1), err: ErrMalformed},
		{name: "another proof", first: rfcClientFirst, final: strings.Replace(rfcClientFinal, "p=dH", "p=dI", 1), err: ErrBadCredentials},
		{name: "an extension that was not proved", first: rfcClientFirst, final: strings.Replace(rfcClientFinal, ",p=", ",x=1,p=", 1), err: ErrBadCredentials},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := newAccounts(t, &users{all: map[string]core.User{"user": {Name: "user", SCRAM: rfcVerifier(t)}}}).scram(Credentials{}, rfcServerNonce)
			_, done, err := x.Next([]byte(tt.first))
			if tt.final != "" {
				if err != nil {
					t.Fatal(err)
				}
				_, done, err = x.Next([]byte(tt.final))
			}
			if done || !errors.Is(err, tt.err) || x.Principal().Name != "" {
				t.Errorf("%v, %v, %+v; want %v", done, err, x.Principal(), tt.err)
			}
			if _, done, err := x.Next([]byte(rfcClientFirst)); done || !errors.Is(err, ErrMalformed) {
				t.Errorf("a message after the error: %v, %v; want ErrMalformed", done, err)
			}
		})
	}
}

func TestCheckSCRAM_SaysWhatIsWrong(t *testing.T) {
	good := rfcVerifier(t)
	if err := CheckSCRAM(good); err != nil {
		t.Errorf("CheckSCRAM(%s) = %v", good, err)
	}
	for _, tt := range []struct{ verifier, want string }{
		{"", "its form is not"},
		{"SCRAM-SHA-1$4096:x$y:z", "its form is not"},
		{"SCRAM-SHA-256$4096", "it needs iterations"},
		{strings.Replace(good, "4096", "1", 1), "less than the 4096"},
		{strings.Replace(good, "4096", "2000000", 1), "not between"},
		{strings.Replace(good, "W22ZaJ0SNY7s", "", 1), "salt has 7 bytes"},
		{strings.TrimSuffix(good, "="), "not base64"},
	} {
		if err := CheckSCRAM(tt.verifier); !errors.Is(err, ErrHash) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("CheckSCRAM(%q) = %v, want ErrHash with %q", tt.verifier, err, tt.want)
		}
	}
}

// FuzzSCRAM looks for messages that let somebody in who does not know the
// password, and for panics.
func FuzzSCRAM(f *testing.F) {
	f.Add([]byte(rfcClientFirst), []byte("c=biws,r=rOprNGfwEbeRWgbNEkqO"+rfcServerNonce+",p=AAAA"))
	f.Add([]byte("y,a=user,n=user,r=x,ext=1"), []byte("c=eSxhPXVzZXIs,r=x,p="))
	f.Add([]byte("n,,n==2C=3D,r=!"), []byte(",p="))
	a := newAccounts(f, &users{all: map[string]core.User{"user": {Name: "user", SCRAM: rfcVerifier(f)}}})
	f.Fuzz(func(t *testing.T, first, final []byte) {
		if string(first) == rfcClientFirst && string(final) == rfcClientFinal {
			return
		}
		x := a.scram(Credentials{}, rfcServerNonce)
		reply, done, err := x.Next(first)
		if err != nil {
			if reply != nil || done {
				t.Errorf("reply %q beside %v", reply, err)
			}
			return
		}
		if !strings.HasSuffix(strings.SplitN(string(reply), ",", 2)[0], rfcServerNonce) {
			t.Errorf("reply %q to %q without the server's nonce", reply, first)
		}
		if _, done, err := x.Next(final); done || err == nil {
			t.Errorf("%q, %q lets somebody in", first, final)
		}
	})
}

func FuzzParseSCRAMVerifier(f *testing.F) {
	f.Add(rfcVerifier(f))
	f.Add("SCRAM-SHA-256$4096:$:")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseSCRAMVerifier(s)
		if err == nil && v.String() != s {
			t.Errorf("%q is written as %q", s, v)
		}
	})
}
