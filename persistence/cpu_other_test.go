//go:build !linux

package persistence

import "time"

// processCPU is not known here.
func processCPU() time.Duration { return 0 }
