//go:build !linux

package bench

import "time"

func readProc(int) (procStat, error) { return procStat{}, errNoProc }

func readMembers(pid int) []int { return []int{pid} }

func readFamily([]int) (family, error) { return family{}, errNoProc }

func readBusy() (time.Duration, error) { return 0, errNoProc }
