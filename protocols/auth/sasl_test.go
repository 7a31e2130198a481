package auth

import (
	"errors"
	"strings"
	"testing"

	"github.com/batonmq/baton/core/field"
)

// pairs is a table in AMQPLAIN's form: without its length.
func pairs(tb testing.TB, table field.Table) []byte {
	tb.Helper()
	b, err := field.AppendTable(nil, table)
	if err != nil {
		tb.Fatal(err)
	}
	return b[4:]
}

func TestParse(t *testing.T) {
	// As php-amqplib sends it, from the wire.
	captured := "\x05LOGINS\x00\x00\x00\x05guest\x08PASSWORDS\x00\x00\x00\x05guest"
	for _, tt := range []struct {
		name, mechanism, response string
		want                      Credentials
		err                       error
	}{
		{name: "PLAIN", mechanism: PLAIN, response: "\x00guest\x00secret", want: Credentials{Mechanism: PLAIN, Username: "guest", Password: "secret"}},
		{name: "PLAIN with its own authzid", mechanism: PLAIN, response: "guest\x00guest\x00secret", want: Credentials{Mechanism: PLAIN, Username: "guest", Password: "secret"}},
		{name: "PLAIN with another's authzid", mechanism: PLAIN, response: "root\x00guest\x00secret", err: ErrRefused},
		{name: "PLAIN with empty password", mechanism: PLAIN, response: "\x00guest\x00", want: Credentials{Mechanism: PLAIN, Username: "guest", Password: ""}},
		{name: "PLAIN with empty user", mechanism: PLAIN, response: "\x00\x00", want: Credentials{Mechanism: PLAIN, Username: "", Password: ""}},
		{name: "PLAIN in UTF-8", mechanism: PLAIN, response: "\x00jürgen\x00пароль", want: Credentials{Mechanism: PLAIN, Username: "jürgen", Password: "пароль"}},
		{name: "PLAIN empty", mechanism: PLAIN, response: "", err: ErrMalformed},
		{name: "PLAIN with one NUL", mechanism: PLAIN, response: "guest\x00secret", err: ErrMalformed},
		{name: "PLAIN with three NULs", mechanism: PLAIN, response: "\x00guest\x00sec\x00ret", err: ErrMalformed},
		{name: "AMQPLAIN captured", mechanism: AMQPLAIN, response: captured, want: Credentials{Mechanism: AMQPLAIN, Username: "guest", Password: "guest"}},
		{
			name: "AMQPLAIN with more fields in another order", mechanism: AMQPLAIN,
			response: string(pairs(t, field.Table{{Key: "PASSWORD", Value: "p"}, {Key: "x", Value: int32(7)}, {Key: "LOGIN", Value: []byte("u")}})),
			want:     Credentials{Mechanism: AMQPLAIN, Username: "u", Password: "p"},
		},
		{name: "AMQPLAIN without password", mechanism: AMQPLAIN, response: string(pairs(t, field.Table{{Key: "LOGIN", Value: "u"}})), err: ErrMalformed},
		{name: "AMQPLAIN without login", mechanism: AMQPLAIN, response: string(pairs(t, field.Table{{Key: "PASSWORD", Value: "p"}})), err: ErrMalformed},
		{name: "AMQPLAIN with a number for a login", mechanism: AMQPLAIN, response: string(pairs(t, field.Table{{Key: "LOGIN", Value: int32(1)}, {Key: "PASSWORD", Value: "p"}})), err: ErrMalformed},
		{name: "AMQPLAIN empty", mechanism: AMQPLAIN, response: "", err: ErrMalformed},
		{name: "AMQPLAIN cut short", mechanism: AMQPLAIN, response: captured[:len(captured)-1], err: ErrMalformed},
		{name: "AMQPLAIN with trailing bytes", mechanism: AMQPLAIN, response: captured + "x", err: ErrMalformed},
		{name: "EXTERNAL", mechanism: EXTERNAL, want: Credentials{Mechanism: EXTERNAL}},
		{name: "EXTERNAL with an authzid", mechanism: EXTERNAL, response: "jürgen", want: Credentials{Mechanism: EXTERNAL, Username: "jürgen"}},
		{name: "EXTERNAL of a client that fills the response", mechanism: EXTERNAL, response: "\x00*\x00*", want: Credentials{Mechanism: EXTERNAL}},
		{name: "EXTERNAL with a NUL", mechanism: EXTERNAL, response: "a\x00b", err: ErrMalformed},
		{name: "EXTERNAL not in UTF-8", mechanism: EXTERNAL, response: "\xff", err: ErrMalformed},
		{name: "ANONYMOUS", mechanism: ANONYMOUS, want: Credentials{Mechanism: ANONYMOUS}},
		{name: "ANONYMOUS with trace information", mechanism: ANONYMOUS, response: "sirhc", want: Credentials{Mechanism: ANONYMOUS}},
		{name: "a mechanism not offered", mechanism: "SCRAM-SHA-256", response: "n,,n=guest", err: ErrMechanism},
		{name: "mechanism names are upper case", mechanism: "plain", response: "\x00guest\x00secret", err: ErrMechanism},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Parse(tt.mechanism, []byte(tt.response))
			if !errors.Is(err, tt.err) || got != tt.want {
				t.Errorf("Parse(%s, %q) = %+v, %v; want %+v, %v", tt.mechanism, tt.response, got, err, tt.want, tt.err)
			}
		})
	}
}

func TestParse_ErrorDoesNotTellThePassword(t *testing.T) {
	for _, response := range []string{"root\x00guest\x00hunter2", "\x00guest\x00hunter2\x00"} {
		if _, err := Parse(PLAIN, []byte(response)); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("Parse(PLAIN, %q) error is %v", response, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(PLAIN, []byte("\x00guest\x00guest"))
	f.Add(PLAIN, []byte("guest\x00guest\x00guest"))
	f.Add(AMQPLAIN, []byte("\x05LOGINS\x00\x00\x00\x05guest\x08PASSWORDS\x00\x00\x00\x05guest"))
	f.Add(AMQPLAIN, []byte("\x05LOGINS\xff\xff\xff\xffguest"))
	f.Add(EXTERNAL, []byte("user"))
	f.Add(ANONYMOUS, []byte("trace"))
	f.Fuzz(func(t *testing.T, mechanism string, response []byte) {
		c, err := Parse(mechanism, response)
		if err != nil {
			if c != (Credentials{}) {
				t.Errorf("half a credential %+v beside %v", c, err)
			}
			return
		}
		// What was accepted means the same when it is written anew.
		var again []byte
		switch mechanism {
		case PLAIN:
			again = []byte("\x00" + c.Username + "\x00" + c.Password)
		case EXTERNAL:
			again = []byte(c.Username)
		case AMQPLAIN:
			again = pairs(t, field.Table{{Key: "LOGIN", Value: c.Username}, {Key: "PASSWORD", Value: c.Password}})
		}
		if c2, err := Parse(mechanism, again); err != nil || c2 != c {
			t.Errorf("Parse(%s, %q) = %+v, %v after %+v", mechanism, again, c2, err, c)
		}
	})
}
