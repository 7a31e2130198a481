//go:build !linux

package interop

import (
	"os"
	"testing"
	"time"
)

// residentSet is not known here; the heap and the goroutines are checked all the same.
func residentSet(testing.TB, int) int { return 0 }

func peakResident(testing.TB, int) int { return 0 }

func processorTime(testing.TB, int) time.Duration { return 0 }

func blocks(fi os.FileInfo) int64 { return fi.Size() }
