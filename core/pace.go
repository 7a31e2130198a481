package core

// A pace divides what takes long in one go, so that other connections get on meanwhile: the topic of one message may match ten
// thousand patterns in very many ways. nil does not divide: who holds a lock that others may wait for must be done with it.
type pace struct {
	giveWay func()
	done    int // since it was last called
}

// piece is about how much is done in a millisecond, of what takes some tens of nanoseconds each.
const piece = 16_384

// did says that so much was done.
func (p *pace) did(n int) {
	if p == nil {
		return
	}
	if p.done += n; p.done >= piece {
		p.done = 0
		p.giveWay()
	}
}

// routePaced is route for who holds no lock.
func (s *Session) routePaced(m *Message) error {
	s.paced = m.Exchange != "" && s.broker.opt.GiveWay != nil
	err := s.route(m)
	s.paced = false
	return err
}

// pacing returns the session's pace while that may divide what it does.
func (s *Session) pacing() *pace {
	if !s.paced {
		return nil
	}
	if s.pace == nil {
		s.pace = &pace{giveWay: s.broker.opt.GiveWay}
	}
	return s.pace
}
