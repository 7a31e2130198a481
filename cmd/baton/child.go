package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// errSaid is of a child that has said itself why it ended.
var errSaid = errors.New("the child process has failed")

// runAsChild runs the program again as a child of this process, which the kernel
// would not kill (see [ha.NeedsChild]), and ends as the child does. What asks this
// process to stop or to read its configuration again is passed on.
func (p *program) runAsChild(ctx context.Context, name string) error {
	cmd := exec.CommandContext(context.WithoutCancel(ctx), name, p.args...) // an end of ctx is passed on as SIGTERM
	cmd.Env, cmd.Stdout, cmd.Stderr = p.env, p.stdout, p.stderr
	cmd.SysProcAttr = childAttributes()
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("run the broker as a child of process 1: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	asked := ctx.Done()
	for {
		var s os.Signal
		select {
		case err := <-ended:
			return childError(err)
		case <-asked:
			s, asked = syscall.SIGTERM, nil
		case s = <-p.reload:
		}
		_ = cmd.Process.Signal(s) // unless it has ended, which ended tells
	}
}

// childError gives the end of a child the exit code that a shell would give it.
func childError(err error) error {
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err // nil, or its output could not be passed on
	}
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return &exitError{exitSignal + exitCode(status.Signal()), fmt.Errorf("the broker was ended by a signal: %v", status.Signal())}
	}
	return &exitError{exitCode(exit.ExitCode()), errSaid}
}
