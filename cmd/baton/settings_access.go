package main

import (
	"math"
	"slices"
	"time"

	"github.com/batonmq/baton/protocols/auth"
)

// accessSettings are about who gets in, and how much of it.
func accessSettings() []setting {
	return slices.Concat(tlsRows(), proxyRows(), limitRows(), authRows(), jwtRows(), httpRows())
}

// tlsRows are what all listeners with TLS share. The files may differ from node
// to node, as their names in certificates do.
func tlsRows() []setting {
	return []setting{
		{
			key: "tls.cert_file", flag: "tls-cert-file", def: off, unit: "paths or off", list: true, held: true, own: true,
			doc:  "PEM files with a certificate of this server and its intermediates each. A client gets the one for the name it asks for, or the first. All files of `tls` are read again when they change, and by a reload; open connections go on.",
			bind: func(c *Config) value { return names(&c.TLS.CertFiles) },
		},
		{
			key: "tls.key_file", flag: "tls-key-file", def: off, unit: "paths or off", list: true, held: true, own: true,
			doc:  "PEM files with the keys of `tls.cert_file`, in the same order.",
			bind: func(c *Config) value { return names(&c.TLS.KeyFiles) },
		},
		{
			key: "tls.ca_file", flag: "tls-ca-file", unit: "path", held: true, own: true,
			doc:  "A PEM file with the authorities whose client certificates are accepted.",
			bind: func(c *Config) value { return text(&c.TLS.CAFile) },
		},
		{
			key: "tls.client_auth", flag: "tls-client-auth", def: clientAuths()[0], unit: "none, request or require", held: true,
			doc:  "Whether clients are asked for a certificate, and must have one. One that is shown is verified, or the connection ends.",
			bind: func(c *Config) value { return oneOf(&c.TLS.ClientAuth, clientAuths()...) },
		},
		{
			key: "tls.crl_file", flag: "tls-crl-file", def: off, unit: "paths or off", list: true, held: true, own: true,
			doc:  "Files with lists of revoked client certificates, in PEM or DER, signed by an authority of `tls.ca_file`. An issuer may have several: parts of one list, each the newest of its part, lists of changes beside the complete one, and one for each of its keys. Indirect lists are refused.",
			bind: func(c *Config) value { return names(&c.TLS.CRLFiles) },
		},
		{
			key: "tls.refuse_stale_crl", def: "false", unit: "true or false", held: true,
			doc:  "Refuse client certificates whose issuer's list is out of date, instead of only warning of it.",
			bind: func(c *Config) value { return boolean(&c.TLS.RefuseStale) },
		},
		{
			key: "tls.min_version", def: tlsVersions()[0], unit: "1.2 or 1.3", held: true,
			doc:  "The oldest version of TLS that is spoken.",
			bind: func(c *Config) value { return oneOf(&c.TLS.MinVersion, tlsVersions()...) },
		},
	}
}

func limitRows() []setting {
	return []setting{
		{
			key: "limits.max_connections", def: "0", unit: "connections", live: true,
			doc:  "Connections of clients open at once, on all their ports together. One address cannot take the last quarter. 0 is as many as the process may open files, less what it needs itself.",
			bind: func(c *Config) value { return integer(&c.Limits.MaxConnections, 0, math.MaxInt32) },
		},
		{
			key: "limits.connection_rate", def: "500", unit: "per second", live: true,
			doc:  "How often an address (an IPv4 address or an IPv6 /64) may connect in the long run. 0 is no limit.",
			bind: func(c *Config) value { return perSecond(&c.Limits.ConnectionRate) },
		},
		{
			key: "limits.connection_burst", def: "10000", unit: "connections", live: true,
			doc:  "How often an address may connect at once. A gateway's clients all come back together.",
			bind: func(c *Config) value { return integer(&c.Limits.ConnectionBurst, 1, math.MaxInt32) },
		},
		{
			key: "limits.connection_wait", def: "5s", unit: "duration", live: true,
			doc:  "How long a connection beyond these waits for its turn before its handshake begins; one that would have to wait longer is refused. Clients should not give up earlier. 0s: all are refused. Applied by SIGHUP.",
			bind: func(c *Config) value { return duration(&c.Limits.ConnectionWait, 0, maxWait) },
		},
		{
			key: "limits.failed_login_rate", def: "1", unit: "per second", live: true,
			doc:  "How many logins from an address may fail in the long run before its connections are refused for a while. 0 is no limit.",
			bind: func(c *Config) value { return perSecond(&c.Limits.FailedLoginRate) },
		},
		{
			key: "limits.failed_login_burst", def: "20", unit: "logins", live: true,
			doc:  "How many logins from an address may fail at once.",
			bind: func(c *Config) value { return integer(&c.Limits.FailedLoginBurst, 1, math.MaxInt32) },
		},
		{
			key: "limits.exempt_loopback", def: "true", unit: "true or false", live: true,
			doc:  "Leave loopback addresses out of these rates: one client there cannot lock the others of this machine out, nor those of a proxy on it.",
			bind: func(c *Config) value { return boolean(&c.Limits.ExemptLoopback) },
		},
		{
			key: "limits.client_message_rate", def: "0", unit: "per second", live: true,
			doc:  "How many messages a connection may publish; it waits for its turn. 0 is no limit. A change holds for those that log in after it.",
			bind: func(c *Config) value { return perSecond(&c.Limits.ClientMessageRate) },
		},
		{
			key: "limits.client_byte_rate", def: "0B", unit: "size per second", live: true,
			doc:  "How much a connection may publish; it waits for its turn. `0B` is no limit. A change holds for those that log in after it.",
			bind: func(c *Config) value { return size(&c.Limits.ClientByteRate, 0, math.MaxInt64) },
		},
	}
}

