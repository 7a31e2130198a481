package listen

import (
	"errors"
	"syscall"
)

// Winsock's own numbers: package syscall's portable names for them are
// inventions that the system never returns.
const (
	wsaEAFNOSUPPORT  syscall.Errno = 10047
	wsaEADDRINUSE    syscall.Errno = 10048
	wsaEADDRNOTAVAIL syscall.Errno = 10049
	wsaECONNREFUSED  syscall.Errno = 10061
)

func isInUse(err error) bool { return errors.Is(err, wsaEADDRINUSE) }

// isRefused reports that nobody listens.
func isRefused(err error) bool { return errors.Is(err, wsaECONNREFUSED) }

// isUnavailable reports an address, or an address family, this host lacks.
func isUnavailable(err error) bool {
	return errors.Is(err, wsaEADDRNOTAVAIL) || errors.Is(err, wsaEAFNOSUPPORT)
}
