package auth

import (
	"errors"
	"strings"
	"testing"
)

// Hashes that other programs made.
const (
	// From the tests of the argon2 reference implementation.
	argonReference      = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	argonReferenceSmall = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc"
	// The example of RabbitMQ's documentation, and the same salt with SHA-512.
	rabbitTest12       = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"
	rabbitTest12SHA512 = "kI3GChuNuIYf8lRbCCxZjgjKwsY19ns6+uFO0zcXRBGA/XGJPYD8OWMy7EB8TaOmAzjP2azv84GbINYwX2cDWb4DHnc="
	// From mosquitto_passwd 2.0.11.
	mosquitto7 = "$7$101$4zktaP3F0sHXN+Qa$WdLLDZrXNFHD7xoEySlLlehN3hw/gpcLXFfV6zOO+fQ2ZZW6URdMjR+rkf8RP2ic23cOWjI6pdZ99OzRJROanw=="
	mosquitto6 = "$6$TGatRZ1rF5HjgFoh$A9u69X3t5Zn9PEyR2joQ20swSuP2T4GisrMDP6HfkUFdgfRocI5vTUTBkO53B9yJfOQZjjSc67+op2qszoaJzw=="
)

func TestVerifyPassword_HashesOfOtherPrograms(t *testing.T) {
	for _, tt := range []struct{ name, hash, password string }{
		{"argon2id of the reference implementation, in two lanes", argonReferenceSmall, "password"},
		{"RabbitMQ with SHA-256", "rabbit_password_hashing_sha256:" + rabbitTest12, "test12"},
		{"RabbitMQ with SHA-512", "rabbit_password_hashing_sha512:" + rabbitTest12SHA512, "test12"},
		{"Mosquitto with PBKDF2", mosquitto7, "secret"},
		{"Mosquitto with SHA-512", mosquitto6, "secret"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if ok, err := VerifyPassword(tt.hash, tt.password); !ok || err != nil {
				t.Errorf("VerifyPassword of the right password = %v, %v", ok, err)
			}
			for _, wrong := range []string{"", tt.password + "x", tt.password[1:], strings.ToUpper(tt.password)} {
				if ok, err := VerifyPassword(tt.hash, wrong); ok || err != nil {
					t.Errorf("VerifyPassword(%q) = %v, %v; want false", wrong, ok, err)
				}
			}
		})
	}
}

func TestHashPassword(t *testing.T) {
	const password = "correct horse battery staple"
	hash, err := HashPassword(password)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(hash, "$argon2id$v=19$m=19456,t=2,p=1$") {
		t.Errorf("new hash %q has other parameters than documented", hash)
	}
	if ok, err := VerifyPassword(hash, password); !ok || err != nil {
		t.Errorf("VerifyPassword of what was hashed = %v, %v", ok, err)
	}
	if again, err := HashPassword(password); err != nil || again == hash {
		t.Errorf("HashPassword twice = %q, %v: the salt is not new", again, err)
	}
	if hash, err := HashPassword(""); err == nil {
		t.Errorf("HashPassword of nothing = %q, want an error", hash)
	}
}

func TestCheckHash_SaysWhatIsWrong(t *testing.T) {
	const salt, sum = "c29tc2FsdHNhbHQ", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	argon := func(params string) string { return "$argon2id$v=19$" + params + "$" + salt + "$" + sum }
	for _, tt := range []struct{ name, hash, want string }{
		{"nothing", "", "its form is none of"},
		{"plain text", "hunter2", "its form is none of"},
		{"bcrypt", "$2y$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", "its form is none of"},
		{"argon2i", "$argon2i$v=19$m=256,t=2,p=1$" + salt + "$" + sum, "its form is none of"},
		{"far too long", "$argon2id$" + strings.Repeat("x", 1000), "more than any form"},
		{"a gigabyte of argon2id", argon("m=1048576,t=1,p=1"), "not between 1 and 131072"},
		{"many passes", argon("m=1024,t=1000000,p=1"), "not between 1 and 16"},
		{"many threads", argon("m=19456,t=2,p=255"), "not between 1 and 16"},
		{"much memory and many passes", argon("m=131072,t=16,p=1"), "more work than a login may cost"},
		{"less memory than lanes need", argon("m=8,t=1,p=2"), "less than 8 KiB"},
		{"no memory", argon("m=0,t=1,p=1"), "not between"},
		{"a number that overflows", argon("m=4294967297,t=1,p=1"), "is not m=N"},
		{"a leading zero", argon("m=019456,t=2,p=1"), "is not m=N"},
		{"parameters in another order", argon("t=2,m=19456,p=1"), "is not m=N"},
		{"a parameter too many", argon("m=19456,t=2,p=1,keyid=x"), "no others"},
		{"another version", "$argon2id$v=16$m=19456,t=2,p=1$" + salt + "$" + sum, "version 19 only"},
		{"no version", "$argon2id$m=19456,t=2,p=1$" + salt + "$" + sum, "needs a version"},
		{"a short salt", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$" + sum, "salt has 4 bytes"},
		{"a short sum", "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "$c2FsdA", "sum has 4 bytes"},
		{"a padded salt", "$argon2id$v=19$m=19456,t=2,p=1$" + salt + "=$" + sum, "salt is not base64"},
		{"RabbitMQ's MD5", "rabbit_password_hashing_md5:" + rabbitTest12, "give the user a new password"},
		{"RabbitMQ's SHA-256 cut short", "rabbit_password_hashing_sha256:" + rabbitTest12[:44], "bytes, not between 36 and 36"},
		{"RabbitMQ's SHA-512 with a sum of SHA-256", "rabbit_password_hashing_sha512:" + rabbitTest12, "not between 68 and 68"},
		{"RabbitMQ's with a line break", "rabbit_password_hashing_sha256:" + rabbitTest12[:8] + "\n" + rabbitTest12[8:], "not base64"},
		{"Mosquitto with endless iterations", strings.Replace(mosquitto7, "101", "4000000000", 1), "not between 1 and 1000000"},
		{"Mosquitto without iterations", "$7$" + strings.TrimPrefix(mosquitto6, "$6$"), "is not N"},
		{"sha512crypt", "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjlO/O817G3uBnIFNjnQJuesI68OTLiBFdcbYEdFCoEOfaS35inz1", "sha512crypt of the same prefix"},
		{"sha512crypt with rounds", "$6$rounds=5000$saltstring$svn8UoSVapNtMuq1uk", "sha512crypt of the same prefix"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckHash(tt.hash)
			if !errors.Is(err, ErrHash) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("CheckHash error is %v, want ErrHash with %q", err, tt.want)
			}
			if _, err2 := VerifyPassword(tt.hash, "x"); err2 == nil || err2.Error() != err.Error() {
				t.Errorf("VerifyPassword error is %v, want the same", err2)
			}
		})
	}
}

