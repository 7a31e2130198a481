// Package wire is the AMQP 0-9-1 codec: pure functions between byte slices and
// frames, methods and content. It does no I/O, starts nothing, keeps no state
// and knows nothing of the broker behind it.
//
// # Vocabulary
//
// The words are the specification's (AMQP 0-9-1 sections 2.3 and 4.2): a frame
// carries a method, a content header, a piece of a content body or nothing (a
// heartbeat); some methods are followed by content, which is one header frame
// and as many body frames as the body needs. frame_max is the negotiated limit
// of a whole frame, its seven bytes of header and its end byte included.
//
//	0      1         3             7                  size+7 size+8
//	+------+---------+-------------+  +------------+  +-----------+
//	| type | channel |     size    |  |  payload   |  | frame-end |
//	+------+---------+-------------+  +------------+  +-----------+
//	 octet    short        long        size octets     octet 0xCE
//
// # Ownership
//
// The caller owns every buffer. What a Parse function returns aliases its input
// and lives as long as that does: [Frame.Payload], [Publish], [ContentHeader].
// What [DecodeMethod] returns shares no memory with its input. Append functions
// follow append's convention; on error they return dst as it was given.
//
// # Two ways for the busy methods
//
// Each method has a struct with a plain codec generated from
// internal/gen/spec.txt. What is sent or received once per message has in
// addition a hand-written form that does not allocate; the tests hold both forms
// to the same bytes.
//
// # Guarantees
//
// Input may be hostile. Nothing panics on it or reads outside of it, allocation
// is proportional to the bytes that have arrived and never to a length they
// announce, and an announced frame larger than frame_max is refused from its
// first seven bytes. Every refusal is an [*Error] with the reply code the
// specification or RabbitMQ gives it.
//
// # Not guaranteed
//
// Order and meaning: whether a frame may come now, whether a channel is open,
// whether a body is as long as its header says, whether a name is allowed.
// Short strings are not checked to be UTF-8. Reserved fields are written as zero
// and ignored when read.
package wire

//go:generate go run ./internal/gen -o methods_gen.go
