package ha

import "time"

// bootReading is a reading of a clock that all processes of one boot of a host
// share, and that goes on while the host is suspended. The zero reading is that of
// a host that has none.
type bootReading struct {
	boot [16]byte // which boot of which host
	at   time.Duration
}

// since is how long before r was. False: they are not of one boot.
func (r bootReading) since(before bootReading) (time.Duration, bool) {
	if r.boot == [16]byte{} || r.boot != before.boot || r.at < before.at {
		return 0, false
	}
	return r.at - before.at, true
}
