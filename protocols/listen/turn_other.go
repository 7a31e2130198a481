//go:build !unix

package listen

// openRaw leaves raw nil: see Reader.openRaw.
func (c *fairConn) openRaw() {}
