package auth

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/batonmq/baton/core"
)

// JWTKey is a configured key: the public key or certificate in PEMFile, or the
// secret in SecretFile.
type JWTKey struct {
	ID         string // the kid of the tokens it verifies; empty: of those without
	PEMFile    string // RSA (from 2048 bits), ECDSA or Ed25519
	SecretFile string // of HMAC, from 32 bytes; line ends at its end do not count
}

// JWTOptions say which tokens are good and what they allow.
type JWTOptions struct {
	// Where keys come from; at least one of them.
	Keys     []JWTKey
	JWKSFile string // a JSON Web Key Set, read again when it changes
	JWKSURL  string // likewise, fetched; https, or http from this machine

	TLS             ClientTLS     // of JWKSURL
	RefreshInterval time.Duration // of JWKSURL; zero: an hour
	Algorithms      []string      // accepted; empty: all that the keys are for

	ResourceServerID string        // this broker, which the audience (aud) names; required unless AnyAudience
	AnyAudience      bool          // do not look at aud
	Issuer           string        // required in iss; empty: not looked at
	AllowNoExpiry    bool          // accept tokens without exp
	Leeway           time.Duration // by which clocks may differ for exp, nbf and iat; up to 5 minutes
	UsernameClaims   []string      // claims with the user's name; sub and client_id come after them

	ScopePrefix      *string             // of scopes that are for this broker; nil: ResourceServerID and a dot
	AdditionalScopes []string            // paths of claims with scopes, as "realm_access.roles", besides "scope"
	ScopeAliases     map[string][]string // scopes that stand for others, which have the prefix
	TwoPartTopics    bool                // scopes without a routing key allow all topics; in RabbitMQ they allow none

	Logger *slog.Logger // nil: nothing is logged

	transport http.RoundTripper // in place of the network, for tests
}

const (
	maxLeeway     = 5 * time.Minute
	maxTokenBytes = 64 << 10
	maxScopes     = 2048
)

func (o *JWTOptions) validate() error {
	switch {
	case len(o.Keys) == 0 && o.JWKSFile == "" && o.JWKSURL == "":
		return errors.New("no keys to verify tokens with: set a key, a key set file or a key set URL")
	case o.ResourceServerID == "" && !o.AnyAudience:
		return errors.New("no resource server id: set the audience that tokens for this broker name, or accept any")
	case o.Leeway < 0 || o.Leeway > maxLeeway:
		return fmt.Errorf("leeway %v: want 0 to %v", o.Leeway, maxLeeway)
	case o.RefreshInterval < 0:
		return fmt.Errorf("key set refresh interval %v is negative", o.RefreshInterval)
	}
	for _, k := range o.Keys {
		if (k.PEMFile == "") == (k.SecretFile == "") {
			return fmt.Errorf("token key %q: set a PEM file or a secret file", k.ID)
		}
	}
	for _, a := range o.Algorithms {
		if !slices.Contains(tokenAlgorithms(), a) {
			return fmt.Errorf("token algorithm %q: want one of %v", a, tokenAlgorithms())
		}
	}
	return nil
}

// tokenAlgorithms are those that keys can be for. Another name in a token, such
// as none, is refused before a key is looked for.
func tokenAlgorithms() []string {
	return []string{
		"RS256", "RS384", "RS512", "PS256", "PS384", "PS512",
		"ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512",
	}
}

// JWT knows users by the signed tokens (RFC 7519) that they send for a password,
// with any user name. What they may do is in the tokens' scopes, in the syntax of
// RabbitMQ's OAuth 2 plugin; no permission that is stored concerns them.
//
// A token says who its bearer is for as long as it is good, so that Principal
// has the time of its end. Nothing takes a token back before but the removal of
// its key.
type JWT struct {
	opt     JWTOptions
	prefix  string
	parser  *jwt.Parser
	static  []tokenKey
	sources []keySource

	cancel context.CancelFunc
	wg     sync.WaitGroup
}

