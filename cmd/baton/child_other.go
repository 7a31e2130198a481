//go:build !linux

package main

import "syscall"

// childAttributes are the usual ones: only Linux needs a child at all.
func childAttributes() *syscall.SysProcAttr { return nil }
