package core

// Reach is where a message goes.
type Reach struct {
	Exchanges   []string // that it passes, in the order in which it comes to them; the default one is none
	Queues      []string // that keep it, those of subscribers and of shared subscriptions included
	Subscribers []string // that are handed it once at most, if they are there
	Shared      []string // the queues of shared subscriptions that hand it once at most to one of theirs
}

// Nobody reports whether the message is unroutable.
func (r *Reach) Nobody() bool { return len(r.Queues)+len(r.Subscribers)+len(r.Shared) == 0 }

// Reach tells where m would go if it were published now, and answers as Publish does where the session's user may not publish it or
// there is no such exchange. Nothing is published; delays and de-duplication are not looked at. Exchanges that choose at random may choose
// otherwise the next time.
func (s *Session) Reach(m *Message) (Reach, error) {
	if s.opt.Access != nil {
		if err := s.mayPublish(m); err != nil {
			return Reach{}, err
		}
	}
	if err := s.route(m); err != nil {
		return Reach{}, err
	}
	var r Reach
	if m.Exchange != "" {
		for _, x := range s.visited {
			r.Exchanges = append(r.Exchanges, x.spec.Name)
		}
	}
	for _, q := range s.targets {
		r.Queues = append(r.Queues, q.spec.Name)
	}
	for i := range s.pushes {
		r.Subscribers = append(r.Subscribers, s.pushes[i].sub.name)
	}
	for _, g := range s.shared {
		r.Shared = append(r.Shared, g.queue.spec.Name)
	}
	return r, nil
}
