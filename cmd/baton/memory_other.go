//go:build !linux

package main

// hostMemory is not asked on this system: memory.limit tells it.
func hostMemory() (limit int64, from string) { return 0, "" }

// residentMemory is not asked on this system: what Go has taken is known.
func residentMemory() (int64, bool) { return 0, false }
