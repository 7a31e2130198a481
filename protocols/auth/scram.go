package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// SCRAMSHA256 is the mechanism of RFC 7677. No front-end reaches it through
// Parse: it takes two messages, which a SCRAMExchange reads.
const SCRAMSHA256 = "SCRAM-SHA-256"

const (
	// RFC 7677, section 4: 15 000 iterations are a tenth of a second for the
	// client. 4096 is the least that a client accepts.
	scramIterations    = 15_000
	minSCRAMIterations = 4096

	scramSalt       = 16   // bytes
	scramNonce      = 18   // random bytes, 24 characters
	maxSCRAMMessage = 4096 // bytes; names, nonces and proofs are short
)

// A scramVerifier is what RFC 5802, section 3 lets the server store. Knowing it
// is enough to check a proof and not enough to make one. Its stored form is
// PostgreSQL's:
//
//	SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>
type scramVerifier struct {
	iterations           int
	salt                 []byte
	storedKey, serverKey []byte
}

// SCRAMVerifier makes the verifier to store beside a password's hash. Someone
// who reads the store guesses passwords against it sooner than against the
// hash, as SCRAM knows no memory-hard function.
func SCRAMVerifier(password string) (string, error) {
	if password == "" {
		return "", errors.New("make a SCRAM verifier: the password is empty")
	}
	salt := make([]byte, scramSalt)
	_, _ = rand.Read(salt) // it never fails
	v, err := newSCRAMVerifier(password, salt, scramIterations)
	if err != nil {
		return "", fmt.Errorf("make a SCRAM verifier: %w", err)
	}
	return v.String(), nil
}

func newSCRAMVerifier(password string, salt []byte, iterations int) (*scramVerifier, error) {
	salted, err := pbkdf2.Key(sha256.New, password, salt, iterations, sha256.Size)
	if err != nil {
		return nil, err
	}
	clientKey := mac(salted, []byte("Client Key"))
	storedKey := sha256.Sum256(clientKey)
	return &scramVerifier{iterations: iterations, salt: salt, storedKey: storedKey[:], serverKey: mac(salted, []byte("Server Key"))}, nil
}

// CheckSCRAM says what is wrong with a verifier that is to be stored: nil, or
// ErrHash with the reason.
func CheckSCRAM(verifier string) error {
	_, err := parseSCRAMVerifier(verifier)
	return err
}

func (v *scramVerifier) String() string {
	enc := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", SCRAMSHA256, v.iterations, enc(v.salt), enc(v.storedKey), enc(v.serverKey))
}

func parseSCRAMVerifier(s string) (*scramVerifier, error) {
	v, err := readSCRAMVerifier(s)
	if err != nil {
		return nil, fmt.Errorf("%w: SCRAM verifier: %w", ErrHash, err)
	}
	return v, nil
}

func readSCRAMVerifier(s string) (*scramVerifier, error) {
	rest, ok := strings.CutPrefix(s, SCRAMSHA256+"$")
	if !ok || len(s) > maxEncodedHash {
		return nil, errors.New("its form is not SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey")
	}
	params, keys, ok := strings.Cut(rest, "$")
	iterations, salt, ok2 := strings.Cut(params, ":")
	stored, server, ok3 := strings.Cut(keys, ":")
	if !ok || !ok2 || !ok3 {
		return nil, errors.New("it needs iterations, a salt and two keys")
	}
	n, err := number(iterations, "", maxPBKDF2)
	if err != nil {
		return nil, err
	}
	if n < minSCRAMIterations {
		return nil, fmt.Errorf("%d iterations are less than the %d that clients insist on", n, minSCRAMIterations)
	}
	v := &scramVerifier{iterations: int(n)}
	if v.salt, err = decode(base64.StdEncoding, "salt", salt, minSalt, maxSalt); err != nil {
		return nil, err
	}
	if v.storedKey, err = decode(base64.StdEncoding, "StoredKey", stored, sha256.Size, sha256.Size); err != nil {
		return nil, err
	}
	if v.serverKey, err = decode(base64.StdEncoding, "ServerKey", server, sha256.Size, sha256.Size); err != nil {
		return nil, err
	}
	return v, nil
}