// Names of auth.backends.
const (
	backendInternal    = "internal"
	backendCertificate = "certificate"
	backendJWT         = "jwt"
	backendHTTP        = "http"
)

func authRows() []setting {
	return []setting{
		{
			key: "auth.backends", def: backendInternal, unit: "internal, certificate, jwt, http", list: true,
			doc: "Who is asked whether a client may get in, in this order, until one accepts it. Put `jwt` before `internal`: it sees at a glance what is no token.",
			bind: func(c *Config) value {
				return someOf(&c.Auth.Backends, backendInternal, backendCertificate, backendJWT, backendHTTP)
			},
		},
		{
			key: "auth.loopback_users", def: auth.DefaultUser, unit: "names or off", list: true,
			doc:  "Users of the broker that may log in from loopback addresses only.",
			bind: func(c *Config) value { return names(&c.Auth.LoopbackUsers) },
		},
		{
			key: "auth.certificate_name_from", def: string(auth.CommonName), unit: "common_name, subject_alternative_name or distinguished_name",
			doc: "The part of a client certificate that is the user's name, for the backend `certificate`.",
			bind: func(c *Config) value {
				return oneOf(&c.Auth.CertificateNameFrom, string(auth.CommonName), string(auth.SubjectAltName), string(auth.DistinguishedName))
			},
		},
		{
			key: "auth.certificate_san_type", def: string(auth.DNSName), unit: "dns, email or uri",
			doc: "Which alternative name it is. The first of the type counts.",
			bind: func(c *Config) value {
				return oneOf(&c.Auth.CertificateSANType, string(auth.DNSName), string(auth.Email), string(auth.URI))
			},
		},
	}
}

func jwtRows() []setting {
	return []setting{
		{
			key: "auth.jwt_key_file", def: off, unit: "[KID=]path or off", list: true,
			doc:  "PEM files with the public keys or certificates that sign tokens: RSA, ECDSA or Ed25519. With a KID, the key is for tokens that name it.",
			bind: func(c *Config) value { return names(&c.Auth.JWT.KeyFiles) },
		},
		{
			key: "auth.jwt_secret_file", def: off, unit: "[KID=]path or off", list: true,
			doc:  "Files with secrets of HMAC, at least 32 bytes each.",
			bind: func(c *Config) value { return names(&c.Auth.JWT.SecretFiles) },
		},
		{
			key: "auth.jwt_jwks_file", unit: "path",
			doc:  "A file with a JSON Web Key Set. It is read again when it changes.",
			bind: func(c *Config) value { return text(&c.Auth.JWT.JWKSFile) },
		},
		{
			key: "auth.jwt_jwks_url", unit: "URL",
			doc:  "Where a JSON Web Key Set is fetched: `https`, or `http` on this machine.",
			bind: func(c *Config) value { return text(&c.Auth.JWT.JWKSURL) },
		},
		{
			key: "auth.jwt_jwks_refresh", def: "1h0m0s", unit: "duration",
			doc:  "How often it is fetched. Tokens with an unknown key have it fetched sooner.",
			bind: func(c *Config) value { return duration(&c.Auth.JWT.Refresh, 10*time.Second, 7*24*time.Hour) },
		},
		{
			key: "auth.jwt_jwks_ca_file", unit: "path",
			doc:  "A PEM file with the authorities to trust there, instead of the system's.",
			bind: func(c *Config) value { return text(&c.Auth.JWT.JWKSCAFile) },
		},
		{
			key: "auth.jwt_algorithms", def: off, unit: "names or off", list: true,
			doc:  "The signature algorithms accepted, as `RS256`. `off` leaves all that the keys are for.",
			bind: func(c *Config) value { return names(&c.Auth.JWT.Algorithms) },
		},
		{
			key: "auth.jwt_resource_server_id", unit: "text",
			doc:  "What this broker is called in a token's audience. Required with the backend `jwt`.",
			bind: func(c *Config) value { return text(&c.Auth.JWT.ResourceServerID) },
		},
		{
			key: "auth.jwt_issuer", unit: "text",
			doc:  "The only issuer accepted. Empty accepts any whose key is known.",
			bind: func(c *Config) value { return text(&c.Auth.JWT.Issuer) },
		},
		{
			key: "auth.jwt_allow_no_expiry", def: "false", unit: "true or false",
			doc:  "Accept tokens that are good for ever. Otherwise a connection ends with its token.",
			bind: func(c *Config) value { return boolean(&c.Auth.JWT.AllowNoExpiry) },
		},
		{
			key: "auth.jwt_leeway", def: "10s", unit: "duration",
			doc:  "By how much the clocks of broker and issuer may differ. At most `5m`.",
			bind: func(c *Config) value { return duration(&c.Auth.JWT.Leeway, 0, 5*time.Minute) },
		},
		{
			key: "auth.jwt_username_claims", def: off, unit: "names or off", list: true,
			doc:  "Claims with the user's name, the first that is there counts. `sub` and `client_id` come after them.",
			bind: func(c *Config) value { return names(&c.Auth.JWT.UsernameClaims) },
		},
		{
			key: "auth.jwt_scope_prefix", def: auto, unit: "text or auto",
			doc:  "What scopes for this broker begin with. `auto` is `auth.jwt_resource_server_id` and a dot.",
			bind: func(c *Config) value { return text(&c.Auth.JWT.ScopePrefix) },
		},
		{
			key: "auth.jwt_additional_scopes", def: off, unit: "names or off", list: true,
			doc:  "Claims with scopes besides `scope`, as `realm_access.roles`.",
			bind: func(c *Config) value { return names(&c.Auth.JWT.AdditionalScopes) },
		},
		{
			key: "auth.jwt_two_part_topics", def: "false", unit: "true or false",
			doc:  "Let scopes without a routing key allow all topics. In RabbitMQ they allow none.",
			bind: func(c *Config) value { return boolean(&c.Auth.JWT.TwoPartTopics) },
		},
	}
}

