package core

// idQuarter is how many ids have their record together. An id under which a message goes out at least once has none of its own, only the
// quarter of the ring that it lies in has: it is part of the subscriber's definition, which each link records anyway before anything is
// handed over. A broker that takes over goes on half the ring away from there. So a late answer to what its predecessor sent, which
// the new link cannot tell from one to what it sent itself, finds nothing under its id.
const idQuarter = 1 << 14

// newID returns an id that nothing has [MQTT-2.2.1-4] [MQTT-4.3.2-1] [MQTT-4.3.3-1]. There is one: what is carried goes out before what has no id yet, so that the window, which is
// smaller than the number of ids, holds all that have one. sub.mu is held.
func (sub *Subscriber) newID() uint16 {
	for {
		sub.lastID++
		if sub.lastID == 0 || sub.out.get(sub.lastID) != nil {
			continue
		}
		if _, ok := sub.reserved[sub.lastID]; !ok {
			sub.noteQuarter()
			return sub.lastID
		}
	}
}

// noteQuarter has the quarter recorded that lastID has come to. Nothing waits for that: what is recorded is at most a little behind.
// sub.mu is held, and below vhost.mu.
func (sub *Subscriber) noteQuarter() {
	now := uint8(sub.lastID / idQuarter)
	if !sub.durable || now == sub.quarter {
		return
	}
	sub.quarter = now
	sub.vhost.broker.after(0, func() {
		v := sub.vhost
		v.mu.Lock()
		defer v.mu.Unlock()
		if !sub.ended {
			v.commit(true, sub.definition())
		}
	})
}

// recordedQuarter is the quarter that a definition made now tells of.
func (sub *Subscriber) recordedQuarter() uint8 {
	sub.mu.Lock()
	defer sub.mu.Unlock()
	sub.quarter = uint8(sub.lastID / idQuarter)
	return sub.quarter
}

// resumeIDs begins half the ring away from a quarter in which another broker gave out ids.
func (sub *Subscriber) resumeIDs(quarter uint8) {
	sub.lastID = (uint16(quarter) + 2) % 4 * idQuarter
	sub.quarter = quarter
}
