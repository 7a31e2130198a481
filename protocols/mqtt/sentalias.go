package mqtt

import "github.com/batonmq/baton/protocols/mqtt/wire"

const (
	// maxSentAliases is how many topic aliases a client is sent at most, however
	// many it takes, and maxAliasedTopic the longest topic that gets one: what a
	// connection keeps for them stays below 64 KiB.
	maxSentAliases  = 128
	maxAliasedTopic = 256

	// aliasSize is what the property takes: for a topic of no more, an alias
	// saves nothing.
	aliasSize = 3
)

// sentAliases are the topic aliases of the deliveries on one connection, of a
// client that takes some (section 3.3.2.3.4). Topics get them as they come until
// all are given away, and keep them: a client that is sent few topics is sent
// aliases alone, and one that is sent very many pays nothing for it.
//
// They belong to whoever holds the outbox's lock. A topic is noted there when
// the packet that introduces its alias is in the outbox, behind which those that
// use it come: the client cannot see an alias that it does not know. None is
// known on the next connection, where what comes again has its topic
// [MQTT-3.3.2-7].
type sentAliases struct {
	most   int // [MQTT-3.1.2-26] [MQTT-3.3.2-11]
	topics map[string]uint16
}

// newSentAliases returns nil for a client that takes none [MQTT-3.1.2-27].
func newSentAliases(most uint16) *sentAliases {
	if most == 0 {
		return nil
	}
	return &sentAliases{most: min(int(most), maxSentAliases)}
}

// apply gives d an alias, in place of its topic or beside it. limit is the size
// of the largest packet that the client accepts.
func (a *sentAliases) apply(d *wire.Delivery, limit uint32) (introduced bool) {
	if len(d.Topic) <= aliasSize || len(d.Topic) > maxAliasedTopic {
		return false
	}
	if alias, ok := a.topics[string(d.Topic)]; ok {
		d.TopicAlias, d.Topic = alias, nil
		return false
	}
	if len(a.topics) == a.most {
		return false
	}
	d.TopicAlias = uint16(len(a.topics) + 1)
	if uint64(d.Size(wire.V5)) > uint64(min(limit, maxPacketSize)) {
		d.TopicAlias = 0
		return false
	}
	return true
}

// introduce notes the alias of a topic that the client is sure to be sent.
func (a *sentAliases) introduce(topic []byte) {
	if a.topics == nil {
		a.topics = make(map[string]uint16)
	}
	a.topics[string(topic)] = uint16(len(a.topics) + 1)
}
