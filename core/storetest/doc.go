// Package storetest is the suite that every core.Store must pass: one test for each promise of core.Store, and a random one against a
// plain map with clean and unclean ends.
//
// # What it guarantees
//
// A store that passes has kept, in these tests, every sentence of core.Store's documentation. A test's name says which.
//
// # What it does not guarantee
//
//   - Nothing is said about speed, space or files: a store's own tests do that.
//   - A crash is what the Harness makes of it. What a disk loses or garbles is for the store's own tests too.
//
// # Vocabulary
//
// A unit is the ops of one call of Commit. A clean end is Close; an unclean one is Harness.Crash.
//
// # Who owns what
//
// The suite owns the stores that it opens: it closes or crashes each of them before it opens the next on the same Harness, and the
// last one before the test ends.
package storetest
