package main

import (
	"errors"

	"github.com/batonmq/baton/ha"
	"github.com/batonmq/baton/persistence"
	"github.com/batonmq/baton/protocols/listen"
)

// An exitCode is what the process tells its supervisor. The numbers are stable.
type exitCode int

// Exit codes.
const (
	exitOK      exitCode = 0
	exitFailure exitCode = 1 // anything that has no code of its own
	exitUsage   exitCode = 2 // unknown flag or command, bad configuration
	exitLost    exitCode = 3 // the lease was lost or the store failed; start again, as a standby
	exitAddress exitCode = 4 // an address is in use or cannot be opened
	exitData    exitCode = 5 // the data directory is unusable, or another broker holds it
	exitNewer   exitCode = 6 // the data directory was written by a newer version
	exitDamage  exitCode = 7 // the data directory is damaged; the message names the file

	exitSignal exitCode = 128 // and the number of the signal that ended the child of process 1
)

// exitCodes documents them, for `serve --help` and docs/configuration.md.
func exitCodes() []struct {
	Code exitCode
	Doc  string
} {
	return []struct {
		Code exitCode
		Doc  string
	}{
		{exitOK, "stopped as asked, or the command succeeded"},
		{exitFailure, "failed; also: not live or not ready (`health`), stopped by a second signal or after `stop_timeout`"},
		{exitUsage, "unknown command or flag, or a bad configuration"},
		{exitLost, "the lease was lost or the store failed: start it again, with `--ha` as a standby"},
		{exitAddress, "an address is in use or cannot be opened"},
		{exitData, "the data directory is unusable or cannot be shared, another broker holds it or has this node's name"},
		{exitNewer, "the data directory was written by a newer version of Baton"},
		{exitDamage, "the data directory is damaged; the message names the file"},
		{exitSignal + 9, "killed, as by the kernel timer of `--ha` when the process was frozen: start it again"},
	}
}

// An exitError is an error that has been given its code where it was understood.
type exitError struct {
	code exitCode
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// codeOf is the one place that turns an error into an exit code.
func codeOf(err error) exitCode {
	if err == nil {
		return exitOK
	}
	if errors.Is(err, ha.ErrLost) { // whatever it broke on its way: a supervisor starts the node again
		return exitLost
	}
	if e, ok := errors.AsType[*exitError](err); ok {
		return e.code
	}
	if _, ok := errors.AsType[*listen.AddressError](err); ok {
		return exitAddress
	}
	if _, ok := errors.AsType[*persistence.DamageError](err); ok {
		return exitDamage
	}
	switch {
	case errors.Is(err, ha.ErrHeld), errors.Is(err, ha.ErrStale), errors.Is(err, ha.ErrNamesake):
		return exitData
	case errors.Is(err, ha.ErrNewer), errors.Is(err, persistence.ErrNewer):
		return exitNewer
	case errors.Is(err, ha.ErrDamage), errors.Is(err, persistence.ErrOrphans):
		return exitDamage
	}
	return exitFailure
}
