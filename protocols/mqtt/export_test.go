package mqtt

import "time"

// SetSilence has connections doze that have been silent for d, for tests that do not
// want to wait for that. No connection is open yet.
func (s *Server) SetSilence(d time.Duration) { s.silence = d }