var _ Authenticator = (*JWT)(nil)

// NewJWT reads the keys. A key set URL that does not answer is no error: its
// tokens cannot be checked until it does. Close ends what it started.
func NewJWT(opt JWTOptions) (*JWT, error) {
	j, fetched, err := readJWT(opt)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	j.cancel = cancel
	if fetched != nil {
		j.wg.Go(func() { fetched.run(ctx, j.opt.RefreshInterval) })
	}
	return j, nil
}

// CheckJWT says what would keep NewJWT from succeeding: nil if nothing does. It
// reads the files and fetches nothing.
func CheckJWT(opt JWTOptions) error {
	_, _, err := readJWT(opt)
	return err
}

// readJWT reads the keys and starts nothing. It returns the key set that is to be
// fetched, nil if there is none.
func readJWT(opt JWTOptions) (*JWT, *keySetURL, error) {
	if err := opt.validate(); err != nil {
		return nil, nil, err
	}
	if opt.Logger == nil {
		opt.Logger = slog.New(slog.DiscardHandler)
	}
	j := &JWT{opt: opt, parser: newTokenParser(&opt)}
	switch {
	case opt.ScopePrefix != nil:
		j.prefix = *opt.ScopePrefix
	case opt.ResourceServerID != "":
		j.prefix = opt.ResourceServerID + "."
	}
	var err error
	if j.static, err = loadTokenKeys(opt.Keys); err != nil {
		return nil, nil, err
	}
	if opt.JWKSFile != "" {
		f, err := openKeySetFile(opt.JWKSFile, opt.Logger)
		if err != nil {
			return nil, nil, err
		}
		j.sources = append(j.sources, f)
	}
	if opt.JWKSURL == "" {
		return j, nil, nil
	}
	u, err := newKeySetURL(&opt)
	if err != nil {
		return nil, nil, err
	}
	j.sources = append(j.sources, u)
	j.opt.RefreshInterval = opt.RefreshInterval // which may have been the default
	return j, u, nil
}

func newTokenParser(opt *JWTOptions) *jwt.Parser {
	algorithms := opt.Algorithms
	if len(algorithms) == 0 {
		algorithms = tokenAlgorithms()
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(algorithms),
		jwt.WithLeeway(opt.Leeway),
		jwt.WithIssuedAt(),
		jwt.WithStrictDecoding(),
	}
	if !opt.AllowNoExpiry {
		options = append(options, jwt.WithExpirationRequired())
	}
	if !opt.AnyAudience {
		options = append(options, jwt.WithAudience(opt.ResourceServerID))
	}
	if opt.Issuer != "" {
		options = append(options, jwt.WithIssuer(opt.Issuer))
	}
	return jwt.NewParser(options...)
}

// Close stops fetching keys.
func (j *JWT) Close() {
	j.cancel()
	j.wg.Wait()
}

// Authenticate reads the token in the password. Its errors have no part of it.
func (j *JWT) Authenticate(ctx context.Context, c Credentials) (Principal, error) {
	if !c.byPassword() {
		return Principal{}, fmt.Errorf("a token in mechanism %s: %w", c.Mechanism, ErrMechanism)
	}
	claims, err := j.verify(ctx, c.Password)
	if err != nil {
		return Principal{}, fmt.Errorf("user %q from %v: %w", c.Username, c.RemoteAddr, err)
	}
	p, err := j.principal(claims)
	if err != nil {
		return Principal{}, fmt.Errorf("user %q from %v: token: %w: %w", c.Username, c.RemoteAddr, err, ErrBadCredentials)
	}
	return p, nil
}

