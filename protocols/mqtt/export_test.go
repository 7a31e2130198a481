package mqtt

import (
	"math"
	"time"
)

// SetSilence has connections doze that have been silent for d, for tests that do not
// want to wait for that. No connection is open yet.
func (s *Server) SetSilence(d time.Duration) { s.silence = d }

// LetFight has no connection wait that takes over another, however often that happens. No
// connection is open yet.
func (s *Server) LetFight() { s.fights.free = math.MaxInt }
