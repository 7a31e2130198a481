//go:build !unix

package main

import "io/fs"

// onlyOwnerWrites cannot be told from a mode here; the directory is the user's own
// by where it is.
func onlyOwnerWrites(fs.FileInfo) bool { return true }
