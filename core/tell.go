package core

// Awaits returns the vhosts where some subscription, or binding of the topic exchange, begins with the word.
func (b *Broker) Awaits(word string) (vhosts []string) {
	for _, v := range b.vhosts.Load().all() {
		if table, ok := (*v.exchange(TopicExchange).table.Load()).(topicRouter); ok && table.root != nil {
			if _, ok := table.root.words.get(word); ok {
				vhosts = append(vhosts, v.name)
			}
		}
	}
	return vhosts
}

// Tell hands m, which is nobody's publication, to the subscribers of a vhost that are there and whose own subscriptions it matches: at
// most once. It goes to no queue, is not kept and is nowhere on record.
func (b *Broker) Tell(vhost string, m *Message) (told int) {
	v := b.vhost(vhost)
	if v == nil {
		return 0
	}
	s := v.session()
	for _, edge := range (*v.exchange(TopicExchange).table.Load()).match(m, nil, nil) {
		if n := edge.subscription; n != nil && n.sub != nil {
			s.reach(n, m)
		}
	}
	for i := range s.pushes {
		p := &s.pushes[i]
		p.match.finish(m)
		if l := p.sub.link.Load(); l != nil && l.started.Load() && l.receiver.Ready() {
			l.receiver.Push(m, &p.match)
			told++
		}
	}
	return told
}
