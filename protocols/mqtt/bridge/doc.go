// Package bridge translates between MQTT's topics and properties and those of
// the engine, whose model is AMQP's: topics and routing keys, topic filters and
// binding patterns, the properties of a PUBLISH and property blocks (package
// field). It is pure functions; it holds no state and routes nothing.
//
// # Vocabulary
//
// A topic has levels between slashes, a routing key has words between dots. A
// level stands for a word and the other way round, one for one and in order, so
// that what matches by level matches by word.
//
// # Topics and routing keys
//
// For nearly all topics the rule is RabbitMQ's, slash for dot: a/b is a.b. To
// lose nothing, three things are added:
//
//   - Slash and dot change places, in both directions: the topic v1.2/x is the
//     key v1/2.x.
//
//   - A level that is a lone asterisk is the word +, and the word + is the level
//     *: as a pattern the word * would match every word.
//
//   - A word that cannot be a level is written as \x and its bytes in
//     hexadecimal, in lower case: the key irc.#go is the topic irc/\x23676f.
//     Such are words with #, with + beside other bytes, with NUL or with bytes
//     that are not UTF-8, and the word *. So is a word that would otherwise look
//     like another's escaped form. The empty key is the topic \x.
//
//     topic          routing key       topic          routing key
//     a/b            a.b               a/\x23         a.#
//     /a//           .a..              a/\x2a         a.*
//     v1.2/x         v1/2.x            a/\x612b62     a.a+b
//     a/*            a.+               a/\x           a.\x
//     a/b*           a.b*              \x             (the empty key)
//
// This is a bijection: every topic name has one key, every byte string is the
// key of one topic, and both come back as they went.
//
// # Filters and patterns
//
// A filter becomes a pattern by the same rule, level by level, with + for * and
// # for #. The engine's topic matching on the pattern and the key then equals
// MQTT's on the filter and the topic: # also takes the parent (sport/# matches
// sport), + takes an empty level. What is left:
//
//   - Topics that begin with $ are not matched by filters that begin with a
//     wildcard [MQTT-4.7.2-1]. The engine does not know this rule, and AMQP's
//     bindings must not have it. Whoever gives a matched message to an MQTT
//     subscription has to drop it where [Hidden] says so; the mapping leaves a
//     leading $ alone, so this can be asked of topics and keys alike.
//   - AMQP has no way to write a pattern that matches the words * and # only.
//     A filter with the level \x2a or \x23 is refused with [ErrFilter]; + and #
//     match these words as any other. The same error meets the two-level filter
//     \x/# and its escaped relatives, which would have to be two patterns.
//   - The empty key has no word, so that # matches it and + does not, although
//     its topic has a level.
//
// # Properties
//
// What an AMQP client sees of an MQTT message, and the other way round, is
// RabbitMQ's mapping:
//
//	MQTT                     property block
//	QoS 0 / 1 and 2          delivery_mode 1 / 2
//	Content Type             content_type, if ASCII of at most 255 bytes
//	Correlation Data         correlation_id, if UTF-8 of at most 255 bytes, else
//	                         header x-correlation-id
//	Response Topic           header x-reply-to-topic, as a routing key
//	Message Expiry Interval  expiration, in milliseconds, as it was published
//	User Property            header of type long string, in order
//
// and in addition, so that MQTT clients get back what MQTT clients sent:
//
//	QoS 2                    header x-mqtt-publish-qos, 2
//	RETAIN                   header x-mqtt-retain, true
//	Payload Format           header x-mqtt-payload-format
//	any that fit nowhere     header x-mqtt-properties: the whole property
//	                         section, which then is what counts on the way back
//
// The last is for a content type that is longer or not ASCII, and for a user
// property whose name is longer than 255 bytes or that of one of these headers.
// Properties reach MQTT subscribers unaltered and user properties in order and
// with their duplicates; other properties come in an order of ours. The expiry
// interval is what the engine says is left of the message's time, in seconds,
// rounded up.
//
// From AMQP, headers that are text, numbers, booleans or timestamps become user
// properties as text; others have no MQTT form and are left out, as are
// properties the table does not name. A reply_to of the form
// /exchanges/amq.topic/key, with the key percent-encoded, is a response topic.
// x-mqtt-retain set by an AMQP publisher asks for a retained message.
//
// # Not guaranteed
//
// Whether topics and filters are well formed is package wire's to say; here any
// string translates. Lengths are not bounded: an escaped key may exceed what a
// topic can hold, and a topic what AMQP's short string can.
package bridge
