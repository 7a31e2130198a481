package main

import (
	"os"
	"testing"

	"github.com/batonmq/baton/ha/storagecheck"
)

// TestMain lets the test binary be what the program starts of itself.
func TestMain(m *testing.M) {
	if code, ok := storagecheck.Child(); ok {
		os.Exit(code)
	}
	if os.Getenv(runVariable) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// runVariable has the test binary be the program. It has no prefix of settings, which a drill takes from its brokers.
const runVariable = "RUN_AS_BATON"
