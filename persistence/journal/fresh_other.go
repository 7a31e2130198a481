//go:build !linux

package journal

// FreshFiles is OSFiles: reading past the cache is known on Linux only, and a standby that would need it is refused elsewhere.
func FreshFiles() Files { return osFiles{} }
