package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

// startRoom is how much openDataDir writes to see that there is room: more than
// the files that a start needs before the store measures the space itself.
const startRoom = 64 << 10

// openDataDir makes the data directory where it is absent and sees that files
// can be made and filled in it, so that the common mistakes of a first start are
// one sentence instead of the first error of whoever needs the directory first.
// checkSpace is asked before anything is written but the directory itself.
func openDataDir(dir string, checkSpace func() error) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return dataDirError(dir, err)
	}
	if err := checkSpace(); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".writable-*")
	if err != nil {
		return dataDirError(dir, err)
	}
	_, err = f.Write(make([]byte, startRoom))
	if err == nil {
		err = f.Sync() // some file systems notice only now that there is no room
	}
	if err := errors.Join(err, f.Close(), os.Remove(f.Name())); err != nil {
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
	return adviseRoom(dir, fmt.Errorf("data directory %s: %w", dir, err))
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}

// dirError gives an error about a file its exit code, unless it has one. Every
// file that serve opens is in the data directory dir.
func dirError(dir string, err error) error {
	err = adviseRoom(dir, err)
	if codeOf(err) != exitFailure || !isFileError(err) {
		return err
	}
	return &exitError{exitData, err}
}

func isFileError(err error) bool {
	_, path := errors.AsType[*fs.PathError](err)
	_, link := errors.AsType[*os.LinkError](err)
	return path || link
}

// adviseRoom says what to do where the disk is full.
func adviseRoom(dir string, err error) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return fmt.Errorf("%w: make room on the disk of %s, and start again", err, dir)
}
