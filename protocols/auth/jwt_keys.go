package auth

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/MicahParks/jwkset"
)

// A tokenKey verifies the signatures of tokens.
type tokenKey struct {
	id         string   // the kid of the tokens it is for; empty: of those without
	algorithms []string // that the key may be used with
	key        any      // as the jwt library takes it: []byte, *rsa, *ecdsa or ed25519 public key
}

// Sizes below which a key is not accepted: RFC 7518, 3.2 and 3.3.
const (
	minSecretBytes = 32
	minRSABits     = 2048
)

// newTokenKey returns a key with the algorithms that are for its type and size,
// or with the one of them it says it is for. Which algorithms a key is good for
// is never taken from a token: that a public key is not an HMAC secret holds by
// construction.
func newTokenKey(id, algorithm string, key any) (tokenKey, error) {
	k := tokenKey{id: id, key: key}
	switch key := key.(type) {
	case []byte:
		if len(key) < minSecretBytes {
			return tokenKey{}, fmt.Errorf("the secret has %d bytes: %d is the least", len(key), minSecretBytes)
		}
		// RFC 7518, 3.2: a key of the hash's size or larger.
		k.algorithms = []string{"HS256", "HS384", "HS512"}[:min(len(key)/16-1, 3)]
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRSABits {
			return tokenKey{}, fmt.Errorf("the RSA key has %d bits: %d is the least", bits, minRSABits)
		}
		k.algorithms = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
	case *ecdsa.PublicKey:
		of := map[string]string{"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}[key.Curve.Params().Name]
		if of == "" {
			return tokenKey{}, fmt.Errorf("no algorithm for the curve %s", key.Curve.Params().Name)
		}
		k.algorithms = []string{of}
	case ed25519.PublicKey:
		k.algorithms = []string{"EdDSA"}
	default:
		return tokenKey{}, fmt.Errorf("a %T verifies no token", key)
	}
	if algorithm == "" {
		return k, nil
	}
	if !slices.Contains(k.algorithms, algorithm) {
		return tokenKey{}, fmt.Errorf("the key is not for algorithm %q", algorithm)
	}
	k.algorithms = []string{algorithm}
	return k, nil
}

// loadTokenKeys reads the configured keys.
func loadTokenKeys(configured []JWTKey) ([]tokenKey, error) {
	keys := make([]tokenKey, 0, len(configured))
	for _, c := range configured {
		path := c.PEMFile + c.SecretFile
		b, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("read token key: %w", err)
		}
		var key any
		if c.SecretFile != "" {
			key = bytes.TrimRight(b, "\r\n") // as editors leave them
		} else if key, err = publicKeyOf(b); err != nil {
			return nil, fmt.Errorf("token key %s: %w", path, err)
		}
		k, err := newTokenKey(c.ID, "", key)
		if err != nil {
			return nil, fmt.Errorf("token key %s: %w", path, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// publicKeyOf returns the public key of the first block of a PEM file.
func publicKeyOf(b []byte) (any, error) {
	block, _ := pem.Decode(b)
	if block == nil {
		return nil, errors.New("not a PEM file")
	}
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	}
	// A private key here would work and should not be on this machine.
	return nil, fmt.Errorf("%q is not a public key or a certificate", block.Type)
}

// Bounds of a key set that is read.
const (
	maxKeySetBytes = 1 << 20
	maxKeySetKeys  = 64 // a token without a key id is tried with all of them
)

// parseKeySet reads a JSON Web Key Set (RFC 7517, 5). Keys that are not for
// signatures, or of a kind that is not known, are passed over, as the RFC has
// it. So are secrets, unless they are allowed: one that can be fetched is none.
func parseKeySet(b []byte, secrets bool) ([]tokenKey, error) {
	var set struct{ Keys []json.RawMessage }
	if err := json.Unmarshal(b, &set); err != nil {
		return nil, fmt.Errorf("key set: %w", err)
	}
	if len(set.Keys) > maxKeySetKeys {
		return nil, fmt.Errorf("key set of %d keys: %d is the most", len(set.Keys), maxKeySetKeys)
	}
	var keys []tokenKey
	for _, raw := range set.Keys {
		if k, ok := parseKey(raw, secrets); ok {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("key set without a key to verify tokens with")
	}
	return keys, nil
}

func parseKey(raw []byte, secrets bool) (k tokenKey, ok bool) {
	var m jwkset.JWKMarshal
	if err := json.Unmarshal(raw, &m); err != nil {
		return tokenKey{}, false
	}
	secret := m.KTY == jwkset.KtyOct
	switch {
	case m.USE != "" && m.USE != jwkset.UseSig,
		len(m.KEYOPS) > 0 && !slices.Contains(m.KEYOPS, jwkset.KeyOpsVerify),
		secret && !secrets:
		return tokenKey{}, false
	}
	m.X5U = "" // an address to fetch from is not followed, nor a reason to refuse the key
	jwk, err := jwkset.NewJWKFromMarshal(m, jwkset.JWKMarshalOptions{Private: secret}, jwkset.JWKValidateOptions{})
	if err != nil {
		return tokenKey{}, false
	}
	k, err = newTokenKey(m.KID, m.ALG.String(), jwk.Key())
	return k, err == nil
}