// verify returns the claims of a good token. The error is a refusal, but for one
// that may be good and whose key could not be found out.
func (j *JWT) verify(ctx context.Context, token string) (jwt.MapClaims, error) {
	if len(token) > maxTokenBytes {
		return nil, fmt.Errorf("token of %d bytes, %d is the most: %w", len(token), maxTokenBytes, ErrBadCredentials)
	}
	var unknown error
	claims := jwt.MapClaims{}
	_, err := j.parser.ParseWithClaims(token, claims, func(t *jwt.Token) (any, error) {
		keys, err := j.keysFor(ctx, t)
		if err != nil && !errors.Is(err, errNoKey) {
			unknown = err
		}
		return keys, err
	})
	switch {
	case unknown != nil:
		return nil, fmt.Errorf("token's key: %w", unknown)
	case err != nil:
		return nil, fmt.Errorf("token: %w: %w", err, ErrBadCredentials)
	}
	return claims, nil
}

// errNoKey is a token that no key is for; a refusal, unlike what else a look-up
// may end with.
var errNoKey = errors.New("no key for it")

// keysFor returns the keys that may have signed the token: by its key id, and
// for its algorithm. If there is none, key sets are looked up anew.
func (j *JWT) keysFor(ctx context.Context, t *jwt.Token) (jwt.VerificationKeySet, error) {
	var set jwt.VerificationKeySet
	// RFC 7515, 4.1.11: what it lists must be understood, and nothing is.
	if _, ok := t.Header["crit"]; ok {
		return set, fmt.Errorf("its header has crit: %w", errNoKey)
	}
	id, named := t.Header["kid"].(string)
	if _, ok := t.Header["kid"]; ok && !named {
		return set, fmt.Errorf("its kid is not a text: %w", errNoKey)
	}
	algorithm := t.Method.Alg()
	if set.Keys = j.known(id, named, algorithm); len(set.Keys) > 0 {
		return set, nil
	}
	var stale error
	for _, s := range j.sources {
		if err := s.renew(ctx); err != nil {
			stale = err
		}
	}
	if set.Keys = j.known(id, named, algorithm); len(set.Keys) > 0 {
		return set, nil
	}
	if stale != nil {
		return set, stale
	}
	return set, fmt.Errorf("kid %.64q, algorithm %s: %w", id, algorithm, errNoKey)
}

// known returns the keys for a key id and an algorithm. A token without an id is
// verified by the configured keys without one or else by any of the key sets'.
func (j *JWT) known(id string, named bool, algorithm string) []jwt.VerificationKey {
	var found []jwt.VerificationKey
	add := func(keys []tokenKey, anyID bool) {
		for _, k := range keys {
			if (anyID || k.id == id) && slices.Contains(k.algorithms, algorithm) {
				found = append(found, k.key)
			}
		}
	}
	add(j.static, false)
	if len(found) > 0 {
		return found
	}
	for _, s := range j.sources {
		add(s.keys(), !named)
	}
	return found
}

// principal is what the claims of a good token say.
func (j *JWT) principal(claims jwt.MapClaims) (Principal, error) {
	name, err := j.userName(claims)
	if err != nil {
		return Principal{}, err
	}
	expires, err := j.expiry(claims)
	if err != nil {
		return Principal{}, err
	}
	granted, tags, err := j.granted(claims)
	if err != nil {
		return Principal{}, err
	}
	s := &scopes{user: name, grants: granted, twoPart: j.opt.TwoPartTopics}
	s.keyed = slices.ContainsFunc(granted, func(g grant) bool { return g.key != nil })
	return Principal{
		Name:    name,
		Tags:    tags,
		Expires: expires,
		Access:  func(Variables) core.Authorizer { return s },
	}, nil
}

// expiry returns the end of the token, the leeway included: a token that was
// accepted is good for a moment yet.
func (j *JWT) expiry(claims jwt.MapClaims) (time.Time, error) {
	at, err := claims.GetExpirationTime()
	switch {
	case err != nil:
		return time.Time{}, err
	case at != nil:
		return at.Add(j.opt.Leeway), nil
	}
	// The library takes zero for absent; it is a time long ago.
	if _, ok := claims["exp"]; ok {
		return time.Time{}, jwt.ErrTokenExpired
	}
	return time.Time{}, nil
}
