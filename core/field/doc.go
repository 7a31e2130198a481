// Package field is the value model that the core, the store and the protocol
// front-ends share: typed tables ([Table]) and message properties
// ([Properties]), with one binary form for each.
//
// # Vocabulary
//
// A value is one of the Go types listed at [Field]; each stands for exactly one
// AMQP 0-9-1 field type. A table is an ordered list of keys and values in which
// a key may occur more than once. A property block is the binary form of a
// message's properties. "Raw" means the binary form, not yet parsed.
//
// # Binary form
//
// The forms below are Baton's own format: they are stored, and every front-end
// converts to and from them. They are laid out exactly as AMQP 0-9-1 sections
// 4.2.5.5 and 4.2.6.1 lay out a field table and the property part of a content
// header, because AMQP's is the larger model and the AMQP front-end can then
// pass blocks through without touching them. All integers are big-endian.
//
//	table          = length:u32 *(key value)           length counts what follows it
//	key            = length:u8 bytes
//	value          = type:u8 content
//	property block = flags:u16 *property               properties in flag order
//
//	type  content                   Go type
//	't'   u8, 0 is false            bool
//	'b'   i8                        int8
//	'B'   u8                        uint8
//	's'   i16                       int16
//	'u'   u16                       uint16
//	'I'   i32                       int32
//	'i'   u32                       uint32
//	'l'   i64                       int64       ('L' is read as 'l')
//	'f'   IEEE 754, 4 bytes         float32
//	'd'   IEEE 754, 8 bytes         float64
//	'D'   scale:u8 value:i32        Decimal
//	'S'   length:u32 bytes          string
//	'x'   length:u32 bytes          []byte
//	'A'   length:u32 *value         []any
//	'F'   table                     Table
//	'T'   i64, seconds since 1970   Timestamp
//	'V'   nothing                   nil
//
// The letters are those that RabbitMQ and its clients use where the
// specification's own list differs (AMQP 0-9-1 errata).
//
// # Guarantees
//
// Input may be hostile. Nothing here panics or reads outside its argument, and
// whatever a Parse function accepts or refuses, the Check function of the same
// form does too, because Parse starts with it. Check functions do not allocate;
// Parse functions allocate in proportion to the length of what they read, never
// to a length it merely announces, and nothing at all for input they refuse.
// Tables and arrays nest at most [MaxDepth] deep, in both directions.
//
// Results of Parse functions share no memory with their input. Slices in a
// [Summary] do: it is as short-lived as the block it describes.
//
// # Not guaranteed
//
// Strings are bytes: whether they are UTF-8 is not looked at. Parsing and
// appending again need not give the same bytes ('L' becomes 'l', any true
// becomes 1), but it gives the same values. Nothing here interprets a property
// beyond what [Summary] says: an expiration may be any text.
package field
