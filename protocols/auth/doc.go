// Package auth tells who a client is: SASL mechanism responses become
// [Credentials], and an [Authenticator] turns those into a [Principal] or
// refuses.
//
// It guarantees:
//   - A refusal looks the same to the client whatever its reason, and takes the
//     same time for a wrong name as for a wrong password. The reason is in the
//     error, for the log alone ([ErrRefused] and what it wraps).
//   - A malformed response is an error ([ErrMalformed]), never a panic and
//     never half a credential.
//   - The well-known default user is accepted from this machine only.
//
// It does not guarantee that a loopback peer is a local user: a proxy on the
// same machine makes all its clients look local. Whoever puts one in front
// replaces the default user first. It does not slow down guessing either; a
// front-end delays its answer to a refusal.
//
// # Vocabulary
//
// Mechanism, response, authentication identity and authorization identity are
// those of SASL (RFC 4422). A Principal is the identity the broker acts on.
//
// # Who owns what
//
// Parsed credentials are strings of their own and outlive the response they
// came from. Authenticators are safe for concurrent use.
package auth
