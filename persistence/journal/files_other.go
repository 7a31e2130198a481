//go:build !linux && !windows

package journal

import (
	"errors"
	"os"
)

// syncData is a full sync: fdatasync is not to be had everywhere, and on darwin only os.File.Sync reaches the medium.
func syncData(f *os.File) error { return f.Sync() }

// freeBytes is unknown here; a full disk then shows as a failed write.
func freeBytes(string) (int64, bool, error) { return 0, false, nil }

// allocate is not to be had everywhere.
func allocate(*os.File, int64) error { return errors.ErrUnsupported }

// overwritesInPlace was not measured here.
func overwritesInPlace(string) bool { return false }

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
