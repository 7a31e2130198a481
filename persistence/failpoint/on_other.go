//go:build failpoint && !linux

package failpoint

import (
	"errors"
	"fmt"
	"os"
)

func killSelf() error {
	p, err := os.FindProcess(os.Getpid())
	if err == nil {
		err = p.Kill()
	}
	if err != nil {
		return fmt.Errorf("fail point: kill this process: %w", err)
	}
	select {} // the end is on its way
}

func stopSelf() error { return errors.New("fail point: a process cannot be stopped here") }