// proves says whether the client's proof belongs to the password (RFC 5802,
// section 3).
func (v *scramVerifier) proves(proof, authMessage []byte) bool {
	signature := mac(v.storedKey, authMessage)
	if len(proof) != len(signature) {
		return false
	}
	clientKey := make([]byte, len(signature))
	subtle.XORBytes(clientKey, proof, signature)
	stored := sha256.Sum256(clientKey)
	return subtle.ConstantTimeCompare(stored[:], v.storedKey) == 1
}

func mac(key, message []byte) []byte {
	h := hmac.New(sha256.New, key)
	_, _ = h.Write(message) // a hash never fails
	return h.Sum(nil)
}

// A SCRAMExchange is the server's side of one SCRAM-SHA-256 login:
//
//	client-first  ->  server-first (nonce, salt, iterations)
//	client-final  ->  server-final (the server's own proof)
//
// Channel binding is not offered. The first error ends the exchange. It is for
// one goroutine.
type SCRAMExchange struct {
	accounts *Accounts
	peer     Credentials
	nonce    string // the server's part; then, after the first message, the whole
	step     scramStep

	gs2       string // the header of client-first, which client-final repeats
	bare      string // client-first without it
	first     string // server-first
	stored    string // the user's verifier as it was; empty: none
	verifier  *scramVerifier
	principal Principal
}

type scramStep uint8

const (
	scramFirst scramStep = iota
	scramFinal
	scramOver
)

// SCRAM begins an exchange with a peer of which the connection is known
// (RemoteAddr). It offers the mechanism to users that have a verifier; others
// find out at the end only, like those who do not know the password.
func (a *Accounts) SCRAM(peer Credentials) *SCRAMExchange {
	b := make([]byte, scramNonce)
	_, _ = rand.Read(b)
	return a.scram(peer, base64.StdEncoding.EncodeToString(b))
}

func (a *Accounts) scram(peer Credentials, nonce string) *SCRAMExchange {
	return &SCRAMExchange{accounts: a, peer: peer, nonce: nonce}
}

// Next takes the client's next message and returns the answer to send. When it
// is done the client has proved who it is, and Principal is set. The error is
// ErrMalformed or ErrRefused.
func (x *SCRAMExchange) Next(message []byte) (reply []byte, done bool, err error) {
	step := x.step
	x.step = scramOver
	if len(message) > maxSCRAMMessage {
		return nil, false, malformedSCRAM("%d bytes are too long for a message", len(message))
	}
	switch step {
	case scramFirst:
		if reply, err = x.clientFirst(string(message)); err == nil {
			x.step = scramFinal
		}
		return reply, false, err
	case scramFinal:
		reply, err = x.clientFinal(string(message))
		return reply, err == nil, err
	case scramOver:
	}
	return nil, false, malformedSCRAM("a message after the last")
}

// Principal is who the client is, once Next is done.
func (x *SCRAMExchange) Principal() Principal { return x.principal }

// clientFirst reads RFC 5802's client-first-message:
//
//	("n" / "y") "," ["a=" authzid] "," "n=" name ",r=" nonce ["," extensions]
func (x *SCRAMExchange) clientFirst(message string) ([]byte, error) {
	parts := strings.SplitN(message, ",", 5)
	if len(parts) < 4 {
		return nil, malformedSCRAM("client-first has too few attributes")
	}
	if strings.HasPrefix(parts[0], "p=") {
		return nil, malformedSCRAM("channel binding is asked for and not offered")
	}
	if parts[0] != "n" && parts[0] != "y" {
		return nil, malformedSCRAM("client-first has no GS2 header")
	}
	authzid, err := optionalName(parts[1], "a=")
	if err != nil {
		return nil, err
	}
	// A mandatory extension would be "m=" here, and none is known.
	name, err := optionalName(parts[2], "n=")
	if err != nil || name == "" {
		return nil, malformedSCRAM("client-first has no user name")
	}
	nonce, ok := strings.CutPrefix(parts[3], "r=")
	if !ok || nonce == "" || strings.ContainsFunc(nonce, func(r rune) bool { return r < 0x21 || r > 0x7e }) {
		return nil, malformedSCRAM("client-first has no nonce of printable characters")
	}
	if authzid != "" && authzid != name {
		return nil, fmt.Errorf("%s: user %q asks to act as %q: %w", SCRAMSHA256, name, authzid, ErrRefused)
	}
	x.gs2 = parts[0] + "," + parts[1] + ","
	x.bare = message[len(x.gs2):]
	x.nonce = nonce + x.nonce
	x.peer.Mechanism, x.peer.Username = SCRAMSHA256, name
	x.verifier, x.stored = x.accounts.scramVerifierOf(name)
	x.first = fmt.Sprintf("r=%s,s=%s,i=%d", x.nonce, base64.StdEncoding.EncodeToString(x.verifier.salt), x.verifier.iterations)
	return []byte(x.first), nil
}

