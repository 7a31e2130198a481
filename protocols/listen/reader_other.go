//go:build !unix

package listen

// openRaw leaves raw nil: these systems' RawConn does not wait for readiness,
// so a read needs its buffer beforehand.
func (r *Reader) openRaw() {}
