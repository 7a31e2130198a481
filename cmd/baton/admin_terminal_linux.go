package main

import "golang.org/x/sys/unix"

// The requests that read and change a terminal's modes.
const (
	getTermios = unix.TCGETS
	setTermios = unix.TCSETS
)
