//go:build !linux && !darwin && !freebsd

package ha

import (
	"errors"
	"os"
)

// Nothing is known here about fresh reads, so standing by is refused, and no
// lock survives the renaming of its directory, so that whether a holder lives is
// told by its counter alone.
const directFlag = 0

func freshness(string) (Freshness, error) { return Stale, nil }

// syncDir does nothing: a directory cannot be opened to be synced here, and its
// entries are journalled by the file system.
func syncDir(string) error { return nil }

func syncData(f *os.File) error { return f.Sync() }

func lockFile(*os.File) error { return errors.ErrUnsupported }

func lockedFile(*os.File) (bool, error) { return false, errors.ErrUnsupported }

// StaleReason knows of no file system here that could be made fresh.
func StaleReason(string) string { return "" }
