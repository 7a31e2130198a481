// Package auth tells who a client is and what it may do: SASL responses become
// [Credentials], an [Authenticator] turns those into a [Principal] or refuses,
// and the principal has a [core.Authorizer] that the engine asks.
//
// It guarantees:
//   - A refusal looks the same to the client whatever its reason, and takes the
//     same time for a wrong name as for a wrong password whose hash was made here
//     with the default parameters (see below for others). The reason is in the
//     error, for the log alone ([ErrRefused] and what it wraps); no error
//     contains a password, a token or a hash.
//   - A malformed response is an error ([ErrMalformed]), never a panic and
//     never half a credential.
//   - Accounts on the loopback-only list (the well-known default user) are
//     accepted from this machine only, by password as by certificate.
//   - A password is verified once, not for every connection: what was verified
//     is remembered as a keyed hash, and ten thousand clients that come back at
//     once wait for one verification for each user. The memory that hashing
//     takes is bounded, and so is the wait, by the caller's context.
//   - A stored hash cannot cost more than its form's bounds, whoever made it. One
//     that is unknown or damaged lets nobody in.
//   - A client cannot widen its own topic permissions by what it calls itself:
//     {client_id}, {username} and {vhost} stand for their text alone.
//   - What cannot be decided is denied: a pattern that does not compile or takes
//     too long, and a variable without a value.
//
// It does not guarantee:
//   - that a loopback peer is a local user. A proxy on the same machine makes all
//     its clients look local; whoever puts one in front replaces the default
//     user first.
//   - that a name is one person's whoever vouches for it. What a token or the HTTP
//     backend calls a user has that user's limits, and his MQTT sessions, also
//     where there is an account of the same name; the loopback-only list is about
//     accounts alone: who comes with a token, or is let in by the HTTP backend, as
//     a user of that list may come from anywhere.
//   - that a hash which was made elsewhere hides that there is its user. A wrong
//     password then takes the time of that hash beside that of an unknown name:
//     nothing to speak of with RabbitMQ's, and what can be measured from afar with
//     a $7$ of many iterations, or an argon2id that costs more than the default.
//     To set the password anew ends that.
//   - that guessing is slow. A front-end delays its answer to a refusal, and the
//     listener limits connections. A flood of wrong passwords does hold up first
//     logins with right ones, as they wait for the same room; clients that come
//     back are not held up.
//   - that a change reaches open connections. Permissions do at once, being asked
//     for anew with every change of [core.Access]; tags and the identity are
//     those of the login. Ending connections is for whoever makes the change.
//   - that SCRAM verifiers are as hard to guess from as the hashes beside them:
//     SCRAM-SHA-256 knows no memory-hard function. Passwords are compared as they
//     are sent, without SASLprep. After a takeover the made-up salt that hides
//     which users there are is another one.
//
// # What is remembered, and when it ends
//
//	verified passwords   with the stored hash or the user; never failures;
//	                     the least used go when there are too many
//	compiled patterns    nothing: they are what they are
//	HTTP answers         with their time; a revocation is noticed after that
//	tokens               nothing is: a token is good until it expires or its
//	                     key is removed
//
// # The chain
//
// A [Chain] asks its authenticators in order. Whoever knows a client without much
// work comes first: a [JWT] tells at a glance what is no token, where an
// [Internal] spends a hash on every name that it does not know.
//
// # Password hashes
//
// New ones are argon2id. Those of RabbitMQ's definitions (SHA-256 and SHA-512;
// [JoinHash]) and of Mosquitto's password files ($7$ and $6$) are accepted as
// they are and stay so until the password is set anew. RabbitMQ's MD5 is not.
//
// # Permissions
//
// [Accounts] decide as RabbitMQ does: who has a permission in a vhost may enter
// it, whatever his tags; a name is allowed where the right's pattern is found
// anywhere in it; an empty pattern is "^$"; a topic permission narrows the use of
// its exchange and where there is none keys are not looked at. RabbitMQ's
// patterns are PCRE. Here they are RE2 where that knows their syntax, which
// takes linear time, and else they are tried with backtracking, for which there
// is a time limit (lookaround, back references, atomic groups, possessive
// repetition). The differences:
//   - Names are text and not bytes: "." is a character. What is not UTF-8 is not
//     matched by name.
//   - "$" is the very end, also where a line break is the last character.
//   - (?i) folds all of Unicode.
//   - Recursion, branch reset, callouts and the escapes \h \H \R \X \K \N \C are
//     invalid, which [ValidatePattern] says when the permission is set.
//   - "-[" in a character class of a pattern that needs backtracking takes the
//     inner class away from the outer one.
//   - A variable's value is literal; RabbitMQ splices it in as a part of the
//     pattern. Where a variable has no value, nothing matches.
//   - For MQTT clients {client_id} and {username} are what the identifier and the
//     name are as a level of a topic, which is one word of a routing key: the name
//     a.b is a/b there. One that could not be a level, with a slash or a wildcard in
//     it, is no value: it would reach into the topics of others.
//
// # Vocabulary
//
// Mechanism, response, authentication identity and authorization identity are
// those of SASL (RFC 4422); SCRAM's words are those of RFC 5802. A Principal is
// the identity the broker acts on. Users, permissions, tags and limits are
// [core.Access]'s, which keeps hashes and patterns without knowing what they mean.
//
// # Who owns what
//
// Parsed credentials are strings of their own and outlive the response they
// came from. Authenticators and authorizers are safe for concurrent use; a
// [SCRAMExchange] is for one goroutine. The package starts no goroutine of its
// own but the key set's refresh of a [JWT], which its Close ends; a match with
// backtracking keeps a clock running for a second.
package auth
