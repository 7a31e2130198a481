//go:build !linux

package bench

import "time"

func readProc(int) (procStat, error) { return procStat{}, errNoProc }

func readBusy() (time.Duration, error) { return 0, errNoProc }
