// Package wire is the codec of MQTT 3.1, 3.1.1 and 5.0 as a server needs it:
// pure functions between byte slices and packets. It does no I/O, starts
// nothing, keeps no state and knows nothing of the broker behind it.
//
// # Vocabulary
//
// The words are the specification's. A packet is a fixed header, a variable
// header and a payload; a [Frame] is one packet split after its fixed header,
// so that its body is the variable header and the payload. A property section
// is the list of properties of an MQTT 5 packet without the length in front of
// it. What a server receives is parsed or decoded, what it sends is appended; a
// PUBLISH that arrives is a [Publish], one that leaves is a [Delivery].
//
//	 0        1 .. 4
//	+--------+------------------+  +------------------------+
//	|type|fl.| remaining length |  |          body          |
//	+--------+------------------+  +------------------------+
//	 4 + 4    variable byte         remaining length octets
//	 bits     integer
//
// Statements of the form [MQTT-x.y.z-n] refer to MQTT 5.0, those of the form
// [MQTT-3.1.1 x.y.z-n] to MQTT 3.1.1.
//
// # Ownership
//
// The caller owns every buffer. What a Parse function returns aliases its input
// and lives as long as that does: [Frame], [Publish], [Ack]. What a Decode
// function returns shares no memory with its input. Append functions follow
// append's convention; on error they return dst as it was given.
//
// # What is read and what is written
//
// Everything is read by hand, in one pass that checks as it goes: lengths, flags,
// which properties may be there and how often, their values, UTF-8. PUBLISH and
// the four acknowledgements are written by hand, too, and neither allocates. The
// other packets that a server sends are written by mochi's codec, which is wrapped:
// it fits a packet to the receiver's maximum size by an estimate, and cuts lengths
// above 65,535 to 16 bits; sizes are exact here and over-long texts shortened.
// Tests hold what is read to what mochi reads.
//
// mochi's types do not appear in this package's API.
//
// # Guarantees
//
// Input may be hostile. Nothing panics on it or reads outside of it. An
// announced packet larger than the caller's maximum is refused from its fixed
// header. Allocation is proportional to the bytes that have arrived: at most 16
// times as much, for filters without a byte. What a packet can be made of many of,
// filters and user properties, is limited to [MaxItems] a packet, because one takes
// more room in memory than on the wire. User properties stay where they are: of
// packets other than PUBLISH and of wills they are checked and forgotten.
// Every refusal is an [*Error] with the reason code that MQTT 5.0 gives it.
//
// # Not guaranteed
//
// Order and meaning: whether a packet may come now, whether a packet identifier
// is free, whether a topic alias is known or within the agreed maximum, whether
// a DISCONNECT may set a session expiry, whether the client may do what it asks. Whether a filter is well formed is a question
// of its own ([ValidFilter]), because a SUBSCRIBE is answered filter by filter.
//
// MQTT 3.1 left room that later versions closed, and its clients use it: where
// the version is 3.1, DUP is accepted on PUBREL, SUBSCRIBE and UNSUBSCRIBE,
// unused bits are ignored, a user name or password may be missing at the end
// although announced, and a client identifier may be longer than 23 bytes. In
// every version a remaining length may be padded to four bytes, as small
// clients send it; the integers inside an MQTT 5 packet may not.
package wire