func httpRows() []setting {
	return []setting{
		{
			key: "auth.http_user_url", unit: "URL",
			doc:  "Where the backend `http` answers whether a user may log in. This and the next three are required with it; questions and answers are RabbitMQ's.",
			bind: func(c *Config) value { return text(&c.Auth.HTTP.UserURL) },
		},
		{
			key: "auth.http_vhost_url", unit: "URL",
			doc:  "Where it answers whether a user may open a vhost.",
			bind: func(c *Config) value { return text(&c.Auth.HTTP.VHostURL) },
		},
		{
			key: "auth.http_resource_url", unit: "URL",
			doc:  "Where it answers what a user may do with an exchange or a queue.",
			bind: func(c *Config) value { return text(&c.Auth.HTTP.ResourceURL) },
		},
		{
			key: "auth.http_topic_url", unit: "URL",
			doc:  "Where it answers what a user may do with a routing key.",
			bind: func(c *Config) value { return text(&c.Auth.HTTP.TopicURL) },
		},
		{
			key: "auth.http_method", def: "post", unit: "get or post",
			doc:  "How it is asked. `get` leaves passwords in its log.",
			bind: func(c *Config) value { return oneOf(&c.Auth.HTTP.Method, "get", "post") },
		},
		{
			key: "auth.http_timeout", def: "5s", unit: "duration",
			doc:  "How long an answer may take, the wait for its turn included.",
			bind: func(c *Config) value { return duration(&c.Auth.HTTP.Timeout, time.Millisecond, time.Minute) },
		},
		{
			key: "auth.http_concurrency", def: "32", unit: "questions",
			doc:  "How many questions are asked at a time.",
			bind: func(c *Config) value { return integer(&c.Auth.HTTP.Concurrency, 1, math.MaxUint16) },
		},
		{
			key: "auth.http_allow_ttl", def: "15s", unit: "duration",
			doc:  "For how long an answer that allows holds: who is locked out notices after that. `0s` is for the one question.",
			bind: func(c *Config) value { return duration(&c.Auth.HTTP.AllowTTL, 0, maxWait) },
		},
		{
			key: "auth.http_deny_ttl", def: "15s", unit: "duration",
			doc:  "For how long an answer that denies holds. `0s` is for the one question.",
			bind: func(c *Config) value { return duration(&c.Auth.HTTP.DenyTTL, 0, maxWait) },
		},
		{
			key: "auth.http_cache_size", def: "20000", unit: "answers",
			doc:  "How many answers of either kind are remembered.",
			bind: func(c *Config) value { return integer(&c.Auth.HTTP.CacheSize, 1, math.MaxInt32) },
		},
		{
			key: "auth.http_ca_file", unit: "path",
			doc:  "A PEM file with the authorities to trust there, instead of the system's.",
			bind: func(c *Config) value { return text(&c.Auth.HTTP.CAFile) },
		},
		{
			key: "auth.http_cert_file", unit: "path", own: true,
			doc:  "A PEM file with the certificate by which the backend knows this broker.",
			bind: func(c *Config) value { return text(&c.Auth.HTTP.CertFile) },
		},
		{
			key: "auth.http_key_file", unit: "path", own: true,
			doc:  "A PEM file with its key.",
			bind: func(c *Config) value { return text(&c.Auth.HTTP.KeyFile) },
		},
	}
}
