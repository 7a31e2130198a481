// Package interop drives the real binary, as a process on loopback, with the
// clients that applications use.
//
// # What it guarantees
//
// A test that passes here has seen the behaviour from outside: through a socket, a
// signal, an exit code or a log line. Nothing of Baton is imported. Every broker
// that a test starts is a process of its own in a directory of its own, on ports
// that were free, and is ended by its process id when the test ends; its log is
// kept among the test's artifacts (go test -artifacts) and shown when the broker
// does not start.
//
// # What it does not
//
// A kill -9 leaves what the operating system holds in its cache, so that these
// tests prove order and completeness of what was promised, not that it was synced;
// the crash tests of the persistence packages do that.
//
// # Vocabulary
//
// A life is the time between two starts of a broker on one directory. A History is
// what clients observed over several lives, in order; History.Check says whether a
// broker that keeps its promises could have caused it. An acknowledgement has
// passed when an answer that was promised after it came back (see consumer.mark).
//
// # Environment
//
// BATON_INTEROP_URL=amqp://… points the tests that neither end a broker nor look
// into it at one that runs already, also at another make; those that must own the
// process are skipped then. BATON_INTEROP_MQTT=mqtt://… and BATON_INTEROP_WS=ws://…
// do the same for the tests that speak MQTT alone. BATON_INTEROP_BINARY=path starts
// a binary that was built before. BATON_INTEROP_SEED=N repeats the moments at which a
// test kills, as far as the machine allows.
package interop
