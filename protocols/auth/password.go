package auth

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
)

// What new hashes are made with: OWASP's second recommendation for argon2id,
// 19 MiB and two passes. More memory would let a few connections at once take
// what the broker needs for messages.
const (
	argonMemory  = 19456 // KiB
	argonPasses  = 2
	argonThreads = 1
	argonSalt    = 16 // bytes
	argonSum     = 32 // bytes
)

// What a hash that was made elsewhere may cost. A verification is something a
// client asks for before it has proved anything.
const (
	maxArgonMemory     = 128 << 10 // KiB
	maxArgonPasses     = 16
	maxArgonThreads    = 16
	maxArgonWork       = 512 << 10 // KiB written in all passes
	maxPBKDF2          = 1_000_000 // iterations
	minSalt, maxSalt   = 8, 64     // bytes
	minSum, maxSum     = 16, 64    // bytes
	maxEncodedHash     = 512       // bytes of the whole text
	rabbitSalt         = 4         // bytes
	rabbitPrefix       = "rabbit_password_hashing_"
	rabbitSHA256       = rabbitPrefix + "sha256"
	rabbitSHA512       = rabbitPrefix + "sha512"
	argon2idPrefix     = "$argon2id$"
	mosquittoPBKDF2    = "$7$"
	mosquittoSHA512    = "$6$"
	algorithmArgon2id  = "argon2id"
	algorithmMosquitto = "mosquitto"
)

// ErrHash is a password hash that cannot be used: its form is unknown, it is
// damaged, or it would cost too much to verify.
var ErrHash = errors.New("unusable password hash")

// A passwordHash is a stored hash, parsed. Comparing takes the same time
// wherever the difference is.
type passwordHash interface {
	matches(password string) bool
	memory() int64 // KiB that one comparison takes
}

// HashPassword makes the hash to store for a password, with a salt of its own.
func HashPassword(password string) (string, error) {
	if password == "" {
		return "", errors.New("hash a password: it is empty; a user without a hash is one that has no password")
	}
	h := argon2idHash{mem: argonMemory, passes: argonPasses, threads: argonThreads, salt: make([]byte, argonSalt)}
	_, _ = rand.Read(h.salt) // it never fails
	h.sum = h.of(password, argonSum)
	return h.String(), nil
}

// VerifyPassword says whether the password is the one that was hashed. The
// error is ErrHash. It takes the time and the memory of one hash and knows no
// limit; logins go through an Internal.
func VerifyPassword(hash, password string) (bool, error) {
	h, err := parseHash(hash)
	if err != nil {
		return false, err
	}
	return h.matches(password), nil
}

// CheckHash says what is wrong with a hash that is to be stored: nil where it
// can be verified, else ErrHash with the reason.
func CheckHash(hash string) error {
	_, err := parseHash(hash)
	return err
}

// JoinHash makes the form that is stored from the pair that RabbitMQ's API and
// its exported definitions have: hashing_algorithm and password_hash. A hash
// that describes itself ($argon2id$, $7$, $6$) is taken whatever the algorithm
// is called.
func JoinHash(algorithm, encoded string) (string, error) {
	hash := encoded
	if !strings.HasPrefix(encoded, "$") {
		if algorithm == "" {
			algorithm = rabbitSHA256 // RabbitMQ's own default
		}
		hash = algorithm + ":" + encoded
	}
	return hash, CheckHash(hash)
}

// SplitHash is the reverse of JoinHash. An empty hash has no algorithm.
func SplitHash(hash string) (algorithm, encoded string) {
	if algorithm, encoded, ok := strings.Cut(hash, ":"); ok && strings.HasPrefix(algorithm, rabbitPrefix) {
		return algorithm, encoded
	}
	switch {
	case hash == "":
		return "", ""
	case strings.HasPrefix(hash, argon2idPrefix):
		return algorithmArgon2id, hash
	}
	return algorithmMosquitto, hash
}

