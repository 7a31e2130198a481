package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"github.com/batonmq/baton/ha/storagecheck"
)

// errSignal is the cause of an orderly stop.
var errSignal = errors.New("asked to stop by a signal")

func main() {
	if code, ok := storagecheck.Child(); ok {
		os.Exit(code)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() { // lives as long as the process
		<-signals
		cancel(errSignal)
		<-signals
		os.Exit(int(exitFailure)) // somebody is impatient; what was promised is on disk
	}()
	reload := make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP) // never comes on Windows
	p := program{name: os.Args[0], args: os.Args[1:], env: os.Environ(), reload: reload, stdout: os.Stdout, stderr: os.Stderr}
	os.Exit(int(p.run(ctx)))
}
