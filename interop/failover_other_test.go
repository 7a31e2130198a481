//go:build !unix

package interop

import "syscall"

// There are no such signals here, and no clusters: see newCluster.
const (
	sigStop = syscall.SIGKILL
	sigCont = syscall.SIGKILL
)
