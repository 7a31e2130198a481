// Package conformance tells how Baton conforms to MQTT 5.0 and MQTT 3.1.1,
// statement by statement, in docs/mqtt-conformance.md. Nothing of it is in the
// broker.
//
// # What it guarantees
//
//   - Every normative statement of both standards is in the document, with whom
//     it binds, what it asks for, the files that obey it and the tests that show
//     it. The lists are mqtt5.txt and mqtt311.txt.
//   - A statement that binds a server has a file and a test, or a remark in its
//     list that says why it has none or what is not obeyed. A remark that says
//     nothing of the kind any more is an error, as is a tag that names no
//     statement, and a document that is not what the tags say.
//
// # What it does not guarantee
//
//   - That a test shows what its tag says: that is for its reader to judge.
//   - Anything of MQTT 3.1, which numbers no statements.
//
// # Tags
//
// A tag is [MQTT-x.y.z-n] for a statement of MQTT 5.0, and
// [MQTT-3.1.1 x.y.z-n] for one of MQTT 3.1.1.
//
// In a comment of a file, other than doc.go, it says that the statement is
// obeyed there; ![MQTT-x.y.z-n] says that it is not, in some case, which the
// remark names. In a test file, in a comment or a string of a Test or Fuzz
// function or in the comment above it, it says that this function shows the
// statement. Elsewhere in a test file it says nothing, but has to name a
// statement all the same.
//
// A statement of MQTT 3.1.1 that is in MQTT 5.0 too, with another number or the
// same, is obeyed where that one is. It has to be shown for itself.
package conformance

//go:generate go test -run ^TestDocumentIsCurrent$ . -rewrite
