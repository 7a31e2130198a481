// Package authtest has an authenticator for tests of front-ends.
//
// # What it guarantees
//
// [Guest] answers at once and the same to whoever asks again.
//
// # What it does not guarantee
//
// To be of use outside tests: it compares passwords in a time that tells about
// them, and its user may do everything.
package authtest