// parseHash reads a stored hash. Its errors never contain the hash.
func parseHash(s string) (passwordHash, error) {
	var (
		h   passwordHash
		err error
	)
	switch {
	case len(s) > maxEncodedHash:
		err = fmt.Errorf("%d bytes are more than any form has", len(s))
	case strings.HasPrefix(s, argon2idPrefix):
		h, err = parseArgon2id(s)
	case strings.HasPrefix(s, rabbitPrefix):
		h, err = parseRabbit(s)
	case strings.HasPrefix(s, mosquittoPBKDF2):
		h, err = parseMosquittoPBKDF2(s)
	case strings.HasPrefix(s, mosquittoSHA512):
		h, err = parseMosquittoSHA512(s)
	default:
		err = errors.New("its form is none of $argon2id$, rabbit_password_hashing_sha256:, rabbit_password_hashing_sha512:, $7$ and $6$ (Mosquitto)")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHash, err)
	}
	return h, nil
}

// argon2idHash is RFC 9106's argon2id in the form that its reference
// implementation prints:
//
//	$argon2id$v=19$m=<KiB>,t=<passes>,p=<threads>$<salt>$<sum>
//
// Salt and sum are base64 without padding.
type argon2idHash struct {
	mem, passes uint32
	threads     uint8
	salt, sum   []byte
}

func (h *argon2idHash) of(password string, size uint32) []byte {
	return argon2.IDKey([]byte(password), h.salt, h.passes, h.mem, h.threads, size)
}

func (h *argon2idHash) matches(password string) bool {
	return subtle.ConstantTimeCompare(h.of(password, uint32(len(h.sum))), h.sum) == 1
}

func (h *argon2idHash) memory() int64 { return int64(h.mem) }

func (h *argon2idHash) String() string {
	return fmt.Sprintf("%sv=%d$m=%d,t=%d,p=%d$%s$%s", argon2idPrefix, argon2.Version, h.mem, h.passes, h.threads,
		base64.RawStdEncoding.EncodeToString(h.salt), base64.RawStdEncoding.EncodeToString(h.sum))
}

func parseArgon2id(s string) (*argon2idHash, error) {
	parts := strings.Split(strings.TrimPrefix(s, argon2idPrefix), "$")
	if len(parts) != 4 {
		return nil, errors.New("argon2id needs a version, parameters, a salt and a sum")
	}
	if parts[0] != "v="+strconv.Itoa(argon2.Version) {
		return nil, fmt.Errorf("argon2id is known in version %d only", argon2.Version)
	}
	params := strings.Split(parts[1], ",")
	if len(params) != 3 {
		return nil, errors.New("argon2id needs the parameters m, t and p, and no others")
	}
	mem, err := number(params[0], "m=", maxArgonMemory)
	if err != nil {
		return nil, err
	}
	passes, err := number(params[1], "t=", maxArgonPasses)
	if err != nil {
		return nil, err
	}
	threads, err := number(params[2], "p=", maxArgonThreads)
	if err != nil {
		return nil, err
	}
	switch {
	case mem < 8*threads: // RFC 9106, section 3.1
		return nil, fmt.Errorf("argon2id with m=%d is less than 8 KiB for each of p=%d", mem, threads)
	case mem*passes > maxArgonWork:
		return nil, fmt.Errorf("argon2id with m=%d and t=%d is more work than a login may cost (m × t ≤ %d)", mem, passes, maxArgonWork)
	}
	h := &argon2idHash{mem: mem, passes: passes, threads: uint8(threads)}
	if h.salt, err = decode(base64.RawStdEncoding, "salt", parts[2], minSalt, maxSalt); err != nil {
		return nil, err
	}
	if h.sum, err = decode(base64.RawStdEncoding, "sum", parts[3], minSum, maxSum); err != nil {
		return nil, err
	}
	return h, nil
}

// rabbitHash is RabbitMQ's: base64 of a salt of four bytes and the sum of the
// salt and the password.
type rabbitHash struct {
	sha512    bool
	salt, sum []byte
}

func (h *rabbitHash) matches(password string) bool {
	salted := append(h.salt[:rabbitSalt:rabbitSalt], password...)
	if h.sha512 {
		sum := sha512.Sum512(salted)
		return subtle.ConstantTimeCompare(sum[:], h.sum) == 1
	}
	sum := sha256.Sum256(salted)
	return subtle.ConstantTimeCompare(sum[:], h.sum) == 1
}