// clientFinal reads RFC 5802's client-final-message:
//
//	"c=" base64 of the GS2 header ",r=" nonce ["," extensions] ",p=" proof
func (x *SCRAMExchange) clientFinal(message string) ([]byte, error) {
	end := strings.LastIndex(message, ",p=")
	if end < 0 {
		return nil, malformedSCRAM("client-final has no proof")
	}
	withoutProof := message[:end]
	proof, err := base64.StdEncoding.Strict().DecodeString(message[end+len(",p="):])
	if err != nil {
		return nil, malformedSCRAM("client-final has a proof that is not base64")
	}
	parts := strings.SplitN(withoutProof, ",", 3)
	if len(parts) < 2 || parts[0] != "c="+base64.StdEncoding.EncodeToString([]byte(x.gs2)) || parts[1] != "r="+x.nonce {
		return nil, malformedSCRAM("client-final does not go on from client-first")
	}
	authMessage := []byte(x.bare + "," + x.first + "," + withoutProof)

	good := x.verifier.proves(proof, authMessage)
	user, ok := x.accounts.users.User(x.peer.Username)
	// A verifier that was replaced meanwhile proves nothing any more.
	if !good || !ok || x.stored == "" || user.SCRAM != x.stored {
		return nil, fmt.Errorf("%s: user %q from %v: %w", SCRAMSHA256, x.peer.Username, x.peer.RemoteAddr, ErrBadCredentials)
	}
	if x.principal, err = x.accounts.Principal(x.peer.Username, x.peer.RemoteAddr); err != nil {
		return nil, err
	}
	signature := mac(x.verifier.serverKey, authMessage)
	return append([]byte("v="), base64.StdEncoding.EncodeToString(signature)...), nil
}

// scramVerifierOf returns the user's verifier and its stored form. One that is
// missing is made up, with a salt that is the same whenever it is asked for, so
// that the answer does not tell which users there are.
func (a *Accounts) scramVerifierOf(name string) (v *scramVerifier, stored string) {
	user, ok := a.users.User(name)
	if ok && user.SCRAM != "" {
		v, err := parseSCRAMVerifier(user.SCRAM)
		if err == nil {
			return v, user.SCRAM
		}
		a.logUnusable(name, err)
	}
	secret := mac(a.key[:], []byte("SCRAM\x00"+name))
	return &scramVerifier{iterations: scramIterations, salt: secret[:scramSalt], storedKey: secret, serverKey: secret}, ""
}

// optionalName reads an attribute whose value is a saslname, which writes "," as
// =2C and "=" as =3D; nothing else may follow a "=".
func optionalName(attribute, prefix string) (string, error) {
	if attribute == "" {
		return "", nil
	}
	encoded, ok := strings.CutPrefix(attribute, prefix)
	if !ok {
		return "", malformedSCRAM("%q is expected before the next comma", prefix)
	}
	name := strings.ReplaceAll(strings.ReplaceAll(encoded, "=2C", ","), "=3D", "=")
	if strings.Count(encoded, "=") != strings.Count(encoded, "=2C")+strings.Count(encoded, "=3D") || bytes.ContainsRune([]byte(encoded), 0) {
		return "", malformedSCRAM("a name is not escaped as it should be")
	}
	return name, nil
}

func malformedSCRAM(format string, args ...any) error {
	return fmt.Errorf("%s: %s: %w", SCRAMSHA256, fmt.Sprintf(format, args...), ErrMalformed)
}