func TestJoinHash_IsTheReverseOfSplitHash(t *testing.T) {
	for _, tt := range []struct{ algorithm, encoded, want string }{
		{"rabbit_password_hashing_sha256", rabbitTest12, "rabbit_password_hashing_sha256:" + rabbitTest12},
		{"rabbit_password_hashing_sha512", rabbitTest12SHA512, "rabbit_password_hashing_sha512:" + rabbitTest12SHA512},
		{"argon2id", argonReferenceSmall, argonReferenceSmall},
		{"mosquitto", mosquitto7, mosquitto7},
		{"mosquitto", mosquitto6, mosquitto6},
	} {
		hash, err := JoinHash(tt.algorithm, tt.encoded)
		if err != nil || hash != tt.want {
			t.Errorf("JoinHash(%s, %s) = %q, %v; want %q", tt.algorithm, tt.encoded, hash, err, tt.want)
		}
		if algorithm, encoded := SplitHash(hash); algorithm != tt.algorithm || encoded != tt.encoded {
			t.Errorf("SplitHash(%s) = %s, %s; want %s, %s", hash, algorithm, encoded, tt.algorithm, tt.encoded)
		}
	}
	if hash, err := JoinHash("", rabbitTest12); err != nil || hash != "rabbit_password_hashing_sha256:"+rabbitTest12 {
		t.Errorf("JoinHash without an algorithm = %q, %v; want RabbitMQ's default", hash, err)
	}
	if _, err := JoinHash("bcrypt", rabbitTest12); !errors.Is(err, ErrHash) {
		t.Errorf("JoinHash with an unknown algorithm: %v, want ErrHash", err)
	}
	if algorithm, encoded := SplitHash(""); algorithm != "" || encoded != "" {
		t.Errorf("SplitHash of nothing = %q, %q", algorithm, encoded)
	}
}

// FuzzParseHash looks for hashes that cost too much, and for panics. What is
// accepted is read the same when it is written anew.
func FuzzParseHash(f *testing.F) {
	for _, seed := range []string{
		argonReference, argonReferenceSmall, mosquitto6, mosquitto7,
		"rabbit_password_hashing_sha256:" + rabbitTest12, "rabbit_password_hashing_sha512:" + rabbitTest12SHA512,
		"$argon2id$v=19$m=4294967295,t=4294967295,p=255$$", "$7$1$$", "$6$$",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		h, err := parseHash(s)
		if err != nil {
			if h != nil || !errors.Is(err, ErrHash) {
				t.Errorf("parseHash(%q) = %v, %v", s, h, err)
			}
			return
		}
		switch h := h.(type) {
		case *argon2idHash:
			if h.mem > maxArgonMemory || h.mem*h.passes > maxArgonWork || h.threads > maxArgonThreads {
				t.Errorf("parseHash(%q) accepts a cost of %+v", s, h)
			}
			if h.String() != s {
				t.Errorf("parseHash(%q) is written as %q", s, h)
			}
		case *mosquittoHash:
			if h.iterations > maxPBKDF2 {
				t.Errorf("parseHash(%q) accepts %d iterations", s, h.iterations)
			}
		case *rabbitHash:
			if len(h.salt) != rabbitSalt {
				t.Errorf("parseHash(%q) has a salt of %d bytes", s, len(h.salt))
			}
		}
		if algorithm, encoded := SplitHash(s); algorithm == "" || encoded == "" {
			t.Errorf("SplitHash(%q) = %q, %q", s, algorithm, encoded)
		}
	})
}

func BenchmarkHashPassword(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := HashPassword("secret"); err != nil {
			b.Fatal(err)
		}
	}
}