func (*rabbitHash) memory() int64 { return 0 }

func parseRabbit(s string) (*rabbitHash, error) {
	algorithm, encoded, _ := strings.Cut(s, ":")
	size := sha256.Size
	switch algorithm {
	case rabbitSHA256:
	case rabbitSHA512:
		size = sha512.Size
	default:
		return nil, fmt.Errorf("hashing algorithm %q is not supported (%s and %s are): give the user a new password", algorithm, rabbitSHA256, rabbitSHA512)
	}
	b, err := decode(base64.StdEncoding, "hash", encoded, rabbitSalt+size, rabbitSalt+size)
	if err != nil {
		return nil, err
	}
	return &rabbitHash{sha512: algorithm == rabbitSHA512, salt: b[:rabbitSalt], sum: b[rabbitSalt:]}, nil
}

// mosquittoHash is what mosquitto_passwd writes:
//
//	$7$<iterations>$<salt>$<sum>    PBKDF2 with HMAC-SHA-512
//	$6$<salt>$<sum>                 SHA-512 of the password and the salt
//
// Salt and sum are base64 with padding.
type mosquittoHash struct {
	iterations int // 0: a plain SHA-512
	salt, sum  []byte
}

func (h *mosquittoHash) matches(password string) bool {
	if h.iterations == 0 {
		sum := sha512.Sum512(append([]byte(password), h.salt...))
		return subtle.ConstantTimeCompare(sum[:], h.sum) == 1
	}
	sum, err := pbkdf2.Key(sha512.New, password, h.salt, h.iterations, len(h.sum))
	return err == nil && subtle.ConstantTimeCompare(sum, h.sum) == 1
}

func (*mosquittoHash) memory() int64 { return 0 }

func parseMosquittoPBKDF2(s string) (*mosquittoHash, error) {
	iterations, rest, _ := strings.Cut(strings.TrimPrefix(s, mosquittoPBKDF2), "$")
	n, err := number(iterations, "", maxPBKDF2)
	if err != nil {
		return nil, err
	}
	return parseMosquitto(rest, int(n))
}

func parseMosquittoSHA512(s string) (*mosquittoHash, error) {
	h, err := parseMosquitto(strings.TrimPrefix(s, mosquittoSHA512), 0)
	if err != nil {
		return nil, fmt.Errorf("not Mosquitto's $6$ (sha512crypt of the same prefix is not supported): %w", err)
	}
	return h, nil
}

func parseMosquitto(s string, iterations int) (_ *mosquittoHash, err error) {
	salt, sum, ok := strings.Cut(s, "$")
	if !ok {
		return nil, errors.New("a salt and a sum are needed")
	}
	h := &mosquittoHash{iterations: iterations}
	if h.salt, err = decode(base64.StdEncoding, "salt", salt, minSalt, maxSalt); err != nil {
		return nil, err
	}
	if h.sum, err = decode(base64.StdEncoding, "sum", sum, sha512.Size, sha512.Size); err != nil {
		return nil, err
	}
	return h, nil
}

// number reads a positive decimal in the one form that has no leading zero.
func number(s, prefix string, most uint32) (uint32, error) {
	digits, ok := strings.CutPrefix(s, prefix)
	n, err := strconv.ParseUint(digits, 10, 32)
	if !ok || err != nil || strconv.FormatUint(n, 10) != digits {
		return 0, fmt.Errorf("%q is not %sN with a number N", s, prefix)
	}
	if n == 0 || n > uint64(most) {
		return 0, fmt.Errorf("%s%d is not between 1 and %d", prefix, n, most)
	}
	return uint32(n), nil
}

// decode reads base64 of some bytes. Go's decoder skips line breaks; a stored
// hash has none.
func decode(enc *base64.Encoding, what, s string, least, most int) ([]byte, error) {
	b, err := enc.Strict().DecodeString(s)
	if err != nil || strings.ContainsAny(s, "\r\n") {
		return nil, fmt.Errorf("its %s is not base64", what)
	}
	if len(b) < least || len(b) > most {
		return nil, fmt.Errorf("its %s has %d bytes, not between %d and %d", what, len(b), least, most)
	}
	return b, nil
}
