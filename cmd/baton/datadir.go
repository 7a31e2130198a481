package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// openDataDir makes the data directory where it is absent and sees that files
// can be made in it, so that the one common mistake of a first start is one
// sentence instead of the first error of whoever needs the directory first.
func openDataDir(dir string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return dataDirError(dir, err)
	}
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return dataDirError(dir, err)
	}
	if err := errors.Join(f.Close(), os.Remove(f.Name())); err != nil {
		return dataDirError(dir, err)
	}
	return nil
}

func dataDirError(dir string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("data directory %s is not writable for this user (uid %d): change its owner, or choose another with --data", dir, os.Getuid())
	case isFile(dir):
		return fmt.Errorf("data directory %s is a file: choose another with --data", dir)
	}
	return fmt.Errorf("data directory %s: %w", dir, err)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}
