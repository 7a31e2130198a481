package auth

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/batonmq/baton/core/field"
)

// Names of the mechanisms.
const (
	PLAIN     = "PLAIN"
	AMQPLAIN  = "AMQPLAIN"
	EXTERNAL  = "EXTERNAL"
	ANONYMOUS = "ANONYMOUS"
)

// Parse reads the client's only response of a mechanism into what a response
// can tell: mechanism, user name and password. The error is ErrMechanism,
// ErrMalformed or ErrRefused.
func Parse(mechanism string, response []byte) (Credentials, error) {
	switch mechanism {
	case PLAIN:
		return parsePLAIN(response)
	case AMQPLAIN:
		return parseAMQPLAIN(response)
	case EXTERNAL:
		return parseEXTERNAL(response)
	case ANONYMOUS:
		// RFC 4505: the response is trace information, of which nothing follows.
		return Credentials{Mechanism: ANONYMOUS}, nil
	}
	return Credentials{}, fmt.Errorf("mechanism %q: %w", mechanism, ErrMechanism)
}

// parsePLAIN reads RFC 4616's message:
//
//	[authzid] NUL authcid NUL passwd
//
// An authorization identity may be given where it is the user's own: nobody may
// act as another here.
func parsePLAIN(response []byte) (Credentials, error) {
	parts := bytes.SplitN(response, []byte{0}, 4) // a fourth part is one too many; no need to count on
	if len(parts) != 3 {
		return Credentials{}, fmt.Errorf("PLAIN has not exactly two NUL octets: %w", ErrMalformed)
	}
	authzid, username, password := string(parts[0]), string(parts[1]), string(parts[2])
	if authzid != "" && authzid != username {
		return Credentials{}, fmt.Errorf("PLAIN: user %q asks to act as %q: %w", username, authzid, ErrRefused)
	}
	return Credentials{Mechanism: PLAIN, Username: username, Password: password}, nil
}

// noIdentity is what RabbitMQ's Go client sends with EXTERNAL, in place of nothing.
const noIdentity = "\x00*\x00*"

// parseEXTERNAL reads RFC 4422's message, appendix A: the identity to act as, or
// nothing for the one that the certificate names.
func parseEXTERNAL(response []byte) (Credentials, error) {
	if string(response) == noIdentity {
		return Credentials{Mechanism: EXTERNAL}, nil
	}
	if bytes.IndexByte(response, 0) >= 0 || !utf8.Valid(response) {
		return Credentials{}, fmt.Errorf("EXTERNAL is not an identity in UTF-8: %w", ErrMalformed)
	}
	return Credentials{Mechanism: EXTERNAL, Username: string(response)}, nil
}

// parseAMQPLAIN reads the mechanism AMQP 0-9 defined for itself: the pairs of a
// field table without its length, of which LOGIN and PASSWORD count.
func parseAMQPLAIN(response []byte) (Credentials, error) {
	table, err := tableOf(response)
	if err != nil {
		return Credentials{}, fmt.Errorf("AMQPLAIN: %w: %w", err, ErrMalformed)
	}
	username, ok := text(table, "LOGIN")
	if !ok {
		return Credentials{}, fmt.Errorf("AMQPLAIN without LOGIN: %w", ErrMalformed)
	}
	password, ok := text(table, "PASSWORD")
	if !ok {
		return Credentials{}, fmt.Errorf("AMQPLAIN without PASSWORD: %w", ErrMalformed)
	}
	return Credentials{Mechanism: AMQPLAIN, Username: username, Password: password}, nil
}

// tableOf parses the pairs of a field table by giving them their length.
func tableOf(pairs []byte) (field.Table, error) {
	b := make([]byte, 0, 4+len(pairs))
	b = binary.BigEndian.AppendUint32(b, uint32(len(pairs)))
	table, _, err := field.ParseTable(append(b, pairs...))
	return table, err
}

// text returns a string value of the table; some clients send it as bytes.
func text(t field.Table, key string) (string, bool) {
	switch v, _ := t.Get(key); v := v.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	}
	return "", false
}
